"""A differential as it may come out of a laboratory's 200 cells."""

from leukoscope.interval import Interval
from leukoscope.smear.differential import (
    ClassShare,
    DifferentialProvenance,
    DifferentialRecord,
    OtherCells,
    ReferenceLimits,
    Totals,
)


def make_record(sample="S-17"):
    """A full record: a left shift, nucleated red cells, and a white count."""
    share = ReferenceLimits(0.4, 0.75, "share", "made up")
    return DifferentialRecord(
        sample=sample,
        totals=Totals(24, 1, 212, 200, 9, 4, 6, 0, 2, 0, 5, 3),
        classes=(
            ClassShare(
                "segmented_neutrophil",
                120,
                3,
                Interval(0.6, 0.529, 0.668),
                Interval(0.585, 0.5, 0.66),
                Interval(6.3, 5.4, 7.1),
                190,
            ),
            ClassShare(
                "band_neutrophil",
                30,
                4,
                Interval(0.15, 0.104, 0.207),
                Interval(0.17, 0.1, 0.25),
                Interval(1.8, 1.1, 2.7),
                None,
            ),
            ClassShare(
                "lymphocyte",
                40,
                1,
                Interval(0.2, 0.147, 0.262),
                Interval(0.2, 0.144, 0.262),
                Interval(2.2, 1.6, 2.8),
                60,
                ReferenceLimits(1.0, 4.0, "10^9/L", "made up"),
                "within",
            ),
            ClassShare(
                "metamyelocyte",
                10,
                1,
                Interval(0.05, 0.024, 0.09),
                Interval(0.045, 0.013, 0.09),
                Interval(0.5, 0.1, 1.0),
                0,
            ),
        ),
        sums=(
            ClassShare(
                "neutrophil",
                150,
                7,
                Interval(0.75, 0.684, 0.808),
                Interval(0.755, 0.68, 0.82),
                Interval(8.2, 7.3, 8.9),
                100,
                share,
                "perhaps_above",
            ),
        ),
        others=(
            OtherCells("erythroblast", "nucleated_red", 6, 1, Interval(3.0, 1.1, 6.4)),
            OtherCells("smudge_cell", "smudge", 2, 0, Interval(1.0, 0.1, 3.6)),
        ),
        nucleated_red_per_100=Interval(3.0, 1.1, 6.4),
        white_count=10.8,
        corrected_white_count=10.8,
        immature=Interval(0.045, 0.013, 0.09),
        bands=Interval(0.17, 0.1, 0.25),
        left_shift="perhaps",
        notes=(),
        provenance=DifferentialProvenance("0.1.0", "bundle", "a" * 64, "b" * 64, "fp32", 0.05, 5.0),
        images=("S-17/field_01.png", "S-17/field_02.png"),
    )
