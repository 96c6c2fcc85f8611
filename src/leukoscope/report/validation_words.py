"""A validation in sentences: the answer, what stands behind it, and what to do next.

What this file does not do: it computes nothing and judges no limit (`validation`, `limits`), and
lays nothing out (`validate_page`).
"""

import math

from leukoscope.evaluation.acceptance import Judged, Outcome
from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.shift import word_separation
from leukoscope.evaluation.subgroups import SubgroupTable
from leukoscope.evaluation.validation import Validation
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report.evaluation_page import (
    format_figure,
    format_number,
    format_percent,
    format_range,
    join_limits,
)

OUTCOME_WORDS: dict[Outcome, str] = {
    "pass": "kept",
    "fail": "broken",
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
    "roc_auc": "Area under ROC, mean over classes",
    "ece": "Calibration error",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "coverage": "Coverage of the prediction sets",
    "accepted": "Accepted",
    "review": "Sent to review",
    "rejected": "Rejected as unknown",
    "accuracy_accepted": "Accuracy among accepted",
    "foreign_accepted": "Foreign cells accepted",
}
"""Names of the figures of all cells, in the order of the table."""

_PLAIN = ("kappa", "kappa_linear", "kappa_quadratic", "kappa_cost", "roc_auc", "ece", "brier",
          "log_loss")  # fmt: skip


def word_headline(v: Validation) -> str:
    """Say in one sentence what became of the limits."""
    n = len(v.judged)
    if v.acceptance == "no_limits":
        return "No limits were set, so nothing is passed or failed."
    if v.acceptance == "pass":
        return (
            f"Passed: all {n} limits are kept here." if n > 1 else "Passed: the limit is kept here."
        )
    if v.acceptance == "fail":
        k = sum(one.outcome == "fail" for one in v.judged)
        return f"Not passed: {_of_limits(k, n, 'is broken', 'are broken')} here."
    k = sum(one.outcome == "undecided" for one in v.judged)
    silent = sum(one.outcome == "not_measured" for one in v.judged)
    parts = [f"{_of_limits(k, n, 'needs', 'need')} more cells"] if k else []
    if silent:
        parts.append(
            f"{silent} cannot be measured"
            if k
            else _of_limits(silent, n, *["cannot be measured"] * 2)
        )
    return f"Not decided yet: {', '.join(parts)}."


def _of_limits(k: int, n: int, one: str, several: str) -> str:
    return f"{f'{k} of the {n} limits' if n > 1 else 'the limit'} {one if k == 1 else several}"


def word_accuracy(v: Validation) -> str:
    """Say how many cells are named right, here and at home."""
    text = f"{format_range(v.figures['accuracy'])} of the cells are named right here"
    if v.home is not None:
        text += f"; at home {format_percent(v.home.accuracy.value)}"
    return text + "."


def word_here(v: Validation) -> str:
    """Say on whose blood the figures stand."""
    sources = (
        f"from {v.n_sources:,} source{'s' * (v.n_sources != 1)}"
        if v.source_known
        else "from unknown sources"
    )
    return f"{v.n_images:,} labelled cell{'s' * (v.n_images != 1)} {sources} ({v.data_name})."


def word_home(v: Validation) -> str:
    """Say what home is, and how far its figures can be trusted."""
    if v.home is None:
        return f"Not compared: {v.no_home}."
    home = v.home
    sources = f"{home.n_sources:,} sources" if home.source_known else "unknown sources"
    trust = {
        "disjoint": "",
        "leaking": " Its test images have copies in training, so that the figures of home are"
        " inflated.",
        "local": " They are of the laboratory that its levels were last fitted to; whether training"
        " has seen them, nobody can tell.",
    }.get(home.leakage_status, " Copies between training and test could not be excluded there.")
    return f"{home.n_images:,} test cells from {sources} ({home.data}).{trust}"


def word_mix(v: Validation) -> str:
    """Say how much of the difference to home is another mixture of cells, and how much is beyond
    chance; "" if unknown."""
    if v.home is None or v.accuracy_against_home is None:
        return ""
    difference = v.accuracy_against_home.difference
    text = (
        f"Accuracy is {_points(difference)} {'higher' if difference.value >= 0 else 'lower'} than"
        f" at home ({_between(difference)}){_chance(difference)}."
    )
    if v.expected_accuracy is None or v.recognition is None:
        return f"{text} Not every class that occurs here was measured at home."
    text += (
        " If each kind were named as well as at home,"
        f" {format_percent(v.expected_accuracy.value)} would be right on this mixture of cells"
    )
    mixture, own = v.mixture, v.recognition
    if mixture is not None and _is_beyond_chance(mixture):
        more = "more" if mixture.value > 0 else "less"
        text += f", {_points(mixture)} {more} than at home ({_between(mixture)})"
    if _is_beyond_chance(own):
        return (
            f"{text}; the other {_points(own)} ({_between(own)}) are"
            f" {'better' if own.value > 0 else 'worse'} recognition."
        )
    return f"{text}; what is beyond that ({_between(own)}) may be chance."


def _is_beyond_chance(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def _chance(interval: Interval) -> str:
    return "" if _is_beyond_chance(interval) else ", which may be chance"


def _points(interval: Interval) -> str:
    return f"{format_number(abs(100 * interval.value), 1)} points"


def _between(interval: Interval) -> str:
    low, high = (format_number(100 * x, 1, "+") for x in (interval.low, interval.high))
    return f"95 % interval {low} to {high} points"


def word_calibration(v: Validation) -> str:
    """Say whether the network is as sure as it should be here."""
    over = v.overconfidence
    points = _points(over)
    if math.isnan(over.low):
        return f"Stated confidence and success differ by {points}; one source gives no interval."
    between = f"({_between(over)})"
    if over.low > 0:
        return f"Too sure: on average it states {points} more than it is right {between}."
    if over.high < 0:
        return f"Not sure enough: on average it states {points} less than it is right {between}."
    return f"On average as sure as it is right, within {points} {between}."


def word_decisions(v: Validation) -> str:
    """Say how many cells it accepts, and how often rightly; or that it never rejects."""
    if "accepted" not in v.figures:
        return "It never rejects: the bundle was not calibrated, and every cell gets a name."
    right = v.figures["accuracy_accepted"]
    rightly = "" if math.isnan(right.value) else f", of these {format_range(right)} rightly"
    return (
        f"It accepts {format_range(v.figures['accepted'])} of these cells{rightly};"
        f" {format_percent(v.figures['review'].value)} go to a person,"
        f" {format_percent(v.figures['rejected'].value)} it rejects as unknown."
    )


def word_coverage(v: Validation) -> str:
    """Say whether the promise of the prediction sets holds here; "" for a bundle without sets."""
    found = v.figures.get("coverage")
    if found is None:
        return ""
    size = f" Sets hold {v.set_size:.2f} names on average."
    promised = v.promised_coverage
    if math.isnan(promised):
        return f"The true name is in the set for {format_range(found)}.{size}"
    start = f"Promised for at least {format_percent(promised)}, found for {format_range(found)}."
    if found.high < promised:
        return f"{start} The promise does not hold on these cells.{size}"
    if found.low >= promised:
        return f"{start} It holds here.{size}"
    return f"{start} These cells are too few to tell.{size}"


def word_shift(v: Validation) -> str:
    """Say how different the images look."""
    found = v.shift
    if found.separation is None or found.energy is None:
        return f"Not compared: {found.reason}."
    separation = found.separation
    size = word_separation(separation.value)
    text = (
        f"As the network sees them, the shift of these images is {size}"
        f" (told apart {format_percent(separation.value)}, 95 % interval"
        f" {format_percent(separation.low)} to {format_percent(separation.high)}; energy"
        f" coefficient {found.energy.coefficient:.2f}, p = {found.energy.p_value:.3f},"
        f" {found.energy.n_home} against {found.energy.n_here} images)."
    )
    if not found.matched:
        text += " Another mixture of cells counts as a difference here."
    return text


def word_groups(table: SubgroupTable) -> str:
    """Say which groups of a column are worse than the rest by more than chance, or else which are
    better; "" for none."""
    told: dict[bool, list[str]] = {True: [], False: []}
    for one in table.groups:
        for figure, difference, stands_out, done in (
            (one.accuracy, one.difference, one.stands_out, "named right"),
            (one.accepted, one.accepted_difference, one.accepted_stands_out, "accepted"),
        ):
            if stands_out:
                told[difference.value < 0].append(
                    f"{one.value} ({format_percent(figure.value)} {done},"
                    f" {abs(100 * difference.value):.1f} points"
                    f" {'less' if difference.value < 0 else 'more'} than the rest)"
                )
    found = told[True] or told[False]
    if not found:
        return ""
    return (
        f"The figures of all cells do not hold for every group by {table.column}:"
        f" {_join(found)}. Judge each group by its own row."
    )


def list_advice(v: Validation) -> tuple[str, ...]:
    """Return what to do next, the most urgent first."""
    advice: list[str] = []
    broken = [one.limit.name for one in v.judged if one.outcome == "fail"]
    if broken:
        advice.append(
            f"Do not rely on it here as it is: {_join(broken)} {_does(broken)} not keep"
            f" the limit{'s' * (len(broken) > 1)}."
        )
    if v.recalibration is not None and v.recalibration.gain_log_loss.high < 0:
        advice.append(
            f"The new bundle, fitted to half of these cells: {word_gain(v.recalibration)}"
        )
    for one in v.judged:
        if one.outcome == "undecided" and one.needed is not None:
            advice.append(
                f"{one.limit.name}: label {word_needed(one)} to decide it, if the figure stays as"
                " it is."
            )
        elif one.outcome == "undecided":
            advice.append(f"{one.limit.name}: {one.reason}.")
        elif one.outcome == "not_measured":
            advice.append(f"{one.limit.name} cannot be judged: {one.reason}.")
    kappa = v.figures["kappa"]
    if kappa.low <= 0:
        advice.append(
            "That it names these cells better than chance would is not shown: kappa"
            f" {format_figure(kappa)}."
        )
    most, name = max((one.n_images, one.name) for one in v.per_class)
    if v.figures["accuracy"].high < most / v.n_images < 1:
        advice.append(
            f"Calling every cell {display_label(name)} would be right for"
            f" {format_percent(most / v.n_images)} of them, more often than the network is."
        )
    rejected = v.figures.get("rejected")
    drop = v.figures.get("accuracy_drop")
    shifted = rejected is not None and rejected.value > 0.5
    if rejected is not None and shifted:
        start = (
            f"It rejects {format_percent(rejected.value)} of these cells, as unlike those it knows"
        )
        if drop is not None and not drop.low > 0:
            if v.recalibration is None:
                advice.append(
                    f"{start}, yet names them no worse than at home: `--recalibrate NEW_BUNDLE`"
                    " fits the limits of rejection to half of these cells and measures the rest."
                )
        else:
            advice.append(
                f"{start}. Other limits do not mend that: train on such pictures, or bring the"
                " pictures closer to those of home."
            )
    if v.absent:
        critical = [name for name in v.absent if is_critical(name)]
        extra = f" Critical among them: {_join_labels(critical)}." if critical else ""
        advice.append(
            f"No cell of {_join_labels(v.absent)} is here, so nothing is known of how well"
            f" {'it is' if len(v.absent) == 1 else 'they are'} found: add some.{extra}"
        )
    if v.foreign:
        n = sum(one.n_images for one in v.foreign)
        names = [one.name for one in v.foreign]
        count = [one.accepted for one in v.foreign if one.accepted is not None]
        what = (
            f"; {sum(count):,} of them {'was' if sum(count) == 1 else 'were'} accepted under"
            " another name"
            if count
            else "; it gives each another name and cannot reject"
        )
        advice.append(
            f"{n:,} cell{'s' * (n != 1)} of {_join_labels(names)}: the network has no such"
            f" name{what}. If a name means a class it has, say so under `[labels]` in the limits."
        )
    # A bundle that was never calibrated cannot be calibrated again.
    again = rejected is not None and not shifted and v.recalibration is None
    if again and v.overconfidence.low > 0.02:
        advice.append(
            "It is too sure of itself here: `--recalibrate NEW_BUNDLE` fits confidence and limits"
            " to half of these cells and measures the gain on the other half."
        )
    advice += filter(None, map(word_groups, v.subgroups))
    strong = [one for one in v.shift.features if abs(one.effect) >= 0.8]
    if strong:
        names = [one.name.replace("_", " ") for one in strong[:3]]
        advice.append(
            f"The pictures differ most in {_join(names)}: check illumination, white balance, stain"
            " and magnification before anything else."
        )
    if not v.source_known:
        advice.append(
            "Give the patient or slide of each image in a column `source`: intervals are too narrow"
            " where cells come from the same one."
        )
    if v.n_unlabelled:
        n = v.n_unlabelled
        advice.append(f"{n:,} cell{'s' * (n != 1)} without a label {_are(n)} in no figure.")
    if len(v.unreadable) > v.n_unlabelled:
        n = len(v.unreadable) - v.n_unlabelled
        advice.append(f"{n:,} file{'s' * (n != 1)} could not be used and {_are(n)} in no figure.")
    if v.acceptance == "no_limits":
        advice.append("Set limits (`--limits limits.toml`) before you look at the next cells.")
    if v.acceptance == "pass" and not advice:
        advice.append("Nothing stands against it on these cells. Repeat it when anything changes.")
    return tuple(advice)


def word_recalibration(found: Recalibration) -> tuple[str, ...]:
    """Say what was fitted to half of the cells, with its notes."""
    if found.reason:
        return (f"Nothing was fitted: {found.reason}.",)
    start = (
        f"Fitted on {found.n_fit:,} cells of {found.n_fit_sources:,} sources, measured on"
        f" {found.n_judged:,} others of {found.n_judged_sources:,} other sources."
    )
    return (start, word_gain(found), *found.notes)


def word_gain(found: Recalibration) -> str:
    """Say whether the new bundle is better on the held-out half, by the paired gain in log loss;
    "" where nothing was fitted."""
    gain = found.gain_log_loss
    if math.isnan(gain.value):
        return ""
    if math.isnan(gain.low):
        return "Whether it is better cannot be said: one source gives no interval."
    low, high = sorted((abs(gain.low), abs(gain.high)))
    between = f"(95 % interval {low:.3f} to {high:.3f})"
    if gain.low > 0:
        return f"Better on the other half: log loss falls by {gain.value:.3f} a cell {between}."
    if gain.high < 0:
        return (
            f"Worse on the other half: log loss rises by {-gain.value:.3f} a cell {between}. Keep"
            " the old bundle."
        )
    change, most, least = (format_number(-x, 3, "+") for x in (gain.value, gain.low, gain.high))
    return (
        f"No gain shown on the other half: log loss changes by {change} a cell (95 % interval"
        f" {least} to {most}), which may be chance."
    )


def list_gains(found: Recalibration | None) -> list[tuple[str, str, str]]:
    """Return figures on the held-out half: name, before, after."""
    if found is None:
        return []
    return [
        (
            FIGURE_NAMES.get(name, name),
            format_named(name, before),
            format_named(name, found.after[name]),
        )
        for name, before in found.before.items()
        if name in found.after
    ]


# -- small words ----------------------------------------------------------------------------------


def format_named(name: str, interval: Interval) -> str:
    """Return a figure by its kind: shares in per cent, others with three decimals.

    >>> format_named("accuracy", Interval(0.5, 0.4, 0.6))
    '50.0 % (40.0–60.0)'
    >>> format_named("kappa", Interval(0.5, 0.4, 0.6))
    '0.500 (0.400–0.600)'
    """
    if name in (*_PLAIN, "weighted_kappa"):
        return format_figure(interval)
    return f"{format_short(interval)}"


def format_short(interval: Interval) -> str:
    """Return a share in per cent with its limits in brackets.

    >>> format_short(Interval(-0.0, -0.052, 0.1))
    '0.0 % (−5.2 to 10.0)'
    """
    if math.isnan(interval.value):
        return "–"
    if math.isnan(interval.low):
        return format_percent(interval.value)
    limits = join_limits(100 * interval.low, 100 * interval.high, 1)
    return f"{format_percent(interval.value)} ({limits})"


def format_signed(interval: Interval) -> str:
    """Return a difference of shares in points, signed, with its limits.

    >>> format_signed(Interval(-0.0001, -0.2, 0.1))
    '+0.0 (−20.0 to +10.0)'
    """
    if math.isnan(interval.value):
        return "–"
    value, low, high = (
        format_number(100 * x, 1, "+") for x in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def format_wanted(one: Judged) -> str:
    """Return what a limit asks for, in words."""
    side = "at least" if one.limit.side == "min" else "at most"
    plain = one.limit.figure in (*_PLAIN, "weighted_kappa")
    return f"{side} {one.limit.wanted:g}" if plain else f"{side} {100 * one.limit.wanted:g} %"


def word_needed(one: Judged) -> str:
    """Say how many more cells would decide a limit; "" if nobody knows."""
    if one.needed is None:
        return ""
    cells = f"about {one.needed:,} more cell{'s' * (one.needed != 1)}{_of_class(one)}"
    return f"{cells} from other patients or slides"


def _of_class(one: Judged) -> str:
    kind, _, name = one.limit.figure.partition("/")
    if kind == "recall":
        return f" of the class {display_label(name)}"
    if kind == "specificity":
        return f" of other classes than {display_label(name)}"
    return " that it accepts" if kind == "accuracy_accepted" else ""


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _join_labels(names: tuple[str, ...] | list[str]) -> str:
    return _join([display_label(name) for name in names])


def _does(names: list[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
