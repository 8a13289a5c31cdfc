"""Events that no human makes: how much each still counts. Pure, by the user's own clock, so that replays judge alike.

Nobody is banned: a weight below KEEP keeps the event out of what the encoder sees, and the counters tell operators how often.
"""

from eyecatch.core.types import Action, BotCounters, Event

# Engagements (clicks, likes, purchases, dwell) are counted with this half-life: long enough that a page's burst passes,
# short enough that a bot is forgiven within minutes, should it be a human after all.
RATE_HALF_LIFE_S = 10.0
# The decayed count above which events are too fast: some four engagements a second without a pause, or sixty at one time.
# People tap twice a second at most; imported logs with coarse times bring dozens of events of one second.
MAX_RATE = 60.0
# One impression is a twentieth of an engagement: apps report a whole screen of covers at once.
IMPRESSION_SHARE = 0.05
# Attention to one cover longer than this is a tab left open or a script, not attention.
MAX_HUMAN_DWELL_MS = 4 * 3600 * 1000
# An event of less weight does not enter the window that the user embedding is made of.
KEEP = 0.5
# Of every event: finding a member through its class, or making a named tuple by its own means, takes several times as long.
_IMPRESSION, _made = Action.IMPRESSION, tuple.__new__


def judged(bots: BotCounters, last: float, event: Event) -> tuple[float, BotCounters]:
    """(weight in [0, 1], counters) of an event; `last` is the time of the newest event before it (0: none).

    Weight is 0 for an impossible dwell, and falls with the square of the rate above MAX_RATE.
    """
    rate, too_fast, impossible = bots
    if event.dwell_ms > MAX_HUMAN_DWELL_MS and event.action is Action.DWELL:
        return 0.0, BotCounters(rate, too_fast, impossible + 1)
    share, time = IMPRESSION_SHARE if event.action is _IMPRESSION else 1.0, event.time
    if time > last:  # as nearly always
        rate = rate * 0.5 ** ((time - last) / RATE_HALF_LIFE_S) + share
    else:
        rate = rate + share * 0.5 ** ((last - time) / RATE_HALF_LIFE_S)
    if rate <= MAX_RATE:
        return 1.0, _made(BotCounters, (rate, too_fast, impossible))
    return (MAX_RATE / rate) ** 2, BotCounters(rate, too_fast + 1, impossible)
