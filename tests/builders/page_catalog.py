"""What is said of a catalog with duplicates and rejected files of every kind."""

from pathlib import Path

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.readers import Rejected
from leukoscope.errors import REJECT_CODES
from leukoscope.report.data_pages import describe_catalog


def build_page():
    labels = ("Blast (L1)", "Blast; L1", "a/b", "a/b")
    records = tuple(
        ImageRecord(f"{k}", Path(f"/c/{k}.png"), label, 9, 9, 9, label)
        for k, label in enumerate(labels)
    )
    rejected = tuple(Rejected("x", code) for code in REJECT_CODES)
    return describe_catalog(Catalog(records, rejected), Path("out/catalog.csv"))
