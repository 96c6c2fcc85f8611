from pathlib import Path

import pytest

from leukoscope.deploy.files import list_images
from leukoscope.errors import DataError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.png", "a.jpg", "c.txt", ".hidden.png", "in/d.JPEG", ".git/e.png", "x[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths):
    return [path.as_posix() for path in paths]


def test_a_folder_is_its_images_and_those_below(tree):
    found = [p.relative_to(tree).as_posix() for p in list_images([tree])]
    assert found == ["a.jpg", "b.png", "x[1].png", "in/d.JPEG"]


def test_files_are_taken_as_they_are_in_the_order_given(tree):
    assert names(list_images(["c.txt", "a.jpg", "nowhere.png", "a.jpg"])) == [
        "c.txt",
        "a.jpg",
        "nowhere.png",
        "a.jpg",
    ]


def test_patterns(tree):
    assert names(list_images(["*.png"])) == ["b.png", "x[1].png"]
    assert names(list_images(["**/*.JPEG"])) == ["in/d.JPEG"]
    assert [p.name for p in list_images([f"{tree}/*.jpg"])] == ["a.jpg"]


def test_a_name_that_exists_is_no_pattern(tree):
    assert list_images(["x[1].png"]) == [Path("x[1].png")]


def test_a_list_on_standard_input(tree):
    lines = ["a.jpg\n", "\n", "with space .png\r\n", "b.png"]
    assert names(list_images(["-"], lines)) == ["a.jpg", "with space .png", "b.png"]


@pytest.mark.parametrize("given", [[], ["*.tif"], ["-"], ["in/.."]])
def test_nothing_is_an_error(tree, given):
    if given == ["in/.."]:
        for path in (tree / "a.jpg", tree / "b.png", tree / "x[1].png", tree / "in/d.JPEG"):
            path.unlink()
    with pytest.raises(DataError, match="at least one image"):
        list_images(given, [])
