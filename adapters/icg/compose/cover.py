"""The one composition of covers: the ground that the denoiser drew, and the item's own picture in its own pixels.

Library, scheduler and Triton all call `compose`. The denoiser sees a collage of ground and subject in its latents, so that it lays light
around the subject; what a cover shows of the picture are the original's pixels, which pass through no autoencoder.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from icg.brief import Brief
from icg.compose.ink import as_shown, legible
from icg.compose.layout import MAX_EDGE, Place, clear, place, settled, stood, strange
from icg.compose.light import backlit, harmonised, shadowed
from icg.compose.recompose import full_bleed, ratio
from icg.compose.scene import stand
from icg.compose.subject import cropped
from icg.errors import BriefError
from icg.pictures import over_white

GHOST = 0.02
"""Share of the subject in a cell of the ground above which that cell is drawn anew from its surroundings."""


def fills(brief: Brief) -> bool:
    """Whether the brief's first reference fills the cover: it anchors the cover, and there is no cut-out of it."""
    return brief.product is None and bool(brief.references) and brief.reference_strength > 0


def output_size(brief: Brief) -> tuple[int, int]:
    """(width, height) of the finished cover.

    The brief's `output`; else the aspect of what the model draws, or, for a picture that fills the cover, the picture's own within
    RATIOS. The longer edge is the picture's, at most MAX_EDGE and at least the longer edge of what the model draws.
    """
    if brief.output is not None:
        return brief.output
    if not (fills(brief) or brief.product is not None):
        return brief.size
    picture = brief.references[0] if brief.product is None else brief.product
    edge = max(min(max(picture.size), MAX_EDGE), max(brief.size))
    aspect = ratio(picture) if fills(brief) else brief.size[0] / brief.size[1]
    return (edge, max(1, round(edge / aspect))) if aspect >= 1 else (max(1, round(edge * aspect)), edge)


def place_in(brief: Brief, draft: Image.Image) -> Place:
    """Where the brief's product is to be set into a cover of which `draft` is the denoiser's RGB estimate."""
    size = (1, 1) if brief.product is None else cropped(brief.product).size
    return settled(place(strange(draft)), size, output_size(brief))


def set_down(brief: Brief, place: Place) -> Place:
    """`place` for the brief's product: at the size of its own pixels, if that is near."""
    return place if brief.product is None else settled(place, cropped(brief.product).size, output_size(brief))


def collage(draft: Image.Image, product: Image.Image, at: Place) -> Image.Image:
    """RGB of the draft's size: the draft without its own subject, with the cut-out in place of it. What the denoiser sees."""
    ground = clear(draft, strange(draft))
    return _set_in(ground, stood(cropped(product), at, draft.size))


def compose(brief: Brief, ground: Image.Image, at: Place | None = None) -> Image.Image:
    """The cover, RGB of `output_size`. ground: RGB, as decoded. at: where the product was set into the latents, None for not yet.

    The place of a cut-out is in the cover's `info["place"]`.
    """
    size = output_size(brief)
    if fills(brief):
        strength = 0.0 if brief.user_embedding is None else float(brief.strength)
        return full_bleed(over_white(brief.references[0]), size, ground, strength)
    if brief.product is None:
        return ground if ground.size == size else ground.resize(size, Image.Resampling.BICUBIC)
    if brief.inpaint and not brief.ground:
        return _set_in(ground.resize(size, Image.Resampling.BICUBIC), stand(brief.product, brief.seed, size))
    at = place_in(brief, ground) if at is None else at
    subject = cropped(brief.product)
    if not brief.ground:
        ghost = stood(subject, at, ground.size).getchannel("A").resize((48, 48), Image.Resampling.BOX)
        ground = clear(ground, np.asarray(ghost) > GHOST * 255)
    cover = _set_in(ground.resize(size, Image.Resampling.BICUBIC), stood(subject, at, size))
    cover.info["place"] = tuple(at)
    return cover


def placed(brief: Brief, cover: Image.Image) -> Image.Image:
    """RGBA of the cover's size: the brief's product where it stands in its `cover`, on nothing. BriefError for a brief without one."""
    if brief.product is None:
        raise BriefError("product=None; allowed: a brief with a product")
    if "place" in cover.info:
        return stood(cropped(brief.product), Place(*cover.info["place"]), cover.size)
    return stand(brief.product, brief.seed, cover.size)


def renewed(large: Image.Image, product: Image.Image, at: Place) -> Image.Image:
    """`large`, RGB, an enlarged cover, with the cut-out of the item's own picture over its enlarged copy. at: its place in the cover."""
    alone = as_shown(stood(cropped(product), at, large.size), large)
    out = large.copy()
    out.paste(alone, (0, 0), harmonised(alone, large))
    return out


def _set_in(ground: Image.Image, alone: Image.Image) -> Image.Image:
    alone = legible(alone, ground)
    out = shadowed(backlit(ground, alone), alone)
    alone = harmonised(alone, out)
    out.paste(alone, (0, 0), alone)
    return out
