"""A recommendation -> the bytes of a RecommendCoversResponse, without building a nested message for each item.

It relies only on guarantees of protobuf: fields may come in any order, a message may be concatenated field by field, and a float is
four bytes that can be set in place. An item is a head, serialised once for each cover, and a tail that differs between covers only
in four floats. tests/unit/api checks that the result equals wire.py's messages.
"""

import struct

import numpy as np

from eyecatch.api import wire
from eyecatch.core.limits import MAX_RECOMMEND_ITEMS
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.recommending.recommend import Recommendation
from eyecatch.core.score import PREFERENCE
from eyecatch.v1 import covers_pb2, types_pb2

ITEMS, TIMINGS = b"\x12", b"\x2a"  # tags of RecommendCoversResponse
COVERS = b"\x12"  # tag of ItemCovers
FLOATS = ("scores", "dots", "contributions", "propensity")  # of Ranked, in the order of the tail's fields
# Four floats that occur nowhere else in the tail's bytes, so that their offsets can be found by searching.
MARKS = tuple(struct.unpack("<f", bytes((0xF1, 0xC3, 0x5A, 0x40 + i)))[0] for i in range(4))


def _tail() -> bytes:
    """The fields of a ScoredCover that depend on the user."""
    score, dot, contribution, propensity = MARKS
    part = types_pb2.RewardPart(name=PREFERENCE, value=dot, contribution=contribution)
    return types_pb2.ScoredCover(score=score, parts=[part], propensity=propensity).SerializeToString()


TAIL = _tail()


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _field(tag: bytes, data: bytes, more: int = 0) -> bytes:
    """`data` as a field whose length includes `more` bytes that follow."""
    return tag + _varint(len(data) + more) + data


def _item_head(pools: Pools, item_id: str, cover: int) -> bytes:
    """The bytes of an item with this one cover, up to the tail."""
    fixed = types_pb2.ScoredCover(
        cover_id=pools.ids[cover], uri=pools.uris[cover], parts=wire.stored_parts(pools, cover)
    ).SerializeToString()
    item = covers_pb2.ItemCovers(item_id=item_id).SerializeToString()
    return _field(ITEMS, item + _field(COVERS, fixed, len(TAIL)), len(TAIL))


def _head_format() -> bytes:
    """The answer's fields without its items, as a % format: decision id, personalised, two bytes for each stage."""
    stages = (_field(TIMINGS, types_pb2.StageTiming(stage=s).SerializeToString() + b"\x10", 2) for s in wire.STAGES)
    return b"\x0a%c%b\x18%c" + b"".join(stage + b"%c%c" for stage in stages)


HEAD = _head_format()


def _answer_head(answer: Recommendation) -> bytes:
    a, b, c = answer.timings_us
    if answer.degraded or max(answer.timings_us) > 0x3FFF:
        return wire.recommendation_head(answer).SerializeToString()
    id = answer.decision_id.encode()
    low, high = 0x7F, 0x80  # always two bytes for a number: parsers accept it for small numbers too
    micros = (a & low | high, a >> 7, b & low | high, b >> 7, c & low | high, c >> 7)
    return HEAD % (len(id), id, answer.personalised, *micros)


class AnswerWriter:
    """Holds the tails of one answer as rows to write floats into; used by one thread."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._tails = np.frombuffer(TAIL * MAX_RECOMMEND_ITEMS, f"V{len(TAIL)}").copy()
        offsets = [TAIL.index(struct.pack("<f", mark)) for mark in MARKS]
        layout = np.dtype({"names": FLOATS, "formats": ["<f4"] * 4, "offsets": offsets, "itemsize": len(TAIL)})
        self._columns = tuple(self._tails.view(layout)[name] for name in FLOATS)

    def __call__(self, answer: Recommendation) -> bytes:
        """The serialised RecommendCoversResponse."""
        ranked, pools, item_ids = answer.ranked, self._pools, answer.item_ids
        head = _answer_head(answer)
        if ranked.k > 1 or not ranked.full:
            rows = (wire.item_covers(pools, ranked, row, item_id) for row, item_id in enumerate(item_ids))
            return b"".join([head, *(_field(ITEMS, row.SerializeToString()) for row in rows)])
        n = len(item_ids)
        scores, dots, contributions, propensity = self._columns
        scores[:n] = ranked.scores
        dots[:n] = ranked.dots
        contributions[:n] = ranked.contributions
        propensity[:n] = ranked.propensity
        covers = ranked.covers.tolist()
        cached = pools.cached
        heads = [cached[cover] for cover in covers]
        if not all(heads):
            for cover, item_id in zip(covers, item_ids, strict=True):
                cached[cover] = cached[cover] or _item_head(pools, item_id, cover)
            heads = [cached[cover] for cover in covers]
        out = [head] * (2 * n + 1)
        out[1::2], out[2::2] = heads, self._tails[:n].tolist()
        return b"".join(out)
