"""Engagement: how much a post with this picture would be liked, a distribution over the KPI from picture, text, account and time.

After BOIG (arXiv:2311.10995); its follow-up work reports a Pearson correlation of 0.62 with likes for such a model, and below 0.1 for
aesthetic and CLIP scores. A frozen VLM reads picture and text, the joint embedding reads the picture; an account enters as three
statistics of its posts, so the model accepts accounts that were not in its training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from icg.brief import Brief
from icg.errors import CheckpointError, IcgError
from icg.rewards.base import PixelReward, check_pairs, pixels
from icg.rewards.engagement_net import NOBODY, EngagementNet, EngagementPrediction, Habit, context, predict
from icg.rewards.reader import SIDE, Reader


class Engagement(PixelReward):
    """Half the probability of medium plus that of high, in 0..1; for no account and no time, unless `of` sets them."""

    name = "engagement"
    range = (0.0, 1.0)
    side = SIDE

    def __init__(self, net: EngagementNet, reader: Reader, accounts: Mapping[str, Habit] | None = None) -> None:
        if net.config.content != reader.width:
            raise CheckpointError(
                f"engagement reads {net.config.content} numbers; allowed: {reader.width}, as of this VLM"
            )
        self.net, self.reader = net.to(reader.judge.device).eval().requires_grad_(False), reader
        self.accounts = dict(accounts or {})
        self._context = context(NOBODY, None)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", reader: Reader | None = None
    ) -> Engagement:
        """folder: of icg.train.engagement.recipe. Without a `reader`, the VLM and the embeddings come from its parent, a folder of the
        starter's layout."""
        net, accounts = EngagementNet.from_pretrained(folder)
        return cls(net, reader or Reader.from_pretrained(Path(folder).parent, device), accounts)

    def of(self, account: str = "", time: float | None = None) -> Engagement:
        """The reward of posts by an account at a time, in UTC seconds. IcgError for an account that it was not trained on."""
        if account and account not in self.accounts:
            raise IcgError(f"account={account!r}; allowed: '' or one of the {len(self.accounts)} it was trained on")
        reward = Engagement(self.net, self.reader, self.accounts)
        reward._context = context(self.accounts.get(account, NOBODY), time)
        return reward

    @torch.no_grad()
    def predict(self, images: list[Image.Image], texts: Sequence[str]) -> EngagementPrediction:
        """The whole distribution, of one text an image."""
        check_pairs(images, texts)  # type: ignore[arg-type]
        return predict(self.net, self.reader(pixels(images, SIDE), texts), self._contexts(len(images)))

    def _rate(self, images: Tensor, briefs: Sequence[Brief]) -> Tensor:
        logits = self.net(self.reader(images, [b.title for b in briefs]), self._contexts(len(images)))[2]
        return logits.softmax(1) @ torch.tensor([0.0, 0.5, 1.0], device=logits.device)

    def _contexts(self, count: int) -> Tensor:
        return torch.from_numpy(self._context).to(self.reader.judge.device).expand(count, -1)
