"""The fast path: profile -> pool -> dot product + stored rewards -> choice with a propensity. Never waits for a GPU."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from eyecatch.core.errors import NotFound, StoreError, Unavailable
from eyecatch.core.ports import Clock, Encoder, ProfileStore
from eyecatch.core.recommending.decisions import DecisionBuffer
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.ranking import Ranked, Ranker
from eyecatch.core.types import Vector, zeros

READS_S = 0.05
"""A recommendation waits so long for all that it reads; after that, one from memory is better."""
RANK_S = 1.0


class Degraded(IntEnum):
    """Parts of an answer that did not work. The numbers are those of the wire."""

    PROFILE_UNAVAILABLE = 1
    COVERS_UNAVAILABLE = 2
    DECISION_NOT_LOGGED = 3
    GENERATION_UNAVAILABLE = 4


@dataclass(eq=False, slots=True)
class Recommendation:
    """One answer. `timings_us`: the stages profile, pool and score. Valid until the next await, because slots may be reused."""

    decision_id: str
    item_ids: Sequence[str]
    ranked: Ranked
    personalised: bool
    degraded: list[Degraded]
    timings_us: tuple[int, int, int]


ThinPool = Callable[[str, Vector], bool]
"""(item id, user embedding) -> whether a cover could be requested. Must not block."""


class Recommender:
    """Recommends and ranks covers from memory and one profile read."""

    def __init__(
        self,
        pools: Pools,
        profiles: ProfileStore,
        encoder: Encoder,
        decisions: DecisionBuffer,
        on_thin: ThinPool,
        exploration: float = 0.05,
        seed: int | None = None,
        trial_share: float = 0.0,
        clock: Clock = time.time,
    ) -> None:
        self.pools = pools
        self._profiles, self._encoder = profiles, encoder
        self._decisions = decisions
        self._on_thin = on_thin
        self.ranker = Ranker(pools, exploration, seed, trial_share)
        self._by_score = Ranker(pools, 0.0)
        self._random = random.Random()
        self._clock, self._last_ms = clock, 0
        self.degraded = Counter[Degraded]()
        """Answers of which a part did not work."""

    async def recommend(
        self, user_id: str, item_ids: Sequence[str], k: int = 1, generate: bool = True
    ) -> Recommendation:
        """The k best covers of each item for the user. Raises NotFound if no item is known and the store answered."""
        t0 = time.perf_counter_ns()
        degraded: list[Degraded] = []
        user = await self._user(user_id, degraded)
        t1 = time.perf_counter_ns()
        slots = self.pools.slots(item_ids)
        if 0 in slots:
            slots = await self._load(item_ids, READS_S - (t1 - t0) / 1e9, degraded)
        t2 = time.perf_counter_ns()
        ranked = self.ranker.rank(slots, user, min(k, self.pools.width))
        now = self._clock()
        # Ids that grow with time are appended to the index of a store, which is faster than random inserts. Clocks may be set back.
        self._last_ms = max(self._last_ms, int(now * 1000))
        decision_id = (self._last_ms << 64 | self._random.getrandbits(64)).to_bytes(14, "big").hex()
        if not self._decisions.add(decision_id, user_id, now, ranked):
            degraded.append(Degraded.DECISION_NOT_LOGGED)
        if generate and not ranked.full and not self._request_covers(item_ids, slots, user):
            degraded.append(Degraded.GENERATION_UNAVAILABLE)
        if degraded:
            self.degraded.update(degraded)
        t3 = time.perf_counter_ns()
        timings = ((t1 - t0) // 1000, (t2 - t1) // 1000, (t3 - t2) // 1000)
        return Recommendation(decision_id, item_ids, ranked, user is not None, degraded, timings)

    async def rank(self, user_id: str, item_id: str) -> Recommendation:
        """The whole pool of one item, best first, without exploration and without a decision."""
        degraded: list[Degraded] = []
        user = await self._user(user_id, degraded)
        if not await self.pools.load([item_id], RANK_S):
            raise Unavailable("the cover store does not answer")
        slots = self.pools.slots([item_id])
        if not slots[0]:
            raise NotFound("item", item_id)
        ranked = self._by_score.rank(slots, user, self.pools.width)
        return Recommendation("", [item_id], ranked, user is not None, degraded, (0, 0, 0))

    async def _load(self, item_ids: Sequence[str], within_s: float, degraded: list[Degraded]) -> list[int]:
        if not await self.pools.load(item_ids, within_s):
            degraded.append(Degraded.COVERS_UNAVAILABLE)
            return self.pools.slots(item_ids)
        slots = self.pools.slots(item_ids)
        if not any(slots):
            raise NotFound("item", item_ids[0])
        return slots

    async def _user(self, user_id: str, degraded: list[Degraded]) -> Vector | None:
        if not user_id:
            return None
        try:
            return await self._profiles.embedding(user_id, self._encoder)
        except (Unavailable, StoreError):  # the answer is not personalised then
            degraded.append(Degraded.PROFILE_UNAVAILABLE)
            return None

    def _request_covers(self, item_ids: Sequence[str], slots: list[int], user: Vector | None) -> bool:
        if not self.pools.thin_below:
            return True
        thin = self.pools.thin
        thin_ids = [item_id for item_id, slot in zip(item_ids, slots, strict=True) if slot and slot in thin]
        return all([self._on_thin(id, zeros() if user is None else user) for id in thin_ids])  # noqa: C419  (call for each)
