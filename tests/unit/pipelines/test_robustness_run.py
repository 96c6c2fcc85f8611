"""Robustness of a run and of its bundle: the same figures on two roads, and what is refused."""

import csv
import json
import shutil

import pytest

from leukoscope import pipelines
from leukoscope.errors import BundleError, DataError


def test_a_run_is_measured_on_its_test_images(run, tmp_path):
    done = pipelines.measure_robustness(run, tmp_path / "out", images=6)
    found = done.found
    assert done.page.is_file() and len(found.faults) == 10 and len(found.levels) == 60
    record = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert record["n_images"] == found.n_images and len(record["levels"]) == 60
    with (tmp_path / "out" / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["accuracy"]) == pytest.approx(found.clean.accuracy.value, abs=1e-6)
    assert {path.suffix for path in (tmp_path / "out" / "figures").iterdir()} == {".png", ".svg"}


def test_the_clean_level_is_the_evaluation(run, tmp_path):
    done = pipelines.measure_robustness(run, tmp_path / "out", images=0)
    evaluation = pipelines.evaluate_run(run, replicates=20)
    assert done.found.n_images == evaluation.n_images
    assert done.found.clean.accuracy == evaluation.intervals["accuracy"]


def test_what_cannot_be_measured_is_refused(run, tmp_path, disc_folder):
    other = tmp_path / "other" / "blast"
    other.mkdir(parents=True)
    shutil.copy(next(disc_folder.rglob("*.png")), other / "a.png")
    with pytest.raises(DataError, match="none of these"):
        pipelines.measure_robustness(run, tmp_path / "x", data=tmp_path / "other")
    with pytest.raises(BundleError, match="must be a bundle"):
        pipelines.measure_robustness(tmp_path / "nothing", tmp_path / "x")
