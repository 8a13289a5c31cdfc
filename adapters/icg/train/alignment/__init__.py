"""Alignment with rewards: reward gradients (ReFL) and GRPO."""
