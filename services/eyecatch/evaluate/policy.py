"""Policies, estimated from logged decisions: which share of shown covers would users have answered? Knows the ports, no store.

A logged row counts for a policy if the policy would have shown the same cover, by the inverse of the propensity with which it was shown
(IPS), relative to the mean of these weights (SNIPS, self-normalised; Swaminathan and Joachims 2015). Users are what they were known to be
before each decision. What a policy would have changed in later behaviour is not in any log.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from icg.evaluate.ranking import ratio_interval, ratios

from eyecatch.core.errors import InvalidInput
from eyecatch.core.ports import CatalogStore, DecisionLog, Encoder, ProfileStore
from eyecatch.core.score import RewardSpec, Scoring
from eyecatch.core.types import RECENT_EVENTS, Action, Vector
from eyecatch.evaluate.behaviour import BehaviourTable, Ints, read
from eyecatch.evaluate.decision_log import Candidates, Shown, candidates, shown
from eyecatch.evaluate.profiles import Embeddings, Encode, Recent
from eyecatch.evaluate.results import Interval
from eyecatch.evaluate.run_folder import USERS, RunFolder, digest
from eyecatch.shards import Runner, here, packed, unpacked

POLICIES = ("uniform", "original", "rewards", "profile", "shuffled")
"""Any cover; the item's first own; the best by stored rewards alone; by the whole score for the user; for another user."""


@dataclass(frozen=True, eq=False)
class Weigh:
    """Rows of a block of users -> weights (R, len(POLICIES)): by how much a row counts for each policy. A Work of eyecatch.shards."""

    encode: Encode
    pools: Candidates
    preference: RewardSpec

    def __call__(self, block: tuple[Shown, Recent]) -> bytes:
        rows, recent = block
        queries = unpacked(self.encode(recent))["users"]
        others = queries[_of_next_user(rows.user)]
        weights = np.zeros((len(rows.user), len(POLICIES)))
        for n, (item, cover, time) in enumerate(zip(rows.item, rows.cover, rows.time, strict=True)):
            pool = self.pools.at(int(item), float(time))
            weights[n] = self._chances(pool, int(cover), queries[n], others[n])
        return packed({"weights": weights / rows.propensity[:, None]})

    def _chances(self, pool: Ints, cover: int, user: Vector, other: Vector) -> Sequence[float]:
        """The probability with which each policy shows the cover."""
        if cover not in pool:
            return (0.0,) * len(POLICIES)  # it came later than its decision by the clocks
        base, own = self.pools.base[pool], pool[self.pools.original[pool]]
        scale = self.preference.weight / self.preference.deviation
        dots = self.pools.rows[pool] @ np.stack([user, other]).T * scale
        best = (own[0] if len(own) else pool[0], *(pool[n] for n in np.argmax(base[:, None] + _beside(dots), axis=0)))
        return (1 / len(pool), *(float(one == cover) for one in best))


def _beside(dots: Vector) -> Vector:
    return np.concatenate([np.zeros((len(dots), 1), dots.dtype), dots], axis=1)


def _of_next_user(user: Ints) -> Ints:
    """(R,) for rows ordered by user: the first row of the next user, of the last the first one's."""
    first = np.flatnonzero(np.diff(user, prepend=-1))
    counts = np.diff(np.append(first, len(user)))
    following: Ints = np.repeat(np.roll(first, -1), counts)
    return following


@dataclass(frozen=True)
class PolicyFigures:
    """snips, ips: answers for each cover shown. ahead: snips minus that of the log. weight: the mean weight, 1 if the log's propensities
    are right. matched: the share of rows that count. effective: how many rows of equal weight would be worth as much."""

    snips: Interval
    ips: Interval
    ahead: Interval
    weight: float
    matched: float
    effective: float


@dataclass(frozen=True)
class PolicyResult:
    """answered: of the covers that were shown, the policy of the log included."""

    rows: int
    users: int
    answered: Interval
    policies: Mapping[str, PolicyFigures]
    counts: Mapping[str, int]

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, object]:
        """One line for machines."""
        names = {name: round(row.snips.mean, 4) for name, row in self.policies.items()}
        return {"answered": round(self.answered.mean, 4), **names, "rows": self.rows}


async def policy(
    catalog: CatalogStore,
    profiles: ProfileStore,
    decisions: DecisionLog,
    encoder: Encoder,
    scoring: Scoring,
    mode: str,
    *,
    out: Path | None = None,
    runner: Runner = here,
) -> PolicyResult:
    """Run the job. mode: who may see made covers. out: a run folder, from which a job that was killed goes on.

    Raises InvalidInput without decisions of two users that can be used.
    """
    behaviour = await read(catalog, profiles)
    pools = await candidates(catalog, behaviour, scoring, mode)
    rows = await shown(decisions, profiles, behaviour, pools)
    users = np.unique(rows.user)
    if len(users) < 2:
        raise InvalidInput.of(
            "decisions", f"of {len(users)} users", "decisions of at least 2, about covers that everybody sees"
        )
    covers = behaviour.covers
    encode = Encode(encoder, Embeddings(covers.rows, covers.means))
    total = hashlib.sha256(digest(behaviour, ("policy", scoring, mode), encoder.version).encode())
    for column in (rows.user, rows.item, rows.cover, rows.time, rows.propensity, rows.answer, pools.base, pools.since):
        total.update(np.ascontiguousarray(column).tobytes())
    parts = np.array_split(users, -(-len(users) // USERS))  # none of one user alone, who has no other
    names = [f"users from {part[0]}" for part in parts]
    with tempfile.TemporaryDirectory(prefix="eyecatch-policy-") as scratch:
        results = RunFolder(out or Path(scratch), total.hexdigest(), runner)
        blocks = _blocks(rows, behaviour, parts)
        weights = results.shards(names, blocks, lambda: Weigh(encode, pools, scoring.preference))
        table = np.concatenate([unpacked(data)["weights"] for data in weights])
    counts = {name: count for name, count in {**behaviour.counts, **rows.counts}.items() if count}
    return figures(rows, table, counts)


def _blocks(rows: Shown, behaviour: BehaviourTable, parts: Sequence[Ints]) -> Iterator[tuple[Shown, Recent]]:
    """The rows of each part's users, and for each row what a profile held just before."""
    table = behaviour.table
    engaged = np.flatnonzero(table.action != Action.IMPRESSION)
    # Ordered by user, then time: the events before a row are found by one search for both.
    start = np.searchsorted(table.user[engaged], np.arange(int(rows.user.max(initial=0)) + 2))
    for part in parts:
        first, last = np.searchsorted(rows.user, [part[0], part[-1] + 1])
        chosen = slice(int(first), int(last))
        user, time = rows.user[chosen], rows.time[chosen]
        at = []
        for n, u in enumerate(user):
            mine = engaged[start[u] : start[u + 1]]
            until = np.searchsorted(
                table.time[mine], time[n]
            )  # an event at the very time of the decision is not before it
            at.append(mine[max(0, until - RECENT_EVENTS) : until][::-1])
        flat = np.concatenate(at) if at else np.zeros(0, np.int64)
        ends = np.concatenate([[0], np.cumsum([len(one) for one in at])])
        columns = (table.item[flat], behaviour.shown[flat], table.action[flat], behaviour.dwell_ms[flat])
        recent = (*columns, table.time[flat], ends)
        yield rows.part(chosen), recent


def figures(rows: Shown, weights: Vector, counts: Mapping[str, int]) -> PolicyResult:
    """weights (R, len(POLICIES))."""
    users, owner = np.unique(rows.user, return_inverse=True)
    count = np.bincount(owner).astype(float)
    answers = np.bincount(owner, rows.answer)
    answered = Interval(*ratio_interval(answers, count))
    out = {}
    for n, name in enumerate(POLICIES):
        weight = weights[:, n]
        mean, total = float(weight.mean()), np.bincount(owner, weight)
        hits = np.bincount(owner, weight * rows.answer)
        snips = Interval(*ratio_interval(hits, total))
        ahead = np.quantile(
            ratios(hits, total) - ratios(answers, count), [0.025, 0.975]
        )  # in the same samples of users
        out[name] = PolicyFigures(
            snips,
            Interval(*ratio_interval(hits, count)),
            Interval(snips.mean - answered.mean, *ahead.tolist()),
            mean,
            float((weight > 0).mean()),
            float(weight.sum() ** 2 / max((weight**2).sum(), 1e-12)),
        )
    return PolicyResult(len(rows.user), len(users), answered, out, counts)
