"""One small shop and one fit of it a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from icg.space.fit import Fitted
from icg.space.run import run

from tests.unit.icg.space import shop


@dataclass(frozen=True)
class Fit:
    """A shop's folder, its encoder's, its space's, and the fit."""

    data: Path
    encoder: Path
    out: Path
    fitted: Fitted


@pytest.fixture(scope="session")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Fitted with a random vision transformer, which sees hues."""
    root = tmp_path_factory.mktemp("space")
    data, encoder = shop.write(root / "shop"), shop.vision(root / "encoder")
    fitted, _ = run(data, root / "out", encoder, seeds=2)
    return Fit(data, encoder, root / "out", fitted)
