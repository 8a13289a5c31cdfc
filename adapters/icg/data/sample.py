"""Writes the sample catalogue: items with reference pictures, a pool of composed covers, and SIMULATED behaviour.

Knows nothing about models: its covers are composed from the art, not generated.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from icg.data import tastes
from icg.data.art import CATEGORIES, STYLES, Subject, on_white
from icg.data.bank import AXES, AXIS_NAMES, look_of
from icg.data.compose import compose, stable_seed

FAVOURITES = """
panda fox owl octopus butterfly sunflower cactus penguin tiger dolphin koala strawberry avocado pizza
hamburger doughnut cupcake hot-beverage watermelon sushi rocket sailboat hot-air-balloon volcano castle
locomotive ferris-wheel desert-island bicycle automobile soccer-ball basketball guitar violin artist-palette
kite camera telescope light-bulb crown robot backpack headphone teddy-bear ghost lion frog whale
""".split()  # noqa: SIM905
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

40 items, 200 covers and the behaviour of six people, so that everything can be tried at once.

* `items.csv`, `images/`: titles and reference pictures (128 px webp on white). Four subjects were never seen by the
  starter's training: {unseen}.
* `covers.csv`, `covers/`: five covers of each item, composed from the art by `icg.data.compose` (128 px), not generated.
* `users.csv`, `events.csv`: **the users and their behaviour are simulated.** `users.csv` gives the taste each one was
  simulated with; a real system never sees it.

Made by `icg train sample`; the same seed gives the same files.

Art: Fluent Emoji, (c) Microsoft, MIT; Noto Emoji, (c) Google, Apache-2.0; Twemoji, (c) Twitter, Inc and other
contributors, CC-BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>), here placed on new backgrounds.
Names from emoji-datasource (MIT).
"""


def choose(subjects: list[Subject]) -> list[Subject]:
    """36 training and 4 held-out subjects, favourites first, then others."""
    by_id = {s.id: s for s in subjects}
    first = [by_id[i] for i in FAVOURITES if i in by_id]
    ordered = first + [s for s in subjects if s not in first]
    return [s for s in ordered if not s.held_out][:36] + [s for s in ordered if s.held_out][:4]


def write(out: Path, subjects: list[Subject], seed: int = 7) -> None:
    """Write every file of the catalogue to `out`."""
    rng = np.random.default_rng(seed)
    items = choose(subjects)
    for folder in ("images", "covers"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    item_rows, cover_rows, looks = [], [], []
    for number, subject in enumerate(items):
        picture = f"images/{subject.id}.webp"
        on_white(subject.sprites[STYLES[number % 4]], 128).save(out / picture, quality=88)
        item_rows.append((subject.id, subject.title, subject.category, picture))
        for k, codes in enumerate(_looks(rng)):
            look, cover = look_of(codes), f"{subject.id}-{k}"
            picture = compose(subject.sprites[look.style], look, stable_seed(seed, cover))
            picture.save(out / "covers" / f"{cover}.webp", quality=86)
            values = (look.style, look.palette, look.backdrop, look.framing)
            cover_rows.append((cover, subject.id, f"covers/{cover}.webp", *values))
            looks.append(codes)
    themes = np.repeat([CATEGORIES.index(s.category) for s in items], 5)
    _table(out / "items.csv", ("item_id", "title", "category", "image"), item_rows)
    _table(out / "covers.csv", ("cover_id", "item_id", "image", *AXIS_NAMES), cover_rows)
    _table(
        out / "users.csv",
        ("user_id", *AXIS_NAMES, "theme", "simulated"),
        [(u, *t, "simulated") for u, t in USERS.items()],
    )
    events = simulate(np.array(looks), themes, cover_rows, np.random.default_rng(seed + 1))
    header = ("event_id", "user_id", "item_id", "cover_id", "action", "timestamp", "dwell_ms")
    _table(out / "events.csv", header, events)
    (out / "README.md").write_text(README.format(unseen=", ".join(s.title for s in items[36:])))


def simulate(looks: np.ndarray, themes: np.ndarray, covers: list[tuple], rng: np.random.Generator) -> list[tuple]:
    """About 200 SIMULATED events a user: impressions, then clicks, likes, dwell or dislikes according to taste."""
    axes = (*AXES, CATEGORIES)
    favourite = np.array([[axis.index(v) for axis, v in zip(axes, taste, strict=True)] for taste in USERS.values()])
    utility = tastes.with_favourites(favourite, rng, 0.1).utility(looks, themes)
    events: list[tuple] = []
    for user, scores in zip(USERS, utility, strict=True):
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
    """Five looks of one item, (5, 4): all styles, distinct palettes and backdrops."""
    styles = np.append(rng.permutation(4), rng.integers(0, 4))
    framings = rng.integers(0, len(AXES[3]), 5)
    return np.stack([styles, rng.permutation(len(AXES[1]))[:5], rng.permutation(len(AXES[2]))[:5], framings], 1)


def _table(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
