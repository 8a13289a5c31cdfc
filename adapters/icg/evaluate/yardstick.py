"""Own against swapped users with a p-value: the code of `icg evaluate personalisation --permutations`. See docs/yardstick.md.

For a checkpoint, which draws here, or for a table of covers that any other system made. The statistic is icg.evaluate.permutation's, the
users are icg.evaluate.panel's. No model runs inside the permutations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from icg import pictures, starter
from icg.brief import Brief
from icg.checkpoints import PICKLES, SPACE, SPACE_WEIGHTS, check_device
from icg.data.art import load_subjects
from icg.data.column_names import COVER_PICTURE, EVENT_ITEM, USER
from icg.data.tables import Table
from icg.draw.ask import anchoring
from icg.errors import CheckpointError, IcgError
from icg.evaluate.judges import APART, draw
from icg.evaluate.panel import Item, Panel, Shop, Spaces, drawn_items, simulated
from icg.evaluate.permutation import LEAST_USERS, CoverScores, PermutationTest, permutation_test
from icg.models.joint import JointEmbedding
from icg.starter import Starter
from icg.users.numpy_encoder import cover_space

SEED = ("seed", "noise", "round")
DIGITS = 6
"""Of scores: covers with equal pixels must tie, though a batch's place may change the last bit of an embedding."""


@dataclass(frozen=True)
class Extent:
    """permutations; seeds: rounds with other items and noise for the same users; count: covers a round, as many items as all users can have
    one of. Raises IcgError for less than 1, and for a count below LEAST_USERS."""

    permutations: int
    seeds: int = 3
    count: int = 100

    def __post_init__(self) -> None:
        for name, value, least in (
            ("permutations", self.permutations, 1),
            ("seeds", self.seeds, 1),
            ("count", self.count, LEAST_USERS),
        ):
            if value < least:
                raise IcgError(f"{name}={value}; allowed: {least} or more")

    def items(self, users: int) -> int:
        """Items a round."""
        return max(1, self.count // users)


@dataclass(frozen=True)
class Yardstick:
    """The test, that of covers for nobody (None where none were drawn), and that of what users liked earlier in place of covers."""

    test: PermutationTest
    control: PermutationTest | None
    earlier: PermutationTest
    items: int
    held_out: int
    judge: str
    behaviour: str
    unjudged: int = 0
    """Users of a table of covers without behaviour that can judge them."""

    def last_line(self, permutations: int) -> dict[str, object]:
        """The JSON object of the command's last line; `control` is null where no covers for nobody were drawn."""
        test, control = self.test, self.control
        return {
            "own_over_swapped": round(test.effect, 4),
            "interval": [round(test.low, 4), round(test.high, 4)],
            "p": test.p,
            "least_p": test.least_p,
            "permutations": permutations,
            "control": control and round(control.effect, 4),
            "control_p": control and control.p,
            "earlier": round(self.earlier.effect, 4),
            "earlier_p": self.earlier.p,
            "users": test.users,
            "users_held_out": self.held_out,
            "users_left_out": test.left_out + self.unjudged,
            "items": self.items,
            "covers": test.covers,
            "judge": self.judge,
            "behaviour": self.behaviour,
        }


def of_checkpoint(
    root: Path,
    extent: Extent,
    data: Path | None = None,
    art: Path | None = None,
    judge: Path | None = None,
    anchored: bool = True,
    device: str = "",
) -> Yardstick:
    """Draw items of a catalogue `data`, or of the starter's `art`, for a panel of users, and test whether the covers are personal.

    judge: folder of another cover space. anchored: covers show the item's own picture, as the services' do; otherwise it is read only.
    device: "" for a GPU if there is one. Raises IcgError for too few users, and CheckpointError for folders that cannot be used.
    """
    parts = starter.load(root)
    spaces = Spaces(root, parts.embedding, judge_of(judge, root, parts.embedding))
    if judge is not None and cover_space(root, judge_space(judge)) == cover_space(root):
        raise CheckpointError(f"judge={str(judge)!r} is the space that the covers are drawn in; allowed: another")
    at = check_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    parts.pipeline.to(at, torch.bfloat16 if at.type == "cuda" else None)
    if data is not None:
        shop = Shop(data)
        panel, items = shop.panel(spaces), shop.items()
    elif art is not None:
        subjects = load_subjects(art)
        panel, items = simulated(spaces, subjects, 0), drawn_items(subjects)
    else:
        raise IcgError("data=None, art=None; allowed: one of them")
    behaviour = "catalogue" if data is not None else "SIMULATED"
    return drawn_for(panel, items, parts, spaces.judge, extent, anchored, judge_name(judge), behaviour)


def drawn_for(
    panel: Panel,
    items: Iterator[Item],
    parts: Starter,
    judge: JointEmbedding,
    extent: Extent,
    anchored: bool = True,
    name: str = "own",
    behaviour: str = "catalogue",
) -> Yardstick:
    """Every item for every user of the panel with the same noise, and as often for nobody, with other noise each time."""
    users = len(panel.users)
    units = extent.seeds * extent.items(users)
    chosen = list(islice(items, units))
    if not chosen:
        raise IcgError("items=0 with a readable picture; allowed: 1 or more")
    personal, nobody = [], []
    for unit in tqdm(range(units), desc="draw", unit="item", mininterval=5.0):
        title, images = chosen[unit % len(chosen)]
        knobs = parts.pipeline.settings.knobs() | anchoring(images, None if anchored else 0.0)
        own = [Brief(title, images, parts.taste(user), seed=unit, **knobs) for user in panel.users]
        cold = [Brief(title, images, seed=unit + APART * (n + 1), **knobs) for n in range(users)]
        personal.append(judge.covers(draw(parts, own)))
        nobody.append(judge.covers(draw(parts, cold)))
    unit, user = np.repeat(np.arange(units), users), np.tile(np.arange(users), units)
    test, control = (
        permutation_test(
            CoverScores(unit, user, preference(np.concatenate(rows), panel.preferences)), extent.permutations
        )
        for rows in (personal, nobody)
    )
    return Yardstick(test, control, earlier(panel, extent.permutations), len(chosen), panel.held_out, name, behaviour)


def earlier(panel: Panel, permutations: int) -> PermutationTest:
    """The same test on what each user liked earlier, as if it were a cover: users whose taste does not last are not to be pleased."""
    users = np.arange(len(panel.users))
    score = preference(panel.earlier, panel.preferences)
    return permutation_test(CoverScores(np.zeros_like(users), users, score), permutations)


def of_covers(table: Path, data: Path, permutations: int, root: Path, judge: Path | None = None) -> Yardstick:
    """The test on covers that any system made: a table with the columns item, user, image (a path beside the table) and optionally seed.

    data: the catalogue whose newer half of events says what users like. The judge is `judge`, or the space of the checkpoint `root`. Users
    without engagements in both halves are left out. Raises IcgError for a row that cannot be used, with its number.
    """
    Extent(permutations)
    own = JointEmbedding.from_pretrained(root)
    spaces = Spaces(root, own, judge_of(judge, root, own))
    shop, covers = Shop(data), read_covers(table)
    people = list(dict.fromkeys(cover.user for cover in covers))
    panel = shop.panel(spaces, people)
    number = {id: n for n, id in enumerate(panel.names)}
    covers = [cover for cover in covers if cover.user in number]
    embeddings = []
    for i in tqdm(range(0, len(covers), 64), desc="judge", unit="batch", mininterval=5.0):
        embeddings.append(spaces.judge.covers([cover.read() for cover in covers[i : i + 64]]))
    units: dict[tuple[str, str], int] = {}
    unit = np.array([units.setdefault((cover.item, cover.seed), len(units)) for cover in covers])
    user = np.array([number[cover.user] for cover in covers])
    score = preference(np.concatenate(embeddings), panel.preferences)
    test = permutation_test(CoverScores(unit, user, score), permutations)
    items, unjudged = len({cover.item for cover in covers}), len(people) - len(panel.names)
    return Yardstick(
        test, None, earlier(panel, permutations), items, panel.held_out, judge_name(judge), "catalogue", unjudged
    )


@dataclass(frozen=True)
class TableCover:
    """A row of a table of covers: what, for whom, with which noise, its picture, and where it stands."""

    item: str
    user: str
    seed: str
    path: Path
    place: str

    def read(self) -> Image.Image:
        """Raises InputError, which names the row, for a picture that cannot be decoded."""
        return pictures.decode(pictures.read(self.path, self.place), self.place)


def read_covers(path: Path) -> list[TableCover]:
    """All rows. Raises IcgError for a missing column, and for a row without an item, a user or a picture beside the table."""
    table = Table(path)
    item, user, picture = (table.column(names) for names in (EVENT_ITEM, USER, COVER_PICTURE))
    seed, out, known = table.column(SEED, required=False), [], set[tuple[str, str, str]]()
    for row in table.rows():
        place = f"{path.name}, row {row.number}"
        cell = row.values
        if row.problem or not cell[item] or not cell[user]:
            raise IcgError(f"{place}: {row.problem or 'an empty item or user'}; allowed: an item and a user")
        key = cell[item], cell[user], cell[seed] if seed else ""
        if key in known:
            raise IcgError(f"{place}: a second cover of its item, user and seed; allowed: one")
        known.add(key)
        out.append(TableCover(*key, pictures.inside(path.parent, cell[picture], f"{place}: {picture}"), place))
    return out


def preference(covers: np.ndarray, preferences: np.ndarray) -> np.ndarray:
    """(C, U): cosine of covers (C, J) and users (U, J). Raises IcgError if the judge's covers have another width than the users."""
    if covers.shape[1] != preferences.shape[1]:
        raise IcgError(f"judge: covers of {covers.shape[1]} numbers; allowed: {preferences.shape[1]}, as users have")
    return np.round(covers.astype(float) @ preferences.T.astype(float), DIGITS)


def judge_space(folder: Path) -> Path:
    """The space of a judge: a folder of `icg space fit`, or space/ of a checkpoint. Raises CheckpointError if there is none."""
    space = folder / SPACE if (folder / SPACE).is_dir() else folder
    if not space.is_dir():
        raise CheckpointError(
            f"judge={str(folder)!r}: no such folder; allowed: a folder of icg space fit, or a checkpoint"
        )
    if not (space / SPACE_WEIGHTS).is_file():
        pickled = sorted(path.name for path in space.iterdir() if path.suffix in PICKLES)
        problem = f"only pickled weights ({pickled[0]})" if pickled else f"{SPACE_WEIGHTS} is missing"
        raise CheckpointError(f"judge={str(folder)!r}: {problem}; allowed: a folder of icg space fit, or a checkpoint")
    return space


def judge_of(folder: Path | None, root: Path, own: JointEmbedding) -> JointEmbedding:
    """The cover space that judges: that of `folder`, `own` without one."""
    return own if folder is None else JointEmbedding.from_pretrained(root, judge_space(folder))


def judge_name(folder: Path | None) -> str:
    """ "own": the space of the checkpoint; "second": another one."""
    return "own" if folder is None else "second"
