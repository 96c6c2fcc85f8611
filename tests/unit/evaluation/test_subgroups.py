"""Groups of cells that share a value of a column."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

_spec = importlib.util.spec_from_file_location(
    "validation_cells", Path(__file__).with_name("validation_cells.py")
)
cells_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cells_of)


def test_groups_that_differ_stand_out_and_others_do_not():
    cells = cells_of.build_cells(n=400, per_source=1)
    hits = cells.answers.calls_N == cells.table.labels_N
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
    assert {one.value for one in found["site"].groups} == {"a", "b", "(blank)"}
    assert "same value" in found["batch"].note and "no grouping" in found["patient_age"].note
    few = found["rare"].groups[1]
    assert few.n_images == 3 and math.isnan(few.accuracy.value)
    mixed = cells_of.validate(
        replace(cells_of.build_cells(), columns={"half": ("a", "b") * 60})
    ).subgroups[0]
    assert "60 sources lie in several groups" in mixed.note
