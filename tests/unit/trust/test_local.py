"""Levels fitted to local cells: a temperature over home's, and what stays."""

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.scores import ScoreTable
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.local import fit_local_temperature


def build_table(n=400, sharpness=4.0, seed=0):
    """Logits that are `sharpness` times too large for how often they are right."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, 1.5, (n, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([generator.choice(3, p=row) for row in p])
    names = tuple(str(i) for i in range(n))
    return ScoreTable(
        ("a", "b", "c"), names, names, names, ("local",) * n, labels,
        (honest * sharpness).astype(np.float32), np.zeros((n, 0), np.float32), True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "home",
    [
        Calibration(),
        Calibration(method="temperature", temperature=2.0),
        Calibration(method="bias_corrected", temperature=2.0, bias=(0.0, 0.0, 0.0)),
    ],
)
def test_a_planted_temperature_is_found_over_that_of_home(home):
    found = fit_local_temperature(home, build_table())
    assert found.temperature == pytest.approx(4, rel=0.15)


def test_no_name_changes_under_a_bias_of_home():
    home = Calibration(method="bias_corrected", temperature=0.5, bias=(0.7, -0.2, 0.1))
    table = build_table()
    found = fit_local_temperature(home, table)
    assert found.temperature != home.temperature
    names = [one.apply(table.logits_NK).argmax(axis=1) for one in (home, found)]
    np.testing.assert_array_equal(*names)


def test_cells_of_one_kind_do_not_teach_to_call_everything_so():
    table = build_table()
    rows = np.flatnonzero(table.labels_N == 1)
    found = fit_local_temperature(Calibration(), table.take(rows))
    assert found.bias == ()
    with pytest.raises(DataError):
        fit_local_temperature(Calibration(), table.take(rows[:0]))
