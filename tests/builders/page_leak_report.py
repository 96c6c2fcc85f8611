"""A leak report."""

from tests.builders.evaluation import build_leak_report

from leukoscope.report.leak_page import describe_leak_report
from leukoscope.report.page import Picture


def build_page():
    names = ("accuracies",)
    return describe_leak_report(
        build_leak_report(), {name: Picture("<svg/>", name) for name in names}
    )
