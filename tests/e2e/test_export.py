"""Train, export and predict as a user types it; the answers are those of the trained network."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from leukoscope.cli.app import app
from leukoscope.config import load_recipe
from leukoscope.data.catalog import load_catalog
from leukoscope.deploy.bundle import load_bundle
from leukoscope.deploy.predictor import Predictor
from leukoscope.errors import BundleError, ConfigError, MissingStepError
from leukoscope.pipelines import export_run, split_catalog, train_run
from leukoscope.scores import load_scores


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from leukoscope.painted.cells import save_painted
    from leukoscope.pipelines import scan_images

    place = tmp_path_factory.mktemp("exported")
    table = save_painted(place / "painted", 24, copies=2, size_px=64, seed=3)
    catalog = scan_images(table, place / "catalog.csv")
    recipe = load_recipe("quick", ["input.image_size=32", "train.epochs=2", "train.batch_size=16"])
    train_run(split_catalog(catalog, "grouped"), recipe, place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def bundle(run):
    out = run.parent / "bundle"
    done = CliRunner().invoke(app, ["export", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "0 of 20" in done.output and "Research use only" in done.output
    return load_bundle(out)


def test_the_bundle_says_what_it_is(run, bundle):
    info = bundle.info
    assert info.classes == load_scores(run / "scores.parquet").classes
    assert set(info.variants) == {"fp32", "fp16", "int8"} and info.default == "fp32"
    assert info.variants["fp32"].parity.decisions_changed == 0
    assert info.variants["fp32"].parity.max_logit_difference < 1e-3
    used = info.parity_set
    assert not used.in_training and "train" not in used.roles and used.n_int8 > 0
    assert info.provenance.recipe.input.image_size == 32
    text = (bundle.path / "bundle.json").read_text()
    assert "Research use only" in text
    for name in info.variants:
        assert bundle.read_graph(name)


def test_predictions_are_those_of_the_trained_network(run, bundle, tmp_path):
    out = tmp_path / "predictions.csv"
    images = run.parent / "painted" / "images"
    done = CliRunner().invoke(app, ["predict", str(bundle.path), str(images), "-o", str(out)])
    assert done.exit_code == 0, done.output
    with out.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    table = load_scores(run / "scores.parquet")
    places = {record.id: str(record.path) for record in load_catalog(run / "split.csv").records}
    assert len(rows) == len(load_catalog(run.parent / "catalog.csv"))
    for i, name in enumerate(table.ids):
        row = rows[places[name]]
        found = np.array([float(row[f"p:{c}"]) for c in table.classes])
        assert found == pytest.approx(table.probabilities_NK[i], abs=1e-4)
        assert row["label"] == table.classes[table.logits_NK[i].argmax()]
        assert row["error"] == ""


def test_prediction_needs_no_torch(run, bundle, tmp_path):
    """The light install: everything that trains is hidden, as if it were not installed."""
    images = run.parent / "painted" / "images"
    script = f"""
import sys
for name in ("torch", "accelerate", "safetensors", "sklearn", "scipy", "matplotlib", "pyarrow",
             "cv2", "faiss", "onnx", "onnxscript", "jinja2", "filelock"):
    sys.modules[name] = None
from leukoscope.cli.app import app
app(["predict", {str(bundle.path)!r}, {str(images)!r}, "-o", {str(tmp_path / "p.jsonl")!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(rows) == len(load_catalog(run.parent / "catalog.csv"))
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-6 for row in rows)


def test_unreadable_images_are_rows_and_strict_is_an_exit_code(run, bundle, tmp_path):
    images = sorted((run.parent / "painted" / "images").rglob("*.png"))[:3]
    bad = tmp_path / "=bad.png"
    bad.write_bytes(images[0].read_bytes()[:100])
    command = ["predict", str(bundle.path), str(images[0]), str(bad), str(images[1])]
    out = ["-o", str(tmp_path / "p.csv")]
    done = CliRunner().invoke(app, [*command, *out])
    assert done.exit_code == 0 and "1 could not be read" in done.output
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert CliRunner().invoke(app, [*command, *out, "--strict"]).exit_code == 3
    piped = CliRunner().invoke(
        app, ["predict", str(bundle.path), "-", *out], input=f"{images[2]}\n"
    )
    assert piped.exit_code == 0, piped.output
    assert "1 image in" in piped.output


def test_variants_give_the_same_decisions_here(run, bundle):
    images = sorted((run.parent / "painted" / "images").rglob("*.png"))

    def predict(variant):
        answers = list(Predictor(bundle, variant=variant).predict_files(images))
        return np.array([a.probabilities for a in answers]), np.array([a.label for a in answers])

    expected_NK, labels_N = predict("fp32")
    ordered_NK = np.sort(expected_NK, axis=1)
    margin_N = ordered_NK[:, -1] - ordered_NK[:, -2]
    # Where two classes are all but equal, rounding may decide; this is not so for most images.
    for variant, tolerance, doubtful in (("fp16", 0.01, 0.002), ("int8", 0.1, 0.03)):
        found_NK, found_N = predict(variant)
        assert np.abs(found_NK - expected_NK).max() < tolerance
        sure_N = margin_N > doubtful
        assert sure_N.mean() > 0.5
        assert (found_N == labels_N)[sure_N].all()
    assert len(set(labels_N)) > 1  # one answer for everything would agree with itself


def test_a_run_that_is_not_trained_and_a_folder_of_other_things(run, tmp_path):
    with pytest.raises(MissingStepError, match="leukoscope train"):
        export_run(tmp_path / "nothing", tmp_path / "bundle")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(BundleError, match="other things"):
        export_run(run, tmp_path)
    with pytest.raises(ConfigError, match="default"):
        export_run(run, tmp_path / "bundle", variants=("fp32",), default="int8")
