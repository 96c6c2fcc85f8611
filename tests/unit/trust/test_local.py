"""Levels fitted to local cells: a temperature over an earlier one, and what stays."""

from dataclasses import replace

import numpy as np
import pytest

from leukoscope.config import TrustConfig
from leukoscope.errors import DataError, TooFewSourcesError
from leukoscope.scores import ScoreTable
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.decision import decide_table
from leukoscope.trust.local import fit_local_policy, fit_local_temperature
from leukoscope.trust.notes import Note


def build_table(n=400, sharpness=4.0, seed=0):
    """Logits that are `sharpness` times too large for how often they are right."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, 1.5, (n, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    labels = np.array([generator.choice(3, p=row) for row in p])
    names = tuple(str(i) for i in range(n))
    return ScoreTable(
        ("a", "b", "c"), names, names, names, ("local",) * n, labels,
        (honest * sharpness).astype(np.float32), np.zeros((n, 0), np.float32), True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "first",
    [
        Calibration(),
        Calibration(method="temperature", temperature=2.0),
        Calibration(method="bias_corrected", temperature=2.0, bias=(0.0, 0.0, 0.0)),
    ],
)
def test_a_planted_temperature_is_found_over_an_earlier_one(first):
    found = fit_local_temperature(first, build_table())
    assert found.temperature == pytest.approx(4, rel=0.15)


def test_no_label_changes_under_an_earlier_bias():
    first = Calibration(method="bias_corrected", temperature=0.5, bias=(0.7, -0.2, 0.1))
    table = build_table()
    found = fit_local_temperature(first, table)
    assert found.temperature != first.temperature
    labels = [one.apply(table.logits_NK).argmax(axis=1) for one in (first, found)]
    np.testing.assert_array_equal(*labels)


def test_cells_of_one_class_do_not_teach_to_call_everything_so():
    table = build_table()
    rows = np.flatnonzero(table.labels_N == 1)
    found = fit_local_temperature(Calibration(), table.take(rows))
    assert found.bias == ()
    with pytest.raises(DataError):
        fit_local_temperature(Calibration(), table.take(rows[:0]))


@pytest.fixture(scope="module")
def local(make_trust_table):
    """Cells unlike those of training: embeddings and pictures are shifted, and one in ten
    has another label than the network gives."""
    table = make_trust_table(seed=3)
    return replace(
        table,
        embeddings_ND=table.embeddings_ND + np.float32(3),
        quality_NQ=table.quality_NQ * np.float32(3),
        labels_N=np.where(np.arange(len(table)) % 10, table.labels_N, (table.labels_N + 1) % 3),
    )


def fit(fitted, table, target, **changes):
    policy = fitted.policy.model_copy(update=changes)
    asked = TrustConfig(target_accuracy=target, reject_frac=0.04)
    return fit_local_policy(policy, fitted.novelty, asked, table)


def test_what_is_usual_here_is_not_rejected(local, fitted):
    """The old thresholds reject nearly all of it, the new ones one in fifty by each."""
    found = fit(fitted, local, 0.8).policy
    distances_N = fitted.novelty.compute_distance(local.embeddings_ND)
    assert np.mean(distances_N > fitted.policy.max_distance) > 0.9
    assert 0.01 < np.mean(distances_N > found.max_distance) <= 0.02
    before_N, after_N = (  # as shares of the threshold
        policy.quality.compute_distance(local.quality_NQ) for policy in (fitted.policy, found)
    )
    assert np.mean(before_N > 1) > 0.9 and 0.01 < np.mean(after_N > 1) <= 0.02
    # What is usual in training stays, so that other classes stay strange.
    for part in ("centre", "below", "above", "mean", "precision"):
        assert getattr(found.quality, part) == getattr(fitted.policy.quality, part)


def test_the_least_confidence_is_that_which_keeps_the_target_here(make_trust_table, fitted):
    table = make_trust_table(seed=3)
    found = fit(fitted, table, 0.993).policy
    right = {}
    for limit in (0.0, found.min_confidence):
        policy = found.model_copy(update={"min_confidence": limit})
        decisions = decide_table(policy, fitted.novelty, table)
        accepted_N = decisions.mask("accepted")
        right[limit] = np.mean(decisions.labels_N[accepted_N] == table.labels_N[accepted_N])
    assert right[0.0] < 0.993 <= right[found.min_confidence]


def test_where_no_confidence_reaches_the_target_the_earlier_stays(local, fitted):
    found = fit(fitted, local, 0.995, min_confidence=0.77)
    assert found.policy.min_confidence == 0.77
    (note,) = [note for note in found.notes if note.code == "confidence_not_refitted"]
    n_sources = len(set(local.sources))
    assert note.values == {"n_sources": n_sources, "n_needed": 0, "target": 0.995}


def test_too_few_cells_for_sets_leave_them(local, fitted):
    asked = TrustConfig(target_accuracy=0.8, reject_frac=0.04, alpha=0.01)
    few = local.take(np.arange(30))
    found = fit_local_policy(fitted.policy, fitted.novelty, asked, few)
    assert found.policy.sets == fitted.policy.sets
    (note,) = [note for note in found.notes if note.code == "sets_not_refitted"]
    assert note.values["n_needed"] == 99 > note.values["n_sources"]
    assert any(note.code == "few_sources_for_rejection" for note in found.notes)


def test_a_class_that_was_not_there_is_noted(local, fitted):
    found = fit(fitted, local.take(np.flatnonzero(local.labels_N > 0)), 0.8)
    assert Note("labels_absent", {"labels": (local.classes[0],)}) in found.notes


def test_fewer_sources_fit_nothing(local, fitted):
    with pytest.raises(TooFewSourcesError) as caught:
        fit(fitted, local.take(np.arange(19)), 0.8)
    assert (caught.value.n_sources, caught.value.n_needed) == (19, 20)
