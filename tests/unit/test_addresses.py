"""Hosts and ports as one text, of both versions of IP."""

import pytest
from eyecatch.addresses import joined, split


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:80"), ("localhost", "localhost:80"), ("::1", "[::1]:80"), ("::", "[::]:80")],
)
def test_a_host_and_a_port_are_one_text(host: str, address: str) -> None:
    assert joined(host, 80) == address
    assert split(address) == (host, 80)
    assert joined(f"[{host}]" if ":" in host else host, 80) == address
