"""Users of items that get pictures later: bounded work for many users, all of an item's users, and nothing lost by an error."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.upkeep import late_pictures
from eyecatch.upkeep.late_pictures import BATCH, LatePictures

from tests.contracts.builders import MEAN
from tests.waiting import until


class Profiles:
    """Item n has n users. `batches`: the users of each call of reencode; the first calls raise the errors."""

    def __init__(self, errors: Sequence[Exception] = ()) -> None:
        self.batches: list[list[str]] = []
        self.errors = list(errors)

    async def engaged(self, item_ids: Sequence[str], batch: int) -> AsyncIterator[Sequence[str]]:
        for id in item_ids:
            users = [f"{id}-{n}" for n in range(int(id))]
            for first in range(0, len(users), batch):
                yield users[first : first + batch]

    async def reencode(self, keys: Sequence[str], encoder: Any, always: bool) -> int:
        if self.errors:
            raise self.errors.pop()
        self.batches.append([*keys])
        return len(keys)


async def test_many_users_are_encoded_a_batch_at_a_time() -> None:
    profiles = Profiles()
    late = LatePictures(profiles, MEAN, 0.01)  # type: ignore[arg-type]
    task = asyncio.ensure_future(late.run())
    late.add(["1000", "0"])
    late.add(["3"])
    await until(lambda: sum(map(len, profiles.batches)) == 1003, "all users")
    assert max(map(len, profiles.batches)) == BATCH
    task.cancel()


async def test_items_are_tried_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_pictures, "AGAIN_S", 0.01)
    profiles = Profiles([Unavailable("slow"), Unavailable("slow")])
    late = LatePictures(profiles, MEAN, 0.01)  # type: ignore[arg-type]
    task = asyncio.ensure_future(late.run())
    late.add(["2"])
    await until(lambda: profiles.batches == [["2-0", "2-1"]], "the users")
    task.cancel()
