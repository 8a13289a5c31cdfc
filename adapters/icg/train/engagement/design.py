"""Recipe: the design model. A VLM learns to write the designs of posts with low, medium or high engagement.

    icg train design --art node_modules --out runs/design         # SIMULATED accounts

Pictures of posts are described automatically (icg.design.describe); low-rank weights on the VLM's language side learn to write this
description after title, account, time and the post's bucket. For "high" it then writes the design of high-KPI pictures.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from icg import starter
from icg.data.art import load_subjects, procedural
from icg.data.engagement import BUCKETS
from icg.data.posts import World
from icg.design.describe import Describer
from icg.design.features import Direction
from icg.design.form import Pieces, encode
from icg.design.judge import DesignJudge
from icg.design.kpi import form, prompt
from icg.design.schema import MAX_AVOID, Design
from icg.models import vlm as reading
from icg.models.joint import JointEmbedding
from icg.reliability.cues import SmallCues
from icg.rewards.reader import Reader
from icg.train.engagement.recipe import TRAIN, Sample, simulated
from icg.train.flags import Flags
from icg.train.loop import Fit, train

OFTEN = 1.3
"""A design avoids a word that is this many times as common among an account's low posts as among its high ones."""


@dataclass(frozen=True)
class DesignExamples:
    """N prompts and their designs."""

    prompts: list[str]
    designs: list[Design]


def words(design: Design) -> set[str]:
    """Every word of a design that can be avoided."""
    return {*(name for name, _ in design.colours), *design.tones, design.size, design.style}


def avoidable(designs: Sequence[Design], bucket: np.ndarray) -> list[str]:
    """Words that low posts have more often than high ones, the most distinctive first, at most MAX_AVOID."""
    low, high = (
        Counter(w for d, b in zip(designs, bucket, strict=True) if b == which for w in words(d)) for which in (0, 2)
    )
    lows, highs = max(int((bucket == 0).sum()), 1), max(int((bucket == 2).sum()), 1)
    share = {w: ((low[w] + 1) / (lows + 2)) / ((high[w] + 1) / (highs + 2)) for w in low}
    common = [w for w in share if low[w] >= 0.1 * lows and share[w] > OFTEN]
    return sorted(common, key=lambda w: -share[w])[:MAX_AVOID]


def design_examples(read: Any, titles: Sequence[str], designs: Sequence[Design], rows: np.ndarray) -> DesignExamples:
    """Examples from the posts of `rows`; each account's designs avoid the words of that account's low posts."""
    own_rows = {a: rows[read.account[rows] == a] for a in np.unique(read.account[rows])}
    avoid = {a: avoidable([designs[n] for n in indices], read.bucket[indices]) for a, indices in own_rows.items()}
    prompts = [prompt(titles[n], read.account[n], read.time[n], BUCKETS[read.bucket[n]]) for n in rows]
    targets = []
    for n in rows:
        words_to_avoid = tuple(w for w in avoid[read.account[n]] if w not in words(designs[n]))
        targets.append(replace(designs[n], objects=(titles[n][:64],), avoid=words_to_avoid))
    return DesignExamples(prompts, targets)


def adapted(vlm: Any, rank: int) -> Any:
    """Add new low-rank weights to the VLM's language side; only these are trained."""
    from peft import LoraConfig

    others = ("vision", "visual", "projector", "lm_head")
    linear = [name for name, module in vlm.named_modules() if isinstance(module, nn.Linear)]
    targets = [name for name in linear if not any(other in name for other in others)]
    vlm.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, bias="none"))
    return vlm


def fit(folder: Path, vlm: Any, processor: Any, data: DesignExamples, schedule: Fit) -> Any:
    """Train an `adapted` model. The loss covers only the choices, because the form fixes all other text."""
    pieces = Pieces(processor.tokenizer)
    rows = []
    for text, design in zip(data.prompts, data.designs, strict=True):
        prompt_ids = reading.inputs(processor, reading.plain(processor, text))["input_ids"][0].tolist()
        ids, chosen = encode(pieces, form(design.objects), design.to_json())
        rows.append((prompt_ids + ids, [False] * len(prompt_ids) + chosen))
    pad = pieces.end

    def loss(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = [rows[n] for n in rng.integers(0, len(rows), schedule.batch)]
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([i + [pad] * (longest - len(i)) for i, _ in batch])
        chosen = torch.tensor([c + [False] * (longest - len(c)) for _, c in batch])
        attended = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in batch])
        logits = vlm(input_ids=ids, attention_mask=attended).logits[:, :-1]
        target = chosen[:, 1:]
        return {"loss": F.cross_entropy(logits[target], ids[:, 1:][target])}

    train(folder, vlm.train(), schedule, loss)
    return vlm.eval()


def save(tuned: Any, folder: Path) -> None:
    """Write only the low-rank weights, in half precision and without the VLM's path."""
    tuned.save_pretrained(folder)
    path = folder / "adapter_model.safetensors"
    save_file({name: value.half().contiguous() for name, value in load_file(path).items()}, path)
    path.chmod(0o644)
    (folder / "generation_config.json").unlink(missing_ok=True)  # the VLM has its own
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "vlm"}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def described(root: Path, sample: Sample, vocabulary: Sequence[str], cache: Path | None = None) -> list[Design]:
    """Designs of a sample's pictures, by the models of a folder of the starter's layout; stored in `cache`."""
    if cache is not None and cache.is_file():
        return [Design.from_json(line) for line in cache.read_text().splitlines()]
    embedding, cues = JointEmbedding.from_pretrained(root), SmallCues.from_pretrained(root / "reliability" / "cues")
    designs = Describer(embedding, cues, *reading.load(root / "vlm"), vocabulary)(sample.images())
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text("".join(d.to_json() + "\n" for d in designs))
    return designs


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train design`."""
    parser = Flags(__name__, __doc__, art="maybe", posts=6000, accounts=30, steps=2700, rank=8)
    parser.add_argument("--checkpoint", type=Path, help="folder of the starter's layout; default: the shipped starter")
    args = parser.parse_args(argv)
    if args.smoke:
        args.posts, args.accounts, args.steps = 120, 3, 4
    root = args.checkpoint or starter.path()
    subjects = load_subjects(args.art) if args.art else procedural(40)
    world = World.sample(args.accounts, np.random.default_rng(args.seed))
    args.out.mkdir(parents=True, exist_ok=True)
    made_from = {"accounts": args.accounts, "posts": args.posts, "seed": args.seed}
    (args.out / "posts.json").write_text(json.dumps(made_from) + "\n")
    sample = simulated(Reader.from_pretrained(root), subjects, world, args.posts, args.seed)
    designs = described(root, sample, [s.title for s in subjects], args.out / "designs.jsonl")
    rows = np.flatnonzero(sample.read.split == TRAIN)
    data = design_examples(sample.read, sample.titles, designs, rows)
    vlm, processor = reading.load(root / "vlm")
    schedule = Fit(args.steps, 2e-3, 32, args.seed, warmup=min(50, args.steps // 4))
    tuned = fit(args.out / "tuning", adapted(vlm, args.rank), processor, data, schedule)
    save(tuned, args.out / "design")
    training = [designs[n] for n in rows]
    judge = DesignJudge.fit(training, sample.read.account[rows], np.log1p(sample.read.kpi[rows]))
    judge.save_pretrained(args.out / "design")
    covers = JointEmbedding.from_pretrained(root).covers(sample.images(rows))
    Direction.fit(training, covers).save_pretrained(args.out / "design")
    print(json.dumps({"posts": len(rows), "steps": args.steps}))
