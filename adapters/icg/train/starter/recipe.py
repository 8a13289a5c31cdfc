"""The whole starter: art -> bank -> autoencoder -> vision -> embedding -> VLM -> align -> diffusion. Resumable.

    icg train starter --art node_modules --out runs/starter
    icg train starter --smoke --out runs/smoke        (under a minute, procedural shapes, no art needed)

Every stage writes its checkpoint, TensorBoard log and resolved config below --out; a finished stage is not run again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from icg import starter
from icg.data.art import STYLES, Subject, load_subjects, on_white, procedural
from icg.data.bank import AXES, Bank, load_or_build
from icg.data.sample_titles import TITLES
from icg.gates.domain import PART, Domain, features
from icg.models.dual import DualEncoder
from icg.models.joint import SIDE, CoverHead
from icg.train.flags import Flags
from icg.train.loop import Fit
from icg.train.starter import align, autoencoder, diffusion, export, joint, vlm
from icg.train.starter import preference_space as embedding
from icg.train.starter import tokenizer as titles
from icg.train.starter.prefixes import Prefixes
from icg.train.starter.simulated_users import Crowd


@dataclass(frozen=True)
class StarterRecipe:
    """All settings of the starter. The defaults are the full recipe; the model card lists those of the shipped one."""

    covers: int = 24000
    vocab: int = 1024
    seed: int = 0
    emphasis: float = 3.0
    """Relative frequency of the sample catalogue's subjects in the last stage."""
    fits: dict[str, Fit] = field(
        default_factory=lambda: {
            "autoencoder": Fit(steps=1200, lr=1.5e-3, batch=16, warmup=50),
            "joint": Fit(steps=1300, lr=1.2e-3, batch=96, warmup=50, save_every=200),
            "embedding": Fit(steps=500, lr=3e-3, batch=192, warmup=40, save_every=100),
            "vlm": Fit(steps=330, lr=2e-3, batch=64, warmup=50, save_every=100),
            "align": Fit(steps=150, lr=2e-3, batch=96, warmup=20),
            "users": Fit(steps=200, lr=2e-3, batch=128, warmup=20),
            "diffusion": Fit(steps=8000, lr=1.2e-3, batch=64, warmup=50, save_every=200, ema=0.998),
        }
    )
    autoencoder: autoencoder.AutoencoderConfig = field(default_factory=autoencoder.AutoencoderConfig)
    vision: joint.VisionConfig = field(default_factory=joint.VisionConfig)
    reader: embedding.EmbeddingConfig = field(default_factory=embedding.EmbeddingConfig)
    language: vlm.LanguageConfig = field(default_factory=vlm.LanguageConfig)
    drawing: diffusion.DiffusionConfig = field(default_factory=diffusion.DiffusionConfig)


def smoke() -> StarterRecipe:
    """Widths and steps so small that every stage runs in seconds; the pictures are noise."""
    tiny = Fit(steps=4, lr=1e-3, batch=8, warmup=1, save_every=2)
    return StarterRecipe(
        covers=48,
        vocab=300,
        fits=dict.fromkeys(StarterRecipe().fits, tiny) | {"diffusion": replace(tiny, ema=0.9)},
        vision=joint.VisionConfig(width=32, layers=1, heads=2, mlp=64),
        reader=embedding.EmbeddingConfig(tower=16, vision=32, hidden=32),
        language=vlm.LanguageConfig(width=32, layers=1, heads=2, mlp=64),
        drawing=diffusion.DiffusionConfig(width=32, layers=1, heads=2, caption=32, tokens=4),
    )


class Run:
    """One run folder; each stage is a method, to be called in order."""

    def __init__(self, out: Path, recipe: StarterRecipe, subjects: list[Subject], workers: int = 1) -> None:
        self.out, self.recipe, self.subjects = out, recipe, subjects
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
        self.trained = [i for i, s in enumerate(subjects) if not s.held_out]
        self.bank: Bank = load_or_build(
            out / "bank.npz", subjects, recipe.covers, recipe.seed + 1, self.trained, workers
        )
        side = recipe.vision.side
        self.references = np.stack(
            [np.stack([np.asarray(on_white(s.sprites[k], side)) for k in STYLES]) for s in subjects]
        )
        self.tokenizer = self._tokenizer()
        self.starter = out / "starter"

    @functools.cached_property
    def small(self) -> Bank:
        """The bank at the size of the vision tower's and the embedding's pictures."""
        reduced = [Image.fromarray(i).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for i in self.bank.images]
        return replace(self.bank, images=np.stack([np.asarray(i) for i in reduced]))

    def fit(self, stage: str) -> Fit:
        """The stage's schedule, with the recipe's seed."""
        return replace(self.recipe.fits[stage], seed=self.recipe.seed)

    def autoencoder(self) -> Any:
        """Stage 1."""
        return autoencoder.run(self.out / "autoencoder", self.bank, self.fit("autoencoder"), self.recipe.autoencoder)

    def joint(self) -> joint.Joint:
        """Stage 2."""
        titles = DualEncoder.from_pretrained(starter.path() / "dual")
        titles.save_pretrained(self.starter / "dual")
        data = (self.subjects, self.small, self.references, torch.no_grad()(titles.titles))
        return joint.run(self.out / "joint", *data, self.fit("joint"), self.recipe.vision)

    def embedding(self, vae: Any) -> CoverHead:
        """Stage 3; writes joint/ of the starter."""
        data = (self.subjects, self.small, self._encode(vae, self.small.images))
        head = embedding.run(self.out / "embedding", *data, self.fit("embedding"), self.recipe.reader)
        head.save_pretrained(self.starter / "joint")
        return head

    def vlm(self, vision: joint.Joint) -> tuple[Any, Any]:
        """Stage 4; writes vlm/ of the starter."""
        torch.manual_seed(self.recipe.seed)
        model = vlm.build(vision, self.tokenizer, self.recipe.language)
        data = (self.subjects, self.small, self.references, self.tokenizer)
        vlm.run(self.out / "vlm", model, *data, self.fit("vlm"), self.recipe.language)
        processor = vlm.processor_of(model, self.tokenizer)
        export.seeing(self.starter, model, processor)
        return model.requires_grad_(False), processor

    def domain(self) -> None:
        """Writes domain/ of the starter: how far its training pictures, references and covers, are spread in the trunk's features."""
        trunk = DualEncoder.from_pretrained(self.starter / "dual").trunk
        references = self.references[self.trained].reshape(-1, *self.references.shape[2:])
        kinds = [[Image.fromarray(i) for i in images] for images in (references, self.bank.images[:3000])]
        rng = np.random.default_rng(self.recipe.seed)
        Domain.measure([rng.permutation(features(trunk, kind)) for kind in kinds]).save_pretrained(self.starter / PART)

    def diffusion(self, vae: Any, head: CoverHead, model: Any, processor: Any, until: int | None = None) -> dict:
        """Stages 5 and 6; writes diffusion/ and adapter/ of the starter at every save. Returns the last losses."""
        latents = self._encode(vae, self.bank.images)
        patches = vlm.features(model, self.references[self.trained].reshape(-1, *self.references.shape[2:]))
        patches = patches.unflatten(0, (len(self.trained), -1))
        prefixes = Prefixes(model, processor, [self.subjects[i].title for i in self.trained], patches)
        slot = np.full(len(self.subjects), -1)
        slot[self.trained] = np.arange(len(self.trained))
        crowd = Crowd(self.bank, embedding.embed(head, self._encode(vae, self.small.images)))
        torch.manual_seed(self.recipe.seed)
        adapter = diffusion.new_adapter(model.config.get_text_config().hidden_size, self.recipe.drawing)
        namer = align.run(self.out / "align", adapter, prefixes, len(self.trained), self.fit("align"))
        items = align.table(adapter, prefixes)
        align.users(self.out / "align-users", namer, items, prefixes, self.bank, crowd, self.fit("users"))
        drawer = diffusion.build(namer, latents.shape[1], latents.shape[2], self.recipe.drawing)

        emphasis = np.array([self.recipe.emphasis if s.id in TITLES else 1.0 for s in self.subjects])

        def save(_: int, now: Any) -> None:
            export.drawing(self.starter, now.adapter, now.denoiser, vae)

        rest = (self.bank, latents, crowd, self.fit("diffusion"), self.recipe.drawing)
        folder = self.out / "diffusion"
        return diffusion.run(folder, drawer, prefixes, items, slot, *rest, until, emphasis, save)

    def all(self, until: int | None = None) -> dict:
        """All stages in order; a finished one only loads its checkpoint."""
        vae = self.autoencoder()
        head = self.embedding(vae)
        model, processor = self.vlm(self.joint())
        self.domain()
        return self.diffusion(vae, head, model, processor, until)

    def _encode(self, vae: Any, images: np.ndarray) -> torch.Tensor:
        return autoencoder.encode(vae, images) * vae.config.scaling_factor

    def _tokenizer(self) -> Any:
        folder = self.out / "tokenizer"
        if not folder.exists():
            words = [self.subjects[i].title for i in self.trained] + [v for axis in AXES for v in axis]
            corpus = words * 3 + ["a the picture style on white"]
            titles.train_tokenizer(corpus, self.recipe.vocab).save_pretrained(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train starter`."""
    parser = Flags(__name__, __doc__, art="unless smoke", workers=2)
    args = parser.parse_args(argv)
    recipe = replace(smoke() if args.smoke else StarterRecipe(), seed=args.seed)
    subjects = procedural() if args.smoke else load_subjects(args.art, args.out / "art.npz")
    losses = Run(args.out, recipe, subjects, 1 if args.smoke else args.workers).all()
    print(json.dumps({"starter": str(args.out / "starter"), "bytes": export.size(args.out / "starter"), **losses}))
