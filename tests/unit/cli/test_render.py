"""What the terminal shows of an evaluation and of a leak report, from invented figures."""

import math
import re
from pathlib import Path

import pytest

from leukoscope.cli import render
from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import Interval
from leukoscope.pipelines import Evaluation, Packed, PredictedFiles
from leukoscope.report.evaluation_page import Leak
from leukoscope.report.leak_page import EXPLANATION, LeakReport, LeakRow

SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "roc_auc")
HIGH, LOW = Interval(0.994, 0.989, 0.997), Interval(0.811, 0.702, 0.903)


def make_evaluation(**changes):
    given = {
        "folder": Path("run"),
        "report": Path("run/report.html"),
        "data_name": "cells",
        "role": "test",
        "n_images": 1494,
        "n_sources": 276,
        "source_known": True,
        "intervals": dict.fromkeys(SHOWN, HIGH),
        "baselines": {"colour_histogram": Interval(0.999, 0.996, 1.0)},
        "leakage_status": "leaking",
        "sentences": ("These numbers are inflated.",),
        "leak": Leak(
            n_with_copy=1400,
            n_images=94,
            n_sources=60,
            figures={**dict.fromkeys(SHOWN, LOW), "roc_auc": Interval(*[math.nan] * 3)},
            baselines={"colour_histogram": Interval(0.601, 0.5, 0.7)},
        ),
    }
    return Evaluation(**(given | changes))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def read_rows(text):
    """Cells by the first one, of the lines of a table."""
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


def test_a_leaked_figure_is_shown_beside_the_one_without_copies(capsys):
    render.print_evaluation(make_evaluation())
    rows = read_rows(capsys.readouterr().out)
    assert rows["Figure"] == ["LEAKED: all 1,494", "Without copies: 94"]
    assert rows["Accuracy"] == ["0.994 (0.989–0.997)", "0.811 (0.702–0.903)"]
    assert rows["ROC-AUC"] == ["0.994 (0.989–0.997)", "–"]
    assert rows["Baseline: colour histogram"] == ["0.999 (0.996–1.000)", "0.601 (0.500–0.700)"]


def test_where_there_is_no_figure_without_copies_the_table_says_so(capsys):
    render.print_evaluation(make_evaluation(leak=Leak(1490, 4, 3, reason="only 4 images")))
    rows = read_rows(capsys.readouterr().out)
    assert rows["Figure"] == ["LEAKED: all 1,494", "Without copies: 4"]
    assert rows["Accuracy"] == ["0.994 (0.989–0.997)", "no figure"]
    assert rows["Baseline: colour histogram"][1] == "no figure"


def test_other_figures_stand_alone(capsys):
    found = make_evaluation(leakage_status="disjoint", leak=None)
    assert found.source_disjoint == HIGH
    render.print_evaluation(found)
    shown = capsys.readouterr().out
    assert read_rows(shown)["Accuracy"] == ["0.994", "0.989 to 0.997"]
    assert "LEAKED" not in shown and "Without copies" not in shown


def test_the_trusted_accuracy_is_the_one_without_copies():
    assert make_evaluation().source_disjoint == LOW
    assert make_evaluation(leakage_status="unproven", leak=None).source_disjoint is None


@pytest.mark.parametrize("leaks", [True, False])
def test_a_leak_report_begins_with_the_answer(capsys, leaks):
    baselines = {"majority": wilson(25, 100), "colour_histogram": wilson(83, 100)}
    results = {"random": "leaking" if leaks else "disjoint", "grouped": "disjoint"}
    rows = tuple(
        LeakRow(
            protocol, "test", "[red]cells", leakage_status, 100, 20, 99 * leaks, share, baselines
        )
        for (protocol, leakage_status), share in zip(results.items(), (HIGH, LOW), strict=True)
    )
    report = LeakReport(
        folder=Path("leak"),
        data_name="cells",
        n_images=600,
        n_sources=50,
        origin="are those of the catalog",
        counts={"random": {"test": 100}, "grouped": {"test": 100}},
        rows=rows,
        reproduce={},
        warnings=("71 images are left aside.",),
    )
    render.print_leak_report(report)
    shown = capsys.readouterr().out
    assert shown.startswith("The random split says 99.4 %" if leaks else "Nothing leaks")
    table = read_rows(shown)
    mark = " (LEAKED)" * leaks
    assert table[f"Random split, its test images{mark}"] == [
        "100", f"{99 * leaks}", "0.994 (0.989 to 0.997)", "0.830 (0.745 to 0.891)",
    ]  # fmt: skip
    assert table["Grouped split, its test images"][2] == "0.811 (0.702 to 0.903)"
    assert "- 71 images are left aside." in shown and "leak_report.html" in shown
    assert EXPLANATION in shown and "Research use only" in shown


# -- one and several ------------------------------------------------------------------------------


def test_nouns_and_verbs_agree_with_their_number(capsys):
    def read():
        return " ".join(capsys.readouterr().out.split())

    for n, images in ((1, "1 image"), (2, "2 images")):
        render.print_evaluation(make_evaluation(n_images=n, leak=None, leakage_status="disjoint"))
        assert f"{images} of cells, role test" in read()
        render.print_pack(Packed(Path("p/x.npy"), n, 32, 1000))
        assert f"{images} at 32 px" in read()
        render.print_predictions(PredictedFiles(Path("x.csv"), n, 0, 0.5))
        assert f"{images} in 0.5 s ({2 * n} per second)." in read()
