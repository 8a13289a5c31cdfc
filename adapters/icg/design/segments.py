"""Segments: groups of users in words that a marketer can read and edit, and a brief can use ("coffee enthusiasts"). Knows no store.

After Fluence (ML in PL 2022): a group's engagements become a text, the text a cover. Words and categories come from TF-IDF, looks from the
designs of the covers, and a VLM chooses the name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from icg.brief import MAX_TITLE, Brief
from icg.design.features import features
from icg.design.form import Pieces, choose
from icg.design.palette import NAMED
from icg.design.schema import BRIGHTNESS, PLACES, SIZES, STYLES, VIVIDNESS, WARMTH, Design
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.rewards.base import Reward

WORDS, CATEGORIES, COLOURS = 6, 2, 3
MAX_NAME, MAX_TEXT = 64, 1000
LOOKS = (*NAMED, *BRIGHTNESS, *WARMTH, *VIVIDNESS, *PLACES, *SIZES, *STYLES)
"""The columns of `features`, in its order."""
STRONG = 1.5
"""A word or category may name a group if it is this many times as common in it as in the others, and not rare."""
RARE = 0.02
_EMPTY = re.compile("an?|and|at|by|for|from|in|into|of|off|on|or|out|over|the|to|under|up|with|without")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, eq=False)
class Group:
    """Engagements of one group's users: titles and categories, one for each, and the designs of some of the covers.

    `embedding` (D,): the mean of their user embeddings. `users`: their number.
    """

    id: str
    embedding: np.ndarray
    users: int
    titles: Sequence[str]
    categories: Sequence[str]
    designs: Sequence[Design]


@dataclass(frozen=True, eq=False)
class Segment:
    """A group in words. `name` up to 64 characters, `text` up to 1,000; an `edited` one keeps both when the group is described again.

    Raises IcgError naming the field, the value and what is allowed.
    """

    id: str
    name: str
    text: str
    words: tuple[str, ...]
    categories: tuple[str, ...]
    looks: tuple[str, ...]
    embedding: np.ndarray
    users: int
    edited: bool = False

    def __post_init__(self) -> None:
        for field, value, most in (("name", self.name, MAX_NAME), ("text", self.text, MAX_TEXT)):
            if not value.strip() or len(value) > most or not value.isprintable():
                raise IcgError(f"{field}={value[:80]!r}; allowed: 1 to {most} printable characters")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {"embedding": [round(float(x), 6) for x in self.embedding]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Segment:
        """Read the values of `to_dict`. Raises IcgError for anything else."""
        try:
            lists = {key: tuple(map(str, values[key])) for key in ("words", "categories", "looks")}
            return cls(**values | lists | {"embedding": np.array(values["embedding"], np.float32)})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise IcgError(f"segment={str(values)[:80]!r}: {error!r}; allowed: the values of a segment") from None

    def renamed(self, name: str | None = None, text: str | None = None) -> Segment:
        """With a marketer's name or text. Raises IcgError if it is empty or too long."""
        name, text = self.name if name is None else name, self.text if text is None else text
        return replace(self, name=name, text=text, edited=True)


def describe(groups: Sequence[Group], before: Sequence[Segment] = (), namer: Namer | None = None) -> list[Segment]:
    """A segment of each group; edited ones of `before` keep their name and text. Raises IcgError for a group without engagements."""
    for group in groups:
        if not group.titles:
            raise IcgError(f"group={group.id!r} engaged with nothing; allowed: at least one title")
    title_words = [[w for t in g.titles for w in words(t)] for g in groups]
    all_categories = [list(g.categories) for g in groups]
    top_words, top_categories = distinctive(title_words), distinctive(all_categories)
    strong = [{*a, *b} for a, b in zip(telling(title_words), telling(all_categories), strict=True)]
    rows = np.stack([features(g.designs).mean(0) if g.designs else np.zeros(len(LOOKS), np.float32) for g in groups])
    edited = {segment.id: segment for segment in before if segment.edited}
    segments, taken = [], {segment.name.casefold() for segment in edited.values()}
    for n, group in enumerate(groups):
        looks = _looks(rows[n] - np.delete(rows, n, 0).mean(0) if len(groups) > 1 else rows[n])
        categories, own_words = tuple(top_categories[n][:CATEGORIES]), tuple(top_words[n][:WORDS])
        names = [f"{word} enthusiasts" for word in (*own_words, *categories) if word in strong[n]][:4]
        names = names or [f"lovers of {' '.join(looks[:2])} covers" if looks else "everybody else"]
        old = edited.get(group.id)
        name = (
            old.name
            if old
            else _unused_name(names, [*own_words, *categories, *looks, group.id], taken, namer, group.titles)
        )
        likes = f"Likes {', '.join(own_words)}" + (f"; mostly {' and '.join(categories)}." if categories else ".")
        text = likes + (f" Covers: {', '.join(looks)}." if looks else "")
        segment = Segment(group.id, name, text[:MAX_TEXT], own_words, categories, looks, group.embedding, group.users)
        taken.add(segment.name.casefold())
        segments.append(segment if old is None else replace(segment, text=old.text, edited=True))
    return segments


def _unused_name(
    names: Sequence[str], more: Sequence[str], taken: set[str], namer: Namer | None, titles: Sequence[str]
) -> str:
    """The best of `names` that is not in `taken`; if all are, the first one with the first of `more` that tells it apart."""
    unused = [name for n in names if (name := n[:MAX_NAME]).casefold() not in taken]
    if unused:
        return namer(unused, titles)[:MAX_NAME] if namer is not None else unused[0]
    longer = (f"{names[0][: MAX_NAME - len(word) - 3]} ({word})" for word in more if len(word) < MAX_NAME // 2)
    return next(name for name in longer if name.casefold() not in taken)


def words(text: str) -> list[str]:
    """Lower-case words of two letters or more, without function words."""
    return [word for word in _WORD.findall(text.casefold()) if not _EMPTY.fullmatch(word)]


def distinctive(documents: Sequence[Sequence[str]]) -> list[list[str]]:
    """Terms of each document, the most distinctive first: by TF-IDF over documents, minus its mean in the others."""
    names, weight = tfidf(documents)
    total = weight.sum(0)
    others = (total - weight) / max(len(documents) - 1, 1)
    contrast = weight - others
    return [[names[k] for k in np.argsort(-row, kind="stable") if row[k] > 0] for row in contrast]


def tfidf(documents: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """(terms, (documents, terms) term frequency times smoothed inverse document frequency)."""
    counts = [Counter(document) for document in documents]
    names = sorted({term for count in counts for term in count})
    at = {term: n for n, term in enumerate(names)}
    frequency = np.zeros((len(documents), len(names)))
    for row, count in zip(frequency, counts, strict=True):
        for term, number in count.items():
            row[at[term]] = number / max(count.total(), 1)
    rarity = np.log((1 + len(documents)) / (1 + (frequency > 0).sum(0))) + 1
    return names, frequency * rarity


def telling(documents: Sequence[Sequence[str]]) -> list[set[str]]:
    """Terms that are common in a document, and STRONG times as common as in the others together."""
    counts = [Counter(document) for document in documents]
    whole, total = Counter[str](), sum(map(len, documents))
    for count in counts:
        whole.update(count)
    terms = []
    for count in counts:
        inside, outside = max(count.total(), 1), max(total - count.total(), 1)
        common = {t for t, n in count.items() if n / inside > max(RARE, STRONG * (whole[t] - n) / outside)}
        terms.append(common)
    return terms


class Namer:
    """The VLM chooses among names after it has read titles that the group likes."""

    def __init__(self, vlm: Any, processor: Any) -> None:
        self._vlm, self._processor, self._pieces = vlm, processor, Pieces(processor.tokenizer)

    def __call__(self, names: Sequence[str], titles: Sequence[str]) -> str:
        """names: the choices, at least one. titles: those that the group engaged with."""
        often = ", ".join(title for title, _ in Counter(titles).most_common(5))
        inputs = reading.inputs(self._processor, reading.plain(self._processor, often[:200]))
        return choose(self._vlm, self._pieces, inputs, [f"{name}." for name in dict.fromkeys(names)])[:-1]


def match(text: str, documents: Sequence[Sequence[str]]) -> np.ndarray:
    """(documents,) how well a description matches each: cosine of TF-IDF vectors."""
    _, weight = tfidf([*documents, words(text)])
    unit = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-9)
    return np.asarray(unit[:-1] @ unit[-1])


def document(group: Group) -> list[str]:
    """All words of a group: titles, categories and the words of its covers' designs."""
    looks = [w for d in group.designs for w in (*(name for name, _ in d.colours), *d.tones, d.place, d.size, d.style)]
    return [w for text in (*group.titles, *group.categories, *looks) for w in words(text)]


def from_text(
    id: str, text: str, titles: Sequence[str], relevance: np.ndarray, covers: np.ndarray, closest: int = 30
) -> Segment:
    """A segment without users ("coffee enthusiasts"): its embedding is the mean of the covers (N, D) that match the text best.

    relevance (N,): of each cover to the text. Raises IcgError without covers.
    """
    if not len(covers) or len(covers) != len(relevance):
        raise IcgError(f"covers={len(covers)} with relevance of {len(relevance)}; allowed: as many, at least one")
    best = np.argsort(-relevance)[:closest]
    middle = covers[best].mean(0)
    top_words = tuple(dict.fromkeys(w for k in best for w in words(titles[k])))[:WORDS]
    embedding = (middle / max(float(np.linalg.norm(middle)), 1e-6)).astype(np.float32)
    return Segment(id, text[:MAX_NAME], text, top_words, (), (), embedding, 0, edited=True)


def rerank(
    images: Sequence[Image.Image], brief: Brief, relevance: Reward, preference: Reward, weight: float = 1.0
) -> np.ndarray:
    """(B,) indices, the best first, by CLIP's score of picture and text and the picture's similarity to the segment, each standardised.

    The text is the title and the segment in words. relevance: icg.rewards' "clip" with any CLIP or SigLIP, or the starter's own.
    weight: of preference.
    """
    texts = [replace(brief, title=brief.prompt[:MAX_TITLE])] * len(images)
    pairs = ((relevance, texts), (preference, [brief] * len(images)))
    scores = [np.asarray(reward(list(images), briefs), float) for reward, briefs in pairs]
    standard = [(s - s.mean()) / max(float(s.std()), 1e-6) for s in scores]
    return np.argsort(-(standard[0] + weight * standard[1]), kind="stable")


def _looks(contrast: np.ndarray) -> tuple[str, ...]:
    """The most distinctive word of each kind, colours first; none for a group that is like all others."""
    at, looks = 0, []
    for kind, most in ((NAMED, COLOURS), (STYLES, 1), (BRIGHTNESS, 1), (WARMTH, 1), (VIVIDNESS, 1), (SIZES, 1)):
        at = LOOKS.index(next(iter(kind)))
        part = contrast[at : at + len(kind)]
        least = 0.03 if kind is NAMED else 0.08
        looks += [list(kind)[k] for k in np.argsort(-part, kind="stable")[:most] if part[k] > least]
    return tuple(looks)
