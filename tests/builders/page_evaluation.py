"""An evaluation of a calibrated run."""

from tests.builders.evaluation import build_evaluation

from leukoscope.report.evaluation_page import describe_evaluation
from leukoscope.report.page import Picture


def build_page():
    names = (
        "headline",
        "per_class",
        "confusion",
        "roc",
        "risk_coverage",
        "training_curves",
    )
    return describe_evaluation(
        build_evaluation(), {name: Picture("<svg/>", name) for name in names}
    )
