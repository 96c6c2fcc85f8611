"""One description of a page: its HTML and its text say the same, and names cannot break either."""

from html.parser import HTMLParser

import pytest

from leukoscope.report.frame import render_html
from leukoscope.report.page import (
    DISCLAIMER,
    Banner,
    Big,
    Box,
    Bullets,
    Cell,
    Column,
    Details,
    Figure,
    Gallery,
    Page,
    Picture,
    Row,
    Section,
    Statement,
    Text,
    Tile,
    build_figures,
    build_glossary,
    build_provenance,
    build_table,
    render_text,
)

EVIL = '<script>alert("x")</script>'
VOID = {"img", "meta", "br"}


class Reader(HTMLParser):
    """Collects the text and checks that elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def build_page(word="word"):
    """A page with every block; each says its own name and `word`."""
    drawn = {"chart": Picture("<svg/>", f"chart {word}")}
    tile = Tile(
        (Picture(b"png", "as stored"), Picture("", "moved", problem="gone", framed=True)),
        f"tile {word}",
        (f"line {word}",),
        tag=f"tag {word}",
        is_alarm=True,
    )
    table = build_table(
        ["", "images", Column("meaning", is_text=True)],
        [[f"row {word}", Cell("9", note=f"note {word}", mark="bad"), f"cell {word}"]],
        f"caption {word}",
    )
    return Page(
        f"title {word}",
        (
            Statement(f"statement {word}"),
            Big("99.5 %", f"big {word}"),
            Banner("caution", f"banner {word}", (Bullets((f"bullet {word}",)),)),
            Row((Box((Text(f"text {word}"),), title=f"box {word}", tag=f"leaked {word}"),)),
        ),
        (
            Section(
                f"section {word}",
                (table, *build_figures(drawn, "chart", "absent"), Gallery((tile,))),
                anchor="here",
            ),
            Section("empty", (Figure(drawn["chart"]),)),
            Section("more", (Details(f"details {word}", (Bullets((f"step {word}",), True),)),)),
            build_glossary(((f"term {word}", f"meaning {word}"),)),
            *build_provenance({f"key {word}": f"value {word}"}),
        ),
    )


SAID = [
    *("title", "statement", "big", "banner", "bullet", "text", "box", "leaked", "section", "row"),
    *("note", "cell", "caption", "tile", "line", "details", "step", "term", "meaning", "key"),
    "value",
]


@pytest.mark.parametrize("word", ["word", EVIL, "a & b", "Blast (L1); «x»", "Стаб", "x\udcffy"])
def test_html_and_text_say_the_same(word):
    page = build_page(word)
    shown = word.encode("utf-8", "replace").decode()
    text = render_text(page)
    reader = Reader()
    reader.feed(render_html(page))
    html = "".join(reader.words)
    assert not reader.open and "script" not in reader.tags
    for name in SAID:
        assert f"{name} {shown}" in html, name
        assert f"{name} {shown}".casefold() in text.casefold(), name
    assert html.count(DISCLAIMER) == text.count(DISCLAIMER) == 2


def test_a_page_needs_no_other_file():
    html = render_html(build_page())
    assert "http:" not in html and "https:" not in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert 'alt="chart word"' in html and "default-src 'none'" in html
    assert 'aria-label="moved: gone"' in html and 'id="here"' in html


def test_sections_without_words_are_not_in_the_text():
    assert "empty" not in render_text(build_page())


def test_bullets_may_be_links():
    html = render_html(Page("t", (Bullets(("a", "`b`"), anchors=("x", "y")),)))
    assert '<a href="#x">a</a>' in html and '<a href="#y"><code>b</code></a>' in html


def test_backticks_are_code():
    page = Page("t", (Text("run `a < b`"), Bullets(("`x`",))))
    assert "<code>a &lt; b</code>" in render_html(page) and "<code>x</code>" in render_html(page)


@pytest.mark.parametrize("mark", ["", "strong", "hit", "miss", "zero", "low", "good", "bad"])
@pytest.mark.parametrize("level", ["good", "caution", "bad"])
def test_marks_and_levels_are_classes_of_the_style(mark, level):
    table = build_table(["", "n"], [["a", Cell("1", mark=mark)]], dense=True, matrix=True)
    html = render_html(Page("t", (Banner(level, "b"), table)))
    assert f'class="banner {level}"' in html and 'class="wide matrix"' in html
    assert ('class="sign ' in html) == (mark in ("good", "bad"))
    assert f'class=" {mark}"' in html


def test_tables_align_and_may_have_no_head():
    table = build_table(["", "images"], [["Band", "9"], ["Segmented", "1,200"]])
    assert "Band            9\nSegmented   1,200" in render_text(Page("t", (table,)))
    bare = build_provenance({"Seed": "0"})
    assert "Seed  0" in render_text(Page("t", (), bare)) and "<thead>" not in render_html(
        Page("t", (), bare)
    )
    assert render_text(Page("t", (build_table(["", "n"], []),)))
