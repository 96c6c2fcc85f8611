"""From a score table to a record: on which images trust is measured, and what is remarked."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.builders.scores import make_table

from leukoscope.errors import DataError
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.evaluate import (
    choose_trust_rows,
    count_changed_labels,
    evaluate_table,
    find_shift,
)
from leukoscope.evaluation.intervals import compute_intervals, wilson
from leukoscope.evaluation.leakage import Leakage
from leukoscope.evaluation.metrics import OVERALL

TABLE = make_table(40)
ABOUT = {"data": "cells", "role": "test", "protocol": "grouped"}


def codes(remarks):
    return [one.code for one in remarks]


def test_a_record_holds_the_figures_of_the_known_rows():
    table = make_table(300)
    labels_N = table.labels_N.copy()
    labels_N[:50] = -1
    baseline = Baseline("majority", np.zeros(250, np.int64), wilson(80, 250), 0.3, "eosinophil")
    found = evaluate_table(
        replace(table, labels_N=labels_N), {"majority": baseline}, Leakage("disjoint"), **ABOUT
    )
    record, known = found.record, table.take(np.arange(50, 300))
    figures = compute_intervals(known)
    assert record.figures == figures.overall and set(record.figures) == {*OVERALL, "ece"}
    assert [one.figures for one in record.per_class] == list(figures.per_class.values())
    assert sum(one.n_images for one in record.per_class) == record.n_images == 250
    assert np.trace(record.confusion) / 250 == record.figures["accuracy"].value
    assert record.baselines["majority"].label == "eosinophil"
    assert record.trust is None and found.decisions is None and record.leak is None


def test_no_row_of_known_class_is_an_error():
    table = replace(TABLE, labels_N=np.full(40, -1))
    with pytest.raises(DataError, match="classes that the network knows"):
        evaluate_table(table, {}, Leakage("disjoint"), **ABOUT)


def test_a_leaking_split_is_measured_without_its_duplicates():
    leakage = Leakage("leaking", leaked=frozenset(TABLE.ids[:10]))
    leak = evaluate_table(TABLE, {}, leakage, **ABOUT).record.leak
    assert (leak.n_duplicates, leak.n_images) == (10, 30)


def test_trust_is_measured_without_duplicates():
    assert choose_trust_rows(TABLE, frozenset(), fitted_here=False) == (TABLE, ())
    chosen, (remark,) = choose_trust_rows(TABLE, frozenset(TABLE.ids[:20]), fitted_here=False)
    assert chosen.ids == TABLE.ids[20:] and remark.code == "trust_without_duplicates"
    assert remark.values == {"n": 20, "n_images": 40}


def test_too_few_without_duplicates_are_marked_as_leaked():
    chosen, (remark,) = choose_trust_rows(TABLE, frozenset(TABLE.ids[9:]), fitted_here=False)
    assert chosen is TABLE and remark.code == "trust_leaked"
    assert remark.values == {"n": 31, "n_images": 40}


def test_images_that_set_the_thresholds_are_said_to_have_done_so():
    chosen, remarks = choose_trust_rows(TABLE, frozenset(TABLE.ids), fitted_here=True)
    assert chosen is TABLE and codes(remarks) == ["trust_fitted_here"]


def test_labels_that_costs_change_are_counted():
    labels_N = TABLE.logits_NK.argmax(axis=1)
    changed_N = labels_N.copy()
    changed_N[:3] = (changed_N[:3] + 1) % 3
    decisions = SimpleNamespace(probabilities_NK=TABLE.probabilities_NK, labels_N=changed_N)
    (remark,) = count_changed_labels(decisions, 0.675)
    assert remark.values == {"n": 3, "n_images": 40, "accuracy": 0.675}
    decisions.labels_N = labels_N
    assert count_changed_labels(decisions, 0.675) == ()


def make_trust(n_reference, rng):
    """A trust record whose distance is the first embedding number itself."""
    novelty = SimpleNamespace(compute_distance=lambda e: e[:, 0].astype(float))
    reference = rng.normal(0, 1, (n_reference, 1)).astype(np.float32)
    return SimpleNamespace(novelty=novelty, reference_embeddings_MD=reference)


@pytest.mark.parametrize(("copies", "shift", "alarm"), [(1, 0, 0), (36, 0, 0), (36, 2.5, 1)])
def test_duplicates_are_no_shift_and_a_shift_is_found(copies, shift, alarm):
    """Of 40 draws of the same kind hardly one alarms, duplicates or not; of another kind all do."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        trust = make_trust(200, rng)
        per_source = rng.normal(shift, 1, 30)
        distance_N = np.repeat(per_source, copies) + rng.normal(0, 0.1, 30 * copies)
        sources = tuple(map(str, np.repeat(np.arange(30), copies)))
        table = make_table(len(distance_N), sources=sources)
        alarms += codes(find_shift(trust, table, distance_N)) == ["trust_shifted"]
    assert alarms <= 2 if not alarm else alarms == 40
