"""Recipe 9: align the starter's refiner and connector to its rewards, for SIMULATED users.

    icg train alignment --art node_modules --out runs/alignment [--steps 300] [--dispersion 0.5] [--fresh] [--smoke]
    icg train alignment --art node_modules --out runs/engaging --engagement 3 --aesthetic 0.5 [--by policy]

Rewards are standardised by their values for covers before training. Writes OUT/adapter, OUT/watch.jsonl, a contact sheet a look, and
the reward's weights and scales as OUT/weights.json and OUT/scales.json.
With --fresh the refiner changes nothing at first, as after connector pre-training without users: it learns everything about users here.
By policy (icg.train.alignment.grpo), rewards need no gradients, and there is no dispersion term: the preference reward separates users.
The last line is one JSON object: held-out figures before and after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from icg import starter
from icg.brief import Brief
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white, procedural
from icg.data.bank import build
from icg.data.behaviour import population, simulate
from icg.errors import IcgError
from icg.evaluate.judges import retrieval
from icg.evaluate.personalisation import spread
from icg.evaluate.preference import mean_embeddings
from icg.evaluate.reward_hacking import Watch
from icg.rewards.engagement import Engagement
from icg.rewards.joint import JointJudge
from icg.rewards.mix import Mix
from icg.rewards.relevance import Recognition
from icg.starter import Starter
from icg.train.alignment import grpo
from icg.train.alignment import reward_gradient as personalise
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.starter.tokenizer import variation
from icg.users.examples import examples

WEIGHTS = {"preference": 3.0, "relevance": 1.0, "aesthetic": 0.1, "engagement": 0.0}
"""With equal weights relevance costs preference: see the project's log. Engagement is computed and watched only with a weight."""


@dataclass(frozen=True)
class Sizes:
    """Covers for simulated behaviour, users, held-out users among them, watched covers."""

    covers: int
    users: int
    held_out: int
    watched: int


FULL, SMOKE = Sizes(4_000, 1_500, 200, 96), Sizes(40, 12, 4, 8)
FEW = 4
"""Denoising steps while training: for the gradient four are as good as eight, and twice as fast."""


class BriefSource:
    """Briefs of subjects for users: the title alone, or title and picture."""

    def __init__(self, subjects: list[Subject], users: np.ndarray, each: int, steps: int = Brief.steps) -> None:
        self.subjects, self.users, self.each, self.steps = subjects, users, each, steps

    def __call__(self, rng: np.random.Generator, count: int) -> list[Brief]:
        """`count` briefs, for `each` consecutive users of one item."""
        out = []
        for _ in range(count // self.each):
            subject = self.subjects[int(rng.integers(len(self.subjects)))]
            title = variation(subject.title, int(rng.integers(0, 10)))
            sprite = subject.sprites[STYLES[int(rng.integers(len(STYLES)))]]
            pictures = (on_white(sprite),) if rng.random() < 0.5 else ()
            seed = int(rng.integers(1 << 31))  # one noise for all users of an item: only their tastes differ
            for user in rng.choice(len(self.users), self.each, replace=False):
                out.append(Brief(title, pictures, self.users[user], seed=seed, steps=self.steps))
        return out


def simulated_users(parts: Starter, subjects: list[Subject], sizes: Sizes, seed: int) -> np.ndarray:
    """(U, D) user embeddings as the services compute them, after histories of SIMULATED behaviour of many lengths."""
    rng = np.random.default_rng((seed, 5))
    bank = build(subjects, sizes.covers, seed + 11)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    log, _ = simulate(population(sizes.users, rng), bank.look, themes[bank.subject], 30, rng)
    histories = examples(log, rng)
    have = np.diff(histories.start)[: sizes.users]
    known = (have * rng.uniform(0.3, 1.0, len(have))).astype(int)
    users = mean_embeddings(histories, np.arange(len(have)), known, covers)
    return users[np.linalg.norm(users, axis=1) > 0]


def run(
    out: Path,
    subjects: list[Subject],
    sizes: Sizes,
    fit: Fit,
    config: personalise.AlignConfig | grpo.PolicyConfig,
    weights: dict[str, float],
    fresh: bool = False,
    go_on: bool = False,
) -> dict[str, dict[str, float]]:
    """Align the shipped starter, by policy if `config` is a PolicyConfig. {"before", "after"}: the watch's first and last figures.

    fit.batch: covers a step. go_on: continue even if the watch would stop. Raises IcgError for a weight of an unknown reward.
    """
    if unknown := sorted(set(weights) - set(WEIGHTS)):
        raise IcgError(f"weights for {unknown}; allowed: {sorted(WEIGHTS)}")
    weights = {name: weight for name, weight in weights.items() if weight}
    parts = starter.load()
    if "engagement" in weights:
        parts.rewards["engagement"] = Engagement.from_pretrained(starter.path() / "engagement")
    if fresh:
        parts.pipeline.adapter.refiner.silence()
    parts.rewards["relevance"] = Recognition(parts.embedding, [s.title for s in subjects if not s.held_out])
    people = simulated_users(parts, [s for s in subjects if not s.held_out], sizes, fit.seed)
    trained, unseen = ([s for s in subjects if s.held_out == held] for held in (False, True))
    each = 1 if isinstance(config, grpo.PolicyConfig) else config.users
    train_briefs = BriefSource(trained, people[sizes.held_out :], each, FEW)
    rng = np.random.default_rng((fit.seed, 6))
    watched = BriefSource(trained, people[: sizes.held_out], 2)(rng, sizes.watched // 2)
    watched += BriefSource(unseen or trained, people[: sizes.held_out], 2)(rng, sizes.watched // 2)
    covers = [c for i in range(0, len(watched), 16) for c in parts.pipeline(watched[i : i + 16])]
    values = {name: reward(covers, watched) for name, reward in parts.rewards.items()}
    scales = {name: (float(v.mean()), max(float(v.std()), 1e-3)) for name, v in values.items()}
    mix = Mix(parts.rewards, weights, scales)
    (out / "scales.json").write_text(json.dumps(scales, indent=2))
    (out / "weights.json").write_text(json.dumps(weights, indent=2))
    embedding = parts.embedding
    titles = [b.title for b in watched]
    among = list(dict.fromkeys([*titles, *(s.title for s in trained)]))[:100]
    figures = {
        "between_users": lambda covers: spread(embedding, covers, "dispersion_ratio"),
        "along_taste": lambda covers: along_taste(embedding.covers(covers), watched),
        "title_top5": lambda covers: retrieval(embedding, covers, titles, among)["top5"],
    }
    watch = Watch(
        path=out / "watch.jsonl",
        briefs=watched,
        rewards=parts.rewards,
        features=lambda images: embedding.features(images).numpy(),
        figures=figures,
        stops=not go_on,
    )
    if isinstance(config, grpo.PolicyConfig):
        policy = grpo.Policy(parts.pipeline, lambda images, briefs: mix(images, briefs).total, config)
        align(out, policy, lambda rng, covers: train_briefs(rng, covers // config.group), fit, watch)
    else:
        aligner = personalise.Aligner(parts.pipeline, mix, JointJudge(parts.embedding).covers, config)
        align(out, aligner, train_briefs, fit, watch)
    looks = [json.loads(line) for line in watch.path.read_text().splitlines()]
    return {"before": looks[0], "after": looks[-1]}


def align(
    folder: Path,
    model: personalise.Aligner | grpo.Policy,
    draw: Callable[[np.random.Generator, int], list[Brief]],
    fit: Fit,
    watch: Watch,
    until: int | None = None,
) -> dict[str, float]:
    """draw: (rng, count) -> training briefs. Stops early if the watch detects reward hacking."""
    torch.manual_seed(fit.seed)
    watch.look(0, model.pipeline)

    def saved(step: int, _: nn.Module) -> bool:
        model.save(folder / "adapter")
        return watch.look(step, model.pipeline)

    return train(folder, model, fit, lambda _, rng: model.loss(draw(rng, fit.batch), rng), model.config, until, saved)


def along_taste(looks: np.ndarray, briefs: list[Brief]) -> float:
    """looks (B, D), two covers of each item -> mean distance along the difference of the users' tastes; 0 for random differences."""
    users = np.stack([b.user_embedding for b in briefs if b.user_embedding is not None])
    difference = users[::2] - users[1::2]
    margin = ((looks[::2] - looks[1::2]) * difference).sum(1) / np.maximum(np.linalg.norm(difference, axis=1), 1e-6)
    return float(margin.mean())


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train alignment`."""
    parser = Flags(__name__, __doc__, art="unless smoke", steps=300, batch=16, lr=1e-4)
    parser.add_argument("--by", choices=["gradient", "policy"], default="gradient", help="optimisation method")
    parser.number("group", 8, "by policy: covers of a brief that are compared")
    parser.number("users", 2, "users for each item of a batch")
    parser.number("dispersion", 0.5, "weight of the term that separates the covers of two users")
    parser.number("consistency", 1.0, "weight of consistent condition, which keeps text control and leaves users free")
    parser.number("kl", 0.0, "weight of KL, which keeps the whole prediction, users' part included")
    parser.number("lora", 0, "rank of low-rank weights of the denoiser; 0 = none")
    parser.add_argument("--fresh", action="store_true", help="start with a refiner that changes nothing")
    parser.add_argument("--go-on", action="store_true", help="continue even if the watch would stop")
    for name, weight in WEIGHTS.items():
        parser.number(name, weight, f"weight of the {name} reward")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    steps, batch = (2, 4) if args.smoke else (args.steps, args.batch)
    config: personalise.AlignConfig | grpo.PolicyConfig = personalise.AlignConfig(
        users=args.users, dispersion=args.dispersion, consistency=args.consistency, kl=args.kl, lora=args.lora
    )
    if args.by == "policy":
        config = grpo.PolicyConfig(group=batch if args.smoke else args.group)
        if not 2 <= config.group <= batch:
            parser.error(f"--group {config.group}; allowed: 2 to --batch {batch}")
    fit = Fit(steps, args.lr, batch, args.seed, warmup=min(20, steps), save_every=max(1, steps // 3))
    subjects = procedural() if args.smoke else load_subjects(args.art)
    weights = {name: getattr(args, name) for name in WEIGHTS}
    sizes = SMOKE if args.smoke else FULL
    print(json.dumps(run(args.out, subjects, sizes, fit, config, weights, args.fresh, args.go_on)))
