"""A small shop as files: covers of a hue and a texture, and users who like one hue. Deterministic."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers as t
from PIL import Image

HUES = ("red", "green", "blue", "grey")
COLOURS = np.array(((190, 50, 40), (50, 170, 60), (50, 60, 190), (120, 120, 120)))
ITEMS, USERS, LIKES = 320, 60, 12


def write(folder: Path, items: int = ITEMS, users: int = USERS, taste: bool = True) -> Path:
    """items.csv, events.csv and pictures. taste: users like covers of their own hue; otherwise any."""
    rng = np.random.default_rng(3)
    hue = np.arange(items) % len(HUES)
    (folder / "covers").mkdir(parents=True)
    rows = []
    for n in range(items):
        noise = rng.normal(0, rng.uniform(5, 40), (24, 24, 1))
        pixels = COLOURS[hue[n]] + rng.normal(0, 12, 3) + noise
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "covers" / f"{n}.png")
        rows.append((f"i{n}", f"thing {n}", HUES[hue[n]], f"covers/{n}.png"))
    table(folder / "items.csv", ("item_id", "title", "category", "image"), rows)
    events = []
    for user in range(users):
        choice = np.flatnonzero(hue == user % len(HUES)) if taste else np.arange(items)
        for k, n in enumerate(rng.permutation(choice)[:LIKES]):
            events.append((f"u{user}", f"i{n}", "like", 1_700_000_000 + 60 * k))
    if users:
        table(folder / "events.csv", ("user_id", "item_id", "action", "timestamp"), events)
    return folder


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def vision(folder: Path, hidden: int = 32, seed: int = 0) -> Path:
    """A random DINOv2 of 2 x hidden features on 28 pixels, as a transformers folder."""
    torch.manual_seed(seed)
    config = t.Dinov2Config(
        hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=7
    )
    t.Dinov2Model(config).save_pretrained(folder)
    return folder


def copy(folder: Path, to: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(folder, to))
