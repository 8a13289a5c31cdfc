"""Recipe: the starter's fitted cover space, on composed covers and SIMULATED users.

    icg train space --art node_modules --out runs/space

Writes a catalogue as a shop would have it and fits a space to it, as `icg space fit` does. It is the starter's own
(adapters/icg/starter/space), and that of checkpoints without one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from icg.data.art import CATEGORIES, Subject, load_subjects, procedural
from icg.data.bank import build
from icg.data.behaviour import CLICK, DISLIKE, IMPRESSION, LIKE, PURCHASE, population, simulate
from icg.space.folder import last_line
from icg.space.run import run
from icg.train.flags import Flags

NAMES = {IMPRESSION: "impression", CLICK: "click", LIKE: "like", DISLIKE: "dislike", PURCHASE: "purchase"}
LISTS = 20


def write(folder: Path, subjects: list[Subject], covers: int, users: int, seed: int) -> Path:
    """items.csv (one a subject that is not held out), covers.csv, events.csv of SIMULATED users, and the pictures."""
    among = [n for n, subject in enumerate(subjects) if not subject.held_out] or list(range(len(subjects)))
    bank = build(subjects, covers, 501 + seed, 1, among)
    (folder / "covers").mkdir(parents=True, exist_ok=True)
    names = [f"covers/{n}.png" for n in range(len(bank))]
    for name, image in zip(names, bank.images, strict=True):
        Image.fromarray(image).save(folder / name)
    items = [(subjects[n].id, subjects[n].title, subjects[n].category) for n in among]
    _table(folder / "items.csv", ("item_id", "title", "category"), items)
    of = [subjects[n].id for n in bank.subject]
    _table(folder / "covers.csv", ("cover_id", "item_id", "image"), zip(names, of, names, strict=True))
    rng = np.random.default_rng((seed, 17))
    themes = np.array([CATEGORIES.index(subject.category) for subject in subjects])
    log, _ = simulate(population(users, rng), bank.look, themes[bank.subject], LISTS, rng)
    events = [
        (f"u{user}", of[cover], names[cover], NAMES[action], time)
        for user, cover, action, time in zip(
            log.user.tolist(), log.cover.tolist(), log.action.tolist(), log.time.tolist(), strict=True
        )
        if action in NAMES
    ]
    _table(folder / "events.csv", ("user_id", "item_id", "cover_id", "action", "timestamp"), events)
    return folder


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train space`."""
    parser = Flags(__name__, __doc__, art="unless smoke", out="folder for the catalogue and the space")
    args = parser.parse_args(argv)
    subjects = procedural() if args.smoke else load_subjects(args.art)
    covers, users, seeds = (240, 40, 1) if args.smoke else (3000, 300, 3)
    data = write(args.out / "catalogue", subjects, covers, users, args.seed)
    fitted, _ = run(data, args.out / "space", seeds=seeds, say=print)
    print(json.dumps(last_line(fitted)))
