"""Decayed counts per action. Times are those of the events, so a replay gives the same numbers in any batches."""

from eyecatch.core.types import Action, Activity

# A week: habits that matter for covers (weekends, buying before a holiday) last a few weeks.
HALF_LIFE_S = 7 * 24 * 3600.0
_new_tuple = tuple.__new__  # called for every event; the class's own __new__ takes twice as long


def decayed_counts(activity: Activity, at: float) -> tuple[float, ...]:
    """The counts (6,) decayed to time `at`, in UNIX seconds. For a time before the last event they stay as they are."""
    factor = 0.5 ** (max(at - activity.at, 0.0) / HALF_LIFE_S)
    return tuple([count * factor for count in activity.counts])


def add_event(activity: Activity, action: Action, time: float, weight: float = 1.0) -> Activity:
    """Count one event with `weight` in [0, 1]. A late event counts as if it had come in time."""
    counts, at = activity
    if time > at:  # the usual case
        factor = 0.5 ** ((time - at) / HALF_LIFE_S)
        a, b, c, d, e, f = counts
        after, at = [a * factor, b * factor, c * factor, d * factor, e * factor, f * factor], time
    else:
        after, weight = list(counts), weight * 0.5 ** ((at - time) / HALF_LIFE_S)
    after[action - 1] += weight
    return _new_tuple(Activity, (tuple(after), at))
