"""Do conditions become better if each meta token has a vector of its own in the connector? On the starter's two models and its sample.

    python -m benchmarks.token_rank [--steps 300] [--seeds 3]

Trains `icg train connector --stage tokens` with and without these vectors, from new adapters, on the sample's covers. The baseline is
without. Prints, as mean and deviation over seeds, the held-out loss and the effective rank of an item's readings and conditions.
"""

import argparse
import json
import tempfile
from pathlib import Path

import eyecatch
import numpy as np
from icg import starter
from icg.train.connector.pretraining import TOKENS, ConnectorConfig
from icg.train.connector.setup import Paths, assemble
from icg.train.loop import Fit

SAMPLE = Path(eyecatch.__file__).parent / "sample"
FIGURES = ("validation", "rank_of_readings", "rank_of_conditions")


def trained(folder: Path, places: bool, steps: int, seed: int) -> dict[str, float]:
    root = starter.path()
    paths = Paths(folder / f"{places}-{seed}", folder / "cache", None, root / "vlm", root / "diffusion", SAMPLE)
    sizes = {"tokens": 16, "layers": 2, "places": places}
    run = assemble(paths, ConnectorConfig(TOKENS), 128 * 128, 16, seed, sizes, held_out=0.15)
    losses = run.run(paths.out, Fit(steps, 1e-3, 16, seed, warmup=steps // 10, save_every=steps, ema=0.99))
    return {name: losses[name] for name in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    result: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, places in (("without", False), ("with", True)):
            runs = [trained(Path(folder), places, args.steps, seed) for seed in range(args.seeds)]
            result[name] = {
                figure: [round(float(f([run[figure] for run in runs])), 4) for f in (np.mean, np.std)]
                for figure in FIGURES
            }
    for name, figures in result.items():
        print(
            f"{name:8}", ", ".join(f"{figure} {mean:.4f} ± {spread:.4f}" for figure, (mean, spread) in figures.items())
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
