"""The measure of spoiled places in pictures."""
