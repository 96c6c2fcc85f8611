"""The page of one evaluation: how good, on which cells, confidence, rejection; then details.

What this file does not do: it computes nothing (`evaluation.evaluate`) and draws nothing
(`evaluation_figures`).
"""

import math
from collections.abc import Iterable

from leukoscope.evaluation.agreement import PairedTest
from leukoscope.evaluation.metrics import OVERALL
from leukoscope.evaluation.record import (
    Comparison,
    EvaluationProvenance,
    EvaluationRecord,
    LeakFigures,
    TrustFigures,
)
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report.data_words import describe_finding, describe_numbers
from leukoscope.report.decision_words import describe_errors, describe_sets, name_reason
from leukoscope.report.glossary import OF_EVALUATIONS, build_terms
from leukoscope.report.leakage_words import (
    BASELINE_NAMES,
    LEAKAGE_LEVELS,
    LEAKAGE_NOTES,
    LEAKAGE_TITLES,
    build_leakage_banner,
    describe_baseline,
)
from leukoscope.report.note_words import describe_note
from leukoscope.report.page import (
    Banner,
    Big,
    Block,
    Box,
    Bullets,
    Cell,
    Column,
    Details,
    Drawings,
    Page,
    Row,
    Section,
    Text,
    build_figures,
    build_provenance,
    build_table,
)
from leukoscope.text import (
    DASH,
    NO_INTERVAL,
    format_count,
    format_figure,
    format_number,
    format_percent,
    format_points,
    format_range,
    format_signed,
    join_bounds,
)
from leukoscope.trust.calibration import CalibrationMethod
from leukoscope.trust.notes import NoteCode

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
"""Figures of the whole in the order of the table."""

CLASS_METRIC_NAMES = {
    "recall": "Sensitivity",
    "precision": "PPV",
    "specificity": "Specificity",
    "f1": "F1",
    "roc_auc": "ROC area",
    "pr_auc": "Average precision",
}
"""Figures of one class in the order of the table."""

_AREAS = ("roc_auc", "pr_auc")

NEW_CLASSES = "A cell of a class that it never learned may be accepted under another label."
"""Of five classes left out of training 8 to 51 % were (docs/experiments/030), and no figure of
known classes shows it."""

CALIBRATION_NAMES: dict[CalibrationMethod, str] = {
    "none": "nothing was shown to need correcting",
    "temperature": "by a temperature",
    "bias_corrected": "by a temperature and a shift per class",
}

_CALIBRATION_ROWS = {
    "ece": "Calibration error",
    "brier": "Brier score: reliability - resolution + uncertainty + within bins",
    "brier_reliability": "its reliability: stated chance against frequency",
    "brier_resolution": "its resolution: frequencies apart (higher is better)",
    "brier_uncertainty": "its uncertainty: that of the classes themselves",
    "brier_within": "what its bins hide",
    "log_loss": "Log loss",
}

_LEAKED = "leaked"
_FIRST_WARNING: NoteCode = "unknown_classes"
_TO_SCAN = "`leukoscope data sources` finds duplicates in the pixels."


def describe_evaluation(
    record: EvaluationRecord, drawn: Drawings | None = None, trailer: tuple[str, ...] = ()
) -> Page:
    """Return the page of an evaluation. `drawn` holds the figures of
    `evaluation_figures.draw_evaluation`."""
    drawn = drawn or {}
    return Page(
        f"Evaluation on {record.data}",
        _build_lead(record),
        (
            *_build_baselines(record, drawn),
            *_build_comparisons(record),
            *_warn_of_leak(record),
            _build_classes(record, drawn),
            _build_confusion(record, drawn),
            *_build_trust(record, drawn),
            *_build_pictures(drawn),
            _build_all_figures(record),
            build_terms(*OF_EVALUATIONS),
            *build_provenance(describe_provenance(record.provenance), "What made these numbers"),
        ),
        trailer,
    )


# -- the first screen -----------------------------------------------------------------------------


def _build_lead(record: EvaluationRecord) -> tuple[Block, ...]:
    level = LEAKAGE_LEVELS[record.leakage_status]
    banner = build_leakage_banner(record.leakage_status, list_reasons(record))
    if record.leak is None:
        accuracy = record.figures["accuracy"]
        good: tuple[Block, ...] = (
            build_accuracy(accuracy, doubted=level == "bad"),
            Text(describe_accuracy(accuracy)),
        )
    else:
        good = _build_pair(record, record.leak)
    answers = Row(
        (
            Box(tuple(map(Text, describe_population(record))), "Test population"),
            Box(tuple(map(Text, describe_confidence(record.trust))), "Confidence"),
            Box(tuple(map(Text, describe_rejection(record.trust))), "Rejection"),
        )
    )
    first = build_headlines(record)
    others = tuple(describe_note(one) for one in record.warnings if one.code != _FIRST_WARNING)
    warnings = (Banner("caution", "Mind this", (Bullets(others),)),) if others else ()
    if level == "bad":
        return (*first, banner, *good, answers, *warnings)
    return (*first, *good, answers, banner, *warnings)


def build_headlines(record: EvaluationRecord) -> tuple[Banner, ...]:
    """Return what must be read before any figure, whatever the leakage status: that the network is
    of little use, and that whole classes were left out."""
    found = tuple(map(describe_note, record.headlines))
    left_out = [describe_note(one) for one in record.warnings if one.code == _FIRST_WARNING]
    bad = (Banner("bad", found[0], (Bullets(found[1:]),) if found[1:] else ()),) if found else ()
    return (*bad, *(Banner("caution", sentence) for sentence in left_out))


def build_accuracy(accuracy: Interval, *, doubted: bool = False) -> Big:
    """Return accuracy in large letters, with its interval."""
    low, high = format_percent(accuracy.low), format_percent(accuracy.high)
    bounds = NO_INTERVAL if math.isnan(accuracy.low) else f"95 % interval {low} to {high}"
    caption = f"accuracy, {bounds}"
    return Big(format_percent(accuracy.value), caption, doubted)


def _build_pair(record: EvaluationRecord, leak: LeakFigures) -> tuple[Block, ...]:
    """Both accuracies of a leaking split: neither stands alone."""
    basis, rest = describe_leak_basis(record)
    without: tuple[Block, ...] = (
        (Big("No figure", "", doubted=True), Text(f"There is {rest}"))
        if leak.accuracy is None
        else (build_accuracy(leak.accuracy), Text(f"On {rest}"))
    )
    everything = (build_accuracy(record.figures["accuracy"], doubted=True), Text(f"On {basis}"))
    return (
        Row(
            (
                Box(without, "Without duplicates", trusted=True),
                Box(everything, "All images", _LEAKED),
            )
        ),
        Text(
            "These images cannot show how the network does on cells it has never seen."
            if leak.accuracy is None
            else describe_accuracy(leak.accuracy, " among those without a duplicate in training")
        ),
    )


def describe_accuracy(accuracy: Interval, among: str = "") -> str:
    """Return accuracy as so many of 100 cells."""
    share = f"of 100 cells correctly classified{among}"
    if math.isnan(accuracy.low):
        return f"{per_hundred(accuracy.value)[0]} {share}; {NO_INTERVAL}."
    value, low, high = per_hundred(accuracy.value, accuracy.low, accuracy.high)
    return f"{value} {share}, 95 % interval {low} to {high}."


def per_hundred(*values: float) -> list[str]:
    """Return fractions as so many of 100, all with a decimal where one of them needs it: `100` and
    `0` stand only where they are exact.

    >>> per_hundred(0.94, 0.91, 0.957), per_hundred(0.994, 0.989, 0.997), per_hundred(1.0, 0.98)
    (['94', '91', '96'], ['99.4', '98.9', '99.7'], ['100', '98'])
    """
    if all(f"{100 * x:.0f}" not in ("0", "100") or x in (0, 1) for x in values):
        return [f"{100 * x:.0f}" for x in values]
    return [
        f"{x:.0f}" if x in (0, 100) else f"{min(99.9, max(0.1, x)):.1f}"
        for x in (100 * v for v in values)
    ]


def describe_leak(record: EvaluationRecord) -> tuple[str, ...]:
    """Say both accuracies of a leaking split, a sentence each: the leaked one on all images, and
    the one without duplicates, or why there is none; nothing for any other split."""
    if record.leak is None:
        return ()
    basis, rest = describe_leak_basis(record)
    if record.leak.accuracy is not None:
        rest = f"{format_range(record.leak.accuracy)} on {rest}"
    return (
        f"Leaked: {format_range(record.figures['accuracy'])} on {basis}",
        f"Without duplicates: {rest}",
    )


def describe_leak_basis(record: EvaluationRecord) -> tuple[str, str]:
    """Say on which images either accuracy of a leaking split stands, or why one is missing."""
    leak = record.leak
    if leak is None:
        return "", ""
    basis = (
        f"all {format_count(record.n_images, 'image')}, {leak.n_duplicates:,} of them with a"
        " duplicate in training."
    )
    if leak.accuracy is None:
        return basis, f"no figure, since {describe_too_few(leak)}."
    if record.source_known:
        sources = format_count(leak.n_sources, "source")
        return basis, f"{format_count(leak.n_images, 'image')} of {sources}."
    return basis, (
        f"{format_count(leak.n_images, 'image')}. Not all sources are known, so that other"
        f" duplicates may hide among them; {_TO_SCAN}"
    )


def describe_too_few(leak: LeakFigures) -> str:
    """Say why there is no figure without duplicates, and what to do."""
    remedy = "`leukoscope data leak-report` measures the same recipe without the leak"
    few = format_count(leak.n_images, "image has", "images have")
    return {
        "": "",
        "training_images": "these are the training images; evaluate it on `--role test`",
        "all_duplicates": f"every image has a duplicate in training; {remedy}",
        "few_left": f"only {few} no duplicate in training, too few to say anything; {remedy}",
    }[leak.reason]


def list_reasons(record: EvaluationRecord) -> tuple[str, ...]:
    """Return what stands behind the leakage status, a sentence each."""
    found = (describe_finding(one).sentence for one in record.split_findings)
    return (*map(describe_note, record.remarks), *found)


def describe_population(record: EvaluationRecord) -> tuple[str, ...]:
    """Say which cells were tested, and how far that test can be trusted."""
    sources = (
        f"from {format_count(record.n_sources, 'source')}"
        if record.source_known
        else "from unknown sources"
    )
    basis = (
        f"{format_count(record.n_images, 'cell image')} {sources} ({record.data}, role"
        f" “{record.role}”, split “{record.protocol}”)."
    )
    if record.persons_unknown:
        basis += " A source is one picture here; how many persons gave blood is not recorded."
    present = [display_label(one.label) for one in record.per_class if one.n_images]
    return (
        basis,
        f"Cell types: {', '.join(present)}.",
        f"{LEAKAGE_TITLES[record.leakage_status]}.",
    )


def describe_confidence(trust: TrustFigures | None) -> tuple[str, ...]:
    """Say how far stated confidence can be believed."""
    if trust is None:
        return (
            "Not calibrated: stated confidence may be far from real success.",
            "`leukoscope calibrate` sets that right.",
        )
    before, after = trust.before["ece"], trust.after["ece"]
    up_to = (
        NO_INTERVAL
        if math.isnan(after.high)
        else f"95 % interval up to {format_points(after.high)}"
    )
    was = (
        CALIBRATION_NAMES["none"]
        if trust.method == "none"
        else f"{format_points(before.value)} before calibration"
    )
    return (
        *map(describe_note, trust.remarks),
        f"Stated confidence and real success differ by {format_points(after.value)} on average"
        f" ({up_to}; {was}).",
        describe_sets(trust.delivered, 1 - trust.alpha),
    )


def describe_rejection(trust: TrustFigures | None) -> tuple[str, ...]:
    """Say how many cells are accepted, how often correctly, and what becomes of the others."""
    if trust is None:
        return (
            "Never: every cell gets a label, however strange it is.",
            "`leukoscope calibrate` sets decision thresholds.",
        )
    shares = trust.decisions.shares
    right = trust.decisions.accepted_accuracy
    accepted = f"{format_percent(shares['accepted'].value)} of cells are accepted"
    if not math.isnan(right.value):
        accepted += f"; of these {format_range(right)} are correctly classified"
    errors = describe_errors(trust.decisions.errors)
    basis = [describe_note(one) for one in trust.remarks if one.code != "trust_shifted"]
    return (
        *basis,
        f"{accepted}.",
        *((f"{errors}.",) if errors else ()),
        f"{format_percent(shares['review'].value)} go to a person for review;"
        f" {format_percent(shares['unknown'].value)} are rejected as unknown.",
        NEW_CLASSES,
    )


# -- sections -------------------------------------------------------------------------------------


def _rest(record: EvaluationRecord) -> LeakFigures | None:
    """What is left without duplicates, where it has figures."""
    return record.leak if record.leak and record.leak.figures else None


def _tag(record: EvaluationRecord) -> str:
    return _LEAKED if record.leak else ""


def _build_baselines(record: EvaluationRecord, drawn: Drawings) -> tuple[Section, ...]:
    figure = build_figures(drawn, "headline")
    if not record.baselines:
        return (Section("Accuracy", (Box(figure),)),) if figure else ()
    rest, tag = _rest(record), _tag(record)
    columns = (
        Column("Method"),
        *((Column("Without duplicates"),) if rest else ()),
        Column("All images" if tag else "Accuracy", tag=tag),
        Column("Balanced", tag=tag),
        Column("Network less this, points", tag=tag if rest is None else ""),
    )
    paired = rest.paired if rest else {k: one.paired for k, one in record.baselines.items()}
    rows = [
        (
            Cell("Network", "Looks at the image."),
            *((_show_range(rest.figures["accuracy"]),) if rest else ()),
            _show_range(record.figures["accuracy"]),
            format_percent(record.figures["balanced_accuracy"].value),
            "",
        )
    ]
    for name, one in record.baselines.items():
        rows.append(
            (
                Cell(BASELINE_NAMES[name], describe_baseline(name, one)),
                *((_show_range(rest.baselines[name]),) if rest else ()),
                _show_range(one.accuracy),
                format_percent(one.balanced_accuracy),
                _show_gap(paired[name]),
            )
        )
    caption = (
        "Accuracy with 95 % interval, beside methods that know nothing of cells, on the same"
        " images; differences are taken image by image"
    )
    table = build_table(columns, rows, caption)
    blocks = (Text(describe_gain(record)), Box((*figure, table)))
    return (Section("What the network adds", blocks, brief=True),)


def describe_gain(record: EvaluationRecord) -> str:
    """Say what the network adds over the best baseline, image by image."""
    baselines = {name: one.accuracy for name, one in record.baselines.items()}
    paired = {name: one.paired for name, one in record.baselines.items()}
    rest, where = _rest(record), "The"
    if rest and rest.baselines:
        baselines, paired = dict(rest.baselines), dict(rest.paired)
        where = "On the images without a duplicate in training, the"
    elif record.leak:
        where = "On all images, those with a duplicate in training among them, the"
    name, best = max(baselines.items(), key=lambda item: item[1].value)
    gap = paired[name].difference
    points = format_points(gap.value)
    shown = f"the best baseline ({BASELINE_NAMES[name]}, {format_percent(best.value)})"
    if paired[name].is_gain or paired[name].is_loss:
        ends = sorted(abs(100 * x) for x in (gap.low, gap.high))
        bounds = " to ".join(format_number(x, 1) for x in ends)
        side = "better" if paired[name].is_gain else "worse"
        return f"{where} network is {points} ({bounds}) {side} than {shown}, image by image."
    return (
        f"{where} network is not shown to be better than {shown}: the difference, image by image,"
        f" is {_format_gap(gap)} points."
    )


def _format_gap(gap: Interval) -> str:
    return format_number(100 * gap.value, 1, "+") if math.isnan(gap.low) else format_signed(gap)


def _show_gap(found: PairedTest) -> Cell:
    """How much better the network is, image by image, and how likely that is by chance."""
    p = found.p_value
    return Cell(_format_gap(found.difference), f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001")


def _build_comparisons(record: EvaluationRecord) -> tuple[Section, ...]:
    if not record.compare:
        return ()
    head = (
        Column("Evaluation"),
        Column("Images"),
        Column("Accuracy"),
        Column("What it means", is_text=True),
    )
    rows = [*_list_comparison(record.summarise(), " (this report)")]
    for one in record.compare:
        rows += _list_comparison(one)
    table = build_table(head, rows)
    return (Section("The same network, evaluated in other ways", (Box((table,)),)),)


def _list_comparison(one: Comparison, mark: str = "") -> list[tuple[Cell, Cell, Cell, Cell]]:
    """One evaluation; a leaking one has a second line for its images without a duplicate."""
    name = f"{one.data}, {one.role}{mark}"
    leaking = one.leakage_status == "leaking"
    lines = [
        (
            Cell(name, tag=_LEAKED if leaking else ""),
            Cell(f"{one.n_images:,}"),
            _show_range(one.accuracy),
            Cell(LEAKAGE_NOTES[one.leakage_status]),
        )
    ]
    if one.disjoint is not None:
        lines.append(
            (
                Cell(f"{name}, without duplicates"),
                Cell(f"{one.n_disjoint:,}"),
                _show_range(one.disjoint),
                Cell("only images without a known duplicate in training"),
            )
        )
    return lines


def _warn_of_leak(record: EvaluationRecord) -> tuple[Section, ...]:
    if record.leak is None:
        return ()
    but = ", except where a column says otherwise" if _rest(record) else ""
    text = (
        "From here on all images count, those with a duplicate in training among them"
        f"{but}: the figures are inflated."
    )
    return (Section("Leaked figures", (Banner("bad", "", (Text(text),)),)),)


def _build_classes(record: EvaluationRecord, drawn: Drawings) -> Section:
    sources = record.source_known
    head = ("Class", "Images", *(("Sources",) if sources else ()), *CLASS_METRIC_NAMES.values())
    rows = [
        (
            _name_class(one.label),
            f"{one.n_images:,}",
            *((f"{one.n_sources:,}",) if sources else ()),
            *(_show_compact(one.figures[name], name in _AREAS) for name in CLASS_METRIC_NAMES),
        )
        for one in record.per_class
    ]
    caption = (
        "Each figure with its 95 % interval. “Critical” marks classes whose oversight can harm a"
        " patient."
    )
    note = Text(
        "A dash means that the figure is undefined: the class does not occur in the test set, or"
        " was never predicted.",
        muted=True,
    )
    table = build_table(head, rows, caption, dense=True)
    return Section("Each class", (Box((*build_figures(drawn, "per_class"), table, note)),))


def _name_class(label: str) -> Cell:
    return Cell(display_label(label), tag="critical" if is_critical(label) else "")


def _build_confusion(record: EvaluationRecord, drawn: Drawings) -> Section:
    figure = build_figures(drawn, "confusion")
    names = [display_label(label) for label in record.classes]
    rows = []
    for i, (name, counts) in enumerate(zip(names, record.confusion, strict=True)):
        cells = [
            Cell(f"{n:,}", mark="zero" if not n else "hit" if k == i else "miss")
            for k, n in enumerate(counts)
        ]
        rows.append((Cell(name), *cells))
    table = build_table(
        ("True \\ predicted", *names),
        rows,
        "Images by true class (row) and predicted class (column)",
        matrix=True,
    )
    return Section(
        "Confusion",
        (
            Text(
                "Each row is what the cells are, each column what the network predicted. A perfect"
                " network fills the diagonal only."
            ),
            *map(Text, filter(None, [describe_numbers(record.classes) if figure else ""])),
            Box((*figure, Details("The same as a table", (table,), is_open=not figure))),
        ),
    )


def _build_trust(record: EvaluationRecord, drawn: Drawings) -> tuple[Section, ...]:
    trust = record.trust
    if trust is None:
        return ()
    own = build_table(
        ("Class", "Images", "Accepted", "Correct of these", "Under another label"),
        (
            (
                _name_class(one.name),
                f"{one.n_images:,}",
                _show_compact(one.accepted),
                _show_compact(one.accepted_accuracy),
                f"{one.missed:,}",
            )
            for one in trust.decisions.per_class
        ),
        "By true class. “Under another label”: accepted, and misclassified. These are the mistakes"
        " nobody looks at.",
        dense=True,
    )
    reasons = tuple(f"{one.n_images:,} × {name_reason(one)}" for one in trust.decisions.reasons)
    calib = format_count(trust.n_calib, "image")
    sources = (
        f" from {format_count(trust.n_calib_sources, 'source')}" if record.source_known else ""
    )
    fit = f"On {calib} of the role “calib”{sources}."
    rows = [
        (name, format_figure(trust.before[key]), format_figure(trust.after[key]))
        for key, name in _CALIBRATION_ROWS.items()
    ]
    calibration = build_table(
        ("Figure", "Before", "After"),
        rows,
        f"Before and after calibration ({CALIBRATION_NAMES[trust.method]}), each with its 95 %"
        " interval; lower is better",
    )
    notes = (fit, *map(describe_note, trust.notes))
    return (
        Section(
            "What is accepted, and what is not",
            (
                Text(" ".join(describe_rejection(trust))),
                Box((*build_figures(drawn, "risk_coverage"), own)),
                *((Box((Bullets(reasons),), "Why cells were not accepted"),) if reasons else ()),
                Box((Bullets(notes),), "How the thresholds were set"),
            ),
        ),
        Section(
            "Can its confidence be believed?",
            (
                Text(" ".join(describe_confidence(trust))),
                Box(
                    (
                        *build_figures(drawn, "reliability_both"),
                        calibration,
                        *build_figures(drawn, "coverage"),
                    )
                ),
            ),
        ),
    )


_PICTURES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Look at the cells",
        "Look at the mistakes first: the most confident ones are the most instructive.",
        ("confident_wrong", "unsure_right", "confident_right"),
    ),
    (
        "Sensitivity and false alarms",
        "How sensitivity is traded against false alarms, and against precision, as the threshold"
        " for one class moves.",
        ("roc", "pr"),
    ),
    (
        "Confidence and success",
        "The confidence that the network states, against how often it is right. Points below the"
        " diagonal: overconfident. Above: underconfident.",
        ("reliability", "probabilities"),
    ),
    ("How it was trained", "How loss and accuracy moved during training.", ("training_curves",)),
)


def _build_pictures(drawn: Drawings) -> Iterable[Section]:
    for title, text, names in _PICTURES:
        figures = build_figures(drawn, *names)
        if figures:
            yield Section(title, (Text(text), Box(figures)))


def _build_all_figures(record: EvaluationRecord) -> Section:
    rest, tag = _rest(record), _tag(record)
    head = (
        Column("Figure"),
        *((Column("Without duplicates (interval)"),) if rest else ()),
        Column("All images (interval)" if tag else "Value (interval)", tag=tag),
    )
    rows = [
        (
            METRIC_NAMES[name],
            *((format_figure(rest.figures[name]),) if rest else ()),
            format_figure(record.figures[name]),
        )
        for name in (*OVERALL, "ece")
    ]
    caption = "Of the whole test set, each with its 95 % interval"
    return Section("All figures", (Box((build_table(head, rows, caption),)),))


def describe_provenance(origin: EvaluationProvenance | None) -> dict[str, str]:
    """Return what made the figures, by name; nothing where it is not known."""
    if origin is None:
        return {}
    epoch = "" if origin.best_epoch is None else f", best epoch {origin.best_epoch}"
    return {
        "Run": origin.run,
        "Network": f"{origin.network}, {origin.image_size} px{epoch}",
        "Recipe": f"{origin.recipe} ({origin.recipe_hash})",
        "Seed": ", ".join(str(seed) for seed in dict.fromkeys(origin.seeds)),
        "Precision": origin.precision,
        "Weights SHA-256": origin.weights_sha256,
        "Split SHA-256": origin.split_sha256,
        "leukoscope": origin.leukoscope,
        "Python": f"{origin.python}, {origin.platform}",
        "Packages": ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
        "Command": " ".join(origin.command),
        "Started": origin.started,
    }


# -- cells of tables ------------------------------------------------------------------------------


def _show_range(interval: Interval) -> Cell:
    """A fraction in per cent, its interval below it."""
    if math.isnan(interval.value):
        return Cell(DASH)
    bounds = f"{format_percent(interval.low)} to {format_percent(interval.high)}"
    note = NO_INTERVAL if math.isnan(interval.low) else bounds
    return Cell(format_percent(interval.value), note)


def _show_compact(interval: Interval, area: bool = False) -> Cell:
    """As `_show_range`, for narrow columns; an `area` has three decimals."""
    if math.isnan(interval.value):
        return Cell(DASH)
    text = f"{interval.value:.3f}" if area else format_percent(interval.value)
    scale, digits = (1, 3) if area else (100, 1)
    return Cell(text, join_bounds(scale * interval.low, scale * interval.high, digits))
