"""Recipes of the starter checkpoint: one file a part, and the recipe that exports it."""
