"""What judging costs beside drawing: seconds a cover, and what a batch waits for a judge at work beside it.

    python -m benchmarks.judging [--rounds 5] [--covers 16] [--checkpoint FOLDER]

judge_share: seconds to judge covers / seconds to draw them (asked: at most 0.1). wait_ratio: seconds for a batch of covers while the judge
works all the time in the generator's own thread / without it. In turn, on one checkpoint; the shipped starter by default.
"""

import argparse
import os
import statistics
import threading
from pathlib import Path

# Read when torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from icg import starter
from icg.brief import Brief
from icg.reliability.judge import Judge
from icg.scheduler.engine import StepScheduler
from PIL import Image, ImageDraw

from benchmarks import report
from benchmarks.clock import seconds


def briefs(count: int) -> list[Brief]:
    """Product pictures of a ball."""
    ball = Image.new("RGBA", (96, 96))
    ImageDraw.Draw(ball).ellipse((8, 8, 88, 88), fill="orange", outline="black", width=3)
    return [Brief("small soccer ball, 22 cm high", seed=n, product=ball, inpaint=True) for n in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--covers", type=int, default=16)
    parser.add_argument("--checkpoint", type=Path, default=starter.path())
    args = parser.parse_args()
    parts = starter.load(args.checkpoint)
    judge: Judge = parts.judge or Judge.from_pretrained(args.checkpoint / "reliability")
    requests = briefs(args.covers)
    products, captions = [b.product for b in requests], [b.title for b in requests]
    scheduler = StepScheduler(parts.pipeline)

    def draw() -> list[Image.Image]:
        return [future.result() for future in [scheduler.submit(b) for b in requests]]

    covers = draw()
    judge(covers, products, captions)  # type: ignore[arg-type]
    shares, waits = [], []
    for _ in range(args.rounds):
        drawing = seconds(draw)
        shares.append(seconds(lambda: judge(covers, products, captions)) / drawing)  # type: ignore[arg-type]
        stop = threading.Event()

        def work(stop: threading.Event = stop, pause: float = drawing / args.covers) -> None:
            while not stop.is_set():
                judge(covers[:4], products[:4], captions[:4])  # type: ignore[arg-type]
                stop.wait(pause)  # as often as covers come

        beside = threading.Thread(target=work)
        beside.start()
        waits.append(seconds(draw) / drawing)
        stop.set()
        beside.join()
        print(f"judge {shares[-1]:.3f} of drawing, a batch beside it {waits[-1]:.2f}", flush=True)
    scheduler.close()
    figures = {"judge_share": statistics.median(shares), "wait_ratio": statistics.median(waits)}
    report(figures)


if __name__ == "__main__":
    main()
