"""Recipe: the judge of product pictures, RFNet with its cues, on drawn scenes (arXiv:2408.00418, RFNet's section).

    icg train rfnet --art node_modules --out runs/reliability [--scenes 24000] [--epochs 10] [--smoke]
    icg train rfnet --art node_modules --out runs/reliability --leave-out depth saliency | --coarse | --plain

Depth and saliency are learned from the scenes' true ones; RFNet is trained with the small networks' outputs, as in serving. Half of its
pictures are scenes through the starter's autoencoder with the product pasted. Writes OUT/judge; the last line is one JSON object.
For comparison, on the same scenes and cues: a network without some inputs (OUT/judge-without-depth-saliency), of two classes, or the
picture's encoder alone with a linear layer (OUT/judge-plain) and as many weights as RFNet, like the paper's ResNet.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icg import starter
from icg.data.art import load_subjects
from icg.errors import IcgError
from icg.reliability.config import CUES, PICTURE, VARIANTS, RFNetConfig
from icg.reliability.cues import SmallCues
from icg.reliability.judge import GROUND, Judge
from icg.reliability.metrics import Quality, best_threshold, quality, softmax, temperature
from icg.reliability.rfnet import RFNet
from icg.reliability.scenes.scene_bank import SceneBank
from icg.reliability.scenes.scenes import Scenes
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.reliability.drawn_scenes import AutoencodedScenes

SMOKE_SIDE = 32
STUDIOS = 0.5
"""Share of the scenes that are like the starter's studios."""


@dataclass(frozen=True, eq=False)
class ScenePart:
    """Scenes, and some of them through the starter's autoencoder."""

    bank: SceneBank
    autoencoded: AutoencodedScenes

    def batch(self, rows: np.ndarray, redrawn: np.ndarray, side: int) -> tuple[Tensor, Tensor, list[str], Tensor]:
        """rows (B,), redrawn (B,) bool -> pictures and products (B, 3, side, side) in [-1, 1], captions, labels (B,)."""
        use = redrawn & (rows < len(self.autoencoded.label))
        sources = [self.autoencoded if u else self.bank for u in use]
        pictures = np.stack([source.picture[r] for r, source in zip(rows, sources, strict=True)])
        cut = self.bank.product[rows].astype(np.float32)
        alpha = cut[..., 3:] / 255
        both = np.concatenate([pictures.astype(np.float32), cut[..., :3] * alpha + GROUND * (1 - alpha)])
        both = torch.from_numpy(both).permute(0, 3, 1, 2)
        both = F.interpolate(both, (side, side), mode="bilinear", antialias=True)
        images, products = (both / 127.5 - 1).chunk(2)
        label = [int(source.label[r]) for r, source in zip(rows, sources, strict=True)]
        return images, products, [self.bank.captions[r] for r in rows], torch.tensor(label)


def fit_cues(folder: Path, bank: SceneBank, fit: Fit, side: int, begin: Judge | None = None) -> nn.Module:
    """Train with the distance of depths and the cross-entropy of saliency: both are in 0..1."""
    torch.manual_seed(fit.seed)
    model = SmallCues() if begin is None else begin.cues.requires_grad_(True).train()

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = np.sort(rng.integers(0, len(bank), fit.batch))
        planes = np.concatenate([bank.picture[rows], bank.depth[rows], bank.saliency[rows]], -1)
        x = torch.from_numpy(planes.astype(np.float32) / 255).permute(0, 3, 1, 2)
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        x = torch.where(torch.tensor(rng.random(fit.batch) < 0.5)[:, None, None, None], x.flip(3), x)
        depth, saliency = model(x[:, :3] * 2 - 1)
        near = F.l1_loss(depth, x[:, 3:4])
        salient = F.binary_cross_entropy(saliency, x[:, 4:].clamp(0, 1))
        return {"loss": near + 0.5 * salient, "depth": near, "saliency": salient}

    train(folder, model, fit, step)
    return model.eval().requires_grad_(False)


def fit_rfnet(folder: Path, part: ScenePart, cues: nn.Module, net: RFNet, fit: Fit) -> Judge:
    """Train with cross-entropy; half of the scenes went through the starter's autoencoder."""
    config = net.config
    judge = Judge(net, cues) if not config.coarse else _Coarse(net, cues)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        rows = np.sort(rng.integers(0, len(part.bank), fit.batch))
        pictures, products, captions, labels = part.batch(rows, rng.random(fit.batch) < 0.5, config.side)
        mirrored = torch.tensor(rng.random(fit.batch) < 0.5)[:, None, None, None]
        pictures = torch.where(mirrored, pictures.flip(3), pictures)
        products = torch.where(mirrored, products.flip(3), products)
        logits = judge.tensor(pictures, products, captions)
        loss = F.cross_entropy(logits, labels.clamp(max=1) if config.coarse else labels, label_smoothing=0.05)
        return {"loss": loss}

    cues.requires_grad_(False)
    train(folder, net.train(), fit, step, config)
    net.eval()
    return judge


class _Coarse(Judge):
    """Two classes, for the comparison only."""

    def __init__(self, rfnet: RFNet, cues: nn.Module) -> None:
        nn.Module.__init__(self)
        self.rfnet, self.cues, self.threshold, self.temperature = rfnet, cues, 0.5, 1.0


@torch.inference_mode()
def predict(judge: Judge, part: ScenePart, redrawn: bool) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, classes) and labels (N,) of the scenes, or of those through the starter's autoencoder."""
    rows = np.arange(len(part.autoencoded.label) if redrawn else len(part.bank))
    logits, labels = [], []
    for batch in np.array_split(rows, max(1, len(rows) // 64)):
        *inputs, label = part.batch(batch, np.full(len(batch), redrawn), judge.rfnet.config.side)
        logits.append(judge.tensor(*inputs))
        labels.append(label)
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()


def calibrate(judge: Judge, valid: ScenePart) -> None:
    """Set temperature and threshold from the validation scenes, both kinds."""
    parts = [predict(judge, valid, redrawn) for redrawn in (False, True)]
    logits, labels = (np.concatenate(values) for values in zip(*parts, strict=True))
    if judge.rfnet.config.coarse:
        labels = labels.clip(max=1)
    judge.temperature = temperature(logits, labels)
    judge.threshold = best_threshold(softmax(logits / judge.temperature)[:, 0], labels == 0)


def measured(judge: Judge, part: ScenePart, redrawn: bool) -> Quality:
    """Quality on held-out scenes."""
    logits, labels = predict(judge, part, redrawn)
    labels = labels.clip(max=1) if judge.rfnet.config.coarse else labels
    return quality(softmax(logits), labels, judge.threshold)


def network(config: RFNetConfig, seed: int) -> RFNet:
    """A small network; that of the picture alone has as many weights as that of all cues."""
    torch.manual_seed(seed)
    if config.cues == (PICTURE,):
        config = replace(config, channels=232 if config.fusions else 264)
    return RFNet.build(config)


def ablated(
    config: RFNetConfig, left_out: Collection[str], coarse: bool, plain: bool = False
) -> tuple[str, RFNetConfig]:
    """A suffix of its files' names, "" for the whole network, and the config: without these cues, of two classes, or `plain`, of five
    classes with the picture's encoder alone. Raises IcgError for plain with another option."""
    if plain and (left_out or coarse):
        raise IcgError(f"plain with left_out={sorted(left_out)}, coarse={coarse}; allowed: plain by itself")
    if plain:
        return "-plain", replace(config, cues=(PICTURE,), fusions=0)
    without = [cue for cue in config.cues if cue in left_out]
    name = "-".join(["", *(["without", *without] if without else []), *(["coarse"] if coarse else [])])
    return name, replace(config, cues=tuple(c for c in config.cues if c not in left_out), coarse=coarse)


def parts(
    out: Path, art: Path, count: int, redrawn: int, seed: int, sizes: tuple[int, int] = (1_500, 2_000)
) -> dict[str, ScenePart]:
    """Scenes for training, for validation (other scenes), and for the test (other products and props)."""
    subjects, family = load_subjects(art, out / "art.npz"), starter.load().pipeline.family
    result = {}
    splits = (("train", False, count), ("valid", False, sizes[0]), ("held", True, sizes[1]))
    for n, (name, held, many) in enumerate(splits):
        bank = SceneBank.draw(out / "scenes" / name, Scenes(subjects, held, studios=STUDIOS), seed + n + 1, many)
        result[name] = ScenePart(bank, AutoencodedScenes.draw(out / "scenes" / name, bank, family, redrawn))
    return result


def run(
    out: Path,
    scenes: dict[str, ScenePart],
    fits: tuple[Fit, Fit],
    config: RFNetConfig,
    name: str = "",
    begin: Judge | None = None,
) -> dict[str, object]:
    """Cues and RFNet, those of the judge `begin` or new ones; temperature and threshold. Writes out/judge`name` and returns its quality on
    held-out products.

    A network of two classes is measured and not written, because it makes no judge.
    """
    cues = fit_cues(out / "cues", scenes["train"].bank, fits[0], config.side, begin)
    net = network(config, fits[1].seed) if begin is None else begin.rfnet.requires_grad_(True)
    judge = fit_rfnet(out / f"rfnet{name}", scenes["train"], cues, net, fits[1])
    calibrate(judge, scenes["valid"])
    if not config.coarse:
        judge.save_pretrained(out / f"judge{name}", torch.float16)
    report: dict[str, object] = {}
    for redrawn in (False, True):
        result = measured(judge, scenes["held"], redrawn)
        report["redrawn" if redrawn else "scenes"] = {
            k: v.tolist() if isinstance(v, np.ndarray) else round(v, 4) for k, v in asdict(result).items()
        }
    (out / f"report{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train rfnet`."""
    parser = Flags(__name__, __doc__, art="needed", scenes=24_000, redrawn=8_000, epochs=10.0, lr=1e-3)
    parser.add_argument("--leave-out", choices=CUES, nargs="+", default=(), help="train without these inputs")
    parser.add_argument("--plain", action="store_true", help="the picture's encoder alone, a residual network")
    parser.add_argument("--coarse", action="store_true", help="two classes: available or not")
    parser.add_argument("--begin", type=Path, help="a judge to go on from, such as reliability/ of a checkpoint")
    args = parser.parse_args(argv)
    begin = Judge.from_pretrained(args.begin) if args.begin else None
    config, batch = VARIANTS["small"], 48
    count, redrawn, sizes = args.scenes, args.redrawn, (1_500, 2_000)
    if args.smoke:
        config, count, redrawn, sizes = replace(config, side=SMOKE_SIDE), 24, 8, (24, 24)
    name, config = ablated(config, args.leave_out, args.coarse, args.plain)
    scenes = parts(args.out, args.art, count, redrawn, args.seed, sizes)
    steps = 4 if args.smoke else round(args.epochs * count / batch)
    rfnet = Fit(steps, args.lr, batch, args.seed, min(200, steps), weight_decay=0.05, ema=0.998)
    cues = Fit(min(steps, 1_500), 2e-3, 32, args.seed, min(100, steps))
    print(json.dumps(run(args.out, scenes, (cues, rfnet), config, name, begin)))
