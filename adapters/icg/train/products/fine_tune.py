"""One product from picture files to weights that can be served: the verb behind `icg product train`, restartable at every point."""

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
    """The class in words, stripped; IcgError for what cannot be one."""
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
    given: Sequence[Path],
    settings: Settings = LORA,
    force: bool = False,
    tell: Callable[[str], None] = print,
) -> Record:
    """Learn the product from 3 to 8 picture files, or from a folder of them, and keep it in `folder` under `id`.

    Interrupted, the same call goes on where it was; with other pictures or settings it begins anew. A product of that id is replaced at
    the end and served until then. `tell` hears what is done, and how many minutes are left. Raises BriefError or IcgError naming what is
    wrong, also when this product is being trained elsewhere; nothing was changed then.
    """
    check_id(id)
    kind = check_kind(kind)
    shown = pictures.load(given, max(settings.size))
    alike = pictures.check_one_product(starter.embedding, shown, force)
    pipeline = starter.pipeline
    with record.training(folder, id):
        began = time.monotonic()
        stated = repr((kind, asdict(settings), shown.digests, pipeline.base))
        same = hashlib.sha256(stated.encode()).hexdigest()
        work = folder / f".{id}@{same[:16]}"
        for other in folder.glob(f".{id}@*"):
            if other != work:
                shutil.rmtree(other)
        tell(f"{settings.method} on {len(shown.images)} pictures of a {kind} (similarity {alike:.2f})")
        tuner = Tuner(pipeline, kind, shown.images, settings)
        if settings.prior:
            tell(f"prior preservation: {tuner.class_pictures(work / 'class')} pictures of 'a {kind}'")
        tell(f"{settings.steps} steps, about {settings.steps * tuner.seconds_a_step() / 60:.1f} minutes in all")
        tensors = tuner.run(work)
        made = record.write(
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
            pictures=shown.digests,
            alike=round(alike, 4),
            seconds=round(time.monotonic() - began, 1),
            memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        shutil.rmtree(work)
        return made
