"""Scenes around a product: grounds, sizes of objects and placement, for the training of RFNet."""
