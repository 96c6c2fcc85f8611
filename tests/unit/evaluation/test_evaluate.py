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
from leukoscope.scores import ScoreTable

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


def make_calls(labels, calls, sources=None):
    """A table of two classes in which the network calls each image as given."""
    n = len(labels)
    return ScoreTable(
        classes=("healthy", "leukaemia"),
        ids=tuple(str(i) for i in range(n)),
        paths=("",) * n,
        sources=tuple(sources or (str(i) for i in range(n))),
        roles=("test",) * n,
        labels_N=np.asarray(labels),
        logits_NK=5 * np.eye(2, dtype=np.float32)[np.asarray(calls)],
        embeddings_ND=np.zeros((n, 1), np.float32),
        source_known=True,
    )


def test_one_in_seventy_never_found_comes_first():
    labels = np.arange(210) % 70 == 0
    table = make_calls(labels.astype(int), np.zeros(210, int))
    majority = Baseline("majority", np.zeros(210, np.int64), wilson(207, 210), 0.5, "healthy")
    for status in ("disjoint", "images_disjoint", "unproven"):
        record = evaluate_table(table, {"majority": majority}, Leakage(status), **ABOUT).record
        assert codes(record.headlines) == ["baseline_not_beaten", "classes_never_found"]
        assert record.headlines[1].values == {"labels": ("leukaemia",), "n": 3}
        assert record.leakage_status == status


def test_a_histogram_as_good_comes_first_and_needs_no_copies():
    """A leukaemia set: network 98.6 %, histogram 98.8 %, and sources that are known."""
    labels = np.arange(1000) % 2
    network, histogram = labels.copy(), labels.copy()
    network[:14] = 1 - network[:14]
    histogram[500:512] = 1 - histogram[500:512]
    hits = histogram == labels
    baselines = {
        "majority": Baseline("majority", np.zeros(1000, np.int64), wilson(500, 1000), 0.5, "a"),
        "colour_histogram": Baseline("colour_histogram", histogram, wilson(988, 1000), 0.988),
    }
    record = evaluate_table(
        make_calls(labels, network), baselines, Leakage("disjoint"), **ABOUT
    ).record
    (first,) = record.headlines
    assert first.code == "baseline_not_beaten" and first.values["baseline"] == "colour_histogram"
    assert first.values["gap"] == pytest.approx(-0.002) and not first.values["is_worse"]
    assert record.leakage_status == "disjoint" and codes(record.remarks) == ["shortcut_as_good"]
    assert (
        record.baselines["colour_histogram"].paired.second_only
        == (~(network == labels) & hits).sum()
    )
    # A network that is right on all but one is shown to be better, though within three points.
    network = labels.copy()
    network[0] = 1 - network[0]
    record = evaluate_table(
        make_calls(labels, network), baselines, Leakage("disjoint"), **ABOUT
    ).record
    assert record.headlines == ()
    assert record.baselines["colour_histogram"].paired.is_gain


def test_without_duplicates_the_comparison_is_of_what_is_left():
    """With its copies the network beats the majority class, without them it does not."""
    labels = np.arange(200) % 2
    calls = np.where(np.arange(200) < 100, labels, 0)
    always = Baseline("majority", np.zeros(200, np.int64), wilson(100, 200), 0.5, "healthy")
    leakage = Leakage("leaking", leaked=frozenset(str(i) for i in range(100)))
    table = make_calls(labels, calls)
    record = evaluate_table(table, {"majority": always}, leakage, **ABOUT).record
    assert record.baselines["majority"].paired.is_gain
    assert not record.leak.paired["majority"].is_gain
    assert codes(record.headlines) == ["baseline_not_beaten"]


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
