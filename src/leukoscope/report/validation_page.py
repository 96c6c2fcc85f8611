"""The page of a validation: may this network be used on the cells of this site.

The first screen says whether it is accepted and why, on which cells, how far confidence can be
trusted, and what to do next. What this file does not do: it computes nothing, draws nothing
(`validation_figures`), and words nothing but titles and terms (`validation_words`).
"""

from leukoscope.evaluation.acceptance import Acceptance, Outcome
from leukoscope.evaluation.subgroups import SubgroupTable
from leukoscope.evaluation.validation import ReaderComparison, Validation
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report import validation_words as words
from leukoscope.report.data_words import describe_numbers, describe_rejected
from leukoscope.report.decision_words import name_feature, name_reason
from leukoscope.report.glossary import build_terms
from leukoscope.report.page import (
    Banner,
    Block,
    Box,
    Bullets,
    Cell,
    Column,
    Drawings,
    Level,
    Mark,
    Page,
    Row,
    Section,
    Statement,
    Table,
    Text,
    build_figures,
    build_provenance,
    build_table,
)
from leukoscope.text import (
    DASH,
    format_count,
    format_figure,
    format_number,
    format_percent,
    format_short,
    format_signed,
    join_bounds,
)

_LEVELS: dict[Acceptance, Level] = {"pass": "good", "fail": "bad"}
_MARKS: dict[Outcome, Mark] = {"met": "good", "not_met": "bad"}
"""Caution for the others."""

_SHOWN = 50
"""So many files that are in no figure are listed; the table beside the page has all."""


def describe_validation(v: Validation, drawn: Drawings, trailer: tuple[str, ...] = ()) -> Page:
    """Describe a validation; `drawn` as `validation_figures.draw_validation` returns it."""
    sections = (
        _describe_classes(v, drawn),
        _describe_confusion(v, drawn),
        _describe_agreement(v),
        _describe_confidence(v, drawn),
        _describe_shift(v),
        *_describe_subgroups(v),
        _describe_sizes(v),
        *_describe_recalibration(v),
        *_describe_unreadable(v),
        build_terms(
            "criterion",
            "recall",
            "specificity",
            "precision",
            "kappa",
            "weighted_kappa",
            "ece",
            "internal",
            "prediction_set",
            "decision",
            "case_mix",
            "shift_auc",
            "design_effect",
        ),
        *_describe_provenance(v),
    )
    return Page(f"Validation of {v.bundle} on {v.data}", _describe_lead(v), sections, trailer)


# -- first screen ---------------------------------------------------------------------------------


def _describe_lead(v: Validation) -> tuple[Block, ...]:
    outcomes = [one.outcome for one in v.criteria]
    answer: list[Block] = [
        Statement(words.describe_acceptance(v.acceptance, outcomes)),
        Text(words.describe_accuracy(v)),
    ]
    if v.criteria:
        look = words.describe_look(v)
        answer += [*([Text(look)] if look else []), _tabulate_criteria(v)]
    population = [words.describe_population(v)]
    if v.reference is not None:
        population += [words.describe_reference(v), words.describe_difference(v)]
    confidence = (words.describe_calibration(v), words.describe_decisions(v))
    boxes = (
        Box(tuple(map(Text, population)), "Test population"),
        Box(tuple(map(Text, confidence)), "Confidence and rejection"),
    )
    advice = words.list_advice(v) or ("Nothing follows from these cells.",)
    return (
        Banner(_LEVELS.get(v.acceptance, "caution"), "", tuple(answer)),
        Row(boxes),
        Box((Bullets(advice, numbered=True),), "What to do next"),
        Banner("caution", "Limitations", (Bullets(words.list_limitations(v)),)),
    )


def _tabulate_criteria(v: Validation) -> Table:
    rows = []
    for one in v.criteria:
        note = words.describe_reason(v, one) if one.outcome in ("undecided", "not_measured") else ""
        mark = _MARKS.get(one.outcome, "caution")
        figure = words.format_named(one.criterion.figure, one.figure) if one.figure else DASH
        outcome = Cell(words.OUTCOME_WORDS[one.outcome], note, mark=mark)
        rows.append((words.name_criterion(one), outcome, words.describe_threshold(one), figure))
    level = words.format_level(v.look.level)
    outcome_column = Column("Outcome", is_text=True)
    names = ("Criterion", outcome_column, "Threshold", f"Figure ({level} interval)")
    return build_table(names, rows, dense=True)


# -- classes --------------------------------------------------------------------------------------


def _share(interval: Interval) -> Cell:
    """A share in per cent, its bounds below it."""
    if interval.value != interval.value:
        return Cell(DASH)
    bounds = join_bounds(100 * interval.low, 100 * interval.high, 1)
    return Cell(format_percent(interval.value), bounds)


def _describe_classes(v: Validation, drawn: Drawings) -> Section:
    compared = v.reference is not None
    names = ["Class", "Cells", "Sensitivity"]
    names += ["Internal", "Difference"] if compared else []
    names += ["Specificity", "Internal"] if compared else ["Specificity"]
    rows = []
    for one in v.per_class:
        tag = "critical" if is_critical(one.label) else ""
        row: list[str | Cell] = [Cell(display_label(one.label), tag=tag), f"{one.n_images:,}"]
        row.append(_share(one.sensitivity.external))
        if compared:
            p = one.sensitivity.p_value
            note = "" if p != p else f"Fisher p = {p:.2g}"
            row.append(_share(one.sensitivity.internal))
            row.append(Cell(format_signed(one.sensitivity.difference), note))
        row.append(_share(one.specificity.external))
        if compared:
            row.append(_share(one.specificity.internal))
        rows.append([*row, _share(one.ppv)])
    caption = "Each figure in per cent with its 95 % interval, differences in points; a dash where"
    caption += " there is no such cell, or the class was never predicted."
    table = build_table([*names, "PPV"], rows, caption, dense=True)
    title = "Classes, external and internal" if compared else "Classes"
    figures = build_figures(drawn, "classes")
    numbers = describe_numbers(v.classes) if figures else ""
    return Section(title, (*map(Text, filter(None, [numbers])), Box((*figures, table))))


def _describe_confusion(v: Validation, drawn: Drawings) -> Section:
    names = [display_label(label) for label in v.classes]
    matrix = build_table(
        ("True \\ predicted", *names),
        (
            (name, *(_mark_count(n, k == own) for k, n in enumerate(v.confusion[own])))
            for own, name in enumerate(names)
        ),
        "Cells by their label (row) and the predicted class (column)",
        matrix=True,
    )
    blocks: list[Block] = [matrix]
    if v.unknown_classes:
        rows = []
        for one in v.unknown_classes:
            most = ", ".join(f"{display_label(label)} {n:,}" for label, n in one.predicted.items())
            accepted = DASH if one.accepted is None else f"{one.accepted:,}"
            rows.append((display_label(one.label), f"{one.n_images:,}", most, accepted))
        heads = ("Class", "Cells", Column("Most often predicted", is_text=True), "Accepted")
        blocks.append(build_table(heads, rows, "Cells of classes unknown to the network"))
    return Section("Confusion of classes", (Box((*blocks, *build_figures(drawn, "mistakes"))),))


def _mark_count(n: int, is_hit: bool) -> Cell:
    return Cell(f"{n:,}", mark="zero" if not n else "hit" if is_hit else "miss")


# -- agreement, confidence, shift -----------------------------------------------------------------


def _describe_agreement(v: Validation) -> Section:
    figures = build_table(
        ("Figure", "Value (95 % interval)"),
        (
            (title, words.format_named(name, v.figures[name]))
            for name, title in words.FIGURE_NAMES.items()
            if name in v.figures
        ),
        f"All {format_count(v.n_images, 'cell')} of classes the network knows; intervals are over"
        " sources",
    )
    readers = map(_describe_reader, v.readers)
    return Section("Agreement", (Text(words.describe_weights(v)), Box((figures,)), *readers))


def _describe_reader(one: ReaderComparison) -> Box:
    name, test = f"the network {one.name}" if one.is_network else one.name, one.test
    table = build_table(
        ("", f"{name} correct", f"{name} wrong"),
        (
            ("Network correct", f"{test.both:,}", f"{test.first_only:,}"),
            ("Network wrong", f"{test.second_only:,}", f"{test.neither:,}"),
        ),
    )
    text = (
        f"Accuracy: network {format_short(one.network)}, {name} {format_short(one.reader)};"
        f" difference {format_signed(test.difference)} points, exact McNemar p = {test.p_value:.3g}"
        f" over {format_count(test.n_sources, 'source')}. Kappa between the two"
        f" {format_figure(one.kappa)}."
    )
    title = f"Network and {name} on the same {format_count(one.n_images, 'cell')}"
    return Box((table, Text(text)), title)


def _describe_confidence(v: Validation, drawn: Drawings) -> Section:
    error = f"Calibration error {format_figure(v.figures['ece'])}"
    if v.reference is not None:
        error += f", on the internal test set {format_number(v.reference.ece, 3)}"
    sentences = (f"{words.describe_calibration(v)} {error}.", words.describe_coverage(v))
    blocks: list[Block] = [Text(text) for text in sentences if text]
    if v.is_calibrated:
        inside: list[Block] = [_tabulate_decisions(v)]
        if v.reasons:
            reasons = "; ".join(f"{name_reason(one)} ({one.n_images:,})" for one in v.reasons)
            inside.append(Text(f"Why cells were not accepted: {reasons}.", muted=True))
        blocks.append(Box(tuple(inside)))
    figures = build_figures(drawn, "reliability")
    return Section("Confidence and rejection", (*blocks, *((Box(figures),) if figures else ())))


def _tabulate_decisions(v: Validation) -> Table:
    names = ("accepted", "review", "rejected", "accuracy_accepted")
    columns: list[list[str | Cell]] = [
        [words.FIGURE_NAMES[name] for name in names],
        [_share(v.figures[name]) for name in names],
    ]
    if v.reference is not None:
        shares = (v.reference.review_frac, v.reference.unknown_frac)
        accepted, correct = v.reference.accepted, v.reference.accepted_accuracy
        columns.append([_share(accepted), *map(format_percent, shares), _share(correct)])
    heads = ("Decision", "External", "Internal")[: len(columns)]
    return build_table(
        heads, zip(*columns, strict=True), "Decisions on cells of classes the network knows"
    )


def _describe_shift(v: Validation) -> Section:
    blocks: list[Block] = [Text(words.describe_shift(v))]
    if v.shift.features:
        rows = []
        for one in v.shift.features:
            medians = (_round(one.internal_median), _round(one.external_median))
            effect = (format_number(one.effect, 2, "+"), words.describe_effect(one.effect))
            rows.append((name_feature(one.name), *medians, *effect, _share(one.outside)))
        table = build_table(
            ("Feature", "Internal median", "External median", "Cohen's d", "Size", "Outside"),
            rows,
            "Features of the images, the largest difference first. “Outside” is the share of"
            " external images beyond the range that holds 98 % of the reference sample.",
        )
        note = "A shift need not harm, and harm needs no shift: the tables above show its effect."
        blocks.append(Box((table, Text(note, muted=True))))
    return Section("Shift of the images", tuple(blocks))


def _round(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


# -- subgroups, sizes, recalibration --------------------------------------------------------------


def _describe_subgroups(v: Validation) -> tuple[Section, ...]:
    if not v.subgroups:
        return ()
    note = (
        "A star marks a difference to the rest beyond chance; the intervals of differences, in"
        " points, hold for a whole table together. The expected accuracy is the one that the"
        " group's case mix would have at the sensitivities of all cells."
    )
    boxes = (Box(_describe_column(one, v.is_calibrated), f"By {one.column}") for one in v.subgroups)
    return (Section("Subgroups", (Text(note), *boxes)),)


def _describe_column(table: SubgroupTable, is_calibrated: bool) -> tuple[Block, ...]:
    note = words.describe_column(table)
    blocks: list[Block] = [Text(note, muted=True)] if note else []
    rows = []
    for one in table.groups:
        counts = (f"{one.n_images:,}", f"{one.n_sources:,}")
        row: list[str | Cell] = [words.name_group(one), *counts, _share(one.accuracy)]
        row.append(format_percent(one.expected_accuracy))
        row.append(format_signed(one.difference) + " *" * one.stands_out)
        if is_calibrated:
            row.append(_share(one.accepted))
            row.append(format_signed(one.accepted_difference) + " *" * one.accepted_stands_out)
        rows.append(row)
    if rows:
        names = ["Value", "Cells", "Sources", "Accuracy", "Expected", "Difference"]
        names += ["Accepted", "Difference"] if is_calibrated else []
        blocks.append(build_table(names, rows, dense=True))
    return tuple(blocks)


def _describe_sizes(v: Validation) -> Section:
    basis = {"external": "these cells", "internal": "internal test set", "assumed": "assumed"}
    rows: list[tuple[str | Cell, ...]] = []
    for one in v.sizes:
        counts = (f"{n:,}" for n in (one.n_images, one.needed, one.missing))
        expected = Cell(format_percent(one.expected), basis[one.basis])
        rows.append((display_label(one.label), *counts, expected, f"{one.design_effect:.1f}"))
    table = build_table(
        ("Class", "Cells", "Needed", "Missing", "At a sensitivity of", "Design effect"),
        rows,
        "Labelled cells of each class until its sensitivity is known to"
        f" {100 * v.half_width:g} points either way (half of a 95 % interval)",
    )
    return Section("Number of cells needed", (Box((table,)),))


def _describe_recalibration(v: Validation) -> tuple[Section, ...]:
    found = v.recalibration
    if found is None:
        return ()
    sentences = (words.describe_recalibration(found), words.describe_gain(found))
    blocks: list[Block] = [Text(text) for text in sentences if text]
    if found.before:
        rows = (
            (
                words.FIGURE_NAMES[name],
                words.format_named(name, before),
                words.format_named(name, found.after[name]),
            )
            for name, before in found.before.items()
        )
        blocks.append(build_table(("On the other half", "Before", "After"), rows))
    blocks.append(Bullets(words.list_recalibration_notes(found)))
    return (Section("Site-specific recalibration", (Box(tuple(blocks)),), brief=True),)


def _describe_unreadable(v: Validation) -> tuple[Section, ...]:
    if not v.unreadable:
        return ()
    n = len(v.unreadable)
    table = build_table(
        ("File", Column("Reason", is_text=True)),
        ((one.path, describe_rejected(one)) for one in v.unreadable[:_SHOWN]),
        f"{n:,} in all{f', the first {_SHOWN} here' if n > _SHOWN else ''}; `rejected.csv` beside"
        " this page lists them",
    )
    return (Section("In no figure", (Box((table,)),)),)


def _describe_provenance(v: Validation) -> tuple[Section, ...]:
    origin = v.provenance
    if origin is None:
        return ()
    return build_provenance(
        {
            "Network": f"{origin.network}, {origin.image_size_px} px",
            "Weights SHA-256": origin.weights_sha256,
            "Trained": origin.trained,
            "Criteria": origin.criteria or "none",
            "Seed": str(origin.seed),
            "leukoscope": origin.leukoscope,
            "Python": f"{origin.python}, {origin.platform}",
            "Started": origin.started,
        }
    )
