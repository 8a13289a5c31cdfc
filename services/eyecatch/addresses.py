"""A host and a port <-> one text; addresses as they may be shown. A host of IP version 6 is in brackets there. Knows no socket."""

import re

_CREDENTIALS = re.compile(r"//[^\s,]*@")
"""Up to the last @: passwords may have @ and / in them."""
_SECRET = re.compile(r"([?&][^=&\s]*(?:pass|secret|token|key|sig|cred)[^=&\s]*=)[^&\s,]*", re.IGNORECASE)


def joined(host: str, port: int) -> str:
    """("::1", 80) -> "[::1]:80"; a host that is in brackets already keeps them."""
    return f"[{host}]:{port}" if is_version_6(host) and not host.startswith("[") else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """ "[::1]:80" -> ("::1", 80). Raises ValueError without a port."""
    host, _, port = address.rpartition(":")
    return bare(host), int(port)


def bare(host: str) -> str:
    """A host without brackets, as a socket needs it."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_version_6(host: str) -> bool:
    return ":" in host


def without_secrets(text: str) -> str:
    """`text` with *** in place of user and password of each address, and of the values of its secret parameters."""
    return _SECRET.sub(r"\1***", _CREDENTIALS.sub("//***@", text))
