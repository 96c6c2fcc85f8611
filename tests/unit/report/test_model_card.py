"""The model card and the checklists: figures come from records, blanks from their absence."""

import inspect
import math
import re
from dataclasses import fields, replace
from typing import get_type_hints

import pytest
from markdown_it import MarkdownIt
from tests.builders.card import (
    build_evaluation,
    build_network,
    build_records,
    find_answers,
    leak,
    recalibrate,
    render_all,
)

from leukoscope.interval import Interval
from leukoscope.report.card_records import CardRecords
from leukoscope.report.checklist import BLANK, Answer, Finding, Item, answer_item, load_checklist
from leukoscope.report.evaluation_page import LEAKAGE_TITLES
from leukoscope.report.markdown import escape_text, format_command
from leukoscope.report.model_card import FACTS, NOTICE, build_document

NAMES = ("model_card", "claim", "tripod_ai")
MARKDOWN = MarkdownIt("commonmark").enable("table")


def list_items(name):
    return [item for section in load_checklist(name).sections for item in section.items]


def list_answers(records):
    return [answer for name in NAMES for answer in build_document(name, records).answers]


def test_items_are_those_of_the_papers():
    for name in NAMES:
        ids = [item.id for item in list_items(name)]
        assert len(set(ids)) == len(ids)
    claim, tripod = list_items("claim"), list_items("tripod_ai")
    assert [i.id for i in claim] == [str(n) for n in range(1, 45)]
    assert len(tripod) == 52
    assert {int(re.match(r"\d+", i.id)[0]) for i in tripod} == set(range(1, 28))
    assert all(i.facts or i.ask for i in (*claim, *tripod))


def test_every_fact_is_used_and_every_item_names_facts_that_there_are():
    assert {fact for name in NAMES for item in list_items(name) for fact in item.facts} == {*FACTS}


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_asks_for_records_that_there_are_by_their_type(name):
    kinds = get_type_hints(CardRecords)
    hints = get_type_hints(FACTS[name])
    for parameter in inspect.signature(FACTS[name]).parameters.values():
        wanted = hints[parameter.name]
        optional = parameter.default is None
        assert (wanted if optional else wanted | None) == kinds[parameter.name]


def test_an_item_is_blank_where_any_of_its_facts_is():
    item = Item("x", "Age", says="Said.", facts=("a", "b"))
    known = Finding("Known.", ("model",))
    found = answer_item(item, "S", [known, Finding(None, missing="no record of age")])
    assert found == Answer("x", "S", "Age", "blank", "", "age; no record of age", (), False)
    assert found.shown == f"{BLANK} age; no record of age]"
    two = Finding(("Two.", "Three."), ("data",))
    found = answer_item(replace(item, ask="a"), "S", [known, two])
    assert found.text == "Said. Known. Two. Three." and found.status == "part"
    assert found.records == ("model", "data")
    listed = answer_item(Item("x", "X", block=True), "S", [two])
    assert listed.shown == "- Two.\n- Three." and listed.status == "filled"


@pytest.mark.parametrize("records", [CardRecords(), build_records(), leak(build_records())])
def test_blanks_are_counted_and_tables_have_equal_columns(records):
    for name, page in zip(NAMES, render_all(records), strict=True):
        document = build_document(name, records)
        blanks = document.n_part + document.n_blank
        assert f"{blanks} of {len(document.answers)} items need a person" in page
        assert page.count(BLANK) == blanks > 5
        check_tables(page)


def check_tables(page):
    tokens = MARKDOWN.parse(page)
    n_tables, width, cells = 0, 0, 0
    for token in tokens:
        if token.type == "table_open":
            n_tables, width = n_tables + 1, 0
        elif token.type in ("th_open", "td_open"):
            cells += 1
        elif token.type == "tr_open":
            cells = 0
        elif token.type == "tr_close":
            width = width or cells
            assert cells == width
    # markdown-it pads short rows and cuts long ones: count the bars too.
    blocks = re.findall(r"(?:^\| .*\n?)+", page, flags=re.M)
    assert len(blocks) == n_tables
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_nothing_on_record_gives_no_figure():
    for answer in list_answers(CardRecords()):
        assert not re.search(r"\d+(\.\d+)? %", answer.text)
        assert not answer.records
    figure_ = find_answers(CardRecords())["figure"]
    assert figure_.status == "blank" and "leukoscope evaluate" in figure_.shown


def test_every_answer_traces_to_its_records():
    records = build_records()
    for answer in list_answers(records):
        assert not answer.text or answer.records or answer.id in ("not", "out_of_scope")
    for field in fields(records):
        gone = replace(records, **{field.name: getattr(CardRecords(), field.name)})
        for answer in list_answers(gone):
            assert field.name not in answer.records


@pytest.mark.parametrize("rest", [True, False])
def test_a_leaked_figure_never_stands_alone(rest):
    records = leak(build_records(), rest=rest)
    for page in render_all(records):
        for line in page.splitlines():
            # The line itself says so, or the table it belongs to does.
            if re.search(r"94\.3 %|0\.943|99\.3 %|95\.1 %", line) and not line.startswith(
                "| This network"
            ):
                assert re.search("leaked|inflated", line, re.I), line
        assert LEAKAGE_TITLES["leaking"] in page
    assert "LEAKED" in find_answers(records, "claim")["30"].text
    assert "Without duplicates" in find_answers(records)["figure"].text
    assert ("71.2 %" in find_answers(records)["figure"].text) is rest
    text = render_all(records)[0]
    assert "LEAKED" in text[: text.index("| This network")].splitlines()[-2]
    assert "LEAKED" in find_answers(records)["per_class"].text.splitlines()[0]
    # A bundle's own record of a leaking reference.
    only = replace(records, evaluation=None, evaluations=None)
    assert "Leaked: 95.1 %" in find_answers(only)["figure"].text


@pytest.mark.parametrize("leakage_status", ["unproven", "suspect"])
def test_an_unproven_figure_says_so(leakage_status):
    records = build_records()
    doubted = replace(records.evaluation, leakage_status=leakage_status)
    answers = find_answers(replace(records, evaluation=doubted))
    assert LEAKAGE_TITLES[leakage_status] in answers["figure"].text
    assert LEAKAGE_TITLES[leakage_status] in answers["limits"].text


def test_a_recalibrated_bundle_is_not_told_as_if_it_were_at_its_development_site():
    records = recalibrate(build_records())
    assert build_document("model_card", records).title == "Model card: coatnet-pico"
    for answer in list_answers(records):
        assert "role calib" not in answer.text and "test image" not in answer.text
        for title in LEAKAGE_TITLES.values():
            assert title.lower() not in answer.text.lower()
    assert find_answers(records, "claim")["32"].status == "blank"
    assert "95.1 %" in find_answers(records, "claim")["33"].text


def test_a_run_keeps_its_own_words_beside_a_recalibrated_bundle():
    """The levels on record are the run's; only the parity is of the bundle."""
    records = build_records()
    answers = find_answers(replace(records, bundle=recalibrate(records).bundle))
    assert "777 images" in answers["calibration"].text
    assert answers["figure"] == find_answers(records)["figure"]


@pytest.mark.parametrize(
    ("record", "name", "item"),
    [
        ("robustness", "claim", "30"),
        ("explanation", "claim", "31"),
        ("validation", "tripod_ai", "23b"),
    ],
)
def test_records_of_later_commands_fill_their_items(record, name, item):
    records = build_records()
    assert find_answers(records, name)[item].text
    empty = getattr(CardRecords(), record)
    gone = find_answers(replace(records, **{record: empty}), name)[item]
    assert gone.status == "blank" and "leukoscope" in gone.to_fill_in


HOSTILE = [
    "Blast; L1",
    'Blast (L1), "x": y',
    "/home/a/b",
    "x" * 200,
    "a|b|c",
    "<script>alert(1)</script>",
    "two\nlines\n\n# Heading\n\n| x | y |\n| --- | --- |",
    "`code` ```fence```",
    "[link](http://example.org) ![image](x)",
    "**bold** __bold__ _it_ ~~gone~~ $x$",
    "&lt;b&gt; &#124; \\| \\",
    "www.example.org ann@example.org https://example.org",
    "[to be filled in: nothing]",
    "\u202eright to left\u0000\x1b[31m",
    "- list",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_elsewhere_are_shown_and_do_nothing(name):
    hostile = build_records((name, "immature_granulocyte", "neutrophil"), (name,) * 4)
    for page, other in zip(render_all(hostile), render_all(build_records()), strict=True):
        check_tables(page)
        # The same tags in the same order: the name added none.
        assert list_tags(MARKDOWN.render(page)) == list_tags(MARKDOWN.render(other))
        assert "\u202e" not in page and "\x1b" not in page
        assert page.count(BLANK) == other.count(BLANK)


def list_tags(html):
    return re.findall(r"</?[a-z0-9]+", html)


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.isprintable() and n[0] != "/"])
def test_escaped_text_reads_as_it_was(name):
    from html import unescape

    html = MARKDOWN.renderInline(escape_text(name))
    # What some renderers make a link of, without being asked.
    assert not re.search(r"://|www\.|@", escape_text(name))
    assert not re.search(r"<[a-z]", html)
    assert unescape(html) == " ".join(name.split())
    row = f"| a | b |\n| --- | --- |\n| {escape_text(name)} | 1 |\n"
    cells = re.findall(r"<td[^>]*>(.*?)</td>", MARKDOWN.render(row), flags=re.S)
    assert [unescape(cell) for cell in cells] == [" ".join(name.split()), "1"]


def test_commands_keep_no_folders_and_no_way_out_of_their_block():
    parts = [
        "leukoscope",
        "train",
        "/home/ann lee/x.csv",
        "C:\\Users\\ann\\split.csv",
        "../../home/ann/y.csv",
        "~/z",
        "--out=/srv/a",
        "runs/pbc",
        "```\n# out",
        "file:///home/ann/q.csv",
    ]
    block = format_command(parts)
    assert "ann" not in block and "/srv" not in block and "runs/pbc" in block
    tokens = MARKDOWN.parse(block)
    assert [t.type for t in tokens] == ["fence"]


def test_an_ensemble_is_not_called_one_network():
    answers = find_answers(replace(build_records(), network=build_network(n_members=2)))
    assert "2 networks" in answers["ensemble"].text and "2 networks" in answers["limits"].text


def test_bounds_of_undefined_intervals_are_dashes():
    figures = build_records().evaluation.figures | {"kappa": Interval(0.5, math.nan, math.nan)}
    one = replace(build_records(), evaluation=build_evaluation(figures=figures))
    assert "Cohen's kappa 0.500 (no interval: too few sources)" in find_answers(one)["overall"].text


def test_the_notice_stands_on_every_page():
    for page in (*render_all(CardRecords()), *render_all(build_records())):
        assert NOTICE in page and "/home" not in page and "/srv" not in page
