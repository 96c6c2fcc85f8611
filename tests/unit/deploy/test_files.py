import os
import shutil
from pathlib import Path

import pytest

from leukoscope.data.readers import Rejected, find_candidates
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


def names(files):
    return [path.as_posix() for path in files.paths]


def passed(files, root):
    return {Path(one.path).relative_to(root).as_posix(): one.code for one in files.passed_over}


def test_a_folder_is_its_images_and_those_below(tree):
    files = list_images([tree])
    found = [p.relative_to(tree).as_posix() for p in files.paths]
    assert passed(files, tree) == {
        ".git": "hidden",
        ".hidden.png": "hidden",
        "c.txt": "not_an_image",
    }
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
    assert [p.name for p in list_images([f"{tree}/*.jpg"]).paths] == ["a.jpg"]


def test_a_name_that_exists_is_no_pattern(tree):
    assert list_images(["x[1].png"]).paths == (Path("x[1].png"),)


def test_signs_in_the_names_of_folders_that_are_there_are_no_pattern(tree):
    for name in ("slide [3]/a.png", "slide [3]/b.png", "slide [3]/c.txt", "slide 3/d.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"")
    assert names(list_images(["slide [3]/*.png"])) == ["slide [3]/a.png", "slide [3]/b.png"]
    assert names(list_images([f"{tree}/slide [3]/?.txt"])) == [f"{tree}/slide [3]/c.txt"]
    assert names(list_images(["slide?[3]/d.png", "a.jpg"])) == ["slide 3/d.png", "a.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        b"a.jpg\n\nwith space .png\r\nb.png",
        b"a.jpg\0with space .png\0b.png\0",
        b"\xef\xbb\xbfa.jpg\r\nwith space .png\nb.png\r\n",
    ],
)
def test_a_list_on_standard_input(tree, content):
    assert names(list_images(["-"], content)) == ["a.jpg", "with space .png", "b.png"]


def test_names_in_a_list_are_bytes_as_the_system_has_them(tree):
    name = b"Zelle_\xe4\n.jpg"
    assert os.fsencode(list_images(["-"], name + b"\0").paths[0]) == name
    assert os.fsencode(list_images(["-"], b"Zelle_\xe4.jpg\n").paths[0]) == b"Zelle_\xe4.jpg"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["in/b.jpg\r\n", "in/Лимфоцит.jpg\n"])
def test_a_list_in_utf_16_is_rejected_in_words(tree, name, encoding):
    with pytest.raises(DataError, match="UTF-16"):
        list_images(["-"], (3 * name).encode(encoding))


def test_a_web_address_is_rejected_in_words(tree):
    with pytest.raises(DataError, match="web address"):
        list_images(["a.jpg", "https://example.org/cells/a.jpg"])


def test_links_to_folders_are_followed_once(tree):
    (tree / "in" / "up").symlink_to(tree, target_is_directory=True)
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "z.png").write_bytes(b"")
    (tree / "linked").symlink_to(outside, target_is_directory=True)
    (tree / "linked again").symlink_to(outside, target_is_directory=True)
    files = list_images([tree])
    found = [p.relative_to(tree).as_posix() for p in files.paths]
    assert found[-2:] == ["in/d.JPEG", "linked/z.png"]
    told = {"in/up": "already_read", "linked again": "already_read"}
    assert told.items() <= passed(files, tree).items()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_what_bears_the_name_of_an_image_is_a_row_whatever_it_is(tree):
    """It may be one of the cells that somebody counts."""
    os.mkfifo(tree / "pipe.png")
    (tree / "lost.png").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    files = list_images([tree])
    assert {"pipe.png", "lost.png"} <= {path.name for path in files.paths}
    assert passed(files, tree)["pipe"] == "not_regular"


def test_a_tree_deeper_than_a_path_may_be_is_walked_as_far_as_it_goes(tree):
    """And is told, by `predict` and `data scan` alike."""
    name, here = 200 * "d", Path.cwd()
    try:
        for _ in range(25):
            Path(name).mkdir()
            os.chdir(name)
            Path("deep.png").write_bytes(b"")
        files = list_images([tree])
        n_deep = sum(path.name == "deep.png" for path in files.paths)
        assert 15 < n_deep < 25
        assert [one.code for one in files.passed_over].count("unreadable") >= 1
        found = find_candidates(tree).entries
        codes = [one.code for one in found if isinstance(one, Rejected)]
        assert codes.count("unreadable") >= 1
    finally:
        os.chdir(here)
        # Removed from inside: from above its paths are too long.
        shutil.rmtree(tree / name)


@pytest.mark.parametrize("given", [[], ["*.tif"], ["-"], ["in/.."]])
def test_nothing_is_an_error(tree, given):
    if given == ["in/.."]:
        for path in (tree / "a.jpg", tree / "b.png", tree / "x[1].png", tree / "in/d.JPEG"):
            path.unlink()
    with pytest.raises(DataError, match="at least one image"):
        list_images(given, b"")
