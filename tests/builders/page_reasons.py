"""A page of every reason and every count of reasons in words."""

from tests.builders.trust import REASONS

from leukoscope.evaluation.decisions import count_reasons
from leukoscope.report.decision_words import describe_reason, name_reason
from leukoscope.report.page import Bullets, Page, Section
from leukoscope.trust.decision import Reason
from leukoscope.trust.quality import QUALITY_NAMES


def build_page() -> Page:
    """Each reason, then each feature of quality on either side."""
    quality = [
        Reason(
            "poor_quality",
            {"feature": name, "side": side, "value": value, "usual_low": 0.2, "usual_high": 0.3},
        )
        for name in QUALITY_NAMES
        for side, value in (("low", 0.125), ("high", 0.5))
    ]
    counts = count_reasons([(*REASONS, *quality)])
    return Page(
        "Reasons",
        (Bullets(tuple(map(describe_reason, REASONS))),),
        (
            Section("Image quality", (Bullets(tuple(map(describe_reason, quality))),)),
            Section("Counted", (Bullets(tuple(map(name_reason, counts))),)),
        ),
    )
