"""Readers take whatever comes: trees and tables at random, damaged at random (the long campaign is
`benchmarks/fuzz_readers.py`)."""

import pytest
from benchmarks.fuzz_readers import KINDS, build_case, check_case
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.data.layouts import read_layers
from leukoscope.data.tables import map_columns, read_cells
from leukoscope.errors import LeukoscopeError


@pytest.mark.parametrize("start", range(len(KINDS)))
def test_only_errors_of_the_package_come_and_nothing_is_lost(tmp_path, start):
    came = set()
    for seed in range(start, 25 * len(KINDS), len(KINDS)):
        _, target, levels = build_case(seed, tmp_path / str(seed))
        came.add(check_case(target, levels))
    assert len(came) > 1  # some were read, some were rejected


NAMES = st.sampled_from(
    ["EOS", "LYM", "train", "TestA", "odd", "patient_1", "P2", "fold_0", "images", "a", "b", "101"]
)


@given(st.dictionaries(st.lists(NAMES, max_size=5).map(tuple), st.integers(0, 9), max_size=12))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_folder_has_one_place_or_there_is_a_question(counts):
    layout = read_layers(counts)
    assert set(layout.places) == {folders for folders, n in counts.items() if n}
    for folders, place in layout.places.items():
        assert place.label == (folders[place.class_level - 1] if place.class_level else "")
        assert layout.question is None or not place.label
    for folders, place in read_layers(counts, class_level=2).places.items():
        assert place.label == (folders[1] if len(folders) > 1 else "")


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_are_a_table_or_an_error(tmp_path_factory, content, trim):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    path.write_bytes(content)
    try:
        cells = read_cells(path, trim=trim)
        map_columns(path, cells)
    except LeukoscopeError:
        return
    assert {"path", "label"} <= set(map_columns(path, cells).places)
