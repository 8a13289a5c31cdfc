"""docs/architecture.md is true: each file that it names exists, and each solid arrow is an import."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NODE = r'(\w+)(?:\["([^"]+)"\])?'
EDGE = re.compile(rf"^\s*{NODE} *(-->|-\. \"[^\"]+\" \.->) *{NODE}$", re.M)


def drawings() -> list[tuple[dict[str, str], list[tuple[str, str, bool]]]]:
    """Of each drawing: file by node, and edges as (from, to, whether it is an import)."""
    result = []
    for text in re.findall(r"```mermaid\n(.*?)```", PAGE, re.S):
        edges = EDGE.findall(text)
        files = {node: file for edge in edges for node, file in (edge[:2], edge[3:]) if file}
        result.append((files, [(one, other, arrow == "-->") for one, _, arrow, other, _ in edges]))
    return result


def imports(file: str) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def module(file: str) -> str:
    return file.removeprefix("services/").removeprefix("adapters/").removesuffix(".py").replace("/", ".")


ARROWS = [(files[a], files[b]) for files, edges in drawings() for a, b, is_import in edges if is_import]


def test_both_roads_are_drawn() -> None:
    assert [len(edges) > 15 for _, edges in drawings()] == [True, True]


@pytest.mark.parametrize("arrow", PAGE.split("```mermaid")[1:], ids=("brief", "event"))
def test_every_line_of_a_drawing_is_understood(arrow: str) -> None:
    lines = [line.strip() for line in arrow.split("```")[0].splitlines()[2:]]
    other = [line for line in lines if not EDGE.match(line) and line != "end" and not line.startswith("subgraph ")]
    assert [line for line in other if line] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:services|adapters|deploy|protos|tests)/[\w/.]+\w", PAGE))))
def test_each_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("arrow", ARROWS, ids=[f"{module(a)} to {module(b)}" for a, b in ARROWS])
def test_each_solid_arrow_is_an_import(arrow: tuple[str, str]) -> None:
    one, other = arrow
    assert module(other) in imports(one)
