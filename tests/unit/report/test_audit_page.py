"""The page of an audit: what it says, that it shows pairs, and that names cannot break it."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from tests.builders.images import draw_disc

from leukoscope.data.audit import (
    RESULT_TITLES,
    Example,
    ExampleImage,
    Finding,
    audit_against,
    audit_catalog,
    join_catalogs,
)
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import FIELD_COLUMN
from leukoscope.data.splits import Split
from leukoscope.report import audit_page, pages
from leukoscope.report.audit_page import MAX_PAIRS, THUMBNAIL_PX, render_audit

VOID = {"img", "meta"}


class Reader(HTMLParser):
    """Collects tags, images and text, and checks that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.images, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    reader.words = " ".join(" ".join(reader.text).split())
    return reader


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


def test_a_clean_set_says_so_and_shows_no_pairs(make_record):
    records = tuple(make_record(f"{i}") for i in range(40))
    page = render_audit(audit_catalog(Catalog(records), name="cells.csv"))
    reader = read(page)
    assert "Clean: no leak and no conflict found" in reader.words
    assert "banner result good" in page and reader.images == []
    assert reader.words.count("Research use only") == 2
    assert "Audit of cells.csv" in reader.words and "What was found" not in reader.words
    assert "How closely" not in reader.words and "Images by class and role" not in reader.words
    # Nothing from outside, no script.
    assert "script" not in reader.tags and "link" not in reader.tags
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_leaks_conflicts_and_shared_images_are_shown_as_pairs(make_record):
    records = (
        make_record("train.png", source="px-1", colour=(220, 30, 30)),
        make_record("test.png", "eosinophil", source="px-1"),
        make_record("near.png", source="px-2", extra={FIELD_COLUMN: "field-1"}),
        make_record("far.png", source="px-3", extra={FIELD_COLUMN: "field-1"}),
    )
    split = Split(Catalog(records), ("train", "test", "val", "calib"), "random", 1)
    theirs = Catalog((make_record("near.png"),))
    shared = audit_against(join_catalogs(split.catalog, theirs), name="ours", other="theirs")
    page = render_audit(audit_catalog(split.catalog, split=split, against=shared, name="ours"))
    reader = read(page)
    assert "banner result bad" in page and "Leaking:" in reader.words
    assert reader.words.index("1 of 1 test image") < reader.words.index("What was found")
    assert "1 of 1 image (100.0 %) of theirs also lies in ours" in reader.words
    assert "1 cell bears two names" in reader.words
    for heading in ("How closely they are related", "Sources in two roles", "Images by class"):
        assert heading in reader.words
    assert [image["alt"] for image in reader.images] == [
        "test.png", "train.png",  # the leak
        "near.png", "near.png",  # shared
        "test.png", "train.png",  # the conflict
        "test.png", "train.png",  # one picture
        "far.png", "near.png",  # one field
    ]  # fmt: skip
    uri = reader.images[1]["src"]
    assert uri.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (THUMBNAIL_PX, THUMBNAIL_PX)
    red, green, _ = image.resize((1, 1)).getpixel((0, 0))
    assert red > green  # the image of this record, not another
    assert "<code>leukoscope data split --protocol grouped</code>" in page
    assert "Same field only" in reader.words and "same field only" in reader.words
    assert "(few)" in reader.words


def test_a_box_is_cut_out(make_record, tmp_path):
    Image.new("RGB", (64, 64), (255, 255, 255)).save(tmp_path / "field.png")
    field = Image.open(tmp_path / "field.png")
    field.paste((200, 0, 0), (0, 0, 32, 32))
    field.save(tmp_path / "field.png")
    shown = audit_page._show_image(
        ExampleImage("f#1", str(tmp_path / "field.png"), "monocyte", box=(0, 0, 32, 32))
    )
    image = Image.open(io.BytesIO(base64.b64decode(shown.shown.partition(",")[2])))
    red, green, _ = image.getpixel((140, 140))
    assert red > 180 and green < 30


def test_a_file_that_cannot_be_read_gets_a_grey_tile(make_record):
    records = [make_record("a.png", source="px-1"), make_record("b.png", source="px-1")]
    records[0].path.unlink()
    records[1].path.write_bytes(b"no image")
    reader = read(render_audit(audit_catalog(Catalog(tuple(records)))))
    assert reader.images == []
    assert "This image cannot be shown: No such file or directory" in reader.words
    assert "its content is none of these" in reader.words


def test_hostile_names_are_escaped(make_record):
    evil = '<script>alert("x")</script>'
    records = (
        make_record(f"{evil}a", f"{evil}l", "px-1"),
        make_record(f"{evil}b`<b>`", "monocyte", "px-1"),
        make_record("c", "mono`<i>`cyte", f"{evil}s"),
        make_record("d", "monocyte", f"{evil}s"),
    )
    split = Split(Catalog(records), ("train", "test", "train", "test"), "random", 1)
    theirs = join_catalogs(split.catalog, split.catalog)
    shared = audit_against(theirs, name=f"{evil}n", other=f"{evil}o")
    found = audit_catalog(split.catalog, split=split, against=shared, name=f"{evil}n")
    page = render_audit(found)
    reader = read(page)
    assert not {"script", "b", "i"} & set(reader.tags)
    assert f"Audit of {evil}n" in reader.words
    assert {f"{evil}a", f"{evil}b`<b>`"} <= {image["alt"] for image in reader.images}
    assert "default-src 'none'" in page


def test_the_page_shows_few_pairs_and_counts_the_rest(make_record):
    record = make_record("a.png")
    image = ExampleImage("a.png", str(record.path), "monocyte")
    examples = (Example("bytes", image, image),) * 9
    findings = [
        Finding("error", "one", "x", examples),
        Finding("error", "two", "x", examples[:2]),
        Finding("warning", "three", "x"),
        Finding("note", "four", "x", examples),
    ]
    shown = audit_page._show_findings(findings)
    assert [len(pairs) for _, pairs, _ in shown] == [9, 2, 0, 1]
    assert [hidden for _, _, hidden in shown] == [0, 0, 0, 8]
    shown = audit_page._show_findings([findings[0], findings[0], findings[3]])
    assert [len(pairs) for _, pairs, _ in shown] == [MAX_PAIRS // 2, MAX_PAIRS // 2, 0]
    assert shown[0][0] is findings[0]


def test_further_examples_are_told(make_record):
    records = tuple(
        make_record(f"{i:02d}{k}", "lymphocyte" if k else "monocyte", f"px-{i}")
        for i in range(12)
        for k in range(2)
    )
    reader = read(render_audit(audit_catalog(Catalog(records))))
    assert len(reader.images) == 2 * MAX_PAIRS
    assert "further example" not in reader.words  # nothing of the error is left out
    split = Split(Catalog(records), ("train", "test") * 12, "random", 1)
    reader = read(render_audit(audit_catalog(Catalog(records), split=split)))
    assert "4 further examples in the JSON" in reader.words


def test_code_is_what_stands_between_backticks():
    mark = pages.mark_code
    assert mark("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"
    assert mark("a ` b") == "a ` b"
    assert mark("plain & simple") == "plain &amp; simple"


def test_every_verdict_and_basis_has_a_level_and_a_sentence(make_record):
    assert set(audit_page._LEVELS) == set(RESULT_TITLES)
    for source, told in (("px-1", "found in the pixels"), ("a", "that the table names")):
        page = render_audit(audit_catalog(Catalog((make_record("x", source=source),))))
        assert told in page and "banner result caution" in page
    records = (make_record("x", source="a"), make_record("y"))
    assert "where it names none" in read(render_audit(audit_catalog(Catalog(records)))).words
