"""TLS of our clients: of our own server, and of Triton. Knows neither."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from eyecatch.core.errors import InvalidInput, Violation

SYSTEM_CA = "system"
"""In place of a file: the authorities that gRPC comes with."""


@dataclass(frozen=True)
class Tls:
    """`ca`: PEM file of the authority of the server's certificate, or "system".

    certificate, key: PEM files of the client's own, "" without; the key has no passphrase.
    """

    ca: str
    certificate: str = ""
    key: str = ""

    @classmethod
    def of(cls, ca: str, certificate: str, key: str) -> "Tls | None":
        """Of flags, of which "" is none; None without TLS. Raises InvalidInput for a certificate without key or authority."""
        if bool(certificate) != bool(key) or (certificate and not ca):
            allowed = "the authority alone, or also a certificate and its key"
            raise InvalidInput.of("tls", ", ".join(filter(None, (ca, certificate, key))), allowed)
        return cls(ca, certificate, key) if ca else None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InvalidInput for a file that cannot be read."""
        ca = None if self.ca == SYSTEM_CA else _pem(self.ca)
        return grpc.ssl_channel_credentials(ca, _pem(self.key), _pem(self.certificate))


def _pem(path: str) -> bytes | None:
    if not path:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _unusable(path, f"a file that can be read ({error.strerror})") from error
    # gRPC would take any bytes, and then call the server unreachable.
    if b"-----BEGIN " not in data:
        raise _unusable(path, "a file in PEM")
    return data


def _unusable(path: str, allowed: str) -> InvalidInput:
    """With the whole path, which InvalidInput.of would cut."""
    return InvalidInput([Violation("tls", repr(path), allowed)])
