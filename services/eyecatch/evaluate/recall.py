"""The recall job: how well rankings of all items find what users engaged with later. Nothing is sampled. Knows the ports, no store.

A user's last engagements are hidden (or everybody's after a point in time), and items are ranked from the rest: by the stored kind of
profile, by controls, and on request by a trained sequence encoder and tuned peers. The gain of personalisation is the distance to another
user's profile.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from icg.data.interactions import Split
from icg.errors import IcgError
from icg.evaluate.peers import POPULARITY, RANDOM
from icg.evaluate.ranking import Scorer, figures

from eyecatch.core.behaviour.mean_encoder import MeanEncoder
from eyecatch.core.errors import InvalidInput, NotReady
from eyecatch.core.ports import CatalogStore, Encoder, ProfileStore
from eyecatch.core.tastes.clusters import TasteClusters
from eyecatch.core.types import Vector
from eyecatch.evaluate import profiles as by_profile
from eyecatch.evaluate.behaviour import BehaviourTable, read
from eyecatch.evaluate.learned import OURS, learned
from eyecatch.evaluate.rankings import Ranking, measured
from eyecatch.evaluate.results import Cold, Recall, differences, row
from eyecatch.evaluate.run_folder import USERS, RunFolder, digest
from eyecatch.evaluate.settings import RecallSettings
from eyecatch.shards import Runner, here

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
    runner: Runner = here,
    log: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run the job. clusters: the tastes that covers were made for. out: a run folder, from which a job that was killed goes on. runner: of
    the shards.

    Raises InvalidInput if there is nothing to measure, NotReady if a library of the peers is missing. Memory is proportional to events and
    covers.
    """
    settings = settings or RecallSettings()
    behaviour = await read(catalog, profiles, settings.target)
    with tempfile.TemporaryDirectory(prefix="eyecatch-recall-") as scratch:
        results = RunFolder(out or Path(scratch), digest(behaviour, settings, encoder.version), runner)
        try:
            return measure(behaviour, settings, encoder, clusters, results, log)
        except IcgError as error:
            raise NotReady(str(error)) from error


def measure(
    behaviour: BehaviourTable,
    settings: RecallSettings,
    encoder: Encoder,
    clusters: TasteClusters | None,
    results: RunFolder,
    log: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """The job on behaviour that was read. Raises InvalidInput for fewer than two users, IcgError without a library of the peers."""
    split = settings.cut(behaviour.table)
    if len(split.users) < 2:
        raise InvalidInput.of("users", len(split.users), f"at least 2 with {settings.least} engaged items")
    covers = behaviour.covers
    parts = results.per_users(
        "embeddings",
        split,
        by_profile.recent_events(behaviour, split, USERS),
        lambda: by_profile.Encode(encoder, by_profile.Embeddings(covers.rows, covers.means)),
    )
    queries = np.concatenate([part["users"] for part in parts])
    rankings = _profiles(behaviour, split, settings, queries, clusters, results)
    for peer in (POPULARITY, RANDOM):
        rankings.append(measured(peer, split, None, 1, 1, results, log))
    own = by_profile.ProfileScorer(split.users, queries, covers, len(behaviour.items))
    cold = [_cold(split, "profile", own, results)]
    ours = "profile"
    if settings.peers:
        ours = OURS
        more, scorer = learned(behaviour, split, settings.validation(split), settings, results, log)
        rankings += more
        cold.append(_cold(split, ours, scorer, results))
    rows = {ranking.name: row(ranking, behaviour, split, settings.ks) for ranking in rankings}
    counts = {name: count for name, count in behaviour.counts.items() if count}
    counts |= {name: count for name, count in _of_split(behaviour, split, settings).items() if count}
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


def _of_split(behaviour: BehaviourTable, split: Split, settings: RecallSettings) -> dict[str, int]:
    """What is odd in what is known and hidden, by reason."""
    known = split.known.popularity() > 0
    hits = np.add.reduceat(known[split.hidden], split.ends[:-1])
    return {
        "users whose cut is at the time of a known event": split.tied,
        "users whose hidden items nobody is known to have engaged with": int((hits == 0).sum()),
        "users whose latest engagements are all with unknown items": behaviour.astray(settings.leave_out),
    }


def _profiles(
    behaviour: BehaviourTable,
    split: Split,
    settings: RecallSettings,
    queries: Vector,
    clusters: TasteClusters | None,
    results: RunFolder,
) -> list[Ranking]:
    """The profile on the items' own covers and another user's; on made covers, where there are any, for nobody, for the user, and those
    made for another user. queries (Q, D): of the split's users."""
    covers = behaviour.covers
    others = by_profile.swapped(len(split.users), settings.seed)
    scorer = partial(by_profile.ProfileScorer, split.users, covers=covers, items=len(behaviour.items))
    variants: dict[str, by_profile.ProfileScorer] = {
        "profile": scorer(queries),
        "shuffled": scorer(queries[others]),
    }
    if covers.generated.any():
        tags = [behaviour.tags()[user] for user in split.users]
        near = clusters.nearest(queries) if clusters is not None else -1
        tastes = np.where(queries.any(axis=1), near, -1)
        variants["made for nobody"] = scorer(queries, choice=by_profile.ForNobody(covers))
        variants["made for the user"] = scorer(queries, choice=by_profile.ForUsers(covers, tags, tastes))
        swapped = by_profile.ForUsers(covers, [tags[n] for n in others], tastes[others])
        variants["made for another"] = scorer(queries, choice=swapped)
    return [
        Ranking(name, [results.ranks(name, split, lambda s=score: s)], {}, 0, 0.0)  # type: ignore[misc]
        for name, score in variants.items()
    ]


def _cold(split: Split, name: str, score: Scorer, results: RunFolder) -> Cold | None:
    """Recall of hidden items without a known engagement of anybody, among such items alone; None if none is hidden."""
    cold = split.known.popularity() == 0
    chosen = cold[split.hidden]
    if not chosen.any():
        return None
    ranks = results.ranks(f"{name}, cold items", split, lambda: score, cold)
    values = figures(split, ranks, (20,), chosen)["recall@20"]
    # Cold items that a user knows: met, and engaged with by nobody.
    known = split.known.take(cold[split.known.item])
    pairs = np.unique(known.user * known.items + known.item)
    mine = np.bincount(pairs // known.items, minlength=known.users)[split.users]
    left = cold.sum() - mine
    chance = np.minimum(1.0, 20 / np.maximum(left, 1))[~np.isnan(values)].mean()
    return Cold.of(name, values, int(cold.sum()), int(chosen.sum()), float(chance))
