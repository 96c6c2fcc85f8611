"""The scripts of `benchmarks/` can still be read by the package that they measure."""

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def list_imports(path):
    """(module, name) of every `from module import name`, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module, alias.name


def list_definitions(path):
    """What a script defines at its top."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target)
                        if isinstance(name, ast.Name))  # fmt: skip
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_imports_exists(path):
    siblings = {script.stem: set(list_definitions(script)) for script in SCRIPTS}
    for module, name in list_imports(path):
        if module in siblings:
            assert name in siblings[module]
        elif module.startswith("leukoscope"):
            found = importlib.import_module(module)
            if not hasattr(found, name):
                importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_how_it_is_run(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text.splitlines()[0].endswith((".", "?", ")"))
    assert f"benchmarks/{path.name}" in text or path.stem in {
        "copy_making",
        "finder_sets",
        "ood_images",
    }
