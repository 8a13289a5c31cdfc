"""Recipe: a denoiser and an adapter that draw bare grounds for users of a fitted space.

    icg train grounds --art node_modules --space runs/space/space --out runs/grounds [--side 256] [--steps 3000] [--starter FOLDER]

They begin as those of the starter, or as its grounds/, and learn grounds without a subject (item: the adapter's `nothing`): drafts and
their refinement (`ground_losses`). A target shows what the covers of a SIMULATED user have in common. A refiner of another space starts
from the linear map between the two. Writes OUT/starter/grounds. Covers from titles stay with the starter's own denoiser, since one of this
size that learns grounds loses the titles (docs/log.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.checkpoints import SHIPPED, has_own_space
from icg.data import tastes
from icg.data.art import CATEGORIES, Subject, load_subjects, procedural
from icg.data.bank import AXES, Bank, load_or_build
from icg.data.compose import BACKDROPS, PALETTES, PLACES
from icg.data.grounds.colours import Tones, mix
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.evaluate.judges import HISTORY
from icg.models.joint import JointEmbedding
from icg.reliability.scenes.studios import COUNT, spot
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.starter import export
from icg.train.starter.bare_grounds import BareStudios, Grounds, cached
from icg.train.starter.diffusion import DiffusionConfig
from icg.train.starter.encoded_users import EncodedUsers
from icg.train.starter.ground_steps import Audience, Drawer, GroundsConfig, GroundSteps, Latents
from icg.train.starter.simulated_users import Crowd

TYPICAL = 40
"""Users of whom one who likes a palette and a backdrop is the mean."""


def carry(folder: Path, model: Drawer, audience: Audience, fit: Fit, half: bool) -> None:
    """First the adapter alone learns to carry users: their looks must be readable. The denoiser then learns from conditions that say what
    to draw."""
    adapter = model.adapter
    model.denoiser.requires_grad_(False)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        fitting, look = audience(np.stack([rng.integers(0, len(axis), fit.batch) for axis in AXES], 1), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            nothing = adapter.nothing.expand(fit.batch, -1, -1)
            taste = model.taste(adapter(nothing, torch.as_tensor(fitting))[0], look)
        return {"loss": taste}

    train(folder, model, fit, step)
    model.denoiser.requires_grad_(True)


def with_places(denoiser: Any) -> Any:
    """The Sana transformer as one whose tokens know their places: sines of them are added to the patches. Without these only the padding
    of its convolutions says where a token is, and a pattern of the whole picture stays a blur."""
    if denoiser.config.interpolation_scale is not None:
        return denoiser
    other = type(denoiser).from_config(dict(denoiser.config) | {"interpolation_scale": 1.0})
    other.load_state_dict(denoiser.state_dict())
    return other.eval()


def move(adapter: IcgAdapter, old: np.ndarray, new: np.ndarray) -> None:
    """Let the refiner read users of another space: the same covers (N, 64) in both give the linear map that its first layer starts from."""
    slopes = np.linalg.solve(new.T @ new + np.eye(new.shape[1]), new.T @ old)
    slopes /= np.linalg.norm(new @ slopes, axis=1).mean()
    first = adapter.refiner.spread[0]
    with torch.no_grad():
        first.weight.copy_(first.weight @ torch.as_tensor(slopes.T, dtype=torch.float32))


def for_users(
    adapter: IcgAdapter, users: np.ndarray, favourite: np.ndarray, typical: np.ndarray, **fields: int
) -> IcgAdapter:
    """The adapter as one that draws grounds for users, with these fields of its config. favourite (N, 4): the look that each of the
    `users` (N, 64) likes best; typical: of `typical_users`."""
    other = IcgAdapter(replace(adapter.config, palettes=len(PALETTES), backdrops=len(BACKDROPS), **fields))
    other.load_state_dict(adapter.state_dict(), strict=False)
    known, liked = torch.as_tensor(users), torch.as_tensor(favourite).long()
    other.placement.fit(known, liked[:, 3], torch.tensor(list(PLACES.values())))
    tones = [(mix(t.mid, t.b, 0.5), mix(t.deep, t.a, 0.5)) for t in map(Tones.of, PALETTES)]
    other.decision.fit(known, liked[:, 1:3], torch.as_tensor(typical), torch.tensor(np.array(tones)))
    return other.eval()


def with_studios(adapter: IcgAdapter) -> IcgAdapter:
    """The adapter as one that draws studios, if it is none."""
    if adapter.studios is not None:
        return adapter
    other = IcgAdapter(replace(adapter.config, studios=COUNT))
    other.load_state_dict(adapter.state_dict(), strict=False)
    with torch.no_grad():
        other.studios.tokens.add_(other.nothing)
        other.studios.spots.copy_(torch.tensor([spot(n) for n in range(COUNT)]))
    return other.eval()


def typical_users(audience: Audience, seed: int) -> np.ndarray:
    """(palettes, backdrops, 64) unit rows: means of users who like one of each."""
    rng = np.random.default_rng((seed, 47))
    pairs = np.indices((len(PALETTES), len(BACKDROPS))).reshape(2, -1).T.repeat(TYPICAL, 0)
    looks = np.stack([rng.integers(0, len(axis), len(pairs)) for axis in AXES], 1)
    looks[:, 1:3] = pairs
    users = audience(looks, rng)[0].reshape(len(PALETTES), len(BACKDROPS), TYPICAL, -1).mean(2)
    unit: np.ndarray = users / np.maximum(np.linalg.norm(users, axis=-1, keepdims=True), 1e-6)
    return unit


def crowd_of(
    bank: Bank, covers: np.ndarray, subjects: list[Subject], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(count, 64) SIMULATED users, means of the covers that they engaged with, and the look that each likes best, (count, 4)."""
    rng = np.random.default_rng((seed, 37))
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    people = tastes.sample(count, rng)
    picked = tastes.engaged(people.utility(bank.look, themes[bank.subject]), HISTORY, rng)
    users = covers[picked].mean(1)
    return users / np.linalg.norm(users, axis=1, keepdims=True), people.favourite[:, : len(AXES)]


class Run:
    """One run folder."""

    def __init__(
        self, out: Path, subjects: list[Subject], space: Path, root: Path, config: GroundsConfig, seed: int = 0
    ) -> None:
        self.out, self.subjects, self.config, self.seed, self.root = out, subjects, config, seed, root
        self.pipeline = CoverPipeline.from_pretrained(root).drawer(True)
        self.pipeline.diffusion.register_modules(transformer=with_places(self.pipeline.family.denoiser))
        self.vae = self.pipeline.diffusion.vae
        self.trained = [i for i, s in enumerate(subjects) if not s.held_out] or list(range(len(subjects)))
        self.bank = load_or_build(out / "bank.npz", subjects, config.covers, 701 + seed, self.trained, 1)
        pictures = [Image.fromarray(image) for image in self.bank.images]
        self.covers = self._embedded(JointEmbedding.from_pretrained(root, space=space), pictures, "covers.npy")
        if self.pipeline.adapter.placement is None and has_own_space(root):
            some = pictures[:3000]
            own = JointEmbedding.from_pretrained(root).covers(some)
            move(self.pipeline.adapter, own, self.covers[: len(some)])

    def _audience(self, crowd: Crowd, encoded: EncodedUsers | None) -> Audience:
        def draw(look: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            users, look = crowd.draw(look, np.full(len(look), -1), DiffusionConfig().match, rng), look.copy()
            if encoded is not None and (rows := rng.random(len(look)) < self.config.encoded).any():
                users[rows], look[rows] = encoded.draw(look[rows], rng)
            return users, look

        return draw

    def _embedded(self, embedding: JointEmbedding, pictures: list[Image.Image], name: str) -> np.ndarray:
        return cached(self.out / name, lambda: torch.from_numpy(embedding.covers(pictures))).numpy()

    def train(self, fit: Fit, until: int | None = None) -> dict[str, float]:
        """Train, and write the starter's parts at each save."""
        config = self.config
        bare = Grounds(self.vae, config.grounds, self.seed)
        drafts = bare.latents(self.out / "drafts.npy", config.side, config.draft)
        refined = bare.latents(self.out / "refined.npy", config.side)
        crowd, encoded = Crowd(self.bank, self.covers), self._encoded()
        audience = self._audience(crowd, encoded)
        typical = typical_users(audience, self.seed)
        adapter = with_studios(self.pipeline.adapter) if config.furnished else self.pipeline.adapter
        furnished = self._furnished() if config.furnished else None
        model = Drawer(adapter, self.pipeline.family.denoiser)
        steps = GroundSteps(model, bare, Latents(drafts, refined), furnished, audience, typical, config)
        if config.carry:
            schedule = Fit(
                config.carry, 1.5e-3, 4 * fit.batch, self.seed, warmup=min(30, config.carry // 4), save_every=200
            )
            carry(self.out / "carry", model, audience, schedule, config.half)

        def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.half):
                parts = steps(fit.batch, rng)
            return {"loss": parts["drafted"] + parts["refined"] + config.taste * parts["taste"], **parts}

        def save(_: int, now: nn.Module) -> None:
            users, liked = crowd_of(self.bank, self.covers, self.subjects, 2000, self.seed)
            if encoded is not None:
                users = np.concatenate([users, encoded.users[: len(users)]])
                liked = np.concatenate([liked, encoded.favourite[: len(liked)]])
            fields = {"grounds": config.side, "drafts": config.draft, "layouts": bare.layouts}
            finished = for_users(adapter, users, liked, typical, **fields)
            export.grounds(self.out / "starter", finished, model.denoiser)

        return train(self.out / "train", model, fit, step, config, until, save)

    def _furnished(self) -> Latents:
        studios, config = BareStudios(self.vae, self.subjects), self.config
        drafts = studios.latents(self.out / "studio_drafts.npy", config.side, config.draft)
        return Latents(drafts, studios.latents(self.out / "studios.npy", config.side))

    def _encoded(self) -> EncodedUsers | None:
        if not (folder := self.root / "users").is_dir():
            return None
        themes = np.array([CATEGORIES.index(s.category) for s in self.subjects])[self.bank.subject]
        return EncodedUsers(folder, self.bank, self.covers, themes, self.config.users, self.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train grounds`."""
    parser = Flags(__name__, __doc__, art="unless smoke", steps=3_000, batch=48, lr=6e-4)
    parser.number("side", GroundsConfig.side, "pixels of a ground's edge")
    parser.number("draft", GroundsConfig.draft, "pixels of the edge of its draft")
    parser.number("grounds", GroundsConfig.grounds, "grounds to learn from")
    parser.number("studios", GroundsConfig.furnished, "share of studios among what is learned")
    parser.number("carry", 300, "steps of the adapter alone, before")
    parser.add_argument("--starter", type=Path, default=SHIPPED, help="folder to go on from (default: the shipped one)")
    parser.add_argument("--half", action="store_true", help="bfloat16: half of the time on CPUs with AVX-512 BF16")
    parser.add_argument("--space", type=Path, required=True, help="a folder of `icg train space`")
    args = parser.parse_args(argv)
    subjects = procedural() if args.smoke else load_subjects(args.art)
    if args.side % args.draft:
        raise IcgError(f"side={args.side} with draft={args.draft}; allowed: a multiple of the draft's edge")
    config = GroundsConfig(
        args.side, args.draft, grounds=args.grounds, carry=args.carry, half=args.half, furnished=args.studios
    )
    if args.smoke:
        config = replace(config, side=128, draft=64, covers=48, grounds=48, users=40, carry=4, furnished=0.0)
    steps, batch = (4, 8) if args.smoke else (args.steps, args.batch)
    args.out.mkdir(parents=True, exist_ok=True)
    fit = Fit(steps, args.lr, batch, args.seed, warmup=min(30, steps // 4), save_every=50, ema=0.995)
    losses = Run(args.out, subjects, args.space, args.starter, config, args.seed).train(fit)
    print(json.dumps({"config": asdict(config), **losses}))
