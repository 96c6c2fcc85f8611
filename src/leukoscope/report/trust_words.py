"""What a report says of calibration, prediction sets and rejections: words and tables.

What this file does not do: it computes nothing (`decisions`, `trust_measures`) and lays out no
page (`report`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from leukoscope.evaluation.decisions import DecisionFigures
from leukoscope.interval import Interval
from leukoscope.trust.calibration import CalibrationMethod
from leukoscope.trust.conformal import Coverage
from leukoscope.trust.record import TrustInfo


@dataclass(frozen=True)
class TrustReport:
    """Trust on the images of one evaluation.

    `before` and `after` calibration hold the figures of `trust_measures.measure_calibration`.
    `coverage` is of the sets as theory defines them, which may be empty. `cautions` say what the
    figures are worth where that is not what it seems; `foreign` what speaks against these images
    being of the kind that the limits were fitted on.
    """

    info: TrustInfo
    decisions: DecisionFigures
    coverage: Coverage
    before: Mapping[str, Interval]
    after: Mapping[str, Interval]
    cautions: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


NEW_KINDS = "A kind of cell that it never learned may be accepted under another name."
"""Of five kinds left out of training 8 to 51 % were (docs/experiments/030), and no figure of known
kinds shows it."""

CALIBRATION_WORDS: Mapping[CalibrationMethod, str] = {
    "none": "nothing had to be corrected",
    "temperature": "by a temperature",
    "bias_corrected": "by a temperature and a shift per class",
}


def word_sureness(trust: TrustReport) -> tuple[str, ...]:
    """Say how far stated confidence can be believed here, in sentences for the first screen."""
    before, after = trust.before["ece"], trust.after["ece"]
    asked = 1 - trust.info.asked.alpha
    up_to = (
        "no interval, since all come from one source"
        if math.isnan(after.high)
        else f"95 % interval up to {format_points(after.high)}"
    )
    was = (
        CALIBRATION_WORDS["none"]
        if trust.info.policy.calibration.method == "none"
        else f"{format_points(before.value)} before calibration"
    )
    sentences = [
        f"Stated confidence and real success differ by {format_points(after.value)} on average"
        f" ({up_to}; {was}).",
        f"The set of names that fit holds the right one for"
        f" {format_share(trust.coverage.marginal.value)} of cells; asked was"
        f" {format_share(asked)}.",
    ]
    return (*trust.cautions, *trust.foreign, *sentences)


def word_rejection(trust: TrustReport) -> tuple[str, ...]:
    """Say how many cells are accepted, how often rightly, and what becomes of the others."""
    shares = trust.decisions.shares
    right = trust.decisions.accepted_accuracy
    accepted = f"{format_share(shares['accepted'].value)} of cells are accepted"
    if right.value == right.value:
        accepted += (
            f"; of these {format_share(right.value)} are named right (95 % interval"
            f" {format_share(right.low)} to {format_share(right.high)})"
        )
    return (
        *trust.cautions,
        f"{accepted}.",
        f"{format_share(shares['review'].value)} go to a person for review;"
        f" {format_share(shares['unknown'].value)} are rejected as unknown.",
        NEW_KINDS,
    )


def list_trust_rows(trust: TrustReport) -> list[tuple[str, Interval, Interval]]:
    """Return (name, before, after) of every figure of calibration."""
    names = {
        "ece": "Calibration error, debiased",
        "brier": "Brier score: reliability - resolution + uncertainty + within bins",
        "brier_reliability": "its reliability: stated chance against frequency",
        "brier_resolution": "its resolution: frequencies apart (higher is better)",
        "brier_uncertainty": "its uncertainty: that of the classes themselves",
        "brier_within": "what its bins hide",
        "log_loss": "Log loss",
    }
    return [(shown, trust.before[name], trust.after[name]) for name, shown in names.items()]


def format_share(value: float) -> str:
    """Return a share in per cent; 100 and 0 only where they are exact.

    >>> format_share(0.9551), format_share(0.99996), format_share(1.0)
    ('95.5 %', '>99.9 %', '100 %')
    """
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    text = f"{100 * value:.1f}"
    return ">99.9 %" if text == "100.0" else "<0.1 %" if text == "0.0" else f"{text} %"


def format_points(value: float) -> str:
    """Return a difference of shares in percentage points.

    >>> format_points(0.0061), format_points(0.0)
    ('0.6 points', 'less than 0.1 points')
    """
    return f"{100 * value:.1f} points" if value >= 0.0005 else "less than 0.1 points"
