"""Kafka records and their messages. Knows no event and no Kafka client; uses no clock and no store."""

import json
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

# Five ids of 128 characters take 8 KiB if JSON escapes each character with twelve bytes.
MAX_BYTES = 16 * 1024
CONTENT_TYPE = "content-type"
JSON_BRACE = ord("{")
_BEFORE = b" \t\r\n\xef\xbb\xbf"
"""White space, and the byte order mark of UTF-8."""
M = TypeVar("M", bound=Message)
Headers = Sequence[tuple[str, bytes | None]]
"""The value of a header may be null."""


class Unreadable(StrEnum):
    """Why a record has no message. docs/ingest.md says what to do about each."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_PROTOBUF = "not-protobuf"
    NOT_JSON = "not-json"


class Poison(NamedTuple):
    """Why a record goes to the dead letters. `detail` names field, value and what is allowed. It may contain user ids: never log it."""

    reason: StrEnum
    detail: str


class Record(Protocol):
    """The attributes that we use of kafka-python's ConsumerRecord."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


def message_of(record: Record, kind: type[M], wrong_shape: StrEnum, max_bytes: int = MAX_BYTES) -> M | Poison:
    """The message of a record in protobuf or JSON. `wrong_shape`: the reason for JSON that does not fit `kind`. Never raises."""
    value, name = record.value, kind.DESCRIPTOR.full_name
    if not value:
        return Poison(Unreadable.EMPTY, f"no bytes; allowed: an {name} in protobuf or JSON")
    if len(value) > max_bytes:
        return Poison(Unreadable.TOO_LARGE, f"{len(value)} bytes; allowed: at most {max_bytes}")
    try:
        if not is_json(value, record.headers):
            return kind.FromString(value)
        data = json.loads(value.lstrip(_BEFORE))
        if not isinstance(data, dict):
            return Poison(wrong_shape, f"a JSON {type(data).__name__}; allowed: an object")
        return ParseDict(data, kind(), ignore_unknown_fields=True)
    except DecodeError:
        return Poison(Unreadable.NOT_PROTOBUF, f"{len(value)} bytes; allowed: a serialised {name}")
    except (ParseError, SystemError) as error:  # protobuf's C parser raises SystemError for a lone surrogate in an enum
        return Poison(wrong_shape, str(error)[:200])
    except (ValueError, RecursionError) as error:
        with suppress(DecodeError):
            if value[0] in _BEFORE:
                return kind.FromString(value)
        return Poison(Unreadable.NOT_JSON, str(error)[:200])


def is_json(value: bytes, headers: Headers) -> bool:
    """By the content type if there is such a header, else by the brace, with which no serialised message of ours starts.

    Behind a line end it may also be the length of a protobuf field: such a value may be either.
    """
    for name, content in headers:
        if name.lower() == CONTENT_TYPE:
            return b"json" in (content or b"").lower()
    return value[0] == JSON_BRACE or (value[0] in _BEFORE and value.lstrip(_BEFORE)[:1] == b"{")
