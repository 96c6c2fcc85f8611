import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.evaluation.metrics import OVERALL, compute_metrics


@st.composite
def scores(draw):
    k = draw(st.integers(2, 5))
    n = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    p = generator.dirichlet(np.ones(k), n)
    return labels, p, tuple(f"c{i}" for i in range(k)), generator


def assert_close(found, expected):
    assert found.overall == pytest.approx(expected.overall, abs=1e-9, nan_ok=True)
    for label, own in found.per_class.items():
        assert own == pytest.approx(expected.per_class[label], abs=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=20)
@given(scores())
def test_the_order_of_classes_does_not_matter(given):
    labels, p, classes, generator = given
    order = generator.permutation(len(classes))
    place = np.argsort(order)
    found = compute_metrics(place[labels], p[:, order], [classes[k] for k in order])
    assert_close(found, compute_metrics(labels, p, classes))


@settings(deadline=None, max_examples=20)
@given(scores())
def test_the_order_of_rows_does_not_matter(given):
    labels, p, classes, generator = given
    order = generator.permutation(len(labels))
    assert_close(
        compute_metrics(labels[order], p[order], classes), compute_metrics(labels, p, classes)
    )


@settings(deadline=None, max_examples=20)
@given(scores(), st.integers(2, 4))
def test_the_same_rows_again_change_nothing(given, times):
    labels, p, classes, _ = given
    found = compute_metrics(np.tile(labels, times), np.tile(p, (times, 1)), classes)
    assert_close(found, compute_metrics(labels, p, classes))
    weights = np.full(len(labels), float(times))
    assert_close(compute_metrics(labels, p, classes, weights), found)


@settings(deadline=None, max_examples=20)
@given(scores())
def test_figures_lie_in_their_range(given):
    labels, p, classes, _ = given
    figures = compute_metrics(labels, p, classes)
    classwise = [pair for own in figures.per_class.values() for pair in own.items()]
    for name, value in (*figures.overall.items(), *classwise):
        low = -1 if name in ("mcc", "kappa") else 0
        high = {"log_loss": math.inf, "brier": 2}.get(name, 1)
        assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12, name


@settings(deadline=None, max_examples=20)
@given(scores())
def test_the_truth_itself_is_perfect(given):
    labels, _, classes, _ = given
    figures = compute_metrics(labels, np.eye(len(classes))[labels], classes).overall
    for name in OVERALL:
        expected = 0 if name in ("log_loss", "brier") else 1
        assert math.isnan(figures[name]) or figures[name] == pytest.approx(expected, abs=1e-12)
    assert figures["accuracy"] == 1
