"""The gallery of the model card: 12 titles for 4 SIMULATED users, from the title alone and with a picture.

    python -m icg.train.studies.gallery --art node_modules [--root FOLDER] --out gallery.webp

Nothing is chosen by hand but the titles: one noise per title, no cover is drawn twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from icg import starter
from icg.data.art import Subject, load_subjects
from icg.data.bank import AXES, Bank, build
from icg.data.sample import USERS
from icg.evaluate.judges import draw
from icg.evaluate.personalisation import brief
from icg.users.histories import user_embedding

TITLES = (
    "panda", "strawberry", "pizza", "rocket", "soccer ball", "crown", "volcano", "octopus",
    "fox", "robot", "cactus", "light bulb",
)  # fmt: skip
"""The last four are held out."""
EDGE, MARGIN, HEADER = 104, 110, 36


def taste(user: str, parts: starter.Starter, bank: Bank) -> np.ndarray:
    """The embedding of someone who engaged with the 8 covers of `bank` that share most of the user's favourites."""
    wanted = np.array([axis.index(name) for axis, name in zip(AXES, USERS[user], strict=False)])
    liked = np.argsort(-(bank.look == wanted).sum(1), kind="stable")[:8]
    return user_embedding(parts.embedding.covers([Image.fromarray(bank.images[i]) for i in liked]), np.ones(len(liked)))


def sheet(parts: starter.Starter, subjects: list[Subject], bank: Bank, users: list[str]) -> Image.Image:
    """Rows are titles; columns are users, first from the title alone, then with a picture."""
    people = [taste(user, parts, bank) for user in users]
    kinds = ("_title_only", "")
    briefs = [brief(k, s, p, n) for n, s in enumerate(subjects) for k in kinds for p in people]
    covers, columns = draw(parts, briefs), len(kinds) * len(users)
    page = Image.new("RGB", (MARGIN + columns * EDGE + 8, HEADER + len(subjects) * EDGE), "white")
    pen = ImageDraw.Draw(page)
    for k, said in enumerate(("from the title alone", "with the item's picture")):
        pen.text((MARGIN + k * (len(users) * EDGE + 8), 4), said, "black")
        for n, user in enumerate(users):
            pen.text((MARGIN + (k * len(users) + n) * EDGE + 8 * k, 20), user, "dimgrey")
    for n, cover in enumerate(covers):
        row, column = divmod(n, columns)
        small = cover.resize((EDGE - 4, EDGE - 4), Image.Resampling.LANCZOS)
        page.paste(small, (MARGIN + column * EDGE + 8 * (column // len(users)), HEADER + row * EDGE))
    for row, subject in enumerate(subjects):
        said = subject.title + ("\n(never trained on)" if subject.held_out else "")
        pen.text((4, HEADER + row * EDGE + EDGE // 2 - 12), said, "black")
    return page


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--art", type=Path, required=True, help="a node_modules folder with the emoji packages")
    parser.add_argument("--root", type=Path, default=None, help="starter-shaped folder; default: the shipped one")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    subjects = load_subjects(given.art)
    by_title = {s.title: s for s in subjects}
    bank = build(subjects, 2000, 17, 1, [i for i, s in enumerate(subjects) if not s.held_out])
    page = sheet(starter.load(given.root), [by_title[t] for t in TITLES], bank, list(USERS)[:4])
    page.save(given.out, quality=88)


if __name__ == "__main__":
    main()
