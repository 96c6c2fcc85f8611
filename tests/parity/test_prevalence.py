"""Shares of classes from predicted labels: QuaPy (BSD-3) is the witness."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from leukoscope.evaluation.decisions import count_called
from leukoscope.smear.prevalence import estimate_shares, maximise_likelihood, weigh_rows

aggregative = pytest.importorskip("quapy.method.aggregative", reason="QuaPy is not installed")

CENTRES = np.array([[0.0, 0.0], [2.4, 0.0], [1.0, 2.4]])
TRAIN = np.array([400, 400, 400])


def draw(g, counts):
    """Points of three classes that overlap."""
    labels = np.repeat(np.arange(3), counts)
    return CENTRES[labels] + g.normal(size=(len(labels), 2)), labels


@pytest.fixture(scope="module")
def scored():
    """Calibration labels and posteriors, by cross-validation as QuaPy does; and the classifier."""
    points, labels = draw(np.random.default_rng(0), TRAIN)
    classifier = LogisticRegression()
    posteriors = cross_val_predict(classifier, points, labels, cv=5, method="predict_proba")
    return labels, posteriors, classifier.fit(points, labels)


@pytest.mark.parametrize("counts", [(800, 150, 50), (100, 100, 800), (334, 333, 333)])
def test_shares_agree_with_quapy(scored, counts):
    labels, posteriors, classifier = scored
    points, _ = draw(np.random.default_rng(1), counts)
    p_NK = classifier.predict_proba(points)
    called_K = np.bincount(p_NK.argmax(1), minlength=3)
    truth = np.array(counts) / sum(counts)

    calibration = count_called(
        labels, posteriors.argmax(1), [str(i) for i in range(len(labels))], 3
    )
    found = estimate_shares(called_K, calibration, 200)

    rows = np.array(calibration.called, dtype=float)[:, :3]
    rows /= rows.sum(1, keepdims=True)
    # The same equations, the same solution.
    hard = aggregative.ACC.solve_adjustment(
        rows.T, called_K / called_K.sum(), method="inversion", solver="exact-raise"
    )
    assert np.abs(maximise_likelihood(called_K, rows) - hard).max() < 1e-3
    of_label = rows / rows.sum(0, keepdims=True)
    em, _ = aggregative.EMQ.EM(np.full(3, 1 / 3), np.repeat(of_label.T, called_K, axis=0))
    assert np.abs(maximise_likelihood(called_K, rows) - em).max() < 5e-3
    # With its prior, ours differs from that by less than a cell in a hundred.
    weights = weigh_rows(calibration)[:, :3]
    ours = maximise_likelihood(called_K, weights / weights.sum(1, keepdims=True))
    assert np.abs(ours - hard).max() < 0.01
    assert np.abs(found.point_K - ours).max() < 1e-9
    # Posteriors say a little more than labels; all lie within our limits.
    soft = aggregative.PACC.getPteCondEstim(np.arange(3), labels, posteriors)
    pacc = aggregative.ACC.solve_adjustment(
        soft, p_NK.mean(0), method="inversion", solver="exact-raise"
    )
    emq, _ = aggregative.EMQ.EM(np.full(3, 1 / 3), p_NK)
    everything = np.ones(3, dtype=bool)
    for k, only in enumerate(np.eye(3, dtype=bool)):
        interval = found.compare(only, everything).interval
        for witness in (truth, pacc, emq):
            assert interval.low <= witness[k] <= interval.high
        assert abs(interval.value - truth[k]) < abs(called_K[k] / sum(counts) - truth[k]) + 0.02
