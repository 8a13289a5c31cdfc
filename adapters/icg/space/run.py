"""From a catalogue's folder to a space's folder: reads, embeds, fits, measures and writes. Behind `icg space fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from icg import starter
from icg.checkpoints import SHIPPED, SPACE, SPACE_WEIGHTS, has_own_space
from icg.data.catalogue import RowReport
from icg.errors import InputError
from icg.models import picture_encoder
from icg.models.space import Projection
from icg.rewards.clip import Clip
from icg.space import folder as files
from icg.space.embed import Embedded, Titles, embed
from icg.space.fit import Corpus, Fitted, fit
from icg.space.projection import LEAST
from icg.space.source import Behaviour, Source, read
from icg.space.titles import ClipTitles
from icg.users.numpy_encoder import cover_space


def run(
    data: Path,
    out: Path,
    encoder: Path | None = None,
    relevance: Path | None = None,
    checkpoint: Path | None = None,
    seeds: int = 3,
    most: int = 20_000,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Fitted, list[tuple[str, str, str]]]:
    """The fit and its table. Raises IcgError and its kin before anything is written."""
    files.check_target(out)
    source_encoder = encoder or SHIPPED / "dual"
    model = picture_encoder.load(source_encoder)
    judges, rewards = starter.judges(checkpoint or SHIPPED)
    titles: Titles = ClipTitles(Clip.from_pretrained(relevance)) if relevance else judges
    rewards = {name: rewards[name] for name in rewards if name not in ("preference", "relevance")}
    refused = RowReport()
    source = sampled(read(data, refused), most)
    count = len(source.covers)
    described = f"{count} covers{refused.left_out}"
    if count < LEAST:
        covers = described if refused.refused else str(count)
        raise InputError("covers", covers, f"at least {LEAST}; smaller catalogues use the shipped space")
    say(f"{described}; {source.behaviour.users} users, {len(source.behaviour.user)} {source.kind}")

    def progress(done: int) -> None:
        if done % 1024 == 0 or done == len(source.covers):
            say(f"{done} of {len(source.covers)} covers embedded")

    root = checkpoint or SHIPPED
    own = judges.covers if has_own_space(root) else None
    embedded = embed(source.covers, model, titles, rewards, refused, progress, own)
    fitted = fit(catalogue(source, embedded, tuple(model.parts)), seeds, say)
    notes: dict[str, object] = {
        "behaviour": source.kind,
        "left_out": dict(refused.refused),
        "encoder": str(encoder or "shipped"),
    }
    if encoder is None and (inside := _inside_shipped(embedded.features)) is not None:
        notes["inside_the_starters_domain"] = round(inside, 4)
    notes |= {"projection": str(fitted.choice), "relevance": str(relevance or "checkpoint"), "seeds": seeds}
    report = files.report(fitted, notes)
    models = {"encoder": encoder, "relevance": relevance}
    paths = {name: str(path.resolve()) if path else "" for name, path in models.items()}
    files.save(out, fitted, paths, picture_encoder.digest(model), report, cover_space(root))
    return fitted, files.table(fitted)


def _inside_shipped(features: np.ndarray) -> float | None:
    """The share of covers in the domain of the shipped space: where it is small, the starter has learned from no such pictures."""
    path = SHIPPED / SPACE / SPACE_WEIGHTS
    if not path.is_file():
        return None
    shipped, _ = Projection.load(path)
    return float((shipped.distances(features) <= shipped.radius).mean())


def sampled(source: Source, most: int) -> Source:
    """At most so many covers, drawn at random, and the behaviour on them."""
    if len(source.covers) <= most:
        return source
    keep = np.sort(np.random.default_rng(0).permutation(len(source.covers))[:most])
    behaviour, vectors = onto(source.behaviour, keep, len(source.covers)), source.vectors
    return Source([source.covers[n] for n in keep], behaviour, source.kind, None if vectors is None else vectors[keep])


def catalogue(source: Source, embedded: Embedded, parts: tuple[int, ...]) -> Corpus:
    """Behaviour and categories of the covers that could be decoded."""
    covers = [source.covers[n] for n in embedded.rows]
    items: dict[str, int] = {}
    numbers = np.array([items.setdefault(cover.item, len(items)) for cover in covers])
    behaviour = onto(source.behaviour, embedded.rows, len(source.covers))
    vectors = None if source.vectors is None else source.vectors[embedded.rows]
    return Corpus(embedded, parts, numbers, [cover.category for cover in covers], behaviour, vectors)


def onto(behaviour: Behaviour, rows: np.ndarray, count: int) -> Behaviour:
    """Behaviour on `rows` of `count` covers, numbered by their place in `rows`; users without an event are gone."""
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    left = behaviour.take(place[behaviour.cover] >= 0)
    user = np.unique(left.user, return_inverse=True)[1]
    return replace(left, user=user, cover=place[left.cover])
