"""Training data for the starter: titled art, composed covers and simulated tastes. Knows nothing about services."""
