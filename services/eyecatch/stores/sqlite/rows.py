"""Types <-> rows. Knows no query."""

import json

from eyecatch.core.types import Action, Cover, Event, Origin, Provenance
from eyecatch.stores.embedding_codec import pack, unpack
from eyecatch.stores.json_codec import compact, provenance_text, rewards_text, standing, standing_row
from eyecatch.stores.sqlite.connection import Row

EVENT_COLUMNS = "event_id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms"
COVER_COLUMNS = (
    "id, item_id, uri, embedding, rewards, origin, provenance, width, height, taste, created_at, trust, standing"
)
_COVER_WIDTH = COVER_COLUMNS.count(",") + 1
_ACTIONS = {int(action): action for action in Action}


def event_row(event: Event) -> Row:
    id, user_id, item_id, action, time, cover_id, decision_id, dwell_ms = event
    return id, user_id, item_id, int(action), float(time), cover_id, decision_id, dwell_ms


def event(row: Row) -> Event:
    return Event(row[0], row[1], row[2], _ACTIONS[row[3]], row[4], row[5], row[6], row[7])


def cover_row(cover: Cover) -> Row:
    origin = (int(cover.provenance.origin), provenance_text(cover.provenance))
    numbers = (cover.width, cover.height, cover.taste, cover.created_at)
    texts = (cover.id, cover.item_id, cover.uri)
    return (*texts, pack(cover.embedding), rewards_text(cover.rewards), *origin, *numbers, *standing_columns(cover))


def standing_columns(cover: Cover) -> Row:
    """trust, standing"""
    ruling = compact("standing", standing_row(cover.ruling)) if cover.ruling else ""
    return int(cover.standing.trust), ruling


def cover(row: Row) -> Cover:
    """The last columns of `row` are COVER_COLUMNS."""
    id, item_id, uri, embedding, rewards, origin, rest, *last = row[-_COVER_WIDTH:]
    width, height, taste, created_at, _, ruling = last
    provenance = Provenance(Origin(origin), **json.loads(rest))
    return Cover(
        id,
        item_id,
        uri,
        unpack(embedding),
        json.loads(rewards),
        provenance,
        width,
        height,
        taste,
        created_at,
        standing(json.loads(ruling)) if ruling else None,
    )
