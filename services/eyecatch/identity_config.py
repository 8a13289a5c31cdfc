"""Settings of who may call `eyecatch serve`, and of TLS."""

from dataclasses import dataclass

from eyecatch.settings import Settings, option

IDENTITY = "Identity and TLS"


@dataclass(frozen=True)
class IdentityConfig(Settings):
    """Part of the configuration of `eyecatch serve`."""

    api_token: str = option("", "A bearer token with all rights; empty = none.", IDENTITY, secret=True)
    callers: str = option(
        "",
        "TOML file of the callers and their rights, read again when it changes (docs/security.md); empty = who is known has all rights.",
        IDENTITY,
    )
    jwt_keys: str = option(
        "", "JWK set of the issuer of JSON web tokens: a file, or an https address; empty = no such tokens.", IDENTITY
    )
    jwt_issuer: str = option("", "`iss` of the tokens.", IDENTITY)
    jwt_audience: str = option("", "`aud` of the tokens, which names this service.", IDENTITY)
    audit_log: str = option(
        "", "File of deletions and changes of rights, one JSON object a line; empty = none.", IDENTITY
    )
    insecure: bool = option(
        False, "Let everybody do everything, also on an address that is not of this machine alone.", IDENTITY
    )
    tls_cert: str = option(
        "", "PEM file of the server's certificate and its chain, read again when it changes; empty = no TLS.", IDENTITY
    )
    tls_key: str = option("", "PEM file of its key.", IDENTITY)
    tls_client_ca: str = option(
        "", "PEM file of the authority that clients' certificates must come from; empty = they need none.", IDENTITY
    )
