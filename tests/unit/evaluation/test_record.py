"""The record of an evaluation: what it says of itself, and its way through a file."""

import json

import pytest
from tests.builders.evaluation import (
    LABELS,
    NO_FIGURE,
    build_evaluation,
    build_leak,
    build_leak_report,
    build_leaking,
)

from leukoscope.errors import DataError
from leukoscope.evaluation.leakage import LeakReport
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.interval import Interval
from leukoscope.records import dump_record, load_record, save_record


@pytest.mark.parametrize("record", [build_evaluation(), build_leaking()])
def test_it_comes_back_as_it_was(record, tmp_path):
    path = tmp_path / "metrics.json"
    save_record(record, path)
    found = load_record(EvaluationRecord, path, "leukoscope evaluate")
    # Not-a-number equals nothing: compare what is written.
    written = json.loads(path.read_text())
    assert written.pop("seal")
    assert dump_record(found) == dump_record(record) == written
    assert found.classes == LABELS and found.confusion == record.confusion
    assert found.warnings == record.warnings


def test_a_leak_report_comes_back_as_it_was(tmp_path):
    report = build_leak_report()
    save_record(report, tmp_path / "leak_report.json")
    assert load_record(LeakReport, tmp_path / "leak_report.json", "x") == report


def test_a_leaking_split_is_reported_with_what_leaks():
    for status, leak in (("leaking", None), ("disjoint", build_leak())):
        with pytest.raises(DataError, match="with what leaks"):
            build_evaluation(leakage_status=status, leak=leak)


def test_the_figure_to_believe():
    whole, rest = Interval(0.94, 0.91, 0.96), Interval(0.8, 0.7, 0.9)
    assert build_evaluation().source_disjoint == whole
    assert build_evaluation(leakage_status="unproven").source_disjoint is None
    assert build_leaking().source_disjoint == rest
    assert build_leaking(leak=NO_FIGURE).source_disjoint is None


def test_an_evaluation_in_short():
    short = build_leaking().summarise()
    assert (short.n_images, short.n_disjoint, short.disjoint) == (1494, 94, Interval(0.8, 0.7, 0.9))
    short = build_leaking(leak=NO_FIGURE).summarise()
    assert (short.n_disjoint, short.disjoint) == (0, None)
    assert build_evaluation().summarise().disjoint is None
