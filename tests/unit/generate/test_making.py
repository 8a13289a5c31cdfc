"""A job into covers: the best of several draws, previews, what an earlier attempt left, the pool's size."""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eyecatch.core import gates
from eyecatch.core.catalog import catalog_cover_id
from eyecatch.core.errors import InvalidInput
from eyecatch.core.generator import Brief, GeneratedCover
from eyecatch.core.ports import Progress
from eyecatch.core.score import RewardSpec, Scoring
from eyecatch.core.types import AuditEntry, Cover, Item, Job, Standing, StandingChange, Trust
from eyecatch.generate.making import Maker, MakerOptions
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.stores.sqlite import SqliteStore
from PIL import Image

from tests.contracts.builders import cover
from tests.fakes import FakeGenerator

SCORING = Scoring(RewardSpec("preference", 1.0, deviation=0.5), (RewardSpec("relevance", 2.0, 0.5, 0.1),))
USER = np.eye(64, dtype=np.float32)[0]


class Judged(FakeGenerator):
    """`relevance` and `dots` (with USER) by seed; others have 0.5 and 0."""

    def __init__(self, relevance: dict[int, float] | None = None, dots: dict[int, float] | None = None) -> None:
        super().__init__()
        self.relevance, self.dots = relevance or {}, dots or {}

    async def generate(
        self, briefs: Sequence[Brief], on_step: Callable[[int, int], None], on_preview: object = None
    ) -> Sequence[GeneratedCover]:
        return [
            replace(
                cover,
                rewards={"relevance": self.relevance.get(cover.seed, 0.5)},
                embedding=USER * self.dots.get(cover.seed, 0.0),
            )
            for cover in await super().generate(briefs, on_step)
        ]


class Room:
    """A store, and a maker over it."""

    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self.store, self._blobs = store, FsspecBlobs(str(folder / "blobs"))
        self.progress: list[Progress] = []
        self.changes: list[tuple[str, list[str], list[str]]] = []

    async def make(
        self, generator: FakeGenerator, job: Job, draws: int = 1, pool_size: int = 16, **taste: Any
    ) -> list[Cover]:
        def changed(item_id: str, new: Sequence[Cover], gone: Sequence[str]) -> None:
            self.changes.append((item_id, [c.id for c in new], [*gone]))

        maker = Maker(
            self.store.catalog, self._blobs, generator, changed, MakerOptions(SCORING, draws, pool_size, **taste)
        )
        return await maker.make(job, self.progress.append)

    async def pool(self) -> set[str]:
        return {c.id for c in (await self.store.catalog.pools(["a"]))["a"]}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    store = SqliteStore.open(tmp_path)
    await store.catalog.upsert_items([Item("a", "A")])
    yield Room(store, tmp_path)
    store.close()


async def test_the_best_of_several_draws_stay(room: Room) -> None:
    """Standardised: 0.1 of relevance is two units of score, 0.5 of preference one."""
    generator = Judged(relevance={11: 0.6, 14: 0.55}, dots={12: 0.9, 13: -0.9})
    job = Job("j", "k", "a", tuple(USER.tolist()), count=2, seed=10)
    covers = await room.make(generator, job, draws=3)
    assert [b.seed for b in generator.briefs] == [10, 11, 12, 13, 14, 15]
    assert [c.provenance.seed for c in covers] == [11, 12], (
        "1 + 2 x 0.1 / 0.1, and 0.9 / 0.5; in the order they were drawn"
    )
    assert await room.pool() == {c.id for c in covers}


async def test_who_has_no_taste_has_no_preference(room: Room) -> None:
    generator = Judged(relevance={11: 0.51}, dots={10: 0.9})
    (cover,) = await room.make(generator, Job("j", "k", "a", count=1, seed=10), draws=2)
    assert cover.provenance.seed == 11


async def test_one_draw_for_each_cover_keeps_all(room: Room) -> None:
    generator = Judged(relevance={10: -5.0})
    covers = await room.make(generator, Job("j", "k", "a", count=3, seed=10))
    assert [c.provenance.seed for c in covers] == [10, 11, 12]
    assert len(generator.briefs) == 3


async def test_covers_are_guided_as_configured(room: Room) -> None:
    generator = FakeGenerator()
    await room.make(generator, Job("j", "k", "a", count=1, seed=10), guided=(0.1, 0.4))
    await room.make(generator, Job("j2", "k2", "a", count=1, seed=10))
    assert [b.drawing.guided for b in generator.briefs] == [(0.1, 0.4), None]


async def test_the_last_seeds_there_are(room: Room) -> None:
    covers = await room.make(FakeGenerator(), Job("j", "k", "a", count=2, seed=2**63 - 1))
    assert [c.provenance.seed for c in covers] == [2**63 - 1, 0]


async def test_a_long_job_shows_its_first_picture(room: Room) -> None:
    await room.make(FakeGenerator(), Job("j", "k", "a", count=3, seed=1))
    assert {p.preview for p in room.progress} == {b""}
    room.progress.clear()
    await room.make(FakeGenerator(), Job("j2", "k2", "a", count=6, seed=1))
    first, second = room.progress[:4], room.progress[4:]
    assert {p.preview for p in first} == {b""}
    (preview,) = {p.preview for p in second}
    with Image.open(io.BytesIO(preview)) as picture:
        assert (picture.format, max(picture.size)) == ("WEBP", 64)
    assert len(preview) < 4000
    assert [(p.step, p.total_steps) for p in room.progress] == [(n + 1, 8) for n in range(8)]


async def test_another_attempt_leaves_nothing_of_the_first(room: Room) -> None:
    """Its best were others: the item changed meanwhile."""
    job = Job("j", "k", "a", count=1, seed=10)
    (before,) = await room.make(Judged(relevance={10: 0.9}), job, draws=2)
    (again,) = await room.make(Judged(relevance={11: 0.9}), job, draws=2)
    assert before.id != again.id
    assert await room.pool() == {again.id}
    assert room.changes[-1] == ("a", [again.id], [before.id])
    (same,) = await room.make(Judged(relevance={11: 0.9}), job, draws=2)
    assert same.id == again.id
    assert await room.pool() == {again.id}


async def test_the_oldest_generated_covers_make_room(room: Room) -> None:
    await room.store.catalog.add_covers([cover("own", "a", uri=await room._blobs.put(b"picture", "webp"))])
    covers = [
        c.id for n in range(4) for c in await room.make(FakeGenerator(), Job(f"j{n}", f"k{n}", "a", seed=n), 1, 3)
    ]
    assert await room.pool() == {"own", *covers[2:]}


async def test_what_is_not_a_number_is_not_kept(room: Room) -> None:
    with pytest.raises(InvalidInput, match="seeds \\[10\\]"):
        await room.make(Judged(relevance={10: float("nan")}), Job("j", "k", "a", count=2, seed=10))
    assert await room.pool() == set()


@pytest.mark.parametrize(
    ("safety", "refusals", "reasons"),
    [
        (0.9, (), []),
        (0.2, (), ["safety"]),
        (None, (), ["safety"]),
        (0.9, ("fidelity=0.3; allowed: at least 0.8",), ["fidelity"]),
        (0.2, None, ["gates", "safety"]),
    ],
)
async def test_a_cover_stands_as_its_gates_say(
    room: Room, safety: float | None, refusals: tuple[str, ...] | None, reasons: list[str]
) -> None:
    generator = FakeGenerator()
    generator.rewards = {"relevance": 0.5} | ({} if safety is None else {"safety": safety})
    generator.refusals = refusals
    (cover,) = await room.make(generator, Job("j", "k", "a"), mode="trusted", least_safety=0.5)
    assert [reason.split("=")[0].split(":")[0] for reason in cover.standing.reasons] == reasons
    assert cover.standing.trust is (Trust.CANDIDATE if reasons else Trust.TRUSTED)


async def test_room_is_made_by_what_nobody_trusts(room: Room) -> None:
    generator = FakeGenerator()
    (trusted,) = await room.make(generator, Job("j0", "k0", "a", seed=1), mode="trusted")
    (retired,) = await room.make(generator, Job("j1", "k1", "a", seed=2))
    (candidate,) = await room.make(generator, Job("j2", "k2", "a", seed=3))
    change = StandingChange(
        retired.standing, Standing(Trust.RETIRED), AuditEntry(1.0, "ann", "retire", "a", retired.id)
    )
    assert await room.store.catalog.change_standings([change]) == [retired.id]
    (newest,) = await room.make(generator, Job("j3", "k3", "a", seed=4), pool_size=3)
    assert await room.pool() == {trusted.id, candidate.id, newest.id}
    (last,) = await room.make(generator, Job("j4", "k4", "a", seed=5), pool_size=2)
    assert await room.pool() == {trusted.id, last.id}


async def with_references(room: Room, dots: Sequence[float], own_ids: bool = False) -> list[bytes]:
    """Item a gets a picture for each dot product with USER; their bytes."""
    files = [f"picture {n}".encode() for n in range(len(dots))]
    uris = [await room._blobs.put(data, "webp") for data in files]
    references = () if own_ids else tuple(uris)
    covers = [
        replace(cover(f"c{n}" if own_ids else catalog_cover_id("a", uri), "a", uri=uri), embedding=USER * dot)
        for n, (uri, dot) in enumerate(zip(uris, dots, strict=True))
    ]
    await room.store.catalog.upsert_items([Item("a", "A", references=references)], covers)
    return files


@pytest.mark.parametrize(("dots", "order"), [([0.1, 0.3, 0.9], (2, 0)), ([0.4, 0.4], (0, 1)), ([0.9, 0.1], (0, 1))])
@pytest.mark.parametrize("own_ids", [False, True], ids=["references", "covers alone"])
async def test_the_picture_that_the_user_prefers_is_first(
    room: Room, dots: list[float], order: tuple[int, int], own_ids: bool
) -> None:
    files = await with_references(room, dots, own_ids)
    generator = FakeGenerator()
    await room.make(generator, Job("job", "key", "a", user_embedding=tuple(map(float, USER)), seed=1))
    assert generator.briefs[0].references == tuple(files[n] for n in order)


async def test_nobody_gets_the_first_picture(room: Room) -> None:
    files = await with_references(room, [0.1, 0.3, 0.9])
    generator = FakeGenerator()
    await room.make(generator, Job("job", "key", "a", seed=1))
    assert generator.briefs[0].references == (files[0], files[1])


async def test_a_retired_picture_is_no_reference_while_there_is_another(room: Room) -> None:
    files = await with_references(room, [0.1, 0.9])
    (_, liked) = (await room.store.catalog.pools(["a"]))["a"]
    change = StandingChange(liked.standing, Standing(Trust.RETIRED), AuditEntry(1.0, "ann", "retire", "a", liked.id))
    await room.store.catalog.change_standings([change])
    generator = FakeGenerator()
    await room.make(generator, Job("job", "key", "a", user_embedding=tuple(map(float, USER)), seed=1))
    assert generator.briefs[0].references == (files[0],)


@pytest.mark.parametrize(
    ("inside", "covers"),
    [
        ((0.2, 0.4), 0),
        ((0.2, 0.6), 1),
        pytest.param((), 0, id="a title alone"),
        pytest.param((None,), 1, id="a checkpoint without a domain"),
    ],
)
async def test_what_the_checkpoint_draws_badly_is_not_drawn_in_the_background(
    room: Room, inside: tuple[float | None, ...], covers: int
) -> None:
    uri = await room._blobs.put(b"a picture", "webp")
    pictures = [
        cover(f"o{n}", "a", uri=uri, rewards={} if value is None else {"gate_domain": value})
        for n, value in enumerate(inside)
    ]
    await room.store.catalog.upsert_items([Item("a", "A")], pictures)
    assert len(await room.make(FakeGenerator(), Job("j1", "thin/a//-1", "a"))) == covers
    assert len(await room.make(FakeGenerator(), Job("j2", "call/x", "a"))) == 1, (
        "on request it is drawn, and the gate says so"
    )


def test_the_least_domain_is_the_librarys() -> None:
    from icg.gates.gates import DOMAIN

    assert gates.DOMAIN == DOMAIN
