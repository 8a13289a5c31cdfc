"""Recurrent generation: covers that a judge would not show are drawn again, others are not, and what is told of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.generator import Brief, GeneratedCover
from eyecatch.core.judgement import from_rewards, to_rewards
from eyecatch.core.ports import Progress
from eyecatch.core.types import Cover, Item, Job
from eyecatch.generate.making import Maker, MakerOptions
from eyecatch.generate.metrics import GenerateMetrics
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore

from tests.fakes import FakeGenerator

THRESHOLD = 0.5


class Gated(FakeGenerator):
    """`reliable`: by seed, how likely a picture is available; others 0.1. None: no judge has anything to say of any."""

    def __init__(self, reliable: dict[int, float] | None) -> None:
        super().__init__()
        self.reliable, self.calls = reliable, list[list[int]]()

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        self.calls.append([b.seed for b in briefs])
        return [self._judged(new) for new in await super().generate(briefs, on_step)]

    def _judged(self, new: GeneratedCover) -> GeneratedCover:
        if self.reliable is None:
            return new
        score = self.reliable.get(new.seed, 0.1)
        judgement = to_rewards({"available": score, "space_mismatch": 1 - score})
        return replace(new, rewards={**new.rewards, **judgement}, available=score >= THRESHOLD)


class Room:
    """A maker, and all that is told of what it does."""

    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self.store, self._folder = store, folder
        self.progress: list[Progress] = []
        self.judged: list[tuple[int, bool]] = []

    async def make(self, generator: FakeGenerator, count: int = 1, seed: int = 10, **taste: int) -> list[Cover]:
        def judged(attempts: int, available: bool) -> None:
            self.judged.append((attempts, available))

        blobs = FsspecBlobs(str(self._folder / "blobs"))
        maker = Maker(self.store.catalog, blobs, generator, lambda *_: None, MakerOptions(**taste), judged)
        return await maker.make(
            Job("j", "k", "a", count=count, seed=seed, drawing=Drawing(inpaint=True)), self.progress.append
        )


def seeds(covers: list[Cover]) -> list[int]:
    return [c.provenance.seed for c in covers]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item("a", "A")])
    yield Room(store, tmp_path)
    store.close()


@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_a_cover_is_drawn_until_it_is_available(room: Room, first: int) -> None:
    generator = Gated({9 + first: 0.7})
    (new,) = await room.make(generator, attempts=4)
    assert generator.calls == [[seed] for seed in range(10, 10 + first)]
    assert new.provenance.seed == 9 + first
    assert from_rewards(new.rewards) == pytest.approx({"available": 0.7, "space_mismatch": 0.3})
    assert room.judged == [(first, True)]
    assert [c.id for c in (await room.store.catalog.pools(["a"]))["a"]] == [new.id]


@pytest.mark.parametrize(("attempts", "saved"), [(1, 10), (2, 11), (3, 11), (4, 13)])
async def test_without_an_available_one_the_most_reliable_stays(room: Room, attempts: int, saved: int) -> None:
    generator = Gated({10: 0.2, 11: 0.4, 12: 0.3, 13: 0.45})
    (new,) = await room.make(generator, attempts=attempts)
    assert len(generator.calls) == attempts
    assert new.provenance.seed == saved
    assert room.judged == [(attempts, False)]


async def test_of_equals_the_first_stays(room: Room) -> None:
    (new,) = await room.make(Gated({}), attempts=3)
    assert new.provenance.seed == 10


async def test_three_attempts_unless_told_otherwise(room: Room) -> None:
    generator = Gated({})
    await room.make(generator)
    assert generator.calls == [[10], [11], [12]]


async def test_other_covers_of_the_job_are_not_drawn_again(room: Room) -> None:
    """Attempt n of a cover has its seed and n times the number of covers."""
    generator = Gated({10: 0.9, 12: 0.8, 14: 0.6, 16: 0.9})
    new = await room.make(generator, count=3, attempts=4)
    assert generator.calls == [[10, 11, 12], [14]]
    assert seeds(new) == [10, 14, 12]
    assert room.judged == [(1, True), (2, True), (1, True)]
    again = Gated({10: 0.9, 13: 0.8})
    new = await room.make(again, count=3, attempts=3)
    assert again.calls == [[10, 11, 12], [14, 15], [17, 18]]
    assert seeds(new) == [10, 11, 12], "seed 13 would have been the first one's"
    assert room.judged[3:] == [(1, True), (3, False), (3, False)]


async def test_of_several_draws_each_is_judged_and_the_best_stay(room: Room) -> None:
    generator = Gated({10: 0.9, 11: 0.6, 12: 0.99})
    new = await room.make(generator, draws=2, attempts=2)
    assert generator.calls == [[10, 11]]
    assert seeds(new) == [10], "reliability counts in the score"
    assert room.judged == [(1, True), (1, True)]
    generator = Gated({10: 0.9, 13: 0.95})
    new = await room.make(generator, draws=2, attempts=2)
    assert generator.calls == [[10, 11], [13]]
    assert seeds(new) == [13]


async def test_where_no_judge_has_a_say_nothing_happens(room: Room) -> None:
    generator = Gated(None)
    new = await room.make(generator, count=3, attempts=4)
    assert generator.calls == [[10, 11, 12]]
    assert seeds(new) == [10, 11, 12]
    assert room.judged == []
    assert all(from_rewards(c.rewards) == {} for c in new)


async def test_seeds_begin_anew_after_the_last_there_is(room: Room) -> None:
    last = 2**63 - 1
    generator = Gated({1: 0.9})
    (new,) = await room.make(generator, seed=last, attempts=4)
    assert generator.calls == [[last], [0], [1]]
    assert new.provenance.seed == 1


@pytest.mark.parametrize(
    ("count", "reliable"), [(1, {}), (6, {12: 0.9}), (9, {}), (5, dict.fromkeys(range(10, 14), 0.9))]
)
async def test_progress_goes_on_and_never_beyond_its_total(room: Room, count: int, reliable: dict[int, float]) -> None:
    generator = Gated(reliable)
    await room.make(generator, count=count, attempts=3)
    steps, totals = [p.step for p in room.progress], [p.total_steps for p in room.progress]
    assert steps == list(range(1, 4 * len(generator.calls) + 1))
    assert totals == sorted(totals)
    assert all(p.step <= p.total_steps for p in room.progress)
    assert totals[-1] == steps[-1], "all is done"
    assert len({p.preview for p in room.progress} - {b""}) == 1, "the first picture, while others are drawn"


async def test_a_picture_that_is_drawn_again_is_shown_meanwhile(room: Room) -> None:
    await room.make(Gated({11: 0.9}), attempts=3)
    assert [bool(p.preview) for p in room.progress] == [False] * 4 + [True] * 4
    room.progress.clear()
    await room.make(Gated({10: 0.9}), attempts=3)
    assert not any(p.preview for p in room.progress)


def test_metrics_count_covers_and_the_pictures_drawn_for_them() -> None:
    metrics = GenerateMetrics()
    for attempts, available in [(1, True), (3, False), (2, True)]:
        metrics.count_judged(attempts, available)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("eyecatch_generate_judged_total", available="yes") == 2
    assert value("eyecatch_generate_judged_total", available="no") == 1
    assert value("eyecatch_generate_attempts_total") == 6


def test_judgements_travel_as_rewards() -> None:
    updates = {"available": 0.75, "space_mismatch": 0.2, "size_mismatch": 0.05}
    rewards = to_rewards(updates)
    assert rewards == {"reliability": 0.75, "reliability.space_mismatch": 0.2, "reliability.size_mismatch": 0.05}
    assert from_rewards({"relevance": 0.5, **rewards}) == updates
    assert from_rewards({"relevance": 0.5, "reliability.space_mismatch": 0.2}) == {}
