from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.data.catalog import Catalog, ImageRecord, load_catalog, save_catalog
from leukoscope.data.spreadsheet import mark_unicode, neutralise, neutralise_text, restore
from leukoscope.labels import resolve_label

FORMULAS = ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(1)", "'=quoted", "''-"]
FORMULAS += ["\n=1", "＝1+1", "＋1", "－1", "＠SUM(A1)"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_what_a_spreadsheet_would_execute_is_text(cell):
    assert neutralise(cell) == f"'{cell}"
    assert restore(neutralise(cell)) == cell


@pytest.mark.parametrize("cell", ["", "cell", "-1", "+0.5", "-1e-3", "'t Hart", "a=b", "5'"])
def test_everything_else_stays_as_it_is_and_so_do_numbers(cell):
    assert neutralise_text(cell) == cell == restore(cell)
    assert (neutralise(cell) == cell) == (cell[:1] not in ("-", "+"))


@given(st.text(st.sampled_from("'=+-@\t\r\n＝＋－＠1.a"), max_size=6))
def test_every_cell_comes_back(cell):
    assert restore(neutralise(cell)) == restore(neutralise_text(cell)) == cell


@pytest.mark.parametrize("name", FORMULAS)
def test_a_catalog_of_such_names_is_executed_by_nobody_and_comes_back(tmp_path, name):
    label = resolve_label(name)
    path = Path("/cells") / name.strip()
    record = ImageRecord(name, path, label, 9, 9, 9, "0" * 64, extra={name: name})
    save_catalog(Catalog((record,)), tmp_path / "c.csv")
    assert load_catalog(tmp_path / "c.csv").records == (record,)
    text = (tmp_path / "c.csv").read_bytes().decode()
    assert f",{name}," not in text and not text.startswith(name)


def test_only_text_beyond_ascii_is_marked(tmp_path):
    assert mark_unicode("path,label\n") == "path,label\n"
    assert mark_unicode("Stäbchen\n") == "\ufeffStäbchen\n"
    for label in ("blast", "стволовая", "中性粒细胞"):
        record = ImageRecord("a", Path("/a"), label, 9, 9, 9, "0" * 64)
        save_catalog(Catalog((record,)), tmp_path / "c.csv")
        assert load_catalog(tmp_path / "c.csv").records == (record,)
        marked = (tmp_path / "c.csv").read_bytes().startswith(b"\xef\xbb\xbf")
        assert marked != label.isascii()
