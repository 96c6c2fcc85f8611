"""The page of a validation: may this network be used on the cells of this site.

The first screen says whether it is accepted and why, on which cells, how far confidence can be
trusted, and what to do next. What this file does not do: it computes nothing, draws nothing
(`validation_figures`), and words nothing but titles and terms (`validation_words`).
"""

from collections.abc import Mapping
from dataclasses import asdict

from leukoscope.evaluation.acceptance import EXACT_BELOW, Acceptance, CriterionResult, Outcome
from leukoscope.evaluation.subgroups import SubgroupTable
from leukoscope.evaluation.validation import ReaderComparison, Validation
from leukoscope.interval import Interval
from leukoscope.labels import display_label, is_critical
from leukoscope.report import validation_words as words
from leukoscope.report.data_words import describe_rejected
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
    build_glossary,
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

_LEVELS: dict[Acceptance, Level] = {
    "pass": "good",
    "fail": "bad",
    "undecided": "caution",
    "no_criteria": "caution",
}

_MARKS: dict[Outcome, Mark] = {
    "met": "good",
    "not_met": "bad",
    "undecided": "caution",
    "not_measured": "caution",
}

_SHOWN = 50
"""So many files that are in no figure are listed; the table beside the page has all."""

_TERMS: tuple[tuple[str, str], ...] = (
    (
        "Acceptance criterion",
        "What the laboratory asks for. It is met only if the whole 95 % interval meets it: a good"
        " figure from few cells is undecided. A share from fewer than"
        f" {EXACT_BELOW} sources is decided by its exact interval, which is wider.",
    ),
    ("Sensitivity", "Of all cells of this class, the share that was classified as such."),
    ("Specificity", "Of all other cells, the share that was not classified as this class."),
    ("PPV", "Of the cells classified as this class, the share that is of it."),
    (
        "Kappa",
        "Agreement with the label beyond what chance alone would give: 0 is chance, 1 is perfect."
        " Weights make a confusion of distant stages count more than one of neighbours.",
    ),
    (
        "Calibration error",
        "How far confidence and accuracy lie apart, less what chance alone would make of it: 0 is"
        " no more than chance.",
    ),
    (
        "Internal test set",
        "The test images of the data that the network was developed on. They are other cells, so"
        " only shares can be compared, not cell by cell.",
    ),
    (
        "Prediction set, coverage",
        "The classes that fit a cell, chosen so that the true one is among them as often as the"
        " guarantee says. It holds for cells like those of calibration; the coverage on these cells"
        " shows whether it holds here.",
    ),
    (
        "Accepted, review, rejected",
        "What the bundle decides on each cell: its label stands, a person should look, or the cell"
        " is unlike those it knows.",
    ),
    ("Case mix", "The share of each class among the cells."),
    (
        "Area under the ROC curve of the images",
        "How well a simple classifier separates these images from the reference sample: 0.5 is not"
        " at all, 1 is completely.",
    ),
    ("Design effect", "How many cells of a shared source count as one independent cell."),
)


def describe_validation(record: Validation, drawn: Drawings, trailer: tuple[str, ...] = ()) -> Page:
    """Describe a validation; `drawn` as `validation_figures.draw_validation` returns it."""
    v = record
    return Page(
        f"Validation of {v.bundle} on {v.data}",
        _describe_lead(v),
        (
            _describe_classes(v, drawn),
            _describe_confusion(v, drawn),
            _describe_agreement(v),
            _describe_confidence(v, drawn),
            _describe_shift(v),
            *_describe_subgroups(v),
            _describe_sizes(v),
            *_describe_recalibration(v),
            *_describe_unreadable(v),
            build_glossary(_TERMS),
            *_describe_provenance(v),
        ),
        trailer,
    )


# -- first screen ---------------------------------------------------------------------------------


def _describe_lead(v: Validation) -> tuple[Block, ...]:
    population = [words.describe_population(v)]
    if v.reference is not None:
        population += [words.describe_reference(v), words.describe_difference(v)]
    confidence = (words.describe_calibration(v), words.describe_decisions(v))
    outcomes = [one.outcome for one in v.criteria]
    return (
        Banner(
            _LEVELS[v.acceptance],
            "",
            (
                Statement(words.describe_acceptance(v.acceptance, outcomes)),
                Text(words.describe_accuracy(v)),
                *((_tabulate_criteria(v),) if v.criteria else ()),
            ),
        ),
        Row(
            (
                Box(tuple(map(Text, population)), "Test population"),
                Box(tuple(map(Text, confidence)), "Confidence and rejection"),
            )
        ),
        Box(
            (
                Bullets(
                    words.list_advice(v) or ("Nothing follows from these cells.",), numbered=True
                ),
            ),
            "What to do next",
        ),
        Banner("caution", "Limitations", (Bullets(words.list_limitations(v)),)),
    )


def _tabulate_criteria(v: Validation) -> Table:
    return build_table(
        ("Criterion", Column("Outcome", is_text=True), "Threshold", "Figure (95 % interval)"),
        (
            (
                words.name_criterion(one),
                Cell(
                    words.OUTCOME_WORDS[one.outcome],
                    note=_describe_outcome(v, one),
                    mark=_MARKS[one.outcome],
                ),
                words.describe_threshold(one),
                words.format_named(one.criterion.figure, one.figure) if one.figure else DASH,
            )
            for one in v.criteria
        ),
        dense=True,
    )


def _describe_outcome(v: Validation, one: CriterionResult) -> str:
    if one.outcome == "not_measured":
        return words.describe_reason(v, one)
    return words.describe_needed(one)


# -- classes --------------------------------------------------------------------------------------


def _share(interval: Interval, note: str = "") -> Cell:
    """A share in per cent, its bounds below it."""
    if interval.low != interval.low:
        return Cell(format_percent(interval.value), note)
    return Cell(
        format_percent(interval.value),
        note or join_bounds(100 * interval.low, 100 * interval.high, 1),
    )


def _round(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _class(label: str) -> Cell:
    return Cell(display_label(label), tag="critical" if is_critical(label) else "")


def _describe_classes(v: Validation, drawn: Drawings) -> Section:
    compared = v.reference is not None
    rows = []
    for one in v.per_class:
        test = one.sensitivity
        p = "" if test.p_value != test.p_value else f"Fisher p = {test.p_value:.2g}"
        row: list[str | Cell] = [_class(one.label), f"{one.n_images:,}", _share(test.external)]
        if compared:
            row += [_share(test.internal), Cell(format_signed(test.difference), p)]
        row.append(_share(one.specificity.external))
        if compared:
            row.append(_share(one.specificity.internal))
        rows.append([*row, _share(one.ppv)])
    sensitivity = ("Sensitivity", "Internal", "Difference") if compared else ("Sensitivity",)
    specificity = ("Specificity", "Internal") if compared else ("Specificity",)
    names = ("Class", "Cells", *sensitivity, *specificity, "PPV")
    caption = "Each figure in per cent with its 95 % interval; differences in points."
    if compared:
        caption += " The internal test set is of other cells: shares are compared, not cells."
    return Section(
        "Classes, external and internal" if compared else "Classes",
        (
            Box(
                (
                    *build_figures(drawn, "classes"),
                    build_table(names, rows, caption, dense=True),
                    Text(
                        "A dash marks an undefined figure: there is no such cell, or the class was"
                        " never predicted. PPV depends on how common each class is.",
                        muted=True,
                    ),
                )
            ),
        ),
    )


def _describe_confusion(v: Validation, drawn: Drawings) -> Section:
    def mark(count: int, is_hit: bool) -> Mark:
        return "zero" if not count else "hit" if is_hit else "miss"

    matrix = build_table(
        ("True \\ predicted", *map(display_label, v.classes)),
        (
            (
                display_label(label),
                *(
                    Cell(f"{count:,}", mark=mark(count, k == own))
                    for k, count in enumerate(v.confusion[own])
                ),
            )
            for own, label in enumerate(v.classes)
        ),
        "Cells by their label (row) and the predicted class (column)",
        matrix=True,
    )
    unknown = build_table(
        ("Class", "Cells", Column("Most often predicted", is_text=True), "Accepted"),
        (
            (
                display_label(one.label),
                f"{one.n_images:,}",
                ", ".join(f"{display_label(k)} {n:,}" for k, n in one.predicted.items()),
                DASH if one.accepted is None else f"{one.accepted:,}",
            )
            for one in v.unknown_classes
        ),
        "Cells of classes unknown to the network",
    )
    tables = (matrix, unknown) if v.unknown_classes else (matrix,)
    return Section("Confusion of classes", (Box((*tables, *build_figures(drawn, "mistakes"))),))


# -- agreement, confidence, shift -----------------------------------------------------------------


def _describe_agreement(v: Validation) -> Section:
    shown = {name: title for name, title in words.FIGURE_NAMES.items() if name in v.figures}
    figures = build_table(
        ("Figure", "Value (95 % interval)"),
        ((title, words.format_named(name, v.figures[name])) for name, title in shown.items()),
        f"Over all {format_count(v.n_images, 'cell')} of classes the network knows; intervals are"
        " over sources",
    )
    readers = map(_describe_reader, v.readers)
    return Section("Agreement", (Text(words.describe_weights(v)), Box((figures,)), *readers))


def _describe_reader(one: ReaderComparison) -> Box:
    name, test = words.name_reader(one), one.test
    return Box(
        (
            build_table(
                ("", f"{name} correct", f"{name} wrong"),
                (
                    ("Network correct", f"{test.both:,}", f"{test.first_only:,}"),
                    ("Network wrong", f"{test.second_only:,}", f"{test.neither:,}"),
                ),
            ),
            Text(
                f"Accuracy: network {format_short(one.network)}, {name} {format_short(one.reader)};"
                f" difference {format_signed(test.difference)} points, exact McNemar p ="
                f" {test.p_value:.3g} over {format_count(test.n_sources, 'source')}. Kappa between"
                f" the two {format_figure(one.kappa)}."
            ),
        ),
        f"Network and {name} on the same {format_count(one.n_images, 'cell')}",
    )


def _describe_confidence(v: Validation, drawn: Drawings) -> Section:
    error = f"Calibration error {format_figure(v.figures['ece'])}"
    if v.reference is not None:
        error += f", on the internal test set {format_number(v.reference.ece, 3)}"
    sentences = (f"{words.describe_calibration(v)} {error}.", words.describe_coverage(v))
    blocks: list[Block] = [Text(text) for text in sentences if text]
    if v.is_calibrated:
        inside: list[Block] = [_tabulate_decisions(v)]
        if v.reasons:
            reasons = "; ".join(f"{reason} ({n:,})" for reason, n in v.reasons.items())
            inside.append(Text(f"Why cells were not accepted: {reasons}.", muted=True))
        blocks.append(Box(tuple(inside)))
    figures = build_figures(drawn, "reliability")
    return Section("Confidence and rejection", (*blocks, *((Box(figures),) if figures else ())))


def _tabulate_decisions(v: Validation) -> Table:
    reference = v.reference
    internal: tuple[str | Cell, ...] = (
        (DASH,) * 4
        if reference is None
        else (
            _share(reference.accepted),
            format_percent(reference.review_frac),
            format_percent(reference.unknown_frac),
            _share(reference.accepted_accuracy),
        )
    )
    names = ("accepted", "review", "rejected", "accuracy_accepted")
    return build_table(
        ("Decision", "External", "Internal"),
        (
            (words.FIGURE_NAMES[name], _share(v.figures[name]), other)
            for name, other in zip(names, internal, strict=True)
        ),
        "Decisions on cells of classes the network knows",
    )


def _describe_shift(v: Validation) -> Section:
    blocks: list[Block] = [Text(words.describe_shift(v))]
    if v.shift.features:
        table = build_table(
            ("Feature", "Internal median", "External median", "Cohen's d", "Size", "Outside"),
            (
                (
                    one.name.replace("_", " "),
                    _round(one.internal_median),
                    _round(one.external_median),
                    format_number(one.effect, 2, "+"),
                    words.describe_effect(one.effect),
                    _share(one.outside),
                )
                for one in v.shift.features
            ),
            "Features of the images, the largest difference first. “Outside” is the share of"
            " external images beyond the range that holds 98 % of the reference sample.",
        )
        note = "A shift need not harm, and harm needs no shift: the tables above show its effect."
        blocks.append(Box((table, Text(note, muted=True))))
    return Section("Shift of the images", tuple(blocks))


# -- subgroups, sizes, recalibration --------------------------------------------------------------


def _describe_subgroups(v: Validation) -> tuple[Section, ...]:
    if not v.subgroups:
        return ()
    note = (
        "A star marks a difference to the rest beyond chance; the intervals of differences, in"
        " points, hold for a whole table together. The expected accuracy is the one that the"
        " group's case mix would have at the sensitivities of all cells."
    )
    boxes = (
        Box(_describe_column(table, v.is_calibrated), f"By {table.column}") for table in v.subgroups
    )
    return (Section("Subgroups", (Text(note), *boxes)),)


def _describe_column(table: SubgroupTable, is_calibrated: bool) -> tuple[Block, ...]:
    note = words.describe_column(table)
    blocks: list[Block] = [Text(note, muted=True)] if note else []
    if table.groups:
        names = ["Value", "Cells", "Sources", "Accuracy", "Expected", "Difference"]
        names += ["Accepted", "Difference"] if is_calibrated else []
        rows = []
        for one in table.groups:
            row: list[str | Cell] = [
                words.name_group(one),
                f"{one.n_images:,}",
                f"{one.n_sources:,}",
                _share(one.accuracy),
                format_percent(one.expected_accuracy),
                format_signed(one.difference) + " *" * one.stands_out,
            ]
            if is_calibrated:
                starred = format_signed(one.accepted_difference) + " *" * one.accepted_stands_out
                row += [_share(one.accepted), starred]
            rows.append(row)
        blocks.append(build_table(names, rows, dense=True))
    return tuple(blocks)


def _describe_sizes(v: Validation) -> Section:
    basis = {"external": "these cells", "internal": "internal test set", "assumed": "assumed"}
    table = build_table(
        ("Class", "Cells", "Needed", "Missing", "At a sensitivity of", "Design effect"),
        (
            (
                display_label(one.label),
                f"{one.n_images:,}",
                f"{one.needed:,}",
                f"{one.missing:,}",
                Cell(format_percent(one.expected), basis[one.basis]),
                f"{one.design_effect:.1f}",
            )
            for one in v.sizes
        ),
        "Labelled cells of each class until its sensitivity is known to"
        f" {100 * v.half_width:g} points either way (half of a 95 % interval)",
    )
    return Section("Number of cells needed", (Box((table,)),))


def _describe_recalibration(v: Validation) -> tuple[Section, ...]:
    found = v.recalibration
    if found is None:
        return ()
    blocks: list[Block] = [Text(words.describe_recalibration(found))]
    gain = words.describe_gain(found)
    blocks += [Text(gain)] if gain else []
    if found.before:
        blocks.append(
            build_table(
                ("On the other half", "Before", "After"),
                (
                    (
                        words.FIGURE_NAMES[name],
                        words.format_named(name, before),
                        words.format_named(name, found.after[name]),
                    )
                    for name, before in found.before.items()
                ),
            )
        )
    blocks.append(Bullets(words.list_recalibration_notes(found)))
    return (Section("Site-specific recalibration", (Box(tuple(blocks)),), brief=True),)


def _describe_unreadable(v: Validation) -> tuple[Section, ...]:
    if not v.unreadable:
        return ()
    n = len(v.unreadable)
    table = build_table(
        ("File", Column("Reason", is_text=True)),
        ((one.path, describe_rejected(one)) for one in v.unreadable[:_SHOWN]),
        f"{n:,} in all{f', the first {_SHOWN} here' if n > _SHOWN else ''}; `unreadable.csv` beside"
        " this page lists them",
    )
    return (Section("In no figure", (Box((table,)),)),)


def _describe_provenance(v: Validation) -> tuple[Section, ...]:
    if v.provenance is None:
        return ()
    content: Mapping[str, object] = asdict(v.provenance)
    names = {"image_size_px": "Image size, px", "weights_sha256": "Weights SHA-256"}
    return build_provenance(
        {
            names.get(key, "leukoscope" if key == "leukoscope" else key.capitalize()): str(value)
            for key, value in content.items()
            if value != ""
        }
    )
