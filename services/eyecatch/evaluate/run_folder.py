"""The results of a recall job on disk, in shards: a job that was killed goes on where it stopped and ends with the same figures.

Knows no ranker and no cluster.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from icg.data.interactions import Split
from icg.evaluate.ranking import Ranks, Scorer, UserBlock, blocks, joined, ranks_in
from numpy.typing import NDArray

from eyecatch.core.errors import InvalidInput
from eyecatch.evaluate.behaviour import BehaviourTable
from eyecatch.shards import Runner, Shard, ShardResults, Work, here, key_of, packed, run, unpacked

USERS = 4096
"""Of a shard."""
DEPTH = 20
"""Items of a user's ranking that are stored, for coverage and the report."""


@dataclass(frozen=True, eq=False)
class Rank:
    """Users of a block -> their ranks, as `packed`. among (items,) bool: only these items, None for all."""

    scorer: Scorer
    among: NDArray[np.bool_] | None = None

    def __call__(self, block: UserBlock) -> bytes:
        ranks = ranks_in(block, self.scorer, DEPTH, self.among)
        return packed({"rank": ranks.rank, "top": ranks.top})


class RunFolder:
    """`folder`: the run folder. `digest`: of the data and the settings. Raises InvalidInput if the folder has results of others."""

    def __init__(self, folder: Path, digest: str, runner: Runner = here) -> None:
        self.folder, self._digest, self._runner = folder, digest, runner
        self._results = ShardResults(folder / "shards")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "job.json"
        stored = json.loads(path.read_text())["digest"] if path.is_file() else digest
        if stored != digest:
            raise InvalidInput.of("out", str(folder), "a new folder: this one has results of other data or settings")
        part = path.with_suffix(".tmp")
        part.write_text(json.dumps({"digest": digest}))
        os.replace(part, path)

    def shards(self, names: Sequence[str], payloads: Iterable[Any], work: Callable[[], Work]) -> list[bytes]:
        """The results of shards, in the order of their names, which differ in a run. `work` is called only if a result is missing."""
        keys = [key_of(self._digest, name) for name in names]
        if any(key not in self._results for key in keys):
            shards = (Shard(key, payload) for key, payload in zip(keys, payloads, strict=True))
            run(work(), shards, self._results, self._runner)
        return [self._results.read(key) for key in keys]

    def ranks(
        self, name: str, split: Split, scorer: Callable[[], Scorer], among: NDArray[np.bool_] | None = None
    ) -> Ranks:
        """The ranks of all users by the scorer, which must survive pickling."""
        parts = self.per_users(name, split, blocks(split, USERS), lambda: Rank(scorer(), among))
        return joined([Ranks(part["rank"], part["top"]) for part in parts], DEPTH)

    def per_users(
        self, name: str, split: Split, payloads: Iterable[Any], work: Callable[[], Work]
    ) -> list[dict[str, NDArray[Any]]]:
        """The arrays of one shard for each USERS users of the split, in order."""
        names = [f"{name}, users from {first}" for first in range(0, len(split.users), USERS)]
        return [unpacked(data) for data in self.shards(names, payloads, work)]


def digest(behaviour: BehaviourTable, settings: object, encoder: int) -> str:
    """Of all that the figures depend on: events, items, covers, settings (a dataclass) and the version of the profiles' encoder."""
    total = hashlib.sha256(json.dumps([repr(settings), encoder, list(behaviour.users)]).encode())
    total.update(json.dumps([(i.id, i.title, i.category) for i in behaviour.items]).encode())
    table, covers = behaviour.table, behaviour.covers
    for column in (table.user, table.item, table.time, table.action, behaviour.shown, behaviour.dwell_ms):
        total.update(np.ascontiguousarray(column).tobytes())
    for column in (covers.rows, covers.item_of, covers.taste):
        total.update(np.ascontiguousarray(column).tobytes())
    total.update(json.dumps([covers.made_for, covers.ids]).encode())
    return total.hexdigest()
