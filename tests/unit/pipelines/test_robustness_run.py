"""Robustness of a run and of its bundle: the same figures on two roads, what is said of the images,
and what is rejected."""

import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.builders.files import full_disk, load_json, save_json

from leukoscope import pipelines, scoring
from leukoscope.cli import render
from leukoscope.config import STAIN_TARGETS
from leukoscope.data.corrupt import AMOUNTS
from leukoscope.data.splits import load_split
from leukoscope.errors import ConfigError, DataError, RunError, StorageError
from leukoscope.evaluation import leakage
from leukoscope.evaluation.robustness import Robustness
from leukoscope.pipelines import robustness
from leukoscope.pipelines.scorers import open_scorer
from leukoscope.records import load_record
from leukoscope.report.robustness_page import describe_robustness
from leukoscope.scores import Outputs
from leukoscope.storage import hash_file
from leukoscope.trust.notes import Note
from leukoscope.trust.quality import QUALITY_NAMES

DISCS = (
    ("eosinophil", (220, 120, 90)),
    ("lymphocyte", (90, 60, 160)),
    ("monocyte", (150, 150, 190)),
    ("neutrophil", (200, 160, 200)),
)
"""The colours of the discs that the run was trained on; their ground is (240, 230, 235)."""


@pytest.fixture
def one_corruption(monkeypatch):
    """Most of the time goes into corruptions; most tests need one."""
    monkeypatch.setattr("leukoscope.evaluation.robustness.AMOUNTS", {"darker": AMOUNTS["darker"]})


def test_a_run_is_measured_on_its_test_images(run, tmp_path):
    done = pipelines.measure_robustness(run, tmp_path / "out", images=6, seed=3)
    found = done.found
    assert done.page.is_file() and len(found.mean_loss) == 10 and len(found.levels) == 60
    record = load_record(Robustness, tmp_path / "out" / "robustness.json", "")
    assert record == found and found.n_images == 6
    assert record.amounts == AMOUNTS
    assert record.leakage_status == "unproven" and record.warnings == ()
    assert (record.provenance.seed, record.provenance.images) == (3, 6)
    assert record.provenance.weights_sha256 == hash_file(run / "model.safetensors")
    with (tmp_path / "out" / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["accuracy"]) == pytest.approx(found.clean.accuracy.value, abs=1e-6)
    clean = found.clean.accuracy.value
    for row in rows:
        assert float(row["loss"]) == pytest.approx(clean - float(row["accuracy"]), abs=2e-6)
    assert {path.suffix for path in (tmp_path / "out" / "figures").iterdir()} == {".png", ".svg"}


@pytest.mark.usefixtures("one_corruption")
def test_the_clean_level_is_the_evaluation(run, tmp_path):
    done = pipelines.measure_robustness(run, tmp_path / "out", images=0)
    evaluation = pipelines.evaluate_run(run)
    assert done.found.n_images == evaluation.record.n_images
    assert done.found.clean.accuracy == evaluation.record.figures["accuracy"]


@pytest.mark.usefixtures("one_corruption")
def test_a_run_and_its_bundle_say_the_same(run, tmp_path):
    pytest.importorskip("onnxscript")
    bundle = pipelines.export_run(run, tmp_path / "bundle", variants=("fp32",)).path
    one = pipelines.measure_robustness(run, tmp_path / "a", images=8).found
    other = pipelines.measure_robustness(
        bundle, tmp_path / "b", images=8, data=run / "split.csv"
    ).found
    for mine, theirs in zip(one.levels, other.levels, strict=True):
        assert mine.accuracy == theirs.accuracy and mine.loss == theirs.loss
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-4)
    assert other.leakage_status == "unproven" and other.remarks[0].code == "training_unknown"
    record = load_record(Robustness, tmp_path / "b" / "robustness.json", "")
    assert record.provenance.weights_sha256 == hash_file(run / "model.safetensors")
    with pytest.raises(ConfigError, match="carries no images"):
        pipelines.measure_robustness(bundle, tmp_path / "c")


@pytest.mark.usefixtures("one_corruption")
def test_corruptions_come_before_the_colours_are_standardised(run, tmp_path, monkeypatch):
    """As in use: with the ground made white again, less light costs nothing, and the network and
    the quality checks see the same pixels. The discs here are classified by their colour alone."""
    target = np.array(STAIN_TARGETS["background"])
    model = load_json(run / "model.json")
    model["input"] |= {"stain": "background", "stain_target": target.tolist()}
    save_json(model, run / "model.json")
    scorer = open_scorer(run)
    colours = {name: np.array(rgb) * target / (240, 230, 235) for name, rgb in DISCS}
    seen, checked = [], []

    def score(images, _on_progress=None):
        seen.append(images)
        discs = [image[image.mean(axis=2) < 205].mean(axis=0) for image in images]
        away = [[-np.linalg.norm(disc - colours[k]) for k in scorer.classes] for disc in discs]
        return Outputs(np.float32(away), np.zeros((len(images), 1), np.float32), None)

    def check(images):
        checked.append(images)
        return np.zeros((len(images), len(QUALITY_NAMES)), np.float32)

    fake = SimpleNamespace(**vars(scorer) | {"score": score})
    monkeypatch.setattr(robustness, "open_scorer", lambda _: fake)
    monkeypatch.setattr(scoring, "measure_quality", check)
    found = pipelines.measure_robustness(run, tmp_path / "out", images=0).found
    assert [level.accuracy.value for level in found.levels] == [1.0] * 6
    for images, same in zip(seen, checked, strict=True):
        assert (images == same).all()
        assert np.abs(images.astype(int) - seen[0]).mean() < 2  # rounding


@pytest.mark.usefixtures("one_corruption")
def test_what_is_wrong_with_the_images_is_said(run, tmp_path, capsys):
    """Copies in training, classes that the network does not know, files that cannot be read."""
    split = load_split(run / "split.csv")
    learned = [
        record
        for record, role in zip(split.catalog.records, split.roles, strict=True)
        if role == "train"
    ]
    for label in {record.label for record in learned}:
        own = tmp_path / "other" / label
        own.mkdir(parents=True)
        for record in [x for x in learned if x.label == label][:3]:
            shutil.copy(record.path, own / record.path.name)
    blasts = tmp_path / "other" / "blast"
    blasts.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(blasts / "a.png")
    (own / "broken.png").write_bytes(b"no image")
    done = pipelines.measure_robustness(run, tmp_path / "out", data=tmp_path / "other")
    found = done.found
    assert found.leakage_status == "leaking" and found.remarks[0].code == "images_in_training"
    rejected, unknown = found.warnings
    assert rejected == Note("files_rejected", {"n": 1})
    assert unknown == Note("unknown_classes", {"n": 1, "labels": ("blast",)})
    assert found.n_images == 3 * len({record.label for record in learned})
    render.print_page(describe_robustness(done.found))
    for text in (capsys.readouterr().out, done.page.read_text()):
        flat = " ".join(text.split())
        assert "These numbers are inflated" in flat and "also lie in training" in flat
        assert "1 file rejected" in flat and "the network does not know" in flat


@pytest.mark.usefixtures("one_corruption")
def test_copies_among_its_own_test_images_are_counted(run, tmp_path, monkeypatch):
    split = load_split(run / "split.csv")
    test = [r for r, role in zip(split.catalog.records, split.roles, strict=True) if role == "test"]
    leaked = frozenset(record.id for record in test[:2])
    monkeypatch.setattr(
        leakage, "assess_role", lambda *_: leakage.Leakage("leaking", leaked=leaked)
    )
    found = pipelines.measure_robustness(run, tmp_path / "out").found
    assert found.leakage_status == "leaking"
    assert found.remarks[0] == Note("duplicates_in_sample", {"n": 2, "n_images": len(test)})


def test_no_more_images_than_asked_for():
    """Each class in its share, one at least as far as they go."""
    counts = {"a": 60, "b": 30, "c": 9, "d": 1}
    records = [SimpleNamespace(label=k) for k, n in counts.items() for _ in range(n)]
    for images in range(1, 100):
        kept = robustness._draw_sample(records, images, 0)
        found = {k: sum(one.label == k for one in kept) for k in counts}
        assert len(kept) == images
        for label, n in counts.items():
            assert abs(found[label] - images * n / 100) <= 2
            assert found[label] >= 1 or images < len(counts)
    assert robustness._draw_sample(records, 0, 0) == tuple(records)
    again = [robustness._draw_sample(records, 20, seed) for seed in (1, 1, 2)]
    assert list(map(id, again[0])) == list(map(id, again[1])) != list(map(id, again[2]))


def test_what_cannot_be_measured_is_rejected(run, tmp_path, disc_folder):
    other = tmp_path / "other" / "blast"
    other.mkdir(parents=True)
    shutil.copy(next(disc_folder.rglob("*.png")), other / "a.png")
    with pytest.raises(DataError, match="none of these"):
        pipelines.measure_robustness(run, tmp_path / "x", data=tmp_path / "other")
    with pytest.raises(RunError, match="or a bundle"):
        pipelines.measure_robustness(tmp_path / "nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nothing_of_another_call_is_overwritten(run, tmp_path, monkeypatch):
    """Rejected before the work, as is a file."""
    monkeypatch.setattr(robustness, "open_scorer", None)
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "robustness.json").write_text("{}")
    with pytest.raises(RunError, match="it holds files"):
        pipelines.measure_robustness(run, tmp_path / "earlier")
    with pytest.raises(RunError, match="it is no folder"):
        pipelines.measure_robustness(run, tmp_path / "earlier" / "robustness.json")
    assert (tmp_path / "earlier" / "robustness.json").read_text() == "{}"


@pytest.mark.usefixtures("one_corruption")
@pytest.mark.parametrize("limit", [0, 20_000])
def test_on_a_full_disk_nothing_is_left(run, tmp_path, limit):
    with full_disk(limit), pytest.raises(StorageError, match="out must be writable"):
        pipelines.measure_robustness(run, tmp_path / "out", images=4)
    assert not (tmp_path / "out").exists()
