"""The callers file -> callers. It is TOML, and has digests of tokens but no token:

[callers.recommender]
rights = ["recommend", "generate"]
tokens = ["sha256:9b1f..."]                    # of a bearer token
certificates = ["spiffe://shop/recommender"]   # a name in its certificate (--tls-client-ca)
subjects = ["recommender@shop"]                # `sub` of its JSON web tokens (--jwt-keys)
calls_per_s = 500                              # quotas; without, none
covers_per_hour = 100
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from eyecatch.api.identity.callers import Caller
from eyecatch.api.identity.rights import Right
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import Check

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WAYS = ("tokens", "certificates", "subjects")
_KEYS = ("rights", *_WAYS, "calls_per_s", "covers_per_hour")
_MOST = 1_000_000


def parse(data: bytes) -> list[Caller]:
    """Raises InvalidInput naming each field that is wrong."""
    try:
        content = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput.of("callers", f"{len(data)} bytes", f"TOML ({error})") from error
    check, tables = Check(), content.pop("callers", None)
    if content or not isinstance(tables, dict) or not tables:
        raise InvalidInput.of("callers", ", ".join(content) or "no caller", "tables [callers.NAME]")
    callers = [_caller(check, name, table) for name, table in tables.items()]
    check.done()
    for way in _WAYS:
        for key, times in Counter(key for caller in callers for key in getattr(caller, way)).items():
            if times > 1:
                value = f"{key.hex()[:12]}…" if isinstance(key, bytes) else key
                check.refuse(way, value, "each of one caller, once")
    check.done()
    return callers


def _caller(check: Check, name: str, table: Any) -> Caller:
    at = f"callers.{name}"
    if not _NAME.fullmatch(name):
        check.refuse(at, name, f"a name of {_NAME.pattern}")
    if not isinstance(table, dict):
        check.refuse(at, table, f"a table with {', '.join(_KEYS)}")
        return Caller(name, frozenset())
    for key in table.keys() - set(_KEYS):
        check.refuse(f"{at}.{key}", table[key], f"one of {', '.join(_KEYS)}")
    if not any(table.get(way) for way in _WAYS):
        check.refuse(at, "no way to know the caller", f"one of {', '.join(_WAYS)}")
    rights = set(_texts(check, at, table, "rights"))
    if not rights or not rights <= set(Right):
        check.refuse(f"{at}.rights", sorted(rights), f"some of {', '.join(Right)}")
    digests = list(_texts(check, at, table, "tokens"))
    if bad := [digest for digest in digests if not _DIGEST.fullmatch(digest)]:
        # It may be the token itself, which belongs in no log.
        check.refuse(f"{at}.tokens", f"{len(bad)} of another form", "sha256: and 64 digits, 0-9 and a-f")
    return Caller(
        name,
        frozenset(map(Right, rights & set(Right))),
        tuple(bytes.fromhex(digest.removeprefix("sha256:")) for digest in digests if digest not in bad),
        tuple(_texts(check, at, table, "certificates")),
        tuple(_texts(check, at, table, "subjects")),
        _number(check, f"{at}.calls_per_s", table.get("calls_per_s"), 0.001),
        int(_number(check, f"{at}.covers_per_hour", table.get("covers_per_hour"), 1)),
    )


def _number(check: Check, field: str, value: Any, least: float) -> float:
    """0.0 if there is none. Whole if `least` is."""
    if value is None:
        return 0.0
    whole = isinstance(least, int)
    if type(value) not in ((int,) if whole else (int, float)) or not least <= value <= _MOST:
        check.refuse(field, value, f"{'a whole number, ' if whole else ''}{least} to {_MOST}")
        return 0.0
    return float(value)


def _texts(check: Check, at: str, table: dict[str, Any], key: str) -> Iterator[str]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        check.refuse(f"{at}.{key}", type(values).__name__, "a list of texts")
        return
    yield from values
