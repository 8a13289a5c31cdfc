"""The weight of an event, which falls for behaviour that no human shows. Pure and by event time, so a replay gives the same weights.

No user is banned: a weight below KEEP keeps the event from the encoder, and counters show operators how often that happens.
"""

from eyecatch.core.types import Action, BotCounters, Event

# Half-life of the count of engagements (clicks, likes, purchases, dwell). Long enough that the burst of
# one page passes; short enough that a human who was taken for a bot counts again within minutes.
RATE_HALF_LIFE_S = 10.0
# Decayed counts above this are too fast: about four engagements a second without a pause, or sixty at once.
# People tap at most twice a second; imported logs with coarse times have dozens of events in one second.
MAX_RATE = 60.0
# Apps report a whole screen of covers at once, so an impression counts as a twentieth of an engagement.
IMPRESSION_SHARE = 0.05
# A longer dwell is an open tab or a script, not attention.
MAX_HUMAN_DWELL_MS = 4 * 3600 * 1000
# Events with less weight stay out of the window from which the user embedding is computed.
KEEP = 0.5
# Used for every event: looking up an enum member and calling a named tuple's class take several times as long.
_IMPRESSION, _new_tuple = Action.IMPRESSION, tuple.__new__


def weigh(bots: BotCounters, last: float, event: Event) -> tuple[float, BotCounters]:
    """(weight in [0, 1], counters) after an event; `last` is the time of the newest event before it, 0 for none.

    The weight is 0 for an impossible dwell, and falls with the square of the rate above MAX_RATE.
    """
    rate, too_fast, impossible = bots
    if event.dwell_ms > MAX_HUMAN_DWELL_MS and event.action is Action.DWELL:
        return 0.0, BotCounters(rate, too_fast, impossible + 1)
    share, time = IMPRESSION_SHARE if event.action is _IMPRESSION else 1.0, event.time
    if time > last:  # the usual case
        rate = rate * 0.5 ** ((time - last) / RATE_HALF_LIFE_S) + share
    else:
        rate = rate + share * 0.5 ** ((last - time) / RATE_HALF_LIFE_S)
    if rate <= MAX_RATE:
        return 1.0, _new_tuple(BotCounters, (rate, too_fast, impossible))
    return (MAX_RATE / rate) ** 2, BotCounters(rate, too_fast + 1, impossible)
