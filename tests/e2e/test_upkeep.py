"""Another checkpoint on a state that exists, and taste clusters, by our own commands."""

import json
import os
import shutil
from pathlib import Path

import grpc
import pytest
from eyecatch.client import Client, connect
from eyecatch.v1 import behavior_pb2, covers_pb2
from icg import starter

from tests.e2e.conftest import run, run_json, serving, two_tastes
from tests.servers import until

PARTS = ("vlm", "diffusion", "adapter", "space", "dual", "aesthetic", "users")


def checkpoint(folder: Path, without: str = "", changed: str = "") -> str:
    """The starter in another folder: without one part, or with one weight of a part changed."""
    folder.mkdir()
    for part in PARTS:
        if part == changed:
            shutil.copytree(starter.path() / part, folder / part)
            weights = next((folder / part).glob("*.safetensors"))
            data = bytearray(weights.read_bytes())
            data[-2] ^= 1
            weights.write_bytes(data)
        elif part != without:
            (folder / part).symlink_to(starter.path() / part)
    return str(folder)


def personalised(client: Client) -> bool:
    """On a busy machine the encoding may take longer than its answer waits; then it is there for the next one."""
    request = covers_pb2.RecommendCoversRequest(user_id="mia", item_ids=["panda"])
    return client.covers.RecommendCovers(request, timeout=10).personalised


def has_taste(client: Client) -> bool:
    """Likewise: until it is encoded again, a profile is refused as unavailable."""
    try:
        profile = client.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id="mia"), timeout=10).profile
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return profile.HasField("taste")


def test_users_follow_another_encoder_at_once_and_for_good(data_dir: Path, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "mean", without="users")
    flags = ("--exploration", "0", "--no-preload", "--reencode-every-s", "0")
    with serving(data_dir, *flags, EYECATCH_CHECKPOINT=other) as (address, _), connect(address) as client:
        until(lambda: personalised(client), "an answer for which the user was encoded again")
    environment = {**os.environ, "EYECATCH_CHECKPOINT": other}
    command = ("users", "reencode", "--data-dir", str(data_dir), "--json")
    assert json.loads(run(*command, env=environment).stdout) == {"reencoded": 6}
    assert json.loads(run(*command, env=environment).stdout) == {"reencoded": 0}
    with serving(data_dir, "--no-preload") as (address, _), connect(address) as client:
        until(lambda: personalised(client), "the encoder of the starter again")
        until(lambda: has_taste(client), "a profile in the space of the encoder")


@pytest.mark.slow
def test_covers_of_another_model_are_refused_until_they_are_embedded_anew(data_dir: Path, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other", changed="space")
    environment = {**os.environ, "EYECATCH_CHECKPOINT": other}
    refused = run("serve", "--data-dir", str(data_dir), "--port", "0", check=False, env=environment)
    assert refused.returncode == 1
    assert "another model" in refused.stderr
    assert "eyecatch items reembed" in refused.stderr
    done = run("items", "reembed", "--data-dir", str(data_dir), "--json", env=environment)
    assert json.loads(done.stdout) == {"reembedded": 48 * (4 + 5)}, "references and covers"
    with serving(data_dir, "--no-preload", EYECATCH_CHECKPOINT=other) as (address, _), connect(address) as client:
        until(lambda: personalised(client), "a personalised answer")
    assert run("serve", "--data-dir", str(data_dir), "--port", "0", check=False).returncode == 1


def test_taste_clusters_are_fitted_and_shown(data_dir: Path, tmp_path: Path) -> None:
    where = ("--data-dir", str(data_dir))
    assert "clusters fit" in run("clusters", "show", *where, check=False).stderr
    few = run("clusters", "fit", *where, check=False)
    assert few.returncode == 1
    assert "needs at least 80 users" in few.stderr
    run("import", "events", str(two_tastes(tmp_path / "events.csv")), *where)
    for generation in (1, 2):
        fitted = run_json("clusters", "fit", "--count", "2", "--least", "10", *where)
        assert (fitted["generation"], len(fitted["shares"])) == (generation, 2)
        assert fitted["users"] >= 60
    assert max(fitted["drift"]) < 0.01
    assert fitted["moved"] == 0
    assert run_json("clusters", "show", *where) == fitted
    assert "2 clusters of" in " ".join(run("clusters", "show", *where).stdout.split())
