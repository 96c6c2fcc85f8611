"""When figures speak of duplicates, and what is left without them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.builders.evaluation import build_evaluation, build_leak_report, build_leaking

from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.leakage import (
    Leakage,
    compute_difference,
    list_leak_rows,
    measure_leak,
    suspect_duplicates,
)
from leukoscope.interval import Interval
from leukoscope.scores import ScoreTable


def make_baselines(n=1000, **shares):
    return {
        name: Baseline(name, np.zeros(0, np.int64), wilson(share * n, n), share)
        for name, share in {"majority": 0.25, **shares}.items()
    }


@pytest.mark.parametrize(
    ("network", "baselines", "status"),
    [
        # The Kaggle set under the published protocol.
        (0.994, make_baselines(colour_histogram=0.999, nearest_neighbour=0.655), "suspect"),
        (0.99, make_baselines(nearest_neighbour=0.985), "suspect"),
        # A real gap, also where few images make the intervals overlap.
        (0.95, make_baselines(colour_histogram=0.83), "unproven"),
        (0.90, make_baselines(n=70, colour_histogram=0.83), "unproven"),
        # A network that learned nothing is no sign of duplicates.
        (0.25, make_baselines(colour_histogram=0.26), "unproven"),
        (0.99, {}, "unproven"),
    ],
)
def test_suspicion_needs_a_baseline_that_does_as_well(network, baselines, status):
    given = Leakage("unproven", ignores_sources=True)
    found = suspect_duplicates(given, wilson(network * 1000, 1000), baselines)
    assert found.status == status
    codes = [one.code for one in found.remarks]
    assert codes == ["baseline_as_good"] * (status == "suspect")


@pytest.mark.parametrize(
    "given",
    [
        Leakage("disjoint", ignores_sources=True),
        Leakage("leaking", ignores_sources=True),
        Leakage("unproven"),
    ],
)
def test_what_is_known_and_what_the_data_split_is_not_suspected(given):
    baselines = make_baselines(colour_histogram=0.999)
    assert suspect_duplicates(given, wilson(99, 100), baselines) == given


def make_scores(n=40):
    """Images 0, 1, ... of two to a source; the network is wrong on every fourth."""
    labels = np.arange(n) % 2
    logits = np.eye(2, dtype=np.float32)[np.where(np.arange(n) % 4 == 3, 1 - labels, labels)]
    return ScoreTable(
        classes=("blast", "neutrophil"),
        ids=tuple(f"image {i}" for i in range(n)),
        paths=("",) * n,
        sources=tuple(f"source {i // 2}" for i in range(n)),
        roles=("test",) * n,
        labels_N=labels,
        logits_NK=4 * logits,
        embeddings_ND=np.zeros((n, 1), np.float32),
        source_known=True,
    )


def test_figures_without_duplicates_come_from_the_images_without_duplicates():
    table = make_scores()
    leaked = frozenset(table.ids[i] for i in range(40) if i >= 20 or i % 4 == 3)
    always = Baseline("majority", np.zeros(40, np.int64), wilson(20, 40), 0.5)
    leak = measure_leak(table, leaked, "test", {"majority": always})
    assert (leak.n_duplicates, leak.n_images, leak.n_sources, leak.reason) == (25, 15, 10, "")
    # Of the first 20 the five that the network gets wrong are among the leaked.
    assert leak.accuracy.value == 1 and leak.accuracy.low < 0.9
    assert leak.figures["kappa"].value == 1
    assert leak.baselines["majority"].value == pytest.approx(10 / 15)


@pytest.mark.parametrize(
    ("n_left", "role", "reason"),
    [
        (0, "test", "all_duplicates"),
        (1, "test", "few_left"),
        (9, "test", "few_left"),
        (10, "test", ""),
        (0, "train", "training_images"),
    ],
)
def test_too_few_images_without_a_duplicate_give_no_figure(n_left, role, reason):
    table = make_scores()
    leak = measure_leak(table, frozenset(table.ids[n_left:]), role, {})
    assert (leak.accuracy is None) == bool(reason) and leak.reason == reason
    assert (leak.n_duplicates, leak.n_images) == (40 - n_left, n_left)


def test_the_difference_is_newcombes():
    """Newcombe 1998, table II: method 10 on 56/70 - 48/80, and 10/10 - 0/20."""
    found = compute_difference(wilson(56, 70), wilson(48, 80))
    assert [round(x, 4) for x in (found.value, found.low, found.high)] == [0.2, 0.0524, 0.3339]
    found = compute_difference(wilson(10, 10), wilson(0, 20))
    assert [round(x, 4) for x in (found.value, found.low, found.high)] == [1, 0.6791, 1]
    found = compute_difference(Interval(1, 0.4, 1), Interval(0, 0, 0.7))
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_a_leaking_evaluation_takes_two_rows():
    (one,) = list_leak_rows("grouped", build_evaluation())
    assert (one.subject, one.leaked, one.n_duplicates, one.n_sources) == ("test", False, 0, 33)
    whole, rest = list_leak_rows("random", build_leaking(), external=True)
    assert (whole.subject, whole.leaked, whole.n_duplicates) == ("external", True, 1400)
    assert (rest.subject, rest.leakage_status) == ("external_without_duplicates", "disjoint")
    assert (rest.n_images, rest.accuracy.value) == (94, 0.8)
    unknown = replace(build_leaking(), source_known=False)
    whole, rest = list_leak_rows("random", unknown)
    assert rest.leakage_status == "unproven" and rest.n_sources is whole.n_sources is None


def test_rows_are_found_by_protocol():
    report = build_leak_report()
    assert report.row_of("random").leaked and not report.row_of("grouped").leaked
    assert report.difference.value == pytest.approx(0.09)
