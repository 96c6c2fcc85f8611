"""The report of one evaluation: a self-contained HTML page, a plain text, and the JSON of figures.

All three say the same facts, the trust in the number before the number's details. What this
file does not do: it computes nothing and decides no leakage_status; it words what it is given.
"""

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from leukoscope.errors import DataError
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report.pages import DISCLAIMER, render_page
from leukoscope.report.trust_words import (
    CALIBRATION_WORDS,
    TrustReport,
    format_share,
    list_trust_rows,
    word_rejection,
    word_sureness,
)
from leukoscope.scores import LeakageStatus

LEAKAGE_TITLES: dict[LeakageStatus, str] = {
    "disjoint": "Measured on sources the network has never seen",
    "unproven": "Copies between training and test cannot be excluded",
    "suspect": "These numbers are probably inflated",
    "leaking": "These numbers are inflated",
}

LEAKAGE_TEXTS: dict[LeakageStatus, str] = {
    "disjoint": "No source of the test images occurs in training. The figures say what to expect"
    " on other images from the same kind of source.",
    "unproven": "The sources of the images are not known. If copies of"
    " one cell lie in training and in test, the network has seen the answers.",
    "suspect": "The split ignores sources, and a method far too simple to know cells does as well"
    " as the network. That is the sign of copies of one cell in training and in test.",
    "leaking": "Images with a copy in training test only the network's memory: the same cell,"
    " perhaps turned or shifted, was among those it learned from, as if the questions of an"
    " examination had been handed out before. Only images without a copy show whether it can name"
    " cells it has never seen: judge it by their figure alone.",
}

_LEVELS: dict[LeakageStatus, str] = {
    "disjoint": "good",
    "unproven": "caution",
    "suspect": "bad",
    "leaking": "bad",
}

BASELINE_NAMES = {
    "majority": "Majority class",
    "colour_histogram": "Colour histogram",
    "nearest_neighbour": "Nearest neighbour",
}
"""How the baselines of `baselines` are shown."""

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "F1, mean over classes",
    "weighted_f1": "F1, weighted by class size",
    "macro_precision": "Precision (PPV), mean over classes",
    "weighted_precision": "Precision (PPV), weighted",
    "macro_recall": "Recall (sensitivity), mean over classes",
    "weighted_recall": "Recall (sensitivity), weighted",
    "mcc": "Matthews correlation (MCC)",
    "kappa": "Cohen's kappa",
    "roc_auc": "Area under ROC, mean over classes",
    "pr_auc": "Average precision, mean over classes",
    "log_loss": "Log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece": "Calibration error (lower is better)",
}

CLASS_METRIC_NAMES = {
    "recall": "Sensitivity",
    "precision": "PPV",
    "specificity": "Specificity",
    "f1": "F1",
    "roc_auc": "ROC area",
    "pr_auc": "Average precision",
}
"""Figures of one class in the order of the table."""

_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("per_class", "", ("per_class",)),
    (
        "confusion",
        "Each row is what the cells are, each column what the network called them. A perfect"
        " network fills the diagonal only.",
        ("confusion",),
    ),
    (
        "samples",
        "Look at the mistakes first: the ones the network is most sure of tell most.",
        ("confident_wrong", "unsure_right", "confident_right"),
    ),
    (
        "curves",
        "How sensitivity is traded against false alarms, and against precision, as the threshold"
        " for one class moves.",
        ("roc", "pr"),
    ),
    (
        "confidence",
        "How sure the network says it is, against how often it is right. Points below the diagonal:"
        " surer than it should be. Above: less sure than it could be.",
        ("reliability", "probabilities"),
    ),
    ("training", "How loss and accuracy moved during training.", ("training_curves",)),
)

_TRUST_FIGURES = ("risk_coverage", "reliability_both", "coverage")
"""Figures of the section on rejections."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Accuracy", "The share of all test images that got the right name."),
    (
        "95 % interval",
        "If the test were repeated on other sources of the same kind, the interval would hold the"
        " true figure in about 95 of 100 repeats. Few sources give wide intervals. It does not"
        " cover other laboratories, stains or scanners.",
    ),
    (
        "Source",
        "Where images come from together: a patient, a slide, a field, an original that was copied."
        " Images of one source are not independent evidence.",
    ),
    ("Sensitivity (recall)", "Of all cells of this kind, the share that was found."),
    (
        "PPV (precision)",
        "Of all cells called by this name, the share that really was. It depends on how common"
        " each kind is in the test set.",
    ),
    ("Specificity", "Of all other cells, the share that was not called by this name."),
    ("F1", "One number for sensitivity and PPV together (their harmonic mean)."),
    ("Balanced accuracy", "The mean of the sensitivities: each kind counts alike, rare or not."),
    (
        "Kappa, MCC",
        "Agreement beyond what chance alone would give: 0 is chance, 1 is perfect.",
    ),
    (
        "ROC area",
        "The chance that a cell of the kind is ranked above another cell: 0.5 is a coin, 1 is"
        " perfect.",
    ),
    (
        "Calibration error",
        "How far stated confidence and real success lie apart: at 0, cells named with 90 %"
        " confidence are right 90 times in 100.",
    ),
    (
        "Accepted, review, unknown",
        "What becomes of a cell: its name is accepted; or a person looks, because two names fit,"
        " confidence is low or the image is poor; or it is unlike anything in training.",
    ),
    (
        "Set of names, coverage",
        "Instead of one name, all names that fit. Coverage is the share of cells whose set holds"
        " the right one; it is promised for cells of the same kind as those of calibration only.",
    ),
    (
        "Baseline",
        "What a method reaches that knows nothing of cells. A network has to be clearly better"
        " to have shown anything.",
    ),
    (
        "Leak",
        "The same cell, or a copy of it, in training and in test. The network then repeats what"
        " it was told.",
    ),
)


@dataclass(frozen=True)
class ClassCount:
    """One class of the test set: its name, and how many images and sources it has there."""

    name: str
    n_images: int
    n_sources: int


@dataclass(frozen=True)
class Comparison:
    """Another evaluation of the same network; `note` says what it means. `leaked` marks a figure
    that counts images with a copy in training."""

    name: str
    accuracy: Interval
    n_images: int
    note: str
    leaked: bool = False


@dataclass(frozen=True)
class Leak:
    """How many judged images have a copy in training, and the figures without these images.

    `n_images` and `n_sources` count the images without a copy. `figures` holds what
    `compute_intervals` finds on them, `baselines` the accuracy of each baseline; both are empty
    where such images are too few, and then `reason` says so.
    """

    n_with_copy: int
    n_images: int
    n_sources: int
    figures: Mapping[str, Interval] = field(default_factory=dict)
    baselines: Mapping[str, Interval] = field(default_factory=dict)
    reason: str = ""

    @property
    def accuracy(self) -> Interval | None:
        """Accuracy on the images without a copy; None where there are too few."""
        return self.figures.get("accuracy")


@dataclass(frozen=True)
class ReportContent:
    """Everything a report says.

    `intervals` is what `compute_intervals` returns, `per_class` and the rows and columns of
    `confusion` are its classes in order. `figures` maps the names below to (PNG bytes or SVG
    text, alternative text); other names are shown at the end. Known names: `headline`,
    `per_class`, `confusion`, `confident_wrong`, `unsure_right`, `confident_right`, `roc`, `pr`,
    `reliability`, `probabilities`, `training_curves`. `leakage_sentences` are the findings behind
    the leakage_status, with counts. `compare` lists all evaluations of the network, this one too.
    `leak` is there exactly where the leakage_status is `leaking`: no accuracy of such a split
    stands alone. `trust` is there where the run was calibrated. `persons_unknown`: sources were
    found in the pixels, so that each is one picture, and nobody knows whose blood it shows.

    Raises `DataError` if the confusion matrix does not fit the classes, a class has no figures, or
    leakage_status and `leak` disagree.
    """

    title: str
    data_name: str
    role: str
    n_images: int
    n_sources: int
    source_known: bool
    protocol: str
    leakage_status: LeakageStatus
    intervals: Mapping[str, Interval]
    per_class: tuple[ClassCount, ...]
    confusion: tuple[tuple[int, ...], ...]
    leakage_sentences: tuple[str, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    figures: Mapping[str, tuple[bytes | str, str]] = field(default_factory=dict)
    compare: tuple[Comparison, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    leak: Leak | None = None
    trust: TrustReport | None = None
    persons_unknown: bool = False

    def __post_init__(self) -> None:
        if (self.leakage_status == "leaking") != (self.leak is not None):
            raise DataError(
                "a leaking split, and no other, is reported with what leaks",
                f"leakage_status {self.leakage_status}, {'no ' * (self.leak is None)}leak",
                "pass the images with a copy in training to `write_evaluation`",
            )
        k = len(self.per_class)
        shape = [len(row) for row in self.confusion]
        if shape != [k] * k:
            raise DataError(
                f"the confusion matrix of {k} classes must have {k} rows of {k}",
                f"rows of {shape}",
                "pass the confusion of the same classes",
            )
        wanted = list(OVERALL) + [f"{m}/{c.name}" for c in self.per_class for m in PER_CLASS]
        missing = [name for name in wanted if name not in self.intervals]
        if missing:
            raise DataError(
                "a report needs every figure of merit",
                f"{len(missing)} missing, the first is {missing[0]}",
                "pass the result of compute_intervals for the same classes",
            )


def list_filters() -> dict[str, Callable[..., object]]:
    """Return the filters that show figures in a template."""
    return {
        "percent": format_percent,
        "figure": format_figure,
        "critical": is_critical,
        "range": _format_short_range,
        "share": format_share,
    }


def render_report(content: ReportContent) -> str:
    """Render the report as one HTML page that needs no other file, no network and no script.

    All text of `content` is escaped: class names are what users made of them.
    """
    known = {"headline", *_TRUST_FIGURES}
    known |= {name for _, _, names in _SECTIONS for name in names}
    return render_page(
        "report.html.j2",
        list_filters(),
        baseline_names=BASELINE_NAMES,
        c=content,
        headline=_word_headline(content),
        answers=list_answers(content),
        trust=content.trust,
        trust_figures=_TRUST_FIGURES,
        trust_rows=list_trust_rows(content.trust) if content.trust else (),
        calibrated=CALIBRATION_WORDS[content.trust.info.policy.calibration.method]
        if content.trust
        else "",
        leak_basis=word_leak_basis(content.leak, content.n_images, content.source_known)
        if content.leak
        else (),
        without=content.leak.figures if content.leak else {},
        basis=_word_basis(content),
        leakage_title=LEAKAGE_TITLES[content.leakage_status],
        leakage_text=LEAKAGE_TEXTS[content.leakage_status],
        leakage_level=_LEVELS[content.leakage_status],
        added=_word_added(content),
        metric_names=METRIC_NAMES,
        class_metric_names=CLASS_METRIC_NAMES,
        images={name: (embed_image(image), alt) for name, (image, alt) in content.figures.items()},
        sections={key: (text, names) for key, text, names in _SECTIONS},
        further=[name for name in content.figures if name not in known],
        glossary=GLOSSARY,
    )


def render_text(content: ReportContent) -> str:
    """Render the same facts as aligned plain text, for `model_evaluation_results.txt`."""
    lines = [content.title, "=" * len(content.title), DISCLAIMER, ""]
    lines += [LEAKAGE_TITLES[content.leakage_status].upper(), LEAKAGE_TEXTS[content.leakage_status]]
    lines += [f"- {sentence}" for sentence in content.leakage_sentences]
    lines += ["", _word_headline(content), *_word_leak(content), _word_basis(content)]
    for question, sentences in list_answers(content)[1:]:
        lines.append(f"{question} {' '.join(sentences)}")
    if content.baselines:
        lines.append(_word_added(content))
    if content.warnings:
        lines += head_lines("Warnings") + [f"- {warning}" for warning in content.warnings]
    if content.leak and content.leak.figures:
        lines += head_lines("Figures on the images without a copy in training, with 95 % intervals")
        lines += _tabulate(content.leak.figures)
    lines += head_lines(f"Figures, each with its 95 % interval{_mark(content)}")
    lines += _tabulate(content.intervals)
    rows = []
    for count in content.per_class:
        sources = f"{count.n_sources:,}" if content.source_known else "unknown"
        row = [display_label(count.name), f"{count.n_images:,}", sources]
        rows.append(
            row
            + [format_figure(content.intervals[f"{m}/{count.name}"]) for m in CLASS_METRIC_NAMES]
        )
    lines += head_lines(f"Each class{_mark(content)}") + align_columns(
        rows, ["", "images", "sources", *CLASS_METRIC_NAMES.values()]
    )
    if content.trust:
        lines += _tabulate_trust(content.trust)
    names = [display_label(count.name) for count in content.per_class]
    lines += head_lines(f"Confusion matrix (rows: true, columns: predicted){_mark(content)}")
    lines += align_columns(
        [[n, *(str(x) for x in row)] for n, row in zip(names, content.confusion, strict=True)],
        ["", *names],
    )
    if content.baselines:
        lines += head_lines(
            f"Baselines: what methods reach that know nothing of cells{_mark(content)}"
        )
        lines += align_columns(
            [
                [
                    BASELINE_NAMES.get(name, name),
                    *format_cells(baseline.accuracy),
                    baseline.description,
                ]
                for name, baseline in content.baselines.items()
            ],
            ["", "accuracy", "low", "high", ""],
        )
    if content.leak and content.leak.baselines:
        lines += head_lines("Baselines on the images without a copy in training")
        lines += align_columns(
            [
                [BASELINE_NAMES.get(name, name), *format_cells(x)]
                for name, x in content.leak.baselines.items()
            ],
            ["", "accuracy", "low", "high"],
        )
    if content.compare:
        lines += head_lines("The same network, evaluated in other ways")
        lines += align_columns(
            [
                [
                    f"{x.name}{' (leaked)' * x.leaked}",
                    f"{x.n_images:,}",
                    *format_cells(x.accuracy),
                    x.note,
                ]
                for x in content.compare
            ],
            ["", "images", "accuracy", "low", "high", ""],
        )
    if content.provenance:
        lines += head_lines("Provenance") + align_columns(
            [list(x) for x in content.provenance.items()], None
        )
    return "\n".join(line.rstrip() for line in [*lines, "", DISCLAIMER]) + "\n"


def metrics_to_json(content: ReportContent) -> dict[str, object]:
    """Return what `metrics.json` holds: only numbers, strings, lists and None, never NaN.

    The figures of `metrics.OVERALL` stand at the top level, each as `{"value", "low", "high"}`.
    Where copies lie in training, each figure of the network or a baseline that counts them says
    `"leaked": true`, and `accuracy` holds what is left without them.
    """
    found = content.intervals
    leak = content.leak
    leaked = {"leaked": True} if leak else {}
    overall: dict[str, dict[str, object]] = {
        name: {**found[name].to_dict(), **leaked} for name in OVERALL
    }
    if leak:
        overall["accuracy"] |= {
            "n_with_copy_in_training": leak.n_with_copy,
            "source_disjoint": {
                **{name: leak.figures[name].to_dict() for name in OVERALL},
                "n_images": leak.n_images,
                "n_sources": leak.n_sources,
                "baselines": {
                    name: baseline.to_dict() for name, baseline in leak.baselines.items()
                },
            }
            if leak.figures
            else None,
            "source_disjoint_reason": leak.reason or None,
        }
    return {
        **overall,
        "trust": trust_to_json(content.trust) if content.trust else None,
        "per_class": {
            count.name: {
                **{m: {**found[f"{m}/{count.name}"].to_dict(), **leaked} for m in PER_CLASS},
                "n_images": count.n_images,
                "n_sources": count.n_sources,
            }
            for count in content.per_class
        },
        "classes": [count.name for count in content.per_class],
        "confusion": [list(row) for row in content.confusion],
        "data": content.data_name,
        "role": content.role,
        "protocol": content.protocol,
        "n_images": content.n_images,
        "n_sources": content.n_sources,
        "source_known": content.source_known,
        "leakage_status": content.leakage_status,
        "leakage_sentences": list(content.leakage_sentences),
        "persons_unknown": content.persons_unknown,
        "warnings": list(content.warnings),
        "baselines": {
            name: {
                "accuracy": {**baseline.accuracy.to_dict(), **leaked},
                "balanced_accuracy": None
                if math.isnan(baseline.balanced_accuracy)
                else baseline.balanced_accuracy,
                "description": baseline.description,
            }
            for name, baseline in content.baselines.items()
        },
        "compare": [
            {
                "name": other.name,
                "accuracy": {
                    **other.accuracy.to_dict(),
                    **({"leaked": True} if other.leaked else {}),
                },
                "n_images": other.n_images,
                "note": other.note,
            }
            for other in content.compare
        ],
    }


def trust_to_json(trust: TrustReport) -> dict[str, object]:
    """Return what `metrics.json` says of calibration and decisions."""
    coverage = trust.coverage
    return {
        "shares": {name: share.to_dict() for name, share in trust.decisions.shares.items()},
        "accepted_accuracy": trust.decisions.accepted_accuracy.to_dict(),
        "per_class": {
            own.name: {
                "n_images": own.n_images,
                "accepted": own.accepted.to_dict(),
                "accepted_accuracy": own.accepted_accuracy.to_dict(),
                "missed": own.missed,
            }
            for own in trust.decisions.per_class
        },
        "reasons": dict(trust.decisions.reasons),
        "before_calibration": {name: x.to_dict() for name, x in trust.before.items()},
        "after_calibration": {name: x.to_dict() for name, x in trust.after.items()},
        "coverage": coverage.to_dict(),
        "alpha": trust.info.asked.alpha,
        "cautions": list(trust.cautions),
        "foreign": list(trust.foreign),
        "notes": list(trust.info.notes),
    }


def format_percent(value: float) -> str:
    """Return a share in per cent with one decimal; 100.0 and 0.0 only where they are exact.

    >>> format_percent(0.9379), format_percent(0.99996), format_percent(1.0), format_percent(-0.0)
    ('93.8 %', '>99.9 %', '100.0 %', '0.0 %')
    """
    if math.isnan(value):
        return "–"
    text = format_number(100 * value, 1)
    if text == "100.0" and value < 1:
        return ">99.9 %"
    if text == "0.0" and value > 0:
        return "<0.1 %"
    return f"{text} %"


def format_figure(interval: Interval) -> str:
    """Return a figure with three decimals and its interval, dashes for what is undefined.

    >>> format_figure(Interval(0.5, 0.41234, 0.6))
    '0.500 (0.412–0.600)'
    >>> format_figure(Interval(0.1, -0.2, 0.4))
    '0.100 (−0.200 to 0.400)'
    """
    if math.isnan(interval.value):
        return "–"
    value = format_number(interval.value, 3)
    if math.isnan(interval.low):
        return f"{value} (–)"
    return f"{value} ({join_limits(interval.low, interval.high, 3)})"


def format_number(value: float, digits: int, sign: str = "") -> str:
    """Return a number with so many decimals and a true minus, never `−0.0`; `+` signs all.

    >>> format_number(-0.04, 1), format_number(-2.5, 1), format_number(-0.04, 1, "+")
    ('0.0', '−2.5', '+0.0')
    """
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def join_limits(low: float, high: float, digits: int) -> str:
    """Return two limits with a dash, or with `to` where a dash would look like a minus."""
    between = " to " if low < 0 else "–"
    return f"{format_number(low, digits)}{between}{format_number(high, digits)}"


def format_range(interval: Interval) -> str:
    """Return a share in per cent with its interval.

    >>> format_range(Interval(0.931, 0.8604, 0.97))
    '93.1 % (95 % interval 86.0 % to 97.0 %)'
    """
    low, high = format_percent(interval.low), format_percent(interval.high)
    return f"{format_percent(interval.value)} (95 % interval {low} to {high})"


def format_cells(interval: Interval) -> list[str]:
    """Return value, low and high for a plain table; dashes for what is undefined."""
    values = (interval.value, interval.low, interval.high)
    return ["–" if math.isnan(x) else f"{x:.4f}" for x in values]


def _per_hundred(*values: float) -> list[str]:
    """Word shares as so many of 100, all with a decimal where one of them needs it: `100` and `0`
    stand only where they are exact."""
    if all(f"{100 * x:.0f}" not in ("0", "100") or x in (0, 1) for x in values):
        return [f"{100 * x:.0f}" for x in values]
    return [
        f"{x:.0f}" if x in (0, 100) else f"{min(99.9, max(0.1, x)):.1f}"
        for x in (100 * v for v in values)
    ]


def _word_headline(content: ReportContent) -> str:
    accuracy = content.leak.accuracy if content.leak else content.intervals["accuracy"]
    if accuracy is None:
        return "These images cannot show how the network does on cells it has never seen."
    value, low, high = _per_hundred(accuracy.value, accuracy.low, accuracy.high)
    unseen = " among those without a copy in training" if content.leak else ""
    return f"{value} of 100 cells named right{unseen}, 95 % interval {low} to {high}."


def _word_leak(content: ReportContent) -> tuple[str, ...]:
    """Both figures of a leaking split, one line each; nothing for any other split."""
    if content.leak is None:
        return ()
    return word_leak(
        content.leak, content.intervals["accuracy"], content.n_images, content.source_known
    )


def word_leak(leak: Leak, leaked: Interval, n_images: int, source_known: bool) -> tuple[str, ...]:
    """Say both accuracies of a leaking split, a line each: the leaked one on all images, and the
    one without copies, or why there is none and what to do."""
    basis, rest = word_leak_basis(leak, n_images, source_known)
    if leak.accuracy is not None:
        rest = f"{format_range(leak.accuracy)} on {rest}"
    return (f"Leaked: {format_range(leaked)} on {basis}", f"Without copies: {rest}")


def word_leak_basis(leak: Leak, n_images: int, source_known: bool) -> tuple[str, str]:
    """Say on which images either accuracy of a leaking split stands, or why one is missing."""
    basis = f"all {n_images:,} images, {leak.n_with_copy:,} of them with a copy in training."
    if leak.accuracy is None:
        return basis, f"no figure, since {leak.reason}."
    if source_known:
        plural = "s" * (leak.n_sources != 1)
        return basis, f"{leak.n_images:,} images of {leak.n_sources:,} source{plural}."
    return basis, (
        f"{leak.n_images:,} images. Not all sources are known, so that other copies may hide among"
        " them; `leukoscope data sources` finds copies in the pixels."
    )


def _mark(content: ReportContent) -> str:
    """What a heading adds where the figures below it count copies."""
    return ": all images, LEAKED" if content.leak else ""


def _tabulate_trust(trust: TrustReport) -> list[str]:
    """Decisions by kind of cell, and calibration before and after, in plain text."""
    rows = [
        [
            display_label(own.name),
            f"{own.n_images:,}",
            format_figure(own.accepted),
            format_figure(own.accepted_accuracy),
            f"{own.missed:,}",
        ]
        for own in trust.decisions.per_class
    ]
    columns = ["", "images", "accepted", "right of these", "under another name"]
    lines = head_lines("Accepted cells") + align_columns(rows, columns)
    lines += [f"Not accepted: {count:,} {reason}" for reason, count in trust.decisions.reasons]
    rows = [[name, format_figure(a), format_figure(b)] for name, a, b in list_trust_rows(trust)]
    lines += head_lines("Calibration") + align_columns(rows, ["", "before", "after"])
    return lines + [f"- {note}" for note in trust.info.notes]


def _tabulate(figures: Mapping[str, Interval]) -> list[str]:
    rows = [[METRIC_NAMES[name], *format_cells(figures[name])] for name in OVERALL]
    return align_columns(rows, ["", "value", "low", "high"])


def _word_basis(content: ReportContent) -> str:
    sources = (
        f"from {content.n_sources:,} source{'s' * (content.n_sources != 1)}"
        if content.source_known
        else "from unknown sources"
    )
    told = (
        f"{content.n_images:,} cell image{'s' * (content.n_images != 1)} {sources}"
        f" ({content.data_name}, role “{content.role}”, split “{content.protocol}”)."
    )
    if content.persons_unknown:
        told += " A source is one picture here; how many persons gave blood is not recorded."
    return told


def list_answers(content: ReportContent) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Answer what a reader asks before believing a figure: (question, sentences), three of them.

    How good stands above them, as the figure itself.
    """
    trust = content.trust
    kinds = ", ".join(display_label(count.name) for count in content.per_class if count.n_images)
    blood = (
        _word_basis(content),
        f"Kinds of cell: {kinds}.",
        f"{LEAKAGE_TITLES[content.leakage_status]}.",
    )
    if trust is None:
        sure: tuple[str, ...] = (
            "Not calibrated: stated confidence may be far from real success.",
            "`leukoscope calibrate` sets that right.",
        )
        rejects: tuple[str, ...] = (
            "Never: every cell gets a name, however strange it is.",
            "`leukoscope calibrate` sets limits.",
        )
    else:
        sure, rejects = word_sureness(trust), word_rejection(trust)
    return (("On whose blood?", blood), ("How sure?", sure), ("When does it reject?", rejects))


def _word_added(content: ReportContent) -> str:
    """Say what the network adds over the best baseline, and whether the intervals keep apart."""
    if not content.baselines:
        return ""
    network = content.intervals["accuracy"]
    baselines = {name: baseline.accuracy for name, baseline in content.baselines.items()}
    where = "The"
    if content.leak:
        where = "On all images, those with a copy in training among them, the"
        if content.leak.accuracy is not None and content.leak.baselines:
            network, baselines = content.leak.accuracy, dict(content.leak.baselines)
            where = "On the images without a copy in training, the"
    name, best = max(baselines.items(), key=lambda item: item[1].value)
    points = 100 * (network.value - best.value)
    shown = f"the best baseline ({BASELINE_NAMES.get(name, name)}, {format_percent(best.value)})"
    if network.low > best.high:
        return f"{where} network is {points:.1f} points better than {shown}."
    if network.high < best.low:
        return f"{where} network is {-points:.1f} points worse than {shown}."
    side = "above" if points >= 0 else "below"
    return (
        f"{where} network lies {abs(points):.1f} points {side} {shown};"
        " the intervals overlap, so on these images the difference is uncertain."
    )


def _format_short_range(interval: Interval) -> str:
    """Return the limits in per cent without the sign, for narrow columns."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def embed_image(image: bytes | str) -> str:
    """Return PNG bytes or SVG text as a data URL."""
    kind, data = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def head_lines(title: str) -> list[str]:
    """Return the lines of a heading in plain text."""
    return ["", title, "-" * len(title)]


def align_columns(rows: list[list[str]], header: list[str] | None) -> list[str]:
    """Lay out columns: the first and any without a header flush left, numbers flush right."""
    table = rows if header is None else [header, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    right = [bool(name) for name in header] if header else [False] * len(widths)
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        for row in table
    ]
