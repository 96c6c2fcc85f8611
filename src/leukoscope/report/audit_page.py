"""The page of an audit: the result, what was found with pairs to judge by eye, and the counts.

One HTML file without script that needs no other file and no network. What this file does not do:
it finds nothing and decides nothing (`data.audit`); it shows what it is given.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from leukoscope.data.audit import (
    FEW_SOURCES,
    KINSHIP_NAMES,
    RESULT_TITLES,
    AuditResult,
    DataAudit,
    Example,
    ExampleImage,
    Finding,
    KinCounts,
)
from leukoscope.data.images import load_pixels
from leukoscope.data.splits import ROLES
from leukoscope.errors import ImageError
from leukoscope.report.pages import render_page

MAX_PAIRS = 12
"""Pairs on a page at most. Errors share them evenly, the other findings what is left."""

THUMBNAIL_PX = 144

_JPEG_QUALITY = 88

_LEVELS: dict[AuditResult, str] = {
    "leaking": "bad",
    "shared": "bad",
    "conflicts": "bad",
    "warnings": "caution",
    "clean": "good",
}

_BASES = {
    "pixels": "Sources were found in the pixels: images that show the same picture share one.",
    "table": "Sources are those that the table names; the pixels were not compared.",
    "both": "Sources are those that the table names, and were found in the pixels where it names"
    " none.",
    "unknown": "For some images nobody has looked for sources: only identical bytes count there.",
}

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "Source",
        "Where images come from together: a patient, a slide, a picture that was copied. Images"
        " of one source are no independent evidence and belong in one role.",
    ),
    (
        "Role",
        "train fits the network, val chooses among its states, calib fits thresholds, test is"
        " measured once. Training means train and val.",
    ),
    (
        "Same file, same source, same field",
        "How two images are related. Same file: equal to the last byte. Same source: copies of"
        " one picture, perhaps turned, cropped or recoloured, or images that the table puts"
        " together. Same field: they show parts of one microscope field, perhaps of neighbouring"
        " cells, or are linked only through third images.",
    ),
    (
        "Effective sources",
        "The number of equally large sources that would say as much. It is far below the number of"
        " sources where a few of them have most of the images.",
    ),
    (
        "Leak",
        "The same cell, or a copy of it, in training and in test. The network then repeats what it"
        " was told.",
    ),
)


@dataclass(frozen=True)
class _Tile:
    """One image of a pair; `shown` is a data URI, or "" where `problem` says why there is none."""

    image: ExampleImage
    shown: str
    problem: str


@dataclass(frozen=True)
class _Pair:
    kind: str
    first: _Tile
    second: _Tile


def render_audit(audit: DataAudit) -> str:
    """Render the audit as one self-contained HTML page.

    Up to `MAX_PAIRS` example pairs are shown as thumbnails; a file that cannot be read gets a grey
    tile that says why. All text of the audit is escaped: names are what users made of them.
    """
    return render_page(
        "audit.html.j2",
        a=audit,
        result_title=RESULT_TITLES[audit.result],
        level=_LEVELS[audit.result],
        basis=_BASES[audit.sources_from],
        findings=_show_findings(audit.findings),
        kinships=_list_kinships(audit),
        roles=[role for role in ROLES if audit.split and audit.split.counts[role]],
        few_sources=FEW_SOURCES,
        thumbnail_px=THUMBNAIL_PX,
        glossary=GLOSSARY,
    )


def _show_findings(findings: Sequence[Finding]) -> list[tuple[Finding, list[_Pair], int]]:
    """Each finding with the pairs that are shown, and the number of those that are not."""
    shown = [0] * len(findings)
    # By turns, so that no finding takes all the room; errors before the rest.
    turns = sorted(
        (finding.severity != "error", turn, row)
        for row, finding in enumerate(findings)
        for turn in range(len(finding.examples))
    )
    for _, _, row in turns[:MAX_PAIRS]:
        shown[row] += 1
    return [
        (finding, [_show_pair(e) for e in finding.examples[:n]], len(finding.examples[n:]))
        for finding, n in zip(findings, shown, strict=True)
    ]


def _show_pair(example: Example) -> _Pair:
    return _Pair(
        KINSHIP_NAMES[example.kind], _show_image(example.first), _show_image(example.second)
    )


def _show_image(image: ExampleImage) -> _Tile:
    try:
        pixels_HWC = load_pixels(Path(image.path), THUMBNAIL_PX, image.box, "pad", "bicubic")
    except ImageError as error:
        return _Tile(image, "", f"This image cannot be shown: {error.found}")
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return _Tile(image, f"data:image/jpeg;base64,{encoded}", "")


def _list_kinships(audit: DataAudit) -> Mapping[str, KinCounts]:
    """Rows of the table of kinship: what is counted, and the counts."""
    rows = {}
    if audit.leak is not None:
        rows["Test images with kin in training"] = audit.leak
    if audit.shared is not None:
        rows[f"Images of {audit.shared.other} with kin in {audit.shared.name}"] = (
            audit.shared.theirs
        )
        rows[f"Images of {audit.shared.name} with kin in {audit.shared.other}"] = audit.shared.ours
    return rows
