"""The README's commands do what it says: every block marked for it is executed, in order."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- executed -->\n```(\w+)\n(.*?)```", README, re.DOTALL)


def run(command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


def test_the_road_and_the_api(folder):
    assert [kind for kind, _ in BLOCKS] == ["sh", "python"]
    shell, python = (text for _, text in BLOCKS)
    commands = [line for line in shell.splitlines() if line and not line.startswith("#")]
    assert len(commands) >= 5
    for command in commands:
        run(["bash", "-euc", command], folder)
    assert (folder / "runs" / "first" / "report.html").is_file()
    assert len([line for line in python.splitlines() if line.strip()]) <= 14
    assert "Accuracy" in run([sys.executable, "-c", python], folder)


def test_the_file_tree_is_true():
    """Every module stands in the tree with its line, and nothing else does."""
    tree = README.split("<!-- tree -->")[1]
    named = set(re.findall(r"^\s+([\w/]+\.py)\s{2,}\S", tree, re.MULTILINE))
    source = ROOT / "src" / "leukoscope"
    files = {p.name for p in source.rglob("*.py") if p.name != "__init__.py"} | {"__init__.py"}
    assert named == files


def test_the_light_install_is_listed_in_full():
    (told,) = re.findall(r"`pip install [^`]*` is light \(([^)]*)\)", README)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[>=]", line)[0] for line in project["dependencies"]}
    assert {name.lower().replace(" ", "") for name in told.split(", ")} == needed


def test_make_offers_the_two_commands():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:", text, re.MULTILINE) and re.search(r"^test:", text, re.MULTILINE)
    assert "make demo" in README and "make test" in README


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_reader_is_told_what_it_is_not():
    assert "not a medical device" in README.lower() and "research use only" in README.lower()
