"""The page of a calibration with every note, and figures that may be inflated."""

import math
from pathlib import Path

from tests.builders.scores import build_sets
from tests.builders.trust import CHOICE, NOTES, build_reference

from leukoscope.config import TrustConfig
from leukoscope.interval import UNDEFINED
from leukoscope.report.calibration_page import describe_calibration
from leukoscope.report.page import Page
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.decision import Policy
from leukoscope.trust.record import TrustInfo


def build_page() -> Page:
    info = TrustInfo.model_construct(
        config=TrustConfig(),
        policy=Policy.model_construct(sets=build_sets((0.05, 0.02), (99, 99))),
        choice=CHOICE,
        notes=NOTES,
        reference=build_reference(
            data="<script>; a/b",
            leakage_status="unproven",
            accepted_accuracy=UNDEFINED,
            errors=AcceptedErrors(0, 0, math.nan),
        ),
    )
    return describe_calibration(info, Path("runs/a, b/trust.json"))
