"""How a network performs on the cells of an external site, from the scores of these cells.

Agreement, comparison with the internal test set and with other readers, calibration, prediction
sets and decisions, numbers of cells still needed, and the laboratory's acceptance criteria. Axes: N
images, K classes, M images of the reference sample, D embedding width, Q quality features. What
this file does not do: it reads no images and knows no bundle (`pipelines.validate`), and words
nothing (`report.validation_words`).

Two comparisons must not be confused. McNemar's test asks which of two readers is right more often
on the same cells; here that is the network against an analyser, a second person or another network,
each of which has labelled these cells. The cells of the internal test set are others, and nothing
pairs them with these: only two independent shares can be compared (`agreement.compare_shares`).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.readers import Rejected
from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation.acceptance import (
    Acceptance,
    AcceptanceCriteria,
    Criterion,
    CriterionResult,
    Look,
    Missing,
    compute_drop,
    decide_acceptance,
    evaluate_criterion,
)
from leukoscope.evaluation.agreement import (
    PairedTest,
    ShareComparison,
    build_cost_weights,
    build_order_weights,
    compare_shares,
    compute_case_mix_effect,
    compute_expected_accuracy,
    compute_kappa,
    compute_mcnemar,
    find_order,
)
from leukoscope.evaluation.decisions import ReasonCount, count_reasons
from leukoscope.evaluation.intervals import (
    compute_ece_interval,
    compute_from_confusion,
    compute_intervals,
    compute_proportion,
    compute_share,
    find_large_sources,
)
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.sample_size import compute_design_effect, compute_sample_size
from leukoscope.evaluation.shift import Shift, compute_shift
from leukoscope.evaluation.subgroups import FEW, SubgroupTable, split_column
from leukoscope.interval import UNDEFINED, Interval, Number
from leukoscope.runfolder import ModelProvenance
from leukoscope.scores import ScoreTable
from leukoscope.spread import compute_mean
from leukoscope.trust.decision import Reason, Status
from leukoscope.trust.notes import Note
from leukoscope.trust.record import Reference


@dataclass(frozen=True)
class Predictions:
    """What the network says of N cells. `labels_N` indexes the classes; `probabilities_NK` are
    calibrated where the bundle is. `sets_NK`, `status` and `reasons` are None for a bundle that was
    never calibrated; `nominal_coverage` is what the sets aim at."""

    labels_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]
    sets_NK: NDArray[np.bool_] | None = None
    status: tuple[Status, ...] | None = None
    reasons: tuple[tuple[Reason, ...], ...] | None = None
    nominal_coverage: float = math.nan

    def take(self, rows: NDArray[np.intp]) -> "Predictions":
        """Return the predictions for some rows, by index."""
        return Predictions(
            self.labels_N[rows],
            self.probabilities_NK[rows],
            None if self.sets_NK is None else self.sets_NK[rows],
            None if self.status is None else tuple(self.status[i] for i in rows),
            None if self.reasons is None else tuple(self.reasons[i] for i in rows),
            self.nominal_coverage,
        )


@dataclass(frozen=True)
class LocalCells:
    """N cells of a laboratory and what the network says of them.

    `labels` are the laboratory's, also those the network does not know (-1 in `table.labels_N`).
    `columns` are further columns of the table of images, "" where a row has none. `readers` are
    labels by an analyser or a second reader, `networks` those by other bundles, "" where they gave
    none.
    """

    table: ScoreTable
    labels: tuple[str, ...]
    predictions: Predictions
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# -- the record -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassFigures:
    """One class of the network: its cells and sources, and its figures against the reference."""

    label: str
    n_images: int
    n_sources: int
    sensitivity: ShareComparison
    specificity: ShareComparison
    ppv: Interval
    coverage: Interval


@dataclass(frozen=True)
class UnknownClass:
    """Cells of a class unknown to the network: how many, the three classes most often predicted for
    them, and how many were accepted (None for a bundle that cannot reject)."""

    label: str
    n_images: int
    predicted: Mapping[str, int]
    accepted: int | None


@dataclass(frozen=True)
class KappaWeights:
    """What weights kappa: `cost` and `order` are given in the criteria, `maturation` is the order
    in which granulocytes mature. `none`: these classes have no order. `one_class`: all cells are of
    one class, and kappa is undefined. `order` are the classes in it; confusions with others count
    as the worst."""

    basis: Literal["cost", "order", "maturation", "none", "one_class"]
    order: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReferenceComparison:
    """Accuracy against the internal test set. `expected_accuracy` is what the internal
    sensitivities give on this case mix: by `case_mix` more than on the internal one, and accuracy
    is by `recognition` more than that. None where a class that occurs was not in the reference."""

    accuracy: ShareComparison
    expected_accuracy: Interval | None
    case_mix: Interval | None
    recognition: Interval | None


@dataclass(frozen=True)
class ReaderComparison:
    """Another reader of the same cells: a column, or (`is_network`) another bundle. `network` and
    `reader` are their accuracies; `kappa` is between the two, undefined for cells of one class."""

    name: str
    is_network: bool
    n_images: int
    network: Interval
    reader: Interval
    test: PairedTest
    kappa: Interval


@dataclass(frozen=True)
class SampleSize:
    """How many cells of a class the wanted interval takes. `expected` is the sensitivity it was
    computed with: of these cells, of the internal test set, or assumed (`basis`)."""

    label: str
    n_images: int
    expected: Number
    basis: Literal["external", "internal", "assumed"]
    design_effect: Number
    needed: int

    @property
    def missing(self) -> int:
        """Cells still missing."""
        return max(0, self.needed - self.n_images)


@dataclass(frozen=True, kw_only=True)
class ValidationProvenance(ModelProvenance):
    """What made the figures: the bundle's network and when it was trained, the name of the criteria
    file ("" for none), the draw, the software."""

    network: str
    image_size_px: int
    trained: str
    criteria: str
    seed: int


@dataclass(frozen=True)
class Validation:
    """Everything that a validation found; `validation.json` holds it.

    `figures` are those of all cells, by the names that criteria use. `n_images` counts the cells of
    classes the network knows; the others are in `unknown_classes`. `n_fitted` cells are left out
    because an earlier recalibration of the bundle was fitted to them or to their sources; `look`
    says how often these cells have been looked at;
    `n_reference` of the rest are those that its reference was measured on, so that nothing is
    compared. `unreadable` are in no figure.
    """

    data: str
    bundle: str
    acceptance: Acceptance
    criteria: tuple[CriterionResult, ...]
    classes: tuple[str, ...]
    n_images: int
    n_sources: int
    source_known: bool
    figures: Mapping[str, Interval]
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    unknown_classes: tuple[UnknownClass, ...]
    kappa_weights: KappaWeights
    reference: Reference | None
    comparison: ReferenceComparison | None
    readers: tuple[ReaderComparison, ...]
    shift: Shift
    overconfidence: Interval
    mean_set_size: Number
    nominal_coverage: Number
    reasons: tuple[ReasonCount, ...]
    subgroups: tuple[SubgroupTable, ...]
    half_width: float
    sizes: tuple[SampleSize, ...]
    n_fitted: int = 0
    n_reference: int = 0
    unreadable: tuple[Rejected, ...] = ()
    warnings: tuple[Note, ...] = ()
    recalibration: Recalibration | None = None
    provenance: ValidationProvenance | None = None
    look: Look = field(default_factory=Look)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the network of which there is no cell."""
        return tuple(one.label for one in self.per_class if not one.n_images)

    @property
    def is_calibrated(self) -> bool:
        """Whether the bundle has prediction sets and can reject."""
        return "accepted" in self.figures

    @property
    def n_unlabelled(self) -> int:
        """How many cells are in no figure only because their label is blank."""
        return sum(one.code == "no_label" for one in self.unreadable)


def compute_validation(
    cells: LocalCells,
    criteria: AcceptanceCriteria,
    *,
    data: str,
    bundle: str,
    reference: Reference | None = None,
    reference_embeddings_MD: NDArray[np.float32] | None = None,
    reference_quality_MQ: NDArray[np.float32] | None = None,
    n_fitted: int = 0,
    n_reference: int = 0,
    unreadable: Sequence[Rejected] = (),
    warnings: Sequence[Note] = (),
    recalibration: Recalibration | None = None,
    provenance: ValidationProvenance | None = None,
    look: Look | None = None,
    seed: int = 0,
) -> Validation:
    """Compute every figure of a validation. All intervals are of 95 % and over sources.

    `data` and `bundle` are names to show; `look` is what `plan_look` returns, by default the first.
    Raises `DataError` where no cell is of a class that the
    network knows.
    """
    if n_reference:
        reference = reference_embeddings_MD = None
    everything, classes = cells.table, cells.table.classes
    known = np.flatnonzero(everything.labels_N >= 0)
    if not len(known):
        raise DataError(
            f"a validation needs labelled cells of classes the network knows: {', '.join(classes)}",
            f"{len(everything):,} cells of {_list_labels(cells.labels)}",
            "label some cells, or say under [labels] in the criteria which class each label means",
        )
    table, predictions = everything.take(known), cells.predictions.take(known)
    figures = _compute_figures(table, predictions, criteria)
    if predictions.status is not None and len(known) < len(everything):
        figures["unknown_accepted"] = _compute_unknown_accepted(cells)
    per_class = _compare_classes(table, predictions, reference)
    comparison = None
    if reference is not None:
        comparison = _compare_reference(table, figures["accuracy"], per_class, reference)
        figures["accuracy_drop"] = compute_drop(comparison.accuracy)
    look = look or plan_look(criteria)
    results = tuple(
        _evaluate(criterion, cells, table, predictions, figures, per_class, comparison, look)
        for criterion in criteria.list_criteria()
    )
    top_N = predictions.probabilities_NK.max(axis=1)
    right_N = predictions.probabilities_NK.argmax(axis=1) == table.labels_N
    sets_NK = predictions.sets_NK
    return Validation(
        data=data,
        bundle=bundle,
        acceptance=decide_acceptance(results),
        criteria=results,
        classes=classes,
        n_images=len(table),
        n_sources=len(set(table.sources)),
        source_known=table.source_known,
        figures=figures,
        per_class=per_class,
        confusion=tuple(
            tuple(int(x) for x in row)
            for row in compute_confusion(table.labels_N, predictions.labels_N, len(classes))
        ),
        unknown_classes=_count_unknown(cells),
        kappa_weights=_find_weights(table, criteria),
        reference=reference,
        comparison=comparison,
        readers=_compare_readers(cells),
        shift=Shift("no_reference")
        if reference_embeddings_MD is None
        else compute_shift(
            reference_embeddings_MD,
            everything.embeddings_ND,
            everything.sources,
            internal_MQ=reference_quality_MQ,
            external_NQ=everything.quality_NQ if everything.quality_names else None,
            names=everything.quality_names,
            seed=seed,
        ),
        overconfidence=compute_mean(top_N - right_N, table.sources),
        mean_set_size=math.nan if sets_NK is None else float(sets_NK.sum(1).mean()),
        nominal_coverage=predictions.nominal_coverage,
        reasons=count_reasons(predictions.reasons or ()),
        subgroups=tuple(
            split_column(
                name,
                tuple(values[i] for i in known),
                table,
                predictions.labels_N,
                predictions.status,
            )
            for name, values in cells.columns.items()
        ),
        half_width=criteria.half_width,
        sizes=_plan_sizes(table, per_class, figures["accuracy"], criteria.half_width),
        n_fitted=n_fitted,
        n_reference=n_reference,
        unreadable=tuple(unreadable),
        warnings=(*warnings, *find_large_sources(table)),
        recalibration=recalibration,
        provenance=provenance,
        look=look,
    )


def plan_look(
    criteria: AcceptanceCriteria, previous: Validation | None = None, weights_sha256: str = ""
) -> Look:
    """Return which look at these cells comes after `previous`, by the plan of the criteria.

    Raises `ConfigError` where the criteria or the network (`weights_sha256`) are others than at
    the look before, or no further look was planned.
    """
    if previous is None:
        return Look(1, criteria.looks)
    if previous.provenance is not None and previous.provenance.weights_sha256 != weights_sha256:
        raise ConfigError(
            "a further look must be at the same network",
            f"that of the record has the weights {previous.provenance.weights_sha256[:16]}...",
            "validate the other network without --previous, on cells that chose none",
        )
    wanted = criteria.list_criteria()
    if tuple(one.criterion for one in previous.criteria) != wanted or (
        previous.look.planned != criteria.looks
    ):
        raise ConfigError(
            "the criteria must be those of the first look, `looks` among them",
            f"{len(wanted)} criteria and {criteria.looks} looks that are not all those of the"
            " record",
            "give the criteria file of the first look; others need cells that nobody looked at",
        )
    if previous.look.number >= criteria.looks:
        raise ConfigError(
            "a further look must be planned before the first: `looks` in the criteria",
            f"all that were planned ({criteria.looks}) have been taken",
            "start anew with fresh cells only, without --previous",
        )
    return Look(previous.look.number + 1, criteria.looks)


def _list_labels(labels: Sequence[str]) -> str:
    counts = Counter(labels).most_common(5)
    listed = ", ".join(f"{label} ({n:,})" for label, n in counts)
    return listed + (" and others" if len(set(labels)) > 5 else "") if counts else "no class"


# -- figures of all cells -------------------------------------------------------------------------


def _compute_figures(
    table: ScoreTable,
    predictions: Predictions,
    criteria: AcceptanceCriteria,
) -> dict[str, Interval]:
    classes, labels_N, sources = table.classes, table.labels_N, table.sources
    every_N = np.ones(len(table), np.bool_)
    hit_N = predictions.labels_N == labels_N
    figures = {
        "accuracy": compute_share(hit_N, every_N, sources),
        "balanced_accuracy": compute_from_confusion(
            labels_N, predictions.labels_N, len(classes), sources, _balance, "average"
        ),
    }  # fmt: skip
    figures |= compute_kappas(labels_N, predictions.labels_N, classes, sources, criteria)
    # Of the probabilities, and not of the labels that a policy with costs may choose otherwise.
    p_NK = predictions.probabilities_NK
    logits_NK = np.log(np.maximum(p_NK, 1e-30)).astype(np.float32)
    found = compute_intervals(replace(table, logits_NK=logits_NK)).overall
    figures |= {name: found[name] for name in ("brier", "log_loss", "roc_auc")}
    figures["ece"] = compute_ece_interval(
        p_NK.max(axis=1), p_NK.argmax(axis=1) == labels_N, sources
    )
    if predictions.sets_NK is not None:
        covered_N = predictions.sets_NK[np.arange(len(labels_N)), labels_N]
        figures["coverage"] = compute_share(covered_N, every_N, sources)
    if predictions.status is not None:
        status_N = np.array(predictions.status)
        figures["accepted"] = compute_share(status_N == "accepted", every_N, sources)
        figures["review"] = compute_share(status_N == "review", every_N, sources)
        figures["rejected"] = compute_share(status_N == "unknown", every_N, sources)
        figures["accuracy_accepted"] = compute_share(hit_N, status_N == "accepted", sources)
    return figures


def compute_kappas(
    first_N: NDArray[np.int64],
    second_N: NDArray[np.int64],
    classes: tuple[str, ...],
    sources: Sequence[str],
    criteria: AcceptanceCriteria,
) -> dict[str, Interval]:
    """Return `kappa`, and where there are weights `kappa_linear`, `kappa_quadratic`, `kappa_cost`;
    `weighted_kappa` is the one that a criterion bounds: by cost, else quadratic.

    All are undefined where `first_N`, the labels, are of one class: whatever a network predicts of
    such cells, chance would agree with it as often, and kappa is 0.
    """
    weights = {"kappa": 1.0 - np.eye(len(classes))}
    order = criteria.order or find_order(classes)
    if order:
        weights["kappa_linear"] = build_order_weights(classes, order, "linear")
        weights["kappa_quadratic"] = build_order_weights(classes, order, "quadratic")
    if criteria.cost:
        weights["kappa_cost"] = build_cost_weights(classes, criteria.cost)
    one_class = len(np.unique(first_N)) < 2
    found = {
        name: UNDEFINED if one_class else compute_kappa(first_N, second_N, weights_KK, sources)
        for name, weights_KK in weights.items()
    }
    chosen = found.get("kappa_cost", found.get("kappa_quadratic"))
    return found | ({"weighted_kappa": chosen} if chosen is not None else {})


def _find_weights(table: ScoreTable, criteria: AcceptanceCriteria) -> KappaWeights:
    if len(np.unique(table.labels_N)) < 2:
        return KappaWeights("one_class")
    if criteria.cost:
        return KappaWeights("cost")
    if criteria.order:
        return KappaWeights("order", criteria.order)
    order = find_order(table.classes)
    return KappaWeights("maturation", order) if order else KappaWeights("none")


def _balance(confusion_BKK: NDArray[np.float64]) -> NDArray[np.float64]:
    hits_BK = np.diagonal(confusion_BKK, axis1=1, axis2=2)
    true_BK = confusion_BKK.sum(axis=2)
    recall_BK = np.divide(hits_BK, true_BK, out=np.zeros_like(hits_BK), where=true_BK > 0)
    return np.asarray(recall_BK.sum(axis=1) / np.maximum((true_BK > 0).sum(axis=1), 1))


def _compute_unknown_accepted(cells: LocalCells) -> Interval:
    accepted_N = np.array(cells.predictions.status) == "accepted"
    return compute_share(accepted_N, cells.table.labels_N < 0, cells.table.sources)


# -- against the reference ------------------------------------------------------------------------


def _compare_classes(
    table: ScoreTable, predictions: Predictions, reference: Reference | None
) -> tuple[ClassFigures, ...]:
    labels_N, predicted_N, sources = table.labels_N, predictions.labels_N, table.sources
    k_classes = len(table.classes)
    recall = specificity = (UNDEFINED,) * k_classes
    internal_K = np.zeros(k_classes, dtype=np.int64)
    if reference is not None:
        recall, specificity = reference.recall, reference.specificity
        internal_K = _count_classes(reference)
    # Fisher's test is exact where every cell, on either side, is its own source.
    independent = int(_is_independent(table, reference))
    found = []
    for k, label in enumerate(table.classes):
        true_N, said_N = labels_N == k, predicted_N == k
        n, internal = int(true_N.sum()), int(internal_K[k])
        coverage = UNDEFINED
        if predictions.sets_NK is not None:
            covered_N = predictions.sets_NK[np.arange(len(table)), labels_N]
            coverage = compute_share(covered_N, true_N, sources)
        found.append(
            ClassFigures(
                label=label,
                n_images=n,
                n_sources=len({sources[i] for i in np.flatnonzero(true_N)}),
                sensitivity=compare_shares(
                    compute_share(said_N, true_N, sources),
                    recall[k],
                    n_external=n * independent,
                    n_internal=internal * independent,
                ),
                specificity=compare_shares(
                    compute_share(~said_N, ~true_N, sources),
                    specificity[k],
                    n_external=(len(table) - n) * independent,
                    n_internal=(int(internal_K.sum()) - internal) * independent,
                ),
                ppv=compute_share(true_N, said_N, sources),
                coverage=coverage,
            )
        )
    return tuple(found)


def _compare_reference(
    table: ScoreTable, accuracy: Interval, per_class: Sequence[ClassFigures], reference: Reference
) -> ReferenceComparison:
    independent = int(_is_independent(table, reference))
    counts_K = np.array([one.n_images for one in per_class], dtype=np.float64)
    recall = [one.sensitivity.internal for one in per_class]
    expected = compute_expected_accuracy(counts_K, recall)
    return ReferenceComparison(
        accuracy=compare_shares(
            accuracy,
            reference.accuracy,
            n_external=len(table) * independent,
            n_internal=reference.n_images * independent,
        ),
        expected_accuracy=expected,
        case_mix=compute_case_mix_effect(
            counts_K, _count_classes(reference).astype(np.float64), recall
        ),
        recognition=None if expected is None else compare_shares(accuracy, expected).difference,
    )


def _count_classes(reference: Reference) -> NDArray[np.int64]:
    return np.asarray(np.array(reference.confusion, dtype=np.int64).sum(axis=1))


def _is_independent(table: ScoreTable, reference: Reference | None) -> bool:
    internal = reference is None or reference.n_images == reference.n_sources
    return internal and len(set(table.sources)) == len(table)


# -- acceptance criteria --------------------------------------------------------------------------


def _evaluate(
    criterion: Criterion,
    cells: LocalCells,
    table: ScoreTable,
    predictions: Predictions,
    figures: Mapping[str, Interval],
    per_class: Sequence[ClassFigures],
    comparison: ReferenceComparison | None,
    look: Look,
) -> CriterionResult:
    figure = figures.get(criterion.figure)
    sizes = _list_sizes(table)
    if criterion.label:
        k = table.classes.index(criterion.label)
        if criterion.figure == "sensitivity":
            figure = per_class[k].sensitivity.external
            sizes = _list_sizes(table, table.labels_N == k)
        else:
            figure = per_class[k].specificity.external
            sizes = _list_sizes(table, table.labels_N != k)
    elif criterion.figure == "accuracy_accepted" and predictions.status is not None:
        sizes = _list_sizes(table, np.array(predictions.status) == "accepted")
    elif criterion.figure == "unknown_accepted":
        sizes = _list_sizes(cells.table, cells.table.labels_N < 0)
    return evaluate_criterion(
        criterion,
        figure,
        sizes,
        missing=_find_missing(criterion.figure, table, predictions),
        comparison=None if comparison is None else comparison.accuracy,
        look=look,
    )


def _find_missing(figure: str, table: ScoreTable, predictions: Predictions) -> Missing:
    """Why a figure would be undefined."""
    if figure == "sensitivity":
        return "no_cell_of_class"
    if figure == "specificity":
        return "no_cell_of_other_class"
    if figure in ("kappa", "weighted_kappa") and len(np.unique(table.labels_N)) < 2:
        return "one_class"
    if figure == "weighted_kappa":
        return "no_weights"
    if figure == "accuracy_drop":
        return "no_reference"
    if predictions.status is None:
        return "not_calibrated"
    if figure == "unknown_accepted":
        return "no_unknown_class"
    return "none_accepted" if figure == "accuracy_accepted" else "undefined"


def _list_sizes(table: ScoreTable, among_N: NDArray[np.bool_] | None = None) -> list[int]:
    """Number of cells in each source."""
    rows = range(len(table)) if among_N is None else np.flatnonzero(among_N).tolist()
    return list(Counter(table.sources[i] for i in rows).values())


# -- other readers, unknown classes, sample sizes -------------------------------------------------


def _compare_readers(cells: LocalCells) -> tuple[ReaderComparison, ...]:
    table, classes = cells.table, cells.table.classes
    index = {label: k for k, label in enumerate(classes)}
    found = []
    others = [(False, *one) for one in cells.readers.items()]
    others += [(True, *one) for one in cells.networks.items()]
    for is_network, reader, labels in others:
        rows = np.array(
            [i for i in range(len(table)) if table.labels_N[i] >= 0 and labels[i]], dtype=np.intp
        )
        if not len(rows):
            continue
        part = table.take(rows)
        predicted_N = cells.predictions.labels_N[rows]
        network_N = predicted_N == part.labels_N
        reader_N = np.array([labels[i] == cells.labels[i] for i in rows])
        # A label that the network does not have is one more way to disagree.
        extra = sorted({labels[i] for i in rows} - set(classes))
        wide = {**index, **{label: len(classes) + k for k, label in enumerate(extra)}}
        said_N = np.array([wide[labels[i]] for i in rows], dtype=np.int64)
        found.append(
            ReaderComparison(
                reader,
                is_network,
                len(rows),
                compute_proportion(network_N, part.sources),
                compute_proportion(reader_N, part.sources),
                compute_mcnemar(network_N, reader_N, part.sources),
                UNDEFINED
                if len(set(part.labels_N.tolist())) < 2
                else compute_kappa(
                    predicted_N,
                    said_N,
                    1.0 - np.eye(len(wide)),
                    part.sources,
                ),
            )
        )
    return tuple(found)


def _count_unknown(cells: LocalCells) -> tuple[UnknownClass, ...]:
    rows = np.flatnonzero(cells.table.labels_N < 0)
    found = []
    for label, n in Counter(cells.labels[i] for i in rows).most_common():
        own = [i for i in rows if cells.labels[i] == label]
        predicted = Counter(cells.table.classes[cells.predictions.labels_N[i]] for i in own)
        status = cells.predictions.status
        accepted = None if status is None else sum(status[i] == "accepted" for i in own)
        found.append(UnknownClass(label, n, dict(predicted.most_common(3)), accepted))
    return tuple(found)


def _plan_sizes(
    table: ScoreTable, per_class: Sequence[ClassFigures], accuracy: Interval, half_width: float
) -> tuple[SampleSize, ...]:
    overall = compute_design_effect(accuracy, _list_sizes(table))
    found = []
    for k, one in enumerate(per_class):
        external, internal = one.sensitivity.external, one.sensitivity.internal
        expected: float = 0.9
        basis: Literal["external", "internal", "assumed"] = "assumed"
        if one.n_images >= FEW:
            expected, basis = external.value, "external"
        elif not math.isnan(internal.value):
            expected, basis = internal.value, "internal"
        own = _list_sizes(table, table.labels_N == k)
        effect = compute_design_effect(external, own) if one.n_images >= FEW else overall
        needed = compute_sample_size(expected, half_width, design_effect=effect)
        found.append(SampleSize(one.label, one.n_images, expected, basis, effect, needed))
    return tuple(found)
