"""A student from a run folder: what is written, what is compared, and what is rejected."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.files import full_disk
from tests.builders.runs import RECIPE, SETTINGS, write_run
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.config import load_recipe
from leukoscope.data.splits import build_kfold, load_split
from leukoscope.errors import ConfigError, SplitError, StorageError
from leukoscope.pipelines.distill import distill_run
from leukoscope.pipelines.ensemble import build_ensemble
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.storage import hash_file

SHORT = [*SETTINGS, "train.epochs=1", "train.precision=fp32"]


@pytest.fixture(scope="module")
def teacher(split, tmp_path_factory):
    """An ensemble of two networks that were never trained."""
    place = tmp_path_factory.mktemp("teacher")
    (place / "packs").mkdir()
    runs = [write_run(place / f"m{seed}", split, seed) for seed in range(2)]
    return build_ensemble(runs, place / "joint").folder.path


def test_a_student_is_a_run_that_names_its_teacher(teacher, tmp_path):
    out = tmp_path / "student"
    settings = [word for s in [*SHORT, "distill.temperature=3"] for word in ("--set", s)]
    done = CliRunner().invoke(app, ["distill", str(teacher), "--out", str(out), *settings])
    assert done.exit_code == 0, done.output
    assert "the student decides otherwise on" in done.output
    sha256 = hash_file(teacher / "model.safetensors")
    run = RunFolder(out)
    recipe = json.loads(run.recipe.read_text())
    assert recipe["distill"] == {"temperature": 3.0, "label_weight": 0.1, "teacher": sha256}
    assert json.loads(run.provenance.read_text())["teacher_sha256"] == sha256
    told = json.loads(run.distillation.read_text())
    assert told["teacher"]["sha256"] == sha256 and told["teacher"]["network"] == "2 x tiny"
    own, taught = load_scores(teacher / "scores.parquet"), load_scores(run.scores)
    changed = own.logits_NK.argmax(1) != taught.logits_NK.argmax(1)
    roles = np.array(own.roles)
    assert [row["role"] for row in told["parity"]] == ["calib", "test"]
    for row in told["parity"]:
        assert row["changed"] == changed[roles == row["role"]].sum()
        assert row["n_images"] == (roles == row["role"]).sum()
    assert [(row["role"], row["name"].split()[0]) for row in told["figures"]] == [
        (role, name) for role in ("calib", "test") for name in ("joint", "student")
    ]
    assert all(told[name]["ms_per_image"] > 0 for name in ("teacher", "student"))
    assert told["teacher"]["parameters"] != told["student"]["parameters"]
    # It goes on like any run, with the same teacher only.
    again = distill_run(
        teacher, load_recipe("quick", [*SHORT, "distill.temperature=3"]), out, resume=True
    )
    assert len(again.run.history) == 1
    alone = load_recipe("quick", [*SHORT, f"distill.teacher={sha256}"])
    with pytest.raises(ConfigError, match="names a teacher"):
        pipelines.train_run(load_split(run.split), alone, tmp_path / "x")


def test_what_a_student_cannot_learn_is_rejected(teacher, split, tmp_path):
    other_size = load_recipe("quick", [*SHORT, "input.resize=pad"])
    with pytest.raises(ConfigError, match="classes and the input") as caught:
        distill_run(teacher, other_size, tmp_path / "x")
    assert caught.value.remedy == "--set input.resize=stretch"
    with pytest.raises(ConfigError, match="folder of its own"):
        distill_run(teacher, load_recipe("quick", SHORT), teacher)
    assert not (tmp_path / "x").exists()
    (tmp_path / "packs").mkdir()
    folds = build_kfold(split.catalog, 2)
    all_train = [replace(f, roles=tuple("train" for _ in f.roles)) for f in folds]
    run = write_run(tmp_path / "spent", all_train[0], 3, RECIPE)
    with pytest.raises(SplitError, match="did not train its teacher"):
        distill_run(run, load_recipe("quick", SHORT), tmp_path / "y")


def test_a_student_without_its_comparison_gets_it_by_resuming(teacher, tmp_path):
    """Killed, or on a full disk, after the training: what was trained is not trained again."""
    out = tmp_path / "student"
    recipe = load_recipe("quick", SHORT)
    run = distill_run(teacher, recipe, out).run.folder
    weights, before = hash_file(run.weights), read_all(teacher)
    run.distillation.unlink()
    with full_disk(0), pytest.raises(StorageError, match="the disk is full"):
        distill_run(teacher, recipe, out, resume=True)
    assert hash_file(run.best) and not run.distillation.exists()
    distill_run(teacher, recipe, out, resume=True)
    assert hash_file(run.weights) == weights and run.distillation.is_file()
    assert read_all(teacher) == before


def read_all(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
