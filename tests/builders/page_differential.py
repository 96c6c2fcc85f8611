"""The page of a differential with a left shift, limits, broken images, names like HTML."""

from dataclasses import replace

from tests.builders.differential import make_record

from leukoscope.interval import UNDEFINED
from leukoscope.report.differential_figures import DrawnDifferential, draw_bars
from leukoscope.report.differential_page import describe_differential
from leukoscope.report.page import Page, Picture
from leukoscope.smear.differential import CountedCell, ReferencePopulation
from leukoscope.trust.decision import Reason
from leukoscope.trust.notes import Note

CELLS = (
    CountedCell("a.png", 1, (5, 5, 60, 60), 0.98, label="lymphocyte", confidence=0.999,
                decision="accepted", labels=("lymphocyte",)),
    CountedCell("a.png", 2, (90, 5, 150, 60), 0.9, label="metamyelocyte", confidence=0.61,
                decision="review", labels=("metamyelocyte", "band_neutrophil"),
                reasons=(Reason("several_labels", {"labels": ("metamyelocyte",)}),
                         Reason("low_confidence", {"confidence": 0.6, "min_confidence": 0.9}))),
    CountedCell("a.png", 3, (0, 80, 30, 140), 0.7, True),
    CountedCell("b.png", 1, (5, 5, 60, 60), 0.8, label="lymphocyte", confidence=0.4,
                decision="unknown", reasons=(Reason("not_finite"),)),
    CountedCell("b.png", 2, (90, 90, 150, 150), 0.8, False, "a.png#1", "lymphocyte", 0.9,
                "accepted"),
    *(CountedCell(f"<broken> {k}.png", error="truncated: half") for k in range(22)),
)  # fmt: skip


def build_record():
    notes = (
        Note("critical_cells", {"labels": ("metamyelocyte", "erythroblast"), "n": 16}),
        Note("few_calibration_cells", {"labels": ("metamyelocyte",), "n_needed": 10}),
    )
    return replace(
        make_record("<S-17>"),
        notes=notes,
        reference=ReferencePopulation("mine", "adults", "Children have\nother limits."),
        remark="day 3 <b>",
    )


def build_page() -> Page:
    record = build_record()
    picture = Picture(b"\xff\xd8", "a cell")
    drawn = DrawnDifferential(
        draw_bars(record),
        {"a.png": picture},
        {(cell.image, cell.number): picture for cell in CELLS if cell.label},
        3,
    )
    return describe_differential(record, CELLS, drawn)


def build_raw():
    """Without a correction, limits or a white count."""
    record = build_record()

    def strip(shares):
        return tuple(
            replace(one, corrected=UNDEFINED, absolute=UNDEFINED, limits=None, relation="")
            for one in shares
        )

    nan = float("nan")
    return replace(
        record,
        classes=strip(record.classes),
        sums=strip(record.sums),
        white_count=nan,
        corrected_white_count=nan,
        reference=None,
        notes=(Note("no_correction", {"is_calibrated": 0}),),
    )
