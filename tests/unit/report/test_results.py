"""When figures speak of copies; the rest of `results` is tested with the use cases."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import Interval
from leukoscope.report.results import (
    Study,
    _draw_headline,
    choose_judged,
    judge_split,
    list_comparisons,
    measure_leak,
    word_costs,
    word_foreign,
)
from leukoscope.scores import ScoreTable


def make_floors(n=1000, **shares):
    return {
        name: Baseline(name, np.zeros(0, np.int64), wilson(share * n, n), share, "")
        for name, share in {"majority": 0.25, **shares}.items()
    }


@pytest.mark.parametrize(
    ("network", "baselines", "leakage_status"),
    [
        # The Kaggle set under the published protocol.
        (0.994, make_floors(colour_histogram=0.999, nearest_neighbour=0.655), "suspect"),
        (0.99, make_floors(nearest_neighbour=0.985), "suspect"),
        # An honest gap, also where few images make the intervals overlap.
        (0.95, make_floors(colour_histogram=0.83), "unproven"),
        (0.90, make_floors(n=70, colour_histogram=0.83), "unproven"),
        # A network that learned nothing is no sign of copies.
        (0.25, make_floors(colour_histogram=0.26), "unproven"),
        (0.99, {}, "unproven"),
    ],
)
def test_suspicion_needs_a_floor_that_does_as_well(network, baselines, leakage_status):
    found, sentences = judge_split("unproven", True, wilson(network * 1000, 1000), baselines)
    assert found == leakage_status
    assert bool(sentences) == (leakage_status == "suspect")
    assert all("`leukoscope data sources`" in sentence for sentence in sentences)


@pytest.mark.parametrize("leakage_status", ["disjoint", "leaking"])
def test_what_is_known_is_not_suspected(leakage_status):
    baselines = make_floors(colour_histogram=0.999)
    assert judge_split(leakage_status, True, wilson(99, 100), baselines) == (leakage_status, ())


def test_a_split_that_the_data_made_is_not_suspected():
    baselines = make_floors(colour_histogram=0.999)
    assert judge_split("unproven", False, wilson(99, 100), baselines) == ("unproven", ())


# -- without the leak ---------------------------------------------------------------------------


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


def make_study(leaked, role="test"):
    sentences = ("Copies.",)
    return Study("T", "cells", role, "random", "leaking", sentences, (), (), (), {}, {}, leaked)


def test_figures_without_copies_come_from_the_images_without_copies():
    table = make_scores()
    leaked = frozenset(table.ids[i] for i in range(40) if i >= 20 or i % 4 == 3)
    always = Baseline("majority", np.zeros(40, np.int64), wilson(20, 40), 0.5, "")
    leak = measure_leak(table, make_study(leaked), {"majority": always}, 20)
    assert (leak.n_with_copy, leak.n_images, leak.n_sources, leak.reason) == (25, 15, 10, "")
    # Of the first 20 the five that the network gets wrong are among the leaked.
    assert leak.accuracy.value == 1 and leak.accuracy.low < 0.9
    assert leak.figures["kappa"].value == 1
    assert leak.baselines["majority"].value == pytest.approx(10 / 15)


@pytest.mark.parametrize(
    ("n_left", "role", "phrases"),
    [
        (0, "test", ("every image has a copy in training", "`leukoscope data leak-report`")),
        (1, "test", ("only 1 image has no copy", "leak-report")),
        (9, "test", ("only 9 images have no copy", "fewer than 10 say nothing", "leak-report")),
        (0, "train", ("these are the training images", "--role test")),
    ],
)
def test_too_few_images_without_a_copy_give_no_figure(n_left, role, phrases):
    table = make_scores()
    leak = measure_leak(table, make_study(frozenset(table.ids[n_left:]), role), {}, 20)
    assert leak.accuracy is None and not leak.baselines
    assert (leak.n_with_copy, leak.n_images) == (40 - n_left, n_left)
    assert all(phrase in leak.reason for phrase in phrases)


def test_ten_images_are_enough():
    table = make_scores()
    assert measure_leak(table, make_study(frozenset(table.ids[10:])), {}, 20).accuracy is not None


def test_a_leaking_evaluation_takes_two_lines_beside_others():
    high, low = Interval(0.99, 0.98, 1), Interval(0.8, 0.7, 0.9)
    one = list_comparisons("cells", high, 100, "disjoint", None, 0)
    assert [(x.name, x.leaked) for x in one] == [("cells", False)]
    alone = list_comparisons("cells", high, 100, "leaking", None, 0)
    assert [(x.name, x.leaked) for x in alone] == [("cells", True)]
    both = list_comparisons("cells", high, 100, "leaking", low, 12)
    assert [(x.name, x.accuracy, x.n_images, x.leaked) for x in both] == [
        ("cells", high, 100, True),
        ("cells, without copies", low, 12, False),
    ]


def test_the_headline_figure_shows_both_sets_of_images():
    table = make_scores()
    baselines = {"majority": Baseline("majority", np.zeros(40, np.int64), wilson(20, 40), 0.5, "")}
    shown = {"Majority class": baselines["majority"].accuracy}
    leak = measure_leak(table, make_study(frozenset(table.ids[20:])), baselines, 20)
    figure, text = _draw_headline(wilson(30, 40), shown, 40, leak)
    titles = [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold"]
    assert titles[0] == "The 20 images without a copy"
    assert any(title.startswith("LEAKED: All 40 images, 20 of them") for title in titles)
    assert "Leaked accuracy of the network, 75.0%" in text and "without copies, 75.0%" in text
    none = measure_leak(table, make_study(frozenset(table.ids)), baselines, 20)
    figure, text = _draw_headline(wilson(30, 40), shown, 40, none)
    assert len(figure.axes[0].lines) == 4 and "without copies" not in text
    figure, text = _draw_headline(wilson(30, 40), shown, 40, None)
    assert "points over" in figure.axes[0].get_title("left") and "eaked" not in text


# -- on which images limits are judged --------------------------------------------------------


def judge(table, **about):
    study = replace(make_study(frozenset()), **about)
    return choose_judged(table, study)


def test_limits_are_judged_without_copies():
    table = make_scores()
    assert judge(table) == (table, ())
    copies, limits = frozenset(table.ids[:12]), frozenset(table.ids[10:20])
    judged, (caution,) = judge(table, leaked=copies, limit_copies=limits)
    assert judged.ids == table.ids[20:] and "the 20 of 40 images without a copy" in caution


def test_too_few_without_copies_are_marked_as_leaked():
    table = make_scores()
    judged, (caution,) = judge(table, leaked=frozenset(table.ids[9:]))
    assert judged is table and caution.startswith("LEAKED: 31 of 40 images")


def test_images_that_set_the_limits_are_said_to_have_done_so():
    table = make_scores()
    judged, (caution,) = judge(table, fitted_on=True, leaked=frozenset(table.ids))
    assert judged is table and "optimistic" in caution


def test_names_that_costs_change_are_counted():
    table = make_scores()
    named = table.logits_NK.argmax(axis=1)
    policy_names = named.copy()
    policy_names[:3] = 1 - policy_names[:3]
    accuracy = Interval(0.675, 0.5, 0.8)
    decisions = SimpleNamespace(probabilities_NK=table.probabilities_NK, labels_N=policy_names)
    (told,) = word_costs(decisions, accuracy)
    assert "for 3 of 40 images" in told and "(67.5 % of all images named right)" in told
    decisions.labels_N = named
    assert word_costs(decisions, accuracy) == ()


# -- are the images of home's kind? -----------------------------------------------------------


def make_trust(n_home, rng):
    """A trust record whose distance is the first embedding number itself."""
    novelty = SimpleNamespace(compute_distance=lambda e: e[:, 0].astype(float))
    home = rng.normal(0, 1, (n_home, 1)).astype(np.float32)
    return SimpleNamespace(novelty=novelty, reference_embeddings_MD=home)


@pytest.mark.parametrize(("copies", "shift", "alarm"), [(1, 0, 0), (36, 0, 0), (36, 2.5, 1)])
def test_copies_are_no_shift_and_a_shift_is_found_at_home_too(copies, shift, alarm):
    """Of 40 draws of the same kind hardly one alarms, copies or not; of another kind all do."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        trust = make_trust(200, rng)
        per_source = rng.normal(shift, 1, 30)
        embeddings = np.repeat(per_source, copies)[:, None] + rng.normal(0, 0.1, (30 * copies, 1))
        table = make_scores(len(embeddings))
        table = replace(table, sources=tuple(map(str, np.repeat(np.arange(30), copies))))
        alarms += bool(word_foreign(trust, table, embeddings[:, 0]))
    assert alarms <= 2 if not alarm else alarms == 40
