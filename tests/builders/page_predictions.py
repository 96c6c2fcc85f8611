"""The page of a prediction on images that are accepted too rarely, some of them unreadable."""

from pathlib import Path

from leukoscope.data.readers import Rejected
from leukoscope.deploy.tables import PredictedFiles
from leukoscope.report.page import Page
from leukoscope.report.prediction_page import describe_predictions
from leukoscope.trust.folder import FolderAcceptance

DONE = PredictedFiles(
    Path("out/<script>.csv"),
    images=1200,
    errors=3,
    seconds=2.5,
    decisions={"accepted": 600, "review": 500, "unknown": 97},
    acceptance=FolderAcceptance(600 / 1197, 0.812, True),
    passed_over=(
        *(Rejected(f"{k}", "not_an_image", found=f".{'abcdefghi'[k]}") for k in range(9)),
        Rejected("b.heic", "not_an_image", found=".heic"),
        Rejected("c.heic", "not_an_image", found=".heic"),
        Rejected("noending", "not_an_image"),
        Rejected(".DS_Store", "hidden"),
    ),
)


def build_page() -> Page:
    return describe_predictions(DONE)
