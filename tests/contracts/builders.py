"""Small true-to-life values for the contract tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.ports import CatalogStore, DecisionLog, JobQueue, Notes, ProfileStore, UserVectors
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Event, Item, Job, Origin, Provenance, Vector, zeros

MAX_WAITING = 5
MEAN = MeanEncoder()


class Each:
    """An Encoder that asks `one` about each user. `calls`: the event ids it got, by call and user."""

    def __init__(self, one: Callable[[Sequence[Event]], Vector] = lambda events: zeros(), version: int = 2) -> None:
        self.one, self.version = one, version
        self.calls: list[list[list[str]]] = []

    def __call__(self, users: Sequence[Sequence[Event]], embeddings: Mapping[str, Vector]) -> Vector:
        self.calls.append([[e.id for e in events] for events in users])
        return np.stack([self.one(events) for events in users])


nothing = Each()


@dataclass(frozen=True)
class Stores:
    """The six ports of one implementation over one state; its queue holds MAX_WAITING jobs."""

    catalog: CatalogStore
    profiles: ProfileStore
    vectors: UserVectors
    decisions: DecisionLog
    queue: JobQueue
    notes: Notes


def unit(seed: int, dim: int = EMBEDDING_DIM) -> Vector:
    v = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return v / np.float32(np.linalg.norm(v))


def item(id: str, **more: Any) -> Item:
    return Item(id, f"Title {id}", **more)


def cover(id: str, item_id: str, seed: int = 1, **more: Any) -> Cover:
    return Cover(id, item_id, more.pop("uri", f"blob:{id}"), unit(seed), **more)


def generated(id: str, item_id: str, seed: int = 1, **more: Any) -> Cover:
    return cover(id, item_id, seed, provenance=Provenance(Origin.GENERATED, "m", "a", 7, 8, 0.5, "d", "j"), **more)


def event(id: str, user: str = "mia", item_id: str = "a", time: float = 1e9, **more: Any) -> Event:
    return Event(id, user, item_id, more.pop("action", Action.CLICK), time, **more)


def job(id: str, key: str = "", **more: Any) -> Job:
    """Of an item of its own, so that it is not held up by others."""
    return Job(id, key or id, more.pop("item_id", f"item-{id}"), **more)
