"""Writes the sample catalogue: items with reference pictures, a pool of composed covers, and SIMULATED behaviour.

Knows nothing about models: its covers are composed from the art, not generated.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from icg.data import tastes
from icg.data.art import CATEGORIES, STYLES, Subject, held_out
from icg.data.bank import AXES, AXIS_NAMES, look_of
from icg.data.compose import BACKDROPS, FRAMINGS, PALETTES, compose, stable_seed
from icg.data.sample_titles import TITLES, title_of

TRAINED, HELD_OUT, COVERS = 44, 4, 5
"""Subjects that the starter was trained on, subjects that it was not, and covers of each item."""
SIDE, REFERENCE_STEP = 256, 64
"""Edge of a cover, and the number whose multiples are edges of references, in pixels."""
USERS: dict[str, tuple[str, str, str, str, str]] = {
    # user: favourite style, palette, backdrop, framing, theme
    "mia": ("3d", "candy", "dots", "close", "food"),
    "noah": ("ink", "night", "sunburst", "medium", "travel"),
    "lena": ("painted", "forest", "hills", "medium", "nature"),
    "omar": ("flat", "lemon", "sunburst", "close", "activities"),
    "yuki": ("ink", "mono", "gradient", "corner", "objects"),
    "ines": ("3d", "ocean", "waves", "medium", "nature"),
}
START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

README = """# Sample catalogue

{items} items, {covers} covers and the behaviour of {users} people, so that everything can be tried at once.

* `items.csv`, `images/`: titles, and four reference pictures of each item, one a style: 3d, painted, flat, ink. They have alpha
  (lossless webp, 256 px in the 3d style, else 320 px), so their cut-outs need no guess. Four subjects were never seen by the
  starter's training: {unseen}.
* `covers.csv`, `covers/`: five covers of each item, composed from the art by `icg.data.compose` ({side} px), not generated.
* `users.csv`, `events.csv`: **the users and their behaviour are simulated.** `users.csv` gives the taste each one was
  simulated with; a real system never sees it.

Made by `icg train sample`; the same seed gives the same files.

Art: Fluent Emoji, (c) Microsoft, MIT; Noto Emoji, (c) Google, Apache-2.0; Twemoji, (c) Twitter, Inc and other
contributors, CC-BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>), here placed on new backgrounds.
Names from emoji-datasource (MIT); titles are our own.
"""


def choose(ids: Sequence[str]) -> list[str]:
    """TRAINED training and HELD_OUT held-out subjects of `ids`, those that have a title first, then others."""
    ordered = [id for id in TITLES if id in ids] + [id for id in ids if id not in TITLES]
    return [id for id in ordered if not held_out(id)][:TRAINED] + [id for id in ordered if held_out(id)][:HELD_OUT]


def write(out: Path, subjects: Sequence[Subject], seed: int = 7) -> None:
    """Write every file of the catalogue of `subjects` to `out`; pictures of subjects that it no longer has are removed.

    Their sprites may have any size; see `icg.data.large_art`.
    """
    rng = np.random.default_rng(seed)
    for folder in ("images", "covers"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for old in (out / folder).glob("*.webp"):
            old.unlink()
    item_rows, cover_rows, looks = [], [], []
    for subject in subjects:
        pictures = [f"images/{subject.id}-{style}.webp" for style in STYLES]
        for style, picture in zip(STYLES, pictures, strict=True):
            reference(subject.sprites[style]).save(out / picture, lossless=True, quality=90, method=4)
        title = title_of(subject.id, subject.title, subject.category)
        item_rows.append((subject.id, title, subject.category, *pictures))
        for k, codes in enumerate(_looks(rng)):
            look, cover = look_of(codes), f"{subject.id}-{k}"
            picture = compose(subject.sprites[look.style], look, stable_seed(seed, cover), SIDE)
            picture.save(out / "covers" / f"{cover}.webp", quality=88, method=6)
            values = (look.style, look.palette, look.backdrop, look.framing)
            cover_rows.append((cover, subject.id, f"covers/{cover}.webp", *values))
            looks.append(codes)
    themes = np.repeat([CATEGORIES.index(s.category) for s in subjects], COVERS)
    more = (f"image_{n}" for n in range(2, len(STYLES) + 1))
    _table(out / "items.csv", ("item_id", "title", "category", "image", *more), item_rows)
    _table(out / "covers.csv", ("cover_id", "item_id", "image", *AXIS_NAMES), cover_rows)
    _table(
        out / "users.csv",
        ("user_id", *AXIS_NAMES, "theme", "simulated"),
        [(u, *t, "simulated") for u, t in USERS.items()],
    )
    events = simulate(np.array(looks), themes, cover_rows, np.random.default_rng(seed + 1))
    header = ("event_id", "user_id", "item_id", "cover_id", "action", "timestamp", "dwell_ms")
    _table(out / "events.csv", header, events)
    counts = {"items": len(item_rows), "covers": len(cover_rows), "users": len(USERS), "side": SIDE}
    unseen = ", ".join(s.title for s in subjects if s.held_out)
    (out / "README.md").write_text(README.format(unseen=unseen, **counts))


def reference(sprite: np.ndarray) -> Image.Image:
    """RGBA, square: the sprite (S, S, 4) unscaled, with a margin of at least an eighteenth of S on each side."""
    picture = Image.fromarray(sprite)
    edge = -(-picture.width * 10 // (9 * REFERENCE_STEP)) * REFERENCE_STEP
    canvas = Image.new("RGBA", (edge, edge))
    canvas.paste(picture, ((edge - picture.width) // 2,) * 2)
    return canvas


def simulate(
    looks: np.ndarray,
    themes: np.ndarray,
    covers: list[tuple],
    rng: np.random.Generator,
    users: Mapping[str, tuple[str, ...]] = USERS,
    strength: Sequence[float] = tastes.STRENGTH,
) -> list[tuple]:
    """About 200 SIMULATED events a user: impressions, then clicks, likes, dwell or dislikes according to taste.

    strength: of each axis and of themes, as `icg.data.tastes.STRENGTH`; their sum decides how much is liked.
    """
    axes = (*AXES, CATEGORIES)
    favourite = np.array([[axis.index(v) for axis, v in zip(axes, taste, strict=True)] for taste in users.values()])
    utility = tastes.with_favourites(favourite, rng, 0.1, strength).utility(looks, themes)
    events: list[tuple] = []
    for user, scores in zip(users, utility, strict=True):
        now = START_MS + int(rng.integers(0, 86_400_000))
        for cover in rng.permutation(len(covers))[:150]:
            now += int(rng.integers(20_000, 1_800_000))
            for action, delay, dwell in _actions(float(scores[cover]), rng):
                row = (user, covers[cover][1], covers[cover][0], action, now + delay, dwell)
                events.append((f"e-{user}-{len(events):04d}", *row))
    return sorted(events, key=lambda e: e[5])


def _actions(score: float, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    actions = [("impression", 0, 0)]
    if rng.random() < 1 / (1 + np.exp(-(score - 2.5) * 5)):
        actions.append(("click", 900, 0))
        actions.append(("dwell", 1000, int(1500 + 4000 * max(score, 0) * rng.uniform(0.6, 1.4))))
        if score > 3.0:
            actions.append(("like", 5000, 0))
    elif score < 0.1 and rng.random() < 0.25:
        actions.append(("dislike", 1200, 0))
    return actions


def _looks(rng: np.random.Generator) -> np.ndarray:
    """The looks of one item, (COVERS, 4): all styles, distinct palettes and backdrops."""
    styles = np.append(rng.permutation(len(STYLES)), rng.integers(0, len(STYLES), COVERS - len(STYLES)))
    distinct = (rng.permutation(len(axis))[:COVERS] for axis in (PALETTES, BACKDROPS))
    return np.stack([styles, *distinct, rng.integers(0, len(FRAMINGS), COVERS)], 1)


def _table(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
