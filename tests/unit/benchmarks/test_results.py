import json

import pytest
from benchmarks.rivals import feeding, targets, training
from benchmarks.rivals.results import (
    Comparison,
    Results,
    describe_machine,
    render_markdown,
    save_results,
)
from benchmarks.rivals.targets import Outcome, Target

DONE = Comparison(
    "A training step",
    batch=8,
    seconds={"theirs": [4.0, 3.0, 8.0], "ours": [2.0, 2.0, 2.0]},
    base="ours",
    left_out={"another": "ModuleNotFoundError: No module named 'timm'"},
)
CURVES = {"batch size": {"training step": [(1, 8.0), (64, 2.0)], "prediction": [(1, 1), (64, 0.5)]}}


def make_results(**changes):
    fields = {
        "command": "python -m benchmarks.rivals --rounds 3",
        "quick": False,
        "comparisons": (DONE,),
        "targets": (Target("step", 2.5).compare(DONE.ratios("theirs")),),
        "commands": {"one image, fp32: s": [0.5, 0.7, 0.6]},
        "curves": CURVES,
        "seconds": 120.0,
    }
    return Results(**{**fields, **changes})


def test_ratios_are_taken_within_rounds():
    assert DONE.ratios("theirs") == [2.0, 1.5, 4.0]
    assert DONE.ratios("ours") == [1, 1, 1]
    assert DONE.rate("theirs") == 2.0
    turned = Comparison("x", 8, DONE.seconds, "theirs", base_is_ours=False)
    assert turned.ratios("ours") == [2.0, 1.5, 4.0]


def test_a_target_is_met_by_the_median():
    outcome = Target("step", 2.0).compare([1.5, 4.0, 2.0])
    assert outcome == Outcome("step", "at least 2 x", 2.0, 1.5, 4.0, met=True, unit="x")
    assert not Target("step", 2.1).compare([1.5, 4.0, 2.0]).met
    memory = Target("memory", 300, "MB", at_most=True)
    assert memory.compare([108.0]).met and not memory.compare([301.0]).met
    assert memory.compare([108.0]).target == "at most 300 MB"


def test_targets_are_about_candidates_that_exist():
    assert set(targets.FEEDING) <= set(feeding.CANDIDATES)
    groups = {"coatnet-hematology": training.HEMATOLOGY, "coatnet-0": training.PAPER}
    assert all(name in groups[preset] for preset, name in targets.TRAINING)


def test_the_page_shows_targets_and_what_was_measured():
    page = render_markdown(make_results(), "RESULTS")
    assert "| step | at least 2.5 x | **2 x** (1.5 to 4) | below target |" in page
    assert "| theirs | 2 | 2.00 (1.50 to 4.00) |" in page
    assert "Left out: another (ModuleNotFoundError: No module named 'timm')." in page
    assert "| one image, fp32: s | 0.6 | 0.5 | 0.7 |" in page
    assert "![Milliseconds per image](RESULTS.svg)" in page
    assert (
        "Quick run" not in page and "`python -m benchmarks.rivals --rounds 3` in 2 minutes" in page
    )
    assert "Quick run" in render_markdown(make_results(quick=True), "RESULTS")


def test_page_numbers_and_figure_are_written(tmp_path):
    files = save_results(make_results(), tmp_path / "new" / "RESULTS.md")
    assert sorted(f.suffix for f in files) == [".json", ".md", ".png", ".svg"]
    assert all(f.stat().st_size > 100 for f in files)
    content = json.loads((tmp_path / "new" / "RESULTS.json").read_text())
    assert content["comparisons"][0]["seconds"]["theirs"] == [4.0, 3.0, 8.0]
    assert content["machine"] == describe_machine()
    assert content["curves"]["batch size"]["training step"] == [[1, 8.0], [64, 2.0]]
    svg = (tmp_path / "new" / "RESULTS.svg").read_text()
    assert "batch size" in svg and "training step" in svg
    assert len(save_results(make_results(curves={}), tmp_path / "RESULTS.md")) == 2


def test_the_machine_is_described_without_its_name():
    import platform

    text = " ".join(describe_machine())
    assert "cores" in text and "torch" in text
    assert platform.node() == "" or platform.node() not in text


def test_costs_need_a_panel():
    from benchmarks.rivals.figure import draw_costs

    from leukoscope.errors import DataError

    with pytest.raises(DataError, match="panel"):
        draw_costs({}, "x")
