"""JSON web tokens (RFC 7519): whose a signed token is. Knows no caller.

Signatures are of a private key alone: with a shared secret (HS256), who can check a token can also make one.
"""

import time
from collections.abc import Mapping

import jwt
from cachetools import LRUCache

from eyecatch.core.errors import InvalidInput, Unauthenticated

ALGORITHMS = ("RS256", "ES256", "EdDSA")
CLAIMS = ("exp", "iss", "aud", "sub")
LEEWAY_S = 10.0
"""By so much clocks of servers may differ."""
REMEMBERED = 10_000


class WebTokens:
    """Tokens of one issuer for one audience. Tokens that were checked are remembered until they expire."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._known: LRUCache[bytes, tuple[str, float]] = LRUCache(REMEMBERED)

    def take_keys(self, data: bytes) -> None:
        """Use the keys of this JWK set (RFC 7517) from now on. Raises InvalidInput if it has none that we use."""
        try:
            keys = jwt.PyJWKSet.from_json(data.decode()).keys
        except (jwt.PyJWTError, ValueError, AttributeError) as error:
            raise InvalidInput.of("jwt_keys", f"{len(data)} bytes", f"a JWK set ({error})") from error
        usable = {key.key_id: key for key in keys if key.algorithm_name in ALGORITHMS and key.public_key_use != "enc"}
        if not usable:
            raise InvalidInput.of("jwt_keys", f"{len(keys)} other keys", f"keys for {', '.join(ALGORITHMS)}")
        self._keys = usable
        self._known.clear()  # a key may have been withdrawn

    def subject(self, token: str, digest: bytes) -> str:
        """`sub` of a token that is valid now. `digest`: of the token, under which it is remembered. Raises Unauthenticated."""
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._check(token)
        subject, expires = known
        if expires + LEEWAY_S < time.time():
            raise Unauthenticated("the web token is refused: it has expired")
        return subject

    def _check(self, token: str) -> tuple[str, float]:
        try:
            name = jwt.get_unverified_header(token).get("kid")
            key = (
                self._keys.get(name)
                if name is not None or len(self._keys) > 1
                else next(iter(self._keys.values()), None)
            )
            if key is None:
                raise Unauthenticated("the web token is refused: its key is unknown")
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": list(CLAIMS)},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the web token is refused: {error}") from error
        return claims["sub"], float(claims["exp"])
