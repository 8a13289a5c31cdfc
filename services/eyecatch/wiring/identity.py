"""Configuration -> who may call the server, and its TLS."""

import grpc

from eyecatch.api.identity.tls import TlsFiles, credentials
from eyecatch.identity_config import IdentityConfig


def tls(config: IdentityConfig) -> grpc.ServerCredentials | None:
    """None without TLS. Raises InvalidInput for an unusable file."""
    files = TlsFiles.of(config.tls_cert, config.tls_key, config.tls_client_ca)
    return credentials(files) if files else None
