"""Whether the grounds of covers are as crisp as those that the generator learned from, and whole around the subject. Knows no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.compose.cut_out import grown
from icg.compose.detail import edges, luminance
from icg.compose.subject import cropped
from icg.data.bank import Bank
from icg.data.compose import BACKDROPS, PALETTES, stable_seed
from icg.data.grounds import ground
from icg.draw.pipeline import CoverPipeline
from icg.evaluate.looks import LookJudge
from icg.gates.locate import locate
from icg.pictures import over_white

SIDE = 128
"""Pixels of an edge at which edges are measured."""
NEAR, FAR = (0.03, 0.09), 0.15
"""The ring around a subject, and what is far from it: distances from its outline in shares of the cover's edge."""
ALIKE = 8
"""Covers of one palette and backdrop that a user of `measure` engaged with."""


def measure(
    pipeline: CoverPipeline, judge: LookJudge, bank: Bank, covers: np.ndarray, count: int, seed: int
) -> dict[str, float]:
    """Of `count` bare grounds, each for a SIMULATED user who likes one palette and backdrop: strength of edges relative to real grounds of
    these, and how often `judge` reads the palette and the backdrop. covers (N, 64): of the bank. {} for an adapter without grounds."""
    if pipeline.drawer(True).adapter.placement is None:
        return {}
    rng, pictures, real, looks = np.random.default_rng((seed, 41)), list[Image.Image](), list[Image.Image](), []
    for n in range(count):
        palette, backdrop = int(rng.integers(len(PALETTES))), int(rng.integers(len(BACKDROPS)))
        alike = np.flatnonzero((bank.look[:, 1] == palette) & (bank.look[:, 2] == backdrop))
        if not len(alike):
            continue
        user = covers[rng.permutation(alike)[:ALIKE]].mean(0)
        size = pipeline.ground_size(Brief.size)
        brief = Brief(
            "ground",
            user_embedding=user / np.linalg.norm(user),
            seed=n,
            size=size,
            steps=pipeline.settings.knobs(around=True)["steps"],
        )
        pictures += pipeline([replace(brief, ground=True)])
        real.append(ground(list(PALETTES)[palette], BACKDROPS[backdrop], stable_seed("real", seed, n), size[0]))
        looks.append((palette, backdrop))
    right = (judge(pictures)[:, 1:3] == np.array(looks)).mean(0)
    ratio = np.mean([strengths(picture).mean() for picture in pictures]) / np.mean(
        [strengths(picture).mean() for picture in real]
    )
    return {"ground_edges": float(ratio), "ground_palette": float(right[0]), "ground_backdrop": float(right[1])}


def whole(covers: Sequence[Image.Image], briefs: Sequence[Brief]) -> float:
    """Mean over covers around a cut-out: strength of edges in a ring around the subject, relative to that far from it. 1 if the ground goes
    on up to the subject as it is elsewhere, less if it was wiped. NaN without such covers."""
    ratios = []
    for cover, brief in zip(covers, briefs, strict=True):
        if brief.product is None:
            continue
        subject = cropped(brief.product)
        alpha = np.asarray(subject.getchannel("A"))
        at = locate(cover, over_white(subject), (alpha > 127).astype(np.float32))
        size = (max(1, round(at.width)), max(1, round(at.height)))
        mask = Image.new("L", cover.size)
        mask.paste(subject.getchannel("A").resize(size), (round(at.left), round(at.top)))
        inside = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX)) > 8
        strength, (low, high) = strengths(cover), NEAR
        ring = grown(inside, round(high * SIDE)) & ~grown(inside, round(low * SIDE))
        far = ~grown(inside, round(FAR * SIDE))
        if ring.sum() > SIDE and far.sum() > SIDE and strength[far].mean() > 1:  # a plain ground has no pattern to lose
            ratios.append(float(strength[ring].mean() / strength[far].mean()))
    return float(np.median(ratios)) if ratios else float("nan")


def strengths(picture: Image.Image) -> np.ndarray:
    """(SIDE, SIDE) lengths of the gradient of luminance."""
    return edges(luminance(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))
