"""What a leak report says, from invented figures."""

import json
import re
from html.parser import HTMLParser

import pytest

from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import Interval
from leukoscope.report import leak_page as room

HOSTILE = "<script>alert('x')</script>"


def make_row(protocol, subject, leakage_status, share, n, copies=0, **changes):
    baselines = {"majority": wilson(0.25 * n, n), "colour_histogram": wilson(0.6 * n, n)}
    given = {
        "data": "cells",
        "n_sources": 33,
        "accuracy": wilson(share * n, n),
        "baselines": baselines,
    } | changes
    return room.LeakRow(
        protocol=protocol,
        subject=subject,
        leakage_status=leakage_status,
        n_images=n,
        n_with_copy=copies,
        **given,
    )


def make_report(folder, random=0.99, grouped=0.9, n=1000, **changes):
    given = {
        "folder": folder,
        "data_name": "cells",
        "n_images": 9957,
        "n_sources": 277,
        "origin": "were found in the pixels (sources.csv)",
        "counts": {
            "random": {"train": 6770, "val": 1693, "test": 1494},
            "grouped": {"train": 6760, "val": 900, "calib": 795, "test": 1502},
        },
        "rows": (
            make_row("random", "test", "leaking", random, n, n - 20),
            make_row("random", "without_copies", "disjoint", 0.8, 20),
            make_row("grouped", "test", "disjoint", grouped, n),
            make_row("random", "external", "unproven", 0.8, 71, data="TEST", n_sources=None),
            make_row("grouped", "external", "disjoint", 0.85, 71, data="TEST", baselines={}),
        ),
        "reproduce": {"Command": "leukoscope data leak-report", "Seed of both splits": "42"},
        "provenance": {"leukoscope": "0.1.0"},
    }
    return room.LeakReport(**(given | changes))


def clean(report, **changes):
    """The same report of data without a copy anywhere."""
    first = make_row("random", "test", "disjoint", 0.9, 1000)
    return make_report(report.folder, rows=(first, *report.rows[2:]), **changes)


def test_the_answer_is_one_sentence(tmp_path):
    headline, behind = room.word_headline(make_report(tmp_path))
    assert headline == (
        "The random split says 99.0 %; without copies it is 90.0 %: the leak is worth 9.0 points."
    )
    assert behind.startswith("980 of the 1,000 random test images have a copy in training.")
    assert re.search(r"difference: 7\.\d to 11\.\d points\.$", behind)


@pytest.mark.parametrize(
    ("random", "grouped", "words"),
    [
        (0.92, 0.90, "a difference of 2.0 points, which chance alone may make."),
        (0.88, 0.90, "a difference of −2.0 points, which chance alone may make."),
        (0.90, 0.90, "a difference of 0.0 points, which chance alone may make."),
    ],
)
def test_what_chance_may_make_is_not_called_the_leak(tmp_path, random, grouped, words):
    headline, behind = room.word_headline(make_report(tmp_path, random, grouped, n=100))
    assert headline.endswith(words) and "worth" not in headline
    assert "difference: −" in behind


def test_nothing_leaks_where_there_are_no_copies(tmp_path):
    report = clean(make_report(tmp_path))
    headline, behind = room.word_headline(report)
    assert headline.startswith("Nothing leaks") and "90.0 %, the grouped split 90.0 %" in headline
    assert behind.startswith("95 % interval")
    assert "banner good" in room.render_leak_page(report)


def test_the_difference_is_newcombes():
    """Newcombe 1998, table II: method 10 on 56/70 - 48/80, and 10/10 - 0/20."""
    found = room.compute_difference(wilson(56, 70), wilson(48, 80))
    assert [round(x, 4) for x in (found.value, found.low, found.high)] == [0.2, 0.0524, 0.3339]
    found = room.compute_difference(wilson(10, 10), wilson(0, 20))
    assert [round(x, 4) for x in (found.value, found.low, found.high)] == [1, 0.6791, 1]


def test_json_marks_what_leaked(tmp_path):
    report = make_report(tmp_path)
    room.write_leak_report(report)
    found = json.loads((tmp_path / "leak_report.json").read_text())
    leaked = [row["accuracy"].get("leaked", False) for row in found["rows"]]
    assert leaked == [True, False, False, False, False]
    first, *_, last = found["rows"]
    assert first["baselines"]["majority"]["leaked"] and first["n_with_copy_in_training"] == 980
    assert (last["subject"], last["data"], last["baselines"]) == ("external", "TEST", {})
    assert found["rows"][3]["n_sources"] is None
    assert found["images_by_role"]["grouped"]["calib"] == 795
    assert found["headline"] == room.word_headline(report)[0]
    assert found["difference"]["value"] == pytest.approx(0.09)


def test_text_says_the_same(tmp_path):
    room.write_leak_report(make_report(tmp_path, warnings=("71 images are left aside.",)))
    text = (tmp_path / "leak_report.txt").read_text()
    for phrase in (
        "the leak is worth 9.0 points",
        "9,957 images of 277 sources (cells); sources were found in the pixels",
        "71 images are left aside.",
        "Random split, its test images (LEAKED)",
        "Random split, its test images without a copy",
        "Trained on the grouped split, judged on TEST",
        "unknown",
        "Research use only",
        "The grouped split also sets images aside for calibration",
        "leukoscope data leak-report",
    ):
        assert phrase in text, phrase
    assert re.search(r"^random +6,770 +1,693 +– +1,494$", text, re.MULTILINE)
    assert "Warnings" not in room.render_leak_text(make_report(tmp_path))
    # Two sentences, no more.
    assert room.EXPLANATION in text and room.EXPLANATION.count(". ") == 1


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.hidden = "", [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.hidden = tag == "style"
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += "" if self.hidden else data


def test_the_page_begins_with_the_answer_and_needs_nothing_else(tmp_path):
    report = make_report(tmp_path, data_name=HOSTILE, warnings=("Give it by `--external`.",))
    room.write_leak_report(report)
    html = report.page.read_text()
    page = Page(html)
    text = " ".join(page.text.split())
    assert text.index("the leak is worth 9.0 points") < text.index("What this means")
    assert text.index(room.EXPLANATION) < text.index("The same recipe")
    assert "script" not in {tag for tag, _ in page.tags} and "&lt;script&gt;" in html
    assert all(a.get("src", "data:").startswith("data:") and "href" not in a for _, a in page.tags)
    (image,) = [a for tag, a in page.tags if tag == "img"]
    assert "Random split, its test images (leaked) 99.0 %" in image["alt"]
    assert html.count('<span class="tag">leaked</span>') == 1
    assert "copies in training cannot be excluded" in text and "<code>--external</code>" in html
    assert all("scope" in a for tag, a in page.tags if tag == "th")


def test_the_report_is_the_same_each_time(tmp_path):
    report = make_report(tmp_path)
    assert room.render_leak_page(report) == room.render_leak_page(report)


def test_limits_stay_between_minus_one_and_one():
    found = room.compute_difference(Interval(1, 0.4, 1), Interval(0, 0, 0.7))
    assert -1 <= found.low <= found.value <= found.high <= 1
