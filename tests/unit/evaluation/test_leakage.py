"""When figures speak of duplicates, and what is left without them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.evaluation import (
    build_evaluation,
    build_leak_report,
    build_leaking,
    build_paired,
)

from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.leakage import (
    Leakage,
    compare_baselines,
    compute_difference,
    find_headlines,
    list_leak_rows,
    measure_leak,
    suspect_duplicates,
)
from leukoscope.interval import Interval
from leukoscope.report.note_words import describe_note
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
        Leakage("images_disjoint"),
        Leakage("suspect", ignores_sources=True),
        Leakage("unproven"),
    ],
)
def test_a_baseline_as_good_is_told_under_every_status_and_changes_none_that_is_known(given):
    baselines = make_baselines(colour_histogram=0.999)
    found = suspect_duplicates(given, wilson(990, 1000), baselines)
    assert found == replace(given, remarks=found.remarks)
    assert [one.code for one in found.remarks] == ["shortcut_as_good"]
    worse = make_baselines(colour_histogram=0.83)
    assert suspect_duplicates(given, wilson(950, 1000), worse) == given


def test_a_leak_says_more_than_a_baseline():
    given, baselines = Leakage("leaking"), make_baselines(colour_histogram=0.999)
    assert suspect_duplicates(given, wilson(990, 1000), baselines) == given


@pytest.mark.parametrize(
    ("gaps", "recalls", "codes"),
    [
        ({"majority": 0.2, "colour_histogram": 0.1}, (0.9, 0.01), []),
        ({"majority": 0.0, "colour_histogram": 0.1}, (0.9, 0.5), ["majority"]),
        ({"majority": 0.2, "colour_histogram": -0.002}, (0.9, 0.5), ["colour_histogram"]),
        ({"majority": 0.2, "nearest_neighbour": -0.1}, (0.9, 0.5), []),
        ({"majority": 0.0}, (1.0, 0.0), ["majority", "classes_never_found"]),
        ({}, (0.0, math.nan), ["classes_never_found"]),
    ],
)
def test_what_is_said_first(gaps, recalls, codes):
    paired = {name: build_paired(gap) for name, gap in gaps.items()}
    accuracy = {name: Interval(0.9 - gap, 0.8, 0.95) for name, gap in gaps.items()}
    found_of = {
        label: (Interval(recall, 0, 1), 0 if math.isnan(recall) else 3)
        for label, recall in zip(("a", "b"), recalls, strict=True)
    }
    notes = find_headlines(paired, accuracy, Interval(0.9, 0.8, 0.95), found_of)
    assert [one.values.get("baseline", one.code) for one in notes] == codes
    assert all(one.code in ("baseline_not_beaten", "classes_never_found") for one in notes)


def test_too_few_sources_for_bounds_leave_none_in_the_headline():
    bare = replace(build_paired(0.1), difference=Interval(0.1, math.nan, math.nan))
    one = Interval(0.9, 0.8, 0.95)
    (note,) = find_headlines({"majority": bare}, {"majority": one}, one, {})
    assert not {"low", "high"} & set(note.values)
    assert "difference" not in describe_note(note)


def test_a_network_is_compared_with_a_baseline_image_by_image():
    table = make_scores()
    hits = np.arange(40) % 4 != 2
    found = compare_baselines(table, {"majority": hits})["majority"]
    assert (found.both, found.first_only, found.second_only, found.neither) == (20, 10, 10, 0)
    assert found.difference.value == 0 and found.p_value == 1 and not found.is_gain


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
    assert rest.subject == "external_without_duplicates"
    assert rest.leakage_status == "images_disjoint"
    _, rest = list_leak_rows("random", replace(build_leaking(), persons_unknown=False))
    assert rest.leakage_status == "disjoint"
    assert (rest.n_images, rest.accuracy.value) == (94, 0.8)
    unknown = replace(build_leaking(), source_known=False)
    whole, rest = list_leak_rows("random", unknown)
    assert rest.leakage_status == "unproven" and rest.n_sources is whole.n_sources is None


def test_rows_are_found_by_protocol():
    report = build_leak_report()
    assert report.row_of("random").leaked and not report.row_of("grouped").leaked
    assert report.difference.value == pytest.approx(0.09)
