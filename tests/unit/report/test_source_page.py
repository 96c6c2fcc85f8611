import base64
import hashlib
import io
import itertools
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from tests.builders.images import paint

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.errors import ConfigError, DataError
from leukoscope.report import pairs
from leukoscope.report import source_page as room
from leukoscope.report.pages import DISCLAIMER
from leukoscope.sources.evidence import Link
from leukoscope.sources.search import SourceFindings

HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "img", "link", "br", "hr"}
TURN = (0.0, -1.0, 47.0, 1.0, 0.0, 0.0)
"""A quarter turn, clockwise, of an image of 48 x 48 pixels."""


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(html)
        assert self.open == []
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    @property
    def images(self):
        return [a for t, a in self.tags if t == "img"]

    @property
    def names(self):
        """Names of the tiles in order, one for each image as stored."""
        return [a["alt"].split(",")[0] for a in self.images if "class" not in a]

    def section(self, start, end):
        # The headings stand in the overview first.
        first = self.text.rindex(start)
        return self.text[first : self.text.index(end, first)]


class Album:
    """Records and links made by hand, of real files."""

    def __init__(self, folder):
        self.folder, self.records, self.links = folder, [], []

    def add(self, name, source, label="eosinophil", pixels=None, **changes):
        path = self.folder / f"{len(self.records)}.png"
        if pixels is None:
            pixels = paint(len(self.records))
        Image.fromarray(pixels).save(path)
        content = path.read_bytes()
        height, width = pixels.shape[:2]
        sha256 = hashlib.sha256(content).hexdigest()
        record = ImageRecord(name, path, label, width, height, len(content), sha256, source=source)
        self.records.append(replace(record, **changes))
        return self.records[-1]

    def link(self, one, other, matrix=TURN, agreement=0.9, inliers=50, **changes):
        """`matrix` maps `one` to `other`, in whatever order their hashes are."""
        if one.sha256 > other.sha256:
            one, other, matrix = other, one, pairs.invert(matrix)
        link = Link(one.sha256, other.sha256, "geometric", inliers, 0.8, agreement, 0.0, matrix)
        self.links.append(replace(link, **changes))
        return self.links[-1]

    def findings(self, featureless=(), settings=None):
        records = tuple(sorted(self.records, key=lambda r: r.id))
        return SourceFindings(
            Catalog(records), tuple(self.links), featureless, settings or {"min_inliers": 8}
        )

    def render(self, **limits):
        return Page(room.render_source_page(self.findings(), **limits))


@pytest.fixture
def album(tmp_path):
    return Album(tmp_path)


def add_chain(album, source, n, label="eosinophil", agreement=0.9):
    made = [album.add(f"{source}/{k}", source, label) for k in range(n)]
    for one, other in itertools.pairwise(made):
        album.link(one, other, agreement=agreement)
    return made


# -- the first screen -----------------------------------------------------------------------------


def test_first_screen_says_how_many_sources(album):
    add_chain(album, "px-a", 4)
    add_chain(album, "px-b", 2)
    album.add("alone", "px-c")
    text = album.render().text
    start = text[: text.index("Worth judging")]
    for phrase in (
        "Research use only. Not a medical device.",
        "7 images are 3 sources.",
        "6 images have copies; the largest group holds 4; 1 image stands alone.",
        "leukoscope data split --protocol grouped",
    ):
        assert phrase in start, phrase
    assert "because the table says so" not in text and "boxed cell" not in text
    assert text.count(DISCLAIMER) == 2


def test_a_set_without_copies_is_told_so(album):
    album.add("one", "px-a")
    page = album.render()
    for phrase in ("1 image is 1 source.", "No image has a copy here.", "No copies found"):
        assert phrase in page.text
    assert "Worth judging" not in page.text and "All groups" not in page.text
    assert page.images == []
    banners = [a["class"] for _, a in page.tags if "banner" in a.get("class", "")]
    assert banners == ["banner good"]


def test_sections_stand_in_the_order_of_what_is_worth_judging(album):
    first, *_ = add_chain(album, "px-a", 3)
    second, *_ = add_chain(album, "px-b", 2)
    one, other = add_chain(album, "px-c", 2)
    album.records.remove(other)
    album.records.append(replace(other, label="neutrophil"))
    album.link(first, second, accepted=False)
    album.link(first, one, kind="overlap")
    page = album.render()
    assert [a["id"] for t, a in page.tags if t == "h2" and "id" in a] == [
        "conflicts",
        "rejected",
        "weakest",
        "overlaps",
        "largest",
    ]
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == ["#conflicts", "#rejected", "#weakest", "#overlaps", "#largest"]
    banners = [a["class"] for _, a in page.tags if "banner" in a.get("class", "")]
    assert banners == ["banner caution"]


# -- groups ---------------------------------------------------------------------------------------


def test_reference_has_most_links_and_members_tell_their_map_and_evidence(album):
    hub = album.add("hub", "px-a")
    near, far = album.add("near", "px-a"), album.add("far", "px-a")
    album.link(hub, near, TURN, agreement=0.913, inliers=77, overlap_frac=0.6)
    album.link(near, far, TURN, agreement=0.8, inliers=31)
    album.link(hub, album.add("third", "px-a"), (1.0, 0.0, 10.0, 0.0, 1.0, -5.0))
    album.link(hub, album.add("fourth", "px-a"), pairs.IDENTITY)
    page = album.render()
    text = page.section("Groups that hang", "All groups").replace(pairs.NBSP, " ")
    # The weakest link's two ends come right behind the reference.
    assert page.names[0] == "hub" and set(page.names[1:3]) == {"near", "far"}
    assert "hub Eosinophil reference" in text
    assert "near Eosinophil turned 90° 77 inliers, overlap 60 %, agreement 91 %" in text
    # Two quarter turns, composed; the evidence is that of the last link.
    assert re.search(
        r"far Eosinophil turned -?180° 31 inliers, overlap 80 %, agreement 80 %"
        r" with near; 2 links to the reference",
        text,
    )
    assert "third Eosinophil moved 10 px right and 5 px up" in text
    assert "fourth Eosinophil same place" in text
    ends = "far with near" if "far with near" in text else "near with far"
    assert f"Weakest link that holds it: {ends}, 31 inliers, overlap 80 %" in text


def test_reference_of_equal_members_is_the_smallest_hash(album):
    one, other = add_chain(album, "px-a", 2)
    smaller = min(one, other, key=lambda r: r.sha256)
    assert album.render().names[0] == smaller.id


def test_weakest_link_is_one_that_the_group_needs(album):
    a, b, c = (album.add(name, "px-a") for name in "abc")
    album.link(a, b, agreement=0.95)
    album.link(b, c, agreement=0.85)
    album.link(a, c, agreement=0.61)
    text = album.render().text.replace(pairs.NBSP, " ")
    assert "1 group, the largest first." in text
    assert "3 images; Eosinophil 3; weakest link: agreement 85 %, 50 inliers" in text


def test_groups_on_weaker_evidence_come_first(album):
    for source, agreement in (("px-a", 0.9), ("px-b", 0.7), ("px-c", 0.8), ("px-d", 0.95)):
        add_chain(album, source, 2, agreement=agreement)
    page = album.render()
    weakest = page.section("Groups that hang", "The largest groups")
    assert re.findall(r"px-\w(?= 2 images)", weakest) == ["px-b", "px-c"]
    largest = page.section("The largest groups", "All groups")
    assert re.findall(r"px-\w(?= 2 images)", largest) == ["px-a", "px-d"]
    assert "Shown: 2 of 4." in weakest and "Shown" not in largest


def test_inliers_tell_links_of_like_agreement_apart(album):
    a, b, c = (album.add(name, "px-a") for name in "abc")
    album.link(a, b, agreement=0.99, inliers=20)
    album.link(b, c, agreement=0.96, inliers=90)
    assert "agreement 99 %, 20 inliers" in album.render().text.replace(pairs.NBSP, " ")


def test_path_takes_the_fewest_links_and_then_the_strongest():
    def link(first, second, agreement, shift):
        matrix = (1.0, 0.0, shift, 0.0, 1.0, 0.0)
        return Link(first, second, "near", 9, 1.0, agreement, 0.0, matrix)

    links = [
        link("a", "b", 0.7, 1),
        link("a", "c", 0.9, 2),
        link("b", "d", 0.99, 100),
        link("c", "d", 0.8, 20),
        link("d", "e", 0.9, 300),
        link("a", "e", 0.6, 4),
    ]
    places = room._place_members("a", links)
    shift = {name: place.matrix[2] for name, place in places.items()}
    # d: two links either way, 0.8 at least by way of c; e: one weak link beats three.
    assert shift == {"a": 0, "b": 1, "c": 2, "d": 22, "e": 4}
    back = room._place_members("d", links[::-1])
    assert back["a"].matrix[2] == -22 and len(back["a"].path) == 2


def test_two_labels_of_one_picture_are_a_conflict(album):
    members = add_chain(album, "px-a", 5)
    album.records[4] = replace(members[4], label="neutrophil")
    page = album.render(max_tiles=3)
    text = page.section("One picture, two names", "All groups")
    assert "Copies of one picture are called Eosinophil and Neutrophil." in text
    assert "5 images; Eosinophil 4, Neutrophil 1" in text
    # The odd one out is on the sheet however short the sheet is.
    assert "px-a/4 Neutrophil other label" in text and len(page.names) == 3
    assert "2 more members not shown; the weakest evidence stands first." in text
    assert "Eosinophil 4, Neutrophil 1 two names" in page.text
    assert "Groups that hang" not in page.text


def test_two_labels_of_the_same_bytes_are_a_conflict(album):
    one = album.add("one", "px-a")
    copy = album.folder / "copy.png"
    copy.write_bytes(one.path.read_bytes())
    album.records.append(replace(one, id="two", path=copy, label="blast"))
    page = album.render()
    assert "Copies of one picture are called Blast and Eosinophil." in page.text
    assert "2 images have copies" in page.text and "same bytes: two" in page.text


def test_labels_of_one_patient_are_no_conflict(album):
    for k, label in enumerate(("eosinophil", "neutrophil", "blast")):
        album.add(f"p/{k}", "patient 7", label)
    page = album.render()
    assert "One picture, two names" not in page.text
    assert "3 images share a source because the table says so, not by pixels." in page.text
    assert "0 images have copies; the largest group holds 3; 0 images stand alone." in page.text
    assert page.text.count("not linked by pixels; the table names its source") == 2
    assert "3 images; Blast 1, Eosinophil 1, Neutrophil 1; named in the table" in page.text


def test_copies_in_a_patient_are_judged_by_themselves(album):
    add_chain(album, "patient 7", 2)
    album.add("p/3", "patient 7", "neutrophil")
    page = album.render()
    assert "One picture, two names" not in page.text
    assert "2 images have copies; the largest group holds 3" in page.text
    assert "1 image shares a source because the table says so" in page.text
    # What no link reaches comes last.
    assert page.names[-1] == "p/3"


def test_boxes_of_one_file_are_one_tile(album):
    field = album.add("f.jpg#0", "px-a", "red_cell", box=(0, 0, 20, 20))
    for k in (1, 2):
        album.records.append(
            replace(field, id=f"f.jpg#{k}", label="white_cell", box=(9, 9, 30, 30))
        )
    other = album.add("g.jpg#0", "px-a", "red_cell", box=(0, 0, 9, 9))
    album.link(field, other)
    alone = album.add("h#1.jpg#0", "px-b", "red_cell", box=(0, 0, 9, 9))
    album.records.append(replace(alone, id="h#1.jpg#1", box=(9, 9, 20, 20)))
    page = album.render()
    assert sorted(page.names) == ["f.jpg", "g.jpg"]
    for phrase in (
        "3 images are 2 sources.",
        "2 images have copies; the largest group holds 2; 1 image stands alone.",
        "The table cuts 6 boxed cells out of these images",
        "3 boxed cells",
        "White cell 2, Red cell 1",
    ):
        assert phrase in page.text, phrase
    assert "One picture, two names" not in page.text


def test_many_twins_and_many_labels_are_cut_short(album):
    first = album.add("0", "px-a", box=(0, 0, 9, 9))
    for k in range(1, 8):
        copy = album.folder / f"copy{k}.png"
        copy.write_bytes(first.path.read_bytes())
        album.records.append(replace(first, id=f"{k}#0", path=copy, label=f"kind_{k}"))
    text = album.render().text
    assert "same bytes: 1, 2, 3, 4, 3 more" in text
    assert "Eosinophil 1, Kind 1 1, Kind 2 1, Kind 3 1, 4 more; same bytes" in text


# -- pairs ----------------------------------------------------------------------------------------


def test_rejected_links_are_pairs_of_groups_the_strongest_first(album):
    a, b, c = (add_chain(album, f"px-{name}", 2)[0] for name in "abc")
    album.link(a, b, accepted=False, agreement=0.7, inliers=9)
    album.link(b, c, accepted=False, agreement=0.8)
    for record in album.records[2:4]:
        album.link(album.records[1], record, accepted=False, agreement=0.65)
    page = album.render()
    text = page.section("Links that were rejected", "Groups that hang").replace(pairs.NBSP, " ")
    strong, weak = text.index("agreement 80 %"), text.index("9 inliers, overlap 80 %, agreement 70")
    assert strong < weak and "agreement 65" not in text
    assert "The strongest of 3 such links between these two sources." in text
    assert text.count("turned") == 2 and "contradiction" not in text


def test_rejected_link_within_one_group_is_no_question(album):
    one, _, other = add_chain(album, "px-a", 3)
    album.link(one, other, accepted=False)
    assert "Both are in the group px-a all the same, by other links." in album.render().text


def test_copies_under_two_sources_are_shown_as_joining_nothing(album):
    one, other = album.add("one", "patient 1"), album.add("other", "patient 2")
    album.link(one, other)
    page = album.render()
    text = page.section("Links that were rejected", "The words")
    assert "Copies by their pixels, but the table names two sources." in text
    assert "2 images are 2 sources." in page.text and len(page.images) == 3


def test_overlaps_are_pairs_the_weakest_first(album):
    a, b, c = (album.add(name, f"px-{name}") for name in "abc")
    album.link(a, b, (1.0, 0.0, 20.0, 0.0, 1.0, 0.0), kind="overlap", agreement=0.9)
    album.link(b, c, kind="overlap", agreement=0.7, contradiction_frac=0.031, inliers=1)
    page = album.render()
    text = page.section("Pictures that overlap", "The words").replace(pairs.NBSP, " ")
    assert "1 inlier, overlap 80 %, agreement 70 %, contradiction 3 %" in text
    assert text.index("agreement 70 %") < text.index("agreement 90 %")
    assert re.search("moved 20 px (right|left)", text)
    assert "No image has a copy here." in page.text and "No copies found" not in page.text
    assert len(page.images) == 6


# -- pixels ---------------------------------------------------------------------------------------


def test_page_shows_the_member_as_the_reference(album):
    pixels_HWC = paint(7, (120, 120))
    one = album.add("one", "px-a", pixels=pixels_HWC)
    turned = album.add("turned", "px-a", pixels=np.ascontiguousarray(np.rot90(pixels_HWC, -1)))
    half = Image.fromarray(pixels_HWC).resize((60, 60), Image.Resampling.BOX)
    small = album.add("small", "px-a", pixels=np.asarray(half))
    # np.rot90(..., -1) turns clockwise: x' = H - 1 - y, y' = x.
    album.link(turned, one, pairs.invert((0.0, -1.0, 119.0, 1.0, 0.0, 0.0)))
    album.link(one, small, (0.5, 0.0, -0.25, 0.0, 0.5, -0.25))
    page = album.render()
    assert page.names[0] == "one"
    shown = [read_uri(a["src"]) for a in page.images]
    alts = [a["alt"] for a in page.images]
    moved = [i for i, alt in enumerate(alts) if alt.endswith("moved onto one")]
    assert len(shown) == 5 and len(moved) == 2
    for i in moved:
        assert np.abs(shown[i] - shown[0]).mean() < 3
        assert alts[i - 1].startswith(alts[i].split()[0])
    as_stored = alts.index("turned, Eosinophil")
    assert np.abs(shown[as_stored] - shown[0]).mean() > 10
    text = page.text.replace(pairs.NBSP, " ")
    assert "turned Eosinophil turned 90°" in text and "small Eosinophil scaled 0.50" in text


def read_uri(uri):
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)


def test_thumbnails_keep_the_shape(album):
    for k in range(2):
        album.add(f"wide/{k}", "px-a", pixels=paint(k, (96, 24)))
    album.link(*album.records, matrix=pairs.IDENTITY)
    page = album.render(thumbnail_px=64)
    assert {read_uri(a["src"]).shape for a in page.images} == {(16, 64, 3)}


def test_files_that_cannot_be_shown_say_why(album):
    gone, changed, broken, fine = add_chain(album, "px-a", 4)
    gone.path.unlink()
    changed.path.write_bytes(b"x")
    broken.path.write_bytes(b"y" * 100)
    digest = hashlib.sha256(b"y" * 100).hexdigest()
    album.records[2] = replace(broken, sha256=digest)
    album.links = [
        replace(
            link,
            first=digest if link.first == broken.sha256 else link.first,
            second=digest if link.second == broken.sha256 else link.second,
        )
        for link in album.links
    ]
    page = album.render()
    missing = {a["aria-label"] for _, a in page.tags if a.get("role") == "img"}
    assert missing == {
        f"{gone.id} cannot be opened: No such file or directory",
        f"{changed.id} has changed since it was compared",
        f"{broken.id} cannot be read: not an image",
    }
    assert "3 images could not be shown" in page.text
    assert page.names == [fine.id]
    assert "The tile says why" in page.text and "could not be shown" not in (
        album_text_without_problem(album, fine)
    )


def album_text_without_problem(album, record):
    album.records, album.links = [record], []
    return album.render().text


# -- words ----------------------------------------------------------------------------------------


def test_shares_are_exact_at_the_ends():
    found = [room._percent(x).replace(pairs.NBSP, " ") for x in (0, 0.001, 0.914, 0.9999, 1)]
    assert found == ["0 %", "1 %", "91 %", "99 %", "100 %"]


def test_names_are_joined():
    assert room._join(["A"]) == "A"
    assert room._join(["A", "B", "C"]) == "A, B and C"


# -- the page as a whole --------------------------------------------------------------------------


def fill(album):
    """Something in every section."""
    a, *_ = add_chain(album, "px-a", 4)
    b, c = add_chain(album, "px-b", 2, agreement=0.7)
    add_chain(album, "px-c", 2)
    album.records[-1] = replace(album.records[-1], label="blast")
    album.link(a, b, accepted=False)
    album.link(a, c, kind="overlap")
    album.add("alone", "px-d")


def test_page_needs_nothing_from_outside(album):
    fill(album)
    html = room.render_source_page(album.findings())
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"srcset", "onload"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:").startswith("data:")
    assert "http://" not in html and "https://" not in html and "url(" not in html


def test_page_is_accessible(album):
    fill(album)
    page = album.render()
    assert dict(page.tags)["html"]["lang"] == "en"
    assert page.images and all(a["alt"] for a in page.images)
    assert all("scope" in a for t, a in page.tags if t == "th")
    assert [t for t, _ in page.tags].count("h1") == 1
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_page_does_not_depend_on_the_order_of_rows_and_links(album):
    fill(album)
    findings = album.findings(settings={"rules": 1})
    html = room.render_source_page(findings)
    assert html == room.render_source_page(findings)
    turned = SourceFindings(
        Catalog(findings.catalog.records[::-1]),
        findings.links[::-1],
        findings.featureless,
        findings.settings,
    )
    assert room.render_source_page(turned) == html


def test_everything_is_escaped(album):
    source, label = f"px-{HOSTILE}", f"{HOSTILE} kind"
    for k in range(2):
        album.add(f'" onload="alert({k})' + HOSTILE, source, label)
    album.link(*album.records)
    other = album.add(HOSTILE, f"other {HOSTILE}", "neutrophil")
    album.link(album.records[0], other, accepted=False)
    album.records[1].path.unlink()
    html = room.render_source_page(album.findings((HOSTILE,), {HOSTILE: HOSTILE}))
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert all("onload" not in attributes for _, attributes in page.tags)
    assert html.count("&lt;script&gt;") > 12


def test_limits_leave_out_and_say_so(album, monkeypatch):
    for k in range(6):
        add_chain(album, f"px-{k}", 3 if k else 5, agreement=0.9 - 0.01 * k)
    monkeypatch.setattr(room, "MAX_TABLE_ROWS", 4)
    page = album.render(max_groups=3, max_tiles=2)
    sheets = [a for t, a in page.tags if t == "details" and "card" in a.get("class", "")]
    assert len(sheets) == 3 and len(page.names) == 6
    assert "Groups that hang on the weakest evidence: 6, the first 2 shown" in page.text
    assert "The largest groups: 4, the first 1 shown" in page.text
    assert page.text.count("1 more member not shown; the weakest evidence stands first.") == 2
    assert "6 groups, the largest first. Shown: 4;" in page.text
    assert "px-3" in page.section("All groups", "The words")
    assert "px-4" not in page.section("All groups", "The words")


def test_later_sheets_are_folded(album):
    for k in range(10):
        add_chain(album, f"px-{k}", 2)
    page = album.render(thumbnail_px=16)
    cards = [a for t, a in page.tags if t == "details" and "card" in a.get("class", "")]
    assert ["open" in card for card in cards] == ([True] * 3 + [False] * 2) * 2


def test_sheets_are_dealt_out_evenly():
    assert room._share(10, [1, 0, 100, 2, 100]) == [1, 0, 4, 2, 3]
    assert room._share(60, [1, 2, 3]) == [1, 2, 3]
    assert room._share(2, [5, 5, 5]) == [1, 1, 0]


def test_images_without_features_are_named(album, monkeypatch):
    monkeypatch.setattr(room, "_MAX_IDS", 2)
    album.add("one", "px-a")
    text = Page(room.render_source_page(album.findings(("grey/1", "grey/2", "grey/3")))).text
    assert "3 images too smooth" in text and "grey/2 and 1 more" in text and "grey/3" not in text
    text = Page(room.render_source_page(album.findings(("grey/1",)))).text
    assert "1 image too smooth" in text and "more" not in text.partition("too smooth")[2][:120]


def test_settings_are_shown_where_there_are_some(album):
    album.add("one", "px-a")
    findings = album.findings(settings={"min_inliers": 8, "opencv": "5.0.0"})
    text = Page(room.render_source_page(findings)).text
    assert "min_inliers8 opencv5.0.0" in text
    assert "Settings" not in Page(room.render_source_page(replace(findings, settings={}))).text


def test_page_of_large_groups_stays_small(album, monkeypatch):
    grain = np.random.default_rng(0).normal(0, 6, (240, 320, 3))
    noisy_HWC = np.clip(paint(0, (320, 240)) + grain, 0, 255).astype(np.uint8)
    # Groups as large as those of dataset2-master; one file's pixels stand for all.
    monkeypatch.setattr(room, "load_picture", lambda record: Image.fromarray(noisy_HWC))
    record = album.add("x", "px", pixels=noisy_HWC)
    for group in range(24):
        made = [
            replace(
                record,
                id=f"EOSINOPHIL/_{group}_{k}.jpeg",
                path=album.folder / f"{group}_{k}",
                sha256=hashlib.sha256(f"{group} {k}".encode()).hexdigest(),
                source=f"px-{group:012d}",
            )
            for k in range(36)
        ]
        album.records += made
        for other in made[1:]:
            album.link(made[0], other, (1.0, 0.0, 4.0, 0.0, 1.0, 0.0), agreement=0.8)
    html = room.render_source_page(album.findings(), max_groups=12)
    # A fifth of the sheets shown otherwise, so a fifth of 15 MB.
    assert len(html.encode()) < 3_000_000
    assert html.count("<img") == 12 * (12 + 11)


@pytest.mark.parametrize("limits", [{"max_groups": 0}, {"max_tiles": 1}, {"thumbnail_px": 15}])
def test_limits_that_show_nothing_are_rejected(album, limits):
    album.add("one", "px-a")
    with pytest.raises(ConfigError, match=f"{next(iter(limits))} {next(iter(limits.values()))}"):
        album.render(**limits)


def test_links_that_fit_nothing_are_rejected(album):
    one, other = add_chain(album, "px-a", 2)
    good = album.links[0]
    album.links = [replace(good, second="f" * 64)]
    with pytest.raises(DataError, match="ffffffffffffffff, which is not in the catalog"):
        album.render()
    for matrix in ((1.0, 1.0, 0.0, 1.0, 1.0, 0.0), (math.nan, 0.0, 0.0, 0.0, 1.0, 0.0)):
        album.links = [replace(good, matrix=matrix)]
        with pytest.raises(DataError, match="can be undone"):
            album.render()
