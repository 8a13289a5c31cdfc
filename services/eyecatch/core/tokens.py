"""Ids and topics cut to six bytes, so that a profile can remember many. Knows no profile.

A short text stays itself, a longer one becomes a keyless digest: enough to recognise it again, not to spell it out.
A wrong match among the fifty ids that a profile remembers happens once in 10**12 events.
"""

import base64
import hashlib
import re

TOKEN_BYTES = 6
_SHORT = TOKEN_BYTES - 1
_DIGEST = re.compile(r"~[89a-f][0-9a-f]{11}")


def token(text: str) -> str:
    """The text itself if it has at most five bytes, else "~" and the twelve digits of its digest. A token of a token is itself."""
    raw = text.encode()
    return text if len(raw) <= _SHORT or _DIGEST.fullmatch(text) else "~" + _digest(raw).hex()


def pack(text: str) -> bytes:
    """Six bytes: a length up to five and the text, or a digest, whose first bit is set."""
    raw = text.encode()
    if len(raw) <= _SHORT:
        return bytes([len(raw)]) + raw.ljust(_SHORT, b"\0")
    return bytes.fromhex(text[1:]) if _DIGEST.fullmatch(text) else _digest(raw)


def unpack(packed: bytes) -> str:
    """Six bytes -> the token. Raises ValueError for bytes that `pack` never makes."""
    first = packed[0]
    if first & 0x80:
        return "~" + packed.hex()
    if first > _SHORT or any(packed[1 + first :]):
        raise ValueError("no token")
    return packed[1 : 1 + first].decode()


def user_tag(user_id: str) -> str:
    """Twenty characters that stand for a user; no two users in the world share them."""
    return base64.urlsafe_b64encode(hashlib.blake2b(user_id.encode(), digest_size=15).digest()).decode()


def _digest(raw: bytes) -> bytes:
    digest = hashlib.blake2b(raw, digest_size=TOKEN_BYTES).digest()
    return bytes([digest[0] | 0x80]) + digest[1:]
