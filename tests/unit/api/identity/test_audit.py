"""The audit log: deletions and changes of rights, by whom, without a user id."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from eyecatch.cli import app as cli
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.stores.sqlite import SqliteStore
from eyecatch.v1 import behavior_pb2, catalog_pb2
from eyecatch.wiring.serve import application
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.contracts.builders import MEAN
from tests.fakes import FakeGenerator
from tests.unit.api.conftest import Api
from tests.unit.api.identity.conftest import Write, token_of
from tests.waiting import until

USER = "mia@example.org"
FORGET = behavior_pb2.ForgetUserRequest(user_id=USER)


@pytest.fixture
def audited(one_each: Config, tmp_path: Path) -> Config:
    return replace(one_each, audit_log=str(tmp_path / "audit.jsonl"))


def entries(config: Config, without: str = "callers") -> list[dict[str, Any]]:
    lines = map(json.loads, Path(config.audit_log).read_text().splitlines())
    return [line for line in lines if line["action"] != without]


def by(caller: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token_of(caller)}")]


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Api]:
    async with (
        application(config, FakeGenerator(), MEAN) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.server.port}") as channel,
    ):
        yield Api(app, FakeGenerator(), channel)


async def test_a_deletion_names_its_caller_and_what_was_deleted(audited: Config) -> None:
    async with serving(audited) as api:
        with pytest.raises(grpc.aio.AioRpcError):
            await api.catalog.DeleteItem(catalog_pb2.DeleteItemRequest(item_id="a"), metadata=by("everything"))
    (entry,) = entries(audited)
    assert entry.pop("time")
    assert entry == {"action": "DeleteItem", "caller": "everything", "outcome": "NOT_FOUND", "item": "a"}


async def test_a_forgotten_user_is_a_digest_that_stays_the_same_after_a_restart(audited: Config) -> None:
    for _ in range(2):
        async with serving(audited) as api:
            await api.behavior.ForgetUser(FORGET, metadata=by("admin"))
    first, second = entries(audited)
    assert (first["action"], first["outcome"], len(first["user"])) == ("ForgetUser", "OK", 32)
    assert first["user"] == second["user"]
    assert USER not in Path(audited.audit_log).read_text()


async def test_a_command_prints_the_digest_of_a_user_beside_the_server(audited: Config) -> None:
    async with serving(audited) as api:
        await api.behavior.ForgetUser(FORGET, metadata=by("admin"))
        command = ["users", "digest", USER, "--data-dir", audited.data_dir]
        done = await asyncio.to_thread(CliRunner().invoke, cli, command)
    (entry,) = entries(audited)
    assert done.stdout == f"{entry['user']}\n"


def test_a_store_without_a_key_is_named(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path).close()
    done = CliRunner().invoke(cli, ["users", "digest", USER, "--data-dir", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (1, "error: no server with --audit-log has used this store\n")


async def test_another_store_has_other_digests(audited: Config, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        async with serving(replace(audited, data_dir=str(tmp_path / folder))) as api:
            await api.behavior.ForgetUser(FORGET, metadata=by("admin"))
    first, second = entries(audited)
    assert first["user"] != second["user"]


async def test_a_refused_deletion_is_in_the_log(audited: Config) -> None:
    async with serving(audited) as api:
        with pytest.raises(grpc.aio.AioRpcError):
            await api.behavior.ForgetUser(FORGET, metadata=by("write"))
    (entry,) = entries(audited)
    assert (entry["caller"], entry["outcome"]) == ("write", "PERMISSION_DENIED")


async def test_calls_that_delete_nothing_are_not_in_the_log(audited: Config) -> None:
    async with serving(audited) as api:
        await api.catalog.ListItems(catalog_pb2.ListItemsRequest(), metadata=by("recommend"))
    assert entries(audited) == []


async def test_without_identity_everybody_is_anybody(config: Config, tmp_path: Path) -> None:
    audited = replace(config, audit_log=str(tmp_path / "audit.jsonl"))
    async with serving(audited) as api:
        await api.behavior.ForgetUser(FORGET)
    (entry,) = entries(audited)
    assert entry["caller"] == "anybody"


async def test_changes_of_rights_are_in_the_log(config: Config, callers: Write, tmp_path: Path) -> None:
    path = callers({"old": ["admin"], "same": ["write"], "more": ["write"]})
    audited = replace(config, callers=str(path), audit_log=str(tmp_path / "audit.jsonl"))
    async with serving(audited):
        callers({"new": ["review"], "same": ["write"], "more": ["write", "admin"]})
        await until(lambda: len(entries(audited, "")) == 2, "the change")
    at_start, change = entries(audited, "")
    assert at_start["added"] == {"more": ["write"], "old": ["admin"], "same": ["write"]}
    assert (change["added"], change["removed"]) == ({"new": ["review"]}, ["old"])
    assert change["changed"] == {"more": ["admin", "write"]}


async def test_the_log_is_for_its_owner_alone(audited: Config) -> None:
    async with serving(audited):
        pass
    assert stat.S_IMODE(Path(audited.audit_log).stat().st_mode) == 0o600


async def test_a_log_that_cannot_be_written_is_named_at_the_start(audited: Config, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"audit_log: .*allowed: a file that can be written"):
        async with serving(replace(audited, audit_log=str(tmp_path))):
            pass


async def test_a_log_that_cannot_be_written_any_more_stops_no_deletion(audited: Config, tmp_path: Path) -> None:
    async with serving(audited) as api:
        Path(audited.audit_log).unlink()
        Path(audited.audit_log).mkdir()
        with capture_logs() as lines:
            await api.behavior.ForgetUser(FORGET, metadata=by("admin"))
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["audit_log_not_written"]
