import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from leukoscope import errors
from leukoscope.errors import FileError, ImageError, LeukoscopeError, RejectCode

ROOT = Path(errors.__file__).parent
CLASSES = [
    member
    for member in vars(errors).values()
    if inspect.isclass(member) and issubclass(member, LeukoscopeError)
]


def read_drawn_tree():
    """(name, parent, exit code) of each line that the module's docstring draws."""
    lines = re.findall(
        r"^    ([|` -]*)(\w+Error) +(\d)   (.+)$", errors.__doc__ or "", re.MULTILINE
    )
    path, found = [], []
    for branch, name, code, _text in lines:
        depth = len(branch) // 4
        path = [*path[:depth], name]
        found.append((name, path[-2] if depth else "Exception", int(code)))
    return found


def test_the_drawn_tree_is_the_real_one():
    drawn = {name: (parent, code) for name, parent, code in read_drawn_tree()}
    real = {cls.__name__: (cls.__base__.__name__, cls.exit_code) for cls in CLASSES}
    assert len(real) >= 12
    assert drawn == real


def test_each_branch_has_its_own_exit_code():
    branches = LeukoscopeError.__subclasses__()
    codes = [LeukoscopeError.exit_code, *(branch.exit_code for branch in branches)]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & {0, 126, 127, 130}
    for branch in branches:
        for leaf in branch.__subclasses__():
            assert leaf.exit_code == branch.exit_code, leaf


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_three_parts(cls):
    reason = ["truncated"] if issubclass(cls, FileError) else []
    error = cls(*reason, "this must hold", "that was found", "do so")
    assert (error.expected, error.found, error.remedy) == (
        "this must hold",
        "that was found",
        "do so",
    )
    assert str(error) == "this must hold. Found: that was found. What to do: do so."
    assert isinstance(error, LeukoscopeError)
    with pytest.raises(TypeError):
        cls(*reason, "this must hold", "that was found")
    assert cls.__doc__


def test_an_image_error_keeps_its_reason():
    assert ImageError("bad_box", "a", "b", "c").reason == "bad_box"


@pytest.mark.parametrize("reason", get_args(RejectCode))
def test_every_reason_is_given_somewhere(reason):
    texts = [p.read_text() for p in ROOT.rglob("*.py") if p.name != "errors.py"]
    assert any(f'"{reason}"' in text for text in texts)


def test_no_part_is_longer_than_anybody_reads():
    parts = ("a" * 2000, "b" * 100_000, "c")
    error = LeukoscopeError(*parts)
    assert error.expected == parts[0] and error.remedy == "c"
    assert len(str(error)) < 5000 and "98,000 more characters" in error.found
