"""The Encoder port on the learned encoder and taste mixture of a checkpoint folder, in numpy. Imports icg at the first use."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import NotReady
from eyecatch.core.ports import Encoder
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import EMBEDDING_DIM, Event, Vector


class LearnedEncoder:
    """Embeddings of at most unit length; the fewer covers are known, the shorter. Events before the window are not read."""

    def __init__(self, checkpoint: Path) -> None:
        """Reads `checkpoint`/users. Raises NotReady if it cannot be read or is not for covers of EMBEDDING_DIM."""
        from icg.errors import IcgError
        from icg.users.numpy_encoder import UserReader, version

        try:
            self._reader = UserReader.from_pretrained(checkpoint / "users")
            self.version: int = int(version(checkpoint))
        except (IcgError, OSError) as error:
            raise NotReady(f"the user encoder cannot be loaded: {error}") from error
        if self._reader.embedding != EMBEDDING_DIM:
            raise NotReady(
                f"the user encoder reads covers of {self._reader.embedding} numbers; allowed: {EMBEDDING_DIM}"
            )

    def adopt(self, clusters: TasteClusters) -> None:
        """Use these clusters instead of the checkpoint's in the mixture for users with little behaviour."""
        alive = clusters.shares > 0
        self._reader.mixture = replace(
            self._reader.mixture, centroids=clusters.centroids[alive], share=clusters.shares[alive]
        )

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        from icg.users.histories import WINDOW
        from icg.users.numpy_encoder import Histories

        rows: dict[str, int] = {}
        known = [
            [
                (rows.setdefault(event.cover_key, len(rows)), event.action, event.dwell_ms, event.time)
                for event in reversed(events[:WINDOW])
                if event.cover_key in embeddings
            ]
            for events in users
        ]
        length = np.array([len(columns) for columns in known], np.int64)
        padded = np.zeros((len(users), max(length.max(initial=0), 1), 4))
        for row, columns in zip(padded, known, strict=True):
            if columns:
                row[: len(columns)] = columns
        cover, action, dwell_ms = (padded[..., n].astype(np.int64) for n in range(3))
        table = np.stack([embeddings[name] for name in rows]) if rows else np.zeros((1, EMBEDDING_DIM), np.float32)
        users_embedded: Vector = self._reader(Histories(table, cover, action, dwell_ms, padded[..., 3], length))
        return users_embedded


def cover_space(checkpoint: Path, space: Path | None = None) -> int:
    """A number of 16 bits for the model that embeds covers: the fitted `space`, else the checkpoint's own. NotReady for no such space."""
    from icg.errors import IcgError
    from icg.users.numpy_encoder import cover_space as number

    try:
        return int(number(checkpoint, space))
    except IcgError as error:
        raise NotReady(f"the cover space cannot be loaded: {error}") from error


def user_encoder(checkpoint: Path, space: Path | None = None) -> Encoder:
    """The learned encoder if the checkpoint folder has users/, which reads covers of its own space; else, and always for another `space`,
    a MeanEncoder."""
    from icg.checkpoints import has_own_space

    number = cover_space(checkpoint, space)
    if (checkpoint / "users").is_dir() and has_own_space(checkpoint) and number == cover_space(checkpoint):
        return LearnedEncoder(checkpoint)
    return MeanEncoder(number)


def picture_affinity(checkpoint: Path, space: Path | None = None) -> Vector | None:
    """(D, D) between an item's pictures and users, by which a user prefers one of them; None for the dot product. NotReady for a broken
    file."""
    from icg.errors import IcgError
    from icg.users.affinity import affinity

    try:
        matrix: Vector | None = affinity(checkpoint, space)
    except IcgError as error:
        raise NotReady(f"the choice of pictures cannot be loaded: {error}") from error
    return matrix


def reward_scales(checkpoint: Path, space: Path | None = None) -> Mapping[str, Mapping[str, float]]:
    """Name -> mean and deviation, and optionally a weight, as measured on the catalogue of the space; nothing for a space without
    them. Raises NotReady for unusable ones."""
    from icg.checkpoints import read_scales, space_folder
    from icg.errors import IcgError

    try:
        scales: Mapping[str, Mapping[str, float]] = read_scales(space_folder(checkpoint, space))
    except IcgError as error:
        raise NotReady(f"the scales of the rewards cannot be loaded: {error}") from error
    return scales
