"""Core types -> messages; messages.py has those that Kafka carries too. Pure translation: no limit is checked, no store is read."""

from collections.abc import Sequence

from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranked
from eyecatch.core.recommending.recommend import Degraded, Recommendation
from eyecatch.core.score import PREFERENCE
from eyecatch.core.types import AuditEntry, Cover, Item, Profile
from eyecatch.messages import event_to_wire, timestamp
from eyecatch.v1 import behavior_pb2, covers_pb2, review_pb2, types_pb2

STAGES = ("profile", "pool", "score")


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
        trust=types_pb2.Trust.ValueType(cover.standing.trust),
        reasons=cover.standing.reasons,
        pinned=cover.standing.pinned,
    )


def audit_to_wire(entry: AuditEntry) -> review_pb2.AuditEntry:
    return review_pb2.AuditEntry(
        time=timestamp(entry.time),
        by=entry.by,
        action=entry.action,
        item_id=entry.item_id,
        cover_id=entry.cover_id,
        note=entry.note,
    )


def profile_to_wire(profile: Profile, taste: int) -> behavior_pb2.Profile:
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
    pools: Pools, cover: int, score: float, dot: float, contribution: float, propensity: float
) -> types_pb2.ScoredCover:
    """`cover`: an index into the flat lists of the pools."""
    message = types_pb2.ScoredCover(
        cover_id=pools.ids[cover],
        uri=pools.uris[cover],
        score=score,
        parts=stored_parts(pools, cover),
        propensity=propensity,
    )
    message.parts.add(name=PREFERENCE, value=dot, contribution=contribution)
    return message


def stored_parts(pools: Pools, cover: int) -> list[types_pb2.RewardPart]:
    slot, place = divmod(cover, pools.width)
    rows = zip(pools.scoring.stored, pools.raw[slot, place], pools.contributions[slot, place], strict=True)
    # the value is NaN if the cover does not have this reward
    return [types_pb2.RewardPart(name=s.name, value=v, contribution=c) for s, v, c in rows if v == v]


def scored_covers(pools: Pools, ranked: Ranked, row: int) -> list[types_pb2.ScoredCover]:
    """The chosen covers of one item."""
    indexes = range(row * ranked.k, (row + 1) * ranked.k)
    columns = (ranked.covers, ranked.scores, ranked.dots, ranked.contributions, ranked.propensity)
    filled = ranked.filled
    return [scored_cover(pools, *(column[i].item() for column in columns)) for i in indexes if filled[i]]


def item_covers(pools: Pools, ranked: Ranked, row: int, item_id: str) -> covers_pb2.ItemCovers:
    covers = scored_covers(pools, ranked, row)
    if covers:
        return covers_pb2.ItemCovers(item_id=item_id, covers=covers)
    unknown = ranked.covers[row * ranked.k] < pools.width
    problem = covers_pb2.ITEM_PROBLEM_UNKNOWN_ITEM if unknown else covers_pb2.ITEM_PROBLEM_NO_COVER
    return covers_pb2.ItemCovers(item_id=item_id, problem=problem)


def recommendation_head(answer: Recommendation) -> covers_pb2.RecommendCoversResponse:
    """The answer without its items, which fast_wire.py writes."""
    return covers_pb2.RecommendCoversResponse(
        decision_id=answer.decision_id,
        personalised=answer.personalised,
        degraded=degraded_to_wire(answer.degraded),
        timings=[types_pb2.StageTiming(stage=s, micros=us) for s, us in zip(STAGES, answer.timings_us, strict=True)],
    )


def ranking(pools: Pools, answer: Recommendation) -> covers_pb2.RankCoversResponse:
    return covers_pb2.RankCoversResponse(
        covers=scored_covers(pools, answer.ranked, 0),
        personalised=answer.personalised,
        degraded=degraded_to_wire(answer.degraded),
    )
