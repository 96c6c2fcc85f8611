"""Calibration before and after: parts that add up, and intervals that hold the truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from leukoscope.errors import DataError
from leukoscope.evaluation.metrics import compute_metrics
from leukoscope.evaluation.trust_measures import (
    calibrate_table,
    compute_ece_interval,
    decompose_brier,
    measure_calibration,
    measure_gain,
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


@pytest.mark.parametrize("n", [1, 2, 14, 500])
def test_parts_of_the_brier_score_add_up_to_that_of_the_metrics(n):
    table = make_table(n, temperature=2.0)
    parts = decompose_brier(table.probabilities_NK, table.labels_N)
    total = parts.reliability - parts.resolution + parts.uncertainty
    total += parts.within_variance - parts.within_covariance
    assert total == pytest.approx(parts.score, abs=1e-12)
    metrics = compute_metrics(table.labels_N, table.probabilities_NK, CLASSES)
    assert parts.score == pytest.approx(metrics["brier"], abs=1e-12)
    assert set(parts.to_dict()) == {"score", "reliability", "resolution", "uncertainty",
                                    "within_variance", "within_covariance"}  # fmt: skip


def test_parts_mean_what_they_say():
    calibrated, loud = (make_table(10000, temperature=t) for t in (1.0, 3.0))
    ours, theirs = (decompose_brier(t.probabilities_NK, t.labels_N) for t in (calibrated, loud))
    assert ours.reliability < 0.002 < 0.03 < theirs.reliability
    assert theirs.uncertainty == ours.uncertainty
    shares = np.bincount(calibrated.labels_N) / 10000
    assert ours.uncertainty == pytest.approx((shares * (1 - shares)).sum())
    with pytest.raises(DataError):
        decompose_brier(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_before_and_after():
    table = make_table(1500, temperature=2.5)
    after = calibrate_table(table, Calibration(method="temperature", temperature=2.5))
    old, new = (measure_calibration(t, replicates=60) for t in (table, after))
    assert old["ece"].low > new["ece"].high >= new["ece"].value >= new["ece"].low >= 0
    gain = measure_gain(table, after, replicates=60)
    for name in ("brier", "log_loss"):
        assert gain[name].value == pytest.approx(old[name].value - new[name].value, abs=1e-6)
        assert 0 < gain[name].low < gain[name].value < gain[name].high
    nothing = measure_gain(table, table, replicates=50)["brier"]
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)
    with pytest.raises(DataError, match="same images"):
        measure_gain(table, after.take(np.arange(5)))


def test_copies_do_not_narrow_intervals():
    one, many = make_table(200, temperature=2.0), make_table(200, temperature=2.0, copies=8)
    first, second = (measure_calibration(t, replicates=120)["ece"] for t in (one, many))
    assert second.high - second.low == pytest.approx(first.high - first.low, rel=0.15)
    single = replace(one, sources=("s",) * 200)
    assert np.isnan(measure_calibration(single, replicates=20)["ece"].low)


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
        found = compute_ece_interval(confidence_N, hit_N, names, replicates=150)
        held += found.low <= truth <= found.high
    assert held >= binom.ppf(1e-4, runs, 0.95)
    assert truth < 1e-9 if temperature == 1 else truth > 0.05


def draw_confidences(n, temperature, seed):
    """Stated confidence and the chance of being right."""
    true_NK = np.random.default_rng(seed).normal(0, 2, (n, 3))
    stated_NK = compute_probabilities(temperature * true_NK)
    return stated_NK.max(axis=1), compute_probabilities(true_NK).max(axis=1)
