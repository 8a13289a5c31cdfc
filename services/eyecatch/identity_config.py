"""Settings of who may call `eyecatch serve`, and of TLS."""

from dataclasses import dataclass

from eyecatch.settings import Settings, option

IDENTITY = "Identity and TLS"


@dataclass(frozen=True)
class IdentityConfig(Settings):
    """Part of the configuration of `eyecatch serve`."""

    api_token: str = option(
        "", "Clients must send it as a bearer token; empty = no authentication.", IDENTITY, secret=True
    )
    tls_cert: str = option(
        "", "PEM file of the server's certificate and its chain, read again when it changes; empty = no TLS.", IDENTITY
    )
    tls_key: str = option("", "PEM file of its key.", IDENTITY)
    tls_client_ca: str = option(
        "", "PEM file of the authority that clients' certificates must come from; empty = they need none.", IDENTITY
    )
