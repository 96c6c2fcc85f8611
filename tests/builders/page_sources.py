"""What a search for duplicates found, with awkward labels and something in every chapter."""

from tests.builders.sources import Album, fill_album

from leukoscope.report.source_page import describe_sources
from leukoscope.sources.review import review_sources


def build_page():
    found = fill_album(Album()).build(("grey/1",), {"rules": 1, "min_agreement": 0.6})
    return describe_sources(review_sources(found), {}, ("Table: sources.csv",))
