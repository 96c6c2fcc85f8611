"""The use cases on tiny discs: one short run serves most tests."""

import csv
import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import draw_disc, save_discs

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.data.catalog import Catalog, save_catalog
from leukoscope.data.sources import FIELD_COLUMN, SOURCE_PREFIX, SourceFindings
from leukoscope.data.splits import Split, load_split, save_split
from leukoscope.errors import (
    CatalogError,
    DataError,
    MissingExtraError,
    MissingStepError,
    RunError,
    SplitError,
    WeightsError,
)
from leukoscope.evaluation import results
from leukoscope.pipelines.data import name_data
from leukoscope.pipelines.evaluation import _list_shared
from leukoscope.scores import load_scores

SETTINGS = ["input.image_size=32", "train.epochs=3", "train.batch_size=8", "optim.lr=0.003"]


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """Figures take most of an evaluation's time; one test looks at all of them."""
    if "draws" not in request.keywords:
        monkeypatch.setattr(results, "_draw_all", lambda *_: {})


@pytest.fixture(scope="module")
def split(disc_folder):
    return pipelines.split_catalog(pipelines.scan_images(disc_folder))


@pytest.fixture(scope="module")
def trained(split, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    return pipelines.train_run(split, load_recipe("quick", SETTINGS), out)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that a test may spoil."""
    return shutil.copytree(trained.folder.path, tmp_path / "run")


def test_scan_writes_catalog_and_rejected(tmp_path):
    folder = save_discs(tmp_path / "cells", 2)
    (folder / "MONOCYTE" / "broken.png").write_bytes(b"")
    catalog = pipelines.scan_images(folder, tmp_path / "catalog.csv")
    assert len(catalog) == 8
    rejected = (tmp_path / "rejected.csv").read_text()
    assert "broken.png,empty" in rejected
    with pytest.raises(CatalogError, match=r"1 rejected, first: .*broken\.png"):
        pipelines.check_nothing_rejected(catalog)
    pipelines.check_nothing_rejected(Catalog(catalog.records))


def test_auto_takes_given_only_where_the_data_names_a_test_part(tmp_path, disc_folder):
    assert pipelines.split_catalog(pipelines.scan_images(disc_folder)).protocol == "grouped"
    save_discs(tmp_path / "set" / "TRAIN", 6)
    save_discs(tmp_path / "set" / "TEST_SIMPLE", 2)
    split = pipelines.split_catalog(pipelines.scan_images(tmp_path / "set"))
    assert split.protocol == "given"
    with pytest.raises(SplitError, match="split_kfold"):
        pipelines.split_catalog(split.catalog, "kfold")


def test_kfold_writes_one_file_per_fold(tmp_path, split):
    folds = pipelines.split_kfold(split.catalog, tmp_path / "k.csv", folds=3)
    files = [tmp_path / f"k.fold{i}.csv" for i in range(3)]
    loaded = [pipelines.load_split_or_images(path) for path in files]
    assert [s.roles for s in loaded] == [s.roles for s in folds]


def test_any_kind_of_data_becomes_a_split(tmp_path, disc_folder, split):
    save_split(split, tmp_path / "split.csv")
    save_catalog(split.catalog, tmp_path / "catalog.csv")
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([r.path, r.label] for r in split.catalog.records)
    for path in (tmp_path / "split.csv", tmp_path / "catalog.csv", table, disc_folder):
        found = pipelines.load_split_or_images(path)
        counts = {role: found.roles.count(role) for role in set(found.roles)}
        assert counts == {role: split.roles.count(role) for role in set(split.roles)}


def test_data_are_named_by_a_folder_that_names_something(tmp_path):
    for folder, name in (("lab/images", "lab"), ("pbc", "pbc"), ("images", tmp_path.name)):
        split = pipelines.split_catalog(pipelines.scan_images(save_discs(tmp_path / folder, 4)))
        assert name_data(split) == name


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
    assert provenance["packages"]["torch"] and provenance["seed"] == 42
    assert len(trained.history) == 3 and trained.audit.verdict == "unproven"


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


@pytest.mark.draws
def test_evaluate_writes_every_file(run):
    found = pipelines.evaluate_run(run, replicates=50)
    for name in ("report.html", "metrics.json", "model_evaluation_results.txt"):
        assert (run / name).stat().st_size > 500
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {"confusion.png", "confusion.svg", "roc.png", "training_curves.svg"} <= figures
    metrics = json.loads((run / "metrics.json").read_text())
    accuracy = metrics["accuracy"]
    assert set(accuracy) == {"value", "low", "high"}
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    table = load_scores(run / "scores.parquet").of_role("test")
    right = (table.logits_NK.argmax(1) == table.labels_N).mean()
    assert accuracy["value"] == pytest.approx(right) == found.intervals["accuracy"].value
    assert set(found.floors) == {"majority", "colour_histogram", "nearest_neighbour"}
    html = found.report.read_text()
    assert "Research use only" in html and "http://" not in html.replace("http://www.w3.org", "")


def test_other_roles_have_their_own_folder(run):
    found = pipelines.evaluate_run(run, role="val", replicates=50)
    assert found.folder == run / "evaluations" / "val"
    assert any("optimistic" in sentence for sentence in found.sentences)
    found = pipelines.evaluate_run(run, role="train", replicates=50)
    assert found.verdict == "leaking" and found.source_disjoint is None
    assert found.leak.reason.startswith("these are the training images")
    with pytest.raises(DataError, match="must have images in the role nobody"):
        pipelines.evaluate_run(run, role="nobody")


def test_other_data_are_scored_and_checked_for_copies(run, disc_folder, tmp_path):
    own = pipelines.evaluate_run(run, data=disc_folder, name="again", replicates=50)
    assert own.verdict == "leaking"
    assert any("also lie in training" in sentence for sentence in own.sentences)
    fresh = save_discs(tmp_path / "other lab", 3)
    (fresh / "MARTIAN").mkdir()
    draw_disc((0, 200, 0), 5).save(fresh / "MARTIAN" / "a.png")
    (fresh / "MARTIAN" / "notes.txt").write_text("x")
    found = pipelines.evaluate_run(run, data=fresh, replicates=50)
    assert found.folder == run / "evaluations" / "other_lab"
    assert found.verdict == "leaking" and found.n_images == 12  # the same discs as in training
    report = json.loads((found.folder / "metrics.json").read_text())
    assert any("martian" in warning for warning in report["warnings"])
    assert any("1 files were rejected" in warning for warning in report["warnings"])
    # The other evaluation of the same run stands beside it.
    assert [entry["name"] for entry in report["compare"]] == [
        "other lab, test (this report)",
        "cells, test",
        "cells, test, without copies",
    ]
    # Of the discs, those kept for calibration and test have no copy in training.
    home = load_split(run / "split.csv")
    unseen = sum(role in ("calib", "test") for role in home.roles)
    assert own.leak.n_images == unseen >= 10 and own.leak.n_with_copy == 48 - unseen
    assert own.source_disjoint == own.leak.accuracy
    # Discs of unknown class do not count, whether their bytes are known or not.
    assert found.n_images == found.leak.n_with_copy + found.leak.n_images


def save_fresh(folder, per_class=2):
    """Discs that no other test uses."""
    for k, (name, colour) in enumerate(
        {"EOSINOPHIL": (220, 120, 90), "NEUTROPHIL": (200, 160, 200)}.items()
    ):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            draw_disc(colour, 90_000 + 100 * k + i).save(folder / name / f"{i}.png")
    return folder


def test_other_data_with_parts_count_by_role(run, tmp_path):
    save_discs(tmp_path / "set" / "TRAIN", 2)
    save_fresh(tmp_path / "set" / "TEST")
    found = pipelines.evaluate_run(run, data=tmp_path / "set", replicates=50)
    assert found.n_images == 4 and found.verdict == "unproven"
    assert found.source_disjoint is None and found.leak is None
    with pytest.raises(DataError, match="role calib"):
        pipelines.evaluate_run(run, data=tmp_path / "set", role="calib")
    whole = pipelines.split_catalog(pipelines.scan_images(tmp_path / "set"), "given")
    save_split(whole, tmp_path / "split.csv")
    again = pipelines.evaluate_run(run, data=tmp_path / "split.csv", replicates=50)
    assert again.n_images == 4


def test_disjoint_needs_known_sources_on_both_sides(disc_folder, tmp_path):
    def with_sources(folder, prefix):
        catalog = pipelines.scan_images(folder)
        table = tmp_path / f"{prefix}.csv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "source"])
            writer.writerows(
                [r.path, r.label, f"{prefix}{i // 2}"] for i, r in enumerate(catalog.records)
            )
        return table

    home = pipelines.load_split_or_images(with_sources(disc_folder, "home"))
    recipe = load_recipe("quick", [*SETTINGS, "train.epochs=1"])
    out = tmp_path / "run"
    assert pipelines.train_run(home, recipe, out).audit.verdict == "disjoint"
    found = pipelines.evaluate_run(out, replicates=50)
    assert found.verdict == "disjoint"
    assert found.source_disjoint == found.intervals["accuracy"]
    other = with_sources(save_fresh(tmp_path / "other"), "other")
    assert pipelines.evaluate_run(out, data=other, replicates=50).verdict == "disjoint"
    # A name from the pixels of one data set says nothing of another.
    pixels = with_sources(tmp_path / "other", SOURCE_PREFIX)
    found = pipelines.evaluate_run(out, data=pixels, replicates=50)
    assert found.verdict == "unproven" and "audit --against" in " ".join(found.sentences)


def test_copies_across_roles_raise_the_red_banner(disc_folder, tmp_path):
    """A planted leak: every image twice, split row by row."""
    folder = shutil.copytree(disc_folder, tmp_path / "cells")
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    split = pipelines.split_catalog(pipelines.scan_images(folder), "random")
    out = tmp_path / "run"
    pipelines.train_run(split, load_recipe("quick", [*SETTINGS, "train.epochs=1"]), out)
    found = pipelines.evaluate_run(out, replicates=50)
    assert found.verdict == "leaking"
    assert any("with a copy in training" in sentence for sentence in found.sentences)
    assert "These numbers are inflated" in found.report.read_text()
    # Witness: bytes, role by role.
    seen = {r.sha256 for role in ("train", "val") for r in split.records_of(role)}
    copied = [r.sha256 in seen for r in split.records_of("test")]
    assert found.leak.n_with_copy == sum(copied) > 0
    assert found.leak.n_images == len(copied) - sum(copied) < 10
    assert found.source_disjoint is None and "leak-report" in found.leak.reason
    metrics = json.loads((out / "metrics.json").read_text())["accuracy"]
    assert metrics["leaked"] and metrics["source_disjoint"] is None
    # What chose the epoch is judged against what the network was fitted on.
    fitted = {r.sha256 for r in split.records_of("train")}
    chosen = pipelines.evaluate_run(out, role="val", replicates=50)
    copied = [r.sha256 in fitted for r in split.records_of("val")]
    assert chosen.leak.n_with_copy == sum(copied) > 0


def test_copies_between_other_roles_do_not_mark_the_test_images(disc_folder, tmp_path):
    """Training and validation share a source; the test images are as good as ever."""
    split = pipelines.split_catalog(pipelines.scan_images(disc_folder))
    records = [
        replace(r, source="shared" if role in ("train", "val") else f"own {i}")
        for i, (r, role) in enumerate(zip(split.catalog.records, split.roles, strict=True))
    ]
    split = Split(Catalog(tuple(records)), split.roles, "given", 1)
    recipe = load_recipe("quick", [*SETTINGS, "train.epochs=1"])
    audit = pipelines.train_run(split, recipe, tmp_path / "run").audit
    assert audit.verdict == "leaking"
    found = pipelines.evaluate_run(tmp_path / "run", replicates=20)
    assert found.verdict == "disjoint" and found.leak is None
    assert any("lie in train and in val" in sentence for sentence in found.sentences)


def test_other_data_share_bytes_sources_and_fields(split):
    home, strangers = list(split.catalog.records), []
    place = {role: split.roles.index(role) for role in ("train", "val", "calib", "test")}
    home[place["val"]] = replace(home[place["val"]], source="slide 7")
    home[place["train"]] = replace(home[place["train"]], extra={FIELD_COLUMN: "field-1"})
    home[place["test"]] = replace(home[place["test"]], source="slide 8")
    first = home[place["train"]]

    def add(name, **changes):
        given = {"id": name, "sha256": f"{name} bytes", "source": "", "extra": {}} | changes
        strangers.append(replace(first, **given))

    add("bytes", sha256=first.sha256)
    add("source", source="slide 7")
    add("field", extra={FIELD_COLUMN: "field-1"})
    add("chain", source="slide 9")
    add("link", sha256=first.sha256, source="slide 9")
    add("column of another table", extra={FIELD_COLUMN: "1"})
    add("test only", source="slide 8")
    add("calib only", sha256=home[place["calib"]].sha256)
    add("unknown class", sha256=first.sha256, label="martian")
    add("fresh")
    known = Split(Catalog(tuple(home)), split.roles, "grouped", 1)
    shared = _list_shared(known, strangers, split.catalog.classes)
    assert shared == {"bytes", "source", "field", "chain", "link"}


def test_unknown_classes_only_is_an_error(run, tmp_path):
    for name in ("MARTIAN", "VENUSIAN"):
        (tmp_path / "mars" / name).mkdir(parents=True)
        draw_disc((0, 200, 0), len(name)).save(tmp_path / "mars" / name / "a.png")
    with pytest.raises(DataError, match="classes that the network knows"):
        pipelines.evaluate_run(run, data=tmp_path / "mars")


def test_steps_in_the_wrong_order_name_the_missing_one(tmp_path, split, run):
    with pytest.raises(MissingStepError, match="`leukoscope train`"):
        pipelines.evaluate_run(tmp_path / "nothing")
    empty = Split(split.catalog, ("test",) * len(split.roles), "given", 1)
    with pytest.raises(SplitError, match="role train"):
        pipelines.train_run(empty, load_recipe("quick", SETTINGS), tmp_path / "x")
    with pytest.raises(RunError, match="must not hold a run yet"):
        pipelines.train_run(split, load_recipe("quick", SETTINGS), run)


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


def test_corrupted_weights_are_refused(run, disc_folder):
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        pipelines.evaluate_run(run, data=disc_folder)


def test_the_pack_may_be_deleted(run):
    first = pipelines.evaluate_run(run, replicates=20)
    shutil.rmtree(run / "pack")
    again = pipelines.evaluate_run(run, replicates=20)
    assert first.intervals == again.intervals and first.floors == again.floors


@pytest.mark.draws
def test_samples_survive_vanished_images(tmp_path):
    folder = save_discs(tmp_path / "cells")
    split = pipelines.split_catalog(pipelines.scan_images(folder))
    out = tmp_path / "run"
    pipelines.train_run(split, load_recipe("quick", [*SETTINGS, "train.epochs=1"]), out)
    shutil.rmtree(folder)
    assert pipelines.evaluate_run(out, replicates=20).n_images > 0


def test_a_missing_extra_is_named(monkeypatch, split, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"torch not installed.*leukoscope\[train\]"):
        pipelines.train_run(split, load_recipe("quick"), tmp_path / "x")


def test_demo_on_a_folder(disc_folder, tmp_path):
    found = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert found.report == tmp_path / "demo" / "run" / "report.html" and found.report.is_file()
    again = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert again.intervals == found.intervals


# -- audit ----------------------------------------------------------------------------------------


@pytest.fixture
def searched(monkeypatch):
    """Takes the place of `find_sources`: only identical bytes make a source. Keeps its calls."""
    calls = []

    def find(catalog, *, cache, on_progress):
        calls.append((catalog, cache))
        on_progress("Comparing pairs", 1, 1)
        records = tuple(
            replace(r, source=r.source or f"px-{r.sha256[:12]}") for r in catalog.records
        )
        found = Catalog(records, catalog.rejected)
        return SourceFindings(catalog=found, links=(), featureless=(), settings={})

    monkeypatch.setattr("leukoscope.pipelines.data.find_sources", find)
    return calls


@pytest.fixture
def doubled(tmp_path):
    """A scanned folder in which every disc has a byte-identical copy."""
    folder = save_discs(tmp_path / "cells", 4)
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    return tmp_path / "catalog.csv", pipelines.scan_images(folder, tmp_path / "catalog.csv")


def test_an_audit_finds_sources_first_and_carries_the_roles_over(doubled, searched, tmp_path):
    table, catalog = doubled
    pipelines.split_catalog(catalog, "random", tmp_path / "random.csv")
    told = []
    options = {"cache": tmp_path / "c.sqlite", "progress": lambda *what: told.append(what)}
    found = pipelines.audit_data(tmp_path / "random.csv", **options)
    assert found.verdict == "leaking" and found.failed and found.sources_from == "pixels"
    assert found.leak.same_bytes == found.split.test_with_copy_in_training > 0
    assert found.name == str(tmp_path / "random.csv")
    assert [cache for _, cache in searched] == [tmp_path / "c.sqlite"]
    assert ("Comparing pairs", 1, 1) in told
    joined = pipelines.audit_data(table, split=tmp_path / "random.csv")
    assert joined.leak == found.leak and joined.name == str(table)
    without = pipelines.audit_data(table)
    assert without.split is None and without.repetition.byte_groups == 16
    assert pipelines.audit_data(tmp_path / "cells").classes == without.classes


def test_known_sources_are_not_searched_for(doubled, searched, tmp_path):
    table, catalog = doubled
    known = Catalog(tuple(replace(r, source=f"s{i % 5}") for i, r in enumerate(catalog.records)))
    save_catalog(known, table)
    assert pipelines.audit_data(table).sources_from == "table" and searched == []
    # Between two data sets only pixels and bytes tell.
    other = save_discs(tmp_path / "other", 2, ("MONOCYTE",), size=40)
    pipelines.scan_images(other, tmp_path / "o" / "other.csv")
    found = pipelines.audit_data(table, against=tmp_path / "o" / "other.csv")
    ((union, _),) = searched
    assert {r.source[:3] for r in union.records} == {"a/s", ""}
    assert found.shared.theirs.n_images == 2 and found.shared.theirs.n_kin == 0
    assert (found.shared.name, found.shared.other) == (
        str(table), str(tmp_path / "o" / "other.csv"),
    )  # fmt: skip


def test_an_audit_against_a_split_or_folder_tells_what_is_shared(doubled, searched, tmp_path):
    table, catalog = doubled
    pipelines.split_catalog(catalog, "random", tmp_path / "random.csv")
    for other in (tmp_path / "random.csv", tmp_path / "cells"):
        found = pipelines.audit_data(table, against=other)
        assert found.verdict == "shared" and found.shared.theirs.same_bytes == 32


def test_an_audit_writes_a_page(doubled, searched, tmp_path):
    pipelines.audit_data(doubled[0], html=tmp_path / "audit.html")
    assert "<title>Audit of" in (tmp_path / "audit.html").read_text()


def test_roles_of_other_images_are_refused_before_the_search(doubled, searched, tmp_path, split):
    save_split(split, tmp_path / "other.csv")
    with pytest.raises(SplitError, match="ids only in the catalog"):
        pipelines.audit_data(doubled[0], split=tmp_path / "other.csv")
    assert searched == []


def test_an_audit_reads_what_the_scan_refused(doubled, searched, tmp_path):
    folder = tmp_path / "cells"
    shutil.copy(folder / "MONOCYTE" / "000.png", folder / "EOSINOPHIL" / "wrong.png")
    pipelines.scan_images(folder, tmp_path / "catalog.csv")
    for data in (tmp_path / "catalog.csv", folder):
        found = pipelines.audit_data(data)
        assert found.verdict == "conflicts" and found.n_conflicts == 1
        (example,) = found.findings[0].examples
        assert {example.first.label, example.second.label} == {"eosinophil", "monocyte"}
    # The same file beside a table of other images does not count.
    other = save_discs(tmp_path / "other", 2)
    save_catalog(pipelines.scan_images(other), tmp_path / "other.csv")
    assert pipelines.audit_data(tmp_path / "other.csv").n_conflicts == 0
    # Nor does what the table at hand has taken in.
    (folder / "EOSINOPHIL" / "wrong.png").unlink()
    save_catalog(pipelines.scan_images(folder), tmp_path / "mended.csv")
    rows = (tmp_path / "rejected.csv").read_text().splitlines()
    (tmp_path / "rejected.csv").write_text("\n".join(r for r in rows if "wrong.png," not in r))
    assert pipelines.audit_data(tmp_path / "mended.csv").n_conflicts == 0


@pytest.mark.parametrize("text", ["path,reason\n/cells/a,empty\n", 'path,reason,detail\n"a'])
def test_a_damaged_list_of_refused_files_is_an_error(doubled, tmp_path, text):
    (tmp_path / "rejected.csv").write_text(text)
    with pytest.raises(CatalogError, match=r"rejected\.csv must be a table"):
        pipelines.audit_data(doubled[0])


def test_a_page_without_its_extra_is_refused_before_the_work(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"jinja2 not installed.*leukoscope\[report\]"):
        pipelines.audit_data(tmp_path / "nowhere.csv", html=tmp_path / "x.html")


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

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(pack, "_read_record", refuse)
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
