"""A server with a certificate."""

from dataclasses import replace

import pytest
from eyecatch.config import Config

from tests.certificates import NAME, Authority


@pytest.fixture
def over_tls(config: Config, authority: Authority) -> Config:
    certificate, key = authority.issue("server", NAME)
    return replace(config, tls_cert=str(certificate), tls_key=str(key))
