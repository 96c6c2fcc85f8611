"""Every leakage status and every baseline has its words."""

import pytest
from tests.builders.evaluation import build_paired

from leukoscope.evaluation.record import BaselineFigures
from leukoscope.interval import Interval
from leukoscope.report import leakage_words as room
from leukoscope.report.page import Bullets


@pytest.mark.parametrize("status", room.LEAKAGE_TITLES)
def test_every_status_has_its_words(status):
    assert room.describe_leakage(status).startswith(room.LEAKAGE_TITLES[status])
    banner = room.build_leakage_banner(status, ("Because.",))
    assert banner.level == room.LEAKAGE_LEVELS[status] and room.LEAKAGE_NOTES[status]
    assert banner.blocks[-1] == Bullets(("Because.",))
    assert len(room.build_leakage_banner(status).blocks) == 1


@pytest.mark.parametrize("name", room.BASELINE_NAMES)
def test_every_baseline_is_described(name):
    said = room.describe_baseline(
        name, BaselineFigures(Interval(0.5, 0.4, 0.6), 0.5, build_paired(0.1), "a; b")
    )
    assert said.endswith(".") and ("A; b" in said) == (name == "majority")
