"""A brief with a target KPI -> a brief with the design model's design, in the form that the checkpoint can follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from icg.brief import MAX_TITLE, Brief
from icg.design.features import Direction
from icg.design.kpi import DesignModel
from icg.design.schema import Design

SHARE = 0.6
"""Weight of a design; the user's own taste has the rest."""


class Designer:
    """Without a `direction`, the design's phrase is added to the title, for checkpoints whose VLM was trained on such titles. For others,
    such as the starter, which was trained on bare titles, icg.train.engagement.design writes a `direction`: the design then changes
    the user embedding, in the space of cover embeddings."""

    def __init__(self, model: DesignModel, direction: Direction | None = None) -> None:
        self.model, self.direction = model, direction

    @classmethod
    def from_pretrained(cls, root: str | Path) -> Designer:
        """root: a folder of the starter's layout with vlm/ and design/. Raises CheckpointError if a part is missing or does not fit."""
        folder = Path(root) / "design"
        direction = Direction.from_pretrained(folder) if (folder / "direction.safetensors").is_file() else None
        return cls(DesignModel.from_pretrained(Path(root) / "vlm", folder), direction)

    def design(self, brief: Brief, target: str, account: str = "", time: float | None = None) -> Design:
        """The best design of a brief's title for a bucket of KPI. Raises IcgError for an unknown bucket."""
        return self.model.write(brief.title.strip() or "cover", target, account, time)[0]

    def apply(self, brief: Brief, design: Design) -> Brief:
        """The brief with the design; the user's weight is 1 - SHARE."""
        if self.direction is None:
            return replace(brief, title=f"{brief.title}, {design.phrase()}"[:MAX_TITLE])
        towards = self.direction(design)
        user = np.zeros_like(towards) if brief.user_embedding is None else brief.user_embedding
        mixed = SHARE * towards + (1 - SHARE) * user if user.any() else towards
        return replace(brief, user_embedding=(mixed / max(float(np.linalg.norm(mixed)), 1e-6)).astype(np.float32))
