"""Triton's tensors: briefs and pictures -> inputs, responses -> covers and scores, messages -> errors. Knows no endpoint.

The other side is deploy/triton. A response of another form is garbage and gives Unavailable, as the caller's input is not at fault.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from tritonclient.grpc import InferInput, InferResult

from eyecatch.core.errors import InternalError, Unavailable, shorten
from eyecatch.core.gates import GATES
from eyecatch.core.generator import Brief, PictureScore
from eyecatch.core.types import EMBEDDING_DIM, Pixels
from eyecatch.generators.refusals import error_of

TYPES = {"b1": "BOOL", "u1": "UINT8", "i8": "INT64", "f4": "FP32", "f8": "FP64"}
MAX_PREVIEW = 512
"""Pixels of the longer edge: one for each cell of a latent."""
PROVENANCE = {"model": str, "adapter": str, "seed": int, "steps": int, "brief_digest": str}
"""A cover of a fine-tuned product has `product` too."""


class Busy(Unavailable):
    """A server answers but is full, or has not enough time before the deadline. It is not broken."""


class Broken(Unavailable):
    """A server does not answer, fails at work, or answers garbage."""


def brief_inputs(brief: Brief) -> list[InferInput]:
    """Inputs of cover_generator: a tensor for each knob that differs from its default, with the knob's name."""
    tensors = {name: _knob(value) for name, value in brief.drawing.set_knobs().items()}
    tensors |= {"title": _knob(brief.title), "seed": _knob(brief.seed)}
    if brief.references:
        tensors["references"], tensors["reference_lengths"] = _joined(brief.references)
    if brief.user_embedding.any():
        tensors["user_embedding"] = brief.user_embedding.astype(np.float32)
    return _inputs(tensors)


def picture_inputs(images: Sequence[bytes], titles: Sequence[str], engaging: bool = False) -> list[InferInput]:
    """Inputs of cover_scorer."""
    pictures, lengths = _joined(images)
    texts, text_lengths = _joined([title.encode() for title in titles])
    tensors = {"images": pictures, "image_lengths": lengths, "titles": texts, "title_lengths": text_lengths}
    return _inputs(tensors | ({"engaging": np.array([True])} if engaging else {}))


def progress(result: InferResult) -> tuple[int, int] | None:
    """(step, total), or None for the last response."""
    tensor = _tensor(result, "progress")
    if tensor is None:
        return None
    if tensor.dtype != np.int64 or tensor.shape != (2,) or not 0 <= tensor[0] <= tensor[1] or tensor[1] < 1:
        raise Broken(f"garbage: progress {shorten(tensor.tolist())}; allowed: a step and the number of steps")
    return int(tensor[0]), int(tensor[1])


def preview(result: InferResult) -> Pixels | None:
    """The preview (h, w, 3) of a progress response, or None."""
    pixels = _tensor(result, "preview")
    if pixels is not None and (not _is_picture(pixels) or max(pixels.shape) > MAX_PREVIEW):
        raise Broken(
            f"garbage: preview {_shape(pixels)}; allowed: uint8 (h, w, 3) of at most {MAX_PREVIEW} pixels an edge"
        )
    return pixels


class Cover(NamedTuple):
    """pixels: (H, W, 3) uint8. available, probabilities: the verdict of a judge of product pictures, None and empty without one.
    gates: their values by name; refusals: those that it does not pass, in words; None from a server without gates."""

    pixels: np.ndarray[Any, Any]
    provenance: dict[str, Any]
    available: bool | None = None
    probabilities: Mapping[str, float] = MappingProxyType({})
    gates: Mapping[str, float] = MappingProxyType({})
    refusals: tuple[str, ...] | None = None


def cover(result: InferResult) -> Cover:
    """The cover of the last response."""
    pixels, text = _tensor(result, "image"), _tensor(result, "provenance")
    if pixels is None or not _is_picture(pixels):
        raise Broken(f"garbage: image {_shape(pixels)}; allowed: uint8 (H, W, 3)")
    try:
        provenance = json.loads(b"" if text is None else text.tobytes())
    except ValueError as error:
        raise Broken(f"garbage: provenance is not JSON ({error})") from error
    judgement, passed = (
        provenance.pop(name, None) if isinstance(provenance, dict) else None for name in ("judgement", "gates")
    )
    types = {name: type(value) for name, value in provenance.items()} if isinstance(provenance, dict) else {}
    placed = types.pop("place", None) is None or _is_place(provenance["place"])
    if not placed or types not in (PROVENANCE, PROVENANCE | {"product": str}):
        raise Broken(f"garbage: provenance {shorten(provenance)}; allowed: {', '.join(PROVENANCE)}, product and place")
    verdict = (None, MappingProxyType({})) if judgement is None else _verdict(judgement)
    return Cover(pixels, provenance, *verdict, *(({}, None) if passed is None else _gates(passed)))


def _is_place(value: object) -> bool:
    """Whether it says where a picture stands: edge, x and y in shares of the cover."""
    return isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and 0 <= v <= 1 for v in value)


def _gates(passed: Any) -> tuple[dict[str, float], tuple[str, ...]]:
    """Values and refusals of the gates."""
    fields = passed if isinstance(passed, dict) else {}
    values, refusals = {name: fields.get(name) for name in GATES}, fields.get("refusals")
    if (
        not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values.values())
        or not isinstance(refusals, list)
        or len(refusals) > len(GATES)
        or not all(isinstance(text, str) for text in refusals)
    ):
        raise Broken(f"garbage: gates {shorten(passed)}; allowed: {', '.join(GATES)} in 0..1, and refusals in words")
    return {name: float(value) for name, value in values.items() if value is not None}, tuple(refusals)


def _verdict(judgement: Any) -> tuple[bool, dict[str, float]]:
    fields = judgement if isinstance(judgement, dict) else {}
    available, probabilities = fields.get("available"), fields.get("probabilities")
    if (
        not isinstance(available, bool)
        or not isinstance(probabilities, dict)
        or "available" not in probabilities
        or not all(isinstance(p, float) and 0 <= p <= 1 for p in probabilities.values())
    ):
        raise Broken(f"garbage: judgement {shorten(judgement)}; allowed: available, and probabilities of it and others")
    return available, probabilities


def scores(result: InferResult, count: int, space: int) -> list[PictureScore]:
    """Embeddings and rewards of `count` pictures, embedded by the model `space`."""
    embeddings, rewards, names, its_space = (
        _tensor(result, name) for name in ("embeddings", "rewards", "reward_names", "space")
    )
    expected = (("embeddings", embeddings, (count, EMBEDDING_DIM)), ("rewards", rewards, (count, None)))
    for name, tensor, shape in expected:
        if (
            tensor is None
            or tensor.dtype.kind != "f"
            or tensor.ndim != 2
            or shape not in (tensor.shape, (len(tensor), None))
        ):
            raise Broken(f"garbage: {name} {_shape(tensor)}; allowed: {shape}")
        if not np.isfinite(tensor).all():
            raise Broken(f"garbage: {name} are not all finite")
    assert embeddings is not None and rewards is not None  # noqa: PT018, S101  (for the type checker)
    text = b"" if names is None else names.tobytes()
    reward_names = text.decode(errors="replace").splitlines()
    if len(reward_names) != rewards.shape[1]:
        raise Broken(f"garbage: reward_names {shorten(text)}; allowed: a line for each of {rewards.shape[1]} rewards")
    if its_space is None or its_space.tolist() != [space]:
        got = None if its_space is None else its_space.tolist()
        raise Broken(
            f"cover_scorer embeds with the model {got}; allowed: [{space}], our checkpoint's: use one folder for both"
        )
    return [
        PictureScore(embedding.astype(np.float32), dict(zip(reward_names, map(float, row), strict=True)))
        for embedding, row in zip(embeddings, rewards, strict=True)
    ]


def refuse(message: str) -> NoReturn:
    """Raise the error that a server sent. Texts of our models start with the kind in brackets; other texts are Triton's own."""
    match = re.search(r"\[([A-Z_]+)\] (.*)", message, re.S)
    word, text = match.groups() if match else ("", message)
    error = error_of(word, text)
    if word == "UNAVAILABLE":
        raise Busy(str(error))
    raise Broken(text) if isinstance(error, Unavailable | InternalError) else error


def _knob(value: Any) -> np.ndarray[Any, Any]:
    """A text as UTF-8 bytes, a tuple as its numbers, any other value as one element."""
    if isinstance(value, str):
        return np.frombuffer(value.encode(), np.uint8)
    return np.array(value if isinstance(value, tuple) else [value])


def _inputs(tensors: Mapping[str, np.ndarray[Any, Any]]) -> list[InferInput]:
    inputs = []
    for name, array in tensors.items():
        inputs.append(InferInput(name, list(array.shape), TYPES[array.dtype.str[1:]]))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def _joined(parts: Sequence[bytes]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.frombuffer(b"".join(parts), np.uint8), np.array([len(part) for part in parts], np.int64)


def _tensor(result: InferResult, name: str) -> np.ndarray[Any, Any] | None:
    try:
        tensor: np.ndarray[Any, Any] | None = result.as_numpy(name)
    except (ValueError, TypeError) as error:  # the bytes do not fit their shape or type
        raise Broken(f"garbage: {name} ({error})") from error
    return tensor


def _is_picture(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size > 0


def _shape(array: np.ndarray[Any, Any] | None) -> str:
    return "is missing" if array is None else f"of {array.dtype} {array.shape}"
