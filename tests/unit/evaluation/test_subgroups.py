"""Groups of cells that share a value of a column."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.builders import validation as cells_of

from leukoscope.evaluation.agreement import compare_shares
from leukoscope.evaluation.intervals import compute_proportion
from leukoscope.evaluation.subgroups import split_column


def test_groups_that_differ_stand_out_and_others_do_not():
    cells = cells_of.build_cells(n=400, per_source=1)
    hits = cells.predictions.labels_N == cells.table.labels_N
    generator = np.random.default_rng(1)
    columns = {
        "scanner": tuple("old" if not hit and i % 4 else "new" for i, hit in enumerate(hits)),
        "site": tuple(generator.choice(["a", "b", ""], 400).tolist()),
        "batch": ("one",) * 400,
        "patient_age": tuple(str(i) for i in range(400)),
        "rare": ("x",) * 3 + ("y",) * 397,
    }
    found = {
        one.column: one for one in cells_of.validate(replace(cells, columns=columns)).subgroups
    }
    assert all(one.stands_out for one in found["scanner"].groups)
    assert not any(one.stands_out for one in found["site"].groups)
    assert {one.value for one in found["site"].groups} == {"a", "b", ""}
    assert found["batch"].status == "one_value"
    assert (found["patient_age"].status, found["patient_age"].n_values) == ("too_many_values", 400)
    few = found["rare"].groups[1]
    assert few.n_images == 3 and math.isnan(few.accuracy.value)
    mixed = cells_of.validate(
        replace(cells_of.build_cells(), columns={"half": ("a", "b") * 60})
    ).subgroups[0]
    assert mixed.n_shared_sources == 60


def measure_groups(hits, values, accepted=None):
    """The groups by value of cells that are one class and have a source each."""
    n = len(hits)
    table = cells_of.build_cells(n=n, per_source=1).table
    table = replace(table, labels_N=np.zeros(n, np.int64))
    status = None if accepted is None else ["accepted" if one else "unknown" for one in accepted]
    calls = np.where(hits, 0, 1)
    return {one.value: one for one in split_column("x", values, table, calls, status).groups}


def test_a_scanner_whose_cells_are_not_accepted_stands_out_though_its_names_are_right():
    accepted = np.r_[np.arange(96) >= 1, np.arange(96) >= 51]
    found = measure_groups(np.full(192, True), ["A"] * 96 + ["B"] * 96, accepted)
    b = found["B"]
    assert b.accepted.value == pytest.approx(45 / 96) and b.rejected.value == pytest.approx(51 / 96)
    assert b.accepted_difference.value == pytest.approx(45 / 96 - 95 / 96)
    assert b.accepted_stands_out and not b.stands_out
    bare = measure_groups(np.full(192, True), ["A"] * 96 + ["B"] * 96)["B"]
    assert math.isnan(bare.accepted.value) and not bare.accepted_stands_out


def test_many_groups_are_held_to_a_level_for_all_of_them():
    """The same group against the same rest: a star among two, none among twenty."""
    hits = np.r_[np.arange(40) >= 11, np.arange(400) >= 50]
    rest = ["rest"] * 400
    two = measure_groups(hits, ["odd"] * 40 + rest)["odd"]
    many = measure_groups(hits, ["odd"] * 40 + [f"group {i % 19}" for i in range(400)])["odd"]
    assert two.stands_out and not many.stands_out
    assert many.difference.value == two.difference.value
    wanted = 1 - 0.05 / 20
    group, rest_share = (compute_proportion(x, [str(i) for i in range(len(x))], wanted)
                   for x in (hits[:40], hits[40:]))  # fmt: skip
    alone = compare_shares(group, rest_share).difference
    assert many.difference == alone
    # A second figure is a second chance to be wrong.
    both = measure_groups(hits, ["odd"] * 40 + rest, np.full(440, True))["odd"]
    assert both.difference.low < two.difference.low
