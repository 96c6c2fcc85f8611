"""What figures of trust say, in words that a reader sees."""

import matplotlib
import numpy as np
import pytest

from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.coverage import measure_coverage
from leukoscope.evaluation.trust_measures import compute_risk_coverage
from leukoscope.report.trust_figures import (
    draw_coverage,
    draw_reliability_both,
    draw_risk_coverage,
)
from leukoscope.scores import compute_probabilities
from leukoscope.trust.conformal import fit_sets

CLASSES = ("basophil", "eosinophil", "monocyte")


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    logits_NK = rng.normal(0, 2, (n, 3))
    p_NK = compute_probabilities(logits_NK)
    return logits_NK, np.array([rng.choice(3, p=p) for p in p_NK])


def texts(figure):
    figure.canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return " | ".join(t.get_text() for t in found if t.get_text() and t.get_visible())


def test_reliability_shows_both_errors_and_counts():
    logits_NK, labels_N = draw(900)
    figure = draw_reliability_both(
        labels_N,
        compute_probabilities(3 * logits_NK),
        compute_probabilities(logits_NK),
        [str(i) for i in range(900)],
    )
    shown = texts(figure)
    assert "Before: error" in shown and "After: error" in shown
    assert "each about 60 images" in shown
    heights = [p.get_height() for p in figure.axes[2].patches]
    assert sum(heights) == 900  # every image is counted, also those below the baseline


def test_errors_of_the_figure_count_sources_as_the_table_does():
    """Copies that are right or wrong together are no miscalibration."""
    logits_NK, labels_N = draw(40)
    rows = np.repeat(np.arange(40), 30)
    p_NK, sources = compute_probabilities(logits_NK)[rows], [str(i) for i in rows]
    confidence_N, hit_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == labels_N[rows]
    wanted = 100 * compute_debiased_ece(confidence_N, hit_N, sources)
    naive = 100 * compute_debiased_ece(confidence_N, hit_N)
    shown = texts(draw_reliability_both(labels_N[rows], p_NK, p_NK, sources))
    assert f"After: error {wanted:.1f} points" in shown and naive > wanted + 5


def test_coverage_names_the_classes_that_fall_short():
    logits_NK, labels_N = draw(900)
    p_NK = compute_probabilities(logits_NK)
    sets = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1)
    sets_NK = sets.predict(p_NK)
    fine = draw_coverage(measure_coverage(sets_NK, labels_N, CLASSES, sets), CLASSES, 0.1)
    assert "As often as chance allows" in texts(fine)
    sets_NK[:, 1] = False
    sets_NK = sets_NK[labels_N != 2]
    found = measure_coverage(sets_NK, labels_N[labels_N != 2], CLASSES, sets)
    shown = texts(draw_coverage(found, CLASSES, 0.1))
    assert "Below what chance allows (grey): All cells, Eosinophil" in shown
    assert "no images" in shown and f"{found.mean_size:.2f}" in shown


def test_risk_coverage_by_hand_and_drawn():
    share_M, risk_M = compute_risk_coverage(
        np.array([0.9, 0.8, 0.8, 0.7]), np.array([True, False, True, False])
    )
    # Equal confidences are accepted together.
    assert share_M.tolist() == [0.25, 0.75, 1.0]
    assert risk_M == pytest.approx([0, 1 / 3, 0.5])
    figure = draw_risk_coverage(np.array([0.9, 0.8]), np.array([True, False]), (0.5, 0.0), 0.99)
    assert "50.0 % accepted" in texts(figure) and "target: 1 % wrong" in texts(figure)
