"""Profile <-> at most PROFILE_BYTES bytes: a fixed little-endian layout that starts with its version.

    head  version u8, encoder u16, dimensions u8, scale f32, embedding int8 (D,)          the fast path reads only this
    body  event count u32, updated at u64 ms, decayed counts f64 (6,) as of f64, rate f64,
          too fast u32, impossible u32, numbers of positions, events and recent ids u8 (3,)
    rows  positions: topic token, partition u16, offset u64
          events, newest first: reference to (item, cover), id token, time u48 ms, action and dwell bucket u8
          recent ids: tokens

A released layout never changes: a change adds a version, and decoders of old versions stay. Knows no database.
"""

import hashlib
import math
import re
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from eyecatch.core.behaviour import dwell, tokens
from eyecatch.core.behaviour.absorb import MAX_POSITIONS, OLDER_IDS
from eyecatch.core.errors import InvalidInput, StoreDamaged, StoreTooNew
from eyecatch.core.types import (
    EMBEDDING_DIM,
    RECENT_EVENTS,
    Action,
    Activity,
    BotCounters,
    Event,
    Position,
    Profile,
    Vector,
)

VERSION = 1
PROFILE_BYTES = 1024
# An embedding without a larger component is stored as zeros: division by a smaller scale would overflow.
MIN_SCALE = 1e-30
_HEAD = struct.Struct("<BHBf")
HEAD_BYTES = _HEAD.size + EMBEDDING_DIM
_BODY = struct.Struct("<IQ6dddIIBBB")
_POSITION = struct.Struct("<6sHQ")
_EVENT = struct.Struct("<8s6sIHB")
_ACTIONS = {int(action): action for action in Action}
_DWELLS = [dwell.milliseconds(bucket) for bucket in range(dwell.BUCKETS)]
_topic = lru_cache(64)(tokens.pack)
_U32, _U48 = 2**32 - 1, 2**48 - 1

Names = Mapping[bytes, tuple[str, str]]
"""Reference (8 bytes) -> (item id, cover id)."""
_UNNAMED = re.compile(r"~[0-9a-f]{16}")


@lru_cache(1 << 17)  # a profile's events are written again and again
def reference(item_id: str, cover_id: str) -> bytes:
    """The eight bytes that stand for an item and a cover. For an id that `decode` could not name, the bytes that it came from."""
    if not cover_id and _UNNAMED.fullmatch(item_id):
        return bytes.fromhex(item_id[1:])
    return hashlib.blake2b(f"{item_id}\x1f{cover_id}".encode(), digest_size=8).digest()


def unknown_reference(event: Event) -> bytes | None:
    """The reference of an event whose item `decode` could not name, else None."""
    match = not event.cover_id and _UNNAMED.fullmatch(event.item_id)
    return bytes.fromhex(event.item_id[1:]) if match else None


def encode(profile: Profile) -> bytes:
    """The bytes of a profile. Events have the form of core.behaviour.absorb; more rows than a profile holds are cut off.

    Raises InvalidInput for an embedding of another shape or with a number that is not finite.
    """
    positions, events = profile.positions[:MAX_POSITIONS], profile.events[:RECENT_EVENTS]
    ids, activity, bots = profile.recent_ids[:OLDER_IDS], profile.activity, profile.bots
    counters = (bots.rate, min(bots.too_fast, _U32), min(bots.impossible, _U32))
    total, updated_ms = min(profile.event_count, _U32), max(round(profile.updated_at * 1000), 0)
    sizes = (len(positions), len(events), len(ids))
    parts = [_quantised(profile), _BODY.pack(total, updated_ms, *activity.counts, activity.at, *counters, *sizes)]
    parts += [_POSITION.pack(_topic(p.topic), p.partition, p.offset) for p in positions]
    pack, token = _EVENT.pack, tokens.pack
    for id, _, item_id, action, seconds, cover_id, _, dwell_ms in events:
        time = round(seconds * 1000)
        if not 0 <= time <= _U48:
            time = min(max(time, 0), _U48)
        what = action << 5 | (dwell_ms and dwell.bucket(dwell_ms))
        parts.append(pack(reference(item_id, cover_id), token(id), time & _U32, time >> 32, what))
    parts += map(token, ids)
    return b"".join(parts)


def _quantised(profile: Profile) -> bytes:
    """Components in units of a 127th of the largest: an error of at most 0.4 % of it, far below the difference of two covers."""
    vector = np.asarray(profile.embedding, np.float32)
    if vector.shape != (EMBEDDING_DIM,) or not np.isfinite(vector).all():
        raise InvalidInput.of("embedding", vector.shape, f"{EMBEDDING_DIM} finite numbers of a unit vector")
    scale = float(np.abs(vector).max())
    if scale < MIN_SCALE:
        scale, rows = 0.0, np.zeros(EMBEDDING_DIM, np.float32)
    else:
        rows = np.rint(vector * np.float32(127 / scale))
    return _HEAD.pack(VERSION, profile.encoder, EMBEDDING_DIM, scale) + rows.astype(np.int8).tobytes()


def embedding(data: bytes) -> tuple[int, Vector | None]:
    """(encoder version, user embedding (D,), read-only, or None if it is all zeros) of the first HEAD_BYTES of a profile.

    Raises StoreDamaged, StoreTooNew.
    """
    if not data:
        raise _damaged("no bytes")
    if data[0] not in _DECODERS:
        if data[0] > VERSION:
            raise StoreTooNew(
                f"a profile has version {data[0]}, this program knows versions up to {VERSION}; run the newer eyecatch"
            )
        raise _damaged(f"version {data[0]}")
    if len(data) < HEAD_BYTES:
        raise _damaged(f"{len(data)} bytes")
    _, encoder, dim, scale = _HEAD.unpack_from(data)
    if dim != EMBEDDING_DIM or not math.isfinite(scale) or scale < 0:
        raise _damaged(f"{dim} dimensions of scale {scale}")
    if scale == 0:
        return encoder, None
    vector = np.frombuffer(data, np.int8, EMBEDDING_DIM, _HEAD.size).astype(np.float32)
    vector /= 127
    vector *= np.float32(scale)
    vector.flags.writeable = False
    return encoder, vector


def decode(user_id: str, data: bytes, names: Names | None = None) -> Profile:
    """The profile. An event whose reference has no name gets "~" and sixteen digits as its item id. Raises StoreDamaged, StoreTooNew."""
    encoder, vector = embedding(data)
    try:
        return _DECODERS[data[0]](user_id, data, encoder, vector, names or {})
    except (struct.error, ValueError, KeyError) as error:  # UnicodeDecodeError is a ValueError
        raise _damaged(str(error)) from error


def _decode_1(user_id: str, data: bytes, encoder: int, vector: Vector | None, names: Names) -> Profile:
    count, updated, *counts, at, rate, too_fast, impossible, n_positions, n_events, n_ids = _BODY.unpack_from(
        data, HEAD_BYTES
    )
    first_event = HEAD_BYTES + _BODY.size + n_positions * _POSITION.size
    first_id = first_event + n_events * _EVENT.size
    if len(data) != first_id + n_ids * tokens.TOKEN_BYTES:
        raise ValueError(f"{len(data)} bytes for {n_positions} positions, {n_events} events and {n_ids} ids")
    if not all(math.isfinite(number) and number >= 0 for number in (*counts, rate)) or not math.isfinite(at):
        raise ValueError("numbers that are not finite")
    events = []
    for ref, id, low, high, what in _EVENT.iter_unpack(data[first_event:first_id]):
        item_id, cover_id = names.get(ref) or ("~" + ref.hex(), "")
        time = (high << 32 | low) / 1000
        events.append(
            Event(tokens.unpack(id), user_id, item_id, _ACTIONS[what >> 5], time, cover_id, "", _DWELLS[what & 31])
        )
    positions = [
        Position(tokens.unpack(topic), partition, offset)
        for topic, partition, offset in _POSITION.iter_unpack(data[HEAD_BYTES + _BODY.size : first_event])
    ]
    ids = [tokens.unpack(data[n : n + tokens.TOKEN_BYTES]) for n in range(first_id, len(data), tokens.TOKEN_BYTES)]
    vector = np.zeros(EMBEDDING_DIM, np.float32) if vector is None else vector
    activity, bots = Activity(tuple(counts), at), BotCounters(rate, too_fast, impossible)
    rows = (tuple(positions), tuple(events), tuple(ids))
    return Profile(user_id, vector, count, updated / 1000, *rows, activity, bots, encoder)


_DECODERS: dict[int, Callable[[str, bytes, int, Vector | None, Names], Profile]] = {1: _decode_1}


def _damaged(what: str) -> StoreDamaged:
    return StoreDamaged(f"a stored profile cannot be read ({what}); forget the user, or restore a backup")
