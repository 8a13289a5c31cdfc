"""From folders on a disk to a connector recipe that is ready to run: models loaded, catalogue read, numbers computed once."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icg import starter
from icg.adapter.model import IcgAdapter
from icg.checkpoints import DIFFUSERS, TRANSFORMERS
from icg.data.art import STYLES, on_white, procedural
from icg.data.buckets import Buckets
from icg.data.catalogue import TEST, TRAIN, Catalogue, Example, RowReport, Splits
from icg.data.precompute import Kind, Latents, Looks, PreparedExample, Readings, digest, fingerprint, prepare, show
from icg.draw.pipeline import load_diffusion
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.models.families import cast, family_of
from icg.models.joint import JointEmbedding
from icg.train.connector.pretraining import CONNECTOR, STANDARD, ConnectorConfig, Recipe, new_adapter, standardise
from icg.train.connector.source import Source, Tastes, by_vlm, precomputed


@dataclass(frozen=True)
class Paths:
    """Folders of one run. `adapter` to start from and `joint` may be None."""

    out: Path
    cache: Path
    adapter: Path | None = None
    vlm: Path = Path()
    diffusion: Path = Path()
    data: Path = Path()
    joint: Path | None = None


def assemble(
    paths: Paths, config: ConnectorConfig, pixels: int, batch: int, seed: int, sizes: dict[str, int], held_out: float = 0.05,
) -> Recipe:  # fmt: skip
    """Load, read, compute what is missing; `sizes` of a new adapter, `held_out` the share of items to validate on.

    What was left out of the catalogue is printed and listed in out/left_out.jsonl. Raises IcgError naming what does not fit.
    """
    from accelerate import Accelerator

    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    accelerator = Accelerator(mixed_precision="bf16" if half else "no")
    device, dtype = accelerator.device, torch.bfloat16 if half else torch.float32
    vlm, processor = reading.load(paths.vlm, dtype)
    diffusion = load_diffusion(paths.diffusion)
    family = family_of(diffusion)
    for part in (vlm, family.denoiser, family.vae):
        part.to(device)
    if half:
        cast(family.denoiser, torch.bfloat16)
    catalogue, report = Catalogue.open(paths.data, Splits(held_out, 0.05)), RowReport()
    examples = [example for example in catalogue.examples(report) if example.split != TEST]
    if not any(example.split == TRAIN for example in examples):
        raise IcgError(f"data={str(paths.data)!r}: no cover to train on ({report}); allowed: at least one")

    adapter = _start(paths, vlm, processor, diffusion, examples, seed, sizes).to(device)
    adapter.check(vlm, family.spec, type(family.denoiser).__name__)
    marks = [
        fingerprint("vlm", paths.vlm, TRANSFORMERS),
        fingerprint("diffusion vae", paths.diffusion / "vae", DIFFUSERS),
    ]
    latents = Latents(paths.cache / "latents", family, Buckets(pixels, family.multiple), marks[1])
    kinds: list[Kind] = [latents]
    read = by_vlm(vlm, processor, adapter)
    if config.stage == CONNECTOR:
        seen, said = (
            Readings(paths.cache / name, vlm, processor, adapter, marks[0], name == "seen") for name in ("seen", "said")
        )
        read = precomputed(seen.store, said.store)
        kinds += [seen, said]
    looks = None
    if paths.joint is not None and catalogue.events is not None:
        heads = fingerprint("joint", paths.joint / "joint", TRANSFORMERS)
        encoder = fingerprint("joint vae", paths.joint / "diffusion" / "vae", DIFFUSERS)
        looks = Looks(paths.cache / "looks", JointEmbedding.from_pretrained(paths.joint), digest(heads, encoder))
        kinds.append(looks)
    prepared = prepare(examples, tuple(kinds), report)
    if config.stage == CONNECTOR:
        vlm.to("cpu")  # it has said all it will be asked
    train = [one for one in prepared if one.example.split == TRAIN]
    others = [one for one in prepared if one.example.split != TRAIN]
    print(f"{report}; {len(train)} to train on, {len(others)} to watch, the rest is for tests")
    tastes = None if looks is None else _tastes(catalogue, train, looks, report)
    paths.out.mkdir(parents=True, exist_ok=True)
    report.write(paths.out / "left_out.jsonl")
    source = Source(train, latents.store, read, tastes, batch, seed)
    watched = Source(others, latents.store, read, None, batch, seed) if others else None
    named = {name: getattr(paths, name) for name in ("vlm", "diffusion", "data", "adapter", "joint")}
    made_from = {name: str(path.resolve()) for name, path in named.items() if path is not None} | {
        "pixels": str(pixels)
    }
    return Recipe(family, adapter, accelerator, source, watched, replace(config, made_from=made_from))


def _start(
    paths: Paths, vlm: Any, processor: Any, diffusion: Any, examples: list[Example], seed: int, sizes: dict[str, int]
) -> IcgAdapter:
    """The adapter as the run begins, kept in out/start: readings on the disk are good for its centre and spread alone."""
    folder = paths.out / "start"
    if not folder.is_dir():
        if paths.adapter is not None:
            adapter = IcgAdapter.from_pretrained(paths.adapter)
        else:
            adapter = new_adapter(vlm, diffusion, seed, **sizes)
            of_training = [e for e in examples if e.split == TRAIN]
            some = of_training[:: ceil(len(of_training) / STANDARD)]
            # Half of them by their titles alone, as they will be read.
            given = [(e.title, show(e) if n % 2 == 0 else ()) for n, e in enumerate(some)]
            standardise(adapter.to(vlm.device), vlm, processor, given)
        shutil.rmtree(folder.with_suffix(".tmp"), ignore_errors=True)
        adapter.save_pretrained(folder.with_suffix(".tmp"), torch.float32)
        os.replace(folder.with_suffix(".tmp"), folder)
    return IcgAdapter.from_pretrained(folder)


def _tastes(catalogue: Catalogue, train: list[PreparedExample], looks: Looks, report: RowReport) -> Tastes:
    covers = {one.example.cover: (row, one.example.item) for row, one in enumerate(train)}
    log = catalogue.log(covers, report)
    print(f"{len(log)} events of training users about these covers")
    rows = np.stack([looks.store.get(one.keys[-1]).float().numpy() for one in train])
    return Tastes(log, rows, np.unique([one.example.item for one in train], return_inverse=True)[1])


def smoke(paths: Paths) -> Paths:
    """The starter's models and a shop of coloured shapes, with SIMULATED behaviour, in out/shop."""
    folder = paths.out / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    items, events = ["id,title,image,image_2"], ["user,item,action,time"]
    for n, subject in enumerate(procedural()):
        for k, style in enumerate(STYLES[:2]):
            picture = on_white(subject.sprites[style], 128)
            shape = ((0, 0, 128, 128), (0, 16, 128, 112), (16, 0, 112, 128))[(n + k) % 3]
            picture.crop(shape).save(folder / f"{subject.id}-{style}.png")
        items.append(f"{subject.id},{subject.title},{subject.id}-{STYLES[0]}.png,{subject.id}-{STYLES[1]}.png")
        events += [f"user {user},{subject.id},{'like' if n % 4 == user % 4 else 'impression'},{n}" for user in range(8)]
    for name, lines in (("items", items), ("events", events)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    root = starter.path()
    return replace(paths, vlm=root / "vlm", diffusion=root / "diffusion", data=folder, joint=root)
