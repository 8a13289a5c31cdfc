"""Users' own vectors in connector pre-training: who is drawn at a prior, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from icg.data.behaviour import LIKE, Log
from icg.errors import IcgError
from icg.train.connector.priors import priors
from icg.train.connector.source import CoverUsers
from icg.users.vector_map import VectorMap


def mapping(folder: Path, width: int = 3) -> Path:
    path = folder / "map.safetensors"
    slopes = np.eye(width, 64, dtype=np.float32)
    path.write_bytes(VectorMap(np.zeros(width, np.float32), np.ones(width, np.float32), slopes).to_bytes())
    return path


def table(folder: Path, rows: dict[str, list[float]]) -> Path:
    path = folder / "users.jsonl"
    path.write_text("".join(json.dumps({"user_id": u, "embedding": v}) + "\n" for u, v in rows.items()))
    return path


def test_training_users_get_the_prior_of_their_vector(tmp_path: Path) -> None:
    file = table(tmp_path, {"mia": [0.5, 0, 0], "stranger": [1, 1], "noah": [0, 9, 0]})
    rows = priors(file, mapping(tmp_path), {"noah": 0, "mia": 1, "liv": 2})
    assert sorted(rows) == [0, 1]
    assert rows[1][:2].tolist() == [0.5, 0]
    assert rows[0][:2].tolist() == [0, 1], "at most unit length, as in the services"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"mia": [1.0, 2.0]}, "row 1: embedding=2 numbers; allowed: 3 finite numbers"),
        ({"mia": [1.0, 2.0, float("nan")]}, "not finite"),
        ({"stranger": [1.0, 2.0, 3.0]}, "0 of 1 training users"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, rows: dict[str, list[float]], words: str) -> None:
    with pytest.raises(IcgError, match=words):
        priors(table(tmp_path, rows), mapping(tmp_path), {"mia": 0})
    with pytest.raises(IcgError, match="embeddings fit --out"):
        priors(table(tmp_path, rows), tmp_path / "none.safetensors", {"mia": 0})


def test_half_of_the_draws_of_such_a_user_show_the_prior() -> None:
    zeros = np.zeros(4, int)
    columns = (np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.full(4, LIKE), zeros, np.arange(4), zeros, zeros)
    looks, prior = np.eye(2, 64, dtype=np.float32), np.full(64, 0.01, np.float32)
    tastes = CoverUsers(Log(*columns), looks, np.arange(2), {1: prior})
    users = tastes.draw(np.zeros(400, int), np.random.default_rng(0))
    at_prior = (users == prior).all(1)
    assert 60 < at_prior.sum() < 140, "half of the draws of one of two users"
    assert (users[~at_prior] == looks[1]).all()
