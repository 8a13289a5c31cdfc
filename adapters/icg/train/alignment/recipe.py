"""Recipe 9: align the starter's refiner and connector to its rewards, for SIMULATED users.

    icg train alignment --art node_modules --out runs/alignment [--steps 300] [--dispersion 0.5] [--fresh] [--smoke]
    icg train alignment --art node_modules --out runs/engaging --engagement 3 --aesthetic 0.5 [--by policy]

Rewards are standardised by what they say of covers before training. Leaves OUT/adapter, OUT/watch.jsonl, a contact sheet a
look, and what was followed as OUT/weights.json and OUT/scales.json.
With --fresh the refiner begins by changing nothing, as after connector pre-training without users: all it comes to know of them it
learns here. By policy (icg.train.alignment.grpo) rewards are asked for values alone, and there is no
dispersion term: the preference reward is
what keeps users apart. The last line is one JSON object: held-out figures before and after.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from icg import starter
from icg.adapter.refiner import Refiner
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
from icg.train.loop import Fit
from icg.train.starter.tokenizer import variation
from icg.users.examples import examples

WEIGHTS = {"preference": 3.0, "relevance": 1.0, "aesthetic": 0.1, "engagement": 0.0}
"""With equal weights relevance is bought with preference: see the project's log. Engagement is asked, and watched, only with a weight."""


@dataclass(frozen=True)
class Sizes:
    """Covers the simulated users behave on, users, how many of them are held out, covers looked at."""

    covers: int
    users: int
    held_out: int
    watched: int


FULL, SMOKE = Sizes(4_000, 1_500, 200, 96), Sizes(40, 12, 4, 8)
FEW = 4
"""Denoising steps while training: where the gradient enters, four are as good as eight, and twice as fast."""


class Source:
    """Briefs of subjects for users: title alone, or title and picture."""

    def __init__(self, subjects: list[Subject], users: np.ndarray, each: int, steps: int = Brief.steps) -> None:
        self.subjects, self.users, self.each, self.steps = subjects, users, each, steps

    def __call__(self, rng: np.random.Generator, count: int) -> list[Brief]:
        """`count` briefs, `each` users in a row about one item."""
        out = []
        for _ in range(count // self.each):
            subject = self.subjects[int(rng.integers(len(self.subjects)))]
            title = variation(subject.title, int(rng.integers(0, 10)))
            sprite = subject.sprites[STYLES[int(rng.integers(len(STYLES)))]]
            pictures = (on_white(sprite),) if rng.random() < 0.5 else ()
            seed = int(rng.integers(1 << 31))  # one noise for all users of an item: only their tastes part their covers
            for user in rng.choice(len(self.users), self.each, replace=False):
                out.append(Brief(title, pictures, self.users[user], seed=seed, steps=self.steps))
        return out


def simulated_users(parts: Starter, subjects: list[Subject], sizes: Sizes, seed: int) -> np.ndarray:
    """(U, D) user embeddings as the services make them, after histories of SIMULATED behaviour of many lengths."""
    rng = np.random.default_rng((seed, 5))
    bank = build(subjects, sizes.covers, seed + 11)
    covers = parts.embedding.covers([Image.fromarray(i) for i in bank.images])
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    log, _ = simulate(population(sizes.users, rng), bank.look, themes[bank.subject], 30, rng)
    given = examples(log, rng)
    have = np.diff(given.start)[: sizes.users]
    known = (have * rng.uniform(0.3, 1.0, len(have))).astype(int)
    users = mean_embeddings(given, np.arange(len(have)), known, covers)
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
    """Align the shipped starter, by policy where `config` is one; {"before", "after"}: what the watch saw first and last.

    fit.batch: covers a step. `go_on`: also when the watch would stop. IcgError for a weight of an unknown reward.
    """
    if unknown := sorted(set(weights) - set(WEIGHTS)):
        raise IcgError(f"weights for {unknown}; allowed: {sorted(WEIGHTS)}")
    weights = {name: weight for name, weight in weights.items() if weight}
    parts = starter.load()
    if "engagement" in weights:
        parts.rewards["engagement"] = Engagement.from_pretrained(starter.path() / "engagement")
    if fresh:
        silence(parts.pipeline.adapter.refiner)
    parts.rewards["relevance"] = Recognition(parts.embedding, [s.title for s in subjects if not s.held_out])
    people = simulated_users(parts, [s for s in subjects if not s.held_out], sizes, fit.seed)
    seen, unseen = ([s for s in subjects if s.held_out == held] for held in (False, True))
    each = 1 if isinstance(config, grpo.PolicyConfig) else config.users
    train = Source(seen, people[sizes.held_out :], each, FEW)
    rng = np.random.default_rng((fit.seed, 6))
    asked = Source(seen, people[: sizes.held_out], 2)(rng, sizes.watched // 2)
    asked += Source(unseen or seen, people[: sizes.held_out], 2)(rng, sizes.watched // 2)
    covers = [c for i in range(0, len(asked), 16) for c in parts.pipeline(asked[i : i + 16])]
    values = {name: reward(covers, asked) for name, reward in parts.rewards.items()}
    scales = {name: (float(v.mean()), max(float(v.std()), 1e-3)) for name, v in values.items()}
    mix = Mix(parts.rewards, weights, scales)
    (out / "scales.json").write_text(json.dumps(scales, indent=2))
    (out / "weights.json").write_text(json.dumps(weights, indent=2))
    embedding = parts.embedding
    titles = [b.title for b in asked]
    among = list(dict.fromkeys([*titles, *(s.title for s in seen)]))[:100]
    figures = {
        "between_users": lambda covers: spread(embedding, covers, "dispersion_ratio"),
        "along_taste": lambda covers: along_taste(embedding.covers(covers), asked),
        "title_top5": lambda covers: retrieval(embedding, covers, titles, among)["top5"],
    }
    watch = Watch(
        out / "watch.jsonl", asked, parts.rewards, lambda images: embedding.features(images).numpy(), figures=figures,
        stops=not go_on,
    )  # fmt: skip
    if isinstance(config, grpo.PolicyConfig):
        learned = grpo.Policy(parts.pipeline, lambda *made: mix(*made).total, config)
        grpo.run(out, learned, lambda rng, covers: train(rng, covers // config.group), fit, watch)
    else:
        aligner = personalise.Aligner(parts.pipeline, mix, JointJudge(parts.embedding).covers, config)
        personalise.run(out, aligner, train, fit, watch)
    looks = [json.loads(line) for line in watch.path.read_text().splitlines()]
    return {"before": looks[0], "after": looks[-1]}


def along_taste(looks: np.ndarray, briefs: list[Brief]) -> float:
    """looks (B, D), two covers of each item -> mean distance along what parts the two users' tastes; 0 where covers part at random."""
    users = np.stack([b.user_embedding for b in briefs if b.user_embedding is not None])
    parted = users[::2] - users[1::2]
    margin = ((looks[::2] - looks[1::2]) * parted).sum(1) / np.maximum(np.linalg.norm(parted, axis=1), 1e-6)
    return float(margin.mean())


def silence(refiner: Refiner) -> None:
    """Its change of the tokens becomes zero, and can still be learned."""
    for last in (refiner.attend.out_proj, refiner.mlp[-1]):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train alignment`."""
    parser = Flags(__name__, __doc__, art="unless smoke", steps=300, batch=16, lr=1e-4)
    parser.add_argument("--by", choices=["gradient", "policy"], default="gradient", help="how rewards are followed")
    parser.number("group", 8, "by policy: covers of a brief that are compared")
    parser.number("users", 2, "users that each item of a batch is drawn for")
    parser.number("dispersion", 0.5, "weight of keeping the covers of two users apart")
    parser.number("consistency", 1.0, "weight of keeping text control")
    parser.number("lora", 0, "rank of weights that the denoiser learns; 0 = none")
    parser.add_argument("--fresh", action="store_true", help="begin with a refiner that changes nothing")
    parser.add_argument("--go-on", action="store_true", help="do not stop when the watch says so")
    for name, weight in WEIGHTS.items():
        parser.number(name, weight, f"weight of the {name} reward")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    steps, batch = (2, 4) if given.smoke else (given.steps, given.batch)
    config: personalise.AlignConfig | grpo.PolicyConfig = personalise.AlignConfig(
        users=given.users, dispersion=given.dispersion, consistency=given.consistency, lora=given.lora
    )
    if given.by == "policy":
        config = grpo.PolicyConfig(group=batch if given.smoke else given.group)
        if not 2 <= config.group <= batch:
            parser.error(f"--group {config.group}; allowed: 2 to --batch {batch}")
    fit = Fit(steps, given.lr, batch, given.seed, warmup=min(20, steps), save_every=max(1, steps // 3))
    subjects = procedural() if given.smoke else load_subjects(given.art)
    weights = {name: getattr(given, name) for name in WEIGHTS}
    sizes = SMOKE if given.smoke else FULL
    print(json.dumps(run(given.out, subjects, sizes, fit, config, weights, given.fresh, given.go_on)))
