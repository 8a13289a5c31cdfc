"""Latents and readings on disk: complete after a kill, computed once and again after a change, in constant memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from icg import pictures
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.checkpoints import TRANSFORMERS
from icg.data import precompute
from icg.data.buckets import Buckets, crop
from icg.data.catalogue import Catalogue, Example, RowReport
from icg.data.precompute import Latents, PreparedExample, Readings, prepare
from icg.data.shards import Shards
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.models.compatible import family_of
from icg.models.families import Family
from PIL import Image

from tests.unit.icg import tiny, tiny_vlm

BUCKETS = Buckets(64 * 64)


@pytest.fixture(scope="module")
def family() -> Family:
    return family_of(tiny.diffusion("sd15"))


@pytest.fixture(scope="module")
def adapter() -> IcgAdapter:
    torch.manual_seed(0)
    return IcgAdapter(AdapterConfig(tiny_vlm.WIDTH, 24, tokens=tiny.TOKENS))


def shop(folder: Path, count: int = 6) -> Path:
    """A folder with `count` items, of three shapes."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for n in range(count):
        size = ((60, 60), (40, 90), (90, 40))[n % 3]
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(folder / f"{n}.png")
    lines = "".join(f"{n},item {n},{n}.png\n" for n in range(count))
    (folder / "items.csv").write_text("id,title,image\n" + lines)
    return folder


def examples(folder: Path, report: RowReport) -> list[Example]:
    return list(Catalogue.open(folder).examples(report))


class Counted(Latents):
    """Counts the tensors that it computes."""

    added = 0

    def add(self, key: str, example: Example, picture: Image.Image) -> None:
        self.added += 1
        super().add(key, example, picture)


def latents_of(folder: Path, family: Family, model: str = "m") -> Counted:
    return Counted(folder / "latents", family, BUCKETS, model, batch=2)


def run(folder: Path, family: Family, model: str = "m") -> tuple[list[PreparedExample], Counted, RowReport]:
    report, kind = RowReport(), latents_of(folder, family, model)
    return prepare(examples(folder / "shop", report), (kind,), report), kind, report


def test_latents_are_those_of_the_cropped_cover(tmp_path: Path, family: Family) -> None:
    shop(tmp_path / "shop")
    prepared, kind, report = run(tmp_path, family)
    assert len(prepared) == report.accepted == kind.added == 6
    store = Shards(tmp_path / "latents")
    for one in prepared:
        picture = Image.open(one.example.path)
        cut = np.asarray(crop(picture, BUCKETS.nearest(*picture.size)))
        pixels = torch.from_numpy(cut.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        torch.testing.assert_close(store.get(one.keys[0]).float(), family.encode(pixels)[0], atol=2e-3, rtol=2e-3)
        assert store.get(one.keys[0]).dtype == torch.float16
    assert len({store.shape(one.keys[0]) for one in prepared}) == 3


def test_present_shards_are_skipped_and_changed_ones_computed_again(tmp_path: Path, family: Family) -> None:
    shop(tmp_path / "shop")
    before = run(tmp_path, family)[0]
    assert run(tmp_path, family)[1].added == 0
    Image.new("RGB", (60, 60), "blue").save(tmp_path / "shop" / "3.png")
    after, kind, _ = run(tmp_path, family)
    assert kind.added == 1
    assert [n for n in range(6) if before[n].keys != after[n].keys] == [3]
    assert run(tmp_path, family, "another model")[1].added == 6
    (tmp_path / "shop" / "items.csv").write_text("id,title,image\nnew,new,0.png\ncopy,copy,1.png\n")
    assert run(tmp_path, family)[1].added == 0


def test_a_reading_is_of_title_and_picture(tmp_path: Path, adapter: IcgAdapter, vlm_of: Callable[[str], Any]) -> None:
    folder, (vlm, processor) = shop(tmp_path / "shop", 3), vlm_of("llava")

    def kinds(model: str = "m") -> tuple[Readings, Readings]:
        readings = [Readings(tmp_path / str(shown), vlm, processor, adapter, model, shown) for shown in (True, False)]
        return readings[0], readings[1]

    report = RowReport()
    before = prepare(examples(folder, report), kinds(), report)
    first = before[0].example
    for shown in (True, False):
        references = precompute.show(first) if shown else ()
        with torch.no_grad():
            expected = adapter.read(vlm, reading.inputs(processor, first.title, references))[0]
        got = Shards(tmp_path / str(shown)).get(before[0].keys[int(not shown)])
        torch.testing.assert_close(got.float(), expected, atol=5e-3, rtol=5e-3)
    items = (folder / "items.csv").read_text()
    (folder / "items.csv").write_text(items.replace("item 1", "kettle"))
    after = prepare(examples(folder, report), kinds(), report)
    assert [b.keys == a.keys for b, a in zip(before, after, strict=True)] == [True, False, True]
    assert set(before[1].keys).isdisjoint(after[1].keys)
    old = kinds()[0].key(first, "x")
    assert kinds("other")[0].key(first, "x") != old
    moved = IcgAdapter(adapter.config)
    assert Readings(tmp_path / "True", vlm, processor, moved, "m").key(first, "x") != old


def test_damaged_pictures_are_left_out_with_their_reasons(tmp_path: Path, family: Family) -> None:
    folder = shop(tmp_path / "shop", 5)
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "3.png").write_text("no picture")
    prepared, _, report = run(tmp_path, family)
    assert [one.example.item for one in prepared] == ["0", "2", "4"]
    assert report.refused == {"a damaged picture": 2}
    assert [entry["id"] for entry in report.shown] == ["1", "3"]
    assert "3 covers" in str(report)


def test_numbers_that_half_precision_cannot_hold_are_left_out(tmp_path: Path, family: Family) -> None:
    shop(tmp_path / "shop", 3)
    report, kind = RowReport(), latents_of(tmp_path, family)
    kind.family = type("Loud", (), {"vae": family.vae, "encode": lambda _, x: x.new_full((len(x), 1, 2, 2), 1e6)})()
    assert prepare(examples(tmp_path / "shop", report), (kind,), report) == []
    assert report.refused == {"numbers out of range": 3}
    with pytest.raises(IcgError, match="float16"):
        Shards(tmp_path / "x").put("nan", torch.full((1,), float("nan")))


def test_pictures_in_memory_do_not_grow_with_the_catalogue(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {}
    for count in (6, 30):
        alive: list[weakref.ref[Image.Image]] = []
        peak = [0]
        decode = pictures.decode

        def counting(
            data: bytes, shortest: int, alive: Any = alive, peak: list[int] = peak, decode: Any = decode
        ) -> Image.Image:
            image = decode(data, shortest=shortest)
            alive.append(weakref.ref(image))
            peak[0] = max(peak[0], sum(one() is not None for one in alive))
            return image

        folder = tmp_path / str(count)
        folder.mkdir()
        shop(folder / "shop", count)
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "decode", counting)
            kind = latents_of(folder, family)
            kind.store.shard = 4
            report = RowReport()
            assert len(prepare(Catalogue.open(folder / "shop").examples(report), (kind,), report)) == count
        assert len(list((folder / "latents").glob("*.safetensors"))) == -(-count // 4)
        most[count] = peak[0]
    assert most[30] == most[6] <= 2


KILLED = """
import sys, torch
from pathlib import Path
from icg.data.shards import Shards
store = Shards(Path(sys.argv[1]), 5)
for n in range(1000000):
    store.put(str(n), torch.full((64, 64), float(n % 1000)))
    if n == 23:
        print("on the way", flush=True)
"""


def test_after_kill_9_only_whole_shards_exist(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = Shards(tmp_path, 5)
    assert len(store) >= 20
    assert len(store) % 5 == 0
    assert all((store.get(str(n)) == n % 1000).all() for n in range(len(store)))
    count = len(store)
    store.put("more", torch.ones(1))
    store.flush()
    assert len(Shards(tmp_path)) == count + 1


def test_half_written_shards_and_torn_lines_are_not_trusted(tmp_path: Path) -> None:
    store = Shards(tmp_path, 2)
    for n in range(6):
        store.put(str(n), torch.full((3,), float(n)))
    second = tmp_path / "000001.safetensors"
    second.write_bytes(second.read_bytes()[:-2])
    (tmp_path / "000003.safetensors").write_bytes(b"renamed, but not in the index")
    (tmp_path / "000004.safetensors.tmp").write_bytes(b"half")
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write('{"shard": "000003.safetens')
    again = Shards(tmp_path, 2)
    assert [key for key in map(str, range(6)) if key in again] == ["0", "1", "4", "5"]
    assert not list(tmp_path.glob("*.tmp"))
    for n in (2, 3):
        again.put(str(n), torch.full((3,), float(n)))
    last = Shards(tmp_path, 2)
    assert [last.get(str(n))[0].item() for n in range(6)] == list(range(6))
    assert all(json.loads(line) for line in (tmp_path / "index.jsonl").read_text().splitlines())
    with pytest.raises(IcgError, match="'nothing' is not in"):
        last.get("nothing")


def test_fingerprints_differ_for_models_of_the_same_shape(vlm_folder: Callable[[str], Path], tmp_path: Path) -> None:
    old = vlm_folder("llava")
    for path in old.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    prints = [precompute.fingerprint("vlm", folder, TRANSFORMERS) for folder in (old, tmp_path)]
    assert prints[0] == prints[1]
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    assert precompute.fingerprint("vlm", tmp_path, TRANSFORMERS) != prints[0]
    (tmp_path / "model.safetensors").write_bytes((old / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text((old / "config.json").read_text() + " ")
    assert precompute.fingerprint("vlm", tmp_path, TRANSFORMERS) != prints[0]
