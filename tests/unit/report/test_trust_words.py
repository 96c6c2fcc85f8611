"""The words of a report on how sure a network is and when it rejects."""

import math
from types import SimpleNamespace

import pytest

from leukoscope.interval import Interval
from leukoscope.report.trust_words import TrustReport, word_rejection, word_sureness


def report(method="temperature", high=0.02, right=0.99, cautions=()):
    policy = SimpleNamespace(calibration=SimpleNamespace(method=method))
    shares = {name: Interval(v, v, v) for name, v in
              (("accepted", 0.9), ("review", 0.08), ("unknown", 0.02))}  # fmt: skip
    return TrustReport(
        info=SimpleNamespace(policy=policy, asked=SimpleNamespace(alpha=0.05)),
        decisions=SimpleNamespace(shares=shares, accepted_accuracy=Interval(right, 0.97, 0.999)),
        coverage=SimpleNamespace(marginal=Interval(0.951, 0.9, 1.0)),
        before={"ece": Interval(0.031, 0.02, 0.05)},
        after={"ece": Interval(0.004, 0.0, high)},
        cautions=tuple(cautions),
    )


@pytest.mark.parametrize(
    "method, told", [("temperature", "3.1 points before"), ("none", "nothing had to be corrected")]
)
def test_the_error_before_is_told_only_where_something_was_done(method, told):
    found = word_sureness(report(method))
    assert "differ by 0.4 points on average" in found[0] and told in found[0]
    assert ("before calibration" in found[0]) == (method != "none")
    assert "95.1 % of cells; asked was 95.0 %" in found[1]


def test_cautions_come_first_and_one_source_has_no_interval():
    found = word_sureness(report(high=math.nan, cautions=["LEAKED."]))
    assert found[0] == "LEAKED." and "no interval" in found[1]


def test_of_nothing_accepted_no_share_is_right():
    assert "are named right" in word_rejection(report())[0]
    assert word_rejection(report(right=math.nan))[0] == "90.0 % of cells are accepted."


def test_every_report_says_what_rejecting_does_not_tell():
    assert word_rejection(report())[-1].startswith("A kind of cell that it never learned may be")
