"""From files of fields to a folder of cells."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image
from tests.builders.fields import paint, save

from leukoscope import pipelines
from leukoscope.data.spreadsheet import neutralise
from leukoscope.errors import ConfigError, DataError, ImageError, RunError
from leukoscope.report.cells_page import describe_cells
from leukoscope.report.page import render_text


def load(path):
    with Image.open(path) as image:
        return np.asarray(image)


def read(path):
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    save(folder, paint())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    return pipelines.find_cells([folder], tmp_path_factory.mktemp("a") / "cells")


def test_a_folder_of_fields_becomes_a_folder_of_cells(found):
    cells, fields = read(found.out / "cells.csv"), read(found.out / "fields.csv")
    assert [row["field"] for row in fields] == ["broken.jpg", *(f"field_{k}.jpg" for k in range(3))]
    counted = [row for row in cells if row["counted"] == "1"]
    assert found.n_cells == len(counted) == sum(int(row["n_white_cells"] or 0) for row in fields)
    assert counted and all(row["edge"] == "0" for row in counted)
    assert any(row["edge"] == "1" and not row["crop"] for row in cells)
    for row in counted:
        crop, mask = (load(found.out / row[name]) for name in ("crop", "nucleus"))
        assert crop.shape == (224, 224, 3) and mask.shape == (224, 224)
        assert set(np.unique(mask)) == {0, 255}
        # A nucleus is darker in green than what is around it.
        assert crop[mask > 0][:, 1].mean() < crop[mask == 0][:, 1].mean() - 30
        assert 0.1 < float(row["nucleus_frac"]) <= 1
        assert 5 < float(row["diameter_um"]) < 30


def test_a_broken_field_is_a_row_with_a_code(found):
    row = read(found.out / "fields.csv")[0]
    assert row["reason"] == "not_an_image" and row["error"] and not row["n_white_cells"]
    pipelines.check_found(found)
    with pytest.raises(DataError, match="strict"):
        pipelines.check_found(found, strict=True)
    assert [one.code for one in found.passed_over] == ["not_an_image"]


def test_the_same_fields_give_the_same_bytes(found, folder, tmp_path):
    again = pipelines.find_cells([folder], tmp_path / "again", threads=1)
    files = [one.relative_to(found.out) for one in sorted(found.out.rglob("*")) if one.is_file()]
    assert len(files) > 3
    for file in files:
        if file.name != "provenance.json":
            assert (found.out / file).read_bytes() == (again.out / file).read_bytes()
    hashes = [
        json.loads((one.out / "provenance.json").read_text())["tables_sha256"]
        for one in (found, again)
    ]
    assert hashes[0] == hashes[1]


def test_cells_at_the_edge_count_where_that_is_wanted(found, folder, tmp_path):
    done = pipelines.find_cells(
        [folder / "field_0.jpg"], tmp_path / "b", include_edge=True, crop_um=20, crop_px=64
    )
    cells = read(done.out / "cells.csv")
    assert all(row["counted"] == "1" for row in cells) and done.n_cells == len(cells)
    assert cells[0]["field"].endswith("field_0.jpg")
    assert load(done.out / cells[0]["crop"]).shape == (64, 64, 3)


def test_nothing_is_written_where_something_is_wrong(folder, tmp_path):
    with pytest.raises(ConfigError, match="micrometre"):
        pipelines.find_cells([folder], tmp_path / "c", scale_px_per_um=0.0)
    with pytest.raises(DataError):
        pipelines.find_cells([tmp_path], tmp_path / "c")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("mine")
    with pytest.raises(RunError, match="empty folder"):
        pipelines.find_cells([folder], tmp_path / "full")
    assert not (tmp_path / "c").exists()


def test_no_readable_field_is_an_error_after_the_folder(folder, tmp_path):
    done = pipelines.find_cells([folder / "broken.jpg"], tmp_path / "d")
    assert read(done.out / "cells.csv") == []
    with pytest.raises(DataError, match="readable"):
        pipelines.check_found(done)


def test_the_page_names_what_a_reader_should_look_at(found, folder, tmp_path):
    text = render_text(
        describe_cells(found.fields, found.passed_over, found.out, 2.0, include_edge=True)
    )
    assert "could not be read" in text and "cut by the edge (count, too)" in text
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.normal(225, 2, (120, 160, 3)).astype(np.uint8))
    noise.save(tmp_path / "empty.png")
    done = pipelines.find_cells([tmp_path / "empty.png"], tmp_path / "e")
    text = render_text(describe_cells(done.fields, (), done.out, 0.0))
    assert "--scale" in text and "without a white cell" in text


def test_names_of_fields_change_no_table(tmp_path):
    names = ("=1+1", "a\rb", "a\nb", "\x1b[31m", "é", "\udcff", "nul", ".hidden", "..x", "x" * 200)
    (tmp_path / "in").mkdir()
    for name in names:
        Image.new("RGB", (32, 32), "white").save(tmp_path / "in/blank.png")
        (tmp_path / "in/blank.png").rename(tmp_path / f"in/{name}.png")
    os.mkfifo(tmp_path / "in/pipe.svs")
    (tmp_path / "in/device.ndpi").symlink_to("/dev/zero")
    found = pipelines.find_cells([tmp_path / "in"], tmp_path / "out")
    with (found.out / "fields.csv").open(
        encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        rows = list(csv.DictReader(file))
    wanted = {neutralise(f"{name}.png") for name in names if not name.startswith(".")}
    assert {row["field"] for row in rows if not row["reason"]} == wanted
    assert {row["field"]: row["reason"] for row in rows if row["reason"]} == {
        "pipe.svs": "not_regular", "device.ndpi": "not_regular",
    }  # fmt: skip


def test_a_slide_that_breaks_behind_some_crops_leaves_none(folder, tmp_path, monkeypatch):
    from leukoscope.smear import crops

    count, cut = 0, crops.cut_from_field

    def break_later(*args):
        nonlocal count
        count += 1
        if count == 2:
            raise ImageError("unreadable", "a", "b", "c")
        return cut(*args)

    monkeypatch.setattr(crops, "cut_from_field", break_later)
    found = pipelines.find_cells([folder / "field_0.jpg"], tmp_path / "out", threads=1)
    assert count == 2 and [one.reason for one in found.fields] == ["unreadable"]
    assert not list(found.out.glob("*/*.png"))
