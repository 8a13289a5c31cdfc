"""Who calls, over which connection, with which rights. Knows no service."""
