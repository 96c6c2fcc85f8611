"""What an audit finds, as codes with values, and how two images are related.

What this file does not do: it finds nothing (`splits`, `audit`) and says nothing
(`report.data_words`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from leukoscope.data.images import Box

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The gravest first. After an error a pipeline should stop."""

FindingCode = Literal[
    "test_duplicates",
    "test_same_field",
    "sources_shared",
    "data_shared",
    "data_share_field",
    "label_conflict",
    "files_in_conflict",
    "copies_found",
    "sources_unknown",
    "sources_alike",
    "test_part_trained_on",
    "parts_unknown",
    "parts_not_followed",
    "sources_name_files",
    "role_empty",
    "class_missing",
    "few_test_images",
    "few_sources",
    "calib_empty",
    "without_role",
    "nothing_shared",
    "several_classes",
    "exact_duplicates",
    "same_source",
    "same_field",
    "sources_from_pixels",
    "sources_from_table",
    "sources_from_both",
    "pixels_compared",
]
"""What is found, by severity. Errors: test images whose source occurs in training; or that only
share a field with it; other sources in two roles; another data set with duplicates of this one,
or only fields; duplicates, or identical files left out by the scan, under different labels; test
images that show a picture of training, whatever their sources are called."""

Relation = Literal["exact", "source", "field"]
"""How two images are related, the closest first: exact duplicates (same file and box); the same
source; linked only through a microscope field, or through further images."""

RELATIONS: tuple[Relation, ...] = get_args(Relation)


@dataclass(frozen=True, slots=True)
class Count:
    """A number, and the roles, labels or sources that it belongs to."""

    names: tuple[str, ...]
    n: int


@dataclass(frozen=True, slots=True)
class ExampleImage:
    """One image of an example; `role` is "" where it has none. `box` is None where the whole
    picture is to be shown."""

    id: str
    path: str
    label: str
    role: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """Two images of a finding, for a person to compare."""

    relation: Relation
    first: ExampleImage
    second: ExampleImage


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: numbers by name, and numbers by role, label or source."""

    code: FindingCode
    severity: Severity
    values: Mapping[str, int] = field(default_factory=dict)
    counts: tuple[Count, ...] = ()
    examples: tuple[Example, ...] = ()
