"""Products: pictures around one that is given, kept as it is."""
