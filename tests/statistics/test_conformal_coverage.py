"""The promise of prediction sets, by simulation against the exact distribution of coverage."""

import numpy as np
import pytest

from leukoscope.scores import compute_probabilities
from leukoscope.trust.conformal import compute_band, fit_sets, measure_coverage

CLASSES = ("a", "b", "c", "d")
SHARES = (0.5, 0.3, 0.15, 0.05)
REPEATS = 150


def draw(rng, n):
    """A network that is wrong in its own way: shrunken logits, and worse for some classes."""
    labels_N = rng.choice(4, n, p=SHARES)
    logits_NK = rng.normal(0, 1 + 0.3 * labels_N[:, None], (n, 4))
    logits_NK[np.arange(n), labels_N] += 2.5
    return compute_probabilities(0.6 * logits_NK), labels_N


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
@pytest.mark.parametrize("conditional", [True, False])
def test_coverage_stays_within_its_band(method, conditional):
    """Of 150 repeats, each with new calibration and new test images, the mean lies at the level
    (within 4 standard errors), and not more than 4 of 100 leave the 99 % band (99 % of the time
    fewer than 6 of 150 would)."""
    rng = np.random.default_rng(1)
    alpha, outside, covered = 0.1, 0, []
    for _ in range(REPEATS):
        (p_NK, labels_N), (new_NK, new_N) = draw(rng, 600), draw(rng, 600)
        u_N, new_u_N = rng.random(600), rng.random(600)
        sets = fit_sets(
            p_NK, labels_N, CLASSES, method=method, alpha=alpha, class_conditional=conditional,
            uniform_N=u_N,
        )  # fmt: skip
        found = measure_coverage(sets.predict(new_NK, new_u_N), new_N, CLASSES, sets)
        share = found.per_class["a"] if conditional else found.marginal
        outside += not share.low <= share.value <= share.high
        covered.append(share.value)
    n_calib = 300 if conditional else 600
    error = np.sqrt(0.1 * 0.9 * (1 / n_calib + 1 / n_calib) / REPEATS)
    assert np.mean(covered) == pytest.approx(0.9 + 0.5 / n_calib, abs=4 * error)
    assert outside <= 6


def test_one_threshold_for_all_fails_the_rare_class():
    """Why thresholds per class: marginal sets keep their promise on average only."""
    rng = np.random.default_rng(2)
    short = {True: 0, False: 0}
    for conditional in short:
        for _ in range(40):
            sets = fit_sets(*draw(rng, 1000), CLASSES, alpha=0.1, class_conditional=conditional)
            new_NK, new_N = draw(rng, 1000)
            found = measure_coverage(sets.predict(new_NK), new_N, CLASSES, sets)
            worst = min(found.per_class[name].value - 0.9 for name in ("b", "c"))
            short[conditional] += worst < -0.08
    assert short[True] <= 4 < 20 < short[False]


def test_images_of_another_kind_break_the_promise():
    rng = np.random.default_rng(3)
    sets = fit_sets(*draw(rng, 1000), CLASSES, alpha=0.1, class_conditional=False)
    p_NK, labels_N = draw(rng, 1000)
    found = measure_coverage(sets.predict(p_NK), rng.permutation(labels_N), CLASSES, sets)
    assert not found.marginal.holds
    assert found.marginal.value < compute_band(1000, 0.1, 1000)[0] - 0.2
