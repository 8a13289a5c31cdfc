"""Recipe 0: the dual encoder's heads and word table, on its frozen trunk. Knows nothing about users or generation.

    icg train dual --art node_modules --start adapters/icg/starter/dual --out runs/dual [--hold-out] [--judge]

Covers are trained against the titles of all their subjects, icons against the titles of their batch (InfoNCE, arXiv:2103.00020).
It learns every subject, including those held out from the generator, whose covers it judges; it never sees a generated cover. `--hold-out`
leaves them out, to measure unseen titles. `--judge` trains a second encoder for `icg evaluate personalisation --second`, without icons:
use another `--seed`, and `--start` with another trunk.
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
"""Deviations of noise on the features: with dropout, it keeps the heads from memorising pictures."""
COLOURED = frozenset(
    {"fluent-emoji-flat", "noto", "twemoji", "emojione", "fxemoji", "streamline-emojis", "flat-color-icons"}
)
"""Packages whose icons have their own colours; others are drawn in the palette's ink."""


@dataclass(frozen=True)
class TitledFeatures:
    """Features (N, 2560) float16 of pictures, and the index (N,) of each picture's title in `titles`."""

    features: Tensor
    title: np.ndarray
    titles: list[str]


@torch.inference_mode()
def features(model: DualEncoder, images: np.ndarray) -> Tensor:
    """(N, 128, 128, 3) uint8 -> (N, 2560) float16."""
    trunk = model.trunk.to(memory_format=torch.channels_last)
    parts = [images[i : i + 64] for i in range(0, len(images), 64)]
    return torch.cat([trunk(to_tensor(p).contiguous(memory_format=torch.channels_last)).half() for p in parts])


def of_bank(model: DualEncoder, subjects: list[Subject], bank: Bank) -> TitledFeatures:
    """A bank's covers, with its subjects' titles."""
    chosen, slot = np.unique(bank.subject, return_inverse=True)
    return TitledFeatures(features(model, bank.images), slot, [subjects[i].title for i in chosen])


def of_icons(model: DualEncoder, art: Path, unseen: list[str], seed: int) -> TitledFeatures:
    """Icons, as covers and on white."""
    rng, rows, titles = np.random.default_rng(seed), [], []
    batch: list[np.ndarray] = []
    for title, package, sprite in titled(art, unseen, side=SIDE):
        look = Look(
            "flat" if package in COLOURED else "ink",
            str(rng.choice(list(PALETTES))),
            str(rng.choice(BACKDROPS)),
            str(rng.choice(FRAMINGS, p=(0.4, 0.4, 0.2))),
        )
        picture = on_white(sprite, SIDE) if rng.random() < PLAIN else compose(sprite, look, len(titles), SIDE)
        batch.append(np.asarray(picture))
        titles.append(title)
        if len(batch) == 512:
            rows.append(features(model, np.stack(batch)))
            batch = []
    rows += [features(model, np.stack(batch))] if batch else []
    unique, slot = np.unique(titles, return_inverse=True)
    return TitledFeatures(torch.cat(rows), slot, [str(t) for t in unique])


def run(
    folder: Path,
    model: DualEncoder,
    covers: TitledFeatures,
    icons: TitledFeatures | None,
    fit: Fit,
    until: int | None = None,
) -> DualEncoder:
    """Train the heads and the table of `model`."""
    torch.manual_seed(fit.seed)
    known = covers.features.float()
    model.centre.copy_(known.mean(0))
    model.spread.copy_(known.std(0) + 1e-3)
    model.train()

    def scores_of(data: TitledFeatures, rows: np.ndarray, titles: Tensor) -> Tensor:
        x = data.features[torch.as_tensor(rows)].float()
        pictures = model.pictures(x + NOISE * model.spread * torch.randn_like(x))
        return model.log_scale.clamp(max=4.6).exp() * pictures @ titles.T

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = rng.integers(0, len(covers.title), fit.batch)
        scores = scores_of(covers, rows, model.titles(covers.titles))
        loss = F.cross_entropy(scores, torch.as_tensor(covers.title[rows]))
        if icons is None:
            return {"loss": loss}
        rows = rng.integers(0, len(icons.title), fit.batch * 3 // 2)
        title_ids = icons.title[rows]
        scores = scores_of(icons, rows, model.titles([icons.titles[i] for i in title_ids]))
        twice = torch.as_tensor(title_ids[:, None] == title_ids[None]) & ~torch.eye(len(title_ids), dtype=torch.bool)
        scores, right = scores.masked_fill(twice, -1e4), torch.arange(len(title_ids))
        pair = 0.5 * (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right))
        return {"loss": loss + pair, "covers": loss, "icons": pair}

    train(folder, model, fit, step, until=until)
    return model.eval()


@torch.inference_mode()
def retrieval(model: DualEncoder, data: TitledFeatures, among: list[str]) -> dict[str, float]:
    """Share of pictures whose title is first, and among the first five, of `among`."""
    scores = model.pictures(data.features.float()) @ model.titles(among).T
    true = scores[torch.arange(len(scores)), torch.tensor([among.index(data.titles[i]) for i in data.title])]
    rank = (scores > true[:, None]).sum(1)
    return {"top1": float((rank == 0).float().mean()), "top5": float((rank < 5).float().mean())}


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train dual`."""
    parser = Flags(__name__, __doc__, art="unless smoke")
    parser.add_argument(
        "--start", type=Path, required=True, help="folder of a dual encoder with the initial trunk and words"
    )
    parser.add_argument("--judge", action="store_true", help="train without icons")
    parser.add_argument("--hold-out", action="store_true", help="train without the held-out subjects")
    args = parser.parse_args(argv)
    subjects = procedural() if args.smoke else load_subjects(args.art, args.out / "art.npz")
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    trained = [i for i, s in enumerate(subjects) if not s.held_out]
    base = DualEncoder.from_pretrained(args.start)
    model = DualEncoder(base.words, base.config)
    model.trunk, model.table = base.trunk, base.table
    learned = trained if args.hold_out else [*trained, *unseen]
    covers = of_bank(model, subjects, build(subjects, 64 if args.smoke else 10_000, 31 + args.seed, 2, learned))
    icons = None
    if not (args.judge or args.smoke):
        icons = of_icons(model, args.art, [subjects[i].title for i in unseen if args.hold_out], args.seed)
    fit = Fit(20 if args.smoke else 900, 3e-3, 256, args.seed, warmup=20, weight_decay=0.1, save_every=300)
    run(args.out / "fit", model, covers, icons, fit).save_pretrained(args.out / "dual")
    for name, group in (("seen", trained), ("unseen", unseen)):
        test = of_bank(model, subjects, build(subjects, 64 if args.smoke else 1_000, 77 + args.seed, 2, group))
        others = [s.title for s in subjects if s.title not in test.titles]
        candidates = test.titles + others if name == "unseen" else test.titles[:: max(1, len(test.titles) // 100)]
        rows = np.isin(np.array(test.titles)[test.title], candidates[:100])
        data = TitledFeatures(test.features[rows], test.title[rows], test.titles)
        print(name, retrieval(model, data, candidates[:100]))
