"""A seller's product in covers: painted around pixel for pixel, or learned from a few pictures."""
