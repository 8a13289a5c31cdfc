"""Training of the super-resolution network."""
