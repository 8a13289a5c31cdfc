"""The writer of the sample catalogue, and the catalogue that comes with the package."""

from __future__ import annotations

import csv
from pathlib import Path

import eyecatch
import numpy as np
from icg.data import sample, sample_titles
from icg.data.art import CATEGORIES, STYLES, held_out, procedural
from icg.data.icons import words
from icg.data.sample_titles import TITLES
from icg.pictures import decode
from icg.starter import path
from PIL import Image

SHIPPED = Path(eyecatch.__file__).parent / "sample"
PICTURES = ("image", "image_2", "image_3", "image_4")


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / f"{name}.csv").read_text().splitlines()))


def consistent(folder: Path) -> None:
    """Every id and every picture that a table names exists, and no other picture does."""
    items, covers, events, users = (rows(folder, name) for name in ("items", "covers", "events", "users"))
    item_ids, cover_ids = {r["item_id"] for r in items}, {r["cover_id"] for r in covers}
    assert len(item_ids) == len(items)
    assert len(cover_ids) == len(covers) == sample.COVERS * len(items)
    assert {e["cover_id"] for e in events} <= cover_ids
    assert all(e["cover_id"].rsplit("-", 1)[0] == e["item_id"] for e in events)
    assert len({e["event_id"] for e in events}) == len(events)
    assert {e["user_id"] for e in events} == {u["user_id"] for u in users}
    named = {r[column] for r in items for column in PICTURES} | {c["image"] for c in covers}
    assert len(named) == (len(STYLES) + sample.COVERS) * len(items)
    assert named == {str(p.relative_to(folder)) for p in folder.rglob("*.webp")}


def test_a_written_catalogue_is_consistent(tmp_path: Path) -> None:
    sample.write(tmp_path, procedural(4))
    sample.write(tmp_path, procedural(3))
    consistent(tmp_path)
    assert "3 items, 15 covers" in (tmp_path / "README.md").read_text()


def test_a_reference_keeps_the_sprite_s_pixels_and_has_a_margin() -> None:
    sprite = procedural()[0].sprites["flat"]
    picture = np.asarray(sample.reference(sprite))
    assert picture.shape == (192, 192, 4)
    assert (picture[32:160, 32:160] == sprite).all()
    picture = picture.copy()
    picture[32:160, 32:160] = 0
    assert not picture.any()


def test_subjects_with_titles_come_first_and_others_stand_in() -> None:
    others = [f"other-{n}" for n in range(200)]
    some = [id for id in TITLES if id != "panda"]
    chosen = sample.choose([*others, *some])
    assert len(chosen) == sample.TRAINED + sample.HELD_OUT == len(TITLES)
    assert set(some) < set(chosen)
    assert sum(held_out(id) for id in chosen) == sample.HELD_OUT
    assert sample.choose(sorted(TITLES)) == sorted(TITLES, key=lambda id: (held_out(id), list(TITLES).index(id)))


def test_titles_are_two_to_four_known_words_with_the_subject_s_name() -> None:
    known = set((path() / "dual" / "words.txt").read_text().split())
    names = {id: id.replace("-", " ") for id in TITLES}
    titles = {**TITLES, **{c: sample_titles.title_of("x", "panda", c) for c in CATEGORIES}}
    for id, title in titles.items():
        assert 2 <= len(title.split()) <= 4, title
        assert set(words(title)) <= known, title
        assert names.get(id, "panda") in title.lower()
        assert title[0].isupper()
    assert len(set(TITLES.values())) == len(TITLES)


def test_the_shipped_catalogue_is_consistent_and_small() -> None:
    consistent(SHIPPED)
    assert [r["title"] for r in rows(SHIPPED, "items")] == [TITLES[id] for id in sample.choose(list(TITLES))]
    assert sum(p.stat().st_size for p in SHIPPED.rglob("*") if p.is_file()) <= 9 << 20


def test_shipped_references_are_whole_cut_outs() -> None:
    """Each is its own cut-out: transparent at its rim, opaque inside, and nothing touches the rim."""
    for item in rows(SHIPPED, "items"):
        for column in PICTURES:
            picture = decode((SHIPPED / item[column]).read_bytes(), mode="")
            assert picture.mode == "RGBA", item[column]
            assert min(picture.size) >= 256
            alpha = np.asarray(picture)[..., 3]
            assert alpha.max() == 255, item[column]
            assert not np.concatenate([alpha[:8], alpha[-8:], alpha[:, :8].T, alpha[:, -8:].T]).any(), item[column]


def test_shipped_covers_have_256_pixels() -> None:
    for cover in rows(SHIPPED, "covers"):
        with Image.open(SHIPPED / cover["image"]) as picture:
            assert picture.size == (256, 256)
