"""Rewards: one number for one cover. Classes that map (images, briefs) -> (B,), each with a declared range.

`icg.starter.rewards.load` loads any of them by name; docs/rewards.md lists them.
"""

from icg.rewards.base import Reward, TensorReward

__all__ = ["Reward", "TensorReward"]
