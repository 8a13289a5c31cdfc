"""Engagement, designs, segments, products and the upscaler: `icg evaluate design`. Accounts and users are SIMULATED."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from icg.brief import Brief
from icg.data.art import Subject, load_subjects
from icg.data.engagement import BUCKETS
from icg.data.posts import World
from icg.design.designer import Designer
from icg.design.kpi import DesignModel
from icg.design.search import search
from icg.evaluate import segments as segment_evaluation
from icg.evaluate import upscaling as upscaling_evaluation
from icg.rewards.base import Reward
from icg.rewards.engagement import Engagement
from icg.rewards.engagement_net import EngagementConfig
from icg.rewards.reader import Reader
from icg.starter import Starter, judges
from icg.starter import load as load_starter
from icg.train.engagement.design import described
from icg.train.engagement.recipe import (
    SHUFFLED,
    TEST,
    TRAIN,
    PostFeatures,
    Sample,
    correlations,
    fit,
    judge,
    models,
    predictions,
    simulated,
)
from icg.train.loop import Fit
from icg.train.studies import design_evaluation, product_identity

SEARCHED = 4
"""Designs of a title that a search draws."""
Rows = dict[str, dict[str, list[float]]]
"""Row -> column -> a number for each seed."""


@dataclass(frozen=True)
class Extent:
    """Sizes: `seeds` of everything, `posts` of `accounts` in each, `items` to design, `covers` of each bucket."""

    seeds: int = 3
    accounts: int = 30
    posts: int = 3000
    items: int = 30
    covers: int = 12
    steps: int = 1000

    def fit(self, seed: int) -> Fit:
        return Fit(self.steps, 2e-3, 256, seed, warmup=min(100, self.steps // 4), weight_decay=0.05)


@dataclass(frozen=True)
class EvaluationFolders:
    """`root`: of the starter's layout. `design`: of icg.train.engagement.design, with the designs of its posts. `products`: of trained
    products, or where to train them. `pictures`: large ones outside the upscaler's training. None leaves a part out."""

    root: Path
    art: Path
    design: Path | None = None
    products: Path | None = None
    pictures: Path | None = None


def measure(
    folders: EvaluationFolders, extent: Extent = Extent()
) -> tuple[dict[str, list[float] | None], dict[str, Rows]]:
    """(figures, a number for each seed; tables by name). Figures of parts that were left out are None."""
    subjects = load_subjects(folders.art)
    tables = {"engagement": engagement(folders.root, subjects, extent)}
    if folders.design is not None:
        tables["designs"], tables["covers"] = designs(folders.root, folders.design, subjects, extent)
    tables["segments"] = segments(folders.root, subjects, extent)
    if folders.products is not None:
        tables["products"] = products(folders.products, extent)
    if folders.pictures is not None and (folders.root / "upscaler").is_dir():
        gains = upscaling_evaluation.measure(folders.root / "upscaler", folders.pictures, extent.seeds)
        tables["upscaler"] = {kind: dict(row) for kind, row in gains.items()}
    return figures(tables), tables


def figures(tables: Mapping[str, Rows]) -> dict[str, list[float] | None]:
    """The named figures from the tables."""

    def at(table: str, row: str, column: str) -> list[float] | None:
        return tables.get(table, {}).get(row, {}).get(column)

    return {
        "engagement_pearson": at("engagement", "all", "pearson"),
        "aesthetic_pearson": at("engagement", "aesthetic alone", "pearson"),
        "shuffled_pearson": at("engagement", SHUFFLED, "pearson"),
        "bucket_order_share": at("designs", "tuned", "order"),
        "segment_top1": at("segments", "description", "top1"),
        "identity_textual_inversion": at("products", "textual-inversion", "identity"),
        "identity_dreambooth": at("products", "dreambooth", "identity"),
        "identity_untuned": at("products", "untuned", "identity"),
        "upscaler_psnr_gain": at("upscaler", "catalogue", "psnr_gain"),
    }


def engagement(root: Path, subjects: list[Subject], extent: Extent) -> Rows:
    """Models of more or fewer inputs, and single rewards, on the latest posts. `appeal`: correlation of the picture's effect with truth."""
    reader, (_, rewards) = Reader.from_pretrained(root), judges(root)
    rows: Rows = {}
    for seed in range(extent.seeds):
        sample = simulated(
            reader, subjects, World.sample(extent.accounts, np.random.default_rng(seed)), extent.posts, seed
        )
        test = np.flatnonzero(sample.read.split == TEST)
        kpi, config = sample.read.kpi[test], EngagementConfig(sample.read.content.shape[1])
        with tempfile.TemporaryDirectory() as scratch:
            nets = models(Path(scratch), sample.read, extent.fit(seed), config)
        for name, (pearson, spearman) in judge(sample.read, nets).items():
            _add(rows, name, pearson=pearson, spearman=spearman)
        blank = replace(sample.read, content=sample.read.content * 0 + nets["all"].content_mean)
        effect = predictions(nets["all"], sample.read, test).mean - predictions(nets["all"], blank, test).mean
        _add(rows, "all", appeal=float(np.corrcoef(effect, sample.posts.appeal[test])[0, 1]))
        images, briefs = sample.images(test), [Brief(sample.titles[n]) for n in test]
        for name in ("aesthetic", "relevance"):
            pearson, spearman = correlations(rewards[name](images, briefs), kpi)
            _add(rows, f"{name} alone", pearson=pearson, spearman=spearman)
    return rows


def designs(root: Path, folder: Path, subjects: list[Subject], extent: Extent) -> tuple[Rows, Rows]:
    """A design model, with its training posts (icg.train.engagement.design's folder): its designs, and covers by them."""
    sample = trained_on(root, folder, subjects)
    vlm = root / "vlm"
    tuned, untuned = DesignModel.from_pretrained(vlm, folder / "design"), DesignModel.from_pretrained(vlm)
    known = described(root, sample, [s.title for s in subjects], folder / "designs.jsonl")
    rows: Rows = {}
    for seed in range(extent.seeds):
        for name, columns in design_evaluation.evaluate(tuned, untuned, sample, known, extent.items, seed).items():
            _add(rows, name, **columns)
    return rows, covers(load_starter(root), folder, tuned, sample, extent)


def trained_on(root: Path, folder: Path, subjects: list[Subject]) -> Sample:
    """The posts of icg.train.engagement.design's folder, simulated again with its seed."""
    import json

    settings = json.loads((folder / "posts.json").read_text())
    world = World.sample(settings["accounts"], np.random.default_rng(settings["seed"]))
    return simulated(Reader.from_pretrained(root), subjects, world, settings["posts"], settings["seed"])


def covers(parts: Starter, folder: Path, model: DesignModel, sample: Sample, extent: Extent) -> Rows:
    """Covers of held-out titles for each bucket: engagement, relevance, and diversity. The judge of engagement is trained on half of the
    posts; the search among designs uses one of the other half."""
    from icg.design.features import Direction

    designer = Designer(model, Direction.from_pretrained(folder / "design"))
    reader = Reader(parts.pipeline.vlm, parts.pipeline.processor, parts.embedding)
    config = EngagementConfig(reader.width)
    late = np.flatnonzero(sample.read.split == TEST)
    rows: Rows = {}
    for seed in range(extent.seeds):
        rng = np.random.default_rng(seed)
        titles = sorted({sample.titles[n] for n in late})
        chosen = [titles[n] for n in rng.permutation(len(titles))[: extent.covers]]
        with tempfile.TemporaryDirectory() as scratch:
            reward, other = (
                Engagement(fit(Path(scratch) / str(n), _half(sample.read, n), config, extent.fit(seed)), reader)
                for n in range(2)
            )
        for target in (*BUCKETS, "no target"):
            briefs = list(_briefs(designer, chosen, target, seed))
            images = [image for n in range(0, len(briefs), 8) for image in parts.pipeline(briefs[n : n + 8])]
            _add(rows, target, **_judged(reward, parts, images, [Brief(title) for title in chosen]))
        torch.manual_seed(seed)
        for target in (BUCKETS[0], BUCKETS[2]):
            plain = [Brief(title, seed=1000 * seed + n) for n, title in enumerate(chosen)]
            images = [search(designer, parts.pipeline, other, b, target, SEARCHED)[0].cover for b in plain]
            _add(rows, f"{target}, best of {SEARCHED}", **_judged(reward, parts, images, plain))
    return rows


def _half(read: PostFeatures, part: int) -> PostFeatures:
    """Every second post of the training split, from `part` (0 or 1) on."""
    split, train = read.split.copy(), np.flatnonzero(read.split == TRAIN)
    split[train[1 - part :: 2]] = -1
    return replace(read, split=split)


def _briefs(designer: Designer, titles: list[str], target: str, seed: int) -> Iterator[Brief]:
    for n, title in enumerate(titles):
        brief = Brief(title, seed=1000 * seed + n)
        yield designer.apply(brief, designer.design(brief, target)) if target in BUCKETS else brief


def _judged(reward: Reward, parts: Starter, images: list[Image.Image], briefs: list[Brief]) -> dict[str, float]:
    embeddings = parts.embedding.covers(images)
    distance = 1 - (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
    return {
        "engagement": float(reward(images, briefs).mean()),
        "relevance": float(parts.rewards["relevance"](images, briefs).mean()),
        "diversity": float(distance.mean()),
    }


def segments(root: Path, subjects: list[Subject], extent: Extent) -> Rows:
    """Descriptions matched with the engagements of the clusters' other users, and permuted descriptions."""
    shelf = segment_evaluation.shelf(root, subjects, 0)
    rows: Rows = {}
    for seed in range(extent.seeds):
        scores, _ = segment_evaluation.evaluate(root, shelf, seed)
        _add(rows, "description", top1=scores["segment_top1"])
        _add(rows, "changed places", top1=scores["segment_shuffled"])
    return rows


def products(folder: Path, extent: Extent) -> Rows:
    """Identity, alignment and the rest, a row for each method; trains missing products."""
    rows: Rows = {}
    for seed in range(extent.seeds):
        for key, value in product_identity.evaluate(seed, folder=folder / str(seed)).items():
            figure, _, method = key.partition("_")
            if figure != "products" and isinstance(value, float):
                _add(rows, method.replace("_", "-"), **{figure: value})
    return rows


def _add(rows: Rows, row: str, **columns: float) -> None:
    for name, value in columns.items():
        rows.setdefault(row, {}).setdefault(name, []).append(value)
