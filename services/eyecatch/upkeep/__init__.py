"""Background work on all users: encoding them again after the encoder was replaced, and taste clusters. Knows ports, no store."""
