"""What is said of a split that leaks, with awkward labels."""

from leukoscope.data.findings import Count, Finding
from leukoscope.data.splits import SharedSources, SplitAudit
from leukoscope.report.data_pages import describe_split


def build_split_audit() -> SplitAudit:
    labels = ("Blast (L1)", "Blast; L1", "a/b")
    return SplitAudit(
        protocol="random",
        seed=42,
        counts={
            "train": dict.fromkeys(labels, 1000),
            "val": {},
            "calib": {},
            "test": {labels[0]: 98, labels[1]: 1},
        },
        n_sources={"train": 2000, "val": 0, "calib": 0, "test": 70},
        n_left_aside=1,
        sources_known=False,
        source_kind="unknown",
        shared=(SharedSources(("train", "test"), 1, ("px-a; b",), 1),),
        test_with_copy_in_training=1,
        leakage_status="leaking",
        findings=(
            Finding(
                "sources_shared",
                "error",
                {"n_related": 1, "n_images": 99},
                (Count(("train", "test"), 1),),
            ),
            Finding("sources_unknown", "warning", {"n_images": 3099}),
            Finding("class_missing", "warning", counts=(Count(("test", "a/b"), 0),)),
            Finding("few_test_images", "warning", {"limit": 30}, (Count((labels[1],), 1),)),
            Finding("without_role", "note", {"n_images": 1}),
        ),
    )


def build_page():
    return describe_split(build_split_audit(), ("Split: split.csv",))
