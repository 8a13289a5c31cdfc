"""Rewards by name: `load(name, folder, device)` loads any of them, from a folder or from the starter. See docs/rewards.md.

transformers is imported only when a reward needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icg.errors import IcgError
from icg.models.joint import JointEmbedding
from icg.reliability.reward import Reliability
from icg.rewards.aesthetic import LaionAesthetic
from icg.rewards.base import Reward
from icg.rewards.clip import ClipRelevance
from icg.rewards.engagement import Engagement
from icg.rewards.image_reward import ImageReward
from icg.rewards.preference import Preference
from icg.rewards.public import Hpsv2, PickScore
from icg.rewards.relevance import Relevance
from icg.rewards.safety import OpenNsfw, Safety
from icg.rewards.small_aesthetic import SmallAesthetic
from icg.starter import path


@dataclass(frozen=True)
class RewardSource:
    """load: (folder, device, **options) -> a reward. content: of the folder, in words. default: the shipped folder."""

    load: Callable[..., Reward]
    content: str
    default: Callable[[], Path] | None = None
    folder: bool = True


def _relevance(folder: Path, device: str) -> Reward:
    return Relevance(JointEmbedding.from_pretrained(folder), device)


def _preference(folder: Path, device: str) -> Reward:
    return Preference(JointEmbedding.from_pretrained(folder), device)


REWARDS: dict[str, RewardSource] = {
    "relevance": RewardSource(_relevance, "a starter-shaped folder", path),
    "preference": RewardSource(_preference, "a starter-shaped folder", path),
    "aesthetic": RewardSource(
        SmallAesthetic.from_pretrained, "icg.train.aesthetic.recipe's folder", lambda: path() / "aesthetic"
    ),
    "laion-aesthetic": RewardSource(
        LaionAesthetic.from_pretrained, "openai/clip-vit-large-patch14 with aesthetic.safetensors beside it"
    ),
    "clip": RewardSource(ClipRelevance.from_pretrained, "a CLIP or SigLIP, for example google/siglip-base-patch16-224"),
    "pickscore": RewardSource(PickScore.from_pretrained, "yuvalkirstain/PickScore_v1"),
    "hpsv2": RewardSource(
        Hpsv2.from_pretrained, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K with xswu/HPSv2's weights as safetensors"
    ),
    "imagereward": RewardSource(
        ImageReward.from_pretrained, "THUDM/ImageReward's weights as safetensors with bert-base-uncased's tokenizer"
    ),
    "safety": RewardSource(Safety.from_pretrained, "an image classifier, for example Falconsai/nsfw_image_detection"),
    "reliability": RewardSource(
        Reliability.from_pretrained, "icg.train.reliability.rfnet's judge", lambda: path() / "reliability"
    ),
    "engagement": RewardSource(
        Engagement.from_pretrained, "icg.train.engagement.recipe's folder beside vlm/", lambda: path() / "engagement"
    ),
    "opennsfw": RewardSource(OpenNsfw, "nothing: the weights are in the package", folder=False),
}
"""Name -> its source. See docs/rewards.md."""


SERVED = tuple(name for name in REWARDS if name not in ("relevance", "preference", "reliability", "engagement"))
"""Those that a service may add to a checkpoint's own, or put in their place."""


def load_all(sources: str, device: str = "cpu") -> dict[str, Reward]:
    """ "pickscore=FOLDER,opennsfw" -> rewards by the names under which covers have them: `clip` is a relevance.

    Raises IcgError for another name or two rewards of one name, and the errors of `load`.
    """
    rewards: dict[str, Reward] = {}
    for source in filter(None, (part.strip() for part in sources.split(","))):
        name, _, folder = source.partition("=")
        if name not in SERVED:
            raise IcgError(f"rewards={source!r}; allowed: NAME=FOLDER with a NAME of {', '.join(SERVED)}")
        reward = load(name, folder or None, device)
        if reward.name in rewards:
            raise IcgError(f"rewards={source!r}: a second {reward.name}; allowed: one")
        rewards[reward.name] = reward
    return rewards


def load(name: str, folder: str | Path | None = None, device: str = "cpu", **options: Any) -> Reward:
    """The reward `name` from `folder`, or from the shipped one if there is one, on `device`.

    options: further arguments of its `from_pretrained`. Raises IcgError for an unknown name, device or option, and CheckpointError,
    which says what to download, for a folder that is missing or holds something else.
    """
    if name not in REWARDS:
        raise IcgError(f"reward={name!r}; allowed: {', '.join(REWARDS)}")
    source = REWARDS[name]
    if not source.folder:
        if folder is not None:
            raise IcgError(f"folder={str(folder)!r} for {name!r}; allowed: {source.content}")
        return source.load(device, **options)
    if folder is None and source.default is None:
        raise IcgError(
            f"folder=None for {name!r}; allowed: a local folder of {source.content} (hf download ... --local-dir ...)"
        )
    return source.load(Path(folder) if folder is not None else source.default(), device, **options)  # type: ignore[misc]
