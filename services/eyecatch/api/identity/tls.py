"""TLS of the server: its certificate, and the authority of its clients' certificates, read again when the files change."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from eyecatch.core.errors import InvalidInput
from eyecatch.files import Version, read, unusable, version

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. `client_ca`: of the authority that every client's certificate must come from; None asks for no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, certificate: str, key: str, client_ca: str) -> "TlsFiles | None":
        """Of flags, of which "" is none; None without TLS. Raises InvalidInput if one is missing."""
        if bool(certificate) != bool(key) or (client_ca and not certificate):
            raise InvalidInput.of(
                "tls_cert", certificate, "--tls-cert and --tls-key together; --tls-client-ca needs both"
            )
        return cls(Path(certificate), Path(key), Path(client_ca) if client_ca else None) if certificate else None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Raises InvalidInput, naming the file that is unusable."""
        certificate, key = read("tls_cert", self.certificate), read("tls_key", self.key)
        # gRPC would take any bytes, and then fail each handshake without a word.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, OSError) as error:
            allowed = f"a certificate in PEM whose key, without a passphrase, is in {self.key}"
            raise unusable("tls_cert", self.certificate, allowed) from error
        authority = None
        if self.client_ca:
            authority = read("tls_client_ca", self.client_ca)
            try:
                context.load_verify_locations(self.client_ca)
            except (ssl.SSLError, OSError) as error:
                raise unusable("tls_client_ca", self.client_ca, "certificates in PEM") from error
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

    def versions(self) -> tuple[Version, ...]:
        """Which change whenever a file does."""
        return tuple(version(path) for path in (self.certificate, self.key, self.client_ca) if path)


class _Rotation:
    """What gRPC asks before each handshake, from threads of its own."""

    def __init__(self, files: TlsFiles) -> None:
        # Before the files are read: a change meanwhile is noticed at the next handshake.
        self._files, self._versions = files, files.versions()
        self.first = files.read()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificate if the files have changed, else None."""
        versions = self._files.versions()
        if versions == self._versions:
            return None
        self._versions = versions
        try:
            certificate = self._files.read()
        except InvalidInput as error:
            log.error("tls_not_reloaded", why=str(error), effect="the certificate before stays")
            return None
        log.info("tls_reloaded")
        return certificate


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Of a server that takes rotated files without a restart. Raises InvalidInput."""
    rotation = _Rotation(files)
    return grpc.dynamic_ssl_server_credentials(
        rotation.first,
        rotation,  # type: ignore[arg-type]  # its None is documented
        require_client_authentication=files.client_ca is not None,
    )
