import numpy as np
import pytest
from scipy.special import rel_entr, softmax
from sklearn.metrics import accuracy_score, log_loss

from leukoscope.errors import DataError
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.comparison import (
    compute_agreement,
    compute_network_figures,
    compute_rows,
)
from leukoscope.scores import ScoreTable


def draw_table(n=120, seed=0, **changes):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    logits = rng.normal(0, 1, (n, 3)).astype(np.float32)
    logits[np.arange(n), labels] += 2
    ids = tuple(f"{i:03d}" for i in range(n))
    given = {
        "classes": ("a", "b", "c"),
        "ids": ids,
        "paths": ids,
        "sources": ids,
        "roles": tuple("calib" if i < n // 2 else "test" for i in range(n)),
        "labels_N": labels,
        "logits_NK": logits,
        "embeddings_ND": np.zeros((n, 2), np.float32),
        "source_known": True,
    }
    return ScoreTable(**(given | changes))


def test_figures_are_those_of_the_role_alone():
    table = draw_table(disagreement_N=np.repeat(np.float32([0.1, 0.3]), 60))
    found = compute_network_figures("one", table, "test")
    part = table.of_role("test")
    assert found.n_images == 60
    assert found.accuracy.value == accuracy_score(part.labels_N, part.logits_NK.argmax(1))
    expected = log_loss(part.labels_N, softmax(part.logits_NK.astype(float), 1))
    assert found.log_loss.value == pytest.approx(expected)
    assert found.disagreement == pytest.approx(0.3)
    p = part.probabilities_NK
    hits = p.argmax(axis=1) == part.labels_N
    assert found.ece.value == compute_debiased_ece(p.max(axis=1), hits, part.sources)
    assert compute_network_figures("one", table, "val") is None
    assert compute_network_figures("one", draw_table(labels_N=np.full(120, -1)), "test") is None
    rows = compute_rows({"x": table, "y": draw_table(seed=1)}, ("calib", "val", "test"))
    assert [(r.name, r.role) for r in rows] == [(n, r) for r in ("calib", "test") for n in "xy"]
    assert rows[1].disagreement is None


def test_changed_decisions_are_counted_and_sorted_out():
    table = draw_table()
    labels, logits = table.labels_N, table.logits_NK.copy()
    other = logits.copy()
    right = np.flatnonzero((logits.argmax(1) == labels) & (np.arange(120) >= 60))
    wrong = np.flatnonzero((logits.argmax(1) != labels) & (np.arange(120) >= 60))
    assert len(right) > 5 and len(wrong) > 3
    other[right[:4], (labels[right[:4]] + 1) % 3] = 99  # four lost
    other[wrong[0], labels[wrong[0]]] = 99  # one gained
    third = 3 - labels[wrong[1]] - logits[wrong[1]].argmax()
    other[wrong[1], third] = 99  # one wrong in another way
    order = np.random.default_rng(1).permutation(120)
    second = draw_table(logits_NK=other).take(order)
    found = compute_agreement(table, second, "test")
    assert (found.n_images, found.changed, found.lost, found.gained) == (60, 6, 4, 1)
    assert found.agreement.value == pytest.approx(0.9)
    p, q = (softmax(z[60:].astype(float), 1) for z in (logits, other))
    assert found.divergence == pytest.approx(rel_entr(p, q).sum(1).mean(), rel=1e-6)
    same = compute_agreement(table, table, "test")
    assert same.changed == 0 and same.divergence == 0 and same.agreement.value == 1
    assert compute_agreement(table, table, "val") is None


def test_other_images_or_classes_are_rejected():
    table = draw_table()
    for other in (table.take(np.arange(100)), draw_table(classes=("a", "b", "d"))):
        with pytest.raises(DataError, match="same images and classes"):
            compute_agreement(table, other, "test")
