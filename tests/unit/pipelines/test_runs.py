import importlib.util
import json
import shutil

import numpy as np
import pytest
from tests.builders.runs import SETTINGS

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.errors import MissingExtraError, RunError
from leukoscope.scores import load_scores


def test_a_run_folder_holds_the_whole_story(trained, split):
    folder = trained.folder
    names = {path.name for path in folder.path.iterdir()}
    assert names >= {
        "recipe.json", "split.csv", "split.audit.json", "provenance.json", "train.log",
        "checkpoint.safetensors", "best.safetensors", "model.safetensors", "model.json",
        "training_history.csv", "scores.parquet", "pack",
    }  # fmt: skip
    provenance = json.loads(folder.provenance.read_text())
    assert provenance["recipe_hash"] == json.loads(folder.recipe.read_text())["hash"]
    assert provenance["packages"]["torch"] and provenance["seeds"] == [42]
    assert len(trained.history) == 3 and trained.audit.leakage_status == "unproven"


def test_the_score_table_has_one_row_per_image(trained, split):
    table = load_scores(trained.folder.scores)
    assert table.ids == tuple(r.id for r in split.catalog.records)
    assert table.roles == split.roles and table.sources == split.sources
    assert table.classes == split.catalog.classes and not table.source_known
    assert [table.classes[k] for k in table.labels_N] == [r.label for r in split.catalog.records]
    assert table.logits_NK.shape == (48, 4) and table.embeddings_ND.shape == (48, 256)


def test_logits_follow_from_the_embedding(trained):
    """The table against the weights: head(embedding) = logits."""
    from leukoscope.training.trained import load_trained

    table = load_scores(trained.folder.scores)
    head = load_trained(trained.folder).network.head
    weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
    np.testing.assert_allclose(table.embeddings_ND @ weight.T + bias, table.logits_NK, atol=1e-4)


def test_resume_scores_a_finished_run_again(run, split):
    before = load_scores(run / "scores.parquet")
    (run / "scores.parquet").unlink()
    recipe = load_recipe("quick", SETTINGS)
    assert recipe.train.precision == "auto"  # resolved once, when the run began
    pipelines.train_run(split, recipe, run, resume=True)
    after = load_scores(run / "scores.parquet")
    np.testing.assert_array_equal(before.logits_NK, after.logits_NK)
    with pytest.raises(RunError, match="with the recipe and data it was started with"):
        pipelines.train_run(
            split, load_recipe("quick", [*SETTINGS, "optim.lr=0.1"]), run, resume=True
        )


def test_a_missing_extra_is_named(monkeypatch, split, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"torch not installed.*leukoscope\[train\]"):
        pipelines.train_run(split, load_recipe("quick"), tmp_path / "x")


# -- packs that runs share ------------------------------------------------------------------------


def test_runs_share_a_pack(disc_folder, tmp_path, monkeypatch):
    from leukoscope.data import pack

    packs = tmp_path / "packs"
    settings = ["input.image_size=32", "train.epochs=1", "train.batch_size=16"]
    recipe = load_recipe("quick", settings)
    catalog = pipelines.scan_images(disc_folder)
    packed = pipelines.pack_images(catalog, recipe, packs)
    assert (packed.images, packed.image_size) == (48, 32)
    assert packed.bytes == packed.path.stat().st_size

    def reject(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(pack, "_read_record", reject)
    for seed in (1, 2):  # another split of the same images needs the same pixels
        split = pipelines.split_catalog(catalog, "random", seed=seed)
        run = pipelines.train_run(split, recipe, tmp_path / f"run{seed}", packs=packs).folder
        assert not run.pack.exists()
        assert pipelines.evaluate_run(run.path).report.is_file()
    assert len(list(packs.glob("*.npy"))) == 1
    # A split is packed too, and a folder of images; both are the pack that is there.
    assert pipelines.pack_images(split, recipe, packs) == packed
    assert pipelines.pack_images(disc_folder, recipe, packs) == packed


def test_a_run_whose_shared_packs_are_gone_decodes_its_own(disc_folder, tmp_path):
    recipe = load_recipe("quick", ["input.image_size=32", "train.epochs=1"])
    split = pipelines.split_catalog(pipelines.scan_images(disc_folder), "random")
    run = pipelines.train_run(split, recipe, tmp_path / "run", packs=tmp_path / "packs").folder
    shutil.rmtree(tmp_path / "packs")
    assert pipelines.evaluate_run(run.path).report.is_file()
    assert list(run.pack.glob("*.npy"))
