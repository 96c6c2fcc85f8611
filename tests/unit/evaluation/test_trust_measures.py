"""Calibration before and after: parts that add up, and intervals that hold the truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.evaluation.intervals import compute_ece_interval
from leukoscope.evaluation.metrics import compute_metrics
from leukoscope.evaluation.trust_measures import (
    BRIER_PARTS,
    calibrate_table,
    measure_calibration,
)
from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.calibration import Calibration

CLASSES = ("a", "b", "c")


def make_table(n=400, temperature=1.0, seed=0, copies=1):
    """A network whose logits are too large by `temperature`, each image `copies` times."""
    rng = np.random.default_rng(seed)
    true_NK = rng.normal(0, 2, (n, 3))
    below_NK = compute_probabilities(true_NK).cumsum(axis=1)
    labels_N = (rng.random(n)[:, None] > below_NK).sum(axis=1).clip(0, 2)
    index = np.repeat(np.arange(n), copies)
    names = tuple(str(i) for i in range(n * copies))
    return ScoreTable(
        classes=CLASSES,
        ids=names,
        paths=names,
        sources=tuple(f"s{i}" for i in index),
        roles=("test",) * (n * copies),
        labels_N=labels_N[index],
        logits_NK=(temperature * true_NK).astype(np.float32)[index],
        embeddings_ND=np.zeros((n * copies, 0), np.float32),
        source_known=True,
    )


@pytest.mark.parametrize(("n", "copies"), [(1, 1), (2, 1), (14, 3), (500, 1)])
def test_parts_of_the_brier_score_add_up_to_that_of_the_metrics(n, copies):
    table = make_table(n, temperature=2.0, copies=copies)
    found = measure_calibration(table)
    reliability, resolution, uncertainty, within = (found[f"brier_{p}"] for p in BRIER_PARTS)
    total = reliability.value - resolution.value + uncertainty.value + within.value
    assert total == pytest.approx(found["brier"].value, abs=1e-9)
    metrics = compute_metrics(table.labels_N, table.probabilities_NK, CLASSES)
    assert total == pytest.approx(metrics.overall["brier"], abs=1e-9)


def test_parts_mean_what_they_say():
    calibrated, loud = (make_table(10000, temperature=t) for t in (1.0, 3.0))
    ours, theirs = (measure_calibration(t) for t in (calibrated, loud))
    assert ours["brier_reliability"].value < 0.002 < 0.03 < theirs["brier_reliability"].low
    assert theirs["brier_uncertainty"].value == pytest.approx(ours["brier_uncertainty"].value)
    shares = np.bincount(calibrated.labels_N) / 10000
    assert ours["brier_uncertainty"].value == pytest.approx((shares * (1 - shares)).sum())
    for part in BRIER_PARTS:
        one = ours[f"brier_{part}"]
        assert one.low <= one.value <= one.high and one.low < one.high


def test_parts_by_hand():
    """Six images in ten are of a class that always gets 0.8."""
    labels = np.array([0] * 6 + [1] * 4)
    logits_NK = np.log(np.tile([0.8, 0.2], (10, 1))).astype(np.float32)
    table = replace(make_table(10), classes=("a", "b"), labels_N=labels, logits_NK=logits_NK)
    found = measure_calibration(table)
    assert found["brier_reliability"].value == pytest.approx(2 * (0.8 - 0.6) ** 2)
    assert found["brier_resolution"].value == pytest.approx(0)
    assert found["brier_uncertainty"].value == pytest.approx(2 * 0.6 * 0.4)
    assert found["brier_within"].value == pytest.approx(0)


def test_before_and_after():
    table = make_table(1500, temperature=2.5)
    after = calibrate_table(table, Calibration(method="temperature", temperature=2.5))
    old, new = (measure_calibration(t) for t in (table, after))
    assert old["ece"].low > new["ece"].high >= new["ece"].value >= new["ece"].low >= 0
    for name in ("brier", "log_loss"):
        assert old[name].value > new[name].value


def test_copies_do_not_narrow_intervals():
    one, many = make_table(200, temperature=2.0), make_table(200, temperature=2.0, copies=8)
    first, second = (measure_calibration(t)["ece"] for t in (one, many))
    assert second.high - second.low == pytest.approx(first.high - first.low, rel=0.15)
    single = replace(one, sources=("s",) * 200)
    assert np.isnan(measure_calibration(single)["ece"].low)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_intervals_of_the_calibration_error_hold_the_truth(temperature):
    """The truth is that of 300,000 images in the same number of bins. A right interval of 95 %
    fails this once in ten thousand draws of the seed."""
    confidence_N, chance_N = draw_confidences(300_000, temperature, 99)
    bins = np.array_split(np.argsort(confidence_N), 15)
    gaps = [confidence_N[b].mean() - chance_N[b].mean() for b in bins]
    truth = np.sqrt(np.mean(np.square(gaps)))
    runs, held = 100, 0
    names = [str(i) for i in range(300)]
    for seed in range(runs):
        confidence_N, chance_N = draw_confidences(300, temperature, seed)
        hit_N = np.random.default_rng(1000 + seed).random(300) < chance_N
        found = compute_ece_interval(confidence_N, hit_N, names)
        held += found.low <= truth <= found.high
    assert held >= binom.ppf(1e-4, runs, 0.95)
    assert truth < 1e-9 if temperature == 1 else truth > 0.05


def draw_confidences(n, temperature, seed):
    """Stated confidence and the chance of being right."""
    true_NK = np.random.default_rng(seed).normal(0, 2, (n, 3))
    stated_NK = compute_probabilities(temperature * true_NK)
    return stated_NK.max(axis=1), compute_probabilities(true_NK).max(axis=1)
