"""Pictures of the starter for ten seeds, to compare two commits bit by bit.

git worktree add ../before COMMIT
PYTHONPATH=../before/services:../before/adapters python tests/starter_pictures.py before.npz
python -m tests.starter_pictures after.npz --against before.npz
"""

import argparse
from pathlib import Path

import eyecatch
import numpy as np
from icg import starter
from icg.brief import Brief
from PIL import Image, ImageDraw

TITLES = ("panda", "rocket", "fox", "pizza")


def user(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))


def briefs(seed: int) -> dict[str, Brief]:
    """One brief of each kind: plain, guided by the user, anchored in a product, inpainted around it."""
    picture = Image.open(Path(eyecatch.__file__).parent / "sample" / "covers" / "guitar-0.webp").convert("RGB")
    title, product = TITLES[seed % len(TITLES)], Image.new("RGBA", (80, 80))
    ImageDraw.Draw(product).ellipse((10, 5, 70, 75), fill="crimson", outline="black", width=4)
    return {
        "plain": Brief(title, (), user(seed), seed=seed),
        "guided": Brief(title, (), user(seed), seed=seed, user_guidance=2.0, guided=(0.125, 0.375)),
        "anchored": Brief(title, (picture,), user(seed), seed=seed, reference_strength=0.88, product=product),
        "inpainted": Brief(title, (picture,), user(seed), seed=seed, product=product, inpaint=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--against", type=Path, help="pictures of another commit")
    args = parser.parse_args()
    pipeline = starter.load().pipeline
    pictures = {
        f"{kind} {seed}": np.asarray(pipeline([brief])[0]) for seed in range(10) for kind, brief in briefs(seed).items()
    }
    np.savez(args.out, **pictures)
    if args.against:
        before = np.load(args.against)
        for name, picture in pictures.items():
            worst = int(np.abs(picture.astype(int) - before[name].astype(int)).max())
            print(f"{name:14} {'equal' if worst == 0 else f'differs by at most {worst} grey levels'}")


if __name__ == "__main__":
    main()
