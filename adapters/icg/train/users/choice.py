"""Recipe: which of an item's pictures a user prefers, from choices between the pictures of one item.

    icg train choice --art node_modules --out runs/choice [--checkpoint FOLDER] [--seeds 3] [--smoke]

SIMULATED users, as the checkpoint's user encoder reads them after some events, choose one of the four pictures of a subject by their
taste in styles (a softmax of their weights). A matrix between pictures and users learns the choices of training users and subjects, from
the identity on, by cross-entropy. Writes OUT/choice, a part of a checkpoint; the last line is one JSON object: how often the favourite
style is chosen for new users and unseen subjects, by the matrix, by the dot product, and by the matrix for another user.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from icg.checkpoints import SHIPPED
from icg.data import tastes
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white
from icg.data.bank import Bank, build
from icg.data.behaviour import IMPRESSION, simulate
from icg.models.joint import JointEmbedding
from icg.train.flags import Flags
from icg.users.affinity import save
from icg.users.histories import user_embedding
from icg.users.numpy_encoder import Histories, UserReader

LISTS, LEAST, FEW = 60, 6, 8
"""Lists of covers that a user sees; events that are known of them at least; covers of a user who is the mean of some."""
BATCH, RATE, HELD = 512, 3e-2, 1e-3
"""Choices a step; learning rate; weight of the distance from the identity."""


@dataclass(frozen=True, eq=False)
class Choosers:
    """users (N, D) and what they think of each style, worth (N, 4)."""

    users: np.ndarray
    worth: np.ndarray

    @classmethod
    def simulated(
        cls,
        reader: UserReader,
        bank: Bank,
        covers: np.ndarray,
        themes: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> Choosers:
        """Half are read by `reader` after some of their events on the covers of `bank`, half are means of covers that they like."""
        people, few = tastes.sample(count, rng), tastes.sample(count, rng)
        log, last = simulate(people, bank.look, themes, LISTS, rng, drift=0.0)
        log = log.take(log.action != IMPRESSION)
        start = np.searchsorted(log.user, np.arange(count + 1))
        known = rng.integers(np.minimum(LEAST, np.diff(start)), np.diff(start) + 1)
        liked = tastes.engaged(few.utility(bank.look, themes), min(FEW, len(covers)), rng)
        means = np.stack([user_embedding(covers[rows], np.ones(len(rows))) for rows in liked])
        users = np.concatenate([reader(Histories.of(covers, log, known)), means]).astype(np.float32)
        return cls(users, np.concatenate([last.weights[:, : len(STYLES)], few.weights[:, : len(STYLES)]]))


def learned(pictures: np.ndarray, choosers: Choosers, steps: int, seed: int) -> np.ndarray:
    """The matrix (D, D) that predicts choices between `pictures` (S, K, D) of S items, of which K are worth `worth` (N, K) each."""
    items, users = torch.as_tensor(pictures).float(), torch.as_tensor(choosers.users).float()
    shares = torch.as_tensor(choosers.worth).softmax(1)
    random = torch.Generator().manual_seed(seed)
    identity = torch.eye(items.shape[-1])
    matrix = identity.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([matrix], lr=RATE)
    for _ in range(steps):
        user = torch.randint(len(users), (BATCH,), generator=random)
        item = torch.randint(len(items), (BATCH,), generator=random)
        chosen = torch.multinomial(shares[user], 1, generator=random)[:, 0]
        scores = torch.einsum("nkd,de,ne->nk", items[item], matrix, users[user])
        loss = F.cross_entropy(scores, chosen.long()) + HELD * (matrix - identity).square().sum() / len(identity)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return matrix.detach().numpy()


def share(pictures: np.ndarray, choosers: Choosers, matrix: np.ndarray, rng: np.random.Generator) -> float:
    """How often the chosen picture of a random item is of the style that is worth most."""
    items = pictures[rng.integers(0, len(pictures), len(choosers.users))]
    chosen = np.einsum("nkd,de,ne->nk", items, matrix, choosers.users).argmax(1)
    return float((chosen == choosers.worth.argmax(1)).mean())


def recipe(
    out: Path, root: Path, subjects: list[Subject], seeds: int, covers: int, users: int, steps: int
) -> dict[str, list[float]]:
    """Learn and measure for each seed, and write the first seed's matrix. Returns mean and deviation over seeds, by what chooses."""
    embedding, reader = JointEmbedding.from_pretrained(root), UserReader.from_pretrained(root / "users")
    trained = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out]
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    pictures = np.stack([embedding.covers([on_white(s.sprites[style]) for s in subjects]) for style in STYLES], 1)
    rows: dict[str, list[float]] = {"affinity": [], "dot_product": [], "another_user": []}
    for seed in range(seeds):
        bank = build(subjects, covers, 501 + seed, 1, trained)
        embedded, rng = embedding.covers([Image.fromarray(i) for i in bank.images]), np.random.default_rng((seed, 51))
        old, new = (
            Choosers.simulated(reader, bank, embedded, themes[bank.subject], count, rng)
            for count in (users, max(users // 5, 20))
        )
        matrix = learned(pictures[trained], old, steps, seed)
        if seed == 0:
            save(out, matrix)
        other = Choosers(np.roll(new.users, 1, 0), new.worth)
        for name, who, by in (
            ("affinity", new, matrix),
            ("dot_product", new, np.eye(len(matrix))),
            ("another_user", other, matrix),
        ):
            rows[name].append(share(pictures[unseen], who, by, np.random.default_rng((seed, 53))))
    return {name: [round(float(f(values)), 4) for f in (np.mean, np.std)] for name, values in rows.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train choice`."""
    parser = Flags(__name__, __doc__, art="needed", seeds=3, steps=400)
    parser.add_argument(
        "--checkpoint", type=Path, default=SHIPPED, help="with users/ and space/ (default: the starter)"
    )
    args = parser.parse_args(argv)
    covers, users, steps = (120, 40, 20) if args.smoke else (3_000, 3_000, args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    result = recipe(args.out, args.checkpoint, load_subjects(args.art), args.seeds, covers, users, steps)
    print(json.dumps(result))
