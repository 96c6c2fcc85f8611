"""Every code has words; what they say is read in the golden pages."""

import math

import pytest
from tests.builders.trust import REASONS

from leukoscope.labels import display_label
from leukoscope.report.decision_words import (
    FEATURE_WORDS,
    REASON_NAMES,
    describe_reason,
    describe_reasons,
    describe_sets,
    name_feature,
)
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import REASON_CODES, Reason
from leukoscope.trust.quality import QUALITY_NAMES


def test_every_reason_has_words():
    assert set(REASON_NAMES) == set(REASON_CODES) == {one.code for one in REASONS}
    assert set(FEATURE_WORDS) == set(QUALITY_NAMES)
    assert all(map(describe_reason, REASONS))


def test_labels_stay_as_they_are():
    text = describe_reasons(REASONS)
    for label in ("Blast; L1", "Blast (L1)", "a/b | c", "confidence 1 % below 2 %"):
        assert display_label(label) in text
    assert describe_reasons(()) == ""


@pytest.mark.parametrize("least", [0.9, 0.9001, 0.99999, 1e-4])
def test_a_confidence_below_its_threshold_never_reads_alike(least):
    confidence = math.nextafter(least, 0)
    text = describe_reason(
        Reason("low_confidence", {"confidence": confidence, "min_confidence": least})
    )
    found, threshold = (float(part.split(" ")[-2]) for part in text.split("%")[:2])
    assert found < threshold


def test_features_that_stand_alone_have_names_of_their_own():
    names = [name_feature(feature) for feature in QUALITY_NAMES]
    assert len(set(names)) == len(QUALITY_NAMES) and not any("_" in name for name in names)


def test_sets_of_one_label_say_no_more_than_the_label():
    said = describe_sets(DeliveredSets(0.97, 0.97, 1.0, 0.0, 5, 0.0), 0.95)
    assert said.endswith("the sets say no more than it does.") and "without" not in said
    said = describe_sets(DeliveredSets(1.0, 1.0, 1.1, 0.1, 0, math.nan), 0.95)
    assert "misclassified" not in said
