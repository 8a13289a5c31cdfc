"""Benchmarks run to their end: small, for what they measure is not looked at here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "figures"),
    [
        (
            "scheduler",
            ("--requests", "4", "--items", "2", "--users", "2", "--tastes", "2", "--shared", "0.25"),
            {
                "p95_ratio",
                "throughput_ratio",
                "overload_goodput_ratio",
                "overhead_local",
                "shared_speedup",
                "shared_reward_loss",
            },
        ),
        ("generation", ("--requests", "4", "--only", "triton"), {"p95_ratio", "p95_ratio_mixed", "overhead_triton"}),
        (
            "gpu",
            ("--smoke", "--covers", "4", "--steps", "2", "--tokens", "4", "--rows", "8"),
            {"images_per_s_ratio", "images_per_s_ratio_batched", "mfu", "reward_loss"},
        ),
        (
            "cover_index",
            ("--rows", "3000", "--sizes", "2000", "--queries", "20"),
            {"hnsw_ratio_3000", "hnsw_recall_3000", "ivf-pq_recall_2000", "busy_p99_ratio"},
        ),
        (
            "importing",
            ("--items", "50", "--events", "500", "--pictures", "10", "--rounds", "1"),
            {"items_per_s", "events_per_s", "pictures_per_s", "pictures_memory_mb", "silent_s", "before"},
        ),
        (
            "recall_scale",
            ("--users", "300", "600", "--items", "2000", "--store-users", "50"),
            {"growth", "growth_cpu", "users_per_s_600", "gib_600", "read_events_per_s", "read_bytes"},
        ),
        ("judging", ("--covers", "2"), set()),
        ("pipeline", ("--covers", "4"), set()),
        ("starter", (), set()),
        ("serving", ("--seconds", "0.5"), {"two_process_throughput_ratio", "tls_cost"}),
        ("step_caching", ("--items", "2"), {"best_speedup", "fewer_steps_speedup"}),
        ("upscaling", ("--count", "2", "--seeds", "1"), set()),
    ],
)
def test_a_benchmark_ends_with_its_figures(name: str, arguments: tuple[str, ...], figures: set[str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert figures <= set(json.loads(done.stdout.splitlines()[-1]))
