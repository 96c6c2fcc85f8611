"""What the terminal shows of an evaluation and of a leak report, from invented figures; and signs
that a terminal must not be given."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders.evaluation import (
    build_evaluation,
    build_leak_report,
    build_leaking,
    without_leak,
)

from leukoscope.cli import render
from leukoscope.errors import DataError
from leukoscope.pipelines import Evaluation, Packed
from leukoscope.report.leak_page import describe_leak_report
from leukoscope.report.page import Bullets, Page, Text
from leukoscope.trust.notes import Note


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def read_rows(text):
    """Cells by the first one, of the lines of a table."""
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


def test_a_leaked_figure_is_shown_beside_the_one_without_duplicates(capsys):
    render.print_evaluation(Evaluation(build_leaking(), Path("[run]")))
    shown = capsys.readouterr().out
    rows = read_rows(shown)
    assert rows["Network"][:2] == ["80.0 %", "94.0 %"]
    assert "LEAKED" in shown.upper() and "Without duplicates" in shown
    assert str(Path("[run]") / "report.html") in shown and "Research use only" in shown


def test_other_figures_stand_alone(capsys):
    found = Evaluation(build_evaluation(), Path("run"), uncalibrated="too few cells")
    render.print_evaluation(found)
    shown = capsys.readouterr().out
    assert read_rows(shown)["Network"][0] == "94.0 %"
    assert "leaked" not in shown and "Without duplicates" not in shown
    assert "never rejects: too few cells" in shown


@pytest.mark.parametrize("build", [build_evaluation, build_leaking])
def test_what_makes_a_network_worthless_is_the_first_line(capsys, build):
    missed = Note("classes_never_found", {"labels": ("basophil",), "n": 3})
    render.print_evaluation(Evaluation(build(headlines=(missed,)), Path("run")))
    assert capsys.readouterr().out.startswith("Not one of 3 images of Basophil")


@pytest.mark.parametrize("leaks", [True, False])
def test_a_leak_report_begins_with_the_answer(capsys, leaks):
    report = build_leak_report() if leaks else without_leak(build_leak_report())
    render.print_page(describe_leak_report(replace(report, data="[red]cells")))
    shown = capsys.readouterr().out
    assert shown.startswith("The random split gives" if leaks else "Nothing leaks")
    mark = " [leaked]" * leaks
    assert f"Random split, its test images{mark}" in shown
    assert "[red]" in shown


def test_a_table_too_wide_for_the_terminal_is_shown_row_by_row(capsys, monkeypatch):
    report = build_leak_report()
    row = report.row_of("random")
    name, figure = "Random split, its test images [leaked]", f"  Images: {row.n_images:,}"
    render.print_page(describe_leak_report(report))
    assert figure not in capsys.readouterr().out.splitlines()
    monkeypatch.setenv("COLUMNS", "60")
    render.print_page(describe_leak_report(report))
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index(name) + 1] == figure


# -- one and several ------------------------------------------------------------------------------


def test_nouns_and_verbs_agree_with_their_number(capsys):
    def read():
        return " ".join(capsys.readouterr().out.split())

    for n, images in ((1, "1 image"), (2, "2 images")):
        render.print_evaluation(Evaluation(build_evaluation(n_images=n), Path("run")))
        assert f"{n} cell image{'s' * (n > 1)} from" in read()
        render.print_pack(Packed(Path("p/x.npy"), n, 32, 1000))
        assert f"{images} at 32 px" in read()


def test_signs_that_steer_a_terminal_are_shown_as_codes(capsys):
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\u202etxt.exe\r"
    render.print_page(Page("x", (Text(hostile), Bullets((hostile,))), trailer=(hostile,)))
    render.print_error(DataError("a", hostile, "b"))
    shown = capsys.readouterr()
    for sign in "\x1b\x07\x9b\u202e\r":
        assert sign not in shown.out + shown.err
    assert "\\u001b[2J" in shown.out


def test_any_code_page_takes_what_is_printed(tmp_path):
    """Into a file or a pipe on Windows text goes through a code page of few signs."""
    for code_page in ("cp437", "cp932", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "leukoscope", "data", "scan", "Стволовая–клетка“中"],
            env={**os.environ, "PYTHONIOENCODING": code_page, "PYTHONUTF8": "0"},
            capture_output=True,
            cwd=tmp_path,
        )
        assert done.returncode == 3
        assert b"Traceback" not in done.stderr and b"Error" in done.stderr
