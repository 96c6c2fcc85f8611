import csv
import errno
import hashlib
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukoscope.data import catalog as catalog_module
from leukoscope.data.catalog import (
    COLUMNS,
    Catalog,
    ImageRecord,
    build_catalog,
    is_whole_number,
    list_columns,
    load_catalog,
    load_rejected,
    save_catalog,
    save_rejected,
)
from leukoscope.data.images import decode_image, hash_pixels
from leukoscope.data.readers import Candidate, Rejected
from leukoscope.errors import CatalogError, StorageError
from leukoscope.report.data_words import describe_reading_remarks
from leukoscope.storage import MAX_BYTES


def paint(path, seed=0, size=(32, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def reasons(catalog, root):
    return {os.path.relpath(r.path, root): r.code for r in catalog.rejected}


def record(name, root=Path("/cells"), **changes):
    values = {
        "id": name,
        "path": root / name,
        "label": "blast",
        "width": 32,
        "height": 24,
        "bytes": 900,
        "sha256": hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(),
    }
    return ImageRecord(**(values | changes))


# -- building -------------------------------------------------------------------------------------


def test_a_folder_becomes_a_table(tmp_path):
    paint(tmp_path / "TRAIN/EOS/b.png", 1)
    path = paint(tmp_path / "TRAIN/EOS/a b.png", 2, (40, 20))
    paint(tmp_path / "TEST/Lymph/c.jpg", 3)
    catalog = build_catalog(tmp_path)
    assert [r.id for r in catalog.records] == [
        "TEST/Lymph/c.jpg",
        "TRAIN/EOS/a b.png",
        "TRAIN/EOS/b.png",
    ]
    content = path.read_bytes()
    assert catalog.records[1] == ImageRecord(
        id="TRAIN/EOS/a b.png",
        path=path,
        label="eosinophil",
        width=40,
        height=20,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        split="train",
        pixels=hash_pixels(decode_image(content)),
    )
    assert catalog.classes == ("eosinophil", "lymphocyte")
    assert len(catalog) == 3
    assert catalog.rejected == ()


def test_broken_files_are_rejected_with_their_reason(tmp_path):
    good = paint(tmp_path / "EOS/good.png")
    whole = good.read_bytes()
    (tmp_path / "EOS/zero.jpg").write_bytes(b"")
    (tmp_path / "EOS/half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "EOS/text.jpg").write_text("no image " * 90)
    paint(tmp_path / "EOS/small.png", 5, (7, 90))
    (tmp_path / "EOS/heavy.png").write_bytes(whole)
    os.truncate(tmp_path / "EOS/heavy.png", MAX_BYTES + 1)
    (tmp_path / "EOS/notes.txt").write_text("x")
    paint(tmp_path / "loose.png", 6)
    paint(tmp_path / "_-_/blank.png", 7)
    catalog = build_catalog(tmp_path)
    assert [r.id for r in catalog.records] == ["EOS/good.png"]
    assert {Path(r.path).name: r.code for r in catalog.rejected} == {
        "zero.jpg": "empty",
        "half.png": "truncated",
        "text.jpg": "not_an_image",
        "small.png": "too_small",
        "heavy.png": "too_large",
        "notes.txt": "not_an_image",
        "loose.png": "no_label",
        "blank.png": "no_label",
    }
    assert [r.path for r in catalog.rejected] == sorted(r.path for r in catalog.rejected)
    assert all(r.found for r in catalog.rejected if r.code.startswith("too_"))


def test_a_file_that_vanishes_or_fails_is_told(tmp_path, monkeypatch):
    paint(tmp_path / "EOS/1.png", 1)
    gone = paint(tmp_path / "EOS/2.png", 2)
    open_ = os.open

    def fail(path, *arguments, **options):
        if path == gone:
            raise OSError(errno.EIO, "Input/output error")
        return open_(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    assert reasons(build_catalog(tmp_path), tmp_path) == {"EOS/2.png": "unreadable"}


def test_identical_bytes_under_one_label_stay_under_two_they_go(tmp_path):
    paint(tmp_path / "EOS/a.png", 1)
    paint(tmp_path / "EOS/copy of a.png", 1)
    paint(tmp_path / "EOS/b.png", 2)
    paint(tmp_path / "LYM/b again.png", 2)
    paint(tmp_path / "MONO/b too.png", 2)
    paint(tmp_path / "LYM/c.png", 3)
    catalog = build_catalog(tmp_path)
    assert [r.id for r in catalog.records] == ["EOS/a.png", "EOS/copy of a.png", "LYM/c.png"]
    assert reasons(catalog, tmp_path) == {
        "EOS/b.png": "label_conflict",
        "LYM/b again.png": "label_conflict",
        "MONO/b too.png": "label_conflict",
    }
    assert [(r.id, r.label) for r in catalog.rejected] == [
        ("EOS/b.png", "eosinophil"),
        ("LYM/b again.png", "lymphocyte"),
        ("MONO/b too.png", "monocyte"),
    ]
    assert len({r.content for r in catalog.rejected}) == 1


def test_two_spellings_of_one_label_are_no_conflict(tmp_path):
    paint(tmp_path / "EOS/a.png", 1)
    paint(tmp_path / "Eosinophils/a.png", 1)
    assert len(build_catalog(tmp_path)) == 2


def test_spellings_that_became_one_label_and_codes_of_two_meanings_are_named(tmp_path):
    for seed, name in enumerate(("EOS", "Eosinophils", "MYO", "MYB", "-1", "1")):
        paint(tmp_path / name / "a.png", seed)
    catalog = build_catalog(tmp_path)
    assert catalog.classes == ("-1", "1", "blast", "eosinophil", "myb")
    assert catalog.reading.merged == (("eosinophil", ("EOS", "Eosinophils")),)
    assert catalog.reading.ambiguous == ("myb",)
    merged, open_code = describe_reading_remarks(catalog.reading)
    assert "EOS, Eosinophils" in merged and "MYB" in open_code


def test_the_table_does_not_depend_on_the_order_of_reading(tmp_path, monkeypatch):
    for i in range(12):
        paint(tmp_path / f"{'ABC'[i % 3]}/{i}.png", i % 10)
    straight = build_catalog(tmp_path)
    find = catalog_module.find_candidates

    def shuffle(path, levels):
        found = find(path, levels)
        entries = list(found.entries)
        random.Random(3).shuffle(entries)
        return replace(found, entries=tuple(entries))

    monkeypatch.setattr(catalog_module, "find_candidates", shuffle)
    assert build_catalog(tmp_path) == straight


def test_progress_counts_every_file_once(tmp_path):
    for i in range(5):
        paint(tmp_path / f"A/{i}.png", i)
    calls = []
    build_catalog(tmp_path, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 5) for i in range(1, 6)]


def test_a_relative_path_gives_absolute_records(tmp_path, monkeypatch):
    path = paint(tmp_path / "set/EOS/1.png")
    monkeypatch.chdir(tmp_path)
    assert build_catalog(Path("set")).records[0].path == path
    monkeypatch.chdir(tmp_path / "set")
    assert build_catalog(Path()).records[0].path == path


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    with pytest.raises(CatalogError, match=r"5 files, all rejected, first: .*0\.png: no_label"):
        build_catalog(tmp_path)
    with pytest.raises(CatalogError, match="not there"):
        build_catalog(tmp_path / "gone")


def write_voc(path, boxes):
    text = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in boxes
    )
    path.write_text(f"<annotation>{text}</annotation>")


def test_boxes_over_the_border_are_cut_and_empty_ones_rejected(tmp_path):
    paint(tmp_path / "f.png", 1, (32, 24))
    boxes = [
        ("WBC", -3, 0, 10, 10),
        ("WBC", 30, 20, 99, 99),
        ("RBC", 40, 1, 50, 9),
        ("RBC", 9, 9, 5, 5),
        ("RBC", 1, 1, 32, 24),
        ("", 1, 1, 5, 5),
    ]
    write_voc(tmp_path / "f.xml", boxes)
    catalog = build_catalog(tmp_path)
    assert [(r.id, r.label, r.box, r.source) for r in catalog.records] == [
        ("f.png#0", "white_cell", (0, 0, 10, 10), "f.png"),
        ("f.png#1", "white_cell", (29, 19, 32, 24), "f.png"),
        ("f.png#4", "red_cell", (0, 0, 32, 24), "f.png"),
    ]
    assert [(r.id, r.code) for r in catalog.rejected] == [
        ("f.png#2", "bad_box"),
        ("f.png#3", "bad_box"),
        ("f.png#5", "no_label"),
    ]


def test_a_box_twice_with_one_label_stays_with_two_goes(tmp_path):
    paint(tmp_path / "f.png", 1)
    write_voc(
        tmp_path / "f.xml",
        [("WBC", 1, 1, 9, 9), ("WBC", 1, 1, 9, 9), ("WBC", 2, 2, 9, 9), ("RBC", 2, 2, 9, 9)],
    )
    catalog = build_catalog(tmp_path)
    assert [r.id for r in catalog.records] == ["f.png#0", "f.png#1"]
    assert [r.code for r in catalog.rejected] == ["label_conflict", "label_conflict"]


def test_a_broken_field_rejects_each_of_its_boxes_and_is_read_once(tmp_path):
    paint(tmp_path / "f.png", 1)
    (tmp_path / "g.png").write_bytes(b"")
    for name in "fg":
        write_voc(tmp_path / f"{name}.xml", [("WBC", 1, 1, 9, 9), ("RBC", 3, 3, 9, 9)])
    calls = []
    catalog = build_catalog(tmp_path, on_progress=lambda done, total: calls.append(total))
    assert calls == [2, 2]
    assert len(catalog) == 2
    assert [(r.id, r.code) for r in catalog.rejected] == [
        ("g.png#0", "empty"),
        ("g.png#1", "empty"),
    ]


def test_a_box_of_a_table_is_never_cut(tmp_path):
    paint(tmp_path / "f.png", 1, (32, 24))
    table = tmp_path / "t.csv"
    table.write_text(
        "path,label,x_min,y_min,x_max,y_max,stain\n"
        "f.png,WBC,0,0,32,24,MGG\nf.png,WBC,0,0,33,24,MGG\n"
    )
    catalog = build_catalog(table)
    assert [(r.id, r.box, dict(r.extra)) for r in catalog.records] == [
        ("f.png", (0, 0, 32, 24), {"stain": "MGG"})
    ]
    assert [(r.id, r.code) for r in catalog.rejected] == [("f.png#2", "bad_box")]


# -- files ----------------------------------------------------------------------------------------

ODD_NAMES = [
    "plain.png",
    "with space.png",
    'quote".png',
    "comma,semi;.png",
    "line\nfeed.png",
    "return\rhere.png",
    "\u00fcml\u00e4ut \u7d30\u80de \U0001f9eb.png",
    "=1+1.png",
]
if sys.platform not in ("darwin", "win32"):
    ODD_NAMES.append(os.fsdecode(b"\xff\xfe.png"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_saved_and_loaded_tables_are_equal_for_any_name(tmp_path, name):
    for seed, place in enumerate((f"set/EOS/{name}", "set/LYM/1.png")):
        paint(tmp_path / place, seed)
    catalog = build_catalog(tmp_path / "set")
    for place in ("catalog.csv", "set/catalog.csv", "out/deep/catalog.csv"):
        save_catalog(catalog, tmp_path / place)
        assert load_catalog(tmp_path / place) == catalog
    text = (tmp_path / "set/catalog.csv").read_bytes().decode("utf-8", "surrogateescape")
    assert str(tmp_path) not in text


@pytest.mark.parametrize("name", [n for n in ODD_NAMES if n.isprintable() or n < "\ud800"])
def test_a_saved_table_can_be_scanned_again(tmp_path, name):
    paint(tmp_path / "set/EOS" / name, 1)
    paint(tmp_path / "set/TRAIN/LYM/1.png", 2)
    catalog = build_catalog(tmp_path / "set")
    save_catalog(catalog, tmp_path / "c.csv")
    again = build_catalog(tmp_path / "c.csv")
    assert again.records == catalog.records


def test_every_column_survives(tmp_path):
    records = (
        record("a", box=(1, 2, 3, 4), split="train", source="p1", extra={"stain": "MGG", "b": ""}),
        record("b", extra={"stain": "", "b": "x,\n\"y'"}),
        record("c", root=tmp_path / "in", extra={"stain": "W", "b": " "}),
    )
    table = tmp_path / "c.csv"
    save_catalog(Catalog(records), table)
    assert load_catalog(table).records == records
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*COLUMNS, "x_min", "y_min", "x_max", "y_max", "b", "stain")
    assert [row["path"] for row in rows] == ["/cells/a", "/cells/b", "in/c"]


def test_columns_only_for_what_occurs():
    assert list_columns([record("a")]) == COLUMNS
    assert list_columns([record("a", extra={"z": "1"}), record("b", extra={"y": "2"})]) == (
        *COLUMNS,
        "y",
        "z",
    )


def test_loaded_rows_are_sorted_and_a_moved_folder_moves_its_paths(tmp_path):
    save_catalog(Catalog((record("b", root=tmp_path), record("a", root=tmp_path))), tmp_path / "c")
    (tmp_path / "new").mkdir()
    (tmp_path / "c").rename(tmp_path / "new" / "c")
    assert [r.path for r in load_catalog(tmp_path / "new" / "c").records] == [
        tmp_path / "new" / "a",
        tmp_path / "new" / "b",
    ]


def test_a_byte_order_mark_does_not_matter(tmp_path):
    table = tmp_path / "c.csv"
    save_catalog(Catalog((record("a"),)), table)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert load_catalog(table).records == (record("a"),)


def test_rejected_files_are_written(tmp_path):
    rejected = (
        Rejected("a,b.jpg", "bad_box", 'x "y"\n(z); a, b', "Blast (L1)", 3, '0 "bytes"', "c 1 2"),
        Rejected("\udcff", "hidden"),
    )
    place = tmp_path / "rejected.csv"
    save_rejected(rejected, place, lambda entry: f"sentence of {entry.code}")
    with place.open(newline="", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "code", "id", "label", "row", "found", "content", "detail"]
    assert rows[2] == ["\udcff", "hidden", "", "", "", "", "", "sentence of hidden"]
    assert load_rejected(place) == rejected


@pytest.mark.parametrize(
    "text", ["path,code\na,hidden", "path,code,id,label,row,found,content\na,funny,,,,,"]
)
def test_rejected_files_of_another_kind_are_an_error(tmp_path, text):
    (tmp_path / "rejected.csv").write_text(text)
    with pytest.raises(CatalogError, match="with the columns path, code"):
        load_rejected(tmp_path / "rejected.csv")


def test_an_unwritable_place_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        save_catalog(Catalog((record("a"),)), tmp_path / "file" / "below.csv")
    with pytest.raises(StorageError):
        save_rejected([Rejected("c", "hidden")], tmp_path / "file" / "below.csv", str)


def test_a_full_disk_leaves_the_old_table_and_no_litter(tmp_path, monkeypatch):
    table = tmp_path / "c.csv"
    save_catalog(Catalog((record("a"),)), table)

    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            save_catalog(Catalog((record("b"),)), table)
    assert load_catalog(table).records == (record("a"),)
    assert list(tmp_path.iterdir()) == [table]


HEAD = ",".join(COLUMNS)
GOOD = {
    "id": "a",
    "path": "a.png",
    "label": "blast",
    "split": "",
    "source": "",
    "width": "32",
    "height": "24",
    "bytes": "900",
    "sha256": "0" * 64,
}


def write_row(**changes):
    return ",".join((GOOD | changes).values())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (write_row(id=""), "id is blank"),
        (write_row(path=""), "path is blank"),
        (write_row(label=""), "label is blank"),
        (write_row(width="32.5"), "width must be a whole number, not '32.5'"),
        (write_row(height=""), "height must be a whole number, not ''"),
        (write_row(bytes="-1"), "bytes must be a whole number, not '-1'"),
        (write_row(width="\u00b2"), "width must be a whole number"),
        (write_row(width="\u0663"), "width must be a whole number"),
        (write_row(width="9" * 5000), "width must be a whole number"),
        (write_row(sha256="0" * 63), "sha256 must have 64"),
        (write_row(sha256="G" * 64), "sha256 must have 64"),
        (write_row() + ",more", "more or fewer cells"),
        (write_row()[:20], "more or fewer cells"),
        (write_row() + "\n" + write_row(), "row 3: id 'a' occurs twice"),
    ],
)
def test_loading_is_strict(tmp_path, line, problem):
    table = tmp_path / "c.csv"
    table.write_text(f"{HEAD}\n{line}\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=problem):
        load_catalog(table)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ("1,2,3,x", "y_max must be a whole number, not 'x'"),
        ("1,2,3,", "y_max must be a whole number, not ''"),
        (",2,3,4", "x_min must be a whole number, not ''"),
        ("-1,2,3,4", "x_min must be a whole number, not '-1'"),
    ],
)
def test_loading_checks_boxes(tmp_path, cells, problem):
    table = tmp_path / "c.csv"
    table.write_text(f"{HEAD},x_min,y_min,x_max,y_max\n{write_row()},{cells}\n")
    with pytest.raises(CatalogError, match=problem):
        load_catalog(table)


def test_a_box_column_that_is_missing_is_told(tmp_path):
    table = tmp_path / "c.csv"
    table.write_text(f"{HEAD},x_min\n{write_row()},5\n")
    with pytest.raises(CatalogError, match="y_min must be a whole number, not None"):
        load_catalog(table)


def test_five_problems_are_told_and_the_rest_counted(tmp_path):
    table = tmp_path / "c.csv"
    rows = "\n".join(write_row(id=str(i), width="x") for i in range(9))
    table.write_text(f"{HEAD}\n{rows}\n")
    with pytest.raises(CatalogError, match="and 4 more") as caught:
        load_catalog(table)
    assert caught.value.found.count("row ") == 5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no id, path"),
        (b"id,path,label\n", "no split, source"),
        (f"{HEAD}\n".encode(), "at least one row"),
        (f'{HEAD}\n"a,b\n'.encode(), "well-formed CSV"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "must"),
    ],
)
def test_tables_that_are_not_ours(tmp_path, content, problem):
    table = tmp_path / "c.csv"
    table.write_bytes(content)
    with pytest.raises(CatalogError, match=problem):
        load_catalog(table)


def test_a_table_that_cannot_be_opened(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(CatalogError, match="must be a text table"):
            load_catalog(path)


def test_whole_numbers_are_those_that_int_reads():
    assert is_whole_number("0")
    assert is_whole_number("9" * 18)
    for text in ("", "-1", "1.0", " 1", "1_0", "\u00b2", "9" * 19):
        assert not is_whole_number(text)


def test_a_candidate_stays_as_it_was_found():
    with pytest.raises(AttributeError):
        Candidate("a", Path("a"), "b").label = "c"
