"""The page that leads to the reports of several samples, one of them without a white cell."""

from dataclasses import replace

from tests.builders.differential import make_record
from tests.builders.page_differential import build_raw

from leukoscope.interval import UNDEFINED
from leukoscope.report.differential_page import describe_samples
from leukoscope.report.page import Page


def build_page() -> Page:
    empty = make_record("empty")
    empty = replace(
        empty,
        sums=(),
        classes=tuple(
            replace(one, raw=UNDEFINED, corrected=UNDEFINED, relation="")
            for one in empty.classes[2:3]
        ),
        totals=replace(empty.totals, counted=0),
    )
    return describe_samples([make_record(), build_raw(), empty], ["S-17.html", "b c.html", "e"])
