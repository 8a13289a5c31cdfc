"""User embeddings without torch: icg.users.encoder and icg.users.cold_start as a numpy forward pass over many users at once.

Knows no event type and no store. Only the last position's embedding is needed, so the last layer computes nothing else.
A user's embedding is bit-equal whichever users share the call: the shapes of its products depend on its own number of events only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from icg.checkpoints import SPACE, SPACE_WEIGHTS, space_folder
from icg.data.behaviour import CLICK, DISLIKE, ENGAGED, Log
from icg.errors import CheckpointError
from icg.users.cold_start import TasteMixture
from icg.users.histories import DWELL_MS, GAP_S, WINDOW

TOKENS = 1024
"""Events in one call: enough for a small overhead, few enough for the second-level cache."""

LINEAR = ("enter.weight", "out.1.weight", "in_proj_weight", "out_proj.weight", "linear1.weight", "linear2.weight")
"""Stored transposed: products take two thirds of the time."""

LENGTHS = 8
"""Histories are padded to a multiple of this many events, and encoded together with those of the same length."""


@dataclass(frozen=True)
class Histories:
    """B users' events without impressions, oldest first, padded at the end to T: cover (B, T) rows of `table` (N, D), action (B, T)
    numbers of the wire, dwell_ms (B, T), time (B, T) in seconds, length (B,)."""

    table: np.ndarray
    cover: np.ndarray
    action: np.ndarray
    dwell_ms: np.ndarray
    time: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray, log: Log, known: np.ndarray) -> Histories:
        """The latest WINDOW of the first `known` (B,) events of users 0 to B - 1 of a log without impressions, whose covers are rows of
        `table`."""
        start = np.searchsorted(log.user, np.arange(len(known)))
        length = np.minimum(known, WINDOW)
        place = np.minimum((start + known - length)[:, None] + np.arange(WINDOW), max(len(log) - 1, 0))
        return cls(table, *(column[place] for column in (log.cover, log.action, log.dwell_ms, log.time)), length)

    def take(self, rows: np.ndarray, longest: int) -> Histories:
        """The users of these rows, padded to `longest`."""
        columns = (
            _padded(column[rows, :longest], longest) for column in (self.cover, self.action, self.dwell_ms, self.time)
        )
        return Histories(self.table, *columns, self.length[rows])

    @property
    def mask(self) -> np.ndarray:
        """(B, T) mask of real events."""
        return np.arange(self.cover.shape[1]) < self.length[:, None]

    def evidence(self) -> tuple[np.ndarray, np.ndarray]:
        """(B, D) the sum of engaged covers minus that of rejected ones, each once, and their number (B,)."""
        total = np.zeros((len(self.length), self.table.shape[1]), np.float32)
        count = np.zeros(len(self.length), np.float32)
        earlier = np.tri(self.cover.shape[1], k=-1, dtype=bool)
        for sign, actions in ((1, ENGAGED), (-1, (DISLIKE,))):
            relevant = self.mask & np.isin(self.action, actions)
            again = (self.cover[:, :, None] == self.cover[:, None, :]) & relevant[:, None, :] & earlier
            first = (relevant & ~again.any(2)).astype(np.float32)
            total += sign * (first[:, None] @ self.table[self.cover])[:, 0]
            count += first.sum(1)
        return total, count


class UserReader:
    """`encode` equals icg.users.encoder.UserEncoder without carried sums; a call also adds the taste clusters."""

    def __init__(self, config: dict[str, int], weights: dict[str, np.ndarray], mixture: TasteMixture) -> None:
        self._layers, self._heads = config["layers"], config["heads"]
        self.embedding = config["embedding"]
        self._w = {name: np.ascontiguousarray(w, np.float32) for name, w in weights.items()}
        for name in [name for name in weights if name.endswith(LINEAR)]:
            self._w[name] = np.ascontiguousarray(self._w[name].T)
        self.mixture = mixture

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> UserReader:
        """Read config.json, model.safetensors and mixture.safetensors. Raises CheckpointError if one is missing or does not match."""
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise CheckpointError(f"users={str(folder)!r}: {name} is missing; allowed: a folder of save_pretrained")
        try:
            config = json.loads((folder / "config.json").read_bytes())
            reader = cls(config, load_file(folder / "model.safetensors"), TasteMixture.from_pretrained(folder))
            reader(_example_history(reader.embedding))
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise CheckpointError(f"users={str(folder)!r}: does not match its config.json ({error!r})") from error
        return reader

    def __call__(self, histories: Histories) -> np.ndarray:
        """(B, D) float32, at most unit length, shorter with fewer events; zeros for a user without events."""
        return self._by_length(histories, lambda part: self.mixture(self._encode(part), *part.evidence()))

    def encode(self, histories: Histories) -> np.ndarray:
        """(B, D) unit user embeddings; zeros for a user without events."""
        return self._by_length(histories, self._encode)

    def _by_length(self, histories: Histories, read: Callable[[Histories], np.ndarray]) -> np.ndarray:
        """Apply `read` to users with similar numbers of events, about TOKENS events a call."""
        out = np.zeros((len(histories.length), self.embedding), np.float32)
        longest = -(-histories.length // LENGTHS) * LENGTHS
        for length in np.unique(longest[longest > 0]):
            same, batch = np.flatnonzero(longest == length), max(1, TOKENS // int(length))
            for rows in np.split(same, range(batch, len(same), batch)):
                out[rows] = read(histories.take(rows, int(length)))
        return out

    def _encode(self, histories: Histories) -> np.ndarray:
        w, length = self._w, histories.length
        covers = histories.table[histories.cover]
        dwell = np.searchsorted(DWELL_MS, histories.dwell_ms)
        gap = np.searchsorted(GAP_S, np.diff(histories.time, axis=1, prepend=histories.time[:, :1]))
        x = _linear(covers, w["enter.weight"], w["enter.bias"])
        for n, column in enumerate((histories.action, dwell, gap)):
            x += w[f"kinds.{n}.weight"][column]
        x = np.concatenate([np.broadcast_to(w["start"], (len(x), 1, x.shape[2])), x], 1)
        for n in range(self._layers):
            x = self._layer(f"read.layers.{n}.", x, length, last=n == self._layers - 1)
        read = _linear(_norm(x[:, -1:], w, "out.0."), w["out.1.weight"], w["out.1.bias"])[:, 0]
        weight = (w["weight.0.weight"][histories.action] + w["weight.1.weight"][dwell])[..., 0]
        age = length[:, None] - 1 - np.arange(covers.shape[1])
        weight *= np.where(histories.mask, (1 / (1 + np.exp(-w["decay"]))) ** np.maximum(age, 0), 0)
        after = (weight[:, None] @ covers)[:, 0] + read
        return after / np.maximum(np.linalg.norm(after, axis=1, keepdims=True), 1e-6)

    def _layer(self, name: str, x: np.ndarray, length: np.ndarray, last: bool) -> np.ndarray:
        """Attention to earlier positions, then an MLP: x (B, T, W) -> the same; (B, 1, W), at position `length`, of the last layer."""
        w, (count, size, width), heads = self._w, x.shape, self._heads
        weight, bias = w[name + "self_attn.in_proj_weight"], w[name + "self_attn.in_proj_bias"]
        normed = _norm(x, w, name + "norm1.")
        key, value = np.split(_linear(normed, weight[:, width:], bias[width:]), 2, -1)
        if last:
            final = np.arange(count), length
            x, normed = x[final][:, None], normed[final][:, None]
            hidden = (np.arange(size) > length[:, None])[:, None, None]
        else:
            hidden = ~np.tri(size, dtype=bool)
        query = _linear(normed, weight[:, :width], bias[:width])
        query, key, value = (
            part.reshape(count, -1, heads, width // heads).swapaxes(1, 2) for part in (query, key, value)
        )
        logits = query @ key.swapaxes(2, 3) * np.float32((width // heads) ** -0.5)
        np.copyto(logits, -np.inf, where=hidden)
        logits -= logits.max(-1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(-1, keepdims=True)
        attended = (logits @ value).swapaxes(1, 2).reshape(x.shape)
        x = x + _linear(attended, w[name + "self_attn.out_proj.weight"], w[name + "self_attn.out_proj.bias"])
        inner = _gelu(_linear(_norm(x, w, name + "norm2."), w[name + "linear1.weight"], w[name + "linear1.bias"]))
        return x + _linear(inner, w[name + "linear2.weight"], w[name + "linear2.bias"])


def cover_space(root: str | Path, space: Path | None = None) -> int:
    """2 to 65535: identifies a model of cover embeddings, by the projection of its space, which names the encoder.

    root: a checkpoint folder; space: a fitted space in place of its own. Two models share a number with a probability of 1 in 65,534.
    Raises CheckpointError for a folder `space` that is none.
    """
    return _digest(_files_of_space(Path(root), space))


def version(root: str | Path) -> int:
    """2 to 65535: identifies a user encoder and its space of covers; like `cover_space`, with the files of users/."""
    return _digest([*_files(Path(root), "users"), *_files_of_space(Path(root), None)])


def _files_of_space(root: Path, space: Path | None) -> list[tuple[str, Path]]:
    return [(SPACE, space_folder(root, space) / SPACE_WEIGHTS)]


def _files(root: Path, part: str) -> list[tuple[str, Path]]:
    return [(part, path) for path in sorted((root / part).glob("*")) if path.suffix in (".json", ".safetensors")]


def _digest(files: list[tuple[str, Path]]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part, path in files:
        digest.update(f"{part}/{path.name}/{path.stat().st_size}".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return 2 + int.from_bytes(digest.digest(), "big") % 65_534


def _example_history(width: int) -> Histories:
    """One user with one event, to test whether weights and configuration match."""
    zero = np.zeros((1, 1), np.int64)
    return Histories(
        np.zeros((1, width), np.float32), zero, zero + CLICK, zero, zero.astype(float), np.ones(1, np.int64)
    )


def _padded(column: np.ndarray, longest: int) -> np.ndarray:
    return np.pad(column, ((0, 0), (0, longest - column.shape[1])))


def _linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x (B, T, N), weight (N, M) -> (B, T, M): one product a user; the sums of some kernels depend on a row's place in its block."""
    out: np.ndarray = x @ weight
    out += bias
    return out


def _norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x /= np.sqrt(np.einsum("...i,...i->...", x, x)[..., None] / x.shape[-1] + 1e-5)
    x *= w[name + "weight"]
    x += w[name + "bias"]
    return x


def _gelu(x: np.ndarray) -> np.ndarray:
    """x Φ(x), with the error function to 1.5e-7 (Abramowitz and Stegun 7.1.26) because numpy has none. In place where possible: it is
    limited by memory bandwidth."""
    size = np.abs(x)
    t = size * np.float32(0.3275911 * 0.5**0.5)
    t += 1
    np.reciprocal(t, out=t)
    tail = t * np.float32(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(factor)
        tail *= t
    np.multiply(size, size, out=t)
    t *= np.float32(-0.5)
    tail *= np.exp(t, out=t)  # 1 - erf(|x| / sqrt 2)
    tail *= size
    tail *= np.float32(-0.5)
    tail += np.maximum(x, 0, out=size)
    return tail
