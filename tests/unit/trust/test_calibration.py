"""Calibration: planted temperatures and biases come back, decisions stay, hard cases end well."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tests.builders.scores import draw_uncalibrated as draw
from tests.builders.scores import name_sources

from leukoscope.errors import DataError
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.records import dump_record
from leukoscope.scores import compute_probabilities
from leukoscope.trust.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Calibration,
    compute_log_losses,
    fit_bias_corrected,
    fit_calibration,
    fit_temperature,
)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature):
    logits_NK, labels_N = draw(6000, temperature=temperature)
    found = fit_temperature(logits_NK, labels_N)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    p_NK = compute_probabilities(found.apply(logits_NK))
    hit_N = p_NK.argmax(axis=1) == labels_N
    assert compute_debiased_ece(p_NK.max(axis=1), hit_N) < 0.02
    assert (p_NK.argmax(axis=1) == logits_NK.argmax(axis=1)).all()


def test_the_temperature_is_the_best_there_is():
    """Witness: another optimiser on scikit-learn's log loss, and the prior beside it."""
    logits_NK, labels_N = draw(300, temperature=2.0)

    def loss(t):
        found = log_loss(labels_N, compute_probabilities(logits_NK / t[0]), labels=range(4))
        return found + prior * np.log(t[0]) ** 2 / 2 / 300

    ours = fit_temperature(logits_NK, labels_N).temperature
    for prior, within in ((1, 1e-4), (0, 0.01)):  # noqa: B007 (read by loss)
        other = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0]
        assert ours == pytest.approx(other, rel=within)


def test_a_planted_bias_is_found_and_chosen():
    bias_K = np.array([1.0, -1.0, 0.5, -0.5])
    logits_NK, labels_N = draw(4000, temperature=2.0, bias=bias_K)
    found, choice = fit_calibration(logits_NK, labels_N, name_sources(4000))
    assert found.method == choice.chosen == "bias_corrected"
    losses = choice.log_losses
    assert losses["bias_corrected"] < losses["temperature"] < losses["none"]
    assert np.array(found.bias) - np.mean(found.bias) == pytest.approx(bias_K, abs=0.15)


def test_the_choice_is_the_gain_against_its_error():
    """Witness: the record itself, over worlds in which the biases help more and more."""
    chosen = []
    for size in (0.0, 0.2, 0.8):
        bias_K = size * np.array([1.0, -1.0, 0.5, -0.5])
        scores = draw(300, temperature=2.0, bias=bias_K, seed=5)
        _, choice = fit_calibration(*scores, name_sources(300))
        gap = choice.log_losses["temperature"] - choice.log_losses["bias_corrected"]
        assert choice.gains["bias_corrected"] == pytest.approx(gap, abs=1e-12)
        chosen.append(choice.chosen)
        needed = 2 * choice.standard_errors["bias_corrected"]
        assert (choice.chosen == "bias_corrected") == (gap > needed)
    assert chosen[0] == "temperature" and chosen[-1] == "bias_corrected"


def test_a_network_that_needs_nothing_is_left_alone():
    """In 20 draws of a calibrated network's scores; what is fitted could only add noise."""
    methods = [
        fit_calibration(*draw(300, seed=seed), name_sources(300))[1].chosen for seed in range(20)
    ]
    assert methods.count("none") >= 14
    assert "bias_corrected" not in methods


def test_without_a_bias_the_simple_method_stays():
    logits_NK, labels_N = draw(400, temperature=2.0)
    found, choice = fit_calibration(logits_NK, labels_N, name_sources(400))
    assert found.method == choice.chosen == "temperature" and found.bias == ()
    record = dump_record(choice)
    assert record["folds"] == 5 and record["standard_errors"]["temperature"] > 0
    assert record["log_losses"]["none"] - record["log_losses"]["temperature"] == pytest.approx(
        record["gains"]["temperature"]
    )


def test_copies_of_one_source_stay_in_one_fold():
    """Every image copied ten times: ten times the rows, the same evidence, the same choice."""
    logits_NK, labels_N = draw(120, temperature=2.0, bias=np.array([0.4, -0.4, 0, 0]), seed=3)
    _, one = fit_calibration(logits_NK, labels_N, name_sources(120))
    copied = np.repeat(np.arange(120), 10)
    names = [str(i) for i in copied]
    _, many = fit_calibration(logits_NK[copied], labels_N[copied], names)
    assert many.n_sources == one.n_sources == 120 and many.n_images == 1200
    assert many.standard_errors["temperature"] == pytest.approx(
        one.standard_errors["temperature"], rel=0.15
    )
    assert many.chosen == one.chosen


def test_few_sources_leave_nothing_to_choose():
    logits_NK, labels_N = draw(9)
    found, choice = fit_calibration(logits_NK, labels_N, name_sources(9))
    assert found.method == "temperature" and choice.folds == 0
    assert choice.log_losses == {}


def test_bias_corrected_agrees_with_logistic_regression():
    """With two classes it is a logistic regression on the difference of logits."""
    logits_NK, labels_N = draw(3000, k=2, temperature=1.5, bias=np.array([0.5, -0.5]))
    found = fit_bias_corrected(logits_NK, labels_N)
    gap = (logits_NK[:, 1] - logits_NK[:, 0])[:, None]
    model = LogisticRegression(C=np.inf).fit(gap, labels_N)
    assert 1 / found.temperature == pytest.approx(model.coef_[0, 0], rel=1e-2)
    assert found.bias[1] - found.bias[0] == pytest.approx(model.intercept_[0], abs=1e-2)


@pytest.mark.parametrize("fit", [fit_temperature, fit_bias_corrected])
def test_hard_cases_end_within_bounds(fit):
    right = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] * 9
    sure = fit(right, np.array([0, 1, 2, 0]))
    assert MIN_TEMPERATURE < sure.temperature < 1
    # Four right answers do not make a network that is never wrong.
    assert compute_probabilities(sure.apply(right)).max() < 1 - 1e-6
    assert sum(sure.bias) == pytest.approx(0, abs=1e-9)
    wrong = fit(right, np.array([1, 2, 0, 1]))
    assert wrong.temperature <= MAX_TEMPERATURE
    missing = fit(right[:2], np.array([0, 1]))  # no image of the third class
    assert np.isfinite(missing.apply(right)).all()
    assert np.isfinite(fit(np.zeros((3, 3), np.float32), np.array([0, 1, 2])).temperature)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3), np.float32), []),
        (np.array([[np.nan, 0, 0]], np.float32), [0]),
        (np.zeros((2, 3), np.float32), [0]),
        (np.zeros((1, 3), np.float32), [3]),
        (np.zeros((1, 3), np.float32), [-1]),
    ],
)
def test_what_cannot_be_fitted_is_rejected(logits, labels):
    with pytest.raises(DataError):
        fit_temperature(logits, np.array(labels, dtype=np.int64))


def test_renaming_classes_changes_nothing():
    logits_NK, labels_N = draw(300, temperature=2.0, bias=np.array([0.5, 0, 0, -0.5]))
    turn = np.array([2, 0, 3, 1])
    one = fit_bias_corrected(logits_NK, labels_N)
    other = fit_bias_corrected(logits_NK[:, turn], np.argsort(turn)[labels_N])
    assert other.temperature == pytest.approx(one.temperature, rel=1e-3)
    assert np.array(one.bias)[turn] == pytest.approx(np.array(other.bias), abs=1e-3)


def test_log_losses_survive_an_underflow():
    assert compute_log_losses(np.array([[0.0, 5000.0]]), np.array([0]))[0] == 5000.0


def test_apply_checks_the_classes_and_records_are_consistent():
    with pytest.raises(DataError, match="the 2 classes"):
        Calibration(method="bias_corrected", bias=(0.0, 1.0)).apply(np.zeros((1, 3)))
    for bad in (
        {"method": "temperature", "bias": (1.0,)},
        {"method": "none", "temperature": 2.0},
        {"method": "bias_corrected"},
        {"temperature": 0.0},
    ):
        with pytest.raises(ValueError):
            Calibration(**bad)
    assert (Calibration().apply(np.ones((2, 2))) == 1).all()


def test_sources_must_fit():
    logits_NK, labels_N = draw(20)
    with pytest.raises(DataError, match="must have its source"):
        fit_calibration(logits_NK, labels_N, name_sources(19))
