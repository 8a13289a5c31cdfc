"""Offline evaluation of rankings on stored behaviour. Knows no server."""
