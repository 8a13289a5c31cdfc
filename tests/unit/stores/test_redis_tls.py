"""A store over TLS: rediss:// with the authority and our certificate in the URL, through a proxy that is the end of TLS."""

import ssl
from collections.abc import Iterator

import pytest
from eyecatch.core.errors import Unavailable
from eyecatch.stores.redis.link import Link

from tests.certificates import NAME, Authority
from tests.proxy import Proxy
from tests.servers import RedisServer


@pytest.fixture
def port(redis_server: RedisServer, authority: Authority) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("redis", NAME))
    context.verify_mode = ssl.CERT_REQUIRED
    proxy = Proxy(redis_server.port, context)
    yield proxy.port
    proxy.close()


async def no_wait(seconds: float) -> None:
    pass


async def test_the_url_names_authority_and_certificate(port: int, authority: Authority) -> None:
    certificate, key = authority.issue("server", "eyecatch")
    tls = f"ssl_ca_certs={authority.file}&ssl_certfile={certificate}&ssl_keyfile={key}"
    link = await Link.open(f"rediss://{NAME}:{port}?{tls}")
    try:
        assert await link.one("EXISTS", "nothing") == 0
    finally:
        await link.close()


async def test_a_server_that_is_not_trusted_is_not_used(port: int, stranger: Authority) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await Link.open(f"rediss://{NAME}:{port}?ssl_ca_certs={stranger.file}", no_wait)
