"""Our prediction sets against MAPIE's, fitted and predicted on the same probabilities."""

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from leukoscope.scores import compute_probabilities
from leukoscope.trust.calibration import fit_temperature
from leukoscope.trust.conformal import (
    compute_rank,
    compute_threshold,
    fit_sets,
)

CLASSES = ("a", "b", "c", "d")


class Passes(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose features are its probabilities."""

    def fit(self, features, labels):
        self.classes_ = np.arange(4)
        self.fitted_ = True
        return self

    def predict_proba(self, features):
        return np.asarray(features)

    def predict(self, features):
        return np.asarray(features).argmax(axis=1)


def draw(n, seed):
    rng = np.random.default_rng(seed)
    p_NK = compute_probabilities(rng.normal(0, 2, (n, 4)))
    return p_NK, np.array([rng.choice(4, p=p) for p in p_NK])


@pytest.mark.parametrize(
    ("n", "alpha"), [(40, 0.05), (50, 0.1), (99, 0.1), (100, 0.1), (199, 0.05), (500, 0.02)]
)
def test_the_same_sets_as_mapie(n, alpha):
    """n = 99 and 199 are where an interpolated quantile may take one rank more."""
    p_NK, labels_N = draw(n, 0)
    new_NK, _ = draw(500, 1)
    model = SplitConformalClassifier(
        Passes().fit(p_NK, labels_N),
        confidence_level=1 - alpha,
        conformity_score="lac",
        prefit=True,
    )
    theirs_NK = model.conformalize(p_NK, labels_N).predict_set(new_NK)[1][:, :, 0]
    ours = fit_sets(p_NK, labels_N, CLASSES, alpha=alpha, class_conditional=False)
    assert (ours.predict(new_NK) == theirs_NK).all()
    ranked = np.sort(1 - p_NK[np.arange(n), labels_N])
    assert ours.thresholds[0] == ranked[compute_rank(n, alpha) - 1]


def test_an_interpolated_quantile_takes_one_rank_more_where_rounding_does():
    """What MAPIE's rule, `quantile(scores, (n + 1)(1 - alpha) / n, "higher")`, makes of floating
    point: (99 + 1) * 0.9 / 99 * 98 is a hair above 89, and the rank becomes 91 instead of 90."""
    for n, alpha, ours, theirs in ((99, 0.1, 90, 91), (199, 0.05, 190, 191), (100, 0.1, 91, 91)):
        scores = np.arange(1, n + 1) / (n + 1)
        level = (n + 1) * (1 - alpha) / n
        found = np.quantile(scores, level, method="higher")
        assert compute_threshold(scores, alpha) == scores[ours - 1] <= found == scores[theirs - 1]


@pytest.mark.filterwarnings("ignore:.*has less labels")
def test_per_class_is_mapie_fitted_on_each_class_alone():
    p_NK, labels_N = draw(800, 3)
    new_NK, _ = draw(300, 4)
    ours_NK = fit_sets(p_NK, labels_N, CLASSES, alpha=0.1).predict(new_NK)
    for k in range(4):
        own_N = labels_N == k
        model = SplitConformalClassifier(
            Passes().fit(p_NK, labels_N), confidence_level=0.9, conformity_score="lac", prefit=True
        )
        model.conformalize(p_NK[own_N], labels_N[own_N])
        theirs_N = model.predict_set(new_NK)[1][:, k, 0]
        # Equal unless an interpolated rank lies one higher: then theirs is larger.
        assert not (ours_NK[:, k] & ~theirs_N).any()
        assert (ours_NK[:, k] != theirs_N).mean() < 0.02


def test_calibration_against_scikit_learn():
    """Temperature scaling is scikit-learn's too (from 1.8); ours has a weak prior besides."""
    sklearn_calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(sklearn_calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")
    rng = np.random.default_rng(5)
    true_NK = rng.normal(0, 2, (1500, 4))
    labels_N = np.array([rng.choice(4, p=p) for p in compute_probabilities(true_NK)])
    logits_NK = 2.5 * true_NK
    model = sklearn_calibration._TemperatureScaling().fit(logits_NK, labels_N)
    assert fit_temperature(logits_NK, labels_N).temperature == pytest.approx(
        1 / model.beta_, rel=2e-3
    )
