"""The lock with hashes says the same as the constraints, and holds all that training needs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
EXTRAS = ("report", "sources", "train")


def tidy(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text):
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {tidy(name): version for name, version in pins}


CONSTRAINTS = read_pins((ROOT / "constraints.txt").read_text("utf-8"))


def read_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][x] for x in EXTRAS)]
    needs = [re.fullmatch(r"([A-Za-z0-9._-]+)>=([\d.]+)", one) for part in lists for one in part]
    return {tidy(found[1]): found[2] for found in needs if found}


def test_lock_and_constraints_agree():
    pins = read_pins(LOCK)
    assert len(pins) > 30
    assert pins == {name: CONSTRAINTS.get(name) for name in pins}


def test_the_lock_holds_all_that_is_needed_but_pytorch():
    needs, pins = read_needs(), read_pins(LOCK)
    assert set(needs) - set(pins) == {"torch"} and len(needs) >= 15
    for name, least in needs.items():
        version = (pins | {"torch": CONSTRAINTS["torch"]})[name]
        assert [int(x) for x in re.findall(r"\d+", version)] >= [int(x) for x in least.split(".")]


def test_every_package_has_hashes_and_no_place_is_named():
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE))
    for entry in entries:
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
        assert hashes and len(set(hashes)) == len(hashes), entry[:80]
        assert entry.count("--hash") == len(hashes)
    assert not re.search(r"://|file:|--(extra-)?index|--find-links|(^|\s)/\w", LOCK, re.MULTILINE)
