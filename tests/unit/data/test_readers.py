import os
import socket
import sys
from pathlib import Path

import pytest
from tests.builders.trees import write_voc

from leukoscope.data import annotations
from leukoscope.data.layouts import SPLIT_NAMES
from leukoscope.data.readers import Candidate, Rejected, find_candidates
from leukoscope.errors import CatalogError
from leukoscope.report.data_words import describe_rejected

NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
NEEDS_BYTE_NAMES = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="this file system takes Unicode names only"
)


def touch(root, *names):
    """Files whose content does not matter: readers open no image."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def offer(path, levels=None):
    return list(find_candidates(path, levels).entries)


def find(root):
    """What is found as {id: (split, label)} and {relative path: reason}."""
    entries = offer(root)
    found = {c.id: (c.split, c.label) for c in entries if isinstance(c, Candidate)}
    passed = {}
    for entry in entries:
        if isinstance(entry, Rejected):
            path = Path(entry.path)
            place = path.relative_to(root).as_posix() if path.is_relative_to(root) else entry.path
            passed[entry.id or place] = entry.code
            assert describe_rejected(entry)
    assert len(entries) == len(found) + len(passed)
    return found, passed


# -- folders --------------------------------------------------------------------------------------


def test_class_folders(tmp_path):
    touch(tmp_path, "EOS/1.jpg", "EOS/slide 7/2.PNG", "LYM/\u00e4 b.jpeg", "LYM/3.tif")
    found, passed = find(tmp_path)
    assert found == {
        "EOS/1.jpg": ("", "EOS"),
        "EOS/slide 7/2.PNG": ("", "EOS"),
        "LYM/3.tif": ("", "LYM"),
        "LYM/\u00e4 b.jpeg": ("", "LYM"),
    }
    assert passed == {}


@pytest.mark.parametrize("wrapper", ["", "images/", "deep/er/images/"])
def test_split_folders_are_found_below_wrappers(tmp_path, wrapper):
    touch(tmp_path, f"{wrapper}TRAIN/EOS/1.jpg", f"{wrapper}Test_Simple/EOS/1.jpg")
    assert find(tmp_path)[0] == {
        f"{wrapper}TRAIN/EOS/1.jpg": ("train", "EOS"),
        f"{wrapper}Test_Simple/EOS/1.jpg": ("test", "EOS"),
    }


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_every_split_name_in_any_case(tmp_path, name):
    touch(tmp_path, f"{name.upper()}/EOS/1.jpg")
    # `eval` alone is what is measured on.
    role = {"eval": "test"}.get(SPLIT_NAMES[name], SPLIT_NAMES[name])
    assert find(tmp_path)[0] == {f"{name.upper()}/EOS/1.jpg": (role, "EOS")}


def test_wrappers_below_a_split_folder_are_looked_through(tmp_path):
    touch(tmp_path, "train/images/EOS/1.jpg", "train/data/IMG/EOS/2.jpg", "test/images/3.jpg")
    found, passed = find(tmp_path)
    assert found == {
        "train/images/EOS/1.jpg": ("train", "EOS"),
        "train/data/IMG/EOS/2.jpg": ("train", "EOS"),
    }
    # Nothing below: a wrapper is no class.
    assert passed == {"test/images/3.jpg": "no_label"}


@pytest.mark.parametrize("wrapper", ["a", "a/b", "a/b/c"])
def test_single_folders_that_only_wrap_are_looked_through(tmp_path, wrapper):
    touch(tmp_path, f"{wrapper}/EOS/1.jpg", f"{wrapper}/LYM/2.jpg", f"{wrapper}/LYM/x/3.jpg")
    assert {label for _, label in find(tmp_path)[0].values()} == {"EOS", "LYM"}


def test_a_folder_with_an_image_of_its_own_wraps_nothing(tmp_path):
    touch(tmp_path, "EOS/1.jpg", "EOS/x/2.jpg", "EOS/y/3.jpg")
    assert {label for _, label in find(tmp_path)[0].values()} == {"EOS"}


def test_a_split_folder_given_itself_is_a_tree_of_classes(tmp_path):
    touch(tmp_path, "TRAIN/EOS/1.jpg", "TRAIN/LYM/1.jpg")
    assert find(tmp_path / "TRAIN")[0] == {"EOS/1.jpg": ("", "EOS"), "LYM/1.jpg": ("", "LYM")}


def test_images_without_a_class_folder_are_told(tmp_path):
    touch(tmp_path, "loose.jpg", "EOS/1.jpg", "train/loose.jpg")
    found, passed = find(tmp_path)
    assert list(found) == ["EOS/1.jpg"]
    assert passed == {"loose.jpg": "no_label", "train/loose.jpg": "no_label"}


def test_nothing_is_passed_over_in_silence(tmp_path):
    touch(
        tmp_path,
        "EOS/1.jpg",
        "EOS/notes.txt",
        "EOS/README",
        "EOS/.2.jpg",
        "EOS/Thumbs.db",
        "EOS/Desktop.ini",
        ".cache/EOS/3.jpg",
        "__MACOSX/EOS/4.jpg",
    )
    found, passed = find(tmp_path)
    assert list(found) == ["EOS/1.jpg"]
    assert passed == {
        "EOS/notes.txt": "not_an_image",
        "EOS/README": "not_an_image",
        "EOS/.2.jpg": "hidden",
        "EOS/Thumbs.db": "hidden",
        "EOS/Desktop.ini": "hidden",
        ".cache": "hidden",
        "__MACOSX": "hidden",
    }


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in "ABC" for i in range(5)), "A/n.txt", ".h/x")
    straight = offer(tmp_path)
    scan = os.scandir

    class Backwards:
        def __init__(self, path):
            with scan(path) as entries:
                self.entries = iter(sorted(entries, key=lambda e: e.name, reverse=True))

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

    monkeypatch.setattr(os, "scandir", Backwards)
    assert offer(tmp_path) == straight


def test_link_loops_end_and_are_told(tmp_path):
    touch(tmp_path, "EOS/1.jpg", "LYM/2.jpg")
    (tmp_path / "EOS" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "LYM" / "here").symlink_to(".", target_is_directory=True)
    (tmp_path / "LYM" / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "LYM" / "broken.jpg").symlink_to("nowhere.jpg")
    found, passed = find(tmp_path)
    assert list(found) == ["EOS/1.jpg", "LYM/2.jpg"]
    assert passed == {
        "EOS/up": "already_read",
        "LYM/here": "already_read",
        "LYM/self.jpg": "missing_file",
        "LYM/broken.jpg": "missing_file",
    }


def test_links_to_folders_and_files_are_followed_once(tmp_path):
    outside = touch(tmp_path / "outside", "a.jpg", "single.jpg")
    root = touch(tmp_path / "set", "LYM/2.jpg", "ZZZ/3.jpg")
    (root / "EOS").symlink_to(outside, target_is_directory=True)
    # Sorts before the folder it points at, which keeps its name all the same.
    (root / "AAA").symlink_to(root / "ZZZ", target_is_directory=True)
    (root / "LYM" / "link.jpg").symlink_to(outside / "single.jpg")
    found, passed = find(root)
    assert {name: label for name, (_, label) in found.items()} == {
        "EOS/a.jpg": "EOS",
        "EOS/single.jpg": "EOS",
        "LYM/2.jpg": "LYM",
        "LYM/link.jpg": "LYM",
        "ZZZ/3.jpg": "ZZZ",
    }
    assert passed == {"AAA": "already_read"}


@NEEDS_PIPES
def test_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    touch(tmp_path, "EOS/1.jpg")
    os.mkfifo(tmp_path / "EOS" / "pipe.jpg")
    # A socket's path may have only about a hundred characters.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("EOS/socket.png")
        found, passed = find(tmp_path)
    assert list(found) == ["EOS/1.jpg"]
    assert passed == {"EOS/pipe.jpg": "not_regular", "EOS/socket.png": "not_regular"}


@NEEDS_BYTE_NAMES
def test_names_that_are_not_unicode_go_through(tmp_path):
    touch(tmp_path, "EOS/1.jpg")
    name = os.fsdecode(b"\xff\xfe odd\n.jpg")
    (tmp_path / "EOS" / name).write_bytes(b"x")
    assert f"EOS/{name}" in find(tmp_path)[0]


def test_a_folder_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    touch(tmp_path, "EOS/1.jpg", "LYM/2.jpg")
    scan = os.scandir

    def reject(path):
        if Path(path).name == "LYM":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", reject)
    found, passed = find(tmp_path)
    assert list(found) == ["EOS/1.jpg"]
    assert passed == {"LYM": "unreadable"}


@pytest.mark.parametrize("name", ["gone", "gone.csv", "x" * 5000, "nul\0byte"])
def test_a_path_that_is_not_there(tmp_path, name):
    with pytest.raises(CatalogError, match="check the path") as caught:
        offer(tmp_path / name)
    assert "not there" in str(caught.value) or len(name) > 1000  # a long path is cut short


def test_paths_that_are_no_folder_and_no_table(tmp_path):
    for name, found in (
        ("a.jpg", "one image"),
        ("b.xlsx", "a workbook"),
        ("c.zip", "an archive"),
        ("d.parquet", "another table"),
        ("e.json", "an annotation file"),
        ("f.odd", "neither"),
    ):
        touch(tmp_path, name)
        with pytest.raises(CatalogError, match=found) as raised:
            offer(tmp_path / name)
        assert raised.value.remedy
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CatalogError, match="it is empty"):
        offer(empty)


# -- Pascal-VOC -----------------------------------------------------------------------------------


def test_voc_gives_one_row_per_box_zero_based_and_half_open(tmp_path):
    touch(tmp_path, "JPEGImages/f1.jpg")
    write_voc(tmp_path / "Annotations/f1.xml", [("WBC", (1, 1, 10, 20)), ("RBC", ("5.4", 6, 7, 8))])
    path = tmp_path / "JPEGImages/f1.jpg"
    name = "JPEGImages/f1.jpg"
    assert offer(tmp_path) == [
        Candidate(f"{name}#0", path, "WBC", source=name, box=(0, 0, 10, 20), clip=True),
        Candidate(f"{name}#1", path, "RBC", source=name, box=(4, 5, 7, 8), clip=True),
    ]


@pytest.mark.parametrize(
    "filename", ["f1.jpg", "f1", "C:\\photos\\f1.jpg", "/home/x/f1.jpg", None, "", "other.png"]
)
def test_voc_images_are_found_beside_the_annotation_by_name_or_stem(tmp_path, filename):
    touch(tmp_path, "f1.jpg")
    write_voc(tmp_path / "f1.xml", [("WBC", (1, 1, 10, 10))], filename)
    assert list(find(tmp_path)[0]) == ["f1.jpg#0"]


def test_voc_images_of_one_name_the_nearest_counts(tmp_path):
    touch(tmp_path, "a/f1.jpg", "b/f1.jpg")
    write_voc(tmp_path / "a/f1.xml", [("WBC", (1, 1, 10, 10))])
    write_voc(tmp_path / "b/f1.xml", [("RBC", (1, 1, 10, 10))])
    found, passed = find(tmp_path)
    assert found == {"a/f1.jpg#0": ("", "WBC"), "b/f1.jpg#0": ("", "RBC")}
    assert passed == {}


def test_two_annotations_of_one_image_number_their_boxes_on(tmp_path):
    touch(tmp_path, "f1.jpg")
    write_voc(tmp_path / "a.xml", [("WBC", (1, 1, 10, 10)), ("WBC", (3, 3, 9, 9))])
    write_voc(tmp_path / "b.xml", [("RBC", (1, 1, 10, 10))])
    assert find(tmp_path)[0] == {
        "f1.jpg#0": ("", "WBC"),
        "f1.jpg#1": ("", "WBC"),
        "f1.jpg#2": ("", "RBC"),
    }


def test_voc_tells_what_does_not_fit(tmp_path):
    touch(tmp_path, "f1.jpg", "f2.jpg", "f3.jpg", "orphan.jpg", "notes.txt")
    boxes = [
        ("WBC", ("", 1, 2, 3)),
        ("WBC", ("nan", 1, 2, 3)),
        ("WBC", ("inf", 1, 2, 3)),
        ("WBC", (1, 1, 9, 9)),
    ]
    write_voc(tmp_path / "f1.xml", boxes)
    write_voc(tmp_path / "f2.xml", [], "f2.jpg")
    (tmp_path / "f3.xml").write_text(
        "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>"
    )
    write_voc(tmp_path / "lost.xml", [("WBC", (1, 1, 9, 9))], "lost.jpg")
    (tmp_path / "half.xml").write_text("<annotation><object>")
    (tmp_path / "none.xml").write_bytes(b"")
    (tmp_path / "coded.xml").write_bytes(b"<?xml version='1.0' encoding='no-such'?><a/>")
    found, passed = find(tmp_path)
    assert found == {"f1.jpg#3": ("", "WBC")}
    assert passed == {
        "f1.jpg#0": "bad_box",
        "f1.jpg#1": "bad_box",
        "f1.jpg#2": "bad_box",
        "f2.jpg": "no_label",
        "f3.jpg#0": "bad_box",
        "lost.xml": "missing_file",
        "half.xml": "bad_annotation",
        "none.xml": "bad_annotation",
        "coded.xml": "bad_annotation",
        "orphan.jpg": "no_label",
        "notes.txt": "not_an_image",
    }


def test_a_voc_object_without_a_name_has_a_blank_label(tmp_path):
    touch(tmp_path, "f1.jpg")
    (tmp_path / "f1.xml").write_text(
        "<annotation><object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
        "<ymax>9</ymax></bndbox></object></annotation>"
    )
    assert find(tmp_path)[0] == {"f1.jpg#0": ("", "")}


LAUGHS = "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 10)
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    "head",
    [
        LAUGHS + "]>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        "<!doctype a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    ],
)
def test_entities_are_rejected_before_they_are_read(tmp_path, head, encoding, monkeypatch):
    touch(tmp_path, "f1.jpg")
    (tmp_path / "f1.xml").write_bytes(
        f"{head}<annotation><object>&a9;</object></annotation>".encode(encoding)
    )

    def fail(text):
        raise AssertionError("it was parsed")

    monkeypatch.setattr(annotations.ElementTree, "fromstring", fail)
    found, passed = find(tmp_path)
    assert found == {}
    assert passed == {"f1.xml": "bad_annotation", "f1.jpg": "no_label"}


def test_an_annotation_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    touch(tmp_path, "f1.jpg", "f1.xml")

    def reject(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", reject)
    assert find(tmp_path) == ({}, {"f1.xml": "unreadable", "f1.jpg": "no_label"})


# -- tables ---------------------------------------------------------------------------------------


def write_table(root, text, name="t.csv", encoding="utf-8"):
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("header", ["path,label", "FileName,CLASS", " Image Path ,Cell Type"])
def test_header_names_and_their_synonyms(tmp_path, header):
    touch(tmp_path, "a.jpg")
    table = write_table(tmp_path, f"{header}\na.jpg,EOS\n")
    assert offer(table) == [Candidate("a.jpg", tmp_path / "a.jpg", "EOS", row=2)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_line_ends_and_byte_order_marks(tmp_path, delimiter, end, encoding):
    touch(tmp_path, "z\u00fcri a.jpg", "b.jpg")
    rows = [["path", "label"], ["z\u00fcri a.jpg", "EOS"], [str(tmp_path / "b.jpg"), "LYM"]]
    text = end.join(delimiter.join(row) for row in rows) + end
    for suffix in ("csv", "tsv", "txt"):
        found = offer(write_table(tmp_path, text, f"t.{suffix}", encoding))
        assert [(c.path.name, c.label) for c in found] == [
            ("z\u00fcri a.jpg", "EOS"),
            ("b.jpg", "LYM"),
        ]


def test_all_columns(tmp_path):
    touch(tmp_path, "sub/a.jpg")
    table = write_table(
        tmp_path,
        "id,path,label,split,patient,x_min,y_min,x_max,y_max,stain,width\n"
        "one,./sub/../sub/a.jpg,EOS,Training,p1,1,2,3,4,MGG,99\n"
        "two,sub/a.jpg,EOS,odd,,,,,,,\n",
    )
    path = tmp_path / "sub" / "a.jpg"
    assert offer(table) == [
        Candidate("one", path, "EOS", "train", "p1", (1, 2, 3, 4), row=2, extra={"stain": "MGG"}),
        Candidate("two", path, "EOS", "odd", row=3, extra={"stain": ""}),
    ]


def test_ids_are_unique_whatever_the_table_says(tmp_path):
    touch(tmp_path, "a.jpg")
    ids = ["a", "a", "a", "a#2", "", "", "a#2"]
    table = write_table(tmp_path, "id,path,label\n" + "".join(f"{i},a.jpg,E\n" for i in ids))
    found = [c.id for c in offer(table)]
    assert found == ["a", "a#2", "a#3", "a#2#2", "a.jpg", "a.jpg#2", "a#2#3"]


def test_rows_that_do_not_fit_are_told(tmp_path):
    touch(tmp_path, "a.jpg", "folder/x.jpg")
    table = write_table(
        tmp_path,
        "path,label,x_min,y_min,x_max,y_max\n"
        "a.jpg,EOS,,,,\n"
        "a.jpg,EOS\n"
        "a.jpg,EOS,,,,,,\n"
        ",EOS,,,,\n"
        "gone.jpg,EOS,,,,\n"
        "folder,EOS,,,,\n"
        f"{'n' * 5000}.jpg,EOS,,,,\n"
        "nul\0.jpg,EOS,,,,\n"
        "a.jpg,EOS,1,2,3,\n"
        "a.jpg,EOS,1,2,3,x\n"
        f"a.jpg,EOS,1,2,3,{'9' * 5000}\n",
    )
    entries = offer(table)
    assert [e.code if isinstance(e, Rejected) else e.id for e in entries] == [
        "a.jpg",
        "bad_row",
        "bad_row",
        "missing_file",
        "missing_file",
        "missing_file",
        "missing_file",
        "missing_file",
        "bad_box",
        "bad_box",
        "bad_box",
    ]
    assert [(e.path, e.row) for e in entries[1:4]] == [("t.csv", 3), ("t.csv", 4), ("", 5)]
    assert entries[-1].label == "EOS" and entries[-2].found == "1, 2, 3, x"


@NEEDS_PIPES
def test_a_pipe_in_a_table_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (entry,) = offer(write_table(tmp_path, "path,label\npipe.jpg,EOS\n"))
    assert entry.code == "missing_file"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "without label and path; columns none"),
        ("\n\n", "without label and path; columns none"),
        ("a.jpg,EOS\n", "without label and path"),
        ("path,stain\na.jpg,x\n", "without label"),
        ("label,,\nEOS,,\n", "without path; columns label"),
    ],
)
def test_a_table_without_its_columns(tmp_path, text, found):
    with pytest.raises(CatalogError, match=found):
        offer(write_table(tmp_path, text))


@pytest.mark.parametrize(
    "text", ['"path,label\n', 'path,label\n"a.jpg,EOS\n', 'path,label\n"a"b,E\n']
)
def test_a_table_with_broken_quotes(tmp_path, text):
    with pytest.raises(CatalogError, match="well-formed"):
        offer(write_table(tmp_path, text))


def test_a_table_that_is_not_text(tmp_path, monkeypatch):
    with pytest.raises(CatalogError, match="UTF-8"):
        offer(write_table(tmp_path, "path,label\nz\u00fc.jpg,E\n", encoding="latin-1"))
    table = write_table(tmp_path, "path,label\n")

    def reject(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(CatalogError, match="it is empty"):
        offer(table)
    monkeypatch.setattr(os, "open", reject)
    with pytest.raises(CatalogError, match="Permission denied"):
        offer(table)
