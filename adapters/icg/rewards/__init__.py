"""Rewards: one number for one cover. Plug-in classes, (images, briefs) -> (B,), each with a declared range."""

from icg.rewards.base import Reward

__all__ = ["Reward"]
