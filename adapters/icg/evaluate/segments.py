"""Whether a segment can be recognised from its description, on SIMULATED users: clusters of some users are described, then matched with
the engagements of other users.

`segment_top1` is the share of descriptions whose own cluster among eight matches best; permuted descriptions are the control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from icg.data import tastes
from icg.data.art import CATEGORIES, Subject
from icg.data.bank import build
from icg.design.describe import Describer
from icg.design.schema import Design
from icg.design.segments import Group, Namer, Segment, describe, document, match
from icg.models import vlm as reading
from icg.models.joint import JointEmbedding
from icg.reliability.cues import SmallCues

CLUSTERS = 8
COVERS, USERS, ENGAGED = 500, 600, 12


@dataclass(frozen=True)
class Shelf:
    """Covers with descriptions: titles, categories, designs and embeddings (N, D); `look` (N, 4), `category` (N,)."""

    titles: list[str]
    categories: list[str]
    designs: list[Design]
    embeddings: np.ndarray
    look: np.ndarray
    category: np.ndarray


def shelf(root: Path, subjects: list[Subject], seed: int, count: int = COVERS) -> Shelf:
    """Composed covers, described and embedded by the models of a folder of the starter's layout."""
    bank = build(subjects, count, seed)
    images = [Image.fromarray(image) for image in bank.images]
    embedding, cues = JointEmbedding.from_pretrained(root), SmallCues.from_pretrained(root / "reliability" / "cues")
    describer = Describer(embedding, cues, *reading.load(root / "vlm"), [s.title for s in subjects])
    drawn_subjects = [subjects[s] for s in bank.subject]
    return Shelf(
        titles=[s.title for s in drawn_subjects],
        categories=[s.category for s in drawn_subjects],
        designs=describer(images),
        embeddings=embedding.covers(images),
        look=bank.look,
        category=np.array([CATEGORIES.index(s.category) for s in drawn_subjects]),
    )


def groups(shelf: Shelf, seed: int, users: int = USERS) -> tuple[list[Group], list[Group]]:
    """Clusters of the first half of SIMULATED users, and the engagements of the other half, each assigned to its nearest cluster."""
    import faiss

    rng = np.random.default_rng(seed)
    people = tastes.sample(users, rng)
    engaged = tastes.engaged(people.utility(shelf.look, shelf.category), ENGAGED, rng)
    taste = shelf.embeddings[engaged].mean(1)
    taste = (taste / np.linalg.norm(taste, axis=1, keepdims=True)).astype(np.float32)
    known = users // 2
    means = faiss.Kmeans(taste.shape[1], CLUSTERS, seed=seed, spherical=True, niter=25, min_points_per_centroid=1)
    means.train(taste[:known])
    cluster = (taste @ means.centroids.T).argmax(1)
    parts = []
    for rows in (slice(0, known), slice(known, users)):
        parts.append(
            [_group(shelf, str(n), means.centroids[n], engaged[rows][cluster[rows] == n]) for n in range(CLUSTERS)]
        )
    return parts[0], parts[1]


def _group(shelf: Shelf, id: str, centroid: np.ndarray, engaged: np.ndarray) -> Group:
    covers = engaged.ravel()
    return Group(
        id=id,
        embedding=centroid,
        users=len(engaged),
        titles=[shelf.titles[n] for n in covers],
        categories=[shelf.categories[n] for n in covers],
        designs=[shelf.designs[n] for n in covers],
    )


def top1(texts: Sequence[str], others: Sequence[Group]) -> float:
    """Share of texts that match their own group, the one of the same index, best."""
    documents = [document(group) for group in others]
    return float(np.mean([match(text, documents).argmax() == n for n, text in enumerate(texts)]))


def evaluate(root: Path, shelf: Shelf, seed: int) -> tuple[dict[str, float], list[Segment]]:
    """segment_top1 and its shuffled control for one seed of users, and the segments. Clusters without held-out users are left out."""
    known, held = groups(shelf, seed)
    both = [n for n in range(CLUSTERS) if known[n].users and held[n].users]
    segments = describe([known[n] for n in both], namer=Namer(*reading.load(root / "vlm")))
    texts = [f"{s.name}. {s.text}" for s in segments]
    order = np.random.default_rng(seed).permutation(len(both))
    others = [held[n] for n in both]
    return {"segment_top1": top1(texts, others), "segment_shuffled": top1([texts[n] for n in order], others)}, segments
