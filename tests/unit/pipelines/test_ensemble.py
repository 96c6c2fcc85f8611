"""Runs that are joined: roles, figures, files, and what is rejected."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.builders.files import full_disk
from tests.builders.images import records_of
from tests.builders.runs import CPU, RECIPE, build_member, write_run

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.data.splits import build_kfold, hash_split, load_split
from leukoscope.deploy import export
from leukoscope.errors import (
    ConfigError,
    DataError,
    MissingStepError,
    RunError,
    StorageError,
    WeightsError,
)
from leukoscope.evaluation.comparison import EnsembleComparison
from leukoscope.pipelines.ensemble import build_ensemble
from leukoscope.pipelines.runs import load_run_scores
from leukoscope.records import load_record
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.storage import hash_file
from leukoscope.training.checkpoint import WeightsState, save_tensors
from leukoscope.training.trained import load_trained, save_trained
from leukoscope.trust.disagreement import combine_tables


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("members")


@pytest.fixture(scope="module")
def runs(split, place):
    (place / "packs").mkdir()
    return [write_run(place / f"m{seed}", split, seed) for seed in range(2)]


@pytest.fixture(scope="module")
def joint(runs, place):
    return build_ensemble(runs, place / "joint")


def test_an_ensemble_of_two_runs_is_a_run(runs, joint, split):
    folder = joint.folder
    trained = load_trained(folder, CPU)
    members = [load_trained(RunFolder(run), CPU) for run in runs]
    for member, own in zip(trained.network.members, members, strict=True):
        ours, theirs = member.state_dict(), own.network.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (trained.classes, trained.input) == (members[0].classes, members[0].input)
    assert trained.first is trained.network.first and trained.weights_sha256 == hash_file(
        folder.weights
    )
    record = json.loads(folder.model.read_text())
    assert record["spec"]["name"] == joint.found.name == "2 x tiny"
    assert load_split(folder.split).roles == split.roles
    provenance = folder.load_provenance()
    assert [m.run for m in provenance.members] == ["m0", "m1"]
    assert [m.sha256 for m in provenance.members] == [m.weights_sha256 for m in members]
    assert provenance.seeds == (0, 1) and provenance.split_sha256 == hash_split(split)
    found = load_record(EnsembleComparison, folder.ensemble, "leukoscope ensemble")
    assert found == joint.found and found.warnings == ()
    names = {(row.name, row.role) for row in found.figures}
    assert names == {(n, r) for n in ("0 m0", "1 m1", "2 x tiny") for r in ("calib", "test")}


def test_without_views_the_scores_come_from_the_members(runs, joint, split, place, monkeypatch):
    from leukoscope.pipelines import ensemble

    table = load_scores(joint.folder.scores)
    expected = combine_tables([load_scores(run / "scores.parquet") for run in runs])
    assert table.ids == expected.ids and table.roles == expected.roles
    np.testing.assert_array_equal(table.logits_NK, expected.logits_NK)
    np.testing.assert_array_equal(table.disagreement_N, expected.disagreement_N)
    assert table.disagreement_N.mean() > 1e-3
    # The witness: the network itself, asked about every image.
    monkeypatch.setattr(ensemble, "_load_tables", lambda folders: {})
    asked = build_ensemble(runs, place / "asked")
    other = load_scores(asked.folder.scores)
    assert other.ids == table.ids
    np.testing.assert_allclose(other.logits_NK, table.logits_NK, atol=1e-4)
    np.testing.assert_allclose(other.disagreement_N, table.disagreement_N, atol=1e-5)
    np.testing.assert_allclose(other.embeddings_ND, table.embeddings_ND, atol=1e-4)
    assert asked.found.warnings == ("members_without_scores",)
    assert asked.found.unscored == ("0 m0", "1 m1")
    assert len(asked.found.figures) == 2  # of the ensemble alone, for calib and test


def test_one_run_from_eight_sides(runs, place):
    found = build_ensemble(runs[:1], place / "views", tta="dihedral")
    assert found.found.name == "1 x tiny, 8 views"
    table, own = load_scores(found.folder.scores), load_scores(runs[0] / "scores.parquet")
    assert np.abs(table.probabilities_NK - own.probabilities_NK).max() > 1e-3
    assert table.disagreement_N.min() > 0
    assert [row.disagreement is None for row in found.found.figures[:2]] == [True, False]


def test_folds_leave_nothing_to_judge_on_and_say_so(split, place):
    folds = build_kfold(split.catalog, 4)
    runs = [write_run(place / f"fold{i}", fold, 10 + i) for i, fold in enumerate(folds)]
    found = build_ensemble(runs, place / "folds")
    joined = load_split(found.folder.split)
    trained_on = {r.id for fold in folds for r in records_of(fold, "train")}
    chosen_on = {r.id for fold in folds for r in records_of(fold, "val")} - trained_on
    pairs = list(zip(joined.catalog.records, joined.roles, strict=True))
    assert {r.id for r, role in pairs if role == "train"} == trained_on
    assert {r.id for r, role in pairs if role == "val"} == chosen_on
    assert "test" not in joined.roles
    assert found.found.warnings == ("no_new_test_images",)
    assert found.found.n_new == joined.roles.count("calib")
    # The figures are of single members, each on what it was not trained on.
    assert [row.role for row in found.found.figures] == ["own test"] * 4
    assert sum(row.n_images for row in found.found.figures) == len(split.catalog)
    assert all(row.disagreement is None for row in found.found.figures)
    with pytest.raises(DataError, match="evaluate it on other data, by --data"):
        pipelines.evaluate_run(found.folder.path)


def test_two_seeds_of_a_split_leave_what_neither_touched(split, place):
    other = pipelines.split_catalog(split.catalog, "grouped", seed=7)
    runs = [write_run(place / f"seed{i}", s, 20 + i) for i, s in enumerate((split, other))]
    found = build_ensemble(runs, place / "seeds")
    joined = load_split(found.folder.split)
    ids = [record.id for record in joined.catalog.records]
    roles = dict(zip(ids, joined.roles, strict=True))
    for part in (split, other):
        for record, role in zip(part.catalog.records, part.roles, strict=True):
            if role == "train":
                assert roles[record.id] == "train"
            if role == "val":
                assert roles[record.id] in ("train", "val")
    assert found.found.roles["train"] > sum(role == "train" for role in split.roles)


def test_what_does_not_fit_is_rejected(runs, joint, split, place):
    three = [r for r in split.catalog.records if r.label != "monocyte"]
    others = {
        "classes": (pipelines.split_catalog(replace(split.catalog, records=tuple(three))), RECIPE),
        "input": (split, load_recipe("quick", ["input.image_size=32", "input.resize=pad"])),
    }
    for what, (part, recipe) in others.items():
        run = place / f"other {what}"
        run.mkdir()
        folder = RunFolder(run)
        member = build_member(5, n_classes=len(part.catalog.classes))
        save_tensors(folder.best, member.state_dict(), WeightsState(1))
        save_trained(folder, member.spec, part.catalog.classes, recipe.input, "5" * 64)
        with pytest.raises(RunError, match=f"same {what}"):
            build_ensemble([runs[0], run], place / "none")
    for wrong, error, text in (
        (runs[:1], ConfigError, "at least two runs"),
        ([], ConfigError, "at least two runs"),
        ([runs[0], runs[0]], ConfigError, "different runs"),
        ([runs[0], joint.folder.path], RunError, "single networks"),
        ([runs[0], place / "nowhere"], MissingStepError, "leukoscope train"),
    ):
        with pytest.raises(error, match=text):
            build_ensemble(wrong, place / "none")
    assert not (place / "none").exists()
    with pytest.raises(RunError, match="must not hold a run yet"):
        build_ensemble(runs, joint.folder.path)


def test_damaged_weights_of_an_ensemble_are_rejected(runs, place):
    folder = build_ensemble(runs, place / "damaged").folder
    content = bytearray(folder.weights.read_bytes())
    content[-1] ^= 1
    folder.weights.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_trained(folder, CPU)


def test_it_is_evaluated_like_any_run(joint):
    found = pipelines.evaluate_run(joint.folder.path)
    table = load_scores(joint.folder.scores).of_role("test")
    hits = table.labels_N == table.logits_NK.argmax(1)
    assert found.record.figures["accuracy"].value == pytest.approx(hits.mean())
    assert "2 x tiny, 32 px" in found.report.read_text()


def test_parity_on_images_that_trained_a_member_needs_no_untouched_images():
    roles = np.array(["train"] * 500 + ["val"] * 3)
    role, fit, rows = export.choose_rows(roles, any_role=True)
    assert role == "any role" and len(fit) == 251 and len(rows) == 252
    assert not set(fit) & set(rows)


@pytest.mark.parametrize("renames", [0, 2, 5, 6, 7])
def test_an_ensemble_stopped_at_any_file_is_built_again(
    runs, joint, tmp_path, monkeypatch, renames
):
    """It counts as a run only when it is whole: the record of the weights goes last."""
    left, rename = renames, Path.replace

    def stop(self, target):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    members = [read_all(run) for run in runs]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", stop)
        build_ensemble(runs, tmp_path / "out")
    assert not (tmp_path / "out" / "model.json").exists()
    again = build_ensemble(runs, tmp_path / "out").folder
    assert hash_file(again.weights) == hash_file(joint.folder.weights)
    assert load_run_scores(again).ids == load_run_scores(joint.folder).ids
    assert [read_all(run) for run in runs] == members


@pytest.mark.parametrize("limit", [0, 3_000, 20_000])
def test_an_ensemble_on_a_full_disk_is_no_run(runs, joint, tmp_path, limit):
    members = [read_all(run) for run in runs]
    with full_disk(limit), pytest.raises(StorageError, match="the disk is full"):
        build_ensemble(runs, tmp_path / "out")
    assert not (tmp_path / "out" / "model.json").exists()
    build_ensemble(runs, tmp_path / "out")
    assert [read_all(run) for run in runs] == members


def read_all(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
