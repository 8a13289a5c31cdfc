"""Behaviour: events become activity, tokens and user embeddings; bots and erased users are left out."""
