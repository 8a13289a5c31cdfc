"""Recipe: the starter learns to draw bare grounds for users of a fitted space, and keeps drawing covers from titles.

    icg train grounds --art node_modules --space runs/space/space --out runs/grounds [--side 256] [--steps 3000] [--starter FOLDER]

The shipped denoiser goes on training: most of each batch are grounds without a subject (item: the adapter's `nothing`), drafts and their
refinement (`ground_losses`), the rest are whole covers from titles and pictures, as in `icg.train.starter.diffusion`. A target shows what
the covers of a SIMULATED user have in common. A refiner of another space starts from the linear map between the two. Writes
OUT/starter/adapter and OUT/starter/diffusion.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from icg.adapter.model import IcgAdapter
from icg.adapter.placement import Placement
from icg.checkpoints import SHIPPED, has_own_space
from icg.data import tastes
from icg.data.art import CATEGORIES, STYLES, Subject, load_subjects, on_white, procedural
from icg.data.bank import AXES, Bank, load_or_build
from icg.data.compose import PLACES
from icg.data.sample_titles import TITLES
from icg.draw.pipeline import CoverPipeline
from icg.errors import IcgError
from icg.evaluate.judges import HISTORY
from icg.models.joint import JointEmbedding
from icg.train.flags import Flags
from icg.train.loop import Fit, train
from icg.train.starter import export, vlm
from icg.train.starter.autoencoder import encode
from icg.train.starter.bare_grounds import Grounds, cached
from icg.train.starter.diffusion import DiffusionConfig, flow_loss
from icg.train.starter.encoded_users import EncodedUsers
from icg.train.starter.ground_steps import Audience, Drawer, GroundsConfig, GroundSteps
from icg.train.starter.prefixes import TITLE_ONLY, Prefixes
from icg.train.starter.simulated_users import Crowd

HOLD = 10.0
"""Weight of what keeps an item's condition while users are learned."""


def carry(folder: Path, model: Drawer, items: Tensor, audience: Audience, fit: Fit, half: bool) -> None:
    """First the adapter alone learns to carry users: their looks and whether there is an item must be readable, and an item alone must
    stay what it was. The denoiser then learns from conditions that say what to draw."""
    adapter, before = model.adapter, copy.deepcopy(model.adapter).requires_grad_(False)
    model.denoiser.requires_grad_(False)

    def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
        fitting, look = audience(np.stack([rng.integers(0, len(axis), fit.batch) for axis in AXES], 1), rng)
        users = torch.as_tensor(fitting)
        item = items[torch.as_tensor(rng.integers(0, len(items), fit.batch))].float()
        bare = torch.as_tensor(rng.random(fit.batch) < 0.5)[:, None, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            embeds = adapter(torch.where(bare, adapter.nothing, item), users)[0]
            taste = model.taste(embeds, look)
            shown = (~bare[:, 0]).float()
            distinct = F.binary_cross_entropy_with_logits(model.shows_item(embeds.mean(1)).float(), shown)
            alone = [part(item, torch.zeros_like(users))[0].float() for part in (adapter, before)]
        moved = F.mse_loss(*alone)
        return {"loss": taste + distinct + HOLD * moved, "taste": taste, "item": distinct, "moved": moved}

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


def with_placement(adapter: IcgAdapter, users: np.ndarray, framing: np.ndarray, **grounds: int) -> IcgAdapter:
    """The adapter as one that draws grounds, with these fields of its config. framing (N,): which of FRAMINGS each of the `users` (N, 64)
    likes."""
    other = IcgAdapter(replace(adapter.config, **grounds))
    other.load_state_dict(adapter.state_dict(), strict=False)
    placement = Placement(adapter.config.user)
    placement.fit(torch.as_tensor(users), torch.as_tensor(framing).long(), torch.tensor(list(PLACES.values())))
    other.placement = placement
    return other.eval()


def crowd_of(
    bank: Bank, covers: np.ndarray, subjects: list[Subject], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(count, 64) SIMULATED users, means of the covers that they engaged with, and the framing that each likes best."""
    rng = np.random.default_rng((seed, 37))
    themes = np.array([CATEGORIES.index(s.category) for s in subjects])
    people = tastes.sample(count, rng)
    picked = tastes.engaged(people.utility(bank.look, themes[bank.subject]), HISTORY, rng)
    users = covers[picked].mean(1)
    return users / np.linalg.norm(users, axis=1, keepdims=True), people.favourite[:, 3]


class Run:
    """One run folder."""

    def __init__(
        self, out: Path, subjects: list[Subject], space: Path, root: Path, config: GroundsConfig, seed: int = 0
    ) -> None:
        self.out, self.subjects, self.config, self.seed, self.root = out, subjects, config, seed, root
        self.pipeline = CoverPipeline.from_pretrained(root)
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
        config, rates, adapter = self.config, DiffusionConfig(), self.pipeline.adapter
        bare = Grounds(self.vae, config.grounds, self.seed)
        drafts = bare.latents(self.out / "drafts.npy", config.side, config.draft)
        refined = bare.latents(self.out / "refined.npy", config.side)
        latents = self._whole()
        items, prefixes, slot = self._items()
        crowd, encoded = Crowd(self.bank, self.covers), self._encoded()
        audience = self._audience(crowd, encoded)
        model = Drawer(adapter, self.pipeline.family.denoiser)
        odds = np.where([s.id in TITLES for s in self.subjects], 3.0, 1.0)[self.bank.subject]
        odds = np.cumsum(odds / odds.sum())
        count = round(fit.batch * config.bare)
        steps = GroundSteps(model, bare, drafts, refined, audience, config)
        if config.carry:
            schedule = Fit(
                config.carry, 1.5e-3, 4 * fit.batch, self.seed, warmup=min(30, config.carry // 4), save_every=200
            )
            carry(self.out / "carry", model, items, audience, schedule, config.half)

        def covers(rng: np.random.Generator) -> Tensor:
            size = fit.batch - count
            picked = np.searchsorted(odds, rng.random(size)).clip(max=len(self.bank) - 1)
            subject, look = self.bank.subject[picked], self.bank.look[picked]
            titled = rng.random(size) >= rates.drop_title
            reference = rng.integers(0, prefixes.references, size)
            reference = np.where(titled & (rng.random(size) < rates.drop_reference), TITLE_ONLY, reference)
            users = crowd.draw(look, subject, rates.match, rng)
            users[rng.random(size) < rates.drop_user] = 0
            embeds, _ = adapter(
                items[torch.as_tensor(prefixes.row(slot[subject], reference, titled))].float(), torch.as_tensor(users)
            )
            target = latents[torch.as_tensor(picked)].float()
            return flow_loss(model.denoiser, target, embeds, torch.ones_like(target[:, 0]), rates.noise)

        def step(_: int, rng: np.random.Generator) -> dict[str, Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.half):
                parts, whole = steps(count, rng), covers(rng)
            loss = parts["drafted"] + parts["refined"] + whole / 4 + config.taste * parts["taste"]
            return {"loss": loss, **parts, "covers": whole}

        def save(_: int, now: nn.Module) -> None:
            users, framing = crowd_of(self.bank, self.covers, self.subjects, 2000, self.seed)
            if encoded is not None:
                users = np.concatenate([users, encoded.users[: len(users)]])
                framing = np.concatenate([framing, encoded.favourite[: len(framing), 3]])
            fields = {"grounds": config.side, "drafts": config.draft, "layouts": bare.layouts}
            finished = with_placement(adapter, users, framing, **fields)
            export.drawing(self.out / "starter", finished, model.denoiser, self.vae)

        return train(self.out / "train", model, fit, step, config, until, save)

    def _encoded(self) -> EncodedUsers | None:
        if not (folder := self.root / "users").is_dir():
            return None
        themes = np.array([CATEGORIES.index(s.category) for s in self.subjects])[self.bank.subject]
        return EncodedUsers(folder, self.bank, self.covers, themes, self.config.users, self.seed)

    def _whole(self) -> Tensor:
        """Latents of the covers, at 128 pixels."""
        return cached(
            self.out / "whole.npy", lambda: encode(self.vae, self.bank.images) * self.vae.config.scaling_factor
        )

    def _items(self) -> tuple[Tensor, Prefixes, np.ndarray]:
        subjects = [self.subjects[i] for i in self.trained]
        side = self.pipeline.vlm.config.vision_config.image_size
        shown = np.stack([np.stack([np.asarray(on_white(s.sprites[k], side)) for k in STYLES]) for s in subjects])
        patches = vlm.features(self.pipeline.vlm, shown.reshape(-1, *shown.shape[2:]))
        patches = patches.unflatten(0, (len(subjects), -1))
        prefixes = Prefixes(self.pipeline.vlm, self.pipeline.processor, [s.title for s in subjects], patches)
        slot = np.full(len(self.subjects), -1)
        slot[self.trained] = np.arange(len(subjects))
        adapter = self.pipeline.adapter
        rows = np.arange(len(prefixes.mask))
        with torch.no_grad():
            batches = [prefixes.read(adapter.meta_tokens.weight, rows[i : i + 256]) for i in range(0, len(rows), 256)]
            return torch.cat([adapter.standard(batch).half() for batch in batches]), prefixes, slot


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train grounds`."""
    parser = Flags(__name__, __doc__, art="unless smoke", steps=3_000, batch=72, lr=6e-4)
    parser.number("side", GroundsConfig.side, "pixels of a ground's edge")
    parser.number("draft", GroundsConfig.draft, "pixels of the edge of its draft")
    parser.number("grounds", GroundsConfig.grounds, "grounds to learn from")
    parser.number("carry", 300, "steps of the adapter alone, before")
    parser.add_argument("--starter", type=Path, default=SHIPPED, help="folder to go on from (default: the shipped one)")
    parser.add_argument("--half", action="store_true", help="bfloat16: half of the time on CPUs with AVX-512 BF16")
    parser.add_argument("--space", type=Path, required=True, help="a folder of `icg train space`")
    args = parser.parse_args(argv)
    subjects = procedural() if args.smoke else load_subjects(args.art)
    if args.side % args.draft:
        raise IcgError(f"side={args.side} with draft={args.draft}; allowed: a multiple of the draft's edge")
    config = GroundsConfig(args.side, args.draft, grounds=args.grounds, carry=args.carry, half=args.half)
    if args.smoke:
        config = replace(config, side=128, draft=64, covers=48, grounds=48, users=40, carry=4)
    steps, batch = (4, 8) if args.smoke else (args.steps, args.batch)
    args.out.mkdir(parents=True, exist_ok=True)
    fit = Fit(steps, args.lr, batch, args.seed, warmup=min(30, steps // 4), save_every=50, ema=0.995)
    losses = Run(args.out, subjects, args.space, args.starter, config, args.seed).train(fit)
    print(json.dumps({"config": asdict(config), **losses}))
