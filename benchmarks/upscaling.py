"""What upscaling gains over bicubic, whether tiles show, and what it costs beside drawing.

    python -m benchmarks.upscaling [--checkpoint FOLDER] [--rounds 5] [--seeds 3] [--count 24]

psnr_gain (dB), ssim_gain: over bicubic on sample covers of subjects that no upscaler was trained on, four times smaller. seam_ratio: mean
difference between tiled and whole at the tiles' edges / elsewhere (1 = cannot be told), on a drawing of 320 px; seam_ratio_hard: the same
without overlap, to compare. ms_per_megapixel: of what comes out. upscaler_share: seconds to enlarge a cover and to encode it / seconds to
draw it with the shipped starter, four at a time, in turn.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

# Read when torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import eyecatch
from icg import starter
from icg.brief import Brief
from icg.data.upscaling import random_cover
from icg.evaluate.upscaling import measure, seams
from icg.models.upscale import Upscaler
from icg.provenance import to_png
from PIL import Image

from benchmarks import report
from benchmarks.clock import seconds

COVERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=starter.path() / "upscaler", help="a Swin2SR of factor 4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=24)
    args = parser.parse_args()
    upscaler, pipeline = Upscaler.from_pretrained(args.checkpoint), starter.load().pipeline
    briefs = [Brief("panda", seed=n) for n in range(COVERS)]
    covers = pipeline(briefs)

    def enlarge() -> list[Image.Image]:
        large: list[Image.Image] = upscaler(covers)
        for picture in large:
            to_png(picture, {}, optimize=False)
        return large

    enlarged = enlarge()
    megapixels = sum(picture.width * picture.height for picture in enlarged) / 1e6
    shares, costs = [], []
    for _ in range(args.rounds):
        drawing = seconds(lambda: pipeline(briefs))
        shares.append(seconds(enlarge) / drawing)
        costs.append(seconds(lambda: upscaler(covers)) * 1000 / megapixels)
        print(f"upscaling {shares[-1]:.3f} of drawing, {costs[-1]:.0f} ms a megapixel", flush=True)
    picture = random_cover(1, 1, 320)
    soft, hard = (seams(each, picture) for each in (upscaler, Upscaler(upscaler.model, overlap=0)))
    print(f"seams {json.dumps(soft)}, without overlap {json.dumps(hard)}", flush=True)
    table = measure(args.checkpoint, Path(eyecatch.__file__).parent / "sample" / "covers", args.seeds, args.count)
    for what, row in table.items():
        means = {name: f"{statistics.fmean(v):.4f} ± {statistics.pstdev(v):.4f}" for name, v in row.items()}
        print(what, json.dumps(means, ensure_ascii=False), flush=True)
    figures = {
        "psnr_gain": statistics.fmean(table["catalogue"]["psnr_gain"]),
        "ssim_gain": statistics.fmean(table["catalogue"]["ssim_gain"]),
        "seam_ratio": soft["ratio"],
        "seam_ratio_hard": hard["ratio"],
        "ms_per_megapixel": statistics.median(costs),
        "upscaler_share": statistics.median(shares),
    }
    report(figures)


if __name__ == "__main__":
    main()
