"""Recommending: the pool of an item's covers, their ranking for a user, and the decision that is logged."""
