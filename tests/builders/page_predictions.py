"""The page of a prediction on images that are accepted too rarely, some of them unreadable."""

from pathlib import Path

from leukoscope.deploy.tables import PredictedFiles
from leukoscope.report.page import Page
from leukoscope.report.prediction_page import describe_predictions

DONE = PredictedFiles(
    Path("out/<script>.csv"),
    images=1200,
    errors=3,
    seconds=2.5,
    decisions={"accepted": 600, "review": 500, "unknown": 97},
    reference_accepted=0.812,
    unusual=True,
)


def build_page() -> Page:
    return describe_predictions(DONE)
