"""Wire <-> types, in one file. Pure translation: no limit is checked and nothing is looked up here."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from eyecatch.core.errors import InvalidInput
from eyecatch.core.pools import Pools
from eyecatch.core.ranking import Ranked
from eyecatch.core.recommend import Degraded, Recommendation
from eyecatch.core.score import PREFERENCE
from eyecatch.core.taste import taste_cluster
from eyecatch.core.types import Action, Cover, Event, Item, Profile
from eyecatch.v1 import behavior_pb2, covers_pb2, types_pb2

STAGES = ("profile", "pool", "score")


def timestamp(seconds: float) -> Timestamp:
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=min(999_999_999, int((seconds - whole) * 1e9)))


def seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos * 1e-9


def item_to_wire(item: Item) -> types_pb2.Item:
    return types_pb2.Item(
        id=item.id,
        title=item.title,
        category=item.category,
        references=[types_pb2.Image(uri=uri) for uri in item.references],
        updated_at=timestamp(item.updated_at),
    )


def cover_to_wire(cover: Cover, image: bytes = b"") -> types_pb2.Cover:
    p = cover.provenance
    return types_pb2.Cover(
        id=cover.id,
        item_id=cover.item_id,
        uri=cover.uri,
        width=cover.width,
        height=cover.height,
        rewards=dict(cover.rewards),
        provenance=types_pb2.Provenance(
            origin=types_pb2.Origin.ValueType(p.origin),
            model=p.model,
            adapter=p.adapter,
            seed=p.seed,
            steps=p.steps,
            strength=p.strength,
            brief_digest=p.brief_digest,
            job_id=p.job_id,
        ),
        taste=cover.taste if cover.taste >= 0 else None,
        created_at=timestamp(cover.created_at),
        image=image,
    )


def event_from_wire(event: types_pb2.Event, field: str) -> Event:
    """Raises InvalidInput for an action number that has no name."""
    try:
        action = Action(event.action)
    except ValueError:
        raise InvalidInput.of(
            f"{field}.action", int(event.action), ", ".join(f"ACTION_{a.name}" for a in Action)
        ) from None
    return Event(
        event.id,
        event.user_id,
        event.item_id,
        action,
        seconds(event.time),
        event.cover_id,
        event.decision_id,
        event.dwell_ms,
    )


def event_to_wire(event: Event) -> types_pb2.Event:
    return types_pb2.Event(
        id=event.id,
        user_id=event.user_id,
        item_id=event.item_id,
        cover_id=event.cover_id,
        action=types_pb2.Action.ValueType(event.action),
        time=timestamp(event.time),
        decision_id=event.decision_id,
        dwell_ms=event.dwell_ms,
    )


def profile_to_wire(profile: Profile) -> behavior_pb2.Profile:
    taste = taste_cluster(profile.embedding)
    return behavior_pb2.Profile(
        user_id=profile.user_id,
        event_count=profile.event_count,
        recent_events=[event_to_wire(e) for e in profile.events],
        taste=taste if taste >= 0 else None,
        updated_at=timestamp(profile.updated_at),
    )


def degraded_to_wire(degraded: Sequence[Degraded]) -> list[types_pb2.Degraded.ValueType]:
    return [types_pb2.Degraded.ValueType(d) for d in degraded]


def scored_cover(
    pools: Pools, slot: int, place: int, score: float, dot: float, preference: float, propensity: float
) -> types_pb2.ScoredCover:
    cover = types_pb2.ScoredCover(
        cover_id=pools.ids[slot][place], uri=pools.uris[slot][place], score=score, propensity=propensity
    )
    cover.parts.add(name=PREFERENCE, value=dot, contribution=preference)
    names = [s.name for s in pools.scoring.stored]
    for name, value, contribution in zip(names, pools.raw[slot, place], pools.contributions[slot, place], strict=True):
        if value == value:  # a cover without this reward has NaN
            cover.parts.add(name=name, value=value, contribution=contribution)
    return cover


def scored(pools: Pools, ranked: Ranked, row: int) -> list[types_pb2.ScoredCover]:
    """The chosen covers of one item."""
    start, slot = row * ranked.k, ranked.slots[row]
    covers = []
    for i in range(start, start + ranked.counts[row]):
        place = ranked.order[i]
        dot, contribution = ranked.parts(ranked.scores[i], pools.base[slot][place])
        covers.append(scored_cover(pools, slot, place, ranked.scores[i], dot, contribution, ranked.propensity[i]))
    return covers


def item_covers(pools: Pools, ranked: Ranked, row: int, item_id: str) -> covers_pb2.ItemCovers:
    if ranked.counts[row]:
        return covers_pb2.ItemCovers(item_id=item_id, covers=scored(pools, ranked, row))
    unknown = ranked.slots[row] < 0
    problem = covers_pb2.ITEM_PROBLEM_UNKNOWN_ITEM if unknown else covers_pb2.ITEM_PROBLEM_NO_COVER
    return covers_pb2.ItemCovers(item_id=item_id, problem=problem)


def recommendation_head(answer: Recommendation) -> covers_pb2.RecommendCoversResponse:
    """Everything of the answer but its items, which fast_wire.py writes."""
    return covers_pb2.RecommendCoversResponse(
        decision_id=answer.decision_id,
        personalised=answer.personalised,
        degraded=degraded_to_wire(answer.degraded),
        timings=[types_pb2.StageTiming(stage=s, micros=us) for s, us in zip(STAGES, answer.timings_us, strict=True)],
    )


def ranking(pools: Pools, answer: Recommendation) -> covers_pb2.RankCoversResponse:
    return covers_pb2.RankCoversResponse(
        covers=scored(pools, answer.ranked, 0),
        personalised=answer.personalised,
        degraded=degraded_to_wire(answer.degraded),
    )
