"""A server with a certificate, and a callers file with one caller for each right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from eyecatch.api.identity.callers import token_digest
from eyecatch.api.identity.rights import Right
from eyecatch.config import Config

from tests.certificates import NAME, Authority

Write = Callable[..., Path]
"""Write the callers file: the keys of each caller beside its rights and its token, which is its name with -token."""


def token_of(name: str) -> str:
    return f"{name}-token"


@pytest.fixture
def over_tls(config: Config, authority: Authority) -> Config:
    certificate, key = authority.issue("server", NAME)
    return replace(config, tls_cert=str(certificate), tls_key=str(key))


@pytest.fixture
def callers(tmp_path: Path) -> Write:
    def write(rights: Mapping[str, Sequence[str]], more: str = "") -> Path:
        tables = [
            f'[callers.{name}]\nrights = {list(own)}\ntokens = ["sha256:{token_digest(token_of(name)).hex()}"]\n{more}'
            for name, own in rights.items()
        ]
        path = tmp_path / "callers.toml"
        path.write_text("\n".join(tables))
        return path

    return write


@pytest.fixture
def one_each(config: Config, callers: Write) -> Config:
    """A caller for each right, of the same name, and "everything" with all."""
    rights = {right.value: [right.value] for right in Right}
    return replace(config, callers=str(callers(rights | {"everything": [*map(str, Right)]})))
