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
from eyecatch.v1 import covers_pb2, types_pb2

ITEMS, TIMINGS = b"\x12", b"\x2a"  # tags of RecommendCoversResponse
STAGES = tuple(types_pb2.StageTiming(stage=s).SerializeToString() + b"\x10" for s in wire.STAGES)  # up to micros
# Four floats that occur nowhere else in a cover's bytes: their places are found by looking for them.
MARKS = tuple(struct.unpack("<f", bytes((0xF1, 0xC3, 0x5A, 0x40 + i)))[0] for i in range(4))

Layout = tuple[Callable[..., bytes], float, bytes, bytes, bytes, bytes, bytes]


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
    """An item whose one cover is this: (pack, stored part of the score, the five constant pieces around the four floats).

    The floats stand in field order: score, preference value, preference contribution, propensity.
    """
    data = _field(covers_pb2.ItemCovers(item_id=item_id, covers=[wire.scored_cover(pools, slot, place, *MARKS)]))
    pieces = []
    for mark in MARKS:
        piece, _, data = data.partition(struct.pack("<f", mark))
        pieces.append(piece)
    layout = struct.Struct("<" + "f".join(f"{len(p)}s" for p in (*pieces, data)))
    return layout.pack, pools.base[slot][place], pieces[0], pieces[1], pieces[2], pieces[3], data


def _head(answer: Recommendation) -> bytes:
    """Everything of the answer but its items."""
    if answer.degraded:
        return wire.recommendation_head(answer).SerializeToString()
    out = (
        b"\x0a"
        + _varint(len(answer.decision_id))
        + answer.decision_id.encode()
        + b"\x18"
        + bytes((answer.personalised,))
    )
    for stage, micros in zip(STAGES, answer.timings_us, strict=True):
        timing = stage + _varint(micros)
        out += TIMINGS + _varint(len(timing)) + timing
    return out


def recommendation_to_bytes(pools: Pools, answer: Recommendation) -> bytes:
    """This runs for every item of every request: locals and positional loops on purpose."""
    ranked = answer.ranked
    out = [_head(answer)]
    if ranked.k > 1 or not all(ranked.counts):
        return b"".join(
            out + [_field(wire.item_covers(pools, ranked, row, i)) for row, i in enumerate(answer.item_ids)]
        )
    append, prepared = out.append, pools.prepared
    offset, inverse = ranked.offset, 1 / ranked.gain if ranked.gain else 0.0
    columns = (ranked.slots, ranked.order, ranked.scores, ranked.propensity)
    for item_id, slot, place, score, propensity in zip(answer.item_ids, *columns, strict=True):
        ready = prepared[slot]
        if not ready:
            ready += [_prepare(pools, item_id, slot, j) for j in range(len(pools.ids[slot]))]
        pack, stored, p0, p1, p2, p3, p4 = ready[place]
        part = score - stored
        append(pack(p0, score, p1, (part + offset) * inverse, p2, part, p3, propensity, p4))
    return b"".join(out)
