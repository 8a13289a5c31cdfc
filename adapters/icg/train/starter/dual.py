"""Recipe 0: the dual encoder's heads and word table, on its frozen trunk. Knows nothing about users or generation.

    icg train dual --art node_modules --start adapters/icg/starter/dual --out runs/dual [--hold-out] [--judge]

Covers against the titles of all their subjects, icons against the titles in their batch (InfoNCE, arXiv:2103.00020).
It learns every subject, also those held out from the generator, whose covers it is to judge; it is never shown what a generator
made. `--hold-out` leaves them out, to see what it makes of titles it never met. `--judge` trains a second opinion for
`icg evaluate personalisation --second`, without icons: give it another `--seed`, and `--start` with another trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg.data.art import Subject, load_subjects, on_white, procedural
from icg.data.bank import Bank, build
from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, Look, compose
from icg.data.icons import titled
from icg.models.dual import SIDE, DualEncoder
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.starter.autoencoder import to_tensor

PLAIN = 0.25
"""Share of icons on white."""
NOISE = 0.3
"""Deviations of noise on the features: with dropout, what keeps the heads from learning pictures by heart."""
COLOURED = frozenset(
    {"fluent-emoji-flat", "noto", "twemoji", "emojione", "fxemoji", "streamline-emojis", "flat-color-icons"}
)
"""Packages whose icons have colours of their own; others are drawn in the palette's ink."""


@dataclass(frozen=True)
class Shown:
    """Features (N, 2560) float16 of pictures, and which of `titles` each shows (N,)."""

    features: Tensor
    title: np.ndarray
    titles: list[str]


@torch.inference_mode()
def features(model: DualEncoder, images: np.ndarray) -> Tensor:
    """(N, 128, 128, 3) uint8 -> (N, 2560) float16."""
    trunk = model.trunk.to(memory_format=torch.channels_last)
    parts = [images[i : i + 64] for i in range(0, len(images), 64)]
    return torch.cat([trunk(to_tensor(p).contiguous(memory_format=torch.channels_last)).half() for p in parts])


def of_bank(model: DualEncoder, subjects: list[Subject], bank: Bank) -> Shown:
    """A bank's covers; only its subjects' titles."""
    chosen, slot = np.unique(bank.subject, return_inverse=True)
    return Shown(features(model, bank.images), slot, [subjects[i].title for i in chosen])


def of_icons(model: DualEncoder, art: Path, unseen: list[str], seed: int) -> Shown:
    """Icons as covers and on white."""
    rng, rows, said = np.random.default_rng(seed), [], []
    batch: list[np.ndarray] = []
    for title, package, sprite in titled(art, unseen, side=SIDE):
        style = "flat" if package in COLOURED else "ink"
        look = Look(
            style,
            str(rng.choice(list(PALETTES))),
            str(rng.choice(BACKDROPS)),
            str(rng.choice(FRAMINGS, p=(0.4, 0.4, 0.2))),
        )
        picture = on_white(sprite, SIDE) if rng.random() < PLAIN else compose(sprite, look, len(said), SIDE)
        batch.append(np.asarray(picture))
        said.append(title)
        if len(batch) == 512:
            rows.append(features(model, np.stack(batch)))
            batch = []
    rows += [features(model, np.stack(batch))] if batch else []
    titles, slot = np.unique(said, return_inverse=True)
    return Shown(torch.cat(rows), slot, [str(t) for t in titles])


def run(
    folder: Path, model: DualEncoder, covers: Shown, icons: Shown | None, fit: Fit, until: int | None = None
) -> DualEncoder:
    """Train the heads and the table of `model`."""
    torch.manual_seed(fit.seed)
    known = covers.features.float()
    model.centre.copy_(known.mean(0))
    model.spread.copy_(known.std(0) + 1e-3)
    model.train()

    def close(shown: Shown, rows: np.ndarray, titles: Tensor) -> Tensor:
        x = shown.features[torch.as_tensor(rows)].float()
        return (
            model.log_scale.clamp(max=4.6).exp()
            * model.pictures(x + NOISE * model.spread * torch.randn_like(x))
            @ titles.T
        )

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = rng.integers(0, len(covers.title), fit.batch)
        loss = F.cross_entropy(close(covers, rows, model.titles(covers.titles)), torch.as_tensor(covers.title[rows]))
        if icons is None:
            return {"loss": loss}
        rows = rng.integers(0, len(icons.title), fit.batch * 3 // 2)
        own = icons.title[rows]
        scores = close(icons, rows, model.titles([icons.titles[i] for i in own]))
        twice = torch.as_tensor(own[:, None] == own[None]) & ~torch.eye(len(own), dtype=torch.bool)
        scores, right = scores.masked_fill(twice, -1e4), torch.arange(len(own))
        pair = 0.5 * (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right))
        return {"loss": loss + pair, "covers": loss, "icons": pair}

    train(folder, model, fit, step, until=until)
    return model.eval()


@torch.inference_mode()
def found(model: DualEncoder, shown: Shown, among: list[str]) -> dict[str, float]:
    """How often a picture's title is first, and among the first five, of `among`."""
    scores = model.pictures(shown.features.float()) @ model.titles(among).T
    true = scores[torch.arange(len(scores)), torch.tensor([among.index(shown.titles[i]) for i in shown.title])]
    rank = (scores > true[:, None]).sum(1)
    return {"top1": float((rank == 0).float().mean()), "top5": float((rank < 5).float().mean())}


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train dual`."""
    parser = Flags(__name__, __doc__, art="unless smoke")
    parser.add_argument(
        "--start", type=Path, required=True, help="folder of a dual encoder whose trunk and words to start from"
    )
    parser.add_argument("--judge", action="store_true", help="learn no icons")
    parser.add_argument("--hold-out", action="store_true", help="do not learn the held-out subjects")
    given = parser.parse_args(argv)
    subjects = procedural() if given.smoke else load_subjects(given.art, given.out / "art.npz")
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    seen = [i for i, s in enumerate(subjects) if not s.held_out]
    kept = DualEncoder.from_pretrained(given.start)
    model = DualEncoder(kept.words, kept.config)
    model.trunk, model.table = kept.trunk, kept.table
    learned = seen if given.hold_out else [*seen, *unseen]
    covers = of_bank(model, subjects, build(subjects, 64 if given.smoke else 10_000, 31 + given.seed, 2, learned))
    icons = (
        None
        if given.judge or given.smoke
        else of_icons(model, given.art, [subjects[i].title for i in unseen if given.hold_out], given.seed)
    )
    fit = Fit(20 if given.smoke else 900, 3e-3, 256, given.seed, warmup=20, weight_decay=0.1, save_every=300)
    run(given.out / "fit", model, covers, icons, fit).save_pretrained(given.out / "dual")
    for name, group in (("seen", seen), ("unseen", unseen)):
        asked = of_bank(model, subjects, build(subjects, 64 if given.smoke else 1_000, 77 + given.seed, 2, group))
        rest = [s.title for s in subjects if s.title not in asked.titles]
        among = (
            (asked.titles + rest)[:100] if name == "unseen" else asked.titles[:: max(1, len(asked.titles) // 100)][:100]
        )
        kept_rows = np.isin(np.array(asked.titles)[asked.title], among)
        print(name, found(model, Shown(asked.features[kept_rows], asked.title[kept_rows], asked.titles), among))
