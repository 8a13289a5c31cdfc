"""Decayed counts per action. Times are the user's own, so a replay gives the same numbers however it is cut into batches."""

from eyecatch.core.types import Action, Activity

# A week: habits that matter for covers (watching at weekends, buying before a holiday) live and die within a few of them.
HALF_LIFE_S = 7 * 24 * 3600.0
_made = tuple.__new__  # of every event: at most half of what the class's own takes


def decayed(activity: Activity, at: float) -> tuple[float, ...]:
    """The counts (6,) as they are at time `at`, in UNIX seconds; they do not grow for a time before the last event."""
    factor = 0.5 ** (max(at - activity.at, 0.0) / HALF_LIFE_S)
    return tuple([count * factor for count in activity.counts])


def counted(activity: Activity, action: Action, time: float, weight: float = 1.0) -> Activity:
    """One more event of `weight` in [0, 1]. A late event counts as much as it would if it had come in time."""
    counts, at = activity
    if time > at:  # as nearly always
        factor = 0.5 ** ((time - at) / HALF_LIFE_S)
        a, b, c, d, e, f = counts
        after, at = [a * factor, b * factor, c * factor, d * factor, e * factor, f * factor], time
    else:
        after, weight = list(counts), weight * 0.5 ** ((at - time) / HALF_LIFE_S)
    after[action - 1] += weight
    return _made(Activity, (tuple(after), at))
