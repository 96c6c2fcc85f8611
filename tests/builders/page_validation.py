"""A validation page with something in every part, of labels that break what parses them."""

from tests.builders.validation import build_validation

from leukoscope.report.page import Picture
from leukoscope.report.validation_page import describe_validation


def build_page():
    drawn = {name: Picture("<svg/>", name) for name in ("classes", "reliability", "mistakes")}
    return describe_validation(build_validation(), drawn)
