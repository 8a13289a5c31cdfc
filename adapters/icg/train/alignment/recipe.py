"""Recipe 9: align a checkpoint's refiner and connector to its rewards, for its users.

    icg train alignment --checkpoint mine --data shop --out runs/alignment [--device cuda] [--checkpointing]
    icg train alignment --art node_modules --out runs/alignment [--steps 300] [--dispersion 0.5] [--fresh] [--smoke]
    icg train alignment --art node_modules --out runs/engaging --engagement 3 --aesthetic 0.5 [--by policy]

--data: a catalogue with its events, as `eyecatch export` writes them; users are embedded as the services do. --art: the starter's art with
SIMULATED users. Covers are drawn at the size that CHECKPOINT names. An interrupted run resumes. Rewards are standardised by their values
for covers before training. Writes OUT/adapter, OUT/watch.jsonl, a contact sheet a look, and the rewards' weights and scales as
OUT/weights.json and OUT/scales.json.
With --fresh the refiner changes nothing at first, as after connector pre-training without users: it learns everything about users here.
By policy (icg.train.alignment.grpo), rewards need no gradients, and there is no dispersion term: the preference reward separates users.
The last line is one JSON object: held-out figures before and after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from icg import starter
from icg.brief import Brief
from icg.checkpoints import check_device
from icg.data.art import load_subjects, procedural
from icg.errors import IcgError
from icg.evaluate.judges import retrieval
from icg.evaluate.personalisation import spread
from icg.evaluate.reward_hacking import Watch
from icg.rewards.engagement import Engagement
from icg.rewards.joint import JointJudge
from icg.rewards.mix import Mix
from icg.rewards.relevance import Recognition, Relevance
from icg.starter import Starter
from icg.train.alignment import grpo
from icg.train.alignment import reward_gradient as personalise
from icg.train.alignment.material import BriefSource, Material, Sizes, of_catalogue, simulated
from icg.train.flags import Flags
from icg.train.loop import Fit, train

WEIGHTS = {"preference": 3.0, "relevance": 1.0, "aesthetic": 0.1, "engagement": 0.0}
"""With equal weights relevance costs preference: see the project's log. Engagement is computed and watched only with a weight."""
KNOWS = 0.2
"""Least share of a catalogue's titles that relevance must find among the first twentieth, by chance a twentieth, to have a weight."""
FULL, SMOKE = Sizes(4_000, 1_500, 200, 96), Sizes(40, 12, 4, 8)
FEW = 4
"""Denoising steps while training: for the gradient four are as good as eight, and twice as fast."""


def run(
    out: Path,
    parts: Starter,
    material: Material,
    watched: int,
    fit: Fit,
    config: personalise.AlignConfig | grpo.PolicyConfig,
    weights: dict[str, float],
    fresh: bool = False,
    go_on: bool = False,
) -> dict[str, dict[str, float]]:
    """Align a checkpoint, by policy if `config` is a PolicyConfig. {"before", "after"}: the watch's first and last figures.

    fit.batch: covers a step. watched: number of covers that are watched. go_on: continue even if the watch would stop. A weight of a
    reward that the checkpoint has not is left out. Raises IcgError for a weight of an unknown reward.
    """
    if unknown := sorted(set(weights) - set(WEIGHTS)):
        raise IcgError(f"weights for {unknown}; allowed: {sorted(WEIGHTS)}")
    weights = {name: weight for name, weight in weights.items() if weight and name in parts.rewards}
    parts = replace(parts, pipeline=parts.pipeline.whole())
    if fresh:
        parts.pipeline.adapter.refiner.silence()
    each = 1 if isinstance(config, grpo.PolicyConfig) else config.users
    knobs = parts.pipeline.settings.knobs()
    people, judges = material.users[material.held_out :], material.users[: material.held_out]
    train_briefs = BriefSource(material.trained, people, each, **knobs | {"steps": FEW})
    rng = np.random.default_rng((fit.seed, 6))
    briefs = [
        brief
        for items in (material.trained, material.unseen)
        for brief in BriefSource(items, judges, 2, **knobs)(rng, watched // 2)
    ]
    covers = [c for i in range(0, len(briefs), fit.batch) for c in parts.pipeline(briefs[i : i + fit.batch])]
    values = {name: reward(covers, briefs) for name, reward in parts.rewards.items()}
    scales = {name: (float(v.mean()), max(float(v.std()), 1e-3)) for name, v in values.items()}
    mix = Mix(parts.rewards, weights, scales)
    (out / "scales.json").write_text(json.dumps(scales, indent=2))
    (out / "weights.json").write_text(json.dumps(weights, indent=2))
    embedding = parts.embedding
    titles = [b.title for b in briefs]
    among = list(dict.fromkeys([*titles, *material.titles]))[: max(100, len(titles))]
    figures = {
        "between_users": lambda covers: spread(embedding, covers, "dispersion_ratio"),
        "along_taste": lambda covers: along_taste(embedding.covers(covers), briefs),
        "title_top5": lambda covers: retrieval(embedding, covers, titles, among)["top5"],
    }
    watch = Watch(
        path=out / "watch.jsonl",
        briefs=briefs,
        batch=fit.batch,
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
    parser = Flags(__name__, __doc__, art="maybe", steps=300, batch=16, lr=1e-4)
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
    parser.add_argument(
        "--checkpoint", type=Path, default=starter.path(), help="folder to align (default: the starter)"
    )
    parser.add_argument("--data", type=Path, help="folder with items.csv (.jsonl, .parquet), events, optionally covers")
    parser.add_argument("--user-embeddings", type=Path, help="with --data: table of users' own vectors")
    parser.add_argument("--user-map", type=Path, help="their map: a file of eyecatch embeddings fit --out")
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, more time")
    parser.number("watched", FULL.watched, "held-out covers that are drawn at each look")
    args = parser.parse_args(argv)
    if not args.smoke and (args.data is None) == (args.art is None):
        parser.error("--data or --art is needed, not both")
    if (args.user_embeddings is None) != (args.user_map is None):
        parser.error("--user-embeddings and --user-map are given together or not at all")
    args.out.mkdir(parents=True, exist_ok=True)
    steps, batch = (2, 4) if args.smoke else (args.steps, args.batch)
    config: personalise.AlignConfig | grpo.PolicyConfig = personalise.AlignConfig(
        users=args.users, dispersion=args.dispersion, consistency=args.consistency, kl=args.kl, lora=args.lora
    )
    if args.by == "policy":
        config = grpo.PolicyConfig(group=batch if args.smoke else args.group)
        if not 2 <= config.group <= batch:
            parser.error(f"--group {config.group}; allowed: 2 to --batch {batch}")
    weights = {name: getattr(args, name) for name in WEIGHTS}
    fit = Fit(steps, args.lr, batch, args.seed, warmup=min(20, steps), save_every=max(1, steps // 3))
    parts = starter.load(args.checkpoint)
    if args.data is not None:
        vectors = (args.user_embeddings, args.user_map) if args.user_map is not None else None
        material = of_catalogue(args.checkpoint, args.data, args.out, args.seed, vectors)
    else:
        subjects = procedural() if args.smoke else load_subjects(args.art)
        material = simulated(parts, subjects, SMOKE if args.smoke else FULL, args.seed)
    rewards(parts, material, weights)
    where(parts, args.device, args.checkpointing)
    watched = SMOKE.watched if args.smoke else args.watched
    print(json.dumps(run(args.out, parts, material, watched, fit, config, weights, args.fresh, args.go_on)))


def rewards(parts: Starter, material: Material, weights: dict[str, float]) -> None:
    """Add the rewards that alignment needs to those of `parts`. Relevance gets no weight where it does not know the catalogue's titles."""
    if weights["engagement"]:
        parts.rewards["engagement"] = Engagement.from_pretrained(parts.root / "engagement")
    if type(parts.rewards["relevance"]) is Relevance:
        parts.rewards["relevance"] = Recognition(parts.embedding, material.titles)
        if material.recognised is not None and material.recognised < KNOWS:
            weights["relevance"] = 0.0
            print(f"relevance finds {material.recognised:.2f} of titles among the first twentieth: it gets no weight")


def where(parts: Starter, device: str, checkpointing: bool) -> None:
    """Move the pipeline to its device. Raises CheckpointError for one that does not exist."""
    pipeline = parts.pipeline
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    at = check_device(name)
    pipeline.to(at, torch.bfloat16 if at.type == "cuda" else None)
    if checkpointing:
        pipeline.family.denoiser.enable_gradient_checkpointing()  # gradients pass through it, though it is frozen
