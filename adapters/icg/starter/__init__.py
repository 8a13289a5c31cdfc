"""The starter: small checkpoints that run everything on two CPU cores. See README.md in this folder.

Its training art: Fluent Emoji (MIT, Microsoft), Noto Emoji (Apache-2.0, Google), Twemoji (CC-BY 4.0, Twitter and
contributors). Importing this module loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icg.checkpoints import SHIPPED, has_own_space, part_of, space_folder

if TYPE_CHECKING:
    import numpy as np

    from icg.design.designer import Designer
    from icg.draw.pipeline import CoverPipeline
    from icg.models.joint import JointEmbedding
    from icg.reliability.judge import Judge
    from icg.rewards.base import Reward
    from icg.rewards.engagement import Engagement

ATTRIBUTION = (
    "Fluent Emoji (c) Microsoft, MIT; Noto Emoji (c) Google, Apache-2.0; Twemoji (c) Twitter, Inc and other "
    "contributors, CC-BY 4.0 (graphics recomposed)"
)


Taste = Callable[["np.ndarray"], "np.ndarray | None"]
Judges = tuple["JointEmbedding", dict[str, "Reward"]]
"""What embeds and rates pictures."""


@dataclass(frozen=True, eq=False)
class Starter:
    """A pipeline, the embedding, rewards by name, and the name for provenance."""

    pipeline: CoverPipeline
    embedding: JointEmbedding
    rewards: dict[str, Reward]
    judge: Judge | None = None
    """Judge of product pictures; None for a checkpoint without reliability/."""
    designer: Designer | None = None
    """Designs covers for a target engagement; None for a checkpoint without design/."""
    name: str = "eyecatch-starter-0.1"
    root: Path = Path(__file__).parent
    """Its folder."""
    taste: Taste = lambda user: user
    """A user embedding (64,) as the adapter reads it; None, an unpersonal drawing, for one of a space that it cannot read."""
    affinity: np.ndarray | None = None
    """(64, 64) between pictures of an item and users, see `icg.users.affinity`; None for the dot product."""


def path() -> Path:
    """The shipped folder: vlm/, diffusion/, adapter/, space/, dual/, aesthetic/, users/, controlnet/, reliability/."""
    return SHIPPED


def autoencoder() -> Any:
    """The shipped autoencoder alone, frozen, in float32."""
    from diffusers import AutoencoderDC

    return AutoencoderDC.from_pretrained(path() / "diffusion" / "vae").float().eval().requires_grad_(False)


def load(
    root: str | Path | None = None, engaging: bool = False, space: Path | None = None, rating: Judges | None = None
) -> Starter:
    """Load the starter, or any folder of its layout. Raises CheckpointError if a part other than aesthetic/, users/, controlnet/ or
    reliability/ is missing. engaging: add the reward `engagement`, which runs the VLM on each picture; it needs engagement/.
    space: a folder of `icg space fit` in which covers are embedded instead of the checkpoint's own space. rating: `judges` of these, if
    they are loaded.
    """
    from icg.draw.pipeline import CoverPipeline
    from icg.reliability.judge import Judge
    from icg.users.affinity import affinity

    name = Path(root).name if root is not None else Starter.name
    root = Path(root) if root is not None else path()
    pipeline = CoverPipeline.from_pretrained(root)
    embedding, rewards = rating or judges(root, space)
    if engaging:
        rewards["engagement"] = engagement(root, embedding, (pipeline.vlm, pipeline.processor))
    judge = Judge.from_pretrained(root / "reliability") if (root / "reliability").is_dir() else None
    taste, matrix = taste_of(root, space), affinity(root, space)
    return Starter(pipeline, embedding, rewards, judge, designer(root), name, root, taste, matrix)


def taste_of(root: Path, space: Path | None = None) -> Taste:
    """How the adapter of a checkpoint reads users of its own space, or of a fitted one: `Starter.taste`.

    A fitted space has a map to that of the checkpoint that it was fitted beside. Raises CheckpointError for a broken one.
    """
    from icg.users.crossing import Crossing
    from icg.users.numpy_encoder import cover_space

    if not has_own_space(root):
        return lambda user: None
    if space is None or cover_space(root) == cover_space(root, space):
        return lambda user: user
    crossing = Crossing.load(space, root)
    return (lambda user: None) if crossing is None else crossing


def designer(root: str | Path) -> Designer | None:
    """The designer of a checkpoint's design/, None without one. Raises CheckpointError if it does not fit."""
    from icg.design.designer import Designer

    return Designer.from_pretrained(root) if (Path(root) / "design").is_dir() else None


def judges(root: str | Path, space: Path | None = None) -> Judges:
    """The embedding and the rewards, without a VLM or a denoiser. space: a fitted space in place of the checkpoint's own."""
    from icg.models.joint import JointEmbedding
    from icg.models.trunk import shared
    from icg.rewards.preference import Preference
    from icg.rewards.relevance import Relevance
    from icg.rewards.small_aesthetic import SmallAesthetic

    root = Path(root)
    embedding = JointEmbedding.from_pretrained(root, space)
    rewards: dict[str, Reward] = {"relevance": Relevance(embedding), "preference": Preference(embedding)}
    if (clip := part_of(space_folder(root, space), "relevance")) is not None:
        from icg.rewards.clip import ClipRelevance

        rewards["relevance"] = ClipRelevance.from_pretrained(clip)
    if (root / "aesthetic").is_dir():
        aesthetic = SmallAesthetic.from_pretrained(root / "aesthetic")
        aesthetic.trunk = shared(aesthetic.trunk, embedding.dual.trunk)
        rewards["aesthetic"] = aesthetic
    return embedding, rewards


def engagement(root: str | Path, embedding: JointEmbedding, vlm: tuple[Any, Any] | None = None) -> Engagement:
    """The engagement reward for no particular account. vlm: a loaded VLM and its processor whose weights are to be shared.

    Raises CheckpointError for a checkpoint without engagement/.
    """
    from icg.models import vlm as reading
    from icg.rewards.engagement import Engagement
    from icg.rewards.reader import Reader

    reader = Reader(*(vlm or reading.load(Path(root) / "vlm")), embedding)
    return Engagement.from_pretrained(Path(root) / "engagement", reader=reader)
