"""NVIDIA's perf_analyzer against the model repository, on a Triton server started for it.

    python -m benchmarks.perf_analyzer --binary PATH [--concurrency 1 8] [--steps 8] [--seconds 10]

The binary lies in PyPI's wheel of tritonclient 2.51 (docs/triton.md says how to get it out); libraries it misses are those of the Triton
wheel that the tests run. By model and number of requests at a time: covers, or judged pictures, a second, and the 95th percentile of how
long one took. perf_analyzer repeats one request, so its item is read once.
"""

import argparse
import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.triton import Triton, _wheel, running

LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
PICTURE = Path(__file__).parents[1] / "deploy/triton/cover_scorer/warmup"


def tensor(*values: int) -> dict[str, Any]:
    """As perf_analyzer's input file has it."""
    return {"content": list(values), "shape": [len(values)]}


def request(model: str, steps: int) -> dict[str, Any]:
    """A cover of "panda", or the judgement of the warm-up's picture."""
    if model == "cover_generator":
        return {"title": tensor(*b"panda"), "steps": tensor(steps), "seed": tensor(1)}
    picture, title = ((PICTURE / name).read_bytes() for name in ("images", "titles"))
    return {
        "images": tensor(*picture),
        "image_lengths": tensor(len(picture)),
        "titles": tensor(*title),
        "title_lengths": tensor(len(title)),
    }


def analyze(server: Triton, model: str, args: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """{requests at a time: figures}."""
    body, table = request(model, args.steps), folder / f"{model}.csv"
    inputs = folder / f"{model}.json"
    inputs.write_text(json.dumps({"data": [body]}))
    least, most = min(args.concurrency), max(args.concurrency)
    command = [
        *(args.binary, "-m", model, "-i", "grpc", "-u", server.address, "--input-data", inputs, "-f", table),
        *(
            "--concurrency-range",
            f"{least}:{most}:{max(1, most - least)}",
            "--measurement-interval",
            str(1000 * args.seconds),
        ),
        *(part for name, each in body.items() for part in ("--shape", f"{name}:{each['shape'][0]}")),
        *("--stability-percentage", "200", "--percentile", "95"),
        *(("--streaming", "--async") if model == "cover_generator" else ()),
    ]
    for library in LIBRARIES:
        name = library.split(".")[0]
        (path,) = (_wheel().parent / "nvidia_pytriton.libs").glob(f"{name}-*.so.*")
        if not (folder / library).exists():
            (folder / library).symlink_to(path)
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "LD_LIBRARY_PATH": str(folder)}, capture_output=True, text=True
    )
    print(done.stdout, done.stderr, flush=True)
    done.check_returncode()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["Concurrency"]: {
            "per_s": float(row["Inferences/Second"]),
            "p95_s": float(row["p95 latency"]) / 1e6,
        }
        for row in rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--models", nargs="+", default=["cover_generator", "cover_scorer"])
    args = parser.parse_args()
    with running() as server, tempfile.TemporaryDirectory() as folder:
        server.ready()
        result = {model: analyze(server, model, args, Path(folder)) for model in args.models}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
