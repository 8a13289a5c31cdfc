"""Stores: where users, items, covers and images live. They implement core/ports.py and know no wire."""
