"""The scripts of `benchmarks/` can still be read by the package that they measure."""

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def list_package_names(path):
    """(module, name) of every import from the package, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("leukoscope"):
            for alias in node.names:
                yield node.module, alias.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_imports_exists(path):
    names = list(list_package_names(path))
    assert names or path.stem in {"copy_making", "decoding"}
    for module, name in names:
        found = importlib.import_module(module)
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_how_it_is_run(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text.splitlines()[0].endswith((".", "?", ")"))
    assert f"benchmarks/{path.name}" in text or path.stem in {"copy_making", "foreign_material"}
