"""A state as tables and pictures, for recipes and for analysis."""
