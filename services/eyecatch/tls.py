"""TLS of our clients: of our own server, and of Triton. Knows neither."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from eyecatch.core.errors import InvalidInput
from eyecatch.files import Version, read, unusable, version

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

    def versions(self) -> tuple[Version, ...]:
        """Which change whenever a file does."""
        files = (self.ca, self.certificate, self.key)
        return tuple(version(Path(file)) for file in files if file not in ("", SYSTEM_CA))


def _pem(file: str) -> bytes | None:
    if not file:
        return None
    data = read("tls", Path(file))
    # gRPC would take any bytes, and then call the server unreachable.
    if b"-----BEGIN " not in data:
        raise unusable("tls", Path(file), "a file in PEM")
    return data
