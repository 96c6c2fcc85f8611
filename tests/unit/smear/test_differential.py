"""The record of a differential: groups of classes, reference limits, and its JSON file."""

import math

import pytest
from tests.builders.differential import make_record

from leukoscope.interval import UNDEFINED, Interval
from leukoscope.records import load_record, save_record
from leukoscope.smear.differential import (
    CELL_GROUPS,
    LEFT_SHIFTS,
    CountedCell,
    DifferentialRecord,
    ReferenceLimits,
    compare_to_limits,
    get_group,
)


def test_each_class_has_its_place():
    labels = ("blast", "erythroblast", "platelet", "smudge_cell", "artefact", "foam_cell")
    found = [get_group(label) for label in labels]
    assert found == ["white", "nucleated_red", "platelet", "smudge", "other", "white"]
    assert set(found) == set(CELL_GROUPS)


@pytest.mark.parametrize(
    ("figure", "relation"),
    [
        (Interval(0.1, 0.05, 0.15), "below"),
        (Interval(0.1, 0.05, 0.25), "perhaps_below"),
        (Interval(0.3, 0.1, 0.5), "within"),
        (Interval(0.5, 0.35, 0.6), "perhaps_above"),
        (Interval(0.5, 0.41, 0.6), "above"),
        (UNDEFINED, ""),
    ],
)
def test_a_figure_beside_its_limits(figure, relation):
    assert compare_to_limits(figure, ReferenceLimits(0.2, 0.4, "share")) == relation
    assert compare_to_limits(figure, None) == ""


def test_what_counts_is_read_whole_single_and_identified():
    cell = CountedCell("a.png", label="monocyte", confidence=0.9, decision="review")
    assert cell.is_counted
    assert not CountedCell("a.png", label="monocyte", decision="unknown").is_counted
    assert not CountedCell("a.png", error="truncated: half").is_counted
    assert CountedCell("a.png", label="monocyte").is_counted  # of a bundle that rejects nothing


def test_the_record_is_a_file(tmp_path):
    record = make_record()
    save_record(record, tmp_path / "one.json")
    again = load_record(DifferentialRecord, tmp_path / "one.json", "leukoscope differential")
    assert math.isnan(again.get_share("neutrophil").absolute.value) is False
    assert repr(again) == repr(record)
    assert again.get_share("hairy_cell") is None
    assert again.get_share("lymphocyte").limits.unit == "10^9/L"
    assert again.left_shift in LEFT_SHIFTS
    assert LEFT_SHIFTS == ("not_known", "none", "perhaps", "present")
    assert again.classes[0].best == again.classes[0].corrected
