"""Which cells a bundle has used up; the rest of the room is tested with `validate`."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.builders.bundles import MADE, ORIGIN

from leukoscope.data.catalog import ImageRecord
from leukoscope.deploy.bundle import RecalibrationOrigin
from leukoscope.errors import DataError
from leukoscope.pipelines.recalibrate import find_usable


def build_record(k, source="", box=None):
    name = f"{k}.png" if box is None else f"{k}.png#{box[0]}"
    return ImageRecord(name, Path(name), "red", 9, 9, 9, f"{k:064x}"[::-1], "", source, box)


def build_info(*entries):
    """A bundle fitted to the files of the first numbers and measured on those of the second."""
    origins = tuple(
        RecalibrationOrigin(
            data="lab", seed=0, n_fit=1, n_fit_sources=1, from_arrays_sha256="", by=MADE,
            fitted_files=tuple(build_record(k).sha256[:16] for k in fitted),
            reference_files=tuple(build_record(k).sha256[:16] for k in reference),
        )
        for fitted, reference in entries
    )  # fmt: skip
    return SimpleNamespace(provenance=ORIGIN.model_copy(update={"recalibrated": origins}))


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


def test_nothing_left_is_an_error():
    with pytest.raises(DataError, match="all 2 of these"):
        find_usable(build_info(([0], [])), [build_record(0, "ann"), build_record(1, "ann")])
