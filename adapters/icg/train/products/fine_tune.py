"""Fine-tunes on one product, from picture files to weights that can be served: `icg product train`. Resumes after any interruption."""

from __future__ import annotations

import hashlib
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from icg.brief import check_id
from icg.errors import IcgError
from icg.products import pictures, record
from icg.products.record import Record
from icg.starter import Starter
from icg.train.products.tuning import Settings, Tuner

LONGEST_KIND = 64
LORA = Settings()


def check_kind(kind: str) -> str:
    """The class in words, stripped. Raises IcgError for a text that cannot be one."""
    kind = " ".join(kind.split()) if isinstance(kind, str) else ""
    if not 0 < len(kind) <= LONGEST_KIND or "{" in kind or not any(c.isalpha() for c in kind):
        raise IcgError(
            f"kind={kind[:80]!r}; allowed: the product's class in words, as 'backpack', up to {LONGEST_KIND} characters"
        )
    return kind


def fine_tune(
    folder: Path,
    starter: Starter,
    id: str,
    kind: str,
    paths: Sequence[Path],
    settings: Settings = LORA,
    force: bool = False,
    tell: Callable[[str], None] = print,
) -> Record:
    """Learn the product from 3 to 8 picture files, or a folder of them, and store it in `folder` under `id`.

    After an interruption the same call resumes; with other pictures or settings it starts again. A product with that id is replaced at
    the end and served until then. `tell` receives progress messages. Raises BriefError or IcgError, before any change, for a wrong
    argument or if this product is already being trained.
    """
    check_id(id)
    kind = check_kind(kind)
    loaded = pictures.load(paths, max(settings.size))
    alike = pictures.check_one_product(starter.embedding, loaded, force)
    pipeline = starter.pipeline
    with record.training(folder, id):
        began = time.monotonic()
        run_key = repr((kind, asdict(settings), loaded.digests, pipeline.base))
        work = folder / f".{id}@{hashlib.sha256(run_key.encode()).hexdigest()[:16]}"
        for other in folder.glob(f".{id}@*"):
            if other != work:
                shutil.rmtree(other)
        tell(f"{settings.method} on {len(loaded.images)} pictures of a {kind} (similarity {alike:.2f})")
        tuner = Tuner(pipeline, kind, loaded.images, settings)
        if settings.prior:
            tell(f"prior preservation: {tuner.class_pictures(work / 'class')} pictures of 'a {kind}'")
        tell(f"{settings.steps} steps, about {settings.steps * tuner.seconds_a_step() / 60:.1f} minutes in all")
        tensors = tuner.run(work)
        product = record.write(
            folder,
            tensors,
            id=id,
            kind=kind,
            method=settings.method,
            base=pipeline.base,
            base_name=starter.name,
            steps=settings.steps,
            lr=settings.lr,
            seed=settings.seed,
            size=settings.size,
            rank=settings.rank,
            vectors=settings.vectors,
            prior=settings.prior,
            pictures=loaded.digests,
            alike=round(alike, 4),
            seconds=round(time.monotonic() - began, 1),
            memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        shutil.rmtree(work)
        return product
