"""Names say what a thing is: no participle stands for a noun, and the formatter is never switched off."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("adapters", "benchmarks", "deploy", "services", "tests")
PARTICIPLES = {"told", "found", "said", "given", "asked", "seen", "made", "drawn", "wanted", "kept"}


def sources(folder: str) -> dict[str, str]:
    """Text by file, without generated code."""
    files = (ROOT / folder).rglob("*.py")
    return {str(file.relative_to(ROOT)): file.read_text() for file in files if "_pb2" not in file.name}


def names(text: str) -> Iterator[str]:
    """All names that a file gives: variables, parameters, attributes, functions and classes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_participle_is_a_name(folder: str) -> None:
    bad = {
        file: {name for name in names(text) if name.strip("_").lower() in PARTICIPLES}
        for file, text in sources(folder).items()
    }
    assert {file: words for file, words in bad.items() if words} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_formatter_is_never_switched_off(folder: str) -> None:
    marker = "# fmt" + ": skip"
    assert [file for file, text in sources(folder).items() if marker in text] == []


def test_no_class_name_stands_three_times() -> None:
    trees = [ast.parse(text) for folder in FOLDERS if folder != "tests" for text in sources(folder).values()]
    classes = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    del classes["TritonPythonModel"]  # Triton looks for this name
    assert [name for name, count in classes.items() if count > 2] == []
