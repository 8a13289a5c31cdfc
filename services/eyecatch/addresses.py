"""A host and a port <-> one text. A host of IP version 6 is in brackets there, since it has colons itself. Knows no socket."""


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
