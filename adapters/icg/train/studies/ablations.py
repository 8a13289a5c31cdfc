"""Recipe 10: whether each part of the adapter is useful. New refiners and connectors on the frozen starter, equally trained.

    icg train ablations --art node_modules --out runs/ablations [--steps 400] [--seeds 3] [--smoke]

`pooled` has no meta tokens: the VLM's mean hidden state is the item. `concatenated` has no refiner: the user's tokens follow the item's.
All start from random weights, train on the same covers in the same order, and are evaluated on held-out users, with unseen subjects
separate. Users are SIMULATED. The last line is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from icg import starter
from icg.adapter.model import AdapterConfig, IcgAdapter
from icg.adapter.refiner import Refiner
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white, procedural
from icg.data.bank import Bank, build
from icg.draw.pipeline import CoverPipeline
from icg.evaluate.judges import draw, personalisation, retrieval
from icg.evaluate.looks import LookJudge
from icg.evaluate.personalisation import brief
from icg.models import vlm as reading
from icg.starter import Starter
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.starter.diffusion import flow_loss
from icg.train.starter.simulated_users import Crowd


class ConcatenatedUser(Refiner):
    """No refiner: the user's slots follow the item's tokens, (B, M, D) -> (B, M + slots, D)."""

    def forward(self, tokens: Tensor, user: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        keys = self.spread(user * user.shape[-1] ** 0.5).unflatten(-1, (self.slots, -1))
        gate = torch.as_tensor(strength, dtype=tokens.dtype) * user.norm(dim=-1).clamp(max=1)
        return torch.cat([tokens, gate.reshape(-1, 1, 1) * keys], 1)


class Concatenated(IcgAdapter):
    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.refiner = ConcatenatedUser(config.vlm, config.user, config.slots, config.heads)


class PlacedConnector(nn.Module):
    """Adds a trained vector to each copy of the pooled state, before the connector."""

    def __init__(self, connector: nn.Module, config: AdapterConfig) -> None:
        super().__init__()
        self.connector, self.place = connector, nn.Parameter(torch.randn(config.tokens, config.vlm) * 0.5)

    def forward(self, tokens: Tensor) -> Any:
        return self.connector(tokens + self.place)


class Pooled(IcgAdapter):
    """No meta tokens: the mean of the prompt's last hidden states, copied for each token."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(config)
        self.connector = PlacedConnector(self.connector, config)  # type: ignore[assignment]

    def read(self, vlm: Any, inputs: dict[str, Tensor]) -> Tensor:
        mask = inputs["attention_mask"][..., None]
        hidden = vlm.model(**inputs, use_cache=False).last_hidden_state * mask
        mean = hidden.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return self.standard(mean.expand(-1, self.config.tokens, -1))


VARIANTS: dict[str, type[IcgAdapter]] = {"full": IcgAdapter, "pooled": Pooled, "concatenated": Concatenated}


@dataclass(frozen=True)
class AblationSizes:
    """Covers for training, covers and subjects for evaluation."""

    covers: int
    judged: int
    subjects: int


FULL, SMOKE = AblationSizes(6_000, 600, 60), AblationSizes(48, 40, 4)


@dataclass(frozen=True, eq=False)
class EncodedBank:
    """A bank with its latents (N, C, h, w) at unit deviation and cover embeddings (N, 64)."""

    bank: Bank
    latents: Tensor
    covers: np.ndarray

    @classmethod
    @torch.inference_mode()
    def encode(cls, parts: Starter, bank: Bank) -> EncodedBank:
        images = [Image.fromarray(i) for i in bank.images]
        pixels = [torch.from_numpy(bank.images[i : i + 64]).permute(0, 3, 1, 2) for i in range(0, len(bank), 64)]
        latents = torch.cat([parts.pipeline.family.encode(p.float() / 127.5 - 1) for p in pixels])
        return cls(bank, latents.clone(), parts.embedding.covers(images))


class AblationModel(nn.Module):
    """A new adapter and the frozen denoiser; `items` (subjects, 2, M, D_vlm): read with a picture, and by the title alone."""

    def __init__(self, kind: str, parts: Starter, subjects: list[Subject], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        shipped = parts.pipeline.adapter
        self.adapter = VARIANTS[kind](shipped.config)
        self.adapter.meta_tokens.load_state_dict(shipped.meta_tokens.state_dict())
        self.adapter.meta_tokens.requires_grad_(False)
        self.denoiser = [parts.pipeline.family.denoiser]  # in a list, so that it is neither trained nor saved
        self.items = self._items(parts.pipeline, subjects)

    @torch.inference_mode()
    def _items(self, pipeline: CoverPipeline, subjects: list[Subject]) -> Tensor:
        rows = []
        for n, subject in enumerate(subjects):
            for pictures in ((on_white(subject.sprites[STYLES[n % len(STYLES)]]),), ()):
                inputs = reading.inputs(pipeline.processor, subject.title, pictures)
                rows.append(self.adapter.read(pipeline.vlm, inputs))
        hidden = torch.cat(rows)
        self.adapter.standardise(hidden)
        return self.adapter.standard(hidden).unflatten(0, (-1, 2)).clone()

    def loss(
        self, data: EncodedBank, crowd: Crowd, rows: np.ndarray, rng: np.random.Generator, drop: float = 0.1
    ) -> Tensor:
        """Flow loss of covers `rows` of a bank, each for a user with its look; a share `drop` without user, and one without both."""
        subject, look, count = data.bank.subject[rows], data.bank.look[rows], len(rows)
        item = self.items[torch.as_tensor(subject).long(), torch.as_tensor(rng.integers(0, 2, count))]
        users = crowd.draw(look, subject, 0.88, rng)
        left = rng.random(count)
        users[left < 2 * drop] = 0
        item = torch.where(torch.as_tensor(left < drop)[:, None, None], self.adapter.nothing, item)
        embeds, _ = self.adapter(item, torch.as_tensor(users))
        target = data.latents[torch.as_tensor(rows)]
        return flow_loss(self.denoiser[0], target, embeds, torch.ones(count, *target.shape[2:]), 0.0)


def train_variant(
    kind: str,
    parts: Starter,
    subjects: list[Subject],
    data: tuple[EncodedBank, EncodedBank],
    sizes: AblationSizes,
    fit: Fit,
    out: Path,
) -> dict[str, float]:
    """Train one variant with one seed, then evaluate it."""
    model = AblationModel(kind, parts, subjects, fit.seed)
    known, other = data
    crowds = Crowd(known.bank, known.covers), Crowd(known.bank, known.covers)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"loss": model.loss(known, crowds[0], rng.integers(0, len(known.bank), fit.batch), rng)}

    train(out / f"{kind}-{fit.seed}", model, fit, step)
    adapter = model.adapter.eval()
    with torch.inference_mode():
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        rows = [np.arange(i, min(i + 64, len(other.bank))) for i in range(0, len(other.bank), 64)]
        losses = [float(model.loss(other, crowds[1], r, rng, 0.0)) * len(r) for r in rows]
    pipeline = parts.pipeline
    starter = replace(parts, pipeline=CoverPipeline(pipeline.vlm, pipeline.processor, pipeline.diffusion, adapter))
    return {"held_out_loss": sum(losses) / len(other.bank), **judged(starter, subjects, known, sizes, fit.seed)}


def judged(
    parts: Starter, subjects: list[Subject], known: EncodedBank, sizes: AblationSizes, seed: int
) -> dict[str, float]:
    """Figures of covers from the adapter's conditioning alone, without anchors: retrieval of titles, and personalisation."""
    rng, out = np.random.default_rng((seed, 9)), dict[str, float]()
    titles = [s.title for s in subjects]
    for name, held in (("seen", False), ("unseen", True)):
        group = [s for s in subjects if s.held_out == held] or subjects
        group = [group[i] for i in rng.permutation(len(group))[: sizes.subjects]]
        group_titles = [s.title for s in group]
        among = group_titles + [t for t in titles if t not in group_titles][: 100 - len(group_titles)]
        users = known.covers[rng.integers(0, len(known.covers), len(group))]
        for kind in ("_title_only", "_read_only"):
            covers = draw(
                parts, [brief(parts, kind, s, u, n) for n, (s, u) in enumerate(zip(group, users, strict=True))]
            )
            out[f"title_top5_{name}{kind}"] = retrieval(parts.embedding, covers, group_titles, among)["top5"]
        if not held:
            themes = np.array([CATEGORIES.index(s.category) for s in subjects])
            part = Bank(*(c[: sizes.judged] for c in (known.bank.images, known.bank.subject, known.bank.look)))
            look_judge = LookJudge(lambda images: parts.embedding.features(images).numpy(), part)
            read_only = partial(brief, parts, "_read_only")
            figures = personalisation(parts, {"": look_judge}, part, group, themes, read_only, seed)
            out |= {name: figures[name] for name in ("own_over_swapped", "own_over_swapped_model", "shuffled_control")}
    return out


def run(
    out: Path, subjects: list[Subject], sizes: AblationSizes, fit: Fit, seeds: int, kinds: list[str]
) -> dict[str, dict[str, list[float]]]:
    """{variant: {figure: [mean, deviation over seeds]}}; figures of finished runs are appended to out/figures.jsonl."""
    parts = starter.load()
    groups = [[i for i, s in enumerate(subjects) if s.held_out == held] for held in (False, True)]
    splits = ((sizes.covers, groups[0]), (sizes.judged, groups[1] or groups[0]))
    banks = [build(subjects, n, 501 + k, 1, group) for k, (n, group) in enumerate(splits)]
    data = EncodedBank.encode(parts, banks[0]), EncodedBank.encode(parts, banks[1])
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for seed in range(seeds):
        for kind in kinds:
            figures = train_variant(kind, parts, subjects, data, sizes, replace(fit, seed=seed), out)
            rounds[kind].append(figures)
            with (out / "figures.jsonl").open("a") as file:
                file.write(json.dumps({"variant": kind, "seed": seed, **figures}) + "\n")
    return {
        kind: {name: [float(f([r[name] for r in results])) for f in (np.mean, np.std)] for name in results[0]}
        for kind, results in rounds.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train ablations`."""
    parser = Flags(__name__, __doc__, art="unless smoke", steps=400, batch=32, seeds=3)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    steps, batch, seeds = (2, 4, 1) if args.smoke else (args.steps, args.batch, args.seeds)
    subjects = procedural() if args.smoke else load_subjects(args.art, args.out / "art.npz")
    fit = Fit(steps, 1e-3, batch, warmup=min(40, steps), save_every=steps, ema=0.98)
    figures = run(args.out, subjects, SMOKE if args.smoke else FULL, fit, seeds, args.variants)
    print(json.dumps({"steps": steps, "batch": batch, "seeds": seeds, **figures}))
