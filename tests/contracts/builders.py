"""Small true-to-life values for the contract tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from eyecatch.core.ports import CatalogStore, DecisionLog, JobQueue, ProfileStore
from eyecatch.core.types import EMBEDDING_DIM, Action, Cover, Event, Item, Job, Origin, Provenance, Vector

MAX_WAITING = 5


@dataclass(frozen=True)
class Stores:
    """The four ports of one implementation over one state; its queue holds MAX_WAITING jobs."""

    catalog: CatalogStore
    profiles: ProfileStore
    decisions: DecisionLog
    queue: JobQueue


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
    return Job(id, key or id, "a", **more)
