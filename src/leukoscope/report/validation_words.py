"""A validation in sentences: the answer, what stands behind it, and what to do next.

What this file does not do: it computes nothing (`evaluation.validation`) and lays nothing out
(`validation_page`).
"""

import math
from collections.abc import Iterable, Sequence

from leukoscope.evaluation.acceptance import (
    Acceptance,
    CriterionKey,
    CriterionResult,
    Look,
    Outcome,
    Reason,
)
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.shift import LEAST
from leukoscope.evaluation.subgroups import MOST_GROUPS, Subgroup, SubgroupTable
from leukoscope.evaluation.validation import Validation
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report.decision_words import name_feature
from leukoscope.report.note_words import describe_note
from leukoscope.text import (
    NO_INTERVAL,
    format_count,
    format_figure,
    format_number,
    format_percent,
    format_points,
    format_range,
    format_short,
    join_words,
)
from leukoscope.trust.local import LEAST_SOURCES

OUTCOME_WORDS: dict[Outcome, str] = {
    "met": "met",
    "not_met": "not met",
    "undecided": "undecided",
    "not_measured": "not measurable",
}

FIGURE_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Kappa, unweighted",
    "kappa_linear": "Kappa, linear weights",
    "kappa_quadratic": "Kappa, quadratic weights",
    "kappa_cost": "Kappa, weighted by cost",
    "roc_auc": "Area under the ROC curve, mean over classes",
    "ece": "Calibration error",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "coverage": "Coverage of the prediction sets",
    "accepted": "Accepted",
    "review": "Sent to review",
    "rejected": "Rejected as unknown",
    "accuracy_accepted": "Accuracy among accepted",
    "unknown_accepted": "Cells of unknown classes accepted",
}
"""Names of the figures of all cells, in the order of the table."""

_CRITERIA: dict[CriterionKey, str] = {
    "min_accuracy": "Accuracy",
    "min_balanced_accuracy": "Balanced accuracy",
    "min_sensitivity": "Sensitivity",
    "min_specificity": "Specificity",
    "min_kappa": "Kappa",
    "min_weighted_kappa": "Weighted kappa",
    "max_ece": "Calibration error",
    "min_coverage": "Coverage of the prediction sets",
    "min_accepted": "Accepted",
    "max_review": "Sent to review",
    "max_rejected": "Rejected as unknown",
    "min_accuracy_accepted": "Accuracy among accepted",
    "max_unknown_accepted": "Cells of unknown classes accepted",
    "max_accuracy_drop": "Loss of accuracy against the internal test set",
}

_REASONS: dict[Reason, str] = {
    "no_interval": NO_INTERVAL,
    "figure_on_threshold": "the figure lies on the threshold: more cells meet it by luck only",
    "figure_misses_threshold": "the figure misses the threshold: more cells meet it by luck only",
    "not_feasible": "so near the threshold that no feasible number of cells decides it",
    "no_cell_of_class": "there is no cell of this class",
    "no_cell_of_other_class": "there is no cell of another class",
    "one_class": "all cells are of one class, where kappa is undefined",
    "no_weights": "neither an order nor a cost of the classes is given",
    "no_unknown_class": "there is no cell of a class unknown to the network",
    "not_calibrated": "the bundle was not calibrated and cannot reject",
    "none_accepted": "no cell was accepted",
    "undefined": "these cells leave it undefined",
}
"""Why a criterion is open."""

_UNITLESS = {"kappa", "kappa_linear", "kappa_quadratic", "kappa_cost", "weighted_kappa"}
_UNITLESS |= {"roc_auc", "ece", "brier", "log_loss"}
"""Figures that are no shares."""

# -- the answer -----------------------------------------------------------------------------------


def describe_acceptance(acceptance: Acceptance, outcomes: Sequence[str]) -> str:
    """Say in one sentence whether the network is accepted, from the outcome of each criterion."""
    n = len(outcomes)
    if acceptance == "no_criteria":
        return "Not assessed: no acceptance criteria were set."
    if acceptance == "pass":
        return f"Accepted: {f'all {n} criteria are met' if n > 1 else 'the criterion is met'}."
    if acceptance == "fail":
        return f"Not accepted: {_count_of(outcomes.count('not_met'), n)} not met."
    undecided = outcomes.count("undecided")
    open_ = undecided + outcomes.count("not_measured")
    if not undecided:
        return f"Not decided: {_count_of(open_, n)} not measurable."
    rest = f", {open_ - undecided} not measurable" if open_ > undecided else ""
    return f"Not decided: {_count_of(undecided, n)} undecided{rest}."


def _count_of(k: int, n: int) -> str:
    return f"{k} of the {n} criteria {'is' if k == 1 else 'are'}" if n > 1 else "the criterion is"


def describe_look(v: Validation) -> str:
    """Say which look at these cells this is, and how the criteria are decided; "" for the only
    one."""
    look = v.look
    if look.planned == 1:
        return ""
    return (
        f"Look {look.number} of {look.planned} planned: each criterion is decided by its"
        f" {format_level(look.level)} interval, so that all looks together meet a criterion by luck"
        " no more often than one at 95 %."
    )


def format_level(level: float) -> str:
    """Return the level of an interval in per cent.

    >>> format_level(0.95), format_level(1 - 0.05 / 3)
    ('95 %', '98.33 %')
    """
    return f"{100 * level:.4g} %"


def describe_accuracy(v: Validation) -> str:
    """Say how many cells are classified correctly, here and on the internal test set."""
    text = f"{format_range(v.figures['accuracy'])} of the cells are classified correctly"
    if v.reference is not None:
        text += f"; on the internal test set {format_percent(v.reference.accuracy.value)}"
    return text + "."


def describe_population(v: Validation) -> str:
    """Say which cells the figures are of."""
    sources = (
        f"from {format_count(v.n_sources, 'source')} (patients, slides or fields)"
        if v.source_known
        else "from unknown sources"
    )
    return f"{format_count(v.n_images, 'labelled cell')} {sources}: {v.data}."


def describe_reference(v: Validation) -> str:
    """Say what the internal test set is, and how far its figures can be trusted."""
    if v.reference is None:
        return f"No comparison with an internal test set: {_describe_no_reference(v)}."
    reference = v.reference
    sources = (
        format_count(reference.n_sources, "source") if reference.source_known else "unknown sources"
    )
    trust = {
        "disjoint": "",
        "images_disjoint": " Persons are not recorded there: cells of one may lie in training too.",
        "leaking": " It has duplicates in the training images, so that its figures are inflated.",
        "local": " It is of the site that the bundle was last recalibrated on; whether training"
        " has seen these cells is not known.",
    }.get(
        reference.leakage_status,
        " Duplicates between training and test could not be excluded there.",
    )
    return (
        f"Internal test set: {format_count(reference.n_images, 'cell')} from {sources},"
        f" {reference.data}.{trust}"
    )


def _describe_no_reference(v: Validation) -> str:
    if v.n_reference:
        return f"the reference of this bundle was measured on {v.n_reference:,} of these very cells"
    return "the bundle carries no reference figures"


def describe_difference(v: Validation) -> str:
    """Say how much of the difference to the internal test set is the case mix, and how much is
    beyond chance; "" without a comparison."""
    if v.comparison is None:
        return ""
    found, difference = v.comparison, v.comparison.accuracy.difference
    text = (
        f"Accuracy is {format_points(difference.value)}"
        f" {'higher' if difference.value >= 0 else 'lower'} than on the internal test set"
        f" ({_between(difference)})"
    )
    text += "." if _is_beyond_chance(difference) else ", which may be chance."
    if found.expected_accuracy is None or found.recognition is None:
        return f"{text} Not every class that occurs here was in the internal test set."
    text += (
        " At the sensitivities of the internal test set,"
        f" {format_percent(found.expected_accuracy.value)} would be correct with this case mix"
    )
    mix, own = found.case_mix, found.recognition
    if mix is not None and _is_beyond_chance(mix):
        more = "more" if mix.value > 0 else "less"
        text += f", {format_points(mix.value)} {more} than with the internal one ({_between(mix)})"
    if _is_beyond_chance(own):
        return (
            f"{text}; the other {format_points(own.value)} ({_between(own)}) are"
            f" {'better' if own.value > 0 else 'worse'} recognition."
        )
    return f"{text}; the rest of the difference ({_between(own)}) may be chance."


def _is_beyond_chance(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def _between(interval: Interval) -> str:
    if math.isnan(interval.low):
        return NO_INTERVAL
    low, high = (format_number(100 * x, 1, "+") for x in (interval.low, interval.high))
    return f"95 % interval {low} to {high} points"


# -- confidence, decisions, shift -----------------------------------------------------------------


def describe_calibration(v: Validation) -> str:
    """Say whether stated confidence agrees with accuracy."""
    over = v.overconfidence
    points = format_points(over.value)
    if math.isnan(over.low):
        return f"Confidence and accuracy differ by {points} on average; {NO_INTERVAL}."
    between = f"({_between(over)})"
    if over.low > 0:
        return f"Overconfident: confidence exceeds accuracy by {points} on average {between}."
    if over.high < 0:
        return f"Underconfident: confidence is {points} below accuracy on average {between}."
    return f"Confidence agrees with accuracy, within {points} on average {between}."


def describe_decisions(v: Validation) -> str:
    """Say how many cells are accepted, and how many of these correctly; or that it cannot
    reject."""
    if not v.is_calibrated:
        return "It cannot reject: the bundle was not calibrated, and every cell gets a label."
    correct = v.figures["accuracy_accepted"]
    rightly = "" if math.isnan(correct.value) else f", {format_range(correct)} of these correctly"
    return (
        f"{format_range(v.figures['accepted'])} of the cells are accepted{rightly};"
        f" {format_percent(v.figures['review'].value)} are sent to review,"
        f" {format_percent(v.figures['rejected'].value)} are rejected as unknown."
    )


def describe_coverage(v: Validation) -> str:
    """Say whether the coverage guarantee of the prediction sets is met; "" without sets."""
    found = v.figures.get("coverage")
    if found is None:
        return ""
    met = (
        "it is not met on these cells"
        if found.high < v.nominal_coverage
        else "it is met here"
        if found.low >= v.nominal_coverage
        else "these cells are too few to decide it"
    )
    return (
        f"The prediction set holds the true class for {format_range(found)} of the cells. The"
        f" guarantee is at least {format_percent(v.nominal_coverage)}, on average over calibration"
        f" sets: {met}. Sets hold"
        f" {v.mean_set_size:.2f} classes on average."
    )


def describe_shift(v: Validation) -> str:
    """Say how different the images look."""
    found = v.shift
    if found.status == "no_reference":
        return f"Not compared: {_describe_no_reference(v)}."
    if found.status == "too_few" or found.separation is None:
        return (
            f"Not compared: {format_count(found.n_internal, 'source')} in the reference sample and"
            f" {found.n_external:,} here; {LEAST} on either side are needed."
        )
    size = describe_separation(found.separation.value)
    return (
        f"To the network, the shift of these images is {size}: a classifier that separates them"
        " from the reference sample has an area under the ROC curve of"
        f" {format_figure(found.separation)}, {found.n_external} images against"
        f" {found.n_internal}. Another case mix counts as a shift."
    )


def describe_separation(area: float) -> str:
    """Say how large a shift is by the area under the ROC curve of the classifier.

    >>> describe_separation(0.52), describe_separation(0.97)
    ('not visible', 'nearly complete')
    """
    steps = ((0.6, "not visible"), (0.7, "small"), (0.8, "clear"), (0.95, "large"))
    return next((size for end, size in steps if area < end), "nearly complete")


def describe_effect(effect: float) -> str:
    """Say how large a difference is by Cohen's d (Cohen 1988: 0.2 small, 0.5 medium, 0.8 large).

    >>> describe_effect(-0.1), describe_effect(1.5)
    ('negligible', 'very large')
    """
    steps = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"), (1.2, "large"))
    return next((size for end, size in steps if abs(effect) < end), "very large")


# -- agreement and subgroups ----------------------------------------------------------------------


def describe_weights(v: Validation) -> str:
    """Say what weights kappa."""
    basis, order = v.kappa_weights.basis, v.kappa_weights.order
    if basis == "one_class":
        return "All cells are of one class, where kappa is undefined."
    if basis == "cost":
        return "Kappa is weighted by the cost of each confusion, as the criteria give it."
    if basis == "none":
        return (
            "There is no weighted kappa: these classes have no natural order, and weights along any"
            " list of them would mean nothing. Give `order` or `cost` in the criteria."
        )
    outside = len(v.classes) - len(order)
    rest = f" Confusions with the {outside} other classes count as the worst." if outside else ""
    source = "in the criteria" if basis == "order" else "of maturation"
    return f"Kappa is weighted along the order {source}: {join_labels(order)}.{rest}"


def describe_column(table: SubgroupTable) -> str:
    """Say why a column has no groups, or what to mind about them; "" for nothing."""
    if table.status == "one_value":
        return "All cells have the same value."
    if table.status == "too_many_values":
        return f"{table.n_values:,} different values, more than {MOST_GROUPS}: no grouping."
    return describe_shared_sources(table.n_shared_sources) if table.n_shared_sources else ""


def describe_shared_sources(n: int) -> str:
    """Say that sources lie in several groups."""
    lie = format_count(n, "source lies", "sources lie")
    return f"{lie} in several groups; the differences ignore it."


def describe_groups(table: SubgroupTable) -> str:
    """Say which groups of a column are worse than the rest by more than chance, or else which are
    better; "" for none."""
    worse: list[str] = []
    better: list[str] = []
    for one in table.groups:
        if one.stands_out:
            text = _describe_group(one, one.accuracy, one.difference, "correct")
            (worse if one.difference.value < 0 else better).append(text)
        if one.accepted_stands_out:
            text = _describe_group(one, one.accepted, one.accepted_difference, "accepted")
            (worse if one.accepted_difference.value < 0 else better).append(text)
    found = worse or better
    if not found:
        return ""
    return (
        f"The figures of all cells do not hold for every group by {table.column}:"
        f" {join_words(found)}. Consider each group by its own row."
    )


def _describe_group(one: Subgroup, share: Interval, difference: Interval, done: str) -> str:
    return (
        f"{name_group(one)} ({format_percent(share.value)} {done},"
        f" {format_points(difference.value)} {'less' if difference.value < 0 else 'more'} than the"
        " rest)"
    )


def name_group(one: Subgroup) -> str:
    """Return the value of a group, also where it is blank."""
    return one.value or "(blank)"


# -- recalibration --------------------------------------------------------------------------------


def describe_recalibration(found: Recalibration) -> str:
    """Say what was fitted to half of the cells."""
    if not found.is_fitted:
        return (
            "Nothing was fitted: the half of the cells to fit on has"
            f" {format_count(found.n_fit_sources, 'source')} of known classes, and {LEAST_SOURCES}"
            " are needed."
        )
    return (
        f"New bundle {found.bundle}: fitted on {format_count(found.n_fit, 'cell')} of"
        f" {format_count(found.n_fit_sources, 'source')}, measured on {found.n_test:,} cells of"
        f" {format_count(found.n_test_sources, 'other source')}. The old bundle is unchanged."
    )


def describe_gain(found: Recalibration) -> str:
    """Say whether the new bundle is better on the other half, by the paired gain in log loss; ""
    where nothing was fitted."""
    gain = found.gain_log_loss
    if math.isnan(gain.value):
        return ""
    if math.isnan(gain.low):
        return f"Whether it is better cannot be said: there is {NO_INTERVAL}."
    low, high = sorted((abs(gain.low), abs(gain.high)))
    between = f"(95 % interval {low:.3f} to {high:.3f})"
    if gain.low > 0:
        return f"Better on the other half: log loss falls by {gain.value:.3f} per cell {between}."
    if gain.high < 0:
        return (
            f"Worse on the other half: log loss rises by {-gain.value:.3f} per cell {between}. Keep"
            " the old bundle."
        )
    change, most, least = (format_number(-x, 3, "+") for x in (gain.value, gain.low, gain.high))
    return (
        f"No gain shown on the other half: log loss changes by {change} per cell (95 % interval"
        f" {least} to {most}), which may be chance."
    )


def list_recalibration_notes(found: Recalibration) -> tuple[str, ...]:
    """Return what to mind about a new bundle."""
    notes = tuple(map(describe_note, found.notes))
    if not found.is_fitted or "unknown_accepted" in found.after:
        return notes
    return (
        *notes,
        "There was no cell of an unknown class: how many of them the new thresholds accept was not"
        " measured.",
    )


# -- what to do, what to mind ---------------------------------------------------------------------


def list_limitations(v: Validation) -> tuple[str, ...]:
    """Return what the figures leave open."""
    found = []
    if not v.is_calibrated:
        found.append(
            "The bundle was not calibrated: prediction sets, coverage and rejection cannot be"
            " evaluated. `leukoscope calibrate` on the run and another export add them."
        )
    if v.reference is None:
        found.append(describe_reference(v))
    if v.n_fitted:
        found.append(
            f"{format_count(v.n_fitted, 'cell is', 'cells are')} left out: this bundle was fitted"
            " to them, or to others of their sources."
        )
    found.append(
        "A bundle does not carry its training images: whether some of these cells are among them"
        " cannot be checked here. `leukoscope data audit CATALOG --against OTHER` looks for"
        " duplicates."
    )
    return (*found, *map(describe_note, v.warnings))


def list_advice(v: Validation) -> tuple[str, ...]:
    """Return what to do next, the most urgent first."""
    advice = [*_advise_criteria(v), *_advise_network(v), *_advise_rejection(v), *_advise_cells(v)]
    if v.acceptance == "no_criteria":
        advice.append("Set criteria (`--criteria criteria.toml`) before you see the next cells.")
    if v.acceptance == "pass" and not advice:
        advice.append("Nothing stands against it on these cells. Repeat it when anything changes.")
    return tuple(advice)


def _advise_criteria(v: Validation) -> Iterable[str]:
    missed = [name_criterion(one) for one in v.criteria if one.outcome == "not_met"]
    if missed:
        yield (
            f"Do not rely on it here as it is: {join_words(missed)}"
            f" {'does' if len(missed) == 1 else 'do'} not meet the"
            f" {'criterion' if len(missed) == 1 else 'criteria'}."
        )
    if v.recalibration is not None and v.recalibration.gain_log_loss.high < 0:
        yield f"The recalibrated bundle: {describe_gain(v.recalibration)}"
    open_ = [one for one in v.criteria if one.needed is not None]
    if open_:
        yield (
            f"Label more cells from other patients or slides to decide"
            f" {join_words(map(name_criterion, open_))}: with as many in all as the table says, a"
            " criterion is met in 8 of 10 cases if the true figure is what was found."
            f" {_describe_next(v.look)}"
        )


def _describe_next(look: Look) -> str:
    """How the further cells may be looked at."""
    if look.number < look.planned:
        return "Validate all of them again with `--previous` and the record of this look."
    taken = "One look" if look.planned == 1 else "The last look"
    return (
        f"{taken} was planned, and this is it: validate on that many fresh cells, as a study of"
        " their own. Looking again at these, some more added, meets a criterion by luck more often"
        " than 2.5 % of times, unless `looks` in the criteria plans it before the first look."
    )


def _advise_network(v: Validation) -> Iterable[str]:
    kappa = v.figures["kappa"]
    if not math.isnan(kappa.value) and not kappa.low > 0:
        yield (
            "That it classifies these cells better than chance is not shown: kappa"
            f" {format_figure(kappa)}."
        )
    most, label = max((one.n_images, one.label) for one in v.per_class)
    if v.figures["accuracy"].high < most / v.n_images < 1:
        yield (
            f"Calling every cell {display_label(label)} would be correct for"
            f" {format_percent(most / v.n_images)} of them, more often than the network is."
        )


def _advise_rejection(v: Validation) -> Iterable[str]:
    if not v.is_calibrated:
        return  # what was never calibrated cannot be recalibrated
    rejected, drop = v.figures["rejected"], v.figures.get("accuracy_drop")
    if rejected.value > 0.5:
        start = f"It rejects {format_percent(rejected.value)} of these cells as unlike its training"
        if drop is not None and math.isnan(drop.low):
            yield (
                f"{start}; these cells come from too few sources to say whether it classifies them"
                " worse than the internal test set."
            )
        elif drop is None or drop.low > 0:
            yield (
                f"{start}. Other thresholds do not mend that: train on such images, or bring the"
                " images closer to those of the development site."
            )
        elif v.recalibration is None:
            yield (
                f"{start}, yet classifies them no worse than the internal test set:"
                " `--recalibrate NEW_BUNDLE` fits the thresholds of rejection to half of these"
                " cells and measures the rest."
            )
    elif v.recalibration is None and v.overconfidence.low > 0.02:
        yield (
            "It is overconfident here: `--recalibrate NEW_BUNDLE` fits confidence and thresholds to"
            " half of these cells and measures the gain on the other half."
        )


def _advise_cells(v: Validation) -> Iterable[str]:
    if math.isnan(v.figures["accuracy"].low):
        yield "Label cells of more patients or slides: these are too few for any interval."
    if v.absent:
        critical = [label for label in v.absent if is_critical(label)]
        extra = f" Critical among them: {join_labels(critical)}." if critical else ""
        yield (
            f"There is no cell of {join_labels(v.absent)}, so nothing is known of"
            f" {'its' if len(v.absent) == 1 else 'their'} sensitivity here: add some.{extra}"
        )
    if v.unknown_classes:
        n = sum(one.n_images for one in v.unknown_classes)
        labels = join_labels(one.label for one in v.unknown_classes)
        counts = [one.accepted for one in v.unknown_classes if one.accepted is not None]
        what = (
            f"{sum(counts):,} of them {'was' if sum(counts) == 1 else 'were'} accepted as another"
            " class"
            if counts
            else "each is given another label, for it cannot reject"
        )
        yield (
            f"{format_count(n, 'cell')} of {labels}: a class unknown to the network; {what}. If a"
            " label means a class that it knows, say so under `[labels]` in the criteria."
        )
    yield from filter(None, map(describe_groups, v.subgroups))
    strong = [name_feature(one.name) for one in v.shift.features if abs(one.effect) >= 0.8]
    if strong:
        yield (
            f"The images differ most in {join_words(strong[:3])}: check illumination, white"
            " balance, stain and magnification before anything else."
        )
    if not v.source_known:
        yield (
            "Give the patient or slide of each image in a column `source`: intervals are too narrow"
            " where cells come from the same one."
        )
    if v.n_unlabelled:
        cells = format_count(v.n_unlabelled, "cell without a label is", "cells without a label are")
        yield f"{cells} in no figure."
    broken = len(v.unreadable) - v.n_unlabelled
    if broken:
        files = format_count(broken, "file that cannot be used is", "files that cannot be used are")
        yield f"{files} in no figure."


# -- small words ----------------------------------------------------------------------------------


def name_criterion(one: CriterionResult) -> str:
    """Return the name of a criterion, with its class."""
    name, label = _CRITERIA[one.criterion.key], one.criterion.label
    return f"{name}, {display_label(label)}" if label else name


def describe_threshold(one: CriterionResult) -> str:
    """Return what a criterion asks for."""
    side = "at least" if one.criterion.is_minimum else "at most"
    threshold = one.criterion.threshold
    if one.criterion.figure in _UNITLESS:
        return f"{side} {threshold:g}"
    return f"{side} {100 * threshold:g} %"


def describe_reason(v: Validation, one: CriterionResult) -> str:
    """Say why a criterion is open: how many cells would decide it, or what is missing."""
    if one.needed is not None:
        label = display_label(one.criterion.label)
        which = {
            "sensitivity": f" of the class {label}",
            "specificity": f" of other classes than {label}",
            "accuracy_accepted": " that it accepts",
            "unknown_accepted": " of unknown classes",
        }.get(one.criterion.figure, "")
        return f"about {format_count(one.needed, 'cell')}{which} in all"
    if one.reason == "no_reference":
        return _describe_no_reference(v)
    if one.reason == "not_feasible" and one.criterion.figure == "accuracy_drop":
        return "the internal test set is too small: no feasible number of cells decides it"
    return _REASONS[one.reason]


def format_named(figure: str, interval: Interval) -> str:
    """Return a figure by its kind: shares in per cent, others with three decimals.

    >>> format_named("accuracy", Interval(0.5, 0.4, 0.6))
    '50.0 % (40.0–60.0)'
    >>> format_named("kappa", Interval(0.5, 0.4, 0.6))
    '0.500 (0.400–0.600)'
    """
    return format_figure(interval) if figure in _UNITLESS else format_short(interval)


def join_labels(labels: Iterable[str]) -> str:
    """Return labels as a sentence lists them."""
    return join_words(map(display_label, labels))
