"""The findings of a validation, from invented scores with known answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.builders import validation as cells_of

from leukoscope.errors import DataError
from leukoscope.evaluation.acceptance import AcceptanceCriteria
from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.decisions import ReasonCount
from leukoscope.evaluation.intervals import compute_ece_interval, compute_intervals
from leukoscope.evaluation.validation import LocalCells, Predictions, Validation, compute_kappas
from leukoscope.interval import Interval
from leukoscope.records import dump_record, load_record, save_record
from leukoscope.spread import compute_mean

CLASSES, build_cells, build_reference = (
    cells_of.CLASSES,
    cells_of.build_cells,
    cells_of.build_reference,
)
validate, with_decisions = cells_of.validate, cells_of.with_decisions


def test_figures_are_those_of_the_evaluation():
    cells = build_cells()
    found = validate(cells)
    figures = compute_intervals(cells.table)
    wanted = {
        **figures.overall,
        "recall/blast": figures.per_class["blast"]["recall"],
        "specificity/monocyte": figures.per_class["monocyte"]["specificity"],
    }
    ours = {
        name: found.figures[name] for name in ("accuracy", "kappa", "balanced_accuracy", "brier")
    }
    ours["recall/blast"] = found.per_class[1].sensitivity.external
    ours["specificity/monocyte"] = found.per_class[2].specificity.external
    for name, one in ours.items():
        theirs = wanted[name]
        assert (one.value, one.low, one.high) == pytest.approx(
            (theirs.value, theirs.low, theirs.high), rel=1e-4
        ), name
    assert found.n_images == 120 and found.n_sources == 60
    assert np.array(found.confusion).sum() == 120


def test_the_calibration_error_is_the_one_of_the_reference():
    """Debiased, over sources: beside the figure of the bundle, and under the criterion."""
    table = build_cells().table
    found = validate(build_cells()).figures["ece"]
    p = table.probabilities_NK
    sure, right = p.max(axis=1), p.argmax(axis=1) == table.labels_N
    wanted = compute_ece_interval(sure, right, table.sources)
    assert (found.value, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high), rel=1e-4
    )
    assert found.value == pytest.approx(compute_debiased_ece(sure, right, table.sources), rel=1e-4)


def test_a_calibrated_network_meets_a_criterion_of_its_calibration_error():
    """Its plain error is 0.12 on a hundred cells, by chance alone."""
    errors, outcomes = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        logits = generator.normal(0, 2.5, (100, 3)).astype(np.float32)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = (generator.random((100, 1)) < p.cumsum(axis=1)).argmax(axis=1)
        cells = build_cells(n=100, per_source=1)
        predictions = Predictions(p.argmax(axis=1), p.astype(np.float64))
        table = replace(cells.table, labels_N=labels, logits_NK=logits)
        found = validate(
            replace(cells, table=table, predictions=predictions), AcceptanceCriteria(max_ece=0.03)
        )
        errors.append(found.figures["ece"].value)
        outcomes += [one.outcome for one in found.criteria]
    assert np.mean(errors) < 0.05 and outcomes.count("not_met") <= 1


def test_labels_chosen_by_a_policy_count_not_the_most_probable():
    cells = build_cells(right=1.0)
    calls = np.full(120, 2)
    found = validate(replace(cells, predictions=replace(cells.predictions, labels_N=calls)))
    assert found.figures["accuracy"].value == 0
    assert found.figures["log_loss"].value < 0.3  # the probabilities are as they were


def test_classes_without_cells_and_cells_without_classes_are_listed():
    found = validate(build_cells(unknown=12))
    assert found.absent == ("monocyte",)
    assert math.isnan(found.per_class[2].sensitivity.external.value)
    assert not math.isnan(found.per_class[2].specificity.external.value)
    (unknown,) = found.unknown_classes
    assert (unknown.label, unknown.n_images, unknown.accepted) == ("plasma_cell", 12, None)
    assert sum(unknown.predicted.values()) == 12 and found.n_images == 120


def test_no_known_cell_is_an_error():
    cells = build_cells(n=0, unknown=5)
    with pytest.raises(DataError, match="plasma_cell"):
        validate(cells)


def test_one_class_only_still_validates():
    cells = build_cells(n=30)
    labels = np.zeros(30, np.int64)
    one = replace(cells, table=replace(cells.table, labels_N=labels), labels=("basophil",) * 30)
    found = validate(one, AcceptanceCriteria(min_kappa=0.5, min_specificity={"basophil": 0.5}))
    assert math.isnan(found.per_class[0].specificity.external.value)
    assert {one.outcome for one in found.criteria} == {"not_measured"}
    assert [one.reason for one in found.criteria] == ["no_cell_of_other_class", "one_class"]
    assert found.kappa_weights.basis == "one_class"
    assert found.acceptance == "undecided"


@pytest.mark.parametrize("right", [0.958, 0.5])
def test_kappa_of_one_class_says_nothing(right):
    """It is 0 for a good network and for a bad one."""
    labels, sources = np.zeros(48, np.int64), [str(i) for i in range(48)]
    calls = (np.arange(48) >= 48 * right).astype(np.int64)
    asked = AcceptanceCriteria(order=CLASSES, cost={"blast": {"monocyte": 5.0}})
    found = compute_kappas(labels, calls, CLASSES, sources, asked)
    assert len(found) == 5 and all(math.isnan(one.value) for one in found.values())
    assert (
        compute_kappas(np.r_[labels, 1], np.r_[calls, 1], CLASSES, [*sources, "x"], asked)[
            "kappa"
        ].value
        > -1
    )


def test_against_the_reference():
    found = validate(build_cells(n=400, per_source=1), reference=build_reference())
    blast = found.per_class[1].sensitivity
    assert blast.internal.value == pytest.approx(0.9)
    assert blast.difference.value == pytest.approx(blast.external.value - 0.9)
    assert not math.isnan(blast.p_value)  # every cell its own source, on both sides
    assert found.comparison.expected_accuracy.value == pytest.approx(0.925, abs=0.02)
    drop = found.figures["accuracy_drop"]
    assert drop.value == pytest.approx(0.95 - found.figures["accuracy"].value)
    assert drop.low < drop.value < drop.high
    # Specificity is of the other classes: 5 of 200 internal ones were called blast.
    monocyte = found.per_class[2].specificity
    assert monocyte.internal.value == pytest.approx(190 / 200)
    assert found.per_class[1].specificity.internal.value == pytest.approx(195 / 200)
    vague = tuple(Interval(x, x - 0.3, 1.0) for x in (0.95, 0.9, 1.0))
    recorded = validate(
        build_cells(n=400, per_source=1), reference=build_reference(recall=vague, specificity=vague)
    )
    wide, narrow = recorded.comparison.expected_accuracy, found.comparison.expected_accuracy
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert recorded.per_class[1].sensitivity.difference.low < blast.difference.low
    clustered = validate(build_cells(n=60), reference=build_reference())
    assert math.isnan(clustered.per_class[1].sensitivity.p_value)


def test_a_loss_that_the_reference_alone_leaves_open_asks_for_no_cells():
    asked = AcceptanceCriteria(max_accuracy_drop=0.1)
    vague = build_reference(accuracy=Interval(0.75, 0.55, 0.95))
    (result,) = validate(build_cells(), asked, reference=vague).criteria
    assert result.reason == "not_feasible" and result.needed is None
    sure = build_reference(accuracy=Interval(0.75, 0.74, 0.76), n_images=10_000)
    (result,) = validate(build_cells(), asked, reference=sure).criteria
    assert result.needed or result.outcome == "met"


def test_decisions_coverage_and_their_criteria():
    criteria = AcceptanceCriteria(
        max_rejected=0.6, min_accepted=0.9, min_coverage=0.99, min_accuracy_accepted=0.4,
        max_unknown_accepted=0.9,
    )  # fmt: skip
    found = validate(with_decisions(build_cells(unknown=30)), criteria)
    outcomes = {one.criterion.key: one.outcome for one in found.criteria}
    assert outcomes == {
        "max_rejected": "met", "min_accepted": "not_met", "min_coverage": "not_met",
        "min_accuracy_accepted": "met", "max_unknown_accepted": "met",
    }  # fmt: skip
    assert found.figures["accepted"].value == pytest.approx(1 / 3)
    assert found.unknown_classes[0].accepted == 10
    assert found.reasons == (ReasonCount("low_confidence", 80),)
    bare = validate(build_cells(), criteria)
    assert {one.outcome for one in bare.criteria} == {"not_measured"}
    assert {one.reason for one in bare.criteria} == {"not_calibrated"}


def test_other_readers_of_the_same_cells():
    cells = build_cells(n=80, per_source=1)
    perfect = cells.labels
    odd = tuple("plasma_cell" if i < 5 else name for i, name in enumerate(cells.labels))
    blank = ("",) * 80
    found = validate(replace(cells, readers={"expert": perfect, "odd": odd, "nobody": blank}))
    expert, other = found.readers
    assert expert.reader.value == 1 and expert.test.first_only == 0
    assert expert.test.second_only == 80 - expert.test.both
    assert expert.test.p_value < 0.01
    assert expert.kappa.value == pytest.approx(found.figures["kappa"].value)
    assert other.reader.value == pytest.approx(75 / 80)
    rows = np.flatnonzero(cells.table.labels_N == 1)
    blast = LocalCells(
        cells.table.take(rows), ("blast",) * len(rows), cells.predictions.take(rows),
        readers={"expert": ("blast",) * len(rows)},
    )  # fmt: skip
    assert math.isnan(validate(blast).readers[0].kappa.value)


def test_weighted_kappa_needs_an_order_or_a_cost():
    cells = build_cells()
    assert validate(cells).kappa_weights.basis == "none"
    asked = AcceptanceCriteria(min_weighted_kappa=0.5)
    assert validate(cells, asked).criteria[0].outcome == "not_measured"
    ordered = AcceptanceCriteria(min_weighted_kappa=0.5, order=("basophil", "blast", "monocyte"))
    found = validate(cells, ordered)
    assert {"kappa_linear", "kappa_quadratic"} <= found.figures.keys()
    assert found.criteria[0].figure == found.figures["kappa_quadratic"]
    labels, calls = cells.table.labels_N, cells.predictions.labels_N
    cost = AcceptanceCriteria(cost={"blast": {"monocyte": 5.0}})
    kappas = compute_kappas(labels, calls, CLASSES, cells.table.sources, cost)
    assert kappas["weighted_kappa"] == kappas["kappa_cost"] != kappas["kappa"]
    both = AcceptanceCriteria(order=CLASSES, cost={"blast": {"monocyte": 5.0}})
    found = validate(cells, both)
    assert found.figures["weighted_kappa"] == found.figures["kappa_cost"]
    assert found.kappa_weights.basis == "cost"  # what the criterion bounds, not the order


def test_sample_sizes_say_what_they_were_computed_with():
    found = validate(build_cells(), reference=build_reference())
    by_name = {one.label: one for one in found.sizes}
    assert by_name["blast"].basis == "external" and by_name["monocyte"].basis == "internal"
    assert by_name["blast"].missing == by_name["blast"].needed - by_name["blast"].n_images
    assert {one.basis for one in validate(build_cells()).sizes} == {"external", "assumed"}


def test_shift_is_found_where_it_is():
    generator = np.random.default_rng(3)
    reference = {
        "reference": build_reference(),
        "reference_embeddings_MD": generator.normal(0, 1, (200, 5)).astype(np.float32),
    }
    cells = build_cells(n=200, per_source=1)
    same = validate(cells, **reference).shift
    moved = validate(
        replace(cells, table=replace(cells.table, embeddings_ND=cells.table.embeddings_ND + 2)),
        **reference,
    ).shift
    assert same.separation.low < 0.55 and moved.separation.low > 0.9
    assert same.status == moved.status == "compared"
    assert validate(cells).shift.status == "no_reference"


def test_overconfidence_has_its_sign():
    cells = build_cells(right=0.5)
    assert validate(cells).overconfidence.low > 0.1
    sure = build_cells(right=1.0)
    flat = np.full((120, 3), 0.2) + 0.4 * np.eye(3)[sure.predictions.labels_N]
    timid = replace(sure, predictions=replace(sure.predictions, probabilities_NK=flat))
    assert validate(timid).overconfidence.high < -0.3


def test_the_mean_over_sources_is_students():
    from scipy.stats import t

    values = np.random.default_rng(0).normal(2, 1, 12)
    found = compute_mean(values, [str(i) for i in range(12)])
    low, high = t.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert (found.low, found.high) == pytest.approx((low, high))
    copied = compute_mean(np.repeat(values, 5), [str(i // 5) for i in range(60)])
    assert (copied.low, copied.high) == pytest.approx((low, high))
    assert math.isnan(compute_mean(values, ["one"] * 12).low)
    with pytest.raises(DataError, match="at least one value"):
        compute_mean(values[:0], [])


def test_cells_that_the_reference_was_measured_on_are_not_compared():
    found = validate(build_cells(), reference=build_reference(), n_reference=60)
    assert found.reference is None and found.comparison is None
    assert found.shift.status == "no_reference" and found.n_reference == 60


def test_the_record_comes_back_from_its_file(tmp_path):
    """With labels that hold separators, quotes and tags, and a path that is not Unicode."""
    found = cells_of.build_validation()
    save_record(found, tmp_path / "validation.json")
    again = load_record(Validation, tmp_path / "validation.json", "leukoscope validate")
    assert dump_record(again) == dump_record(found)
    assert [one.label for one in again.per_class] == list(cells_of.AWKWARD)
    assert [one.criterion.label for one in again.criteria if one.criterion.label] == list(
        cells_of.AWKWARD
    )
