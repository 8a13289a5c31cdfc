"""A tour of the product: recommend, generate, recommend again, teach, forget; by the command line and by gRPC."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from eyecatch.client import Client
from eyecatch.core.defaults import SCORING
from eyecatch.v1 import covers_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from icg import provenance
from PIL import Image

from tests.e2e.conftest import run, run_json, serving
from tests.fresh_protos import PROTOS


def test_users_see_different_covers_of_the_same_items(server: str) -> None:
    items = ["panda", "pizza", "rocket", "bicycle"]
    best = {}
    for user in ("mia", "noah", "lena"):
        answer = run_json("recommend", *items, "--user", user, "--server", server)
        assert answer["personalised"]
        best[user] = [i["covers"][0]["cover_id"] for i in answer["items"]]
    assert sum(a != b for a, b in zip(best["mia"], best["noah"], strict=True)) >= 2
    cold = run_json("recommend", *items, "--user", "nobody", "--server", server)
    assert "personalised" not in cold, "false is not printed"


def test_a_generated_cover_joins_the_pool_and_says_what_it_is(server: str, tmp_path: Path) -> None:
    before = run_json("covers", "owl", "--server", server)["covers"]
    args = (
        "draw",
        "owl",
        "--user",
        "noah",
        "--seed",
        "3",
        "--count",
        "2",
        "--out",
        str(tmp_path),
        "--server",
        server,
    )
    covers = run_json(*args)["covers"]
    assert [c["provenance"]["seed"] for c in covers] == ["3", "4"]
    after = run_json("covers", "owl", "--server", server)["covers"]
    assert len(after) == len(before) + 2
    for cover in covers:
        data = (tmp_path / f"{cover['id']}.png").read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        assert min(image.size) >= 64
        stated = provenance.read(data)
        assert stated["ai_generated"] is True
        assert str(stated["seed"]) == cover["provenance"]["seed"]
        assert stated["brief_digest"] == cover["provenance"]["brief_digest"]
        assert provenance.AI_GENERATED.encode() in data
        colours = image.getcolors(maxcolors=1 << 20)
        assert colours is not None
        assert len(colours) > 100, "a picture, not a flat colour"
    ranked = run_json("rank", "owl", "--user", "noah", "--server", server)["covers"]
    passed = {c["id"] for c in covers if not c.get("reasons")}
    assert {c["id"] for c in covers} & {c["cover_id"] for c in ranked} == passed, "what fails a gate is shown to nobody"
    assert {c["trust"] for c in covers if c["id"] in passed} <= {"TRUST_TRUSTED"}


def test_engagement_counts_where_it_has_a_weight(data_dir: Path) -> None:
    flags = ("--exploration", "0", "--made-covers", "trusted", "--reward-weights", "engagement=2,preference=0.5")
    with serving(data_dir, *flags) as (address, _):
        flags = ("--user", "noah", "--server", address)
        new = run_json("draw", "fox", "--seed", "7", "--count", "3", *flags)["covers"]
        ranked = {c["cover_id"]: c for c in run_json("rank", "fox", *flags)["covers"]}
        covers = next(c for c in new if c["id"] in ranked)
    parts = {id: {part["name"]: part for part in cover["parts"]} for id, cover in ranked.items()}
    ours, scale = parts.pop(covers["id"])["engagement"], next(s for s in SCORING.stored if s.name == "engagement")
    assert ours["value"] == pytest.approx(covers["rewards"]["engagement"], abs=1e-5)
    assert ours["contribution"] == pytest.approx(2 * (ours["value"] - scale.mean) / scale.deviation, abs=1e-4)
    before = [stated for id, stated in parts.items() if id not in {c["id"] for c in new}]
    assert before
    assert not any("engagement" in stated for stated in before), "covers from before count as the mean"


def test_the_same_seed_gives_the_same_cover_and_users_differ(client: Client) -> None:
    def image(user: str, seed: int) -> bytes:
        request = covers_pb2.GenerateCoversRequest(user_id=user, item_id="tiger", seed=seed)
        (cover,) = [
            u.cover for u in client.covers.GenerateCovers(request, timeout=60) if u.WhichOneof("update") == "cover"
        ]
        return Image.open(io.BytesIO(cover.image)).tobytes()

    assert image("mia", 1) == image("mia", 1)
    assert image("mia", 1) != image("noah", 1)
    assert image("mia", 1) != image("mia", 2)


def imported(covers: list[dict[str, Any]]) -> list[str]:
    """Ids of the guitar's own covers, in this order."""
    return [cover["cover_id"] for cover in covers if cover["cover_id"].startswith("guitar-")]


def test_behaviour_changes_the_next_answer(server: str) -> None:
    covers = run_json("covers", "guitar", "--server", server)["covers"]
    liked = covers[-1]["id"]
    before = imported(run_json("rank", "guitar", "--user", "zoe", "--server", server)["covers"])
    for n in range(3):
        run("events", "record", "zoe", "guitar", "like", "--cover", liked, "--event-id", f"z{n}", "--server", server)
    assert not run_json("events", "record", "zoe", "guitar", "like", "--event-id", "z0", "--server", server)["accepted"]
    answer = run_json("rank", "guitar", "--user", "zoe", "--server", server)["covers"]
    assert imported(answer).index(liked) < before.index(liked), "of those; made covers of its look rise with it"
    preference = {
        c["cover_id"]: part["contribution"] for c in answer for part in c["parts"] if part["name"] == "preference"
    }
    others = [value for cover, value in preference.items() if cover.startswith("guitar-") and cover != liked]
    assert preference[liked] > max(others), "of the covers on a ground, as it is one"
    assert run_json("users", "show", "zoe", "--server", server)["event_count"] == "3"
    assert run_json("users", "forget", "zoe", "--server", server)["existed"]
    gone = run("users", "show", "zoe", "--server", server, check=False)
    assert gone.returncode == 1
    assert "NOT_FOUND" in gone.stderr


def test_items_in_and_out(server: str, tmp_path: Path) -> None:
    picture = tmp_path / "kite.png"
    Image.new("RGB", (80, 60), "orange").save(picture)
    run("items", "upsert", "my-kite", "--title", "My kite [red]", "--image", str(picture), "--server", server)
    assert "My kite [red]" in run("items", "get", "my-kite", "--server", server).stdout
    assert len(run_json("items", "list", "--page-size", "5", "--server", server)["items"]) == 5
    assert run_json("items", "delete", "my-kite", "--server", server)["covers_deleted"] == 1
    bad = run("items", "upsert", "x", "--title", "bad\x07title", "--server", server, check=False)
    assert bad.returncode == 1
    assert "items[0].title" in bad.stderr


def test_a_contact_sheet_is_a_picture(server: str, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    run("contact-sheet", "panda", "pizza", "--user", "mia", "--user", "nobody", "--out", str(out), "--server", server)
    with Image.open(out) as sheet:
        width, height = sheet.size
    assert width > 500
    assert height > 500


def test_health_and_reflection(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "eyecatch.v1.CoversService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=20)
        names = {s.name for s in answer.list_services_response.service}
    assert {"eyecatch.v1.CoversService", "eyecatch.v1.CatalogService", "eyecatch.v1.BehaviorService"} <= names


def test_no_server_is_a_readable_error() -> None:
    done = run("recommend", "a", "--server", "127.0.0.1:1", check=False)
    assert done.returncode == 1
    assert "start one with: eyecatch serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_generated_from_the_protos_in_another_language(server: str, tmp_path: Path) -> None:
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("needs Node; CI always has it")
    folder = shutil.copytree(Path(__file__).parent / "node", tmp_path / "node")
    npm = ("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(npm, cwd=folder, check=True, timeout=300)
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "generate", PROTOS, "--template", "buf.gen.yaml"], cwd=folder, check=True, timeout=60)
    command = ("node", "client.js", f"http://{server}", "mia", "panda", "nothing")
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["personalised"] is True
    assert answer["items"][0]["covers"][0]["coverId"]
    assert answer["items"][1]["problem"] == "ITEM_PROBLEM_UNKNOWN_ITEM"
    assert sum(p["contribution"] for p in answer["items"][0]["covers"][0]["parts"]) == pytest.approx(
        answer["items"][0]["covers"][0]["score"], abs=1e-4
    )
