"""The page of an audit: which pairs it shows, and that every code has its words."""

import base64
import hashlib
import io
from dataclasses import replace
from typing import get_args

import pytest
from PIL import Image
from tests.builders.images import draw_disc
from tests.builders.page_audit import build_findings
from tests.builders.page_split import build_split_audit

from leukoscope.data.audit import AuditResult, SourceBasis, audit_catalog
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.findings import (
    RELATIONS,
    SEVERITIES,
    Example,
    ExampleImage,
    Finding,
    FindingCode,
)
from leukoscope.data.splits import Split
from leukoscope.errors import REJECT_CODES
from leukoscope.report import audit_page, data_pages, data_words
from leukoscope.report.audit_page import MAX_PAIRS, describe_audit, list_examples
from leukoscope.report.data_pages import describe_split
from leukoscope.report.frame import render_html
from leukoscope.report.page import Gallery
from leukoscope.report.thumbnails import THUMBNAIL_PX, draw_examples
from leukoscope.scores import LeakageStatus


@pytest.fixture
def make_record(tmp_path):
    def make(name, label="monocyte", source="", colour=(90, 60, 160), **more):
        path = tmp_path / f"{hashlib.sha256(name.encode()).hexdigest()[:8]}.png"
        if not path.exists():
            draw_disc(colour, 1).save(path)
        return ImageRecord(
            id=name,
            path=path,
            label=label,
            width=32,
            height=32,
            bytes=9,
            sha256=hashlib.sha256(name.encode()).hexdigest(),
            source=source or f"px-{name}",
            **more,
        )

    return make


def list_tiles(page):
    (section,) = [s for s in page.sections if s.title == "What was found"]
    return [
        tile
        for box in section.blocks
        for block in box.blocks
        if isinstance(block, Gallery)
        for tile in block.tiles
    ]


def read_url(url):
    assert url.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_pair_is_shown_with_its_own_images(make_record):
    records = (
        make_record("red.png", source="px-1", colour=(220, 30, 30)),
        make_record("blue.png", "eosinophil", source="px-1"),
    )
    audit = audit_catalog(Catalog(records))
    page = describe_audit(audit, draw_examples(list_examples(audit)))
    tile = list_tiles(page)[0]
    assert [picture.alt for picture in tile.pictures] == ["blue.png", "red.png"]
    image = read_url(tile.pictures[1].url)
    assert image.size == (THUMBNAIL_PX, THUMBNAIL_PX)
    red, green, _ = image.resize((1, 1)).getpixel((0, 0))
    assert red > green  # the image of this record, not another
    assert render_html(page).count("<img") == 4


def test_a_box_is_cut_out(tmp_path):
    field = Image.new("RGB", (64, 64), (255, 255, 255))
    field.paste((200, 0, 0), (0, 0, 32, 32))
    field.save(tmp_path / "field.png")
    image = ExampleImage("f#1", str(tmp_path / "field.png"), "monocyte", box=(0, 0, 32, 32))
    red, green, _ = read_url(draw_examples([image])[image].url).getpixel((140, 140))
    assert red > 180 and green < 30


def test_a_file_that_cannot_be_read_says_why(make_record):
    records = [make_record("a.png", source="px-1"), make_record("b.png", source="px-1")]
    records[0].path.unlink()
    records[1].path.write_bytes(b"no image")
    audit = audit_catalog(Catalog(tuple(records)))
    page = describe_audit(audit, draw_examples(list_examples(audit)))
    (tile,) = list_tiles(page)
    assert not any(picture.url for picture in tile.pictures)
    assert tile.pictures[0].problem.endswith("No such file or directory")
    assert render_html(page).count('class="missing"') == 2


def test_few_pairs_are_shown_by_turns():
    image = ExampleImage("a.png", "a.png", "monocyte")
    examples = (Example("exact", image, image),) * 9
    findings = (
        Finding("label_conflict", "error", examples=examples),
        Finding("data_shared", "error", examples=examples[:2]),
        Finding("few_sources", "warning"),
        Finding("same_field", "note", examples=examples),
    )
    assert [len(shown) for shown in audit_page._choose_examples(findings)] == [9, 2, 0, 1]
    shown = audit_page._choose_examples((findings[0], findings[0], findings[3]))
    assert [len(pairs) for pairs in shown] == [MAX_PAIRS // 2, MAX_PAIRS // 2, 0]


def test_every_code_has_its_words():
    findings = build_findings()
    assert {found.code for found in findings} == set(get_args(FindingCode))
    for found in findings:
        words = data_words.describe_finding(found)
        assert words.title and words.text
    for table, keys in (
        (data_words.REJECT_TITLES, REJECT_CODES),
        (data_words.RELATION_NAMES, RELATIONS),
        (data_words.RESULT_TITLES, get_args(AuditResult)),
        (audit_page._LEVELS, get_args(AuditResult)),
        (audit_page._BASES, get_args(SourceBasis)),
        (data_pages.SEVERITY_LEVELS, SEVERITIES),
        (data_pages._LEAKAGE_BANNERS, get_args(LeakageStatus)),
    ):
        assert set(table) == set(keys)


def test_a_split_says_whether_it_leaks_into_the_test_role():
    audit = build_split_audit()
    titles = {describe_split(audit).lead[0].title}
    titles.add(describe_split(replace(audit, test_with_copy_in_training=0)).lead[0].title)
    clean = replace(audit, shared=(), findings=(), leakage_status="disjoint")
    page = describe_split(clean)
    titles.add(page.lead[0].title)
    assert len(titles) == 3 and page.lead[0].level == "good" and len(page.sections) == 1


def test_a_clean_catalog_has_no_findings(make_record):
    audit = audit_catalog(Catalog(tuple(make_record(f"{i}") for i in range(40))))
    page = describe_audit(audit, {})
    assert page.lead[0].level == "good"
    assert "What was found" not in {section.title for section in page.sections}


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("unknown", [True, False])
def test_the_summary_claims_no_more_than_is_known(make_record, split, unknown):
    records = tuple(make_record(f"{i:02d}") for i in range(40))
    if unknown:
        records = tuple(replace(record, source="") for record in records)
    roles = Split(Catalog(records), ("train", "test") * 20, "given", 1) if split else None
    audit = audit_catalog(Catalog(records), split=roles)
    summary = data_words.describe_summary(audit)
    assert ("known" in summary) == unknown and ("crosses roles" in summary) == split
