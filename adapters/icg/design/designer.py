"""A brief with a target KPI -> a brief that is drawn that way: the design model's answer, put where the checkpoint can follow it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from icg.brief import MAX_TITLE, Brief
from icg.design.features import Direction
from icg.design.kpi import DesignModel
from icg.design.schema import Design

SHARE = 0.6
"""Of a design beside a user's own taste."""


class Designer:
    """Checkpoints whose VLM reads designs in titles get the design's phrase there, through the adapter's text side. For others, as the
    starter, which was trained on bare titles, icg.train.engagement.design leaves a `direction`: the design
    then speaks through the space of cover
    embeddings, beside the user."""

    def __init__(self, model: DesignModel, direction: Direction | None = None) -> None:
        self.model, self.direction = model, direction

    @classmethod
    def from_pretrained(cls, root: str | Path) -> Designer:
        """`root` is a starter-shaped folder with vlm/ and design/. Raises CheckpointError for what is missing or does not fit."""
        folder = Path(root) / "design"
        direction = Direction.from_pretrained(folder) if (folder / "direction.safetensors").is_file() else None
        return cls(DesignModel.from_pretrained(Path(root) / "vlm", folder), direction)

    def design(self, brief: Brief, target: str, account: str = "", time: float | None = None) -> Design:
        """The most fitting design of a brief's title for a bucket of KPI. Raises IcgError for an unknown one."""
        return self.model.write(brief.title.strip() or "cover", target, account, time)[0]

    def apply(self, brief: Brief, design: Design) -> Brief:
        """The brief as it is to be drawn; a user keeps 1 - SHARE of their say."""
        if self.direction is None:
            return replace(brief, title=f"{brief.title}, {design.phrase()}"[:MAX_TITLE])
        towards = self.direction(design)
        user = np.zeros_like(towards) if brief.user_embedding is None else brief.user_embedding
        mixed = SHARE * towards + (1 - SHARE) * user if user.any() else towards
        return replace(brief, user_embedding=(mixed / max(float(np.linalg.norm(mixed)), 1e-6)).astype(np.float32))
