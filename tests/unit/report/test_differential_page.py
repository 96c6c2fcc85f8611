"""What the pages of differentials show, beyond their text (`tests/golden/pages`)."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.builders.differential import make_record
from tests.builders.page_differential import CELLS, build_page, build_raw, build_record

from leukoscope.interval import UNDEFINED
from leukoscope.report import differential_words as words
from leukoscope.report.differential_figures import (
    COLOURS,
    MOST_CELLS,
    choose_colours,
    draw_bars,
    draw_differential,
    draw_field,
    group_cells,
)
from leukoscope.report.differential_page import describe_counted, describe_differential
from leukoscope.report.frame import render_html
from leukoscope.report.page import render_text
from leukoscope.smear.differential import CountedCell, ReferenceLimits
from leukoscope.trust.notes import Note


def open_picture(picture):
    return np.asarray(Image.open(io.BytesIO(picture.image)).convert("RGB")).astype(int)


def test_the_page_escapes_what_users_write():
    text = render_html(build_page())
    assert "<S-17>" not in text and "day 3 <b>" not in text and "<broken>" not in text


def test_the_gallery_has_the_least_certain_first_and_not_too_many():
    cells = [
        CountedCell(f"{k}.png", label="monocyte", confidence=0.5 + k / 100, decision="accepted")
        for k in range(30, 0, -1)
    ]
    found = group_cells([*cells, *CELLS])
    assert [cell.image for cell in found["monocyte"]][:2] == ["1.png", "2.png"]
    assert len(found["monocyte"]) == MOST_CELLS
    assert [cell.image for cell in found[""]] == ["b.png"]
    assert [(cell.image, cell.number) for cell in found["lymphocyte"]] == [("a.png", 1)]


def test_bars_show_raw_and_corrected_shares_and_limits():
    bars = draw_bars(build_record()).image
    assert bars.count("<circle") == len(build_record().classes)
    assert "raw share" in bars
    shared = replace(
        build_record().classes[2], limits=ReferenceLimits(0.2, 0.4, "share"), relation="within"
    )
    assert "fill-opacity" in draw_bars(replace(build_record(), classes=(shared,))).image
    raw = draw_bars(build_raw()).image
    assert "<circle" not in raw and "ring" not in raw
    none = replace(build_raw().classes[0], raw=UNDEFINED)
    assert "<path" not in draw_bars(replace(build_raw(), classes=(none,))).image


def test_boxes_are_drawn_where_cells_lie_in_the_colour_of_their_class():
    field = np.full((160, 200, 3), 200, np.uint8)
    colours = {"lymphocyte": COLOURS[0], "metamyelocyte": COLOURS[1]}
    cells = [cell for cell in CELLS if cell.image == "a.png"]
    drawn = open_picture(draw_field(field, cells, colours))
    zoom = drawn.shape[1] / 200
    blue = np.array([0, 0x72, 0xB2])
    x, y = round(30 * zoom), round(5 * zoom)
    edge = drawn[round(55 * zoom) : round(65 * zoom), x]
    assert np.abs(edge - blue).sum(1).min() < 60
    assert np.abs(drawn[round(30 * zoom), x] - 200).max() < 20  # inside nothing is drawn
    assert y < drawn.shape[0]


def test_pictures_of_a_sample(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (160, 200, 3), np.uint8)
    files = {"a.png": tmp_path / "a.png", "b.png": tmp_path / "b.png"}
    Image.fromarray(pixels).save(files["a.png"])
    files["b.png"].write_bytes(b"nothing")
    drawn = draw_differential(build_record(), CELLS[:5], files)
    assert set(drawn.fields) == {"a.png"}
    assert drawn.cells["a.png", 1].image.startswith(b"\xff\xd8")
    assert drawn.cells["b.png", 1].problem
    again = draw_differential(build_record(), CELLS[:5], files)
    assert again.cells["a.png", 2].image == drawn.cells["a.png", 2].image
    text = render_html(describe_differential(build_record(), CELLS[:5], drawn))
    assert text.count("<figure>") == 2


def test_colours_repeat_after_eight_classes():
    many = tuple(replace(make_record().classes[0], label=f"c{k}") for k in range(10))
    colours = choose_colours(replace(make_record(), classes=many))
    assert colours["c0"] == colours["c8"]


@pytest.mark.parametrize(
    ("code", "values"),
    [("appearance_differs", {"share": 0.1, "expected": 0.9}), ("nothing_counted", {"n_cells": 3})],
)
def test_what_makes_a_differential_useless_is_the_answer(code, values):
    record = replace(make_record(), notes=(Note(code, values),))
    if code == "nothing_counted":
        record = replace(record, totals=replace(record.totals, counted=0))
    assert "neutrophil" not in words.describe_answer(record).lower()
    assert words.get_level(record) == "bad"
    assert render_text(describe_differential(record, ()))


def test_few_cells_are_no_differential():
    record = make_record()
    few = replace(record, totals=replace(record.totals, counted=3))
    assert words.describe_answer(few).startswith("Too few")
    assert words.list_flags(record) and not words.list_flags(few)


def test_levels_flags_and_shifts():
    record = make_record()
    assert words.get_level(record) == "caution"
    (flag,) = words.list_flags(record)
    assert "perhaps above" in flag and "40–75 %" in flag
    calm = replace(record, left_shift="none", sums=())
    assert words.get_level(calm) == "good"
    assert words.list_flags(calm) == []
    beyond = replace(
        calm,
        white_count_relation="above",
        white_count_limits=ReferenceLimits(3.6, 9.2, "10^9/L"),
        classes=(replace(record.classes[2], relation="below"),),
    )
    first, second = words.list_flags(beyond)
    assert first.startswith("White count") and "10⁹/L" in second
    assert "possible" in words.describe_left_shift(record)
    assert words.describe_left_shift(calm) == "No left shift."
    assert words.format_more(replace(record.classes[0], raw=UNDEFINED, corrected=UNDEFINED,
                                     n_more=None)) == "–"  # fmt: skip


def test_the_terminal_has_one_sample_in_full_and_several_in_a_table(tmp_path):
    pages = [tmp_path / "S-17.html"]
    one = render_text(describe_counted([make_record()], tmp_path, pages, None))
    assert re.search(r"lymphocyte\s+20\.0", one, re.IGNORECASE)
    several = describe_counted([make_record(), build_raw()], tmp_path, pages * 2, tmp_path / "i")
    assert "2 SAMPLES" in render_text(several)
    assert several.trailer[0].endswith("i")
