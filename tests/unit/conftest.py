"""What tests of several folders share."""

from pathlib import Path

import pytest

from tests.certificates import Authority, authority_in
from tests.unit.ingest.helpers import topic

__all__ = ["topic"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return authority_in(tmp_path / "stranger")
