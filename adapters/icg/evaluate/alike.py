"""Real covers that look as drawn ones were meant to: what a judge can find in covers of this style, palette, backdrop and framing at most.

Of a difference from them, the drawn ground has the share that goes when a real ground takes its place. Knows no judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from icg.brief import Brief
from icg.compose.cover import compose
from icg.compose.layout import Place
from icg.data.art import Subject
from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, Look, stable_seed
from icg.data.compose import compose as composed
from icg.data.grounds import ground
from icg.draw.pipeline import CoverPipeline
from icg.evaluate.judges import framing


def looks(
    pipeline: CoverPipeline, briefs: Sequence[Brief], covers: Sequence[Image.Image], styles: Sequence[str]
) -> list[Look]:
    """The look that each cover was to have: the `styles` of the pictures set in, what was decided on for the users, and where the pictures
    are; one that fills its cover is "close". [] for an adapter that decides on nothing."""
    decision = pipeline.drawer(True).adapter.decision
    if decision is None:
        return []
    palettes, results = list(PALETTES), []
    for brief, cover, style in zip(briefs, covers, styles, strict=True):
        palette, backdrop = decision.look(pipeline.user(brief), brief.seed)
        place = FRAMINGS[framing(cover.info["place"])] if "place" in cover.info else "close"
        results.append(Look(style, palettes[palette], BACKDROPS[backdrop], place))
    return results


def real(looks: Sequence[Look], subjects: Sequence[Subject]) -> list[Image.Image]:
    """A real composed cover of each subject in its look."""
    pairs = enumerate(zip(looks, subjects, strict=True))
    return [composed(s.sprites[look.style], look, stable_seed("alike", n)) for n, (look, s) in pairs]


def on_real_grounds(looks: Sequence[Look], briefs: Sequence[Brief], covers: Sequence[Image.Image]) -> list[Image.Image]:
    """The covers with real grounds of their looks in place of the drawn ones; those that their picture fills stay as they are."""
    results = []
    for n, (look, brief, cover) in enumerate(zip(looks, briefs, covers, strict=True)):
        if "place" in cover.info:
            bare = ground(look.palette, look.backdrop, stable_seed("alike", n), max(cover.size))
            cover = compose(brief, bare, Place(*cover.info["place"]))
        results.append(cover)
    return results
