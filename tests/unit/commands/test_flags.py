"""A flag of a command is used by that command: its field is read in a module that the command's own module imports."""

import ast
from dataclasses import fields
from functools import cache
from pathlib import Path

import eyecatch
import pytest
from eyecatch.cli import app
from eyecatch.config import Config
from eyecatch.kafka_config import KafkaConfig
from eyecatch.reader_config import GenerateConfig, IngestConfig
from eyecatch.settings import Settings
from typer.main import get_command

CONFIGURATIONS = ("eyecatch.config", "eyecatch.kafka_config")
SERVICES = Path(eyecatch.__file__).parents[1]
COMMANDS: dict[str, tuple[type[Settings], str]] = {
    "serve": (Config, "eyecatch.commands.serve"),
    "ingest": (IngestConfig, "eyecatch.commands.ingest"),
    "generate": (GenerateConfig, "eyecatch.commands.generate"),
    "dlq show": (KafkaConfig, "eyecatch.commands.ingest"),
    "dlq replay": (KafkaConfig, "eyecatch.commands.ingest"),
}


def source(module: str) -> ast.Module | None:
    path = SERVICES / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text()) if file.is_file() else None


@cache
def reachable(module: str) -> frozenset[str]:
    """The modules of eyecatch that this one imports, at its top or inside a function, and so on."""
    result, waiting = {module}, [module]
    while waiting:
        tree = source(waiting.pop())
        for node in ast.walk(tree) if tree else ():
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            new = {name for name in names if name.startswith("eyecatch.") and source(name)} - result
            result |= new
            waiting += new
    return frozenset(result)


def reads(module: str) -> set[str]:
    """Attributes of a configuration, or of a part of it; in a module of configurations those of `self`."""
    tree, result = source(module), set()
    names = {"config", "jobs", "served"} | ({"self"} if module in CONFIGURATIONS else set())
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Attribute):
            of = node.value.func if isinstance(node.value, ast.Call) else node.value
            result |= {node.attr} if isinstance(of, ast.Name) and of.id in names | {"part"} else set()
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_each_flag_of_a_command_is_read_by_it(command: str) -> None:
    kind, module = COMMANDS[command]
    known = set().union(*(reads(name) for name in reachable(module)))
    assert [f.name for f in fields(kind) if f.name not in known] == []


def test_ingest_has_no_flag_of_jobs_requests_or_decisions() -> None:
    flags = {f.name for f in fields(IngestConfig)}
    assert not flags & {"queue_max", "lease_s", "budget_per_item", "requests_topic", "store_retention_days", "blob_url"}


def test_generate_has_no_flag_of_events_or_of_the_api() -> None:
    flags = {f.name for f in fields(GenerateConfig)}
    assert not flags & {"events_topic", "store_log_max", "profile_cache_s", "max_concurrent", "api_token"}


@pytest.mark.parametrize("command", ["serve", "ingest", "generate"])
def test_at_most_ten_flags_are_shown_first_and_the_rest_under_headings(command: str) -> None:
    options = [p for p in get_command(app).commands[command].params if p.param_type_name == "option"]  # type: ignore[attr-defined]
    first = [p.name for p in options if not p.rich_help_panel and p.name != "help"]
    assert 3 <= len(first) <= 10
    assert {"data_dir", "store", "checkpoint", "kafka"} <= set(first)
