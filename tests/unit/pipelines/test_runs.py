import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.files import list_flips
from tests.builders.runs import SETTINGS, write_run

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.splits import Split, save_split
from leukoscope.errors import MissingExtraError, MissingStepError, RunError
from leukoscope.pipelines.evaluation import load_evaluation
from leukoscope.pipelines.runs import load_run_scores, load_run_split
from leukoscope.pipelines.scorers import open_scorer
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores, save_scores
from leukoscope.storage import hash_file
from leukoscope.training.record import load_history, load_model_record


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


# -- what a run remembers -------------------------------------------------------------------------


def read_all(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change_roles(split):
    """The first image of the training and the first of the test part change places."""
    i, j = split.roles.index("train"), split.roles.index("test")
    roles = list(split.roles)
    roles[i], roles[j] = roles[j], roles[i]
    return replace(split, roles=tuple(roles))


def change_record(split, **changes):
    first, *rest = split.catalog.records
    return replace(split, catalog=Catalog((replace(first, **changes), *rest)))


OTHER_RUNS = {
    "a key": (["train.epochs=30"], lambda split: split, "train.epochs was 3, is 30"),
    "two keys": (
        ["optim.lr=0.1", "trust.alpha=0.2"],
        lambda split: split,
        "optim.lr was 0.003, is 0.1; trust.alpha was auto, is 0.2",
    ),
    "a word": (["input.resize=pad"], lambda split: split, "input.resize was stretch, is pad"),
    "roles": ([], change_roles, "another split: 2 images have another role"),
    "a source": ([], lambda s: change_record(s, source="x"), "1 image has another source"),
    "a label": ([], lambda s: change_record(s, label="basophil"), "1 image has another label"),
    "the seed": ([], lambda s: replace(s, seed=7), "its protocol, seed or further columns"),
    "fewer images": (
        [],
        lambda s: Split(Catalog(s.catalog.records[1:]), s.roles[1:], s.protocol, s.seed),
        "1 image has no row in the split given",
    ),
}


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
@pytest.mark.parametrize("other", OTHER_RUNS)
def test_a_rejected_resume_leaves_every_byte(run, split, other, finished):
    """And names what differs, never two hashes."""
    settings, change, found = OTHER_RUNS[other]
    (run / ".leukoscope-abc.tmp").touch()  # of a killed process
    if not finished:
        for name in ("model.json", "model.safetensors", "scores.parquet"):
            (run / name).unlink()
    before = read_all(run)
    recipe = load_recipe("quick", [*SETTINGS, *settings])
    with pytest.raises(RunError, match="it was started with") as caught:
        pipelines.train_run(change(split), recipe, run, resume=True, packs=run / "packs")
    assert found in caught.value.found and "another --out" in caught.value.remedy
    assert (
        all(f"--set {x.split(' was ')[0]}=" in caught.value.remedy for x in found.split("; "))
        or not settings
    )
    assert read_all(run) == before and not (run / "packs").exists()


def test_a_resume_writes_nothing_about_the_run_again(run, split, monkeypatch):
    before = read_all(run)
    monkeypatch.setattr("sys.argv", ["leukoscope", "another", "command"])
    pipelines.train_run(split, load_recipe("quick", SETTINGS), run, resume=True)
    changed = {path.name for path, content in read_all(run).items() if before[path] != content}
    assert changed == {"train.log"}
    assert (run / "train.log").read_bytes().startswith(before[run / "train.log"])


def test_an_ensemble_is_not_resumed(others, split):
    with pytest.raises(RunError, match="is an ensemble"):
        pipelines.train_run(split, load_recipe("quick", SETTINGS), others / "flips", resume=True)


READERS = {
    "evaluate": lambda run, out, data: pipelines.evaluate_run(run),
    "evaluate other data": lambda run, out, data: pipelines.evaluate_run(run, data=data),
    "calibrate": lambda run, out, data: pipelines.calibrate_run(run),
    "robustness": lambda run, out, data: pipelines.measure_robustness(run, out),
    "robustness on other data": lambda run, out, data: pipelines.measure_robustness(
        run, out, data=data
    ),
    "export": lambda run, out, data: pipelines.export_run(run, out),
    "distill": lambda run, out, data: pipelines.distill_run(
        run, load_recipe("quick", SETTINGS), out
    ),
    "ensemble": lambda run, out, data: pipelines.build_ensemble([run], out, tta="flips"),
    "card": lambda run, out, data: pipelines.write_card(run, out),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_checks_the_split_against_the_weights(
    run, split, reader, tmp_path, disc_folder
):
    """A split of another draw says of training images that they are test images."""
    save_split(change_roles(split), run / "split.csv")
    before = read_all(run)
    with pytest.raises(RunError, match="must be the split that the network was trained on"):
        READERS[reader](run, tmp_path / "out", disc_folder)
    assert read_all(run) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", ["row", "role", "source", "sha256", "id", "protocol"])
def test_any_change_of_the_split_is_noticed(run, split, change):
    other = {
        "row": lambda: Split(
            Catalog(split.catalog.records[:-1]), split.roles[:-1], split.protocol, split.seed
        ),
        "role": lambda: change_roles(split),
        "source": lambda: change_record(split, source="x"),
        "sha256": lambda: change_record(split, sha256="0" * 64),
        "id": lambda: change_record(split, id="x"),
        "protocol": lambda: replace(split, protocol="random"),
    }[change]()
    save_split(other, run / "split.csv")
    with pytest.raises(RunError, match="the network was trained on"):
        load_run_split(RunFolder(run))


def test_scores_are_bound_to_the_weights_bit_by_bit(run):
    """Forged scores would lift every figure; damaged ones would change some."""
    folder = RunFolder(run)
    content = folder.scores.read_bytes()
    for changed in list_flips(content):
        folder.scores.write_bytes(changed)
        with pytest.raises(RunError, match="must be the scores that the trained network"):
            load_run_scores(folder)
    folder.scores.write_bytes(content)
    assert len(load_run_scores(folder)) == 48


def test_better_scores_are_not_believed(run, split):
    """Each reader of scores rejects a table of the right form with the true labels in it."""
    folder = RunFolder(run)
    table = load_run_scores(folder)
    best = np.eye(4, dtype=np.float32)[table.labels_N] * 9
    save_scores(replace(table, logits_NK=best), folder.scores)
    for command in (pipelines.evaluate_run, pipelines.calibrate_run):
        with pytest.raises(RunError, match="changed after it was written"):
            command(run)
    with pytest.raises(RunError, match="changed after it was written"):
        pipelines.build_ensemble([run], run.parent / "joint", tta="flips")
    pipelines.train_run(split, load_recipe("quick", SETTINGS), run, resume=True)
    np.testing.assert_array_equal(load_run_scores(folder).logits_NK, table.logits_NK)


@pytest.fixture(scope="module")
def others(split, tmp_path_factory):
    """Another run, and two ensembles of it; whole in themselves."""
    place = tmp_path_factory.mktemp("others")
    write_run(place / "run", split, 7)
    for tta in ("flips", "dihedral"):
        pipelines.build_ensemble([place / "run"], place / tta, tta=tta)
    return place


def export_one(folder):
    return pipelines.export_run(folder, folder / "bundle", variants=("fp32",))


def build_flips(folder):
    return pipelines.build_ensemble([folder], folder / "joint", tta="flips")


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        (
            "recipe.json",
            (pipelines.evaluate_run, pipelines.calibrate_run, export_one, build_flips),
        ),
        ("provenance.json", (pipelines.evaluate_run, export_one, build_flips)),
        ("training_history.csv", (pipelines.evaluate_run,)),
        ("ensemble.json", ()),
    ],
)
def test_what_a_run_says_of_itself_is_bound_to_its_weights(run, others, tmp_path, name, commands):
    """A file of another run, whole in itself, is rejected by name by all that read it."""
    folder = shutil.copytree(others / "flips", tmp_path / "f") if name == "ensemble.json" else run
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        content.replace(b"0.", b"1.", 1)
        if name == "training_history.csv"
        else (others / ("dihedral" if name == "ensemble.json" else "run") / name).read_bytes()
    )
    for command in (*commands, pipelines.write_card):
        with pytest.raises(RunError, match=rf"{name} must be of the trained network beside it"):
            command(folder)
    (folder / name).write_bytes(content.replace(b"\n", b"\r\n"))  # as Git may write it
    pipelines.write_card(folder)


def test_what_a_run_says_of_itself_must_be_a_file(run):
    folder = RunFolder(run)
    folder.recipe.unlink()
    with pytest.raises(MissingStepError, match=r"recipe\.json"):
        pipelines.evaluate_run(run)
    with (run / "provenance.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunError, match="at most"):
        folder.load_provenance()


def test_a_bound_history_that_is_no_table_is_rejected(run):
    folder = RunFolder(run)
    folder.history.write_text("Epoch,Seconds\n1,long\n")
    save_record(replace(load_model_record(folder), bound=folder.bind_files()), folder.model)
    with pytest.raises(RunError, match="one line of numbers"):
        load_history(folder)


def test_an_evaluation_names_what_it_was_made_with(run):
    folder = RunFolder(run)
    origin = pipelines.evaluate_run(run).record.provenance
    assert origin.weights_sha256 == hash_file(folder.weights)
    assert origin.scores_sha256 == hash_file(folder.scores) and origin.trust_sha256 is None
    assert origin.split_sha256 == load_model_record(folder).split_sha256
    # Evaluations of other scores are not listed beside it.
    assert len(pipelines.evaluate_run(run, role="val").record.compare) == 1
    found = replace(load_evaluation(run / "metrics.json"))
    old = replace(found, provenance=replace(origin, scores_sha256="0" * 64))
    save_record(old, run / "metrics.json")
    assert pipelines.evaluate_run(run, role="val").record.compare == ()


def test_a_run_may_be_moved_and_its_rows_sorted(run, split, tmp_path):
    moved = shutil.move(run, tmp_path / "elsewhere" / "run")
    lines = (moved / "split.csv").read_text().splitlines()
    (moved / "split.csv").write_text("\r\n".join([lines[0], *lines[:0:-1]]) + "\r\n")
    assert load_run_split(RunFolder(moved)).roles == split.roles


def test_an_interrupted_run_says_how_far_it_came(run, split):
    for name in ("model.json", "model.safetensors", "scores.parquet"):
        (run / name).unlink()
    history = (run / "training_history.csv").read_text().splitlines()
    (run / "training_history.csv").write_text("\n".join(history[:3]) + "\n")
    for command in (pipelines.evaluate_run, pipelines.calibrate_run, pipelines.write_card):
        with pytest.raises(MissingStepError) as caught:
            command(run)
        assert caught.value.found == "interrupted after epoch 2 of 3"
        assert f"leukoscope train SPLIT --resume --out {run}" in caught.value.remedy
    (run / "training_history.csv").unlink()
    with pytest.raises(MissingStepError, match="after epoch 0 of 3"):
        pipelines.export_run(run, run / "bundle")
    with pytest.raises(MissingStepError, match="after epoch 0 of 3"):
        open_scorer(run)


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
