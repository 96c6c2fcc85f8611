"""Sentences about a trained network, each made from its records: shared by card and checklists.

Every function takes a `Reader` and returns Markdown, or gives up where the records do not suffice.
What this file does not do: it decides no order and asks nothing (`checklists`).
"""

from leukoscope.interval import Interval
from leukoscope.labels import is_critical
from leukoscope.report.card_figure_facts import find_local, write_reference
from leukoscope.report.card_records import (
    Reader,
    count_things,
    format_percents,
    read_leakage_status,
    show_count,
)
from leukoscope.report.evaluation_page import METRIC_NAMES
from leukoscope.report.leakage_words import BASELINE_NAMES, LEAKAGE_TEXTS, LEAKAGE_TITLES
from leukoscope.report.markdown import (
    escape_sentence,
    escape_text,
    format_class,
    render_table,
)
from leukoscope.text import format_figure, format_range
from leukoscope.trust.record import TrustInfo

_LEAKED = "All images, LEAKED: copies of them lie in training"

_MISTAKES = 5
"""So many of the most frequent mistakes are told."""

_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc")

# -- how good --------------------------------------------------------------------------------------


def describe_main_figure(reader: Reader, trust: TrustInfo | None = None) -> str:
    """The accuracy, its interval and what the split makes of it: never one without the other.

    Of a leaking split both figures are told, as everywhere (`report.word_leak`). A bundle without
    an evaluation tells what its own record of trust measured at home.
    """
    if reader.find("metrics", "accuracy") is None and trust is not None and trust.reference:
        return write_reference(trust.reference)
    return word_figure(reader)


def describe_internal_figure(reader: Reader, trust: TrustInfo | None = None) -> str:
    """The main figure, unless it is of cells of another laboratory."""
    if find_local(trust):
        reader.read_interval("metrics", "accuracy")
    return describe_main_figure(reader, trust)


def word_figure(reader: Reader, at: tuple[str, ...] = ("metrics",)) -> str:
    """Accuracy of one evaluation with its leakage_status; `at` is where its `metrics.json` lies."""
    leakage_status = read_leakage_status(reader, *at, "leakage_status")
    accuracy = reader.read_interval(*at, "accuracy")
    n_images = reader.read_count(*at, "n_images")
    known = reader.read_flag(*at, "source_known")
    title = f"**{LEAKAGE_TITLES[leakage_status]}.**"
    if leakage_status == "leaking":
        lines = _describe_leak(reader, at, accuracy, n_images, known)
        return f"{title} {' '.join(lines)} {LEAKAGE_TEXTS[leakage_status]}"
    # A figure that says it counts copies, under a leakage_status that does not: no figure.
    if reader.find_flag(*at, "accuracy", "leaked"):
        reader.give_up(*at, "leakage_status")
    n_sources = reader.read_count(*at, "n_sources")
    sources = f"from {count_things(n_sources, 'source')}" if known else "from unknown sources"
    data = escape_text(reader.find_text(*at, "data") or "data without a name")
    return (
        f"Named right: {format_range(accuracy)} of {count_things(n_images, 'test image')} {sources}"
        f" ({data}). {title} {LEAKAGE_TEXTS[leakage_status]}"
    )


def _describe_leak(
    reader: Reader, at: tuple[str, ...], leaked: Interval, n_images: int, known: bool
) -> tuple[str, str]:
    n_with_copy = reader.read_count(*at, "accuracy", "n_with_copy_in_training")
    basis = f"all {n_images:,} images, {n_with_copy:,} of them with a duplicate in training."
    rest = (*at, "accuracy", "source_disjoint")
    accuracy = reader.find_interval(*rest, "accuracy")
    if accuracy is None:
        reason = reader.find_text(*at, "accuracy", "source_disjoint_reason")
        text = f"no figure, since {escape_sentence(reason or 'none is on record')}."
    else:
        text = f"{format_range(accuracy)} on {reader.read_count(*rest, 'n_images'):,} images"
        text += (
            f" of {count_things(reader.read_count(*rest, 'n_sources'), 'source')}."
            if known
            else ". Not all sources are known, so that other duplicates may hide among them."
        )
    return f"Leaked: {format_range(leaked)} on {basis}", f"Without duplicates: {text}"


def _is_leaking(reader: Reader) -> bool:
    return read_leakage_status(reader, "metrics", "leakage_status") == "leaking"


def mark_leak(reader: Reader) -> str:
    """Return what a figure of a leaking split is marked with; "" for others."""
    return f" ({_LEAKED})" * _is_leaking(reader)


def describe_overall(reader: Reader) -> str:
    """Other figures over all classes, with intervals, marked where they are leaked."""
    mark = f"{_LEAKED}: " * _is_leaking(reader)
    found = [
        f"{METRIC_NAMES[name]} {format_figure(interval)}"
        for name in _OVERALL
        if (interval := reader.find_interval("metrics", name)) is not None
    ]
    return f"{mark}{'; '.join(found)}." if found else reader.give_up("metrics")


def describe_class_table(reader: Reader) -> str:
    """Each kind of cell: images, sources, sensitivity, PPV and specificity with intervals."""
    leaking = _is_leaking(reader)
    known = reader.find_flag("metrics", "source_known")
    rows = []
    for name in reader.read_names("metrics", "classes"):
        at = ("metrics", "per_class", name)
        sources = reader.find_count(*at, "n_sources") if known else None
        rows.append(
            [
                format_class(name) + " (critical)" * is_critical(name),
                show_count(reader.find_count(*at, "n_images")),
                "unknown" if sources is None else f"{sources:,}",
                *(
                    format_percents(reader.find_interval(*at, metric))
                    for metric in ("recall", "precision", "specificity")
                ),
            ]
        )
    header = ["Kind of cell", "Images", "Sources", "Sensitivity", "PPV", "Specificity"]
    told = (
        "Sensitivity: of all cells of this kind, how many were found. PPV: of all cells called by"
        " this name, how many really were. Specificity: of all other cells, how many were not"
        " called by this name. In brackets: 95 % interval. Critical: overlooking such a cell can"
        " harm a patient."
    )
    if leaking:
        told = f"**{_LEAKED}.** {told}"
    return f"{told}\n\n{render_table(header, rows)}"


def describe_class_figures(reader: Reader) -> str:
    """Sensitivity and specificity of each kind in one line."""
    mark = mark_leak(reader)
    parts = []
    for name in reader.read_names("metrics", "classes"):
        at = ("metrics", "per_class", name)
        found = [
            format_percents(reader.find_interval(*at, metric))
            for metric in ("recall", "specificity")
        ]
        parts.append(f"{format_class(name)} {found[0]}, {found[1]}")
    return (
        f"Sensitivity and specificity, with 95 % intervals{mark}: {'; '.join(parts)}. PPV and"
        " negative predictive values depend on how common each kind is in the test set."
    )


def describe_baseline_table(reader: Reader) -> str:
    """What methods reach that know nothing of cells, beside the network."""
    leaking = _is_leaking(reader)
    rest = ("metrics", "accuracy", "source_disjoint")
    without = leaking and reader.find(*rest, "accuracy") is not None
    header = ["Method", "All images, LEAKED" if leaking else "Accuracy"]
    header += ["Without copies"] * without + ["What it does"]
    network = [format_percents(reader.read_interval("metrics", "accuracy"))]
    network += [format_percents(reader.find_interval(*rest, "accuracy"))] * without
    rows = [["This network", *network, ""]]
    shown_names = {str(key): shown for key, shown in BASELINE_NAMES.items()}
    for name in reader.read_keys("metrics", "baselines"):
        at = ("metrics", "baselines", name)
        figures = [format_percents(reader.find_interval(*at, "accuracy"))]
        figures += [format_percents(reader.find_interval(*rest, "baselines", name))] * without
        told = escape_sentence(reader.find_text(*at, "description") or "")
        rows.append([escape_text(shown_names.get(name, name)), *figures, told])
    told = (
        "A baseline is what a method reaches that knows nothing of cells. A network has to be"
        " clearly better to have shown anything."
    )
    return f"{told}\n\n{render_table(header, rows, words=(0, len(header) - 1))}"


def describe_mistakes(reader: Reader) -> str:
    """The most frequent mistakes, with counts."""
    mark = mark_leak(reader)
    names = reader.read_names("metrics", "classes")
    found = []
    total = wrong = 0
    for i, true in enumerate(names):
        row = [reader.read_count("metrics", "confusion", i, k) for k in range(len(names))]
        total, wrong = total + sum(row), wrong + sum(row) - row[i]
        found += [(row[k], sum(row), true, names[k]) for k in range(len(names)) if k != i]
    worst = [x for x in sorted(found, key=lambda x: -x[0])[:_MISTAKES] if x[0]]
    told = "; ".join(
        f"{format_class(true)} called {format_class(called)}: {n:,} of {of:,}"
        for n, of, true, called in worst
    )
    lead = f"{wrong:,} of {total:,} test images got a wrong name{mark}."
    return f"{lead} Most frequent: {told}." if told else lead


def describe_metrics(reader: Reader) -> str:
    """Which measures the evaluation reports."""
    shown = [METRIC_NAMES[name] for name in METRIC_NAMES if reader.find("metrics", name)]
    if not shown:
        reader.give_up("metrics")
    return (
        f"Over all classes: {'; '.join(shown)}. For each class: sensitivity, PPV, specificity, F1,"
        " areas under the ROC and the precision-recall curve. Baselines: the same accuracy for"
        " methods that know nothing of cells."
    )


def describe_intervals(reader: Reader) -> str:
    """How intervals were made."""
    reader.read_interval("metrics", "accuracy")
    known = reader.read_flag("metrics", "source_known")
    basis = (
        f"over {count_things(reader.read_count('metrics', 'n_sources'), 'source')}, so that images"
        " of one source are not counted as independent"
        if known
        else "over single images, since sources are unknown; if images share sources, the true"
        " intervals are wider"
    )
    return (
        f"95 % intervals {basis}. They cover chance in the draw of test images, not another"
        " laboratory, stain or seed."
    )


def describe_separation(reader: Reader) -> str:
    """At what level test and training are apart."""
    leakage_status = read_leakage_status(reader, "metrics", "leakage_status")
    found = [escape_sentence(x) for x in reader.find_names("metrics", "leakage_sentences")]
    level = {
        "disjoint": "Sources: no source of a test image lies in training.",
        "unproven": "Images only; hidden copies cannot be excluded.",
        "suspect": "Images only, and there are signs of copies of test images in training.",
        "leaking": "Not apart: test images share sources or bytes with training.",
    }[leakage_status]
    return " ".join([level, *found])
