"""Recipe: the small aesthetic. A head on the shipped trunk learns to rank covers and photographs above damaged copies of themselves.

    icg train aesthetic --art node_modules --photographs photographs --out runs/aesthetic

No labels: the order clean > mildly > severely damaged is the supervision, within a cover and across covers (else the head would rank
palettes, not damage). Evaluated on unseen subjects and photographs, and each kind of damage by heads that were trained without that
kind; compared with single statistics and with a head trained on shuffled orders. `icg.data.photographs` says where photographs come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from icg.checkpoints import SHIPPED
from icg.data import photographs
from icg.data.art import Subject, load_subjects, procedural
from icg.data.backdrops import scene
from icg.data.bank import AXES, look_of
from icg.data.compose import SIDE, Look, compose, stable_seed
from icg.data.degrade import COMPOSED, DAMAGES, finished
from icg.models.dual import DualEncoder
from icg.rewards.base import pixels
from icg.rewards.small_aesthetic import WIDTH, AestheticHead, measure
from icg.rewards.statistics import NAMES
from icg.train.flags import Flags
from icg.train.loop import Fit, train

MILD, SEVERE = (0.1, 0.4), (0.6, 1.0)
BASELINES = ("sharpness", "colourfulness", "contrast", "edges_1", "saturation")
PAIRS = ((0, 1), (1, 2), (0, 2))
"""(better, worse) among (clean, mild, severe)."""


@dataclass(frozen=True)
class AestheticTraining:
    """`covers` to train on with `kinds` damages each, a share `scenes` of them on noise instead of a backdrop, and `parts` of photographs;
    `judged` covers of unseen subjects with all damages, and as many parts of unseen photographs; `seeds` a figure."""

    covers: int = 900
    kinds: int = 4
    judged: int = 90
    seeds: int = 3
    hidden: int = 32
    scenes: float = 0.4
    parts: int = 900


@dataclass(frozen=True)
class Triples:
    """`measured` (M, 3, WIDTH): a cover, mildly and severely damaged; `kind` (M,) indexes DAMAGES; `photograph` (M,): not composed."""

    measured: np.ndarray
    kind: np.ndarray
    photograph: np.ndarray


Pictures = Iterable[tuple[Image.Image, Look | None]]
"""Covers at 2 SIDE with their looks, None for a part of a photograph."""
ANY = Look("painted", "mono", "dots", "close")


def composed(subjects: list[Subject], among: list[int], covers: int, seed: int, scenes: float = 0.0) -> Pictures:
    """Covers of the subjects `among`, a share `scenes` of them on noise."""
    rng = np.random.default_rng((seed, 1))
    for n in range(covers):
        subject = subjects[among[n % len(among)]]
        look = look_of(np.array([rng.integers(len(axis)) for axis in AXES]))
        sprite = subject.sprites[look.style]
        if rng.random() < scenes:
            yield scene(sprite, look.framing, rng, 2 * SIDE), look
        else:
            yield compose(sprite, look, stable_seed("aesthetic", seed, n), 2 * SIDE), look


def parts(paths: Sequence[Path], count: int, seed: int) -> Pictures:
    """`count` covers cut from photographs, equally often from each."""
    rng = np.random.default_rng((seed, 2))
    for n, path in enumerate(paths):
        image = photographs.load(path)
        for _ in range(n, count, len(paths)):
            yield photographs.cover(image, rng, 2 * SIDE), None


def draw(pictures: Pictures, art: Sequence[np.ndarray], kinds: int, seed: int) -> Triples:
    """Damage each picture in `kinds` ways and measure; every kind about equally often. art: sprites for clutter."""
    rng, trunk = np.random.default_rng(seed), DualEncoder.from_pretrained(SHIPPED / "dual").trunk
    which: list[int] = []
    photograph: list[bool] = []

    def triples() -> Iterator[Image.Image]:
        for big, look in pictures:
            allowed = [k for k, name in enumerate(DAMAGES) if look is not None or name not in COMPOSED]
            for k in rng.permutation(allowed)[:kinds]:
                damage, damage_seed = list(DAMAGES.values())[k], int(rng.integers(2**31))
                yield finished(big)
                for span in (MILD, SEVERE):
                    yield damage(big, look or ANY, rng.uniform(*span), np.random.default_rng(damage_seed), art)
                which.append(int(k))
                photograph.append(look is None)

    rows, waiting = [], iter(triples())
    with torch.inference_mode():
        while batch := list(islice(waiting, 96)):
            rows.append(measure(pixels(batch, SIDE), trunk))
    return Triples(torch.cat(rows).numpy().reshape(-1, 3, WIDTH), np.array(which), np.array(photograph))


def load_or_draw(path: Path, *drawing: Any) -> Triples:
    """Read the triples at `path`; draw them by `draw(*drawing)` and save them if they are missing."""
    if path.exists():
        with np.load(path) as z:
            return Triples(z["measured"], z["kind"], z["photograph"])
    triples = draw(*drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, measured=triples.measured, kind=triples.kind, photograph=triples.photograph)
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
    head.eval()
    with torch.no_grad():
        raw = head(flat)
        head.scale = torch.stack([raw.mean(), raw.std().clamp(min=1e-3)])
    return head


def right(scores: np.ndarray) -> float:
    """scores (M, 3) -> share of pairs in the right order; a tie counts half."""
    marks = [(scores[:, a] > scores[:, b]) + 0.5 * (scores[:, a] == scores[:, b]) for a, b in PAIRS]
    return float(np.mean(marks))


@torch.inference_mode()
def scored(head: AestheticHead, triples: Triples) -> np.ndarray:
    """(M, 3) logits."""
    return head(torch.from_numpy(triples.measured).float().flatten(0, 1)).unflatten(0, (-1, 3)).numpy()


def only(triples: Triples, keep: np.ndarray) -> Triples:
    return Triples(triples.measured[keep], triples.kind[keep], triples.photograph[keep])


def evidence(out: Path, training: Triples, judged: Triples, fit: Fit, config: AestheticTraining) -> dict[str, object]:
    """For each kind of damage, by heads trained without it: share of pairs in the right order, for all seeds."""
    kinds: dict[str, dict[str, object]] = {}
    for k, kind in enumerate(DAMAGES):
        test = only(judged, judged.kind == k)
        others = only(training, training.kind != k)
        runs: dict[str, list[float]] = {"unseen_kind": [], "shuffled": []}
        for seed in range(fit.seed, fit.seed + config.seeds):
            again = Fit(max(fit.steps // 3, 1), fit.lr, fit.batch, seed, fit.warmup)  # of so many heads, each is short
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


def run(
    out: Path, subjects: list[Subject], fit: Fit, config: AestheticTraining, camera: Path | None = None
) -> dict[str, object]:
    """Draw, train, evaluate; writes out/aesthetic (the weights) and out/report.json, which is also returned. camera: the folder of
    photographs, None to train on composed covers alone."""
    train_on = [i for i, s in enumerate(subjects) if not s.held_out]
    unseen = [i for i, s in enumerate(subjects) if s.held_out] or train_on
    taken = photographs.find(camera) if camera else {}
    sides = {
        held: [path for name, path in taken.items() if photographs.held_out(name) == held] for held in (False, True)
    }

    def pictures(among: list[int], covers: int, count: int, held: bool, scenes: float) -> Pictures:
        seed = fit.seed + held
        return chain(composed(subjects, among, covers, seed, scenes), parts(sides[held], count if taken else 0, seed))

    art, seeds = [subjects[i].sprites["3d"] for i in train_on], (fit.seed, fit.seed + 1)
    training = load_or_draw(
        out / "seen.npz",
        pictures(train_on, config.covers, config.parts, False, config.scenes),
        art,
        config.kinds,
        seeds[0],
    )
    other = [subjects[i].sprites["3d"] for i in unseen]
    judged = load_or_draw(
        out / "judged.npz", pictures(unseen, config.judged, config.judged, True, 0.0), other, len(DAMAGES), seeds[1]
    )
    head = fitted(out / "head", training, fit, config)
    head.save_pretrained(out / "aesthetic")
    scores = scored(head, judged)
    report: dict[str, object] = {"unseen_subjects": len(unseen), "unseen_photographs": len(sides[True])}
    for name, rows in (("composed", ~judged.photograph), ("photographs", judged.photograph)):
        if rows.any():
            known = {
                k: round(right(scores[rows & (judged.kind == i)]), 3)
                for i, k in enumerate(DAMAGES)
                if k not in COMPOSED
            }
            above = round(float((scores[rows][:, :1] > scores[rows][:, 2]).mean()), 3)
            report[name] = {"known_kinds": known, "mean": round(right(scores[rows]), 3), "clean_above_severe": above}
    report |= evidence(out, training, judged, fit, config)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train aesthetic`."""
    parser = Flags(__name__, __doc__, art="maybe")
    parser.add_argument("--photographs", type=Path, help="folder of the unpacked packages of icg.data.photographs")
    args = parser.parse_args(argv)
    fit, config = Fit(steps=600, lr=1e-3, batch=192, seed=args.seed, warmup=50), AestheticTraining()
    if args.smoke:
        fit, config = (
            Fit(steps=20, lr=3e-3, batch=32, seed=args.seed, warmup=5),
            AestheticTraining(24, 6, 6, 1, parts=24),
        )
    subjects = procedural() if args.smoke or args.art is None else load_subjects(args.art)
    print(json.dumps(run(args.out, subjects, fit, config, args.photographs)["mean"]))
