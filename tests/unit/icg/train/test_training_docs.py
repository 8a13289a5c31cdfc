"""Benchmarks that documentation names exist, with their flags. tests/unit/test_docs.py does so for `icg` and `eyecatch`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "adapters" / "icg" / "starter" / "README.md"]
NAMED = re.compile(r"python -m (benchmarks\.[a-z_]+)((?:\\\n|[^\n`])*)")
COMMANDS = sorted(
    {
        (module, flag)
        for page in PAGES
        for module, rest in NAMED.findall(page.read_text())
        for flag in ["", *re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)]
    }
)


@pytest.mark.parametrize("module", sorted({module for module, _ in COMMANDS}))
def test_commands_in_the_documentation_exist(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [module, "--help"])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(module).main()
    assert left.value.code == 0
    known = re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)
    assert {flag for name, flag in COMMANDS if name == module and flag} <= set(known)
