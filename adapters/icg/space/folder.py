"""Writes the folder of a fitted space, and says what is in it. Nothing is written before everything is fitted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icg.checkpoints import SPACE_WEIGHTS
from icg.errors import IcgError
from icg.models.space import FORMAT, write_json
from icg.space.fit import Fitted
from icg.users.crossing import FILE as CROSSING

FILES = ("space.json", SPACE_WEIGHTS, "scales.json", "report.json", CROSSING)


def check_target(folder: Path) -> None:
    """Raises IcgError for a folder with anything in it but an earlier fit, so that no other file is ever overwritten."""
    if folder.exists() and not folder.is_dir():
        raise IcgError(f"out={str(folder)!r} is a file; allowed: a new folder, or one of an earlier fit")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ours = json.loads((folder / "space.json").read_bytes()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        names = sorted(path.name for path in folder.iterdir())[:5]
        raise IcgError(f"out={str(folder)!r} holds {', '.join(names)}; allowed: a new folder, or one of an earlier fit")


def save(
    folder: Path,
    fitted: Fitted,
    models: dict[str, str],
    encoder_digest: str,
    report: dict[str, object],
    checkpoint_space: int,
) -> None:
    """models: the folders of the "encoder" of pictures and of "relevance", "" for the shipped ones. checkpoint_space: the number of the
    checkpoint's own."""
    folder.mkdir(parents=True, exist_ok=True)
    # The weights last: a space is complete when they are there, since loaders look for them.
    for name in (SPACE_WEIGHTS, CROSSING):
        (folder / name).unlink(missing_ok=True)
    about = {"format": FORMAT, **models, "encoder_digest": encoder_digest, "projection": str(fitted.choice)}
    write_json(folder / "space.json", about)
    write_json(folder / "scales.json", fitted.scales)
    write_json(folder / "report.json", report)
    if fitted.crossing is not None:
        fitted.crossing.save(folder, checkpoint_space)
    fitted.projection.save(folder / SPACE_WEIGHTS, encoder_digest)


def report(fitted: Fitted, notes: dict[str, object]) -> dict[str, object]:
    """Everything that was measured, for report.json."""
    figures = {
        name: {"mean": round(float(np.mean(values)), 4), "spread": round(float(np.std(values)), 4)}
        for name, values in fitted.figures.items()
    }
    return {"warning": fitted.warning, "counts": fitted.counts, **notes, "figures": figures, "scales": fitted.scales}


def table(fitted: Fitted) -> list[tuple[str, str, str]]:
    """(figure, value, control) rows for people."""
    f = fitted.figures
    pairs = (
        ("liked over others, own profile / another user's", "own", "other"),
        ("  as served, from the latest events", "served_own", "served_other"),
        ("  as served, without dislikes", "engaged_own", "engaged_other"),
        ("  principal components, not whitened", "principal_own", "principal_other"),
        ("  pixels of a thumbnail (baseline)", "pixels_own", "pixels_other"),
        ("  categories alone (oracle)", "category_own", "category_other"),
        ("  the covers' own vectors (column embedding)", "vectors_own", "vectors_other"),
        ("category from the cover, AUC / shuffled", "genre_auc", "genre_auc_shuffled"),
        ("  pixels of a thumbnail (baseline)", "pixels_genre_auc", "pixels_genre_auc_shuffled"),
        ("title in the first 5 of 100 / another title", "titles_own", "titles_other"),
        ("preferences alike in the checkpoint's own space / another user's", "crossing", "crossing_other"),
    )
    return [(label, _spread(f.get(name)), _spread(f.get(control))) for label, name, control in pairs if name in f]


def last_line(fitted: Fitted) -> dict[str, object]:
    """{own, other, genre_auc, warning} with the spread over seeds."""
    names = ("own", "other", "genre_auc")
    values = {name: fitted.figures.get(name) for name in names}
    means = {name: round(float(np.mean(v)), 4) if v else None for name, v in values.items()}
    spread = {name: round(float(np.std(v)), 4) for name, v in values.items() if v}
    return {**means, "warning": fitted.warning or None, "spread": spread}


def _spread(values: Sequence[float] | None) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else ""
