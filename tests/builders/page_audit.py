"""A data audit in which everything was found, with awkward labels."""

from tests.builders.page_split import build_split_audit

from leukoscope.data.audit import ClassSources, DataAudit, RelatedCounts, Repetition, SharedData
from leukoscope.data.findings import Count, Example, ExampleImage, Finding, Relation
from leukoscope.report.audit_page import describe_audit

LABELS = ("Blast (L1)", "Blast; L1", "a/b", '<script>alert("x")</script>')


def build_example(relation: Relation, role: str = "") -> Example:
    return Example(
        relation,
        ExampleImage("a/one.png", "/cells/a/one.png", LABELS[0], role and "test"),
        ExampleImage("<b>, two.png", "/cells/<b>, two.png", LABELS[1], role and "train"),
    )


def build_findings() -> tuple[Finding, ...]:
    """Every finding once, the gravest first."""
    leak = {"n_related": 3, "n_images": 99}
    pairs = (Count(("train", "test"), 3), Count(("val", "test"), 1))
    other = {"n_related": 1, "n_images": 4, "n_ours": 1500, "n_our_images": 5000, "n_sources": 2}
    groups = {"n_images": 1200, "n_groups": 2}
    conflicts = (Count(LABELS[:2], 1), Count(LABELS[1:3], 7))
    some = tuple(build_example(relation) for relation in ("exact", "source", "field")) * 2
    return (
        Finding("test_duplicates", "error", leak, pairs, (build_example("source", "test"),)),
        Finding("test_same_field", "error", leak, pairs),
        Finding("sources_shared", "error", leak, pairs),
        Finding("sources_shared", "error", leak | {"n_related": 0}, pairs),
        Finding("data_shared", "error", other, examples=some),
        Finding("data_share_field", "error", other),
        Finding("label_conflict", "error", {"n_cells": 8}, conflicts, some),
        Finding("files_in_conflict", "error", {"n_cells": 1, "n_files": 2}, conflicts[:1]),
        Finding(
            "copies_found",
            "error",
            leak | {"n_all_images": 1200, "n_training": 700, "n_all_training": 700, "n_smooth": 2},
            examples=some[1:2],
        ),
        Finding("sources_unknown", "warning", {"n_images": 1}),
        Finding("sources_alike", "warning", {"n_groups": 2}, (Count(("P1", "p01"), 2),)),
        Finding("test_part_trained_on", "warning", {"n_images": 3}),
        Finding("parts_unknown", "warning", {"n_images": 1}, (Count(("<odd>",), 1),)),
        Finding("parts_not_followed", "note", {"n_images": 5}, (Count(("train",), 9),)),
        Finding("sources_name_files", "warning", {"n_images": 400, "n_sources": 399}),
        Finding("role_empty", "warning", counts=(Count(("val",), 0), Count(("test",), 0))),
        Finding(
            "class_missing",
            "warning",
            counts=tuple(Count((role, label), 0) for role in ("val", "test") for label in LABELS),
        ),
        Finding("few_test_images", "warning", {"limit": 30}, (Count(LABELS[:1], 8),)),
        Finding(
            "few_sources", "warning", {"limit": 30}, (Count(LABELS[2:3], 1), Count(LABELS[3:], 9))
        ),
        Finding("calib_empty", "note"),
        Finding("without_role", "note", {"n_images": 12}),
        Finding("nothing_shared", "note"),
        Finding("several_classes", "note", {"n_sources": 2}, (Count(("patient 7",), 3),)),
        Finding("exact_duplicates", "note", groups, examples=some),
        Finding("same_source", "note", groups | {"largest": 900, "n_sources": 60, "n_joined": 58}),
        Finding("same_field", "note", groups),
        Finding("sources_from_pixels", "note"),
        Finding("sources_from_table", "note"),
        Finding("sources_from_both", "note"),
        Finding(
            "pixels_compared",
            "note",
            {
                "n_related": 0,
                "n_images": 99,
                "n_all_images": 99,
                "n_training": 500,
                "n_all_training": 12_000,
                "n_smooth": 0,
            },
        ),
    )


def build_audit() -> DataAudit:
    return DataAudit(
        failed=True,
        name="cells.csv",
        result="leaking",
        findings=build_findings(),
        n_images=5000,
        n_sources=58,
        sources_from="both",
        classes=tuple(
            ClassSources(label, 1250, 20 * k + 1, 40, 1.5, 17.25) for k, label in enumerate(LABELS)
        ),
        repetition=Repetition(1, 2, 3, 4, 5, 1000),
        n_conflicts=9,
        leak=RelatedCounts(99, 1, 2, 3),
        split=build_split_audit(),
        shared=SharedData(
            "cells.csv",
            "others & more.csv",
            2,
            RelatedCounts(5000, 500, 900, 100),
            RelatedCounts(4, 1),
            (),
        ),
    )


def build_page():
    return describe_audit(build_audit(), {}, ("Page: audit.html",))
