"""Which cells a bundle has used up; the rest of the room is tested with `validate`."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from leukoscope.data.catalog import ImageRecord
from leukoscope.errors import DataError
from leukoscope.pipelines.recalibrate import find_spent


def build_record(k, source="", box=None):
    name = f"{k}.png" if box is None else f"{k}.png#{box[0]}"
    return ImageRecord(name, Path(name), "red", 9, 9, 9, f"{k:064x}"[::-1], "", source, box)


def build_info(*entries):
    """A bundle fitted to the files of the first numbers and measured on those of the second."""
    content = [
        {
            "data": "lab",
            "fitted_files": [build_record(k).sha256[:16] for k in fitted],
            "judged_files": [build_record(k).sha256[:16] for k in judged],
        }
        for fitted, judged in entries
    ]
    return SimpleNamespace(provenance={"recalibrated": content} if content else {})


def test_a_bundle_that_was_never_fitted_has_spent_nothing():
    records = [build_record(k) for k in range(3)]
    found = find_spent(build_info(), records)
    assert found.fresh == tuple(records) and not found.n_judged and not found.warnings


def test_fitted_files_are_left_out_with_all_of_their_sources():
    records = [
        build_record(1, "ann"), build_record(2, "ann"), build_record(3, "bob"), build_record(4),
        build_record(5, box=(0, 0, 3, 3)), build_record(5, box=(4, 4, 8, 8)),
    ]  # fmt: skip
    found = find_spent(build_info(([1, 5], [3])), records)
    assert [record.id for record in found.fresh] == ["3.png", "4.png"]
    assert found.n_judged == 1
    assert "4 of 6 cells are left out" in found.warnings[0]


def test_all_that_was_ever_fitted_counts_and_home_of_the_last_time():
    records = [build_record(k) for k in range(6)]
    found = find_spent(build_info(([0], [1, 2]), ([1], [3])), records)
    assert [record.id for record in found.fresh] == ["2.png", "3.png", "4.png", "5.png"]
    assert found.n_judged == 1


def test_nothing_left_is_an_error_and_a_silent_bundle_a_warning():
    with pytest.raises(DataError, match="all 2 of these"):
        find_spent(build_info(([0], [])), [build_record(0, "ann"), build_record(1, "ann")])
    old = SimpleNamespace(provenance={"recalibrated": [{"data": "lab", "n_fit": 90}]})
    found = find_spent(old, [build_record(0)])
    assert len(found.fresh) == 1 and "cells of lab that it does not list" in found.warnings[0]
