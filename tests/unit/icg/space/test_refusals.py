"""What cannot be fitted or loaded is refused with its name, and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from icg.cli import app
from icg.errors import CheckpointError, IcgError
from icg.models.joint import JointEmbedding
from icg.models.picture_encoder import load
from icg.space.run import run
from typer.testing import CliRunner

from tests.unit.icg.space import shop
from tests.unit.icg.space.conftest import Fit


def test_three_items_are_too_few(tmp_path: Path, fit: Fit) -> None:
    with pytest.raises(IcgError, match=r"covers=3; allowed: at least 128"):
        run(shop.write(tmp_path / "shop", items=3, users=0), tmp_path / "out", fit.encoder)
    assert not (tmp_path / "out").exists()


def test_pictures_outside_of_the_folder_are_the_reason_that_is_told(tmp_path: Path, fit: Fit) -> None:
    folder = shop.write(tmp_path / "shop", items=130, users=0)
    shutil.move(folder / "covers", tmp_path / "elsewhere")
    (folder / "covers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IcgError, match=r"0 covers, left out: 130 with .*; allowed: at least 128"):
        run(folder, tmp_path / "out", fit.encoder)


def test_pickled_weights_are_refused(tmp_path: Path, fit: Fit) -> None:
    folder = shop.copy(fit.encoder, tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only pickled weights \(pytorch_model.bin\)"):
        run(fit.data, tmp_path / "out", folder)


def test_an_encoder_without_a_vision_tower_is_refused(tmp_path: Path) -> None:
    import transformers as t

    config = t.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=9
    )
    t.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="a BertModel; allowed: a vision transformer"):
        load(tmp_path / "bert")


def test_an_encoder_of_too_few_features_is_refused(tmp_path: Path, fit: Fit) -> None:
    with pytest.raises(IcgError, match="encoder of 16 features; allowed: at least 64"):
        run(fit.data, tmp_path / "out", shop.vision(tmp_path / "narrow", hidden=8))


@pytest.mark.parametrize(
    ("hidden", "seed", "why"), [(40, 0, r"of 80 features; allowed: 64"), (32, 1, "has other weights than the space")]
)
def test_a_space_loads_only_with_its_own_encoder(tmp_path: Path, fit: Fit, hidden: int, seed: int, why: str) -> None:
    folder = shop.copy(fit.out, tmp_path / "space")
    shop.vision(folder / "encoder", hidden, seed)
    with pytest.raises(CheckpointError, match=why):
        JointEmbedding.from_pretrained(tmp_path, space=folder)


def test_a_space_that_was_moved_carries_its_encoder(tmp_path: Path, fit: Fit) -> None:
    folder = shop.copy(fit.out, tmp_path / "space")
    about = json.loads((folder / "space.json").read_text()) | {"encoder": str(tmp_path / "gone")}
    (folder / "space.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="no such folder"):
        JointEmbedding.from_pretrained(tmp_path, space=folder)
    shutil.copytree(fit.encoder, folder / "encoder")
    JointEmbedding.from_pretrained(tmp_path, space=folder)


def test_a_folder_that_is_no_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"projection.safetensors is missing; allowed: a folder of icg space fit"):
        JointEmbedding.from_pretrained(tmp_path, space=tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path, fit: Fit) -> None:
    folder = shop.copy(fit.out, tmp_path / "space")
    (folder / "projection.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="allowed: a file of icg space fit"):
        JointEmbedding.from_pretrained(tmp_path, space=folder)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path, fit: Fit) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IcgError, match=r"holds notes.txt; allowed: a new folder, or one of an earlier fit"):
        run(fit.data, tmp_path, fit.encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_pictures_that_cannot_be_decoded_are_left_out_and_counted(tmp_path: Path, fit: Fit) -> None:
    data = shop.copy(fit.data, tmp_path / "shop")
    for n in range(5):
        (data / "covers" / f"{n}.png").write_bytes(b"not a picture")
    arguments = ["--data", str(data), "--out", str(tmp_path / "out"), "--encoder", str(fit.encoder), "--seeds", "1"]
    result = CliRunner().invoke(app, ["space", "fit", *arguments])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["left_out"] == {"a picture that cannot be decoded": 5}
    assert report["counts"]["covers"] == shop.ITEMS - 5
    last = json.loads(result.stdout.splitlines()[-1])
    assert set(last) == {"own", "other", "genre_auc", "warning", "spread"}
    again = CliRunner().invoke(app, ["space", "fit", *arguments])
    assert again.exit_code == 0, "a folder of an earlier fit is written anew"


def test_covers_are_counted_without_the_items_other_pictures(tmp_path: Path, fit: Fit) -> None:
    data, lines = shop.write(tmp_path / "shop"), list[str]()
    table = data / "items.csv"
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("image")
    table.write_text("\n".join([header + ",image_2", *(f"{row},{row.split(',')[column]}" for row in rows)]) + "\n")
    run(data, tmp_path / "out", fit.encoder, seeds=1, say=lines.append)
    assert lines[0].startswith(f"{len(rows)} covers")
