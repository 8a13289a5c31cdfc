"""Who may call, how each is known, and what each may do. Knows no file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eyecatch.api.identity.rights import ALL, Right


@dataclass(frozen=True)
class Caller:
    """`tokens`: digests of bearer tokens. `certificates`: names in client certificates. `subjects`: `sub` of JSON web tokens."""

    name: str
    rights: frozenset[Right]
    tokens: tuple[bytes, ...] = ()
    certificates: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    calls_per_s: float = 0.0
    covers_per_hour: int = 0
    """0: no quota."""


class Callers:
    """All callers, by how they are known. `any_certificate`: every certificate of the clients' authority has all rights."""

    def __init__(self, callers: Iterable[Caller], any_certificate: bool = False) -> None:
        self.by_name = {caller.name: caller for caller in callers}
        self.any_certificate = any_certificate
        self._by_token = {key: caller for caller in self.by_name.values() for key in caller.tokens}
        self._by_certificate = {key: caller for caller in self.by_name.values() for key in caller.certificates}
        self._by_subject = {key: caller for caller in self.by_name.values() for key in caller.subjects}

    def of_token(self, digest: bytes) -> Caller | None:
        """Looked up by its digest alone, so the time of a look tells nothing of tokens."""
        return self._by_token.get(digest)

    def of_subject(self, subject: str) -> Caller | None:
        return self._by_subject.get(subject)

    def of_certificate(self, names: Sequence[str]) -> Caller | None:
        """`names`: the alternative names of a certificate that was verified; of one without any, the common name."""
        known = next((self._by_certificate[name] for name in names if name in self._by_certificate), None)
        return Caller(names[0], ALL) if known is None and names and self.any_certificate else known


def token_digest(token: str) -> bytes:
    """SHA-256: enough for random tokens, which nobody guesses, and quick enough for each call."""
    return hashlib.sha256(token.encode()).digest()
