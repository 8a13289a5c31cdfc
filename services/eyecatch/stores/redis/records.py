"""Items and covers <-> values of Redis hashes. Knows no command."""

import json

from eyecatch.core.errors import StoreDamaged
from eyecatch.core.types import EMBEDDING_DIM, Cover, Item, Origin, Provenance
from eyecatch.stores.embedding_codec import pack, unpack
from eyecatch.stores.json_codec import compact, provenance_text, rewards_text, standing, standing_row

_EMBEDDING_BYTES = 2 * EMBEDDING_DIM


def item_text(item: Item) -> str:
    return compact("item", [item.title, item.category, item.references, item.updated_at])


def item_from(id: str, data: bytes) -> Item:
    """Raises StoreDamaged."""
    try:
        title, category, references, updated_at = json.loads(data)
    except ValueError as error:
        raise StoreDamaged("a stored item cannot be read; import it again") from error
    return Item(id, title, category, tuple(references), updated_at)


def cover_bytes(cover: Cover) -> bytes:
    """The embedding, then everything else as JSON. Raises InvalidInput."""
    rewards, provenance = json.loads(rewards_text(cover.rewards)), json.loads(provenance_text(cover.provenance))
    rest = [cover.item_id, cover.uri, rewards, int(cover.provenance.origin), provenance]
    rest += [cover.width, cover.height, cover.taste, cover.created_at]
    rest += [standing_row(cover.ruling)] if cover.ruling else []
    return pack(cover.embedding) + compact("cover", rest).encode()


def cover_from(id: str, data: bytes) -> Cover:
    """Raises StoreDamaged."""
    try:
        item_id, uri, rewards, origin, rest, *numbers = json.loads(data[_EMBEDDING_BYTES:])
        width, height, taste, created_at, *ruling = numbers  # nothing was decided about older covers
        provenance = Provenance(Origin(origin), **rest)
        after = standing(ruling[0]) if ruling else None
    except (ValueError, TypeError) as error:
        raise StoreDamaged("a stored cover cannot be read; import or generate it again") from error
    embedding = unpack(data[:_EMBEDDING_BYTES])
    return Cover(id, item_id, uri, embedding, rewards, provenance, width, height, taste, created_at, after)
