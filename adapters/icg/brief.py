"""A brief: everything the generator needs for one cover. Validates itself; knows nothing about models."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from icg.errors import BriefError
from icg.pictures import over_white

MAX_TITLE = 512
MAX_AUDIENCE = 200
MAX_REFERENCES = 4
MAX_PIXELS = 4096 * 4096
MAX_STEPS = 100
MAX_GUIDANCE = 20.0
MAX_REFERENCE_STRENGTH = 0.95
_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, eq=False)
class Brief:
    """What to draw, for whom, and how.

    title: up to 512 characters. references: up to 4 pictures of the item. user_embedding: (U,) unit or zero
    vector in cover-embedding space, None for a cold user. strength: how far the user may change the cover, 0..1.
    steps: 1..100. guidance: 0..20, guidance weight of item and user. user_guidance: 0..20, a separate weight of
    the user (one more denoiser call), None to use `guidance`. guided: (from, to), 0..1, the part of the steps with
    guidance (arXiv:2404.07724); the others use item and user alone, one denoiser row each. reference_strength:
    0..0.95, the share of the steps after which the product is set into the latents (0: after the last step); higher
    leaves more of the user's ground as it was. product: RGBA cut-out of the item's picture; its opaque pixels stay
    unchanged except for scaling. Without one, a reference_strength above 0 lets the first reference fill the cover, and
    at 0 references are only read. inpaint: paint around the product
    from the first step on, at a place set by the seed, with the pipeline's ControlNet. product_id: a product the
    pipeline was fine-tuned on (icg.products), "" for none; {product} or its class in the title is its place.
    audience: a segment in words, up to 200 characters, which the VLM reads behind the title; "" for none. negative: words of what
    guidance moves away from, up to 512 characters; "": from nothing in particular.
    size: (width, height) that the model draws, multiples of 16 in 32..2048. output: (width, height) of the finished
    cover, 32..2048; None follows the item's picture (icg.compose.cover). ground: the denoiser draws a ground for the user, without
    the item and without guidance, and the item's picture is set in after decoding; a pipeline sets it if its adapter can.

    Raises BriefError naming the field, the value and what is allowed.
    """

    title: str
    references: tuple[Image.Image, ...] = ()
    user_embedding: np.ndarray | None = None
    strength: float = 1.0
    seed: int = 0
    steps: int = 8
    guidance: float = 4.0
    user_guidance: float | None = None
    guided: tuple[float, float] = (0.0, 1.0)
    reference_strength: float = 0.0
    product: Image.Image | None = None
    inpaint: bool = False
    size: tuple[int, int] = (128, 128)
    product_id: str = ""
    audience: str = ""
    output: tuple[int, int] | None = None
    ground: bool = False
    negative: str = ""

    def __post_init__(self) -> None:
        self._check_item()
        if self.user_embedding is not None:
            user = np.asarray(self.user_embedding, np.float32)
            if user.ndim != 1 or not np.isfinite(user).all():
                raise BriefError(f"user_embedding of shape {user.shape} or not finite; allowed: one finite vector")
            object.__setattr__(self, "user_embedding", user)
        _within("strength", self.strength, 0, 1)
        _whole("seed", self.seed, 0, 2**63 - 1)
        _whole("steps", self.steps, 1, MAX_STEPS)
        _within("guidance", self.guidance, 0, MAX_GUIDANCE)
        if self.user_guidance is not None:
            _within("user_guidance", self.user_guidance, 0, MAX_GUIDANCE)
        if len(self.guided) != 2 or not 0 <= self.guided[0] <= self.guided[1] <= 1:
            raise BriefError(f"guided={self.guided!r}; allowed: (from, to) with 0 <= from <= to <= 1")
        self._check_anchor()
        if len(self.size) != 2 or any(not 32 <= edge <= 2048 or edge % 16 for edge in self.size):
            raise BriefError(f"size={self.size!r}; allowed: (width, height), multiples of 16 in 32..2048")
        if self.output is not None and (len(self.output) != 2 or any(not 32 <= edge <= 2048 for edge in self.output)):
            raise BriefError(f"output={self.output!r}; allowed: (width, height) in 32..2048, or None")

    @property
    def prompt(self) -> str:
        """The words that the VLM reads."""
        return f"{self.title}, for {self.audience}" if self.audience else self.title

    def guides(self, step: int) -> bool:
        """Whether guidance is computed in a step, counted from 0."""
        begin, end = self.guided
        return begin <= step / self.steps and (step / self.steps < end or end == 1)

    def item_digest(self) -> str:
        """sha256 of title, references, product_id and audience: the cache key of the VLM's part."""
        return self._hash().hexdigest()

    def digest(self) -> str:
        """sha256 of all fields: equal briefs have equal digests on any machine."""
        state = self._hash()
        user = b"" if self.user_embedding is None else np.asarray(self.user_embedding, "<f4").tobytes()
        rest = (float(self.strength), int(self.seed), int(self.steps), float(self.guidance), self.user_guidance)
        state.update(user + repr((*rest, float(self.reference_strength), tuple(map(int, self.size)))).encode())
        if self.guided != (0, 1):
            state.update(f"|guided={tuple(map(float, self.guided))}".encode())
        if self.output is not None:
            state.update(f"|output={tuple(map(int, self.output))}".encode())
        if self.ground:
            state.update(b"|ground")
        if self.negative:
            state.update(f"|negative={self.negative}".encode())
        if self.product is not None:
            inpaint = "inpaint|" if self.inpaint else ""
            state.update(f"|{inpaint}{self.product.width}x{self.product.height}|".encode() + self.product.tobytes())
        return state.hexdigest()

    def _hash(self) -> hashlib._Hash:
        state = hashlib.sha256(f"{len(self.title)}:{self.title}".encode())
        for picture in self.references:
            rgb = over_white(picture)
            state.update(f"|{rgb.width}x{rgb.height}|".encode() + rgb.tobytes())
        if self.product_id:
            state.update(f"|product_id={self.product_id}".encode())
        if self.audience:
            state.update(f"|audience={self.audience}".encode())
        return state

    def _check_item(self) -> None:
        if not isinstance(self.title, str) or len(self.title) > MAX_TITLE:
            raise BriefError(f"title of {_kind_of(self.title)}; allowed: text of at most {MAX_TITLE} characters")
        if not isinstance(self.audience, str) or len(self.audience) > MAX_AUDIENCE:
            raise BriefError(
                f"audience of {_kind_of(self.audience)}; allowed: text of at most {MAX_AUDIENCE} characters"
            )
        if not isinstance(self.negative, str) or len(self.negative) > MAX_TITLE:
            raise BriefError(f"negative of {_kind_of(self.negative)}; allowed: text of at most {MAX_TITLE} characters")
        object.__setattr__(self, "references", tuple(self.references))
        if len(self.references) > MAX_REFERENCES:
            raise BriefError(f"references={len(self.references)} pictures; allowed: at most {MAX_REFERENCES}")
        for picture in self.references:
            if not isinstance(picture, Image.Image) or picture.width * picture.height > MAX_PIXELS:
                raise BriefError(
                    f"references holds {_kind_of(picture)}; allowed: PIL images of at most {MAX_PIXELS} pixels"
                )
        if not self.title.strip() and not self.references:
            raise BriefError("title='' without references; allowed: a title, a reference or both")
        if self.product_id != "":
            check_id(self.product_id)

    def _check_anchor(self) -> None:
        strength = self.reference_strength
        if self.product is not None:
            check_product(self.product)
        _within("reference_strength", strength, 0, MAX_REFERENCE_STRENGTH)
        if strength > 0 and not self.references and self.product is None:
            raise BriefError(f"reference_strength={strength} without references or product; allowed: 0")
        if self.inpaint and (self.product is None or strength > 0):
            problem = "without a product" if self.product is None else f"with reference_strength={strength}"
            raise BriefError(f"inpaint=True {problem}; allowed: a product, and reference_strength=0")


def check_id(id: str) -> str:
    """The id itself. Raises BriefError for an invalid product id: it becomes a folder's name."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        text = repr(id[:80]) if isinstance(id, str) else type(id).__name__
        raise BriefError(
            f"product_id={text}; allowed: 1 to 64 of a-z, 0-9, '-' and '_', a letter or digit first and last"
        )
    return id


def check_product(product: Image.Image) -> None:
    """Raise BriefError unless it is an RGBA cut-out of allowed size, neither empty nor opaque."""
    if not isinstance(product, Image.Image) or product.mode != "RGBA" or product.width * product.height > MAX_PIXELS:
        kind = f"{product.mode}, {product.size}" if isinstance(product, Image.Image) else _kind_of(product)
        raise BriefError(f"product is {kind}; allowed: an RGBA picture of at most {MAX_PIXELS} pixels")
    low, high = product.getchannel("A").getextrema()
    if low > 0 or high < 255:
        raise BriefError(f"product has alpha {low}..{high}; allowed: a cut-out, 0 around the product and 255 on it")


def _within(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise BriefError(f"{name}={value!r}; allowed: a number in {low}..{high}")
    if not low <= value <= high:
        raise BriefError(f"{name}={value!r}; allowed: {low}..{high}")


def _whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise BriefError(f"{name}={value!r}; allowed: a whole number in {low}..{high}")


def _kind_of(value: object) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
