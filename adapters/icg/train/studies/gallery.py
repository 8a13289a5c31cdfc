"""The gallery of the model card: 12 titles for 4 SIMULATED users, from the title alone and with a picture.

    icg train gallery --art node_modules [--root FOLDER] --out gallery.webp

Only the titles are chosen by hand: one noise per title, no cover is drawn twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from icg import starter
from icg.contact_sheet import Cell, Row, contact_sheet
from icg.data.art import Subject, load_subjects
from icg.data.bank import AXES, Bank, build
from icg.data.sample import USERS
from icg.evaluate.judges import draw
from icg.evaluate.personalisation import brief
from icg.train.flags import Flags
from icg.users.histories import user_embedding

TITLES = ("panda", "strawberry", "pizza", "rocket", "soccer ball", "crown", "volcano", "octopus")
TITLES += ("fox", "robot", "cactus", "light bulb")
"""The last four are held out."""


def taste(user: str, parts: starter.Starter, bank: Bank) -> np.ndarray:
    """The embedding of a user who engaged with the 8 covers of `bank` that share most of the user's favourites."""
    favourites = np.array([axis.index(name) for axis, name in zip(AXES, USERS[user], strict=False)])
    liked = np.argsort(-(bank.look == favourites).sum(1), kind="stable")[:8]
    return user_embedding(parts.embedding.covers([Image.fromarray(bank.images[i]) for i in liked]), np.ones(len(liked)))


def sheet(parts: starter.Starter, subjects: list[Subject], bank: Bank, users: list[str]) -> Image.Image:
    """Rows are titles; columns are users, first from the title alone, then with a picture."""
    people = [taste(user, parts, bank) for user in users]
    kinds = ("_title_only", "")
    briefs = [brief(parts, k, s, p, n) for n, s in enumerate(subjects) for k in kinds for p in people]
    cells = [Cell(cover) for cover in draw(parts, briefs)]
    columns = [f"{user}, {kind}" for kind in ("title alone", "with a picture") for user in users]
    rows = [
        Row(subject.title, "never trained on" if subject.held_out else "", cells[n * len(columns) :][: len(columns)])
        for n, subject in enumerate(subjects)
    ]
    return contact_sheet(rows, columns, cell=128)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train gallery`."""
    parser = Flags(__name__, __doc__, art="needed", smoke=False, out="picture file")
    parser.add_argument(
        "--root", type=Path, default=None, help="folder of the starter's layout; default: the shipped one"
    )
    args = parser.parse_args(argv)
    subjects = load_subjects(args.art)
    by_title = {s.title: s for s in subjects}
    bank = build(subjects, 2000, 17, 1, [i for i, s in enumerate(subjects) if not s.held_out])
    page = sheet(starter.load(args.root), [by_title[t] for t in TITLES], bank, list(USERS)[:4])
    page.save(args.out, quality=88)
