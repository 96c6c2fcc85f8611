"""From labelled cells to a differential: what counts, what stands apart, what is noted."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.trust import build_reference

from leukoscope.interval import Interval
from leukoscope.smear.counting import CountSettings, Sample, count_sample
from leukoscope.smear.differential import (
    CountedCell,
    DifferentialProvenance,
    ReferenceLimits,
    Totals,
)
from leukoscope.smear.reference import ReferenceSet
from leukoscope.trust.record import CalibrationCounts

CLASSES = (
    *("segmented_neutrophil", "band_neutrophil", "lymphocyte", "metamyelocyte", "myelocyte"),
    *("erythroblast", "platelet", "smudge_cell", "artefact"),
)
PROVENANCE = DifferentialProvenance("0", "b", "a" * 64, "b" * 64, "fp32", 0.05, 5.0)


class Trusted:
    """What counting reads of a trust record."""

    def __init__(self, counts, reference=None):
        self.calibration_counts, self.reference = counts, reference


def calibrate(right=96, wrong=1, effective=None):
    """Each class of 100 cells or so: `right`, `wrong` for each other class, two unknown."""
    k = len(CLASSES)
    called = np.full((k, k + 1), wrong)
    np.fill_diagonal(called, right)
    called[:, k] = 2
    rows = tuple(tuple(int(x) for x in row) for row in called)
    return Trusted(CalibrationCounts(called=rows, effective=effective or (float(right),) * k))


def draw(**counts):
    """Cells of each label, accepted, each an image of its own."""
    return [
        CountedCell(f"{label}/{i}.png", label=label, confidence=0.9, decision="accepted")
        for label, n in counts.items()
        for i in range(n)
    ]


def count(cells, trust=None, settings=None, reference=None, classes=CLASSES, **sample):
    images = tuple(dict.fromkeys(cell.image for cell in cells))
    return count_sample(
        Sample("S", images, tuple(cells), **sample), classes, trust, PROVENANCE, settings, reference
    )


def list_codes(record):
    return [note.code for note in record.notes]


def test_shares_are_of_the_white_cells_alone():
    cells = draw(segmented_neutrophil=60, lymphocyte=40, erythroblast=10, platelet=7,
                 smudge_cell=5, artefact=3)  # fmt: skip
    cells += [
        CountedCell("x.png", label="lymphocyte", decision="unknown"),
        CountedCell("y.png", label="lymphocyte", decision="review"),
        CountedCell("f.png", 1, (0, 0, 9, 9), 0.9, True),
        CountedCell("f.png", 2, (5, 5, 9, 9), 0.9, False, "e.png#3"),
        CountedCell("z.png", error="truncated: half"),
    ]
    record = count(cells)
    assert record.totals == Totals(
        files=129, unreadable=1, found=127, counted=101, in_review=1, unidentified=1,
        nucleated_red=10, platelets=7, smudge=5, other=3, edge=1, duplicates=1,
    )  # fmt: skip
    lymphocyte = record.get_share("lymphocyte")
    assert (lymphocyte.count, lymphocyte.n_review) == (41, 1)
    assert lymphocyte.raw.value == pytest.approx(41 / 101)
    assert sum(one.raw.value for one in record.classes) == pytest.approx(1)
    assert math.isnan(lymphocyte.corrected.value)
    assert lymphocyte.best == lymphocyte.raw
    red = record.others[0]
    assert (red.label, red.per_100_white.value) == ("erythroblast", pytest.approx(100 * 10 / 101))
    assert red.per_100_white == record.nucleated_red_per_100
    assert red.per_100_white.low < red.per_100_white.value < red.per_100_white.high
    assert list_codes(record) == ["critical_cells", "no_correction"]


def test_classes_are_added_up_where_the_network_tells_them_apart():
    record = count(draw(segmented_neutrophil=50, band_neutrophil=10, myelocyte=2, lymphocyte=38))
    assert [(one.label, one.count) for one in record.sums] == [
        ("neutrophil", 60),
        ("immature_granulocyte", 2),
    ]
    assert record.get_share("neutrophil").raw.value == 0.6
    assert record.immature.value == 0.02
    alone = count(draw(neutrophil=5), classes=("neutrophil", "lymphocyte"))
    assert alone.sums == ()
    assert math.isnan(alone.immature.value)


def test_the_correction_is_unsure_where_the_network_is():
    cells = draw(segmented_neutrophil=100, band_neutrophil=20, lymphocyte=80)
    good, poor = (count(cells, one) for one in (calibrate(300, 0), calibrate(60, 4)))
    wide = count(cells, calibrate(60, 4, (20.0,) * len(CLASSES)))
    for k in range(3):
        raw, one, two, three = (
            x.high - x.low
            for x in (
                good.classes[k].raw,
                good.classes[k].corrected,
                poor.classes[k].corrected,
                wide.classes[k].corrected,
            )
        )
        assert one == pytest.approx(raw, rel=0.15)
        assert one < two < three
    assert sum(one.corrected.value for one in poor.classes) == pytest.approx(1)
    assert list_codes(good) == []


def test_more_cells_help_as_far_as_the_network_is_known():
    cells = draw(segmented_neutrophil=100, lymphocyte=100)
    raw = count(cells).get_share("lymphocyte")
    assert raw.n_more == pytest.approx(200 * ((raw.raw.high - raw.raw.low) / 0.1) ** 2 - 200, abs=1)
    known = count(cells, calibrate(3000, 5)).get_share("lymphocyte")
    assert known.n_more == pytest.approx(raw.n_more, rel=0.2)
    unknown = count(cells, calibrate(8, 1), CountSettings(precision=0.02))
    assert unknown.get_share("lymphocyte").n_more is None
    assert list_codes(unknown) == ["few_calibration_cells", "precision_out_of_reach"]
    assert count(cells, settings=CountSettings(precision=0.3)).classes[0].n_more == 0


def test_nucleated_red_cells_leave_the_white_count_above_the_threshold():
    cells = draw(segmented_neutrophil=70, lymphocyte=30, erythroblast=25)
    record = count(cells, white_count=10.0)
    assert record.corrected_white_count == pytest.approx(8.0)
    assert record.classes[0].absolute.value == pytest.approx(5.6)
    assert list_codes(record)[1] == "white_count_corrected"
    kept = count(cells, settings=CountSettings(red_threshold=50), white_count=10.0)
    assert kept.corrected_white_count == 10.0
    few = count(draw(neutrophil=9), classes=("neutrophil", "lymphocyte"), white_count=10.0)
    assert list_codes(few)[:2] == ["few_white_cells", "nucleated_red_not_known"]


@pytest.mark.parametrize(
    ("bands", "young", "found"), [(0, 0, "none"), (45, 0, "present"), (0, 5, "perhaps")]
)
def test_left_shift(bands, young, found):
    cells = draw(segmented_neutrophil=100, band_neutrophil=bands, metamyelocyte=young,
                 lymphocyte=100)  # fmt: skip
    assert count(cells).left_shift == found


def test_a_network_without_young_cells_knows_no_left_shift():
    record = count(draw(neutrophil=9), classes=("neutrophil", "lymphocyte"))
    assert record.left_shift == "not_known"


def test_limits_are_absolute_where_the_white_count_is_given():
    share = ReferenceLimits(0.1, 0.3, "share", "a book")
    absolute = ReferenceLimits(1.0, 4.0, "10^9/L", "a book")
    total = ReferenceLimits(5.0, 9.0, "10^9/L", "a book")
    reference = ReferenceSet(
        "mine", "adults", "", {"lymphocyte": share},
        {"lymphocyte": absolute, "neutrophil": absolute, "white_cell": total},
    )  # fmt: skip
    cells = draw(segmented_neutrophil=20, lymphocyte=80)
    records = [count(cells, reference=reference, white_count=white) for white in (math.nan, 4.5)]
    without, given = (record.get_share("lymphocyte") for record in records)
    assert (without.limits, without.relation) == (share, "above")
    assert (given.limits, given.relation) == (absolute, "within")
    assert records[0].get_share("neutrophil").relation == ""
    assert records[0].white_count_relation == ""
    assert (records[1].white_count_limits, records[1].white_count_relation) == (total, "below")
    assert records[0].reference.name == "mine"
    assert count(cells).reference is None


def test_cells_of_another_look_are_noted():
    classes = ("neutrophil", "lymphocyte", "monocyte")
    reference = build_reference()
    assert len(reference.confusion) == len(classes)
    cells = draw(neutrophil=100, lymphocyte=100)
    dim = [
        CountedCell(one.image, label=one.label, decision="unknown" if i % 2 else "accepted")
        for i, one in enumerate(cells)
    ]
    trust = Trusted(None, reference)
    assert "appearance_differs" not in list_codes(count(cells, trust, classes=classes))
    found = list_codes(count(dim, trust, classes=classes))
    assert found == ["appearance_differs", "many_unidentified", "no_correction"]


def test_a_sample_without_white_cells_has_no_shares():
    record = count(draw(erythroblast=3), calibrate())
    assert list_codes(record) == ["critical_cells", "nothing_counted"]
    assert all(math.isnan(one.best.value) for one in record.classes)
    assert math.isnan(record.nucleated_red_per_100.value)
    empty = count([CountedCell("z.png", error="truncated: half")], calibrate())
    assert empty.totals.unreadable == 1
    assert list_codes(empty) == ["nothing_counted"]


def test_the_same_cells_give_the_same_figures():
    cells = draw(segmented_neutrophil=50, lymphocyte=50)
    assert repr(count(cells, calibrate())) == repr(count(cells, calibrate()))
    assert isinstance(count(cells, calibrate()).classes[0].corrected, Interval)


def test_a_class_that_the_edge_cuts_more_often_has_a_larger_share():
    """One in two of the myelocytes, four in five of the lymphocytes lie whole in their fields."""
    cells = draw(lymphocyte=80, myelocyte=20)
    chances = {"lymphocyte": 0.8, "myelocyte": 0.5}
    cells = [replace(one, whole_frac=chances[one.label]) for one in cells]
    perfect = calibrate(right=100_000, wrong=0)
    record = count(cells, perfect)
    share = record.get_share("myelocyte")
    assert share.raw.value == 0.2
    assert share.corrected.value == pytest.approx(40 / 140, abs=0.005)
    assert share.corrected.low < 40 / 140 < share.corrected.high
    assert count(draw(lymphocyte=80, myelocyte=20), perfect).get_share(
        "myelocyte"
    ).corrected.value == pytest.approx(0.2, abs=0.005)
