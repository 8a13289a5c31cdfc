"""The recall job: how well rankings of all items find what users engaged with later. Nothing is sampled. Knows the ports, no store.

A user's last engagements are hidden (or everybody's after a point in time), and items are ranked from the rest: by the stored kind of
profile, by controls, and on request by a trained sequence encoder and tuned peers. The gain of personalisation is the distance to another
user's profile.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from icg.data.interactions import Split
from icg.errors import IcgError
from icg.evaluate.peers import POPULARITY, RANDOM
from icg.evaluate.ranking import figures, ranks_of

from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import InvalidInput, NotReady
from eyecatch.core.ports import CatalogStore, Encoder, ProfileStore
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.evaluate import profiles as by_profile
from eyecatch.evaluate.behaviour import BehaviourTable, read
from eyecatch.evaluate.learned import OURS, learned
from eyecatch.evaluate.rankings import DEPTH, Ranking, measured
from eyecatch.evaluate.results import Cold, Recall, differences, row
from eyecatch.evaluate.run_folder import RunFolder, digest
from eyecatch.evaluate.settings import RecallSettings

MEAN = MeanEncoder()


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result, and what a report with pictures is made of."""

    result: Recall
    behaviour: BehaviourTable
    split: Split
    rankings: Sequence[Ranking]


async def recall(
    catalog: CatalogStore,
    profiles: ProfileStore,
    settings: RecallSettings | None = None,
    *,
    encoder: Encoder = MEAN,
    clusters: TasteClusters | None = None,
    out: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the job. clusters: the tastes that covers were made for. out: a run folder, from which a job that was killed goes on; without one
    nothing is results.

    Raises InvalidInput if there is nothing to measure, NotReady if a library of the peers is missing. Memory is proportional to events and
    covers.
    """
    settings = settings or RecallSettings()
    behaviour = await read(catalog, profiles, settings.target)
    with tempfile.TemporaryDirectory(prefix="eyecatch-recall-") as scratch:
        try:
            return _run(behaviour, settings, encoder, clusters, out or Path(scratch), log)
        except IcgError as error:
            raise NotReady(str(error)) from error


def _run(
    behaviour: BehaviourTable,
    settings: RecallSettings,
    encoder: Encoder,
    clusters: TasteClusters | None,
    out: Path,
    log: Callable[[str], None],
) -> Outcome:
    results = RunFolder(out, digest(behaviour, settings, encoder.version))
    split = settings.cut(behaviour.table)
    if len(split.users) < 2:
        raise InvalidInput.of("users", len(split.users), f"at least 2 with {settings.least} engaged items")
    rankings = _profiles(behaviour, split, settings, encoder, clusters, results)
    for peer in (POPULARITY, RANDOM):
        rankings.append(measured(peer, split, None, 1, 1, results, log))
    cold = [_cold(split, "profile", _profile_scorer(behaviour, split, encoder))]
    ours = "profile"
    if settings.peers:
        ours = OURS
        more, scorer = learned(behaviour, split, settings.validation(split), settings, results, log)
        rankings += more
        cold.append(_cold(split, ours, scorer))
    rows = {ranking.name: row(ranking, behaviour, split, settings.ks) for ranking in rankings}
    counts = {name: count for name, count in behaviour.counts.items() if count}
    if split.tied:
        counts["users whose cut is at the time of a known event"] = split.tied
    result = Recall(
        users=len(split.users),
        items=len(behaviour.items),
        held_out=len(split.hidden),
        split=settings.split,
        target=settings.target,
        seed=settings.seed,
        counts=counts,
        rankings=rows,
        cold_items=[one for one in cold if one is not None],
        ours=ours,
        ahead=differences(rankings, split, ours),
    )
    return Outcome(result, behaviour, split, rankings)


def _profile_scorer(behaviour: BehaviourTable, split: Split, encoder: Encoder) -> by_profile.Scorer:
    recent = by_profile.recent_events(behaviour, split)
    queries = by_profile.embeddings(encoder, recent, behaviour.covers.by_key)
    return by_profile.scorer(split, queries, behaviour.covers, len(behaviour.items))


def _profiles(
    behaviour: BehaviourTable,
    split: Split,
    settings: RecallSettings,
    encoder: Encoder,
    clusters: TasteClusters | None,
    results: RunFolder,
) -> list[Ranking]:
    """The profile on the items' own covers and another user's; on made covers, where there are any, for nobody, for the user, and those
    made for another user."""
    covers, items = behaviour.covers, len(behaviour.items)
    recent = by_profile.recent_events(behaviour, split)
    queries = by_profile.embeddings(encoder, recent, covers.by_key)
    others = by_profile.swapped(len(split.users), settings.seed)
    variants: dict[str, by_profile.Scorer] = {
        "profile": by_profile.scorer(split, queries, covers, items),
        "shuffled": by_profile.scorer(split, queries[others], covers, items),
    }
    if covers.generated.any():
        tags = [behaviour.tags()[user] for user in split.users]
        near = clusters.nearest(queries) if clusters is not None else -1
        tastes = np.where(queries.any(axis=1), near, -1)
        nobody, users = by_profile.for_nobody(covers), by_profile.for_users(covers, tags, tastes)
        variants["made for nobody"] = by_profile.scorer(split, queries, covers, items, nobody)
        variants["made for the user"] = by_profile.scorer(split, queries, covers, items, users)
        swapped = by_profile.for_users(covers, [tags[n] for n in others], tastes[others])
        variants["made for another"] = by_profile.scorer(split, queries, covers, items, swapped)
    return [
        Ranking(name, [results.ranks(name, lambda s=score: ranks_of(split, s, DEPTH))], {}, 0, 0.0)  # type: ignore[misc]
        for name, score in variants.items()
    ]


def _cold(split: Split, name: str, score: by_profile.Scorer) -> Cold | None:
    """Recall of hidden items without a known engagement of anybody, among such items alone; None if none is hidden."""
    cold = split.known.popularity() == 0
    chosen = cold[split.hidden]
    if not chosen.any():
        return None
    values = figures(split, ranks_of(split, score, DEPTH, cold), (20,), chosen)["recall@20"]
    start, known = split.known.start, split.known.item
    mine = [np.unique(known[start[user] : start[user + 1]]) for user in split.users]
    left = np.array([cold.sum() - cold[items].sum() for items in mine])
    chance = np.minimum(1.0, 20 / np.maximum(left, 1))[~np.isnan(values)].mean()
    return Cold.of(name, values, int(cold.sum()), int(chosen.sum()), float(chance))
