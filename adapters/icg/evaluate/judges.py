"""Judges of generated covers: whether they show their title and suit their user. Used by `icg.evaluate.personalisation`.

They are small models of our own: report each figure together with the same judge's figure for real composed covers, and with a
control. Users are SIMULATED. Knows nothing about training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from icg import starter
from icg.adapter.decision import ridge
from icg.brief import Brief
from icg.data import tastes
from icg.data.art import CATEGORIES, Subject
from icg.data.bank import AXES, AXIS_NAMES, Bank
from icg.data.compose import PLACES
from icg.evaluate.looks import LookJudge
from icg.models.joint import JointEmbedding
from icg.users.histories import user_embedding

HISTORY = 8
"""Covers that a user has engaged with."""
OTHERS = 2_000
"""Users that a reading of favourites is fitted on."""
APART = 1_000_003
"""Difference of the seeds of a brief's draws: more than the number of briefs, and within the 32 bits that change the noise."""
BriefMaker = Callable[[Subject, np.ndarray, int], Brief]
"""(subject, user embedding, seed) -> brief."""


def retrieval(
    embedding: JointEmbedding, images: list[Image.Image], titles: list[str], among: list[str]
) -> dict[str, float]:
    """Share of covers whose true title is first, or among the first five, of `among`."""
    scores = embedding.images(images) @ embedding.texts(among).T
    true = scores[np.arange(len(titles)), [among.index(t) for t in titles]]
    rank = (scores > true[:, None]).sum(1)
    return {"top1": float((rank == 0).mean()), "top5": float((rank < 5).mean()), "of": len(among)}


def personalisation(
    parts: starter.Starter,
    judges: Mapping[str, LookJudge],
    bank: Bank,
    subjects: list[Subject],
    themes: np.ndarray,
    brief_for: BriefMaker,
    seed: int = 0,
    draws: int = 1,
) -> dict[str, float]:
    """Each item is drawn for two SIMULATED users: the share in which the first user's true taste prefers their own cover to the other's.

    `own_over_swapped` uses the taste of the simulation on the look that a judge reads from the cover; `own_over_swapped_model` the
    preference reward; `shuffled_control` a third user's taste. Ties count half. `favourite_...`: how often the own cover shows the
    value that the user likes best, `..._by_place` by where the picture was set in, which no judge has to read; `history_...`: how often
    the covers do that the user embedding is the mean of; `readable_...`: how often a linear reading of the user embedding, fitted on
    other users, finds it. judges: by the ending of the names of their figures.
    """
    rng, count = np.random.default_rng(seed), len(subjects)
    people = tastes.sample(count, rng)
    picked = tastes.engaged(people.utility(bank.look, themes[bank.subject]), HISTORY, rng)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    users = np.stack([user_embedding(covers[p], np.ones(HISTORY)) for p in picked])
    following = np.roll(np.arange(count), -1)
    covers_of_user = draw(parts, [brief_for(s, users[i], i) for i, s in enumerate(subjects)], draws)
    swapped = draw(parts, [brief_for(s, users[following[i]], i) for i, s in enumerate(subjects)], draws)
    weights = people.weights.copy()
    weights[:, -len(CATEGORIES) :] = 0  # both covers show the same item
    embedded = [parts.embedding.covers(images) for images in (covers_of_user, swapped)]
    rows, third = np.arange(count), np.roll(np.arange(count), -2)
    out = {
        "own_over_swapped_model": wins(*((users * covers).sum(1) for covers in embedded)),
        "preference_reward": float((users * embedded[0]).sum(1).mean()),
    }
    for name, judge in judges.items():
        looks = [judge(covers_of_user), judge(swapped)]
        worth = [tastes.Tastes(weights, people.favourite).utility(look, np.zeros(count, int)) for look in looks]
        out[f"own_over_swapped{name}"] = wins(worth[0][rows, rows], worth[1][rows, rows])
        out[f"shuffled_control{name}"] = wins(worth[0][third, rows], worth[1][third, rows])
        for axis, title in enumerate(AXIS_NAMES):
            out[f"favourite_{title}{name}"] = float((looks[0][:, axis] == people.favourite[:, axis]).mean())
    around = [n for n, cover in enumerate(covers_of_user) if "place" in cover.info]
    if around:
        framings = np.array([framing(covers_of_user[n].info["place"]) for n in around])
        out["favourite_framing_by_place"] = float((framings == people.favourite[around, 3]).mean())
    for axis, title in enumerate(AXIS_NAMES):  # what the covers that a user engaged with say of the favourite
        out[f"history_{title}"] = float((bank.look[picked][..., axis] == people.favourite[:, axis, None]).mean())
    return out | readable(users, people.favourite, bank, covers, themes, rng)


def framing(place: Sequence[float]) -> int:
    """Which of PLACES is nearest to edge, x and y."""
    return int(np.linalg.norm(np.array([*PLACES.values()]) - place, axis=1).argmin())


def readable(
    users: np.ndarray,
    favourite: np.ndarray,
    bank: Bank,
    covers: np.ndarray,
    themes: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, float]:
    """How often a ridge regression, fitted on OTHERS more users of these `covers` of `bank`, finds the favourites (N, 5) of `users`."""
    others = tastes.sample(OTHERS, rng)
    picked = tastes.engaged(others.utility(bank.look, themes[bank.subject]), HISTORY, rng)
    known = torch.as_tensor(np.stack([user_embedding(covers[p], np.ones(HISTORY)) for p in picked]))
    out = {}
    for axis, (title, values) in enumerate(zip(AXIS_NAMES, AXES, strict=True)):
        targets = F.one_hot(torch.as_tensor(others.favourite[:, axis]).long(), len(values)).double()
        weight, bias = ridge(known, targets, 1.0)
        readings = (torch.as_tensor(users).double() @ weight.T + bias).argmax(1).numpy()
        out[f"readable_{title}"] = float((readings == favourite[:, axis]).mean())
    return out


def wins(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of rows in which ours is larger; ties count half."""
    return float((ours > theirs).mean() + 0.5 * (ours == theirs).mean())


def draw(parts: starter.Starter, briefs: list[Brief], draws: int = 1, batch: int = 16) -> list[Image.Image]:
    """Run the pipeline in batches. Of several `draws` of a brief, keep the one with the highest relevance, as the services do."""
    seeded = [replace(b, seed=b.seed + n * APART) for b in briefs for n in range(draws)]
    images = [image for i in range(0, len(seeded), batch) for image in parts.pipeline(seeded[i : i + batch])]
    if draws == 1:
        return images
    best = parts.rewards["relevance"](images, seeded).reshape(-1, draws).argmax(1)
    return [images[row * draws + n] for row, n in enumerate(best)]
