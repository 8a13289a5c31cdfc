"""Stores of users, items, covers, jobs and images. They implement core/ports.py and know no wire."""
