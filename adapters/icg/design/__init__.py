"""Engagement-aware design (BOIG, arXiv:2311.10995): predicts how a cover should look to be liked; and segments of users."""
