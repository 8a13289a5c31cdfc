"""Recipe: the network that says how spoiled the places of a picture are (`icg.gates.artifacts`).

    icg train artifacts --pictures FOLDER [--art node_modules] --out runs/artifacts [--smoke]

Clean pictures are photographs of a folder, photographs with a title as posters have it, and emoji art on soft grounds, as made covers
have them. Each is shown clean and damaged. A fifth of the photographs and the subjects held out from the starter give the figures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from icg import starter
from icg.brief import Brief
from icg.compose.cover import compose
from icg.data.art import STYLES, Subject, load_subjects, procedural
from icg.data.grounds import BACKDROPS, PALETTES, ground
from icg.errors import IcgError
from icg.gates.artifacts import HIDDEN, PART, artifacts, load, statistics
from icg.train.artifacts.damage import Damage, autoencoded, banded, haloed, smeared
from icg.train.flags import Flags

TITLES = ("THE LAST\nHARBOUR", "Winter Light", "NIGHT\nOF THE\nFOX", "a quiet river", "GOLD", "The Seventh Door")


def poster(photo: Image.Image, subjects: Sequence[Subject], rng: np.random.Generator) -> Image.Image:
    """A portrait part of a photograph, half of the time darkened or with drawn figures, with a title and small print."""
    width = min(photo.width, round(photo.height * 2 / 3))
    left = int(rng.integers(0, photo.width - width + 1))
    out = photo.crop((left, 0, left + width, photo.height)).copy()
    draw, colour = ImageDraw.Draw(out), tuple(int(v) for v in rng.integers(0, 256, 3))
    if rng.random() < 0.5:
        out.paste(colour, (0, 0), Image.new("L", out.size, int(rng.integers(60, 200))))
    for _ in range(int(rng.integers(0, 4))):
        figure = Image.fromarray(subjects[rng.integers(len(subjects))].sprites[STYLES[rng.integers(len(STYLES))]])
        figure.thumbnail((width * rng.uniform(0.2, 0.9),) * 2)
        out.paste(figure, (int(rng.integers(0, width)) - figure.width // 2, int(rng.integers(0, out.height))), figure)
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    at = (width * rng.uniform(0.03, 0.2), out.height * rng.uniform(0.05, 0.8))
    draw.text(at, TITLES[rng.integers(len(TITLES))], colour, ImageFont.load_default(width * rng.uniform(0.08, 0.16)))
    draw.text((width * 0.1, out.height * 0.93), "a film by nobody", colour, ImageFont.load_default(width * 0.05))
    return out


def stored(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As a file keeps it: two of three times as a JPEG or WebP of usual quality."""
    if rng.random() < 1 / 3:
        return picture
    out = io.BytesIO()
    picture.save(out, ("JPEG", "WEBP")[rng.integers(2)], quality=int(rng.integers(70, 96)))
    return Image.open(out).convert("RGB")


def cover(subject: Subject, rng: np.random.Generator) -> Image.Image:
    """Emoji art by the composition that made covers have, on a soft ground or on one of the starter's world."""
    sprite = Image.fromarray(subject.sprites[STYLES[rng.integers(len(STYLES))]])
    edge = int(rng.integers(128, 384))
    product = sprite.resize((edge, edge), Image.Resampling.LANCZOS) if edge < 160 else sprite
    if rng.random() < 0.5:
        tones = Image.fromarray(rng.integers(0, 256, (*rng.integers(1, 6, 2), 3), np.uint8))
        behind = tones.resize((128, 128), Image.Resampling.BICUBIC)
    else:
        palette, backdrop = [*PALETTES][rng.integers(len(PALETTES))], BACKDROPS[rng.integers(len(BACKDROPS))]
        behind = ground(palette, backdrop, int(rng.integers(2**31)), edge)
    return compose(Brief("cover", product=product, ground=True, output=(edge, edge)), behind)


def sources(photos: Sequence[Path], subjects: Sequence[Subject]) -> list[Callable[[np.random.Generator], Image.Image]]:
    """Functions that draw a clean picture of each kind."""

    def photo(rng: np.random.Generator) -> Image.Image:
        with Image.open(photos[rng.integers(len(photos))]) as image:
            image.draft("RGB", (1024, 1024))
            out = image.convert("RGB")
        edge = int(rng.integers(150, 513))
        out.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        return out

    kinds = [lambda rng: cover(subjects[rng.integers(len(subjects))], rng)]
    return [photo, lambda rng: poster(photo(rng), subjects, rng), *kinds] if photos else kinds


def rows(
    kinds: Sequence[Callable[[np.random.Generator], Image.Image]], damages: Sequence[Damage], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics (N, F) of places of `count` pictures, each clean and damaged, and whether a place is damaged (N,)."""
    rng, x, y = np.random.default_rng(seed), [], []
    for n in range(count):
        clean = kinds[n % len(kinds)](rng)
        bad, mask = damages[rng.integers(len(damages))](clean, rng)
        for picture, where in ((clean, np.zeros(mask.shape, bool)), (bad, mask)):
            places = statistics(stored(picture, rng))
            shape = places.shape[1::-1]
            share = np.asarray(Image.fromarray(where.astype(np.float32)).resize(shape, Image.Resampling.BOX))
            sure = (share > 0.6) | (share < 0.02)
            x.append(places[sure])
            y.append(share[sure] > 0.6)
    return np.concatenate(x).astype(np.float32), np.concatenate(y)


def fit(x: np.ndarray, y: np.ndarray, steps: int, seed: int) -> dict[str, np.ndarray]:
    """The network's arrays."""
    torch.manual_seed(seed)
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    inputs, labels = torch.from_numpy((x - mean) / deviation), torch.from_numpy(y.astype(np.float32))
    layers = [nn.Linear(x.shape[1], HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = torch.randint(len(inputs), (4096,))
        loss = F.binary_cross_entropy_with_logits(net(inputs[batch])[:, 0], labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    arrays = {"mean": mean, "deviation": deviation}
    for n, layer in enumerate(layers):
        arrays |= {f"{n}.weight": layer.weight.detach().numpy(), f"{n}.bias": layer.bias.detach().numpy()}
    return arrays


def figures(
    kinds: Sequence[Callable[[np.random.Generator], Image.Image]],
    damages: dict[str, Damage],
    count: int,
    seed: int,
    network: dict[str, np.ndarray],
) -> dict[str, list[float]]:
    """Quantiles (5, 50, 95 %) of the measure on clean pictures of each kind, and on each damage."""
    rng, values = np.random.default_rng(seed), dict[str, list[float]]()
    for n in range(count):
        clean = kinds[n % len(kinds)](rng)
        values.setdefault(f"clean {n % len(kinds)}", []).append(artifacts(stored(clean, rng), network))
        for name, damage in damages.items():
            bad, mask = damage(clean, rng)
            if mask.mean() > 0.05:
                values.setdefault(name, []).append(artifacts(stored(bad, rng), network))
    return {name: [round(float(q), 3) for q in np.quantile(v, (0.05, 0.5, 0.95))] for name, v in values.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train artifacts`."""
    parser = Flags(__name__, __doc__, art="unless smoke")
    parser.add_argument("--pictures", type=Path, help="folder of clean photographs")
    args = parser.parse_args(argv)
    files = (
        sorted(p for p in args.pictures.rglob("*") if p.suffix in (".jpg", ".png", ".webp")) if args.pictures else []
    )
    if not files and not args.smoke:
        raise IcgError(f"pictures={str(args.pictures)!r}: no picture there; allowed: a folder of photographs")
    subjects = procedural() if args.smoke else load_subjects(args.art, args.out / "art.npz")
    damages = {"smear": smeared, "band": banded, "halo": haloed, "autoencoder": autoencoded(starter.autoencoder())}
    train, test = [p for n, p in enumerate(files) if n % 5], files[::5]
    kinds = sources(train, [s for s in subjects if not s.held_out])
    x, y = rows(kinds, [*damages.values()], 8 if args.smoke else 600, args.seed)
    save(args.out, fit(x, y, 20 if args.smoke else 8000, args.seed))
    held = sources(test, [s for s in subjects if s.held_out])
    network = load(args.out)
    result = figures(held, damages, 2 if args.smoke else 120, args.seed + 1, network)
    print(json.dumps({"places": len(x), "damaged": float(y.mean()), **result}))


def save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write what `icg.gates.artifacts.load` reads."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}, folder / f"{PART}.safetensors")
