"""The short pages of calibration and prediction where there is little to say."""

import math
from dataclasses import replace
from pathlib import Path

from tests.builders.page_predictions import DONE
from tests.builders.scores import build_sets
from tests.builders.trust import CHOICE, build_reference

from leukoscope.config import TrustConfig
from leukoscope.report.calibration_page import describe_calibration
from leukoscope.report.page import Banner, Table
from leukoscope.report.prediction_page import describe_predictions
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import Policy
from leukoscope.trust.record import TrustInfo


def count_banners(page):
    return sum(isinstance(block, Banner) for block in page.lead)


def describe(reference):
    info = TrustInfo.model_construct(
        config=TrustConfig(),
        policy=Policy.model_construct(sets=build_sets((0.05, 0.02), (99, 99))),
        choice=CHOICE,
        notes=(),
        reference=reference,
    )
    return describe_calibration(info, Path("trust.json"))


def test_a_disjoint_reference_needs_no_caution():
    (table,) = describe(build_reference()).lead
    assert isinstance(table, Table)
    same = DeliveredSets(0.96, 0.96, 1.0, 0.0, 0, math.nan)
    (shorter,) = describe(build_reference(sets=same)).lead
    assert len(shorter.rows) == len(table.rows) - 1  # coverage without the label is the same
    assert describe(None).lead == ()


def test_a_usual_batch_needs_no_caution():
    assert count_banners(describe_predictions(DONE)) == 1
    assert (
        count_banners(
            describe_predictions(
                replace(DONE, acceptance=replace(DONE.acceptance, is_unusual=False))
            )
        )
        == 0
    )


def test_a_bundle_that_never_rejects_is_a_caution():
    bare = replace(DONE, decisions={}, acceptance=None)
    assert count_banners(describe_predictions(bare)) == 1
    assert count_banners(describe_predictions(replace(bare, errors=bare.images))) == 0
    fewer = replace(bare, errors=0)
    assert len(describe_predictions(fewer).lead) == len(describe_predictions(bare).lead) - 1
