"""Recipe: RFNet on RF1M, which you must have (arXiv:2408.00418, RFNet's section): 10 epochs, 1e-4, and a tenth of it in the second half.

    icg train rf1m --labels rf1m/label.txt --pictures rf1m/train_01.zip --products rf1m/subset1.zip \\
        --image resnet-50 --text roberta-base --depth dpt-large --saliency segmenter --out runs/rf1m [--batch 32] [--small]

Pictures with a cut-out are decoded and their cues computed once, into OUT/{train,validation,test}. With --small, our own small networks
replace all four checkpoints. Writes OUT/rfnet, with temperature and threshold from the validation split; the last line is one JSON object
with its quality on the test split, whose products are not in training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from icg import starter
from icg.errors import CheckpointError, IcgError
from icg.reliability.config import VARIANTS, RFNetConfig
from icg.reliability.cues import PublicCues, SmallCues
from icg.reliability.judge import product_pixels
from icg.reliability.metrics import Quality, best_threshold, quality, softmax, temperature
from icg.reliability.rf1m import RF1M, Example, Part
from icg.reliability.rfnet import Cues, RFNet
from icg.rewards.base import pixels
from icg.train.flags import Flags
from icg.train.loop import Fit, train

PLANES = {"picture": 3, "product": 3, "depth": 1, "saliency": 1}
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class PackedExamples:
    """N examples as RFNet's inputs: memory-mapped arrays (channels, side, side) of bytes; labels (N,), captions."""

    planes: dict[str, np.ndarray]
    label: np.ndarray
    captions: list[str]

    @classmethod
    @torch.inference_mode()
    def pack(cls, folder: Path, examples: Iterable[Example], cues: nn.Module, side: int) -> Self:
        """The `examples` with a cut-out, or read from `folder` if they exist. Raises IcgError if none has one."""
        if not (folder / "words.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            files = {name: (folder / f"{name}.bin").open("wb") for name in PLANES}
            labels, captions = [], []
            for example in tqdm(examples, desc=folder.name, unit="picture", mininterval=5.0):
                if example.product is None:
                    continue
                picture = pixels([example.picture], side)
                depth, saliency = cues(picture)
                planes = {"picture": picture[0], "product": product_pixels(example.product, side)}
                planes |= {"depth": depth[0] * 2 - 1, "saliency": saliency[0] * 2 - 1}
                for name, plane in planes.items():
                    files[name].write(((plane + 1) * 127.5).round().byte().numpy().tobytes())
                labels.append(int(example.label))
                captions.append(example.caption)
            for file in files.values():
                file.close()
            (folder / "words.json").write_text(json.dumps({"labels": labels, "captions": captions}))
        words = json.loads((folder / "words.json").read_text())
        count = len(words["labels"])
        if not count:
            raise IcgError(
                f"{folder.name}: no picture with a cut-out; allowed: archives of subset 1 with their products"
            )
        try:
            planes = {
                name: np.memmap(folder / f"{name}.bin", np.uint8, "r", shape=(count, channels, side, side))
                for name, channels in PLANES.items()
            }
        except ValueError as error:
            raise CheckpointError(
                f"packed={str(folder)!r}: of another size ({error}); allowed: a new folder"
            ) from error
        return cls(planes, np.array(words["labels"]), words["captions"])

    def batch(self, rows: np.ndarray, net: RFNet) -> tuple[Cues, Tensor]:
        """Inputs and labels of `rows`."""
        values = {name: torch.from_numpy(plane[rows].astype(np.float32)) / 255 for name, plane in self.planes.items()}
        ids, mask = net.tokens([self.captions[row] for row in rows]) if net.text is not None else (None, None)
        product, picture = (values[name] * 2 - 1 for name in ("product", "picture"))
        inputs = Cues(product, picture, values["depth"], values["saliency"], ids, mask)
        return inputs, torch.from_numpy(self.label[rows])


def run(out: Path, net: RFNet, parts: dict[str, PackedExamples], fit: Fit) -> Quality:
    """Train, choose temperature and threshold, test."""

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        inputs, labels = parts["train"].batch(np.sort(rng.integers(0, len(parts["train"].label), fit.batch)), net)
        return {"loss": F.cross_entropy(net(inputs), labels)}

    train(out / "run", net.train(), fit, step, net.config)
    net.eval().save_pretrained(out / "rfnet")
    logits, labels = predict(net, parts["validation"])
    heat = temperature(logits, labels)
    threshold = best_threshold(softmax(logits / heat)[:, 0], labels == 0)
    (out / "rfnet" / "settled.json").write_text(json.dumps({"temperature": heat, "threshold": threshold}))
    logits, labels = predict(net, parts["test"])
    return quality(softmax(logits / heat), labels, threshold)


@torch.inference_mode()
def predict(net: RFNet, part: PackedExamples) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, classes) and labels (N,)."""
    pieces = np.array_split(np.arange(len(part.label)), -(-len(part.label) // 32))
    return np.concatenate([net(part.batch(rows, net)[0]).numpy() for rows in pieces]), part.label


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train rf1m`."""
    parser = Flags(__name__, __doc__, smoke=False, epochs=10.0, batch=32, lr=1e-4)
    parser.add_argument("--labels", type=Path, required=True, help="label.txt")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="archives or folders of pictures")
    parser.add_argument("--products", type=Path, nargs="+", required=True, help="archives or folders of cut-outs")
    kinds = {"image": "ResNet", "text": "RoBERTa", "depth": "depth estimator", "saliency": "segmenter"}
    for name, kind in kinds.items():
        parser.add_argument(f"--{name}", help=f"folder or hub id of a {kind} of transformers")
    parser.add_argument("--classes", type=int, choices=(5, 6), default=5)
    parser.add_argument("--small", action="store_true", help="our own small networks")
    args = parser.parse_args(argv)
    if not args.small and not (args.depth and args.saliency):
        parser.error("--depth and --saliency are needed without --small")
    config: RFNetConfig = replace(VARIANTS["small" if args.small else "paper"], classes=args.classes)
    torch.manual_seed(args.seed)
    folder = starter.path() / "reliability" / "cues"
    cues = SmallCues.from_pretrained(folder) if args.small else PublicCues.from_pretrained(args.depth, args.saliency)
    net = RFNet.build(config, args.image, args.text)
    data = RF1M(args.labels, [Part(1, tuple(args.pictures), tuple(args.products))], classes=args.classes)
    parts = {}
    for split in SPLITS:
        reading = data.read(split)
        parts[split] = PackedExamples.pack(args.out / split, reading, cues, config.side)
        print(reading.report().json())
    steps = max(1, round(args.epochs * len(parts["train"].label) / args.batch))
    fit = Fit(steps, args.lr, args.batch, args.seed, 0, halfway=True)
    result = asdict(run(args.out, net, parts, fit))
    print(json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in result.items()}))
