"""Page tokens: the last id of a page in an opaque form. Any other text is refused."""

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_ID
from eyecatch.core.types import Page

_PREFIX = b"p1:"
T = TypeVar("T")


def page(rows: tuple[T, ...], size: int, id_of: Callable[[T], str]) -> Page[T]:
    """The first `size` of at most `size` + 1 rows, with a token if there is one more."""
    first = rows[:size]
    return Page(first, token(id_of(first[-1])) if len(rows) > size and first else "")


def token(last_id: str) -> str:
    return base64.urlsafe_b64encode(_PREFIX + last_id.encode()).decode().rstrip("=")


def last_id(text: str) -> str:
    """The id inside a token; "" for the first page. Raises InvalidInput."""
    if not text:
        return ""
    refusal = InvalidInput.of("page_token", text, "empty, or the next_page_token of the page before")
    if len(text) > 8 * MAX_ID:
        raise refusal
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        if not raw.startswith(_PREFIX) or token(id := raw[len(_PREFIX) :].decode()) != text:
            raise refusal
    except (binascii.Error, ValueError):
        raise refusal from None
    return id


def last_number(text: str) -> int:
    """`last_id` as a number, 0 for the first page. Raises InvalidInput."""
    id = last_id(text)
    if not (id.isascii() and id.isdigit() and len(id) < 19) and id:
        raise InvalidInput.of("page_token", text, "empty, or the next_page_token of the page before")
    return int(id or 0)
