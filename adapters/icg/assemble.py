"""A checkpoint folder from its parts, as `eyecatch serve --checkpoint` and Triton take it: put together, checked, and told what it lacks.

Knows no service. Nothing is written before the models are known to fit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from icg.check import CheckReport, check
from icg.checkpoints import SHIPPED, read_json, weights
from icg.errors import CheckpointError
from icg.settings import FILE, DrawingSettings

NEEDED = {
    "vlm": "any VLM of transformers: hf download NAME --local-dir vlm",
    "diffusion": "any pipeline of diffusers: hf download NAME --local-dir diffusion",
    "adapter": "icg train connector --vlm VLM --diffusion DIFFUSION --data CATALOGUE --out OUT",
}
"""Parts without which nothing can be served, and what makes each."""
OPTIONAL = {
    "space": ("covers are embedded in the starter's space", "icg space fit --data CATALOGUE --out space"),
    "users": (
        "users are means of what they engaged with",
        "icg train users --data CATALOGUE --checkpoint FOLDER --out OUT",
    ),
    "choice": (
        "of an item's pictures the one nearest to the user anchors a cover",
        "icg train choice --checkpoint FOLDER",
    ),
    "domain": ("every made cover waits for an editor", "icg assemble FOLDER --catalogue CATALOGUE"),
    "aesthetic": ("covers are ranked without a look at their quality", "icg assemble copies the starter's"),
    "grounds": ("covers around a picture are drawn as those from titles are", "icg train grounds --starter FOLDER"),
    "controlnet": ("--inpaint is refused, unless grounds/ draws studios", "icg train controlnet --checkpoint FOLDER"),
    "reliability": ("product pictures are not judged", "icg train rfnet"),
    "design": ("--target is refused", "icg train design"),
    "engagement": ("the reward engagement is refused", "icg train engagement"),
}
"""What a checkpoint does without a part, and what makes it."""
SHARED = ("aesthetic",)
"""Parts of the starter that hold for other checkpoints."""


@dataclass(frozen=True)
class Piece:
    """A part of a folder. without: what a checkpoint does without it, "" for a part that it has. command: what makes it."""

    name: str
    present: bool
    without: str
    command: str


def judged(root: Path) -> tuple[CheckReport, list[Piece]]:
    """Whether the parts of a folder fit together, at the size of its settings, and what it has. Reads headers only, but for small parts.

    Raises CheckpointError naming the part, and for a missing one the command that makes it.
    """
    if not root.is_dir():
        raise CheckpointError(f"checkpoint={str(root)!r}: no such folder; allowed: one with {', '.join(NEEDED)}")
    for name, command in NEEDED.items():
        if not (root / name).is_dir():
            raise CheckpointError(f"checkpoint={str(root)!r}: {name}/ is missing; make it: {command}")
    settings = DrawingSettings.read(root)
    report = check(root / "vlm", root / "diffusion", root / "adapter", size=settings.size)
    for size in settings.sizes:
        if any(edge % report.multiple for edge in size):
            raise CheckpointError(
                f"{FILE} sizes={size}; allowed: multiples of {report.multiple} for this diffusion model"
            )
    pieces = [Piece(name, True, "", command) for name, command in NEEDED.items()]
    for name, (without, command) in OPTIONAL.items():
        present = (root / name).is_dir()
        if present:
            _small_part(root, name, report)
        pieces.append(Piece(name, present, "" if present else without, command))
    return report, pieces


def assemble(
    root: Path,
    parts: Mapping[str, Path],
    settings: DrawingSettings,
    pictures: Sequence[Image.Image] = (),
    copy: bool = False,
) -> tuple[CheckReport, list[Piece]]:
    """Put `parts`, folders by name, into `root`, and return `judged`. Parts that it has and that are not named stay.

    pictures: those that the adapter was trained on; domain/ is measured on them. copy: copies instead of links. A linked part that changes
    changes the checkpoint. Raises CheckpointError before anything is written, if parts do not fit or one is no folder.
    """
    unknown = sorted(set(parts) - set(NEEDED) - set(OPTIONAL))
    if unknown:
        raise CheckpointError(f"part={unknown[0]!r}; allowed: {', '.join([*NEEDED, *OPTIONAL])}")
    for name, folder in parts.items():
        if not folder.is_dir():
            raise CheckpointError(f"{name}={str(folder)!r}: no such folder; make it: {_command(name)}")
    where = {name: parts.get(name, root / name) for name in ("vlm", "diffusion", "adapter")}
    for name, folder in where.items():
        if not folder.is_dir():
            raise CheckpointError(f"{name}= is missing; make it: {_command(name)}")
    check(where["vlm"], where["diffusion"], where["adapter"], size=settings.size)
    root.mkdir(parents=True, exist_ok=True)
    for name, folder in parts.items():
        _put(folder.resolve(), root / name, copy)
    for name in SHARED:
        if not (root / name).exists():
            _put(SHIPPED / name, root / name, copy=True)
    if settings != DrawingSettings() or not (root / FILE).exists():
        (root / FILE).write_text(json.dumps(asdict(settings), indent=2) + "\n")
    if pictures:
        _measure(root, pictures)
    return judged(root)


def _command(name: str) -> str:
    return NEEDED[name] if name in NEEDED else OPTIONAL[name][1]


def _put(source: Path, target: Path, copy: bool) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        if target.resolve() == source:
            return
        shutil.rmtree(target)
    if copy:
        shutil.copytree(source, target)
    else:
        target.symlink_to(source, target_is_directory=True)


def _measure(root: Path, pictures: Sequence[Image.Image]) -> None:
    from icg.gates.domain import PART, Domain, features, trunk_of

    if len(pictures) < 8:
        raise CheckpointError(f"catalogue of {len(pictures)} pictures; allowed: 8 or more, to measure a domain")
    rows = features(trunk_of(root), pictures)
    Domain.measure([rows]).save_pretrained(root / PART)


def _small_part(root: Path, name: str, report: CheckReport) -> None:
    """Raises CheckpointError for a part that cannot be read or does not fit."""
    folder = root / name
    if name == "users":
        from icg.users.numpy_encoder import UserReader

        UserReader.from_pretrained(folder)
    elif name == "choice":
        from icg.users.affinity import affinity

        affinity(root)
    elif name == "domain":
        from icg.gates.domain import Domain

        Domain.from_pretrained(folder)
    elif name == "space":
        weights("space", folder, "projection")
    elif name == "grounds":
        kind = read_json("grounds", folder / "denoiser" / "config.json").get("_class_name")
        if kind != report.draws:
            raise CheckpointError(f"grounds={kind!r}; allowed: {report.draws}, as in diffusion/")
        check(root / "vlm", root / "diffusion", folder / "adapter")
    elif name == "controlnet":
        from icg.products.inpainting import KINDS

        kind = read_json("controlnet", folder / "config.json").get("_class_name")
        if KINDS.get(str(kind)) != report.draws:
            raise CheckpointError(f"controlnet={kind!r} for a {report.draws}; allowed: {KINDS}")
