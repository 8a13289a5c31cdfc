"""Configuration -> who may call the server, and its TLS."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from eyecatch.addresses import bare
from eyecatch.api.identity.callers import Caller, Callers, token_digest
from eyecatch.api.identity.callers_file import parse
from eyecatch.api.identity.files import Watched
from eyecatch.api.identity.gate import Gate
from eyecatch.api.identity.key_address import KeyAddress
from eyecatch.api.identity.rights import ALL
from eyecatch.api.identity.tls import TlsFiles, credentials
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput, NotReady

log = structlog.get_logger(__name__)

API_TOKEN = "api-token"  # noqa: S105
"""The name of the caller with --api-token."""


@dataclass(frozen=True)
class Identity:
    """`gate`: None lets everybody in. `files`: to be watched while the server runs."""

    credentials: grpc.ServerCredentials | None
    gate: Gate | None
    files: tuple[Watched | KeyAddress, ...] = ()


def open_identity(config: Config) -> Identity:
    """Raises InvalidInput for an unusable file, and for an address that others reach if callers are not known."""
    tls = TlsFiles.of(config.tls_cert, config.tls_key, config.tls_client_ca)
    secured = credentials(tls) if tls else None
    if not (config.api_token or config.callers or config.tls_client_ca):
        if not config.insecure and not is_loopback(config.host):
            allowed = "127.0.0.1 or ::1; others with --api-token, --callers or --tls-client-ca, or with --insecure"
            raise InvalidInput.of("host", config.host, allowed)
        return Identity(secured, None)
    if not secured and not is_loopback(config.host):
        log.warning("no_tls", effect="tokens and data go over the network in the clear, unless a proxy adds TLS")
    own = [Caller(API_TOKEN, ALL, tokens=(token_digest(config.api_token),))] if config.api_token else []
    gate = Gate(Callers(own, any_certificate=not config.callers))
    files: list[Watched | KeyAddress] = [_callers_file(gate, config, own)] if config.callers else []
    if config.jwt_keys:
        files.append(_web_tokens(gate, config))
    return Identity(secured, gate, tuple(files))


def _callers_file(gate: Gate, config: Config, own: Sequence[Caller]) -> Watched:
    def take(data: bytes) -> None:
        callers = parse(data)
        for caller in callers:
            at = f"callers.{caller.name}"
            if caller.certificates and not config.tls_client_ca:
                raise InvalidInput.of(f"{at}.certificates", caller.certificates[0], "none without --tls-client-ca")
            if caller.subjects and not config.jwt_keys:
                raise InvalidInput.of(f"{at}.subjects", caller.subjects[0], "none without --jwt-keys")
        gate.callers = Callers([*own, *callers])

    return Watched("callers", Path(config.callers), take)


def _web_tokens(gate: Gate, config: Config) -> Watched | KeyAddress:
    if not (config.callers and config.jwt_issuer and config.jwt_audience):
        raise InvalidInput.of("jwt_keys", config.jwt_keys, "with --callers, --jwt-issuer and --jwt-audience")
    try:
        from eyecatch.api.identity.web_tokens import WebTokens
    except ModuleNotFoundError as error:
        raise NotReady("--jwt-keys needs PyJWT: pip install 'eyecatch[jwt]'") from error
    gate.web_tokens = WebTokens(config.jwt_issuer, config.jwt_audience)
    if "://" in config.jwt_keys:
        return KeyAddress(config.jwt_keys, gate.web_tokens.take_keys)
    return Watched("jwt_keys", Path(config.jwt_keys), gate.web_tokens.take_keys)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        return host == "localhost"
