"""Experiments keep their numbers: what code and documents refer to is there, and in the index."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "experiments"
FILES = sorted(FOLDER.glob("[0-9]*.md"))


def test_numbers_are_those_of_the_titles_without_a_gap():
    numbers = [int(path.name[:3]) for path in FILES]
    assert numbers == list(range(1, len(FILES) + 1)) and len(FILES) >= 32
    titles = [path.read_text(encoding="utf-8").split("\n")[0] for path in FILES]
    assert [int(re.match(r"# (\d+)\. \S", title)[1]) for title in titles] == numbers


def test_the_index_has_every_experiment():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{3})\]\(([^)]+)\) \| \S[^|]* \| \S[^|]* \|$", index, re.MULTILINE)
    assert rows == [(path.name[:3], path.name) for path in FILES]


def test_experiments_that_code_refers_to_exist():
    known = {path.name[:3] for path in FILES}
    found = set()
    for folder in ("src", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"docs/experiments/(\d{3})", path.read_text(encoding="utf-8")))
    assert len(found) > 5 and found <= known
