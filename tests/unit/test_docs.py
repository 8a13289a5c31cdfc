"""What exists is documented, and what is documented exists."""

import io
import re
import resource
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from eyecatch.cli import app as eyecatch
from eyecatch.config import Config
from eyecatch.core.errors import InvalidInput
from eyecatch.generate import requests
from eyecatch.ingest.events import Reason
from eyecatch.ingest.vectors import VectorReason
from eyecatch.kafka.records import Unreadable
from eyecatch.settings import resolved
from icg.train import recipes
from typer.testing import CliRunner

from tests import fresh_docs, fresh_protos

ROOT = Path(__file__).parents[2]


def test_the_reference_pages_are_fresh() -> None:
    assert fresh_docs.stale() == []


def test_generated_code_is_fresh() -> None:
    assert fresh_protos.stale() == []


PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "adapters/icg/starter/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name != "commands.md")
NAMED = re.compile(r"(?:^ *|^ *\$ |\.venv/bin/|`)(eyecatch|icg) ((?:\\\n|[^`\n#])+)", re.M)


def recipe_flags(name: str) -> set[str]:
    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as page:
        recipes.run(name, ["--help"])
    return set(re.findall(r"--[a-z][a-z-]*", page.getvalue()))


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_in_prose_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    known = {heading.split("\n")[0]: rows for heading, rows in fresh_docs.commands_and_flags().items()}
    groups = {" ".join(name.split()[:2]) for name in known}
    for script, line in NAMED.findall(text):
        words = line.split()
        name = next(
            (f"{script} {' '.join(words[:n])}" for n in (2, 1) if f"{script} {' '.join(words[:n])}" in known), ""
        )
        family = f"{script} {line.strip()}" in groups or ("|" in words[1] if len(words) > 1 else False)
        assert name or family, f"{page}: {script} {line}"
        flags = {f for shown, _ in known.get(name, []) for f in shown.split(", ")}
        if name == "icg train" and len(words) > 1 and words[1] != "NAME":
            flags = recipe_flags(words[1])
        for flag in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line):
            assert family or flag in flags, f"{page}: {script} {line}: {flag}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"(?:    |`)make ([a-z-]+)", text):
        assert target in targets, f"{page}: make {target}"


@pytest.mark.parametrize("command", ["judge", "design", "upscale", "product train", "evaluate personalisation"])
def test_a_command_that_moved_answers_with_its_new_spelling(command: str) -> None:
    done = CliRunner().invoke(eyecatch, [*command.split(), "x", "--json"])
    assert (done.exit_code, done.stderr) == (2, f"moved: icg {command} x --json\n")


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    updates = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "ingest.md").read_text(), re.M)
    assert updates == [str(reason) for reason in (*Unreadable, *Reason)]


def test_every_reason_of_a_dead_letter_of_embeddings_is_explained() -> None:
    updates = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "vectors.md").read_text(), re.M)
    assert updates == [*map(str, Unreadable), *map(str, VectorReason)]


def test_every_reason_of_a_request_refused_is_explained() -> None:
    updates = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "generate.md").read_text(), re.M)
    assert updates == [*map(str, Unreadable), *map(str, requests.Reason)]


def test_links_and_folders_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"^\| `([^`]+/)`", text, re.M):
        assert (ROOT / path).exists(), path


def test_every_threat_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| .*\|$", text[text.index("## Threats") : text.index("Not defended")], re.M)[2:]
    tests = [re.fullmatch(r".* `(\S+)::(test_\w+)` \|", row) for row in rows]
    assert len(rows) > 20
    assert [row for row, test in zip(rows, tests, strict=True) if test is None] == []
    unknown = [t[0] for t in tests if t and not re.search(rf"^(async )?def {t[2]}\(", (ROOT / t[1]).read_text(), re.M)]
    assert unknown == []


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    block = text[text.index("\ndependencies = [") : text.index("[project.optional-dependencies]")]
    lines = [line.strip() for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) == len(project["dependencies"])
    silent = [line for line in lines if "#" not in line and not line.startswith('"grpcio-') and "protobuf" not in line]
    assert silent == []


def test_every_script_is_on_the_page_of_commands() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(fresh_docs.APPS) == set(scripts)
    assert {f"{name}.cli:main" for name in scripts} == set(scripts.values())


def _processor_seconds(*command: str) -> tuple[float, str]:
    """Of the best of three runs, and its output."""
    best, output = 99.0, ""
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = subprocess.run((sys.executable, *command), capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best, output


@pytest.mark.parametrize(("script", "verb"), [("eyecatch", "recommend"), ("icg", "check")])
def test_help_is_instant(script: str, verb: str) -> None:
    """Beside the two imports that no command is without: some half second, and never torch, whatever the machine."""
    least, _ = _processor_seconds("-c", "import numpy, typer")
    taken, output = _processor_seconds("-m", f"{script}.cli", "--help")
    assert verb in output
    assert taken < 4.5 * least


@pytest.mark.parametrize("script", ["eyecatch", "icg"])
def test_heavy_imports_wait(script: str) -> None:
    heavy = ("torch", "transformers", "diffusers", "grpc", "faiss", "polars", "PIL")
    code = f"import sys, {script}.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_part_of_the_steps_is_read() -> None:
    def read(text: str) -> tuple[float, float] | None:
        return replace(Config(), guided=text).guided_part()

    assert (read(""), read("0.125-0.375"), read("0 - 1")) == (None, (0.125, 0.375), (0.0, 1.0))
    for wrong in ("0.5", "0.5-0.2", "0-2", "1.2.3-1", "a-b", "0,1-0,2"):
        with pytest.raises(InvalidInput, match="guided"):
            read(wrong)


def test_flags_beat_environment_beats_defaults() -> None:
    environ = {"EYECATCH_PORT": "7", "EYECATCH_PRELOAD": "no", "EYECATCH_HOST": "1.1.1.1"}
    config = resolved(Config, {"host": "::1", "port": None}, environ)
    assert (config.host, config.port, config.preload, config.pool_size) == ("::1", 7, False, Config.pool_size)
    for name, value in (("EYECATCH_PRELOAD", "maybe"), ("EYECATCH_PORT", "x"), ("EYECATCH_POOL_SIZE", "0")):
        with pytest.raises(InvalidInput):
            resolved(Config, {}, {name: value})


def test_secrets_are_hidden() -> None:
    store = "redis://:hunter2@hunter2/@host/0?protocol=3&password=hunter2&ssl_password=hunter2"
    shown = Config(api_token="hunter2", blob_url="s3://key:hunter2@bucket/x?secret=hunter2", store=store).redacted()
    assert "hunter2" not in str(shown)
    assert shown["store"] == "redis://***@host/0?protocol=3&password=***&ssl_password=***"
    assert Config().redacted()["api_token"] == ""
