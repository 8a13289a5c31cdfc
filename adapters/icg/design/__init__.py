"""Engagement-aware design (BOIG, arXiv:2311.10995): how a cover should look to be liked, told before it is drawn; and whom it is for."""
