"""What a network is worth on the cells of another laboratory, from the scores of these cells.

Agreement, comparison with home and with other readers, calibration, sets and decisions, numbers of
cells still needed, and the laboratory's own limits. Axes: N images, K classes, D embedding width, Q
quality features. What this file does not do: it reads no images and knows no bundle
(`pipelines.validate`), and words no page (`validate_words`).

Two comparisons with home must not be confused. McNemar's test asks which of two readers is right
more often on the same cells; here that is the network against an analyser, a second person or
another network, each of which has named these cells. The cells measured at home are others, and
nothing pairs them with these: against the home figures only two independent shares can be compared
(`agreement.compare_shares`).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.evaluation.acceptance import Acceptance, Judged, Limits, judge_all, judge_limit
from leukoscope.evaluation.agreement import (
    PairedTest,
    UnpairedTest,
    build_cost_weights,
    build_order_weights,
    compare_shares,
    compute_expected_accuracy,
    compute_kappa,
    compute_mcnemar,
    compute_mixture_effect,
    find_order,
)
from leukoscope.evaluation.decisions import count_reasons
from leukoscope.evaluation.intervals import (
    compute_from_confusion,
    compute_intervals,
    compute_mean,
    compute_proportion,
    compute_share,
)
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.sample_size import compute_design_effect, compute_sample_size
from leukoscope.evaluation.shift import ShiftFindings, compute_shift
from leukoscope.evaluation.subgroups import FEW, SubgroupTable, split_column
from leukoscope.evaluation.trust_measures import compute_ece_interval
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import ScoreTable
from leukoscope.trust.decision import Status
from leukoscope.trust.record import Reference


@dataclass(frozen=True)
class Answers:
    """What the network says of N cells. `calls_N` indexes the classes; `probabilities_NK` are
    calibrated where the bundle is. `sets_NK`, `status` and `reasons` are None for a bundle that
    was never calibrated; `promised_coverage` is what the sets aim at."""

    calls_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]
    sets_NK: NDArray[np.bool_] | None = None
    status: tuple[Status, ...] | None = None
    reasons: tuple[str, ...] | None = None
    promised_coverage: float = math.nan

    def take(self, rows: NDArray[np.intp]) -> "Answers":
        """Return the answers for some rows, by index."""
        return Answers(
            self.calls_N[rows],
            self.probabilities_NK[rows],
            None if self.sets_NK is None else self.sets_NK[rows],
            None if self.status is None else tuple(self.status[i] for i in rows),
            None if self.reasons is None else tuple(self.reasons[i] for i in rows),
            self.promised_coverage,
        )


@dataclass(frozen=True)
class LocalCells:
    """N cells of a laboratory and what the network says of them.

    `names` are their labels, also those the network does not know (-1 in `table.labels_N`).
    `columns` are further columns of the table of images, "" where a row has none. `readers` are
    labels by others (analyser, second reader, other networks), "" where they named nothing.
    """

    table: ScoreTable
    names: tuple[str, ...]
    answers: Answers
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignClass:
    """Cells of a class that the network has no name for: how many, what it called them most, and
    how many it accepted (None where it cannot reject)."""

    name: str
    n_images: int
    called: tuple[tuple[str, int], ...]
    accepted: int | None


@dataclass(frozen=True)
class ClassHere:
    """One class of the network: cells and sources here, and its figures against home."""

    name: str
    n_images: int
    n_sources: int
    sensitivity: UnpairedTest
    specificity: UnpairedTest
    ppv: Interval
    coverage: Interval


@dataclass(frozen=True)
class ReaderComparison:
    """Another reader of the same cells. `reader` is its own share of right names; `kappa` that
    between network and reader, undefined where the cells are of one class."""

    name: str
    n_images: int
    network: Interval
    reader: Interval
    test: PairedTest
    kappa: Interval


@dataclass(frozen=True)
class SizeRow:
    """How many cells of a class the wanted interval takes. `expected` is the sensitivity it was
    reckoned with, measured at home or here (`basis`)."""

    name: str
    n_images: int
    expected: float
    basis: Literal["here", "home", "guess"]
    design_effect: float
    needed: int

    @property
    def more(self) -> int:
        """Cells still missing."""
        return max(0, self.needed - self.n_images)


@dataclass(frozen=True)
class Validation:
    """Everything that a validation found.

    `figures` are those of all cells, by the names that `limits` judges. `n_images` counts the
    cells of classes the network knows; the others are in `foreign`. `expected_accuracy` is what
    home's sensitivities promise on this mixture of cells: by `mixture` more than at home, and
    accuracy here is by `recognition` more than that. `no_home` says why nothing of
    home is compared, "" where it is. `unreadable` holds path, reason and detail of each file that
    is in no figure.
    """

    data_name: str
    bundle_name: str
    classes: tuple[str, ...]
    n_images: int
    n_sources: int
    source_known: bool
    figures: Mapping[str, Interval]
    per_class: tuple[ClassHere, ...]
    confusion: tuple[tuple[int, ...], ...]
    foreign: tuple[ForeignClass, ...]
    kappa_note: str
    home: Reference | None
    no_home: str
    accuracy_against_home: UnpairedTest | None
    expected_accuracy: Interval | None
    mixture: Interval | None
    recognition: Interval | None
    readers: tuple[ReaderComparison, ...]
    shift: ShiftFindings
    overconfidence: Interval
    set_size: float
    promised_coverage: float
    reasons: tuple[tuple[str, int], ...]
    subgroups: tuple[SubgroupTable, ...]
    sizes: tuple[SizeRow, ...]
    half_width: float
    judged: tuple[Judged, ...]
    acceptance: Acceptance
    missing: tuple[str, ...]
    unreadable: tuple[tuple[str, str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    recalibration: Recalibration | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the network of which there is no cell."""
        return tuple(one.name for one in self.per_class if not one.n_images)

    @property
    def n_unlabelled(self) -> int:
        """How many cells are in no figure only because their label is blank."""
        return sum(reason == "no_label" for _, reason, _ in self.unreadable)


def compute_validation(
    cells: LocalCells,
    limits: Limits,
    *,
    data_name: str,
    bundle_name: str,
    home: Reference | None = None,
    no_home: str = "",
    reference_embeddings_MD: NDArray[np.float32] | None = None,
    reference_quality_MQ: NDArray[np.float32] | None = None,
    unreadable: Sequence[tuple[str, str, str]] = (),
    warnings: Sequence[str] = (),
    recalibration: Recalibration | None = None,
    provenance: Mapping[str, str] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Validation:
    """Compute every figure of a validation. All intervals are of 95 % and over sources. `no_home`
    says why there is no `home`, if not for a bundle that carries none.

    Raises `DataError` where no cell is of a class that the network knows.
    """
    no_home = "" if home is not None else no_home or "the bundle carries no figures of home"
    everything, classes = cells.table, cells.table.classes
    known = np.flatnonzero(everything.labels_N >= 0)
    if not len(known):
        raise DataError(
            f"a validation needs labelled cells of classes the network knows: {', '.join(classes)}",
            f"{len(everything):,} cells of {_list_names(cells.names)}",
            "label some cells, or say under [labels] in the limits which class each name means",
        )
    table, answers = everything.take(known), cells.answers.take(known)
    measured = _measure(table, answers, limits, replicates, seed)
    figures = measured.figures
    foreign = _count_foreign(cells)
    if foreign and cells.answers.status is not None:
        rows = np.flatnonzero(everything.labels_N < 0)
        accepted_N = np.array([cells.answers.status[i] == "accepted" for i in rows])
        figures["foreign_accepted"] = compute_proportion(
            accepted_N, [everything.sources[i] for i in rows]
        )
    per_class = _compare_classes(table, figures, home)
    against = None
    if home is not None:
        against = compare_shares(
            figures["accuracy"],
            len(table),
            home.accuracy,
            home.n_images,
            independent=_is_independent(table) and home.n_images == home.n_sources,
        )
        drop = against.difference
        figures["accuracy_drop"] = Interval(-drop.value, -drop.high, -drop.low)
    counts_K = np.bincount(table.labels_N, minlength=len(classes)).astype(np.float64)
    expected = mixture = recognition = None
    if home is not None:
        recalls_home = [one.sensitivity.there for one in per_class]
        expected = compute_expected_accuracy(counts_K, recalls_home)
        mixture = compute_mixture_effect(counts_K, _count_classes(home), recalls_home)
    if expected is not None:
        recognition = compare_shares(
            figures["accuracy"], 0, expected, 0, independent=False
        ).difference
    sizes_of = _count_sizes(table, answers, cells)
    judged = tuple(
        judge_limit(
            limit,
            figures.get(limit.figure),
            sizes_of.get(limit.figure, sizes_of["accuracy"]),
            missing=_word_missing(limit.figure, cells, counts_K, no_home),
            home=against,
        )
        for limit in limits.list_limits()
    )
    return Validation(
        data_name=data_name,
        bundle_name=bundle_name,
        classes=classes,
        n_images=len(table),
        n_sources=len(set(table.sources)),
        source_known=table.source_known,
        figures=figures,
        per_class=per_class,
        confusion=tuple(
            tuple(int(x) for x in row)
            for row in compute_confusion(table.labels_N, answers.calls_N, len(classes))
        ),
        foreign=foreign,
        kappa_note=measured.kappa_note,
        home=home,
        no_home=no_home,
        accuracy_against_home=against,
        expected_accuracy=expected,
        mixture=mixture,
        recognition=recognition,
        readers=_compare_readers(cells, replicates, seed),
        shift=_find_shift(everything, no_home, reference_embeddings_MD, reference_quality_MQ, seed),
        overconfidence=measured.overconfidence,
        set_size=math.nan if answers.sets_NK is None else float(answers.sets_NK.sum(1).mean()),
        promised_coverage=answers.promised_coverage,
        reasons=count_reasons(list(answers.reasons or ())),
        subgroups=tuple(
            split_column(
                name, tuple(values[i] for i in known), table, answers.calls_N, answers.status
            )
            for name, values in cells.columns.items()
        ),
        sizes=_plan_sizes(table, per_class, figures, limits.half_width),
        half_width=limits.half_width,
        judged=judged,
        acceptance=judge_all(judged),
        missing=_list_missing(answers, no_home),
        unreadable=tuple(unreadable),
        warnings=tuple(warnings),
        recalibration=recalibration,
        provenance=provenance or {},
    )


# -- figures of all cells -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measured:
    figures: dict[str, Interval]
    kappa_note: str
    overconfidence: Interval


def _measure(
    table: ScoreTable,
    answers: Answers,
    limits: Limits,
    replicates: int,
    seed: int,
) -> _Measured:
    classes, labels_N, sources = table.classes, table.labels_N, table.sources
    calls_N = answers.calls_N
    figures = {
        "accuracy": compute_share(calls_N == labels_N, np.ones(len(table), np.bool_), sources),
        "balanced_accuracy": compute_from_confusion(
            labels_N, calls_N, classes, sources, _balance, signed=False,
            replicates=replicates, seed=seed,
        ),
    }  # fmt: skip
    for k, name in enumerate(classes):
        true_N, said_N = labels_N == k, calls_N == k
        figures[f"recall/{name}"] = compute_share(said_N, true_N, sources)
        figures[f"specificity/{name}"] = compute_share(~said_N, ~true_N, sources)
        figures[f"precision/{name}"] = compute_share(true_N, said_N, sources)
    figures |= compute_kappas(labels_N, calls_N, classes, sources, limits, replicates, seed)
    # What is of the probabilities, and not of the names that a policy may have chosen otherwise.
    calibrated = _with_probabilities(table, answers.probabilities_NK)
    found = compute_intervals(calibrated, replicates=replicates, seed=seed)
    figures |= {name: found[name] for name in ("brier", "log_loss", "roc_auc")}
    confidence_N = answers.probabilities_NK.max(axis=1)
    right_N = answers.probabilities_NK.argmax(axis=1) == labels_N
    figures["ece"] = compute_ece_interval(
        confidence_N, right_N, sources, replicates=replicates, seed=seed
    )
    if answers.sets_NK is not None:
        held_N = answers.sets_NK[np.arange(len(labels_N)), labels_N]
        figures["coverage"] = compute_share(held_N, np.ones(len(table), np.bool_), sources)
        for k, name in enumerate(classes):
            figures[f"coverage/{name}"] = compute_share(held_N, labels_N == k, sources)
    if answers.status is not None:
        status_N = np.array(answers.status)
        for name, status in (
            ("accepted", "accepted"),
            ("review", "review"),
            ("rejected", "unknown"),
        ):
            figures[name] = compute_share(
                status_N == status, np.ones(len(table), np.bool_), sources
            )
        figures["accuracy_accepted"] = compute_share(
            calls_N == labels_N, status_N == "accepted", sources
        )
    return _Measured(
        figures,
        _word_kappa(classes, labels_N, limits),
        compute_mean(confidence_N - right_N, sources),
    )


def compute_kappas(
    first_N: NDArray[np.int64],
    second_N: NDArray[np.int64],
    classes: tuple[str, ...],
    sources: Sequence[str],
    limits: Limits,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return `kappa`, and where there are weights `kappa_linear`, `kappa_quadratic`, `kappa_cost`;
    `weighted_kappa` is the one that a limit judges: by cost, else quadratic.

    All are undefined where `first_N`, the labels, are of one class: whatever a network says of such
    cells, chance would agree with it as often, and kappa is 0.
    """
    weights = {"kappa": 1.0 - np.eye(len(classes))}
    order = limits.order or find_order(classes)
    if order:
        weights["kappa_linear"] = build_order_weights(classes, order, "linear")
        weights["kappa_quadratic"] = build_order_weights(classes, order, "quadratic")
    if limits.cost:
        weights["kappa_cost"] = build_cost_weights(classes, limits.cost)
    one_class = len(np.unique(first_N)) < 2
    found = {
        name: UNDEFINED
        if one_class
        else compute_kappa(first_N, second_N, weights_KK, sources, replicates=replicates, seed=seed)
        for name, weights_KK in weights.items()
    }
    chosen = found.get("kappa_cost", found.get("kappa_quadratic"))
    return found | ({"weighted_kappa": chosen} if chosen is not None else {})


def _balance(confusion_BKK: NDArray[np.float64]) -> NDArray[np.float64]:
    hits_BK = np.diagonal(confusion_BKK, axis1=1, axis2=2)
    true_BK = confusion_BKK.sum(axis=2)
    recall_BK = np.divide(hits_BK, true_BK, out=np.zeros_like(hits_BK), where=true_BK > 0)
    return np.asarray(recall_BK.sum(axis=1) / np.maximum((true_BK > 0).sum(axis=1), 1))


def _with_probabilities(table: ScoreTable, p_NK: NDArray[np.float64]) -> ScoreTable:
    """The table with logits whose softmax is `p_NK`."""
    from dataclasses import replace

    return replace(table, logits_NK=np.log(np.maximum(p_NK, 1e-30)).astype(np.float32))


def _word_kappa(classes: tuple[str, ...], labels_N: NDArray[np.int64], limits: Limits) -> str:
    if len(np.unique(labels_N)) < 2:
        return "All cells are of one class, of which kappa says nothing."
    if limits.cost:
        return "Weighted by the cost of each confusion, as the limits say."
    order = limits.order or find_order(classes)
    if order:
        source = "the limits" if limits.order else "maturation"
        outside = len(classes) - len(order)
        rest = (
            f" Confusions with the {outside} other classes count as the worst." if outside else ""
        )
        return f"Weighted along the order of {source}: {', '.join(order)}.{rest}"
    return (
        "There is no weighted kappa: these classes have no natural order, and weights along any"
        " list of them would mean nothing. Give `order` or `cost` in the limits."
    )


# -- against home ---------------------------------------------------------------------------------


def _compare_classes(
    table: ScoreTable, figures: Mapping[str, Interval], home: Reference | None
) -> tuple[ClassHere, ...]:
    independent = _is_independent(table) and (home is None or home.n_images == home.n_sources)
    n, k_classes = len(table), len(table.classes)
    recalls = specificities = (UNDEFINED,) * k_classes
    there_K = np.zeros(k_classes, dtype=np.int64)
    if home is not None:
        recalls, specificities = home.recall, home.specificity
        there_K = _count_classes(home).astype(np.int64)
    found = []
    for k, name in enumerate(table.classes):
        rows = np.flatnonzero(table.labels_N == k)
        there = int(there_K[k])
        found.append(
            ClassHere(
                name,
                len(rows),
                len({table.sources[i] for i in rows}),
                compare_shares(
                    figures[f"recall/{name}"],
                    len(rows),
                    recalls[k],
                    there,
                    independent=independent,
                ),
                compare_shares(
                    figures[f"specificity/{name}"],
                    n - len(rows),
                    specificities[k],
                    int(there_K.sum()) - there,
                    independent=independent,
                ),
                figures[f"precision/{name}"],
                figures.get(f"coverage/{name}", UNDEFINED),
            )
        )
    return tuple(found)


def _is_independent(table: ScoreTable) -> bool:
    return len(set(table.sources)) == len(table)


def _count_classes(home: Reference) -> NDArray[np.float64]:
    return np.array([sum(row) for row in home.confusion], dtype=np.float64)


def _find_shift(
    table: ScoreTable,
    no_home: str,
    embeddings_MD: NDArray[np.float32] | None,
    quality_MQ: NDArray[np.float32] | None,
    seed: int,
) -> ShiftFindings:
    if no_home:
        return ShiftFindings(reason=no_home)
    if embeddings_MD is None:
        return ShiftFindings(reason="the bundle carries no images of home to compare with")
    if embeddings_MD.shape[1] != table.embeddings_ND.shape[1]:
        return ShiftFindings(reason="the embeddings of home have another width")
    return compute_shift(
        embeddings_MD,
        table.embeddings_ND,
        table.sources,
        home_MQ=quality_MQ,
        here_NQ=table.quality_NQ if table.quality_names else None,
        names=table.quality_names,
        seed=seed,
    )


# -- other readers --------------------------------------------------------------------------------


def _compare_readers(cells: LocalCells, replicates: int, seed: int) -> tuple[ReaderComparison, ...]:
    table, classes = cells.table, cells.table.classes
    index = {name: k for k, name in enumerate(classes)}
    found = []
    for reader, labels in cells.readers.items():
        rows = np.array(
            [i for i in range(len(table)) if table.labels_N[i] >= 0 and labels[i]], dtype=np.intp
        )
        if not len(rows):
            continue
        part = table.take(rows)
        network_N = cells.answers.calls_N[rows] == part.labels_N
        reader_N = np.array([labels[i] == cells.names[i] for i in rows])
        # A name that the network does not have is one more way to disagree.
        extra = sorted({labels[i] for i in rows} - set(classes))
        wide = {**index, **{name: len(classes) + k for k, name in enumerate(extra)}}
        said_N = np.array([wide[labels[i]] for i in rows], dtype=np.int64)
        found.append(
            ReaderComparison(
                reader,
                len(rows),
                compute_proportion(network_N, part.sources),
                compute_proportion(reader_N, part.sources),
                compute_mcnemar(network_N, reader_N, part.sources),
                UNDEFINED
                if len(set(part.labels_N.tolist())) < 2
                else compute_kappa(
                    cells.answers.calls_N[rows],
                    said_N,
                    1.0 - np.eye(len(wide)),
                    part.sources,
                    replicates=replicates,
                    seed=seed,
                ),
            )
        )
    return tuple(found)


# -- foreign cells, sizes --------------------------------------------------------------


def _count_foreign(cells: LocalCells) -> tuple[ForeignClass, ...]:
    rows = np.flatnonzero(cells.table.labels_N < 0)
    found = []
    for name, n in Counter(cells.names[i] for i in rows).most_common():
        own = [i for i in rows if cells.names[i] == name]
        called = Counter(cells.table.classes[cells.answers.calls_N[i]] for i in own)
        status = cells.answers.status
        accepted = None if status is None else sum(status[i] == "accepted" for i in own)
        found.append(ForeignClass(name, n, tuple(called.most_common(3)), accepted))
    return tuple(found)


def _plan_sizes(
    table: ScoreTable,
    per_class: tuple[ClassHere, ...],
    figures: Mapping[str, Interval],
    half_width: float,
) -> tuple[SizeRow, ...]:
    overall = compute_design_effect(figures["accuracy"], _list_sizes(table))
    found = []
    for k, one in enumerate(per_class):
        here, there = one.sensitivity.here, one.sensitivity.there
        expected, basis = 0.9, "guess"
        if one.n_images >= FEW:
            expected, basis = here.value, "here"
        elif not math.isnan(there.value):
            expected, basis = there.value, "home"
        own = _list_sizes(table, table.labels_N == k)
        effect = compute_design_effect(here, own) if one.n_images >= FEW else overall
        found.append(
            SizeRow(
                one.name,
                one.n_images,
                expected,
                basis,  # type: ignore[arg-type]
                effect,
                compute_sample_size(expected, half_width, design_effect=effect),
            )
        )
    return tuple(found)


# -- words for what is not there ------------------------------------------------------------------


def _list_sizes(table: ScoreTable, among_N: NDArray[np.bool_] | None = None) -> list[int]:
    """Number of cells in each source."""
    rows = range(len(table)) if among_N is None else np.flatnonzero(among_N).tolist()
    return list(Counter(table.sources[i] for i in rows).values())


def _count_sizes(table: ScoreTable, answers: Answers, cells: LocalCells) -> dict[str, list[int]]:
    """The sources behind a figure: `accuracy` for all cells, others where they are not all."""
    found = {"accuracy": _list_sizes(table)}
    for k, name in enumerate(table.classes):
        found[f"recall/{name}"] = _list_sizes(table, table.labels_N == k)
        found[f"specificity/{name}"] = _list_sizes(table, table.labels_N != k)
    if answers.status is not None:
        accepted_N = np.array([status == "accepted" for status in answers.status])
        found["accuracy_accepted"] = _list_sizes(table, accepted_N)
    found["foreign_accepted"] = _list_sizes(cells.table, cells.table.labels_N < 0)
    return found


def _word_missing(
    figure: str, cells: LocalCells, counts_K: NDArray[np.float64], no_home: str
) -> str:
    if figure.startswith("recall/"):
        return "no cell of this class"
    if figure.startswith("specificity/"):
        return "no cell of another class"
    if figure in ("kappa", "weighted_kappa") and (counts_K > 0).sum() < 2:
        return "all cells are of one class, of which kappa says nothing"
    if figure == "weighted_kappa":
        return "no order and no cost of the classes is given"
    if figure == "accuracy_drop":
        return no_home
    if figure == "foreign_accepted" and cells.answers.status is not None:
        return "no cell of a class the network does not know"
    if figure in ("coverage", "accepted", "review", "rejected", "foreign_accepted"):
        return "the bundle was not calibrated; it cannot reject"
    if figure == "accuracy_accepted":
        return (
            "the bundle was not calibrated; it cannot reject"
            if cells.answers.status is None
            else "no cell was accepted"
        )
    return ""


def _list_missing(answers: Answers, no_home: str) -> tuple[str, ...]:
    found = []
    if answers.status is None:
        found.append(
            "The bundle was not calibrated: prediction sets, coverage and rejection cannot be"
            " judged. `leukoscope calibrate` on the run and another export add them."
        )
    if no_home:
        found.append(f"{no_home[0].upper()}{no_home[1:]}: nothing is compared with home.")
    return tuple(found)


def _list_names(names: Sequence[str]) -> str:
    counts = Counter(names).most_common(5)
    told = ", ".join(f"{name} ({n:,})" for name, n in counts)
    return told + (" and others" if len(set(names)) > 5 else "") if counts else "no class"
