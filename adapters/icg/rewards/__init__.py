"""Rewards: one number for one cover. Plug-in classes, (images, briefs) -> (B,), each with a declared range.

`load(name, folder, device)` makes any of them; docs/rewards.md lists them.
"""

from icg.rewards.base import Reward, TensorReward
from icg.rewards.registry import REWARDS, load

__all__ = ["REWARDS", "Reward", "TensorReward", "load"]
