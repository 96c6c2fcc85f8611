"""README and guides are true: marked blocks are run, in order, and what they point to is there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from leukoscope.config import load_recipe
from leukoscope.evaluation.acceptance import load_criteria

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [
    "data-and-sources",
    "training",
    "trust",
    "prediction",
    "differential",
    "validation",
    "explanation",
]
"""In the order of the table in docs/usage.md."""

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"<!-- executed -->\n```(\w+)\n(.*?)```", re.DOTALL)


def read_guide(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def run(command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_lines(shell, folder):
    for line in shell.splitlines():
        if line and not line.startswith("#"):
            run(["bash", "-euc", line], folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


def test_the_pipeline_the_api_and_the_guides(folder):
    blocks = BLOCK.findall(README)
    assert [kind for kind, _ in blocks] == ["sh", "python"]
    shell, python = (text for _, text in blocks)
    assert len(shell.splitlines()) >= 5
    run_lines(shell, folder)
    assert (folder / "runs" / "first" / "report.html").is_file()
    assert len([line for line in python.splitlines() if line.strip()]) <= 14
    assert "Accuracy" in run([sys.executable, "-c", python], folder)
    guides = [block for name in GUIDES for block in BLOCK.findall(read_guide(name))]
    assert len(guides) >= 2
    for kind, text in guides:
        assert kind == "sh"
        run_lines(text, folder)
    assert (folder / "predictions.csv").is_file()
    assert (folder / "validation" / "validation.html").is_file()


def test_the_guides_are_in_the_index():
    listed = re.findall(r"^\| \[[^]]+\]\(([\w-]+)\.md\)", read_guide("usage"), re.MULTILINE)
    assert listed == [*GUIDES, "measurements", "architecture"]


def test_the_file_tree_is_true():
    """Every module stands in the tree with its line, and nothing else does."""
    tree = read_guide("architecture").split("<!-- tree -->")[1]
    named, room = [], ""
    for line in tree.splitlines():
        if found := re.match(r"  (\w+/)\s+\S", line):
            room = found[1]
        elif found := re.match(r"(  |    )([\w/]+\.py)\s+\S", line):
            named.append((room if len(found[1]) == 4 else "") + found[2])
    source = ROOT / "src" / "leukoscope"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    files -= {name for name in files if name.endswith("/__init__.py")}
    assert sorted(named) == sorted(files)


def test_readme_is_one_look_long():
    assert len(README.splitlines()) <= 160


def test_the_light_install_is_listed_in_full():
    (told,) = re.findall(r"`pip install [^`]*` is light \(([^)]*)\)", README)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[>=]", line)[0] for line in project["dependencies"]}
    assert {name.lower().replace(" ", "") for name in told.split(", ")} == needed


def test_every_extra_is_described():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = re.findall(r"^\| `\.\[(\w+)\]` \|", read_guide("usage"), re.MULTILINE)
    assert sorted(told) == sorted(extras["optional-dependencies"])


def test_make_offers_what_documents_name():
    text = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "bench"):
        assert re.search(rf"^{target}:", text, re.MULTILINE) and f"make {target}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def test_commands_of_documents_exist():
    """Every `leukoscope COMMAND` of README and guides is one that the command line has."""
    from typer.main import get_command

    from leukoscope.cli.app import app

    root = get_command(app)
    for page in [README, *map(read_guide, ["usage", "measurements", *GUIDES])]:
        for words in re.findall(r"\bleukoscope ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", page):
            first, *rest = words.split()
            if first in {"trains", "classifies", "finds"}:  # prose
                continue
            assert first in root.commands, words
            if first == "data":
                assert rest[0] in root.commands["data"].commands, words


def test_the_criteria_of_the_guide_are_understood(tmp_path):
    (content,) = re.findall(r"```toml\n(.*?)```", read_guide("validation"), re.DOTALL)
    (tmp_path / "criteria.toml").write_text(content)
    criteria = load_criteria(tmp_path / "criteria.toml", ("lymphocyte", "neutrophil"))
    assert criteria.max_unknown_accepted == 0.1 and criteria.min_sensitivity


def test_the_recipe_keys_of_the_guide_exist():
    keys = re.findall(r"`trust\.(\w+)`", read_guide("trust"))
    assert set(keys) == set(type(load_recipe("quick").trust).model_fields)


def test_documents_use_standard_words():
    private = r"\b(floors?|verdicts?|refus\w+|on whose blood|named (right|wrong)\w*|abroad)\b"
    for page in [README, *map(read_guide, ["usage", "measurements", *GUIDES])]:
        assert re.findall(private, page, re.IGNORECASE) == []


def test_the_reader_is_told_what_it_is_not():
    assert "not a medical device" in README.lower() and "research use only" in README.lower()
