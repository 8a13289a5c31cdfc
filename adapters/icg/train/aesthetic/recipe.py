"""Recipe: the small aesthetic. A head on picture statistics learns to rank covers above damaged copies of themselves.

    icg train aesthetic --art node_modules --out runs/aesthetic

No labels: the order clean > mildly > severely damaged is the supervision, within a cover and across covers (else the head would rank
palettes, not damage). Evaluated on unseen subjects, and each kind of damage by heads that were trained without that kind; compared with
single statistics and with a head trained on shuffled orders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icg.data.art import Subject, load_subjects, procedural
from icg.data.bank import AXES, look_of
from icg.data.compose import SIDE, compose, stable_seed
from icg.rewards.base import pixels
from icg.rewards.small_aesthetic import AestheticHead
from icg.rewards.statistics import NAMES, statistics
from icg.train.aesthetic.degrade import DAMAGES, finished
from icg.train.aesthetic.scenes import scene
from icg.train.flags import Flags
from icg.train.loop import Fit, train

MILD, SEVERE = (0.1, 0.4), (0.6, 1.0)
BASELINES = ("sharpness", "colourfulness", "contrast", "edges_1", "saturation")
PAIRS = ((0, 1), (1, 2), (0, 2))
"""(better, worse) among (clean, mild, severe)."""


@dataclass(frozen=True)
class AestheticTraining:
    """`covers` to train on with `kinds` damages each, a share `scenes` of them on noise instead of a backdrop; `judged` covers of unseen
    subjects with all damages; `seeds` a figure."""

    covers: int = 1500
    kinds: int = 4
    judged: int = 180
    seeds: int = 3
    hidden: int = 32
    scenes: float = 0.4


@dataclass(frozen=True)
class Triples:
    """`measured` (M, 3, F): statistics of a cover, mildly and severely damaged; `kind` (M,) indexes DAMAGES."""

    measured: np.ndarray
    kind: np.ndarray


def draw(subjects: list[Subject], among: list[int], covers: int, kinds: int, seed: int, scenes: float = 0.0) -> Triples:
    """Compose covers of the subjects `among`, damage each in `kinds` ways and measure; every kind about equally often.

    Clutter uses the same subjects, so that no held-out subject is used.
    """
    rng, art = np.random.default_rng(seed), [subjects[i].sprites["3d"] for i in among]
    pictures, which = [], []
    for n in range(covers):
        subject = subjects[among[n % len(among)]]
        look = look_of(np.array([rng.integers(len(axis)) for axis in AXES]))
        sprite = subject.sprites[look.style]
        if rng.random() < scenes:
            big = scene(sprite, look.framing, rng, 2 * SIDE)
        else:
            big = compose(sprite, look, stable_seed("aesthetic", seed, n), 2 * SIDE)
        for k in rng.permutation(len(DAMAGES))[:kinds]:
            damage, damage_seed = list(DAMAGES.values())[k], int(rng.integers(2**31))
            pictures.append(finished(big))
            for span in (MILD, SEVERE):
                severity = rng.uniform(*span)
                pictures.append(damage(big, look, severity, np.random.default_rng(damage_seed), art))
            which.append(k)
    with torch.inference_mode():
        rows = [statistics(pixels(pictures[i : i + 256], SIDE)) for i in range(0, len(pictures), 256)]
    return Triples(torch.cat(rows).numpy().reshape(-1, 3, len(NAMES)), np.array(which))


def load_or_draw(path: Path, *drawing: Any) -> Triples:
    """Read the triples at `path`; draw them by `draw(*drawing)` and save them if they are missing."""
    if path.exists():
        with np.load(path) as z:
            return Triples(z["measured"], z["kind"])
    triples = draw(*drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, measured=triples.measured, kind=triples.kind)
    return triples


def ranking_loss(scores: Tensor) -> Tensor:
    """scores (B, 3) of clean, mild and severe -> mean logistic loss of every pair, within and across covers."""
    other = scores.roll(1, 0)
    within = [F.softplus(scores[:, b] - scores[:, a]) for a, b in PAIRS]
    across = [F.softplus(other[:, b] - scores[:, a]) for a, b in PAIRS]
    return torch.stack(within + across).mean()


def fitted(
    folder: Path, triples: Triples, fit: Fit, config: AestheticTraining, shuffled: bool = False
) -> AestheticHead:
    """Train a head, then standardise its output over all pictures. shuffled: permute each triple's order, as a control."""
    torch.manual_seed(fit.seed)
    head = AestheticHead(config.hidden)
    measured = torch.from_numpy(triples.measured).float()
    if shuffled:
        order = np.random.default_rng(fit.seed).permuted(np.tile(np.arange(3), (len(measured), 1)), axis=1)
        measured = torch.gather(measured, 1, torch.from_numpy(order)[..., None].expand_as(measured))
    flat = measured.flatten(0, 1)
    head.mean, head.deviation = flat.mean(0), flat.std(0).clamp(min=1e-3)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = measured[torch.from_numpy(rng.integers(0, len(measured), fit.batch))]
        return {"loss": ranking_loss(head(batch.flatten(0, 1)).unflatten(0, (-1, 3)))}

    train(folder, head, fit, step, config)
    with torch.no_grad():
        raw = head(flat)
        head.scale = torch.stack([raw.mean(), raw.std().clamp(min=1e-3)])
    return head.eval()


def right(scores: np.ndarray) -> float:
    """scores (M, 3) -> share of pairs in the right order; a tie counts half."""
    marks = [(scores[:, a] > scores[:, b]) + 0.5 * (scores[:, a] == scores[:, b]) for a, b in PAIRS]
    return float(np.mean(marks))


@torch.inference_mode()
def scored(head: AestheticHead, triples: Triples) -> np.ndarray:
    """(M, 3) logits."""
    return head(torch.from_numpy(triples.measured).float().flatten(0, 1)).unflatten(0, (-1, 3)).numpy()


def only(triples: Triples, keep: np.ndarray) -> Triples:
    return Triples(triples.measured[keep], triples.kind[keep])


def evidence(out: Path, training: Triples, judged: Triples, fit: Fit, config: AestheticTraining) -> dict[str, object]:
    """For each kind of damage, by heads trained without it: share of pairs in the right order, for all seeds."""
    kinds: dict[str, dict[str, object]] = {}
    for k, kind in enumerate(DAMAGES):
        test = only(judged, judged.kind == k)
        others = only(training, training.kind != k)
        runs: dict[str, list[float]] = {"unseen_kind": [], "shuffled": []}
        for seed in range(fit.seed, fit.seed + config.seeds):
            again = Fit(fit.steps, fit.lr, fit.batch, seed, fit.warmup)
            for name, values in runs.items():
                head = fitted(out / "folds" / f"{kind}-{name}-{seed}", others, again, config, name == "shuffled")
                values.append(right(scored(head, test)))
        single = {n: round(right(test.measured[:, :, NAMES.index(n)]), 3) for n in BASELINES}
        kinds[kind] = {n: [round(v, 3) for v in values] for n, values in runs.items()} | {"single": single}
    return {"kinds": kinds, "mean": _means(kinds)}


def _means(kinds: dict[str, dict[str, object]]) -> dict[str, list[float]]:
    """Mean over kinds, then (mean, deviation over seeds); single statistics have no seed."""
    rows = {n: np.array([k[n] for k in kinds.values()]).mean(0) for n in ("unseen_kind", "shuffled")}
    single = {n: np.array([k["single"][n] for k in kinds.values()]).mean(keepdims=True) for n in BASELINES}  # type: ignore[index]
    return {n: [round(float(v.mean()), 3), round(float(v.std()), 3)] for n, v in (rows | single).items()}


def run(out: Path, subjects: list[Subject], fit: Fit, config: AestheticTraining) -> dict[str, object]:
    """Draw, train, evaluate; writes out/aesthetic (the weights) and out/report.json, which is also returned."""
    train_on = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out] or train_on
    training = load_or_draw(out / "seen.npz", subjects, train_on, config.covers, config.kinds, fit.seed, config.scenes)
    judged = load_or_draw(out / "judged.npz", subjects, unseen, config.judged, len(DAMAGES), fit.seed + 1)
    head = fitted(out / "head", training, fit, config)
    head.save_pretrained(out / "aesthetic")
    scores = scored(head, judged)
    report: dict[str, object] = {"unseen_subjects": len(unseen), "pairs_a_kind": 3 * config.judged}
    report["known_kinds"] = {k: round(right(scores[judged.kind == i]), 3) for i, k in enumerate(DAMAGES)}
    report["known_kinds_mean"] = round(right(scores), 3)
    report["clean_above_any_severe"] = round(float((scores[:, :1] > scores[:, 2]).mean()), 3)
    report |= evidence(out, training, judged, fit, config)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train aesthetic`."""
    parser = Flags(__name__, __doc__, art="maybe")
    args = parser.parse_args(argv)
    fit, config = Fit(steps=400, lr=3e-3, batch=192, seed=args.seed, warmup=50), AestheticTraining()
    if args.smoke:
        fit, config = Fit(steps=20, lr=3e-3, batch=32, seed=args.seed, warmup=5), AestheticTraining(24, 6, 6, 1)
    subjects = procedural() if args.smoke or args.art is None else load_subjects(args.art)
    print(json.dumps(run(args.out, subjects, fit, config)["mean"]))
