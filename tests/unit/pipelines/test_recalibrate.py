"""Which cells a bundle has used up; the rest of the room is tested with `validate`."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from leukoscope.data.catalog import ImageRecord
from leukoscope.errors import BundleError, DataError
from leukoscope.pipelines.recalibrate import find_usable


def build_record(k, source="", box=None):
    name = f"{k}.png" if box is None else f"{k}.png#{box[0]}"
    return ImageRecord(name, Path(name), "red", 9, 9, 9, f"{k:064x}"[::-1], "", source, box)


ORIGIN = {
    "data": "lab",
    "seed": 0,
    "n_fit": 1,
    "n_fit_sources": 1,
    "from_arrays_sha256": "",
    "by": {},
}


def build_info(*entries):
    """A bundle fitted to the files of the first numbers and measured on those of the second."""
    content = [
        {
            **ORIGIN,
            "by": {},
            "fitted_files": [build_record(k).sha256[:16] for k in fitted],
            "reference_files": [build_record(k).sha256[:16] for k in reference],
        }
        for fitted, reference in entries
    ]
    return SimpleNamespace(provenance={"recalibrated": content} if content else {})


def test_a_bundle_that_was_never_fitted_leaves_nothing_out():
    records = [build_record(k) for k in range(3)]
    found = find_usable(build_info(), records)
    assert found.records == tuple(records) and not found.n_reference and not found.n_fitted


def test_fitted_files_are_left_out_with_all_of_their_sources():
    records = [
        build_record(1, "ann"), build_record(2, "ann"), build_record(3, "bob"), build_record(4),
        build_record(5, box=(0, 0, 3, 3)), build_record(5, box=(4, 4, 8, 8)),
    ]  # fmt: skip
    found = find_usable(build_info(([1, 5], [3])), records)
    assert [record.id for record in found.records] == ["3.png", "4.png"]
    assert found.n_reference == 1
    assert found.n_fitted == 4


def test_all_that_was_ever_fitted_counts_and_the_last_reference():
    records = [build_record(k) for k in range(6)]
    found = find_usable(build_info(([0], [1, 2]), ([1], [3])), records)
    assert [record.id for record in found.records] == ["2.png", "3.png", "4.png", "5.png"]
    assert found.n_reference == 1


def test_nothing_left_is_an_error_and_so_is_a_record_without_its_files():
    with pytest.raises(DataError, match="all 2 of these"):
        find_usable(build_info(([0], [])), [build_record(0, "ann"), build_record(1, "ann")])
    broken = SimpleNamespace(provenance={"recalibrated": [{"data": "lab", "n_fit": 90}]})
    with pytest.raises(BundleError, match="Field required"):
        find_usable(broken, [build_record(0)])
