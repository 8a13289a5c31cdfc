"""Ablations of the adapter: each variant, equal training, and the recipe as a command."""

import json
from pathlib import Path

import pytest
import torch
from icg.models import vlm as reading
from icg.starter import Starter
from icg.train.studies.ablations import VARIANTS, main


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_variant_without_a_user_draws_the_same_for_every_user(kind: str, small: Starter) -> None:
    config = small.pipeline.adapter.config
    adapter = VARIANTS[kind](config).eval()
    inputs = reading.inputs(small.pipeline.processor, "red ball")
    item = adapter.read(small.pipeline.vlm, inputs)
    user = torch.nn.functional.normalize(torch.randn(2, config.user), dim=-1)
    alone, personal = adapter(item, user[:1] * 0)[0], [adapter(item, u[None])[0] for u in user]
    assert torch.equal(adapter(item, user[:1], strength=0.0)[0], alone)
    assert not torch.allclose(*personal)
    nothing, _ = adapter.unconditional(1)
    assert nothing.shape == alone.shape, "guidance compares them"
    assert len(torch.unique(alone[0].round(decimals=4), dim=0)) > 1, "tokens differ"


def test_pooled_has_one_state_and_concatenated_more_tokens(small: Starter) -> None:
    config = small.pipeline.adapter.config
    inputs = reading.inputs(small.pipeline.processor, "red ball")
    pooled = VARIANTS["pooled"](config).read(small.pipeline.vlm, inputs)
    assert pooled.shape == (1, config.tokens, config.vlm)
    assert torch.allclose(pooled, pooled[:, :1])
    beside = VARIANTS["concatenated"](config)(pooled, torch.zeros(1, config.user))[0]
    assert beside.shape == (1, config.tokens + config.slots, config.caption)


@pytest.mark.slow
def test_the_recipe_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--smoke", "--variants", "full", "pooled"])
    figures = json.loads(capsys.readouterr().out)
    assert {"full", "pooled"} <= set(figures)
    assert 0 <= figures["full"]["own_over_swapped"][0] <= 1
    assert len((tmp_path / "figures.jsonl").read_text().splitlines()) == 2
