"""Every code has its words; whatever a label holds, it comes through."""

import pytest

from leukoscope.evaluation.record import REMARK_CODES, BaselineFigures, Remark
from leukoscope.interval import Interval
from leukoscope.report import leakage_words as room
from leukoscope.report.page import Bullets

VALUES = {
    "n": 2,
    "n_images": 40,
    "data": "far; lab",
    "baseline": "colour_histogram",
    "accuracy": 0.999,
    "network": 0.994,
    "labels": ("Blast; L1", "a/b"),
    "role": "test",
    "gap": 0.4,
    "p_value": 1e-9,
}


@pytest.mark.parametrize("code", REMARK_CODES)
def test_every_remark_is_a_sentence(code):
    said = room.describe_remark(Remark(code, VALUES))
    assert said[0].isupper() or said[0].isdigit()
    assert said.endswith(".")


def test_one_and_several_and_labels_as_they_are():
    one = Remark("unknown_classes", {"n": 1, "labels": ("Blast; L1",)})
    assert room.describe_remark(one).startswith("1 image is of classes")
    said = room.describe_remark(Remark("unknown_classes", VALUES))
    assert said.startswith("2 images are of classes") and said.endswith("Blast; L1 and A/b.")


def test_a_tiny_chance_is_never_none():
    assert "p below 0.0001" in room.describe_remark(Remark("trust_shifted", VALUES))


@pytest.mark.parametrize("status", room.LEAKAGE_TITLES)
def test_every_status_has_its_words(status):
    assert room.describe_leakage(status).startswith(room.LEAKAGE_TITLES[status])
    banner = room.build_leakage_banner(status, ("Because.",))
    assert banner.level == room.LEAKAGE_LEVELS[status] and room.LEAKAGE_NOTES[status]
    assert banner.blocks[-1] == Bullets(("Because.",))
    assert len(room.build_leakage_banner(status).blocks) == 1


@pytest.mark.parametrize("name", room.BASELINE_NAMES)
def test_every_baseline_is_described(name):
    said = room.describe_baseline(name, BaselineFigures(Interval(0.5, 0.4, 0.6), 0.5, "a; b"))
    assert said.endswith(".") and ("A; b" in said) == (name == "majority")
