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
_FIRST = {f"{digit:x}": f"{digit | 8:x}" for digit in range(16)}  # a digest's first bit is set


def token(text: str) -> str:
    """The text itself if it has at most five bytes, else "~" and the twelve digits of its digest. A token of a token is itself."""
    raw = text.encode()
    if len(raw) <= _SHORT or (text[0] == "~" and _DIGEST.fullmatch(text)):
        return text
    digest = hashlib.blake2b(raw, digest_size=TOKEN_BYTES).hexdigest()
    return "~" + _FIRST[digest[0]] + digest[1:]


def pack(text: str) -> bytes:
    """Six bytes: a length up to five and the text, or a digest, whose first bit is set."""
    name = token(text)
    if len(name) > _SHORT:
        return bytes.fromhex(name[1:])
    raw = name.encode()
    return bytes([len(raw)]) + raw.ljust(_SHORT, b"\0")


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
