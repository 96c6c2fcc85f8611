"""Paint, train, calibrate, evaluate, export, predict: the bundle decides as the run does."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from leukoscope.cli.app import app
from leukoscope.config import load_recipe
from leukoscope.deploy.predictor import Predictor
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.painted.cells import save_painted
from leukoscope.pipelines import scan_images, split_catalog, train_run
from leukoscope.pipelines.trust import note_leak
from leukoscope.records import load_record
from leukoscope.report import evaluation_figures
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.trust.decision import STATUSES, decide_table
from leukoscope.trust.record import load_trust

AIMS = ["trust.alpha=0.2", "trust.target_accuracy=0.6", "trust.reject_frac=0.2"]


def ask(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures of calibrated runs are drawn in `test_hostile_labels`."""
    monkeypatch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("trusted")
    table = save_painted(place / "painted", 240, copies=1, size_px=48, seed=5)
    recipe = load_recipe("quick", ["input.image_size=32", "train.epochs=8", "train.batch_size=16"])
    split = split_catalog(scan_images(table), "grouped")
    folder = train_run(split, recipe, place / "run").folder
    settings = [word for aim in AIMS for word in ("--set", aim)]
    output = ask("calibrate", folder.path, *settings)
    for words in ("Accuracy among accepted", "Calibration error after", "Research use only"):
        assert words in output
    return folder.path


@pytest.fixture(scope="module")
def bundle(run):
    out = run.parent / "bundle"
    assert "never rejects" not in ask("export", run, "--out", out, "--variants", "fp32")
    return out


def test_quality_was_measured_and_kept(run):
    scores = load_scores(run / "scores.parquet")
    assert scores.quality_NQ.shape == (240, len(scores.quality_names)) and scores.quality_names


def test_the_bundle_decides_as_the_run(run, bundle):
    trust = load_trust(RunFolder(run))
    scores = load_scores(run / "scores.parquet")
    wanted = decide_table(trust.info.policy, trust.novelty, scores)
    found = list(Predictor(bundle).predict_files(scores.paths))
    assert tuple(one.decision for one in found) == wanted.status
    assert [one.label for one in found] == [scores.classes[k] for k in wanted.labels_N]
    assert set(wanted.status) == set(STATUSES)  # else nothing is shown
    for one, reasons in zip(found, wanted.reasons, strict=True):
        # Figures may round differently.
        assert [x.code for x in one.reasons] == [x.code for x in reasons]


def test_predictions_carry_decisions_and_reasons(run, bundle, tmp_path):
    table = tmp_path / "p.csv"
    noise = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(noise)
    output = ask("predict", bundle, run.parent / "painted", noise, "-o", table)
    assert " accepted, " in output and "columns `decision` and `reason`" in output
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["decision"] for row in rows} <= set(STATUSES)
    assert all(bool(row["reason"]) == (row["decision"] != "accepted") for row in rows)
    assert all(bool(row["reason_codes"]) == bool(row["reason"]) for row in rows)
    assert all(row["label"] in json.loads(row["set"]) for row in rows)
    (strange,) = (row for row in rows if row["path"].endswith("noise.png"))
    assert strange["decision"] == "unknown"
    assert set(strange["reason_codes"].split("|")) <= {"unlike_training", "poor_quality"}


def test_the_report_answers_how_sure_and_when_it_rejects(run):
    assert "cells are accepted; of these" in " ".join(ask("evaluate", run).split())
    page = (run / "report.html").read_text()
    first = page.split("What the network adds")[0]
    for words in ("Test population", "Confidence", "Rejection", "cells are accepted"):
        assert words in first
    assert "Under another label" in page and "Not calibrated" not in page
    trust = load_evaluation(run).trust
    assert sum(share.value for share in trust.decisions.shares.values()) == pytest.approx(1)
    text = (run / "model_evaluation_results.txt").read_text()
    assert "What is accepted, and what is not" in text and "Rejection:" in text
    part = trust.after["brier_reliability"]
    assert part.low <= part.value


def load_evaluation(folder):
    return load_record(EvaluationRecord, folder / "metrics.json", "leukoscope evaluate")


def test_images_that_set_the_thresholds_are_said_to_have_done_so(run):
    output = " ".join(ask("evaluate", run, "--role", "calib").split())
    assert "These images set the thresholds of this run" in output
    record = load_evaluation(run / "evaluations" / "calib")
    assert record.remarks[0].code == "thresholds_fitted_here"
    assert [one.code for one in record.trust.remarks] == ["trust_fitted_here"]


def test_the_reference_figures_are_those_of_the_report(run):
    """Two roads to one number: calibrate's record, and the evaluation's report."""
    found = load_trust(RunFolder(run)).info.reference
    record = load_evaluation(run)
    assert found.accepted == record.trust.decisions.shares["accepted"]
    assert found.accuracy == record.figures["accuracy"]
    after = record.trust.after["ece"].value
    assert found.ece == pytest.approx(after, abs=1e-6)  # the table keeps logits in float32
    assert found.confusion == record.confusion


def test_the_reference_sample_has_one_calibration_image_of_each_source(run):
    calib = load_scores(run / "scores.parquet").of_role("calib")
    sample = load_trust(RunFolder(run)).reference_embeddings_MD
    assert len(sample) == len(set(calib.sources))
    known = {row.tobytes() for row in calib.embeddings_ND}
    assert all(row.tobytes() in known for row in sample)


@pytest.mark.parametrize(
    ("leakage_status", "codes"),
    [
        ("disjoint", []),
        ("leaking", ["calibration_leaks"]),
        ("unproven", ["calibration_unproven"]),
    ],
)
def test_what_thresholds_may_not_show_is_noted(leakage_status, codes):
    assert [note.code for note in note_leak(leakage_status)] == codes


def test_other_data_void_the_promise(run, bundle, tmp_path):
    save_painted(tmp_path / "other", 60, copies=1, size_px=48, seed=9)
    for path in (tmp_path / "other").rglob("*.png"):
        with Image.open(path) as image:
            dark = np.asarray(image.convert("RGB"))[..., ::-1] // 2
        Image.fromarray(np.ascontiguousarray(dark)).save(path)
    output = " ".join(ask("predict", bundle, tmp_path / "other", "-o", tmp_path / "p.csv").split())
    assert "by the internal test set" in output and "validate" in output
    same = ask("predict", bundle, run.parent / "painted", "-o", tmp_path / "h.csv")
    assert "by the internal test set" not in same
    ask("evaluate", run, "--data", tmp_path / "other" / "images")
    record = load_evaluation(run / "evaluations" / "images")
    assert [one.code for one in record.trust.remarks] == ["trust_shifted"]


def test_without_calibration_it_says_that_it_never_rejects(run, tmp_path):
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "trust.json").unlink()
    output = ask("export", bare, "--out", tmp_path / "b", "--variants", "fp32")
    assert "never rejects" in output
    output = ask("predict", tmp_path / "b", run.parent / "painted", "-o", tmp_path / "p.csv")
    assert "never rejects" in output
    ask("evaluate", bare)
    assert "Not calibrated" in (bare / "report.html").read_text()


def test_keys_of_other_sections_are_rejected(run):
    done = CliRunner().invoke(app, ["calibrate", str(run), "--set", "train.epochs=3"])
    assert done.exit_code == 2 and "trust.alpha" in done.output
