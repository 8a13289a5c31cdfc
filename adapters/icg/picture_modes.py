"""A decoded picture of any mode -> RGB or RGBA in sRGB, upright. Used by `icg.pictures` alone; knows no bytes and no limits."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS = {"1": 1, "L;2": 2, "L;4": 4}
_RAMP = np.arange(256) / 255
LINEAR = np.where(_RAMP <= 0.04045, _RAMP / 12.92, ((_RAMP + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""(256,) light of a byte of sRGB, 0..1 (IEC 61966-2-1)."""


def scale_key(image: Image.Image) -> None:
    """Put the key colour of a PNG into the range of its pixels; to be called before they are loaded.

    A key has the file's bits: 1 of 3 for two bits a pixel, which Pillow scales to 85. Of sixteen bits a channel, only the high ones are
    read of colours, so the key loses its low ones too.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or not image.tile:
        return
    raw = image.tile[0][3]
    kind = raw[0] if isinstance(raw, tuple) else raw
    if isinstance(key, int) and kind in _BITS:
        most = (1 << _BITS[kind]) - 1
        image.info["transparency"] = (key & most) * 255 // most
    elif isinstance(key, tuple) and kind == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its metadata says. Whatever else is there, or damaged, does not matter: the pixels are whole."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 (metadata is any bytes, and Pillow's reader of it raises any error)
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def with_mode(image: Image.Image, mode: str) -> Image.Image:
    """RGB over white, or RGBA; "": RGBA for a picture with transparent pixels, else RGB.

    A picture that is transparent everywhere by a key colour, without any alpha, is white: it is no cut-out.
    """
    image = _keyed(_eight_bits(_in_srgb(image)))
    if not mode:
        mode = "RGBA" if transparent(image) and not _is_empty_key(image) else "RGB"
    return over_white(image) if mode == "RGB" else image.convert(mode)


def transparent(image: Image.Image) -> bool:
    """Whether any pixel is not opaque."""
    if not (image.has_transparency_data or "a" in image.getbands()):
        return False
    low: int = image.convert("RGBA").getchannel("A").getextrema()[0]  # type: ignore[assignment]
    return low < 255


def over_white(image: Image.Image) -> Image.Image:
    """RGB of a picture of any mode, transparency on white. Light is added, not its code, so that soft rims do not get dark."""
    if not (image.has_transparency_data or "a" in image.getbands()):
        return image.convert("RGB")
    above = np.asarray(image.convert("RGBA"))
    out, alpha = above[..., :3].copy(), above[..., 3]
    out[alpha == 0] = 255
    soft = (alpha > 0) & (alpha < 255)
    if soft.any():
        share = (alpha[soft] / np.float32(255))[:, None]
        light = LINEAR[out[soft]] * share + (1 - share)
        out[soft] = np.searchsorted((LINEAR[1:] + LINEAR[:-1]) / 2, light)
    return Image.fromarray(out)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits a pixel keeps its key colour, as alpha; `convert` would keep the low bits."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image, np.float32)
    gray = Image.fromarray((pixels / 257).clip(0, 255).astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    gray.putalpha(Image.fromarray(np.where(pixels == key, 0, 255).astype(np.uint8)))
    gray.info["transparency"] = key
    return gray


def _keyed(image: Image.Image) -> Image.Image:
    """Gray of one bit as eight, with its key colour."""
    if image.mode != "1" or not isinstance(image.info.get("transparency"), int):
        return image
    gray = image.convert("L")
    gray.info["transparency"] = image.info["transparency"]
    return gray


def _is_empty_key(image: Image.Image) -> bool:
    if image.mode not in ("L", "LA", "RGB") or "transparency" not in image.info:
        return False
    return image.convert("RGBA").getchannel("A").getextrema()[1] == 0


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB if a profile says that its numbers mean other colours; as it is if the profile cannot be used."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image
    colours = image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))
    transform = _transform(bytes(profile), colours.mode)
    if transform is None:
        return image
    out = ImageCms.applyTransform(colours, transform)
    if out is None:
        return image
    if "A" in image.getbands():
        out.putalpha(image.getchannel("A"))
    if "transparency" in image.info:  # a key colour is compared before colours are converted
        out.putalpha(image.convert("RGBA").getchannel("A"))
    return out


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB, None if there is nothing to convert or the profile is damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
