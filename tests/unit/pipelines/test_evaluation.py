import csv
import shutil
from dataclasses import replace

import pytest
from PIL import Image
from tests.builders.images import draw_disc, records_of, save_discs
from tests.builders.runs import SETTINGS

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.groups import FIELD_COLUMN, SOURCE_PREFIX
from leukoscope.data.splits import Split, load_split, save_split
from leukoscope.errors import (
    ConfigError,
    DataError,
    MissingStepError,
    RunError,
    SplitError,
    WeightsError,
)
from leukoscope.evaluation.leakage import list_duplicates, list_shared
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.painted.cells import save_painted
from leukoscope.records import dump_record, load_record
from leukoscope.report.leakage_words import LEAKAGE_TITLES
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.trust.notes import Note


@pytest.mark.draws
def test_evaluate_writes_every_file(run):
    found = pipelines.evaluate_run(run)
    for name in ("report.html", "metrics.json", "model_evaluation_results.txt"):
        assert (run / name).stat().st_size > 500
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {"confusion.png", "confusion.svg", "roc.png", "training_curves.svg"} <= figures
    record = load_record(EvaluationRecord, run / "metrics.json", "leukoscope evaluate")
    assert dump_record(record) == dump_record(found.record)
    accuracy = record.figures["accuracy"]
    assert accuracy.low <= accuracy.value <= accuracy.high
    table = load_scores(run / "scores.parquet").of_role("test")
    right = (table.logits_NK.argmax(1) == table.labels_N).mean()
    assert accuracy.value == pytest.approx(right)
    assert len(record.history) == 3 and record.provenance.best_epoch in (1, 2, 3)
    assert set(record.baselines) == {"majority", "colour_histogram", "nearest_neighbour"}
    html = found.report.read_text()
    assert "Research use only" in html and "http://" not in html.replace("http://www.w3.org", "")


def test_other_roles_have_their_own_folder(run):
    found = pipelines.evaluate_run(run, role="val")
    assert found.folder == run / "evaluations" / "val"
    assert found.record.remarks == (Note("epoch_chosen_here"),)
    found = pipelines.evaluate_run(run, role="train")
    assert found.record.leakage_status == "leaking" and found.record.source_disjoint is None
    assert found.record.leak.reason == "training_images"
    assert [one.code for one in found.record.remarks] == ["training_images"]
    with pytest.raises(DataError, match="must have images in the role nobody"):
        pipelines.evaluate_run(run, role="nobody")


def test_other_data_are_scored_and_checked_for_copies(run, disc_folder, tmp_path):
    own = pipelines.evaluate_run(run, data=disc_folder, name="again").record
    assert own.leakage_status == "leaking"
    assert [one.code for one in own.remarks] == ["images_in_training"]
    fresh = save_discs(tmp_path / "other lab", 3)
    (fresh / "MARTIAN").mkdir()
    draw_disc((0, 200, 0), 5).save(fresh / "MARTIAN" / "a.png")
    (fresh / "MARTIAN" / "notes.txt").write_text("x")
    found = pipelines.evaluate_run(run, data=fresh)
    assert found.folder == run / "evaluations" / "other_lab"
    record = found.record
    # The same discs as in training.
    assert record.leakage_status == "leaking" and record.n_images == 12
    assert record.warnings == (
        Note("files_rejected", {"n": 1}),
        Note("unknown_classes", {"n": 1, "labels": ("martian",)}),
    )
    # The other evaluation of the same run stands beside it.
    assert record.compare == (own.summarise(),)
    # Of the discs, those kept for calibration and test have no copy in training.
    home = load_split(run / "split.csv")
    unseen = sum(role in ("calib", "test") for role in home.roles)
    assert own.leak.n_images == unseen >= 10 and own.leak.n_duplicates == 48 - unseen
    assert own.source_disjoint == own.leak.accuracy
    # Discs of unknown class do not count, whether their bytes are known or not.
    assert record.n_images == record.leak.n_duplicates + record.leak.n_images
    # Data of the same name from another place would write over this.
    assert record.provenance.place == str(fresh)
    before = found.report.read_bytes()
    elsewhere = save_discs(tmp_path / "elsewhere" / "other lab", 3)
    with pytest.raises(ConfigError, match="two names"):
        pipelines.evaluate_run(run, data=elsewhere)
    assert found.report.read_bytes() == before


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
    found = pipelines.evaluate_run(run, data=tmp_path / "set").record
    assert found.n_images == 4 and found.leakage_status == "unproven"
    assert found.source_disjoint is None and found.leak is None
    with pytest.raises(DataError, match="role calib"):
        pipelines.evaluate_run(run, data=tmp_path / "set", role="calib")
    whole = pipelines.split_catalog(pipelines.scan_images(tmp_path / "set"), "given")
    save_split(whole, tmp_path / "split.csv")
    again = pipelines.evaluate_run(run, data=tmp_path / "split.csv")
    assert again.record.n_images == 4


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
    assert pipelines.train_run(home, recipe, out).audit.leakage_status == "disjoint"
    found = pipelines.evaluate_run(out).record
    assert found.leakage_status == "disjoint"
    assert found.source_disjoint == found.figures["accuracy"]
    other = with_sources(save_fresh(tmp_path / "other"), "other")
    found = pipelines.evaluate_run(out, data=other).record
    assert found.leakage_status == "disjoint" and not found.remarks
    # A name from the pixels of one data set says nothing of another.
    pixels = with_sources(tmp_path / "other", SOURCE_PREFIX)
    found = pipelines.evaluate_run(out, data=pixels).record
    assert found.leakage_status == "unproven"
    assert [one.code for one in found.remarks] == ["duplicates_not_excluded"]


def test_copies_across_roles_raise_the_red_banner(disc_folder, tmp_path):
    """A planted leak: every image twice, split row by row."""
    folder = shutil.copytree(disc_folder, tmp_path / "cells")
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    split = pipelines.split_catalog(pipelines.scan_images(folder), "random")
    out = tmp_path / "run"
    pipelines.train_run(split, load_recipe("quick", [*SETTINGS, "train.epochs=1"]), out)
    found = pipelines.evaluate_run(out).record
    assert found.leakage_status == "leaking"
    assert LEAKAGE_TITLES["leaking"] in (out / "report.html").read_text()
    # Witness: bytes, role by role.
    seen = {r.sha256 for role in ("train", "val") for r in records_of(split, role)}
    copied = [r.sha256 in seen for r in records_of(split, "test")]
    assert found.leak.n_duplicates == sum(copied) > 0
    assert found.leak.n_images == len(copied) - sum(copied) < 10
    assert found.source_disjoint is None and found.leak.reason in ("few_left", "all_duplicates")
    # What chose the epoch is compared with what the network was fitted on.
    fitted = {r.sha256 for r in records_of(split, "train")}
    chosen = pipelines.evaluate_run(out, role="val").record
    copied = [r.sha256 in fitted for r in records_of(split, "val")]
    assert chosen.leak.n_duplicates == sum(copied) > 0


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
    assert audit.leakage_status == "leaking"
    found = pipelines.evaluate_run(tmp_path / "run").record
    assert found.leakage_status == "disjoint" and found.leak is None
    assert found.split_findings


def test_other_data_share_bytes_sources_and_fields(split):
    home, strangers = list(split.catalog.records), []
    place = {role: split.roles.index(role) for role in ("train", "val", "calib", "test")}
    home[place["val"]] = replace(home[place["val"]], source="slide 7")
    home[place["train"]] = replace(home[place["train"]], extra={FIELD_COLUMN: "field-1"})
    home[place["test"]] = replace(home[place["test"]], source="slide 8")
    first = home[place["train"]]

    def add(name, **changes):
        names = {"id": name, "sha256": f"{name} bytes", "pixels": f"{name} pixels"}
        given = names | {"source": "", "extra": {}} | changes
        strangers.append(replace(first, **given))

    add("bytes", sha256=first.sha256)
    add("pixels", pixels=first.pixels)
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
    shared = list_shared(known, strangers, split.catalog.classes)
    assert shared == {"bytes", "pixels", "source", "field", "chain", "link"}


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


def test_corrupted_weights_are_rejected(run, disc_folder):
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        pipelines.evaluate_run(run, data=disc_folder)


def test_the_pack_may_be_deleted(run):
    first = pipelines.evaluate_run(run)
    shutil.rmtree(run / "pack")
    again = pipelines.evaluate_run(run)
    assert first.record == again.record


@pytest.mark.draws
def test_samples_survive_vanished_images(tmp_path):
    folder = save_discs(tmp_path / "cells")
    split = pipelines.split_catalog(pipelines.scan_images(folder))
    out = tmp_path / "run"
    pipelines.train_run(split, load_recipe("quick", [*SETTINGS, "train.epochs=1"]), out)
    shutil.rmtree(folder)
    assert pipelines.evaluate_run(out).record.n_images > 0


def test_copies_in_other_roles_are_listed(split):
    """Thresholds that were fitted on copies of test images are no better than a leaking network."""
    records = [
        replace(r, source=f"shared {i % 7}" if role in ("calib", "test") else f"own {i}")
        for i, (r, role) in enumerate(zip(split.catalog.records, split.roles, strict=True))
    ]
    crossed = Split(Catalog(tuple(records)), split.roles, "given", 1)
    test = {r.id for r, role in zip(records, split.roles, strict=True) if role == "test"}
    assert list_duplicates(crossed, "test", ("train", "val")) == set()
    found = list_duplicates(crossed, "test", ("train", "val", "calib"))
    assert found and found <= test
    assert list_duplicates(split, "test", ("train", "val", "calib")) == set()


@pytest.mark.parametrize("name", ["..", "../../..", "/tmp/elsewhere", "a/b", "", "nul", "x" * 300])
def test_no_name_leads_out_of_the_run(run, disc_folder, name):
    """`..` was the folder of the run's own report."""
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="must be a file name"):
        pipelines.evaluate_run(run, data=disc_folder, name=name)
    with pytest.raises(ConfigError, match="must be a file name"):
        RunFolder(run).evaluation(name)
    assert {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()} == before


def test_copies_under_the_names_of_their_files_are_seen_in_the_pixels(tmp_path):
    """Each file is a source of its own, and every cell is there twice, once turned."""
    cells = pipelines.scan_images(save_painted(tmp_path / "painted", 30, copies=1, size_px=64))
    rows = []
    for i, record in enumerate(cells.records):
        turned = tmp_path / f"turned_{i}.png"
        with Image.open(record.path) as image:
            image.rotate(90).save(turned)
        rows += [(path, record.label, path.name) for path in (record.path, turned)]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "source"), *rows])
    split = pipelines.load_split_or_images(tmp_path / "table.csv")
    recipe = load_recipe("quick", [*SETTINGS, "train.epochs=1"])
    audit = pipelines.train_run(split, recipe, tmp_path / "run").audit
    assert audit.leakage_status == "leaking" and audit.shared == ()
    found = pipelines.evaluate_run(tmp_path / "run").record
    assert found.leakage_status == "leaking" and found.leak.n_duplicates > 0
    assert not found.source_known
    # Without its audit the run is looked at again.
    (tmp_path / "run" / "split.audit.json").unlink()
    again = pipelines.evaluate_run(tmp_path / "run").record
    assert again.leak.n_duplicates == found.leak.n_duplicates
