"""Triton's tensors: briefs and pictures -> inputs, responses -> covers and scores, messages -> errors. Knows no endpoint.

The other side is deploy/triton. A response of another form is garbage, and garbage is Unavailable: no caller's input caused it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from tritonclient.grpc import InferInput, InferResult

from eyecatch.core.errors import InternalError, Unavailable, shorten
from eyecatch.core.ports import Brief, Scored
from eyecatch.core.types import EMBEDDING_DIM, Pixels
from eyecatch.generators.refusals import error_of

TYPES = {"b1": "BOOL", "u1": "UINT8", "i8": "INT64", "f4": "FP32", "f8": "FP64"}
MAX_PREVIEW = 512
"""Pixels of its longer edge: a cell of a latent each."""
PROVENANCE = {"model": str, "adapter": str, "seed": int, "steps": int, "brief_digest": str}
"""Beside these, `product` for a fine-tuned one."""


class Busy(Unavailable):
    """A server answers, but has no room, or not enough time before the deadline: nothing is wrong with it."""


class Broken(Unavailable):
    """A server does not answer, breaks while it works, or answers garbage."""


def brief_inputs(brief: Brief) -> list[InferInput]:
    """cover_generator's inputs: a tensor for each knob that differs from its default, under the knob's name."""
    tensors = {name: _knob(value) for name, value in brief.drawing.set_knobs().items()}
    tensors |= {"title": _knob(brief.title), "seed": _knob(brief.seed)}
    if brief.references:
        tensors["references"], tensors["reference_lengths"] = _joined(brief.references)
    if brief.user_embedding.any():
        tensors["user_embedding"] = brief.user_embedding.astype(np.float32)
    return _inputs(tensors)


def picture_inputs(images: Sequence[bytes], titles: Sequence[str], engaging: bool = False) -> list[InferInput]:
    """cover_scorer's."""
    pictures, lengths = _joined(images)
    texts, text_lengths = _joined([title.encode() for title in titles])
    named = {"images": pictures, "image_lengths": lengths, "titles": texts, "title_lengths": text_lengths}
    return _inputs(named | ({"engaging": np.array([True])} if engaging else {}))


def progress(result: InferResult) -> tuple[int, int] | None:
    """(step, total), or None for the last response."""
    found = _tensor(result, "progress")
    if found is None:
        return None
    if found.dtype != np.int64 or found.shape != (2,) or not 0 <= found[0] <= found[1] or found[1] < 1:
        raise Broken(f"garbage: progress {shorten(found.tolist())}; allowed: a step and of how many")
    return int(found[0]), int(found[1])


def preview(result: InferResult) -> Pixels | None:
    """The preview beside some progress, or None."""
    found = _tensor(result, "preview")
    if found is not None and (not _is_picture(found) or max(found.shape) > MAX_PREVIEW):
        raise Broken(
            f"garbage: preview {_shown(found)}; allowed: uint8 (h, w, 3) of at most {MAX_PREVIEW} pixels an edge"
        )
    return found


class Cover(NamedTuple):
    """pixels (H, W, 3) uint8, the provenance, and the verdict of a judge of product pictures if there is one: whether it would show
    the cover, and the probability of each class."""

    pixels: np.ndarray[Any, Any]
    provenance: dict[str, Any]
    available: bool | None = None
    probabilities: Mapping[str, float] = MappingProxyType({})


def cover(result: InferResult) -> Cover:
    """The last response."""
    pixels, told = _tensor(result, "image"), _tensor(result, "provenance")
    if pixels is None or not _is_picture(pixels):
        raise Broken(f"garbage: image {_shown(pixels)}; allowed: uint8 (H, W, 3)")
    try:
        provenance = json.loads(b"" if told is None else told.tobytes())
    except ValueError as error:
        raise Broken(f"garbage: provenance is not JSON ({error})") from error
    judged = provenance.pop("judgement", None) if isinstance(provenance, dict) else None
    types = {name: type(value) for name, value in provenance.items()} if isinstance(provenance, dict) else provenance
    if types not in (PROVENANCE, PROVENANCE | {"product": str}):
        raise Broken(f"garbage: provenance {shorten(provenance)}; allowed: {', '.join(PROVENANCE)}, and product")
    return Cover(pixels, provenance) if judged is None else Cover(pixels, provenance, *_judged(judged))


def _judged(told: Any) -> tuple[bool, dict[str, float]]:
    available, found = (told.get("available"), told.get("probabilities")) if isinstance(told, dict) else (None, None)
    if (
        not isinstance(available, bool)
        or not isinstance(found, dict)
        or "available" not in found
        or not all(isinstance(p, float) and 0 <= p <= 1 for p in found.values())
    ):
        raise Broken(f"garbage: judgement {shorten(told)}; allowed: available, and probabilities of it and others")
    return available, found


def scores(result: InferResult, count: int, space: int) -> list[Scored]:
    """Embeddings and rewards of `count` pictures, embedded by the model `space`."""
    embeddings, rewards, names, where = (
        _tensor(result, name) for name in ("embeddings", "rewards", "reward_names", "space")
    )
    for name, found, shape in (("embeddings", embeddings, (count, EMBEDDING_DIM)), ("rewards", rewards, (count, None))):
        if (
            found is None
            or found.dtype.kind != "f"
            or found.ndim != 2
            or shape not in (found.shape, (len(found), None))
        ):
            raise Broken(f"garbage: {name} {_shown(found)}; allowed: {shape}")
        if not np.isfinite(found).all():
            raise Broken(f"garbage: {name} are not all finite")
    assert embeddings is not None and rewards is not None  # noqa: PT018, S101  (for the type checker)
    listed = b"" if names is None else names.tobytes()
    known = listed.decode(errors="replace").splitlines()
    if len(known) != rewards.shape[1]:
        raise Broken(f"garbage: reward_names {shorten(listed)}; allowed: a line for each of {rewards.shape[1]} rewards")
    if where is None or where.tolist() != [space]:
        told = None if where is None else where.tolist()
        raise Broken(
            f"cover_scorer embeds with the model {told}; allowed: [{space}], our checkpoint's: use one folder for both"
        )
    return [
        Scored(embedding.astype(np.float32), dict(zip(known, map(float, row), strict=True)))
        for embedding, row in zip(embeddings, rewards, strict=True)
    ]


def refuse(message: str) -> NoReturn:
    """Raise what a server said instead of an answer. Our models begin with the kind in brackets; other texts are Triton's own."""
    found = re.search(r"\[([A-Z_]+)\] (.*)", message, re.S)
    word, text = found.groups() if found else ("", message)
    error = error_of(word, text)
    if word == "UNAVAILABLE":
        raise Busy(str(error))
    raise Broken(text) if isinstance(error, Unavailable | InternalError) else error


def _knob(value: Any) -> np.ndarray[Any, Any]:
    """Text as UTF-8 bytes, a tuple as its numbers, anything else as one element."""
    if isinstance(value, str):
        return np.frombuffer(value.encode(), np.uint8)
    return np.array(value if isinstance(value, tuple) else [value])


def _inputs(named: Mapping[str, np.ndarray[Any, Any]]) -> list[InferInput]:
    made = []
    for name, array in named.items():
        one = InferInput(name, list(array.shape), TYPES[array.dtype.str[1:]])
        one.set_data_from_numpy(array)
        made.append(one)
    return made


def _joined(parts: Sequence[bytes]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.frombuffer(b"".join(parts), np.uint8), np.array([len(part) for part in parts], np.int64)


def _tensor(result: InferResult, name: str) -> np.ndarray[Any, Any] | None:
    try:
        found: np.ndarray[Any, Any] | None = result.as_numpy(name)
    except (ValueError, TypeError) as error:  # the bytes do not fit the shape or the type they come with
        raise Broken(f"garbage: {name} ({error})") from error
    return found


def _is_picture(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size > 0


def _shown(array: np.ndarray[Any, Any] | None) -> str:
    return "is missing" if array is None else f"of {array.dtype} {array.shape}"
