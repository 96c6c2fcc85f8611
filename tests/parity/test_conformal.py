"""Our prediction sets against MAPIE's, fitted and asked on the same probabilities, and against a
slow loop. MAPIE draws at random when it fits APS, so that only LAC can be compared exactly."""

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from leukoscope.scores import compute_probabilities
from leukoscope.trust.conformal import compute_rank, compute_scores, fit_sets

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


@pytest.mark.parametrize("u", [None, 0.3])
def test_aps_and_raps_by_a_loop(u):
    p_NK, _ = draw(40, 2)
    uniform_N = None if u is None else np.full(40, u)
    for method, penalty in (("aps", 0.0), ("raps", 0.01)):
        found_NK = compute_scores(p_NK, method, uniform_N)
        for i, p_K in enumerate(p_NK):
            total = 0.0
            for rank, k in enumerate(sorted(range(4), key=lambda k: -p_K[k]), start=1):
                own = total + (1.0 if u is None else u) * p_K[k] + penalty * max(0, rank - 2)
                assert found_NK[i, k] == pytest.approx(own, abs=1e-11)
                total += p_K[k]
