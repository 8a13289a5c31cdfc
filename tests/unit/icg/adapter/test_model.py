"""The adapter: gate, shapes, saving and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from icg.adapter.connector import Connector
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.errors import BriefError, CheckpointError
from icg.models.families import ConditioningSpec

CONFIG = AdapterConfig(vlm=32, caption=24, user=64, tokens=5)


@pytest.fixture
def adapter() -> IcgAdapter:
    torch.manual_seed(0)
    return IcgAdapter(CONFIG).eval()


def test_zero_user_and_zero_strength_are_the_cold_cover(adapter: IcgAdapter) -> None:
    items, user = torch.randn(2, 5, 32), torch.nn.functional.normalize(torch.randn(2, 64), dim=-1)
    tokens = adapter.refiner(items, torch.zeros(2, 64))
    assert torch.equal(tokens, items)
    assert torch.equal(adapter.refiner(items, user, 0.0), items)
    assert not torch.allclose(adapter.refiner(items, user, 1.0), items, atol=1e-3)
    half = adapter.refiner(items, user, 0.5) - items
    assert torch.allclose(2 * half, adapter.refiner(items, user, 1.0) - items, atol=1e-5)


def test_strength_may_differ_in_a_batch(adapter: IcgAdapter) -> None:
    items, user = torch.randn(2, 5, 32), torch.nn.functional.normalize(torch.randn(2, 64), dim=-1)
    both = adapter.refiner(items, user, torch.tensor([0.0, 1.0]))
    assert torch.equal(both[0], items[0])
    assert torch.allclose(both[1:], adapter.refiner(items[1:], user[1:], 1.0), atol=1e-6)


@pytest.mark.parametrize(("width", "pooled"), [(768, 0), (2048, 1280), (96, 0)])
def test_connector_outputs_have_the_shapes_of_the_family(width: int, pooled: int) -> None:
    embeds, extra = Connector(32, ConditioningSpec(width, pooled))(torch.randn(2, 5, 32))
    assert embeds.shape == (2, 5, width)
    assert (extra is None) if pooled == 0 else extra.shape == (2, pooled)


def test_round_trip(adapter: IcgAdapter, tmp_path: Path) -> None:
    adapter.save_pretrained(tmp_path, torch.float32)
    again = IcgAdapter.from_pretrained(tmp_path)
    items, users = torch.randn(1, 5, 32), torch.randn(1, 64)
    assert torch.equal(adapter(items, users)[0], again(items, users)[0])
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_missing_file_and_wrong_widths_are_named(adapter: IcgAdapter, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        IcgAdapter.from_pretrained(tmp_path)
    adapter.save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stated, "caption": 48}))
    with pytest.raises(CheckpointError, match="does not match"):
        IcgAdapter.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        IcgAdapter.from_pretrained(tmp_path)


def test_users_of_another_width_are_refused(adapter: IcgAdapter) -> None:
    items = torch.randn(1, 5, 32)
    with pytest.raises(BriefError, match="allowed: 64"):
        adapter(items, torch.zeros(1, 32))
