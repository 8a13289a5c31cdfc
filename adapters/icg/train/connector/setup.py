"""From folders to a connector run: loads models, reads the catalogue, precomputes tensors."""

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
from icg.data.precompute import Kind, Latents, Looks, PreparedExample, Readings, fingerprint, prepare, show
from icg.errors import IcgError
from icg.models import vlm as reading
from icg.models.compatible import family_of
from icg.models.families import cast
from icg.models.stock import load_diffusion
from icg.models.text_encoders import text_scale
from icg.train.connector.pretraining import CONNECTOR, STANDARD, ConnectorConfig, ConnectorRun, new_adapter, standardise
from icg.train.connector.priors import priors
from icg.train.connector.source import ConnectorSource, CoverUsers, by_vlm, precomputed

_SOURCES = ("vlm", "diffusion", "data", "adapter", "joint", "user_embeddings", "user_map")
SCALED = 16
"""Titles that a diffusion model's own text encoder reads, for the scale of conditions."""


@dataclass(frozen=True)
class Paths:
    """Folders of one run. `adapter`, to start from, and `joint` may be None, and the files of `user_embeddings` and their `user_map`."""

    out: Path
    cache: Path
    adapter: Path | None = None
    vlm: Path = Path()
    diffusion: Path = Path()
    data: Path = Path()
    joint: Path | None = None
    user_embeddings: Path | None = None
    user_map: Path | None = None


def assemble(
    paths: Paths,
    config: ConnectorConfig,
    pixels: int,
    batch: int,
    seed: int,
    sizes: dict[str, int],
    held_out: float = 0.05,
) -> ConnectorRun:
    """Load models, read the catalogue, compute missing tensors. sizes: of a new adapter; held_out: share of validation items.

    Rows of the catalogue that were left out are counted in the output and listed in out/left_out.jsonl. Raises IcgError naming what does
    not fit.
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
    if paths.user_embeddings is not None and (paths.joint is None or catalogue.events is None):
        raise IcgError("user_embeddings without joint or events; allowed: with both, which show what users like")
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
        with_cover, title_only = (
            Readings(paths.cache / name, vlm, processor, adapter, marks[0], name == "seen") for name in ("seen", "said")
        )
        read = precomputed(with_cover.store, title_only.store)
        kinds += [with_cover, title_only]
    looks = None
    if paths.joint is not None and catalogue.events is not None:
        looks = Looks(paths.cache / "looks", paths.joint)
        kinds.append(looks)
    prepared = prepare(examples, tuple(kinds), report)
    if config.stage == CONNECTOR:
        vlm.to("cpu")  # not needed any more
    train = [p for p in prepared if p.example.split == TRAIN]
    others = [p for p in prepared if p.example.split != TRAIN]
    print(f"{report}; {len(train)} for training, {len(others)} for validation, the rest is for tests")
    tastes = None if looks is None else _tastes(catalogue, train, looks, report, paths)
    paths.out.mkdir(parents=True, exist_ok=True)
    report.write(paths.out / "left_out.jsonl")
    source = ConnectorSource(train, latents.store, read, tastes, batch, seed)
    validation = ConnectorSource(others, latents.store, read, None, batch, seed) if others else None
    folders = {name: getattr(paths, name) for name in _SOURCES}
    made_from = {name: str(path.resolve()) for name, path in folders.items() if path is not None}
    config = replace(config, made_from=made_from | {"pixels": str(pixels)})
    return ConnectorRun(family, adapter, accelerator, source, validation, config)


def _start(
    paths: Paths, vlm: Any, processor: Any, diffusion: Any, examples: list[Example], seed: int, sizes: dict[str, int]
) -> IcgAdapter:
    """The run's initial adapter, stored in out/start: readings on the disk are valid only for its centre and spread."""
    folder = paths.out / "start"
    if not folder.is_dir():
        if paths.adapter is not None:
            adapter = IcgAdapter.from_pretrained(paths.adapter)
        else:
            adapter = new_adapter(vlm, diffusion, seed, **sizes)
            training = [e for e in examples if e.split == TRAIN]
            if (scale := text_scale(paths.diffusion, [e.title for e in training[:SCALED]])) is not None:
                adapter.connector.scale(scale)
            sample = training[:: ceil(len(training) / STANDARD)]
            # Half of them by their titles alone, as in training.
            items = [(e.title, show(e) if n % 2 == 0 else ()) for n, e in enumerate(sample)]
            standardise(adapter.to(vlm.device), vlm, processor, items)
        shutil.rmtree(folder.with_suffix(".tmp"), ignore_errors=True)
        adapter.save_pretrained(folder.with_suffix(".tmp"), torch.float32)
        os.replace(folder.with_suffix(".tmp"), folder)
    return IcgAdapter.from_pretrained(folder)


def _tastes(
    catalogue: Catalogue, train: list[PreparedExample], looks: Looks, report: RowReport, paths: Paths
) -> CoverUsers:
    covers = {p.example.cover: (row, p.example.item) for row, p in enumerate(train)}
    users: dict[str, int] = {}
    log = catalogue.log(covers, report, users=users)
    print(f"{len(log)} events of training users about these covers")
    known = {}
    if paths.user_embeddings is not None and paths.user_map is not None:
        known = priors(paths.user_embeddings, paths.user_map, users)
        print(f"{len(known)} of {len(users)} training users have a vector")
    return CoverUsers(log, looks.rows(train), np.unique([p.example.item for p in train], return_inverse=True)[1], known)


START = 1_767_225_600
"""UNIX seconds of the first event of `smoke`."""


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
        events += [
            f"user {user},{subject.id},{'like' if n % 4 == user % 4 else 'impression'},{START + n}" for user in range(8)
        ]
    for name, lines in (("items", items), ("events", events)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    root = starter.path()
    return replace(paths, vlm=root / "vlm", diffusion=root / "diffusion", data=folder, joint=root)
