import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS
from leukoscope.interval import Interval
from leukoscope.report import evaluation_page as room

NAN = Interval(math.nan, math.nan, math.nan)
HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "img", "link", "br", "hr"}


def make_content(**changes):
    names = ("blast", "neutrophil")
    given = {
        "title": "Quick run",
        "data_name": "painted",
        "role": "test",
        "n_images": 1494,
        "n_sources": 33,
        "source_known": True,
        "protocol": "grouped",
        "leakage_status": "disjoint",
        "leakage_sentences": ("33 test sources, none in training.",),
        "intervals": {name: Interval(0.94, 0.91, 0.96) for name in OVERALL}
        | {f"{m}/{c}": Interval(0.9, 0.8, 0.95) for m in PER_CLASS for c in names},
        "per_class": tuple(room.ClassCount(c, 700 + k, 16 + k) for k, c in enumerate(names)),
        "confusion": ((690, 10), (0, 701)),
        "baselines": {
            "majority": make_floor("majority", 0.5, 0.45, 0.55),
            "colour_histogram": make_floor("colour_histogram", 0.81, 0.77, 0.85),
        },
        "figures": {
            "headline": ("<svg/>", "Accuracy and baselines"),
            "roc": (b"png", "ROC curves"),
        },
        "compare": (
            room.Comparison("TEST_SIMPLE", Interval(0.915, 0.83, 0.96), 71, "Means something."),
        ),
        "warnings": ("Blast has 2 sources.",),
        "provenance": {"torch": "2.13.0", "seed": "42"},
    }
    return room.ReportContent(**(given | changes))


def make_leak(**changes):
    figures = {name: Interval(0.8, 0.7, 0.9) for name in OVERALL}
    baselines = {"majority": Interval(0.4, 0.3, 0.5), "colour_histogram": Interval(0.6, 0.5, 0.65)}
    given = {"n_with_copy": 1400, "n_images": 94, "n_sources": 60}
    return room.Leak(**(given | {"figures": figures, "baselines": baselines} | changes))


NO_FIGURE = room.Leak(1494, 0, 0, reason="every image has a copy; `leukoscope data leak-report`")


def make_floor(name, value, low, high, balanced=0.5):
    return Baseline(
        name, np.zeros(2, np.int64), Interval(value, low, high), balanced, f"Does {name}."
    )


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def read(html):
    page = Page(html)
    page.text = re.sub(r"\s+", " ", page.text)
    return page


def test_first_screen_answers_how_good_and_on_whose_blood():
    text = read(room.render_report(make_content())).text
    start = text[: text.index("What the network adds")]
    for phrase in (
        "Research use only. Not a medical device.",
        "94 of 100 cells named right, 95 % interval 91 to 96.",
        "1,494 cell images from 33 sources (painted, role “test”, split “grouped”).",
        "Measured on sources the network has never seen",
        "33 test sources, none in training.",
        "Blast has 2 sources.",
    ):
        assert phrase in start, phrase
    assert text.count(room.DISCLAIMER) == 2
    assert (
        "The network is 13.0 points better than the best baseline (Colour histogram, 81.0 %)"
        in text
    )


@pytest.mark.parametrize(
    ("leakage_status", "level", "title"),
    [
        ("disjoint", "good", "Measured on sources"),
        ("unproven", "caution", "cannot be excluded"),
        ("suspect", "bad", "probably inflated"),
        ("leaking", "bad", "These numbers are inflated"),
    ],
)
def test_each_verdict_has_its_banner(leakage_status, level, title):
    leak = make_leak() if leakage_status == "leaking" else None
    content = make_content(leakage_status=leakage_status, warnings=(), leak=leak)
    page = read(room.render_report(content))
    banners = [a["class"] for t, a in page.tags if "banner" in a.get("class", "")]
    assert banners[0] == f"banner {level}"
    assert banners[1:] == ["banner bad"] * (leakage_status == "leaking")
    assert title in page.text
    # A bad leakage_status stands before the number it takes back.
    before = page.text.index(title) < page.text.index("94.0 %")
    assert before == (level == "bad")
    assert title.upper() in room.render_text(content)
    assert room.metrics_to_json(content)["leakage_status"] == leakage_status


@pytest.mark.parametrize("unknown", [True, False])
def test_a_picture_is_not_taken_for_a_person(unknown):
    content = make_content(persons_unknown=unknown)
    told = "how many persons gave blood is not recorded"
    assert (told in " ".join(dict(room.list_answers(content))["On whose blood?"])) == unknown
    assert (told in read(room.render_report(content)).text) == unknown
    assert (told in room.render_text(content)) == unknown
    assert room.metrics_to_json(content)["persons_unknown"] == unknown


def test_a_leaked_accuracy_never_stands_alone():
    content = make_content(
        leakage_status="leaking",
        leak=make_leak(),
        compare=(room.Comparison("TRAIN", Interval(0.99, 0.98, 1), 9, "Says little.", True),),
    )
    text, page = room.render_text(content), read(room.render_report(content)).text
    for shown in (text, page):
        assert "80 of 100 cells named right among those without a copy in training" in shown
        assert "94 of 100 cells named right" not in shown
        assert "all 1,494 images, 1,400 of them with a copy in training." in shown
        assert "94 images of 60 sources." in shown
        assert room.LEAKAGE_TEXTS["leaking"] in shown
        added = "On the images without a copy in training, the network is 20.0 points better"
        assert f"{added} than the best baseline (Colour histogram, 60.0 %)" in shown
    assert "Leaked: 94.0 % (95 % interval 91.0 % to 96.0 %) on all" in text
    assert "Without copies: 80.0 % (95 % interval 70.0 % to 90.0 %) on 94 images" in text
    assert "with its 95 % interval: all images, LEAKED" in text
    assert "TRAIN (leaked)" in text and "TRAIN leaked" in page
    assert text.index("0.8000") < text.index("0.9400")
    assert "Baselines on the images without a copy in training" in text
    # The trusted figure comes first on the page, too.
    assert page.index("80.0 %") < page.index("94.0 %")
    assert "From here on all images count" in page and "where a column says otherwise" in page


def test_where_every_image_leaks_there_is_no_figure_to_trust():
    content = make_content(leakage_status="leaking", leak=NO_FIGURE)
    text, html = room.render_text(content), room.render_report(content)
    page = read(html).text
    for shown in (text, page):
        assert "cannot show how the network does on cells it has never seen" in shown
        assert "of 100 cells" not in shown
        assert "no figure, since every image has a copy" in shown
        assert "On all images, those with a copy in training among them, the network" in shown
    assert "<code>leukoscope data leak-report</code>" in html
    assert "No figure" in page and "where a column says otherwise" not in page
    assert "Baselines on the images" not in text


def test_copies_that_nobody_looked_for_may_hide_among_the_rest():
    leak = make_leak(n_images=1, n_sources=1)
    known = room.word_leak(leak, Interval(0.9, 0.8, 1), 1401, True)
    assert known[1].endswith("on 1 images of 1 source.")
    unknown = room.word_leak(leak, Interval(0.9, 0.8, 1), 1401, False)
    assert "other copies may hide" in unknown[1] and "leukoscope data sources" in unknown[1]


def test_leaked_figures_say_so_in_json():
    found = json.loads(
        json.dumps(room.metrics_to_json(make_content(leakage_status="leaking", leak=make_leak())))
    )
    accuracy = found["accuracy"]
    assert (accuracy["value"], accuracy["leaked"]) == (0.94, True)
    assert accuracy["n_with_copy_in_training"] == 1400
    rest = accuracy["source_disjoint"]
    assert rest["accuracy"] == {"value": 0.8, "low": 0.7, "high": 0.9}
    assert (rest["n_images"], rest["n_sources"]) == (94, 60)
    assert rest["baselines"]["colour_histogram"]["value"] == 0.6
    assert accuracy["source_disjoint_reason"] is None
    assert found["macro_f1"]["leaked"] and found["per_class"]["blast"]["recall"]["leaked"]
    assert found["baselines"]["majority"]["accuracy"]["leaked"]
    none = room.metrics_to_json(make_content(leakage_status="leaking", leak=NO_FIGURE))["accuracy"]
    assert none["source_disjoint"] is None and "every image" in none["source_disjoint_reason"]
    entry = room.Comparison("TRAIN", Interval(0.99, 0.98, 1), 9, "Says little.", True)
    beside = room.metrics_to_json(make_content(compare=(entry,)))
    assert beside["compare"][0]["accuracy"]["leaked"]
    assert "leaked" not in json.dumps(room.metrics_to_json(make_content()))


@pytest.mark.parametrize(("leakage_status", "leak"), [("leaking", None), ("disjoint", NO_FIGURE)])
def test_a_leak_belongs_to_its_verdict(leakage_status, leak):
    with pytest.raises(DataError, match="leaking split, and no other"):
        make_content(leakage_status=leakage_status, leak=leak)


def test_page_needs_nothing_from_outside():
    html = room.render_report(make_content())
    page = read(html)
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"href", "srcset", "onload"} & set(attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert "http://" not in html and "https://" not in html and "url(" not in html


def test_page_is_accessible():
    page = read(room.render_report(make_content()))
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    images = [a for t, a in page.tags if t == "img"]
    assert [a["alt"] for a in images] == ["Accuracy and baselines", "ROC curves"]
    assert all("scope" in a for t, a in page.tags if t == "th")
    assert [t for t, _ in page.tags].count("h1") == 1


def test_images_are_embedded_by_kind():
    html = room.render_report(make_content())
    assert f"data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()}" in html
    assert f"data:image/png;base64,{base64.b64encode(b'png').decode()}" in html


def test_unknown_figures_are_not_lost():
    html = room.render_report(make_content(figures={"saliency": (b"x", "Where it looked")}))
    assert "Further figures" in html and "Where it looked" in html
    headline = room.render_report(make_content(baselines={}, figures={"headline": (b"x", "Alone")}))
    assert "Alone" in headline and "What the network adds" not in headline


def test_everything_is_escaped():
    content = make_content(
        title=HOSTILE,
        data_name=HOSTILE,
        role=HOSTILE,
        protocol=HOSTILE,
        leakage_sentences=(HOSTILE,),
        warnings=(HOSTILE,),
        per_class=(room.ClassCount(HOSTILE, 1, 1), room.ClassCount("b", 1, 1)),
        intervals={name: Interval(0.9, 0.8, 1) for name in OVERALL}
        | {f"{m}/{c}": Interval(0.9, 0.8, 1) for m in PER_CLASS for c in (HOSTILE, "b")},
        baselines={HOSTILE: replace(make_floor("x", 0.5, 0.4, 0.6), description=HOSTILE)},
        figures={HOSTILE: (b"x", '" onload="alert(1)' + HOSTILE)},
        compare=(room.Comparison(HOSTILE, NAN, 1, HOSTILE),),
        provenance={HOSTILE: HOSTILE},
    )
    html = room.render_report(content)
    page = read(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert all("onload" not in attributes for _, attributes in page.tags)
    assert html.count("&lt;script&gt;") > 12


def test_undefined_figures_are_dashes_and_null():
    intervals = dict(make_content().intervals)
    intervals |= {"recall/blast": NAN, "mcc": NAN, "log_loss": Interval(0.3, math.nan, math.nan)}
    content = make_content(
        intervals=intervals, baselines={"majority": make_floor("majority", 0.5, 0.4, 0.6, math.nan)}
    )
    html, text = room.render_report(content), room.render_text(content)
    assert not re.search(r"\bnan\b", read(html).text) and not re.search(r"\bnan\b", text)
    assert "0.300 (–)" in html
    found = json.loads(json.dumps(room.metrics_to_json(content), allow_nan=False))
    assert found["mcc"] == {"value": None, "low": None, "high": None}
    assert found["log_loss"] == {"value": 0.3, "low": None, "high": None}
    assert found["baselines"]["majority"]["balanced_accuracy"] is None


def test_json_holds_the_figures():
    content = make_content()
    found = json.loads(json.dumps(room.metrics_to_json(content), allow_nan=False))
    assert found["accuracy"] == {"value": 0.94, "low": 0.91, "high": 0.96}
    assert set(OVERALL) <= set(found)
    assert found["per_class"]["blast"]["recall"]["high"] == 0.95
    assert found["per_class"]["neutrophil"]["n_images"] == 701
    assert found["classes"] == ["blast", "neutrophil"]
    assert found["confusion"] == [[690, 10], [0, 701]]
    assert found["n_images"] == 1494 and found["n_sources"] == 33
    assert found["baselines"]["colour_histogram"]["accuracy"]["value"] == 0.81
    assert found["compare"][0]["note"] == "Means something."


def test_text_says_the_same_facts_aligned():
    text = room.render_text(make_content())
    lines = text.splitlines()
    assert lines[0] == "Quick run" and lines[-1] == room.DISCLAIMER
    for phrase in ("94 of 100 cells", "13.0 points", "Blast has 2 sources.", "TEST_SIMPLE",
                   "torch  2.13.0", "Matthews", "0.900 (0.800–0.950)"):  # fmt: skip
        assert phrase in text, phrase
    row = lines.index("Confusion matrix (rows: true, columns: predicted)") + 2
    ends = [m.end() for m in re.finditer(r"\S+", lines[row])]
    assert [m.end() for m in re.finditer(r"\d+", lines[row + 1])] == ends
    assert not any(line != line.rstrip() for line in lines)


def test_bare_text_leaves_sections_out():
    bare = make_content(baselines={}, compare=(), warnings=(), provenance={}, source_known=False)
    text = room.render_text(bare)
    for heading in ("Baselines", "Warnings", "evaluated in other ways", "Provenance"):
        assert heading not in text
    assert "from unknown sources" in text
    html = room.render_report(bare)
    assert "Provenance" not in html and "Sources</th>" not in html


@pytest.mark.parametrize(
    ("network", "phrase"),
    [
        (Interval(0.9, 0.86, 0.95), "9.0 points better than"),
        (Interval(0.5, 0.45, 0.6), "31.0 points worse than"),
        (Interval(0.83, 0.78, 0.88), "2.0 points above the best baseline"),
        (Interval(0.80, 0.75, 0.85), "1.0 points below the best baseline"),
    ],
)
def test_what_the_network_adds_in_words(network, phrase):
    content = make_content()
    content = replace(content, intervals={**content.intervals, "accuracy": network})
    text = room.render_text(content)
    assert phrase in text
    assert ("the intervals overlap" in text) == ("points above" in phrase or "below" in phrase)


@pytest.mark.parametrize(
    ("value", "words"), [(0.938, "94"), (1.0, "100"), (0.0, "0"), (0.997, "99.7"),
                         (0.99999, "99.9"), (0.004, "0.4"), (0.00001, "0.1")],
)  # fmt: skip
def test_certainty_is_said_only_where_it_is_exact(value, words):
    assert room._per_hundred(value) == [words]


def test_per_cent_only_exact_at_the_ends():
    found = [room.format_percent(x) for x in (0.0, 1e-5, 0.5, 0.99999, 1.0, math.nan)]
    assert found == ["0.0 %", "<0.1 %", "50.0 %", ">99.9 %", "100.0 %", "–"]


def test_one_image_from_one_source_is_singular():
    text = room.render_text(make_content(n_images=1, n_sources=1))
    assert "1 cell image from 1 source (" in text


def test_unfit_content_is_rejected():
    with pytest.raises(DataError, match="2 rows of 2"):
        make_content(confusion=((1, 2),))
    with pytest.raises(DataError, match="first is accuracy"):
        make_content(intervals={})


def test_shares_of_one_sentence_have_the_same_decimals():
    assert room._per_hundred(0.94, 0.91, 0.957) == ["94", "91", "96"]
    assert room._per_hundred(0.994, 0.989, 0.997) == ["99.4", "98.9", "99.7"]
    assert room._per_hundred(1.0, 0.98, 1.0) == ["100", "98", "100"]
