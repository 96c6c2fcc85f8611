"""Pages of several networks side by side: an ensemble and its members, student and teacher.

What this file does not do: it computes nothing (`evaluation.comparison`).
"""

from collections.abc import Sequence

from leukoscope.evaluation.comparison import (
    Agreement,
    DistillationComparison,
    EnsembleComparison,
    EnsembleWarning,
    NetworkFigures,
)
from leukoscope.interval import Interval
from leukoscope.report.page import (
    Banner,
    Block,
    Bullets,
    Cell,
    Column,
    Page,
    Table,
    Text,
    build_table,
)
from leukoscope.text import format_count, format_range, join_bounds


def describe_ensemble(record: EnsembleComparison, trailer: tuple[str, ...] = ()) -> Page:
    """Describe an ensemble beside its members, and what cannot be known of it."""
    roles = ", ".join(f"{role} {n:,}" for role, n in record.roles.items())
    doubts = tuple(_describe_warning(record, code) for code in record.warnings)
    lead: tuple[Block, ...] = (
        Text(f"Images of the ensemble {record.name}: {roles}."),
        *_tabulate_networks(record.figures),
        *((Banner("caution", "", (Bullets(doubts),)),) if doubts else ()),
    )
    return Page(f"Ensemble {record.name}", lead, (), trailer)


def _describe_warning(record: EnsembleComparison, code: EnsembleWarning) -> str:
    if code == "no_new_test_images":
        return (
            "No test image is new to all members: each was trained on what another was tested on,"
            " as k folds are. The figures are those of the single members on their own test"
            " images; evaluate the ensemble on other data (`leukoscope evaluate RUN --data OTHER`)."
        )
    if code == "few_new_images":
        return (
            f"Only {record.n_new:,} of {record.n_images:,} images are new to all members, since"
            " these were trained on different splits; more remain when they share one."
        )
    return f"Without a score table, and so without figures: {', '.join(record.unscored)}."


def describe_distillation(record: DistillationComparison, trailer: tuple[str, ...] = ()) -> Page:
    """Describe a student beside its teacher: figures, changed decisions, size and time."""
    teacher, student = record.teacher, record.student
    cost = (
        f"Size: {teacher.parameters:,} parameters, the student {student.parameters:,}. Time per"
        f" image: {teacher.ms_per_image:.1f} ms, the student {student.ms_per_image:.1f} ms."
    )
    lead: tuple[Block, ...] = (
        *_tabulate_networks(record.figures),
        *(Text(_describe_agreement(row)) for row in record.parity),
        Text(cost),
    )
    return Page(f"Student of {teacher.run}", lead, (), trailer)


def _describe_agreement(row: Agreement) -> str:
    neither = row.changed - row.gained - row.lost
    return (
        f"{row.role}: the student decides otherwise on {row.changed:,} of"
        f" {format_count(row.n_images, 'image')} ({row.lost:,} classified correctly only by the"
        f" teacher, {row.gained:,} only by the student, {neither:,} by neither); agreement"
        f" {format_range(row.agreement)}."
    )


def _tabulate_networks(rows: Sequence[NetworkFigures]) -> tuple[Table, ...]:
    """One table per role, narrow enough for a terminal of 80 columns."""
    names = ("Accuracy", "Log loss", "Calibration error", "Members differ")
    tables = []
    for role in dict.fromkeys(row.role for row in rows):
        own = [row for row in rows if row.role == role]
        table = build_table(
            (Column("Network", is_text=True), *names),
            (
                (
                    row.name,
                    *(_format_cell(x) for x in (row.accuracy, row.log_loss, row.ece)),
                    "" if row.disagreement is None else f"{row.disagreement:.4f} nats",
                )
                for row in own
            ),
            f"Networks on {role}, {format_count(own[0].n_images, 'image')}, 95 % interval",
        )
        tables.append(table)
    return tuple(tables)


def _format_cell(figure: Interval) -> Cell:
    return Cell(f"{figure.value:.3f}", note=join_bounds(figure.low, figure.high, 3))
