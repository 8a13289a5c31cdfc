"""A recommendation -> the bytes of a RecommendCoversResponse, without building the twenty nested messages of every answer.

Only what protobuf promises is used: a message's bytes may be concatenated field by field, and a float is four bytes that
can be set in place. Each cover's bytes are made once by the generated code and cut at its four user-dependent floats.
tests/unit/api proves the result equal to wire.py's plain messages.
"""

import struct
from collections.abc import Callable

from eyecatch.api import wire
from eyecatch.core.pools import Pools
from eyecatch.core.recommend import Recommendation
from eyecatch.v1 import covers_pb2

ITEMS = b"\x12"  # the tag of RecommendCoversResponse.items
# Four floats that occur nowhere else in a cover's bytes: their places are found by looking for them.
MARKS = tuple(struct.unpack("<f", bytes((0xF1, 0xC3, 0x5A, 0x40 + i)))[0] for i in range(4))

Layout = tuple[Callable[..., bytes], bytes, bytes, bytes, bytes, bytes]


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _field(item: covers_pb2.ItemCovers) -> bytes:
    data = item.SerializeToString()
    return ITEMS + _varint(len(data)) + data


def _prepare(pools: Pools, item_id: str, slot: int, place: int) -> Layout:
    """An item whose one cover is this: (pack, the five constant pieces around the four floats).

    The floats stand in field order: score, preference value, preference contribution, propensity.
    """
    data = _field(covers_pb2.ItemCovers(item_id=item_id, covers=[wire.scored_cover(pools, slot, place, *MARKS)]))
    pieces = []
    for mark in MARKS:
        piece, _, data = data.partition(struct.pack("<f", mark))
        pieces.append(piece)
    layout = struct.Struct("<" + "f".join(f"{len(p)}s" for p in (*pieces, data)))
    return layout.pack, pieces[0], pieces[1], pieces[2], pieces[3], data


def recommendation_to_bytes(pools: Pools, answer: Recommendation) -> bytes:
    """This runs for every item of every request: locals and positional loops on purpose."""
    ranked = answer.ranked
    out = [wire.recommendation_head(answer).SerializeToString()]
    if ranked.k > 1 or not all(ranked.counts):
        return b"".join(
            out + [_field(wire.item_covers(pools, ranked, row, i)) for row, i in enumerate(answer.item_ids)]
        )
    append, prepared = out.append, pools.prepared
    columns = (ranked.slots, ranked.order, ranked.scores, ranked.dots, ranked.preference, ranked.propensity)
    for item_id, slot, place, score, dot, contribution, propensity in zip(answer.item_ids, *columns, strict=True):
        ready = prepared[slot]
        if not ready:
            ready += [_prepare(pools, item_id, slot, j) for j in range(len(pools.ids[slot]))]
        pack, p0, p1, p2, p3, p4 = ready[place]
        append(pack(p0, score, p1, dot, p2, contribution, p3, propensity, p4))
    return b"".join(out)
