"""Who may see which cover, and the gates that a made cover must pass before anyone does. Pure: knows no store.

A made cover is a candidate. If it passes all gates, it is put on trial or trusted, as the operator says (`--made-covers`). A failed
gate keeps it a candidate until an editor approves it. A retired cover is not shown at all.
"""

from collections.abc import Iterable, Mapping, Sequence

from eyecatch.core.score import Scoring
from eyecatch.core.types import Cover, Origin, Standing, Trust

OFF, REVIEW, TRIAL, TRUSTED = MODES = ("off", "review", "trial", "trusted")
"""Who may see made covers: nobody; everybody after an editor's approval; a bounded share of users; everybody."""

UNMEASURED = ("gates: the generator measured none; allowed: an editor's approval",)
SAFETY = "safety"
QUALITY = ("aesthetic",)
"""Rewards that compare a made cover with photographs and artwork: its gate is the item's best catalogue cover."""
TOLERANCE = 2.0
"""Deviations of a reward by which a made cover may be worse than the best. An item's own covers differ by as much: seven of ten clean ones
pass, and three of a hundred damaged ones (`python -m benchmarks.quality_gate`)."""


def visible(covers: Iterable[Cover], mode: str) -> tuple[list[Cover], list[Cover]]:
    """(covers of one item that every user may see, covers on trial).

    A pinned cover is the only one. Without any other cover those on trial are for everybody: they take no place.
    """
    trusted = [c for c in covers if is_shown(c, mode)]
    pinned = [c for c in trusted if c.standing.pinned]
    if pinned:
        return pinned, []
    trials = [c for c in covers if c.standing.trust is Trust.ON_TRIAL] if mode == TRIAL else []
    return (trusted, trials) if trusted else (trials, [])


def is_shown(cover: Cover, mode: str) -> bool:
    """Whether the cover may be shown to every user; a pinned cover of its item may stand before it."""
    return cover.standing.trust is Trust.TRUSTED and (mode != OFF or is_original(cover))


def is_original(cover: Cover) -> bool:
    """Whether the cover came with its item."""
    return cover.provenance.origin is Origin.CATALOGUE


def worse(rewards: Mapping[str, float], pool: Iterable[Cover], scoring: Scoring) -> tuple[str, ...]:
    """The gate of quality: by which rewards a made cover is worse than the best catalogue cover in the item's pool, in words."""
    originals = [c for c in pool if is_original(c) and c.standing.trust is not Trust.RETIRED]
    failures = []
    for spec in scoring.stored:
        values = [c.rewards[spec.name] for c in originals if spec.name in c.rewards]
        if spec.name in QUALITY and spec.name in rewards and values:
            least = max(values) - TOLERANCE * spec.deviation
            if rewards[spec.name] < least:
                failures.append(
                    f"{spec.name}: got {rewards[spec.name]:.2f}; allowed: at least {least:.2f}, near the item's own"
                )
    return tuple(failures)


def unsafe(rewards: Mapping[str, float], least: float | None) -> tuple[str, ...]:
    """The gate of safety, if there is one: a cover must be rated, and at least `least`."""
    value = rewards.get(SAFETY)
    if least is None or (value is not None and value >= least):
        return ()
    return (f"safety: {'not rated' if value is None else f'got {value:.2f}'}; allowed: at least {least:.2f}",)


def first_standing(reasons: Sequence[str], mode: str) -> Standing:
    """The standing of a cover that was just made and failed gates for these `reasons`."""
    if reasons:
        return Standing(Trust.CANDIDATE, tuple(reasons))
    return Standing({TRIAL: Trust.ON_TRIAL, TRUSTED: Trust.TRUSTED}.get(mode, Trust.CANDIDATE))


def advanced(standing: Standing, mode: str) -> Standing | None:
    """The standing after the operator chose another mode; None for no change. What failed a gate stays a candidate."""
    after = first_standing(standing.reasons, mode)
    waits = standing.trust in (Trust.CANDIDATE, Trust.ON_TRIAL)
    return after if waits and not standing.reasons and after.trust > standing.trust else None
