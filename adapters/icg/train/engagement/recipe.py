"""Recipe: the engagement model. Features of posts, their accounts' habits and times -> their KPI.

    icg train engagement --table posts.csv --pictures media --out runs/engagement [--zone UTC]
    icg train engagement --ratings ml-latest-small --kpi count --out runs/engagement    # films; see icg.data.ratings
    icg train engagement --art node_modules --out runs/engagement                       # SIMULATED accounts

Trained on the earliest 70 % of the posts, tested on the latest 15 %: Pearson and Spearman correlation with log(1 + KPI), compared with
models of fewer inputs and with one whose KPIs were shuffled within each account. Posts that leak across the split are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg import starter
from icg.data import engagement as data
from icg.data.art import Subject, load_subjects, procedural
from icg.data.catalogue import RowReport
from icg.data.duplicates import leaking, perceptual_hash
from icg.data.posts import Simulated, World, simulate
from icg.data.ratings import as_posts
from icg.errors import IcgError
from icg.pictures import decode, read
from icg.rewards.base import BATCH, pixels
from icg.rewards.engagement_net import (
    NOBODY,
    EngagementConfig,
    EngagementNet,
    EngagementPrediction,
    Habit,
    context,
    habits,
    predict,
)
from icg.rewards.reader import SIDE, Reader
from icg.train.flags import Flags
from icg.train.loop import Fit, train

TRAIN, VALIDATION, TEST = 0, 1, 2
FORGOTTEN = 0.3
"""Share of training posts without their account, and independently without their time, so that the model works without them."""
INPUTS = {
    "all": (1, 1, 1),
    "picture and text": (1, 0, 0),
    "account and time": (0, 1, 1),
    "no account": (1, 0, 1),
    "no time": (1, 1, 0),
}
"""Which inputs a model has: content, account, time."""
SHUFFLED = "shuffled within accounts"


@dataclass(frozen=True)
class PostFeatures:
    """A model's inputs: content (N, D), account (N,), time (N,), kpi (N,), bucket (N,), split (N,), where -1 is left out."""

    content: Tensor
    account: np.ndarray
    time: np.ndarray
    kpi: np.ndarray
    bucket: np.ndarray
    split: np.ndarray

    @property
    def accounts(self) -> dict[str, Habit]:
        """Habits of the accounts, from training posts."""
        rows = self.split == TRAIN
        return habits(list(self.account[rows]), self.kpi[rows])

    def about(self, accounts: Mapping[str, Habit]) -> np.ndarray:
        """Contexts (N, CONTEXT)."""
        return np.stack(
            [context(accounts.get(str(a), NOBODY), t) for a, t in zip(self.account, self.time, strict=True)]
        )


@torch.inference_mode()
def content(reader: Reader, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
    """(N, D) features of pictures with their texts, in batches."""
    rows = [reader(pixels(images[n : n + BATCH], SIDE), texts[n : n + BATCH]) for n in range(0, len(images), BATCH)]
    return torch.cat(rows).clone()


def read_posts(reader: Reader, posts: data.Posts) -> PostFeatures:
    """Split by time; posts that leak into a later split are left out. Raises IcgError for a damaged picture."""
    split = data.temporal(posts)
    images = [decode(read(path), shortest=2 * SIDE) for path in posts.picture]
    hashed = np.stack([perceptual_hash(image) for image in images])
    split = np.where(leaking(split, hashed, posts.account, posts.text), -1, split)
    bucket = data.buckets(posts, split == TRAIN)
    features = content(reader, images, list(posts.text))
    return PostFeatures(features, posts.account.astype(str), posts.time, posts.kpi, bucket, split)


@dataclass(frozen=True)
class Sample:
    """SIMULATED posts, their world, features and titles."""

    read: PostFeatures
    world: World
    posts: Simulated
    titles: list[str]

    def images(self, rows: np.ndarray | None = None) -> list[Image.Image]:
        """All pictures, or those of `rows`."""
        return [Image.fromarray(image) for image in (self.posts.images if rows is None else self.posts.images[rows])]


def simulated(reader: Reader, subjects: list[Subject], world: World, count: int, seed: int) -> Sample:
    """SIMULATED posts of a world's accounts. Covers are composed independently, so a look that two subjects share is no duplicate."""
    simulation = simulate(world, subjects, count, np.random.default_rng(seed), side=SIDE)
    titles = [subjects[s].title for s in simulation.subject]
    names = np.array([f"account {n}" for n in simulation.account], object)
    paths = np.full(count, Path(), object)
    posts = data.Posts(names, simulation.time, np.array(titles, object), paths, simulation.kpi)
    split = data.temporal(posts)
    features = PostFeatures(
        content=content(reader, [Image.fromarray(image) for image in simulation.images], titles),
        account=names.astype(str),
        time=simulation.time,
        kpi=simulation.kpi,
        bucket=data.buckets(posts, split == TRAIN),
        split=split,
    )
    return Sample(features, world, simulation, titles)


def fit(
    folder: Path,
    read: PostFeatures,
    config: EngagementConfig,
    schedule: Fit,
    inputs: str = "all",
    shuffled: bool = False,
) -> EngagementNet:
    """Train a model with the inputs INPUTS[inputs]. shuffled: permute KPIs within each account, as a control."""
    rows, rng = np.flatnonzero(read.split == TRAIN), np.random.default_rng(schedule.seed)
    if len(rows) < 2:
        raise IcgError(f"posts={len(rows)} to train on; allowed: at least two")
    kpi, bucket = read.kpi[rows], read.bucket[rows]
    if shuffled:
        for name in np.unique(read.account[rows]):
            of = np.flatnonzero(read.account[rows] == name)
            order = rng.permutation(of)
            kpi[of], bucket[of] = kpi[order], bucket[order]
    with_content, with_account, with_time = INPUTS[inputs]
    features = read.content[rows] * with_content
    about = torch.from_numpy(masked(read.about(read.accounts)[rows], with_account, with_time))
    net = EngagementNet(config)
    logs = torch.from_numpy(np.log1p(kpi)).float()
    for name, values in (("content", features), ("context", about), ("kpi", logs[:, None])):
        getattr(net, f"{name}_mean").copy_(values.mean(0))
        getattr(net, f"{name}_deviation").copy_(values.std(0).clamp_min(1e-3))
    target = (logs - net.kpi_mean) / net.kpi_deviation
    target_bucket = torch.from_numpy(bucket)

    def loss(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = torch.from_numpy(rng.integers(0, len(rows), schedule.batch))
        contexts = about[batch].clone()
        contexts[torch.from_numpy(rng.random(schedule.batch) < FORGOTTEN), :4] = 0
        contexts[torch.from_numpy(rng.random(schedule.batch) < FORGOTTEN), 4:] = 0
        mean, spread, logits = net(features[batch], contexts)
        likelihood = (spread + 0.5 * ((target[batch] - mean) / spread.exp()) ** 2).mean()
        bucket_loss = F.cross_entropy(logits, target_bucket[batch])
        return {"loss": likelihood + bucket_loss, "likelihood": likelihood, "bucket": bucket_loss}

    train(folder, net.train(), schedule, loss, config)
    return net.eval().requires_grad_(False)


def masked(about: np.ndarray, account: int, time: int) -> np.ndarray:
    """Contexts (N, CONTEXT), without the account or the time if these are 0."""
    return (about * np.array([account] * 4 + [time] * 6, np.float32)).astype(np.float32)


def predictions(net: EngagementNet, read: PostFeatures, rows: np.ndarray, inputs: str = "all") -> EngagementPrediction:
    """Predictions for the posts of `rows` by a model that was fitted with `inputs`."""
    with_content, with_account, with_time = INPUTS[inputs]
    about = torch.from_numpy(masked(read.about(read.accounts)[rows], with_account, with_time))
    return predict(net, read.content[rows] * with_content, about)


def correlations(predicted: np.ndarray, kpi: np.ndarray) -> tuple[float, float]:
    """Pearson with log(1 + KPI), and Spearman; 0 for constant values."""

    def pearson(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0

    return pearson(predicted, np.log1p(kpi)), pearson(_ranks(predicted), _ranks(kpi))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks, so that equal values have equal ranks."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return ((ends - count + ends - 1) / 2)[inverse]


def models(folder: Path, read: PostFeatures, schedule: Fit, config: EngagementConfig) -> dict[str, EngagementNet]:
    """A model for each row of INPUTS, and one with shuffled KPIs."""
    nets = {name: fit(folder / name.replace(" ", "-"), read, config, schedule, name) for name in INPUTS}
    return nets | {SHUFFLED: fit(folder / "shuffled", read, config, schedule, shuffled=True)}


def judge(read: PostFeatures, nets: Mapping[str, EngagementNet]) -> dict[str, tuple[float, float]]:
    """(Pearson, Spearman) of each of `models` on the test split."""
    rows = np.flatnonzero(read.split == TEST)
    inputs = {name: name if name in INPUTS else "all" for name in nets}
    return {
        name: correlations(predictions(net, read, rows, inputs[name]).mean, read.kpi[rows])
        for name, net in nets.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train engagement`."""
    parser = Flags(__name__, __doc__, art="maybe", posts=6000, accounts=30, steps=1500)
    parser.add_argument("--table", type=Path, help="posts: a CSV, TSV, JSON Lines or Parquet file")
    parser.add_argument("--pictures", type=Path, help="folder of the posts' pictures; default: that of the table")
    parser.add_argument("--zone", default="", help="zone of times without one, as Europe/Paris")
    parser.add_argument("--ratings", type=Path, help="folder of MovieLens-shaped ratings of films")
    parser.add_argument("--kpi", default="count", help="of ratings; see icg.data.ratings")
    parser.add_argument("--checkpoint", type=Path, help="folder of the starter's layout; default: the shipped starter")
    args = parser.parse_args(argv)
    if args.smoke:
        args.posts, args.accounts, args.steps = 200, 4, 20
    reader = Reader.from_pretrained(args.checkpoint or starter.path())
    report = RowReport()
    if args.table:
        posts = data.load(args.table, args.pictures or args.table.parent, report, args.zone)
        print(report)
        read = read_posts(reader, posts)
    elif args.ratings:
        read = read_posts(reader, as_posts(args.ratings, args.kpi, args.posts, args.seed))
    else:
        subjects = load_subjects(args.art) if args.art else procedural(40)
        world = World.sample(args.accounts, np.random.default_rng(args.seed))
        read = simulated(reader, subjects, world, args.posts, args.seed).read
    schedule = Fit(args.steps, 2e-3, 256, args.seed, warmup=min(100, args.steps // 4), weight_decay=0.05)
    config = EngagementConfig(read.content.shape[1])
    nets = models(args.out / "compared", read, schedule, config)
    scores = judge(read, nets)
    nets["all"].save_pretrained(args.out / "engagement", read.accounts if args.table or args.ratings else {})
    for name, (pearson, spearman) in scores.items():
        print(f"{name:28} Pearson {pearson:.3f}  Spearman {spearman:.3f}")
    print(json.dumps({name: round(pearson, 4) for name, (pearson, _) in scores.items()}))
