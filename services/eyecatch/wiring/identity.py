"""Configuration -> who may call the server, and its TLS."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from eyecatch.addresses import bare
from eyecatch.api.identity.audit import AuditLog
from eyecatch.api.identity.callers import Caller, Callers, token_digest
from eyecatch.api.identity.callers_file import parse
from eyecatch.api.identity.gate import Gate
from eyecatch.api.identity.key_address import KeyAddress
from eyecatch.api.identity.rights import ALL
from eyecatch.api.identity.tls import TlsFiles, credentials
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput, NotReady
from eyecatch.core.ports import Notes
from eyecatch.files import Watched

log = structlog.get_logger(__name__)

API_TOKEN = "api-token"  # noqa: S105
"""The name of the caller with --api-token."""
ANYBODY = Caller("anybody", ALL)


@dataclass(frozen=True)
class Identity:
    """`gate`: None lets everybody in. `files`: to be watched while the server runs."""

    credentials: grpc.ServerCredentials | None
    gate: Gate | None
    files: tuple[Watched | KeyAddress, ...] = ()
    audit: AuditLog | None = None

    async def take_key(self, notes: Notes) -> None:
        """The last that is missing, once the store is open."""
        if self.audit is not None:
            await self.audit.take_key(notes)


def open_identity(config: Config) -> Identity:
    """Raises InvalidInput for an unusable file, and for an address that others reach if callers are not known."""
    tls = TlsFiles.of(config.tls_cert, config.tls_key, config.tls_client_ca)
    secured = credentials(tls) if tls else None
    is_known = bool(config.api_token or config.callers or config.tls_client_ca)
    if is_known and config.insecure:
        raise InvalidInput.of(
            "insecure", True, "not with --api-token, --callers or --tls-client-ca, which it would make useless"
        )
    if not is_loopback(config.host):
        if not is_known and not config.insecure:
            allowed = "127.0.0.1 or ::1; others with --api-token, --callers or --tls-client-ca, or with --insecure"
            raise InvalidInput.of("host", config.host, allowed)
        if not secured:
            log.warning("no_tls", effect="tokens and data go over the network in the clear, unless a proxy adds TLS")
    audit = AuditLog(Path(config.audit_log)) if config.audit_log else None
    own = [Caller(API_TOKEN, ALL, tokens=(token_digest(config.api_token),))] if config.api_token else []
    gate = Gate(Callers(own, any_certificate=not config.callers), audit, None if is_known else ANYBODY)
    files: list[Watched | KeyAddress] = [_callers_file(gate, config, own, audit)] if config.callers else []
    if config.jwt_keys:
        files.append(_web_tokens(gate, config))
    return Identity(secured, gate if is_known or audit else None, tuple(files), audit)


def _callers_file(gate: Gate, config: Config, own: Sequence[Caller], audit: AuditLog | None) -> Watched:
    def take(data: bytes) -> None:
        callers = parse(data)
        for caller in callers:
            at = f"callers.{caller.name}"
            if caller.certificates and not config.tls_client_ca:
                raise InvalidInput.of(f"{at}.certificates", caller.certificates[0], "none without --tls-client-ca")
            if caller.subjects and not config.jwt_keys:
                raise InvalidInput.of(f"{at}.subjects", caller.subjects[0], "none without --jwt-keys")
        before, gate.callers = gate.callers, Callers([*own, *callers])
        if audit is not None:
            audit.rights(before.by_name, gate.callers.by_name)

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
