"""How often folders alarm, by simulation: of the same laboratory with another case mix hardly ever,
of another laboratory nearly always."""

import numpy as np
import pytest
from scipy.stats import norm
from tests.builders.trust import build_reference

from leukoscope.evaluation.decisions import compute_accepted_correlation
from leukoscope.evaluation.intervals import compute_share
from leukoscope.trust.folder import FOLDER_LEVEL, compare_acceptance

RIGHT = np.array([0.99, 0.98, 0.95, 0.85])
ACCEPTED = np.array([0.98, 0.97, 0.95, 0.85])
"""Of the correctly classified; of the others 15 %. The last class, say monocytes, is hard."""

CLASSES = len(RIGHT)
MIXES = {
    "as tested": np.full(CLASSES, 0.25),
    "hard": np.eye(CLASSES)[3],
    "easy": np.eye(CLASSES)[0],
}


def draw(generator, mix, n, n_sources, correlation=0.0, loss=0.0):
    """Labels, predicted labels, what is accepted, and sources of n cells. `loss` is the share of
    the accepted that another laboratory's images lose; cells of a source are accepted alike."""
    sources = np.arange(n) % n_sources
    labels = generator.choice(CLASSES, n, p=mix)
    is_right = generator.random(n) < RIGHT[labels]
    predicted = np.where(is_right, labels, (labels + generator.integers(1, CLASSES, n)) % CLASSES)
    common = generator.normal(size=n_sources)[sources] * np.sqrt(correlation)
    luck = common + generator.normal(size=n) * np.sqrt(1 - correlation)
    share = np.where(is_right, ACCEPTED[labels], 0.15) * (1 - loss)
    return labels, predicted, luck < norm.ppf(share), [str(source) for source in sources]


def build(generator, n, n_sources, correlation=0.0):
    labels, predicted, accepted, sources = draw(
        generator, MIXES["as tested"], n, n_sources, correlation
    )
    confusion = np.zeros((CLASSES, CLASSES), int)
    np.add.at(confusion, (labels, predicted), 1)
    return build_reference(
        confusion=confusion.tolist(),
        accepted=compute_share(accepted, np.ones(n, bool), sources),
        class_accepted=[
            compute_share(accepted, labels == k, sources, FOLDER_LEVEL) for k in range(CLASSES)
        ],
        accepted_correlation=compute_accepted_correlation(accepted, labels, sources),
    )


def count_alarms(mix, n, n_sources, correlation=0.0, loss=0.0, tested=(800, 800), repeat=20):
    """The share of alarms: 20 test sets, so many folders each."""
    generator = np.random.default_rng(0)
    alarms = []
    for _ in range(20):
        reference = build(generator, *tested, correlation)
        for _ in range(repeat):
            _, predicted, accepted, _ = draw(generator, MIXES[mix], n, n_sources, correlation, loss)
            counts = np.bincount(predicted, minlength=CLASSES).tolist()
            found = compare_acceptance(reference, counts, int(accepted.sum()))
            alarms.append(found.is_unusual)
    return np.mean(alarms)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("n", [60, 600])
def test_another_case_mix_is_no_alarm(mix, n):
    """At 0.001 four of 400 would have a chance below one in a thousand."""
    assert count_alarms(mix, n, n) < 4 / 400


@pytest.mark.parametrize("mix", MIXES)
def test_another_laboratory_alarms(mix):
    assert count_alarms(mix, 200, 200, loss=0.6) > 0.95


def test_one_patient_of_hard_cells_is_no_alarm_and_of_foreign_ones_is():
    """Cells of a source are accepted or not together, and a folder may be of one source."""
    tested = (1200, 60)
    assert count_alarms("hard", 300, 1, 0.1, tested=tested) < 0.03
    assert count_alarms("as tested", 300, 1, 0.1, loss=0.8, tested=tested) > 0.9


def test_the_correlation_within_sources_is_found():
    generator = np.random.default_rng(0)
    none, some = (
        np.mean([build(generator, 1200, 60, rho).accepted_correlation for _ in range(20)])
        for rho in (0.0, 0.4)
    )
    assert none < 0.01 and 0.05 < some < 0.4
    assert build(generator, 100, 1).accepted_correlation == 1
    assert build(generator, 100, 100, 0.4).accepted_correlation == 0
    every = compute_accepted_correlation(np.ones(4, bool), np.zeros(4, int), list("aabb"))
    assert every == 0
