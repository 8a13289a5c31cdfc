"""Fits a space and measures it: choices on validation users, figures on test users and covers, the final fit on all. Writes no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icg.models.space import Projection
from icg.space import measure
from icg.space.embed import Embedded
from icg.space.held_out import Split, Trial, served, unit
from icg.space.projection import LEAST, Components, discriminant, plain, principal
from icg.space.source import Behaviour
from icg.users.crossing import Crossing

POWERS = (0.0, 0.5, 1.0)
DEFAULT_POWER = 0.5
SHRINKAGE = (0.9, 0.7)
FEWEST_USERS = 10
"""Test users with whom an accuracy means anything."""
SCALE_USERS = 500
CHANCE = "PERSONALISATION CANNOT BE TOLD FROM CHANCE ON THIS CATALOGUE"
NONE = "NO BEHAVIOUR: WHETHER COVERS CAN BE PERSONAL ON THIS CATALOGUE WAS NOT MEASURED"
FEW = "TOO FEW USERS: WHETHER COVERS CAN BE PERSONAL ON THIS CATALOGUE CANNOT BE MEASURED"


@dataclass(frozen=True)
class Choice:
    """`power` of whitening; `shrinkage` of the discriminant, None for plain principal components."""

    power: float = DEFAULT_POWER
    shrinkage: float | None = None

    def __str__(self) -> str:
        text = f"principal components, whitened by {self.power}"
        return text if self.shrinkage is None else f"{text}, discriminant of users at shrinkage {self.shrinkage}"


CHOICES = [Choice(power) for power in POWERS] + [Choice(DEFAULT_POWER, shrinkage) for shrinkage in SHRINKAGE]


@dataclass(frozen=True)
class Corpus:
    """What a fit reads: embedded covers, the item number of each (N,), categories of each, and behaviour on their rows. `vectors` (N, W):
    the covers' own vectors of another model; the space is not fitted to them, they are measured beside it."""

    embedded: Embedded
    parts: tuple[int, ...]
    items: np.ndarray
    categories: list[str]
    behaviour: Behaviour
    vectors: np.ndarray | None = None


@dataclass(frozen=True)
class Fitted:
    """`projection`, its reward `scales`, and `figures`: name -> a value for each seed; `warning`: in capitals, empty without one.

    `crossing`: from this space to the checkpoint's own, None if it has none.
    """

    projection: Projection
    choice: Choice
    scales: dict[str, dict[str, float]]
    figures: dict[str, list[float]]
    counts: dict[str, int]
    warning: str
    crossing: Crossing | None = None


def fit(data: Corpus, seeds: int, on_progress: Callable[[str], None] = lambda text: None) -> Fitted:
    """Raises IcgError for fewer covers than `icg.space.projection.LEAST`."""
    features, behaviour = data.embedded.features, data.behaviour
    whole = principal(features, data.parts)
    figures: dict[str, list[float]] = {}
    chosen: list[np.ndarray] = []
    people: list[int] = []
    for seed in range(seeds):
        on_progress(f"seed {seed + 1} of {seeds}")
        split = Split.draw(max(behaviour.users, 1), data.items, seed)
        values = _covers_only(data, split, seed)
        if len(behaviour.user) and split.covers[0].sum() >= LEAST:
            gains = _validation(data, split, seed)
            trial, own = _test(data, split, _best(gains), seed)
            people.append(len(trial.people))
            values |= own
            chosen += [gains] if gains is not None else []
        for name, value in values.items():
            figures.setdefault(name, []).append(value)
    choice = _best(np.concatenate(chosen) if chosen else None)
    projection = _apply(whole, features, behaviour, choice)
    radius = float(np.mean(figures[f"domain_held_out_{projection.share}"]))
    projection = replace(projection, radius=radius)
    rows, chance = projection.rows(features), measure.at_chance(float(np.mean(figures["titles_own"])), len(features))
    users = served(measure.users_of(behaviour, SCALE_USERS, 0), rows)
    rewards = data.embedded.rewards | {"relevance": data.embedded.relevance}
    scales = measure.scales(rewards, users, rows, chance)
    counts = {"covers": len(features), "users": behaviour.users, "events": len(behaviour.user)}
    counts |= {"test_users": int(np.mean(people)) if people else 0}
    own = data.embedded.own
    crossing = None if own is None else Crossing.fit(rows, own)
    return Fitted(projection, choice, scales, figures, counts, _warning(figures, counts), crossing)


def _apply(components: Components, features: np.ndarray, behaviour: Behaviour, choice: Choice) -> Projection:
    if choice.shrinkage is None:
        return plain(components, choice.power)
    return discriminant(components, features, behaviour, choice.shrinkage, choice.power)


def _known(behaviour: Behaviour, users: np.ndarray, covers: np.ndarray) -> Behaviour:
    return behaviour.take(users[behaviour.user] & covers[behaviour.cover])


def _validation(data: Corpus, split: Split, seed: int) -> np.ndarray | None:
    """(P, choices): by validation user, how much better the own profile ranks than others' do. None without such users.

    The difference, not the accuracy itself: what all users share would raise both, and personalises nothing.
    """
    fit_on, choose_on = split.covers[0], split.covers[1]
    trial = Trial.draw(data.behaviour, split.users[1], fit_on, choose_on, seed)
    if len(trial.people) < 2:
        return None
    base, columns = principal(data.embedded.features[fit_on], data.parts), []
    for choice in CHOICES:
        known = _known(data.behaviour, split.users[0], fit_on)
        rows = _apply(base, data.embedded.features, known, choice).rows(data.embedded.features)
        accuracy = trial.accuracy(rows, trial.profiles(rows))
        columns.append(accuracy[:, 0] - accuracy[:, 1])
    return np.stack(columns, 1)


def _best(gains: np.ndarray | None) -> Choice:
    """The best whitening; the discriminant only if it beats that by more than two standard errors of their difference."""
    if gains is None:
        return Choice()
    means, powers = gains.mean(0), len(POWERS)
    best, other = int(means[:powers].argmax()), powers + int(means[powers:].argmax())
    difference = gains[:, other] - gains[:, best]
    wins = difference.mean() > 2 * difference.std(ddof=1) / len(difference) ** 0.5
    return CHOICES[other if wins else best]


def _test(data: Corpus, split: Split, choice: Choice, seed: int) -> tuple[Trial, dict[str, float]]:
    """Figures on test users and test covers, of a space fitted on the other users and covers; nothing without such users."""
    before, test = split.covers[0] | split.covers[1], split.covers[2]
    trial = Trial.draw(data.behaviour, split.users[2], before, test, seed)
    if len(trial.people) < 2:
        return trial, {}
    known = _known(data.behaviour, split.users[0] | split.users[1], before)
    base = principal(data.embedded.features[before], data.parts)
    features, out = data.embedded.features, {}
    spaces = {"": _apply(base, features, known, choice).rows(features)}
    spaces["principal_"] = plain(base, 0.0).rows(features)
    spaces["pixels_"] = unit(data.embedded.thumbnails - data.embedded.thumbnails[before].mean(0))
    if (oracle := _oracle(data.categories, before)) is not None:
        spaces["category_"] = oracle
    if data.vectors is not None:
        spaces["vectors_"] = unit(data.vectors - data.vectors[before].mean(0))
    for name, rows in spaces.items():
        accuracy = trial.accuracy(rows, trial.profiles(rows))
        out |= {f"{name}own": float(accuracy[:, 0].mean()), f"{name}other": float(accuracy[:, 1].mean())}
        if not name:
            difference = accuracy[:, 0] - accuracy[:, 1]
            out["difference"] = float(difference.mean())
            out["difference_error"] = float(difference.std(ddof=1) / len(difference) ** 0.5)
    for name, rejections in (("served", True), ("engaged", False)):
        accuracy = trial.accuracy(spaces[""], trial.served(spaces[""], rejections))
        out |= {f"{name}_own": float(accuracy[:, 0].mean()), f"{name}_other": float(accuracy[:, 1].mean())}
    return trial, out


def _oracle(categories: Sequence[str], fit_on: np.ndarray) -> np.ndarray | None:
    """(N, C) unit rows of centred categories: what a profile of categories alone would rank by. None without two categories."""
    sets = [set(filter(None, text.split("|"))) for text in categories]
    names = sorted(set().union(*sets))
    if not 2 <= len(names) <= 1000:
        return None
    table = np.array([[name in own for name in names] for own in sets], np.float32)
    return unit(table - table[fit_on].mean(0))


def _covers_only(data: Corpus, split: Split, seed: int) -> dict[str, float]:
    """Figures that need no user. With fewer than LEAST covers to fit on, all are fitted on, and the domain's radius is that of the fit."""
    before, test = split.covers[0] | split.covers[1], split.covers[2]
    features, enough = data.embedded.features, before.sum() >= LEAST
    space = plain(principal(features[before] if enough else features, data.parts), DEFAULT_POWER)
    out = {f"domain_{k}": v for k, v in measure.domain(space, features, before, test).items()}
    names = ("titles_own", "titles_other")
    out |= dict(zip(names, measure.title_retrieval(data.embedded.pictures, data.embedded.titles, seed), strict=True))
    if data.embedded.own is not None and enough and test.any():
        alike = measure.crossing(space.rows(features), data.embedded.own, before, test, seed)
        out |= {"crossing": alike[0], "crossing_other": alike[1]}
    spaces = {"genre_auc": space.rows(features), "pixels_genre_auc": unit(data.embedded.thumbnails)}
    for name, rows in spaces.items():
        areas = measure.category_auc(rows, data.categories, before, test, seed)
        if areas is not None:
            out |= {name: areas[0], f"{name}_shuffled": areas[1]}
    return out


def _warning(figures: dict[str, list[float]], counts: dict[str, int]) -> str:
    if not counts["events"]:
        return NONE
    if counts["test_users"] < FEWEST_USERS or "difference" not in figures:
        return FEW
    error = max(float(np.mean(figures["difference_error"])), float(np.std(figures["difference"])))
    return CHANCE if float(np.mean(figures["difference"])) < 2 * error else ""
