"""Validation from a bundle and images on disk, without PyTorch; recalibrated bundles."""

import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.builders import bundles as means
from tests.builders.files import full_disk
from tests.builders.trust import CHOICE
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.cli.render import print_page
from leukoscope.config import TrustConfig
from leukoscope.deploy.bundle import load_bundle, save_bundle
from leukoscope.errors import BundleError, ConfigError, DataError, RunError, StorageError
from leukoscope.evaluation.acceptance import Look
from leukoscope.evaluation.validation import Validation
from leukoscope.labels import resolve_label
from leukoscope.records import load_record, save_record
from leukoscope.report import validation_figures
from leukoscope.report.validation_page import describe_validation
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.conformal import fit_sets
from leukoscope.trust.decision import Policy
from leukoscope.trust.novelty import fit_novelty
from leukoscope.trust.quality import fit_quality, measure_quality
from leukoscope.trust.record import TrustInfo, pack_arrays

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


def paint(colour, seed):
    """A disc of the colour on a pale ground, noisy; red, green or blue prevails on the mean."""
    generator = np.random.default_rng(seed)
    pixels = np.full((32, 32, 3), 150.0)
    y, x = np.mgrid[:32, :32]
    pixels[(x - 16) ** 2 + (y - 16) ** 2 < 150] = colour
    return np.clip(pixels + generator.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)


def save_table(folder, per_class=30, wrong=0, classes=("red", "green", "blue"), seed=0, **columns):
    """Images and their table; the first `wrong` of each class are painted as the next class."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    names = list(COLOURS)
    for k, name in enumerate(classes):
        for i in range(per_class):
            shown = names[(names.index(name) + 1) % 3] if i < wrong else name
            path = folder / f"{name}{i}.png"
            Image.fromarray(paint(COLOURS[shown], seed + 1000 * k + i)).save(path)
            extra = {key: value(name, i) for key, value in columns.items()}
            rows.append({"path": path.name, "label": name, "patient": f"{name}{i // 2}", **extra})
    table = folder / "cells.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return table


@pytest.fixture(scope="module")
def graph():
    return means.build_mean_graph()


@pytest.fixture(scope="module")
def bare(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("bare") / "bundle"
    save_bundle(means.describe(graph), {"fp32": graph}, path)
    return path


@pytest.fixture(scope="module")
def calibrated(graph, tmp_path_factory):
    """A bundle whose thresholds were fitted to painted discs, far overconfident (temperature)."""
    import hashlib

    images = np.stack([paint(c, 9000 + 7 * i) for i in range(40) for c in COLOURS.values()])
    labels = np.tile(np.arange(3), 40)
    embeddings = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    logits = embeddings / 25.5
    quality = measure_quality(images)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    novelty = fit_novelty(embeddings, labels)
    policy = Policy(
        classes=means.CLASSES,
        calibration=Calibration(method="temperature", temperature=0.1),
        sets=fit_sets(p, labels, means.CLASSES),
        quality=fit_quality(quality, quality, 0.02),
        max_distance=float(novelty.compute_distance(embeddings).max() * 2),
        min_confidence=0.5,
    )
    arrays = pack_arrays(novelty, embeddings, quality)
    info = TrustInfo(
        config=TrustConfig(target_accuracy=0.6), policy=policy, n_train=120, n_calib=120,
        n_calib_sources=120, choice=CHOICE, notes=(), weights_sha256="0" * 64,
        arrays_sha256=hashlib.sha256(arrays).hexdigest(),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("calibrated") / "bundle"
    save_bundle(means.describe(graph, trust=info), {"fp32": graph}, path, arrays)
    return path


def validate(bundle, data, out, **options):
    return pipelines.validate_bundle(bundle, data, out, **options)


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """Figures take most of the time; one test draws them."""
    if "draws" not in request.keywords:
        monkeypatch.setattr(validation_figures, "draw_validation", lambda *_: {})


@pytest.mark.draws
def test_a_table_with_everything_in_it(bare, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    table = save_table(
        tmp_path / "cells", 12, 2,
        scanner=lambda name, i: "old" if i < 2 else "new",
        analyser=lambda name, i: name if i else "green",
    )  # fmt: skip
    (tmp_path / "cells" / "red3.png").write_bytes(b"no image")
    with table.open("a") as file:
        file.write("nowhere.png,red,p,old,red\n")
    criteria = tmp_path / "criteria.toml"
    criteria.write_text("min_accuracy = 0.5\n[min_sensitivity]\nred = 0.99\n")
    done = validate(bare, table, tmp_path / "out", criteria=criteria, against=bare)
    found = done.record
    assert found.n_images == 35 and found.source_known
    assert found.figures["accuracy"].value == pytest.approx(29 / 35)
    reasons = sorted(one.code for one in found.unreadable)
    assert reasons == ["missing_file", "not_an_image"]
    (scanner,) = found.subgroups
    assert {one.value: one.accuracy.value for one in scanner.groups}["new"] == 1
    assert [one.name for one in found.readers] == ["analyser", "bundle"]
    assert [one.is_network for one in found.readers] == [False, True]
    assert found.readers[1].test.p_value == 1
    assert found.acceptance in ("undecided", "fail")
    names = ("validation.html", "validation.txt", "validation.json", "validation_scores.parquet")
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for name in names)
    assert "not_an_image" in (tmp_path / "out" / "rejected.csv").read_text()
    record = load_record(Validation, tmp_path / "out" / "validation.json", "leukoscope validate")
    assert record.confusion == ((9, 2, 0), (0, 10, 2), (2, 0, 10))


def test_any_label_passes_from_the_table_through_the_criteria_to_the_record(graph, tmp_path):
    labels = {"red": "Blast; L1", "green": 'Blast (L1), "x"', "blue": "<b>é" + "x" * 200}
    classes = tuple(map(resolve_label, labels.values()))
    bundle = tmp_path / "bundle"
    save_bundle(means.describe(graph, classes=classes), {"fp32": graph}, bundle)
    table = save_table(tmp_path / "cells", 8, second=lambda name, i: labels[name])
    with table.open(newline="") as file:
        rows = [row | {"label": labels[row["label"]]} for row in csv.DictReader(file)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    criteria = tmp_path / "criteria.toml"
    keys = [label.replace('"', '\\"') for label in labels.values()]
    lines = [f'"{key}" = 0.01' for key in keys]
    criteria.write_text("[min_sensitivity]\n" + "\n".join(lines))
    done = validate(bundle, table, tmp_path / "out", criteria=criteria, readers=["second"])
    found = load_record(Validation, tmp_path / "out" / "validation.json", "leukoscope validate")
    assert found.classes == classes and found.confusion == ((8, 0, 0), (0, 8, 0), (0, 0, 8))
    assert [(one.criterion.label, one.outcome) for one in found.criteria] == [
        (label, "met") for label in classes
    ]
    assert found.readers[0].test.both == 24
    assert "<b>" not in done.page.read_text() and "&lt;b&gt;é" in done.page.read_text()


def test_hostile_input(bare, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        validate(bare, tmp_path / "empty", tmp_path / "out")
    purple = save_table(tmp_path / "purple", 3, classes=("red",), x=lambda *_: "1")
    purple.write_text(purple.read_text().replace(",red,", ",purple,"))
    with pytest.raises(DataError, match="purple"):
        validate(bare, purple, tmp_path / "out")
    criteria = tmp_path / "criteria.toml"
    criteria.write_text('[labels]\npurple = "red"\n')
    done = validate(bare, purple, tmp_path / "out", criteria=criteria)
    assert done.record.n_images == 3 and done.record.absent == ("green", "blue")
    with pytest.raises(ConfigError, match="correct --reader"):
        validate(bare, purple, tmp_path / "out", readers=["nobody"])
    with pytest.raises(BundleError):
        validate(tmp_path / "none", purple, tmp_path / "out")


@pytest.mark.parametrize("name", ["model.json", "checkpoint.safetensors", "bundle.json"])
def test_no_run_and_no_bundle_is_written_over(bare, tmp_path, name):
    table = save_table(tmp_path / "cells", 3)
    run = tmp_path / "run"
    run.mkdir()
    for file in (name, "scores.parquet"):
        (run / file).write_text("{}")
    before = sorted(run.iterdir())
    with pytest.raises(RunError, match="choose another --out"):
        validate(bare, table, run)
    assert sorted(run.iterdir()) == before
    # Beside them is room, and nothing has the name of a run's file.
    validate(bare, table, run / "validation")
    assert not (run / "validation" / "scores.parquet").exists()
    assert (run / "scores.parquet").read_text() == "{}"


def test_only_a_calibrated_bundle_is_calibrated_again(bare, calibrated, tmp_path, capsys):
    table = save_table(tmp_path / "cells", 4)
    with pytest.raises(BundleError, match="calibrated"):
        validate(bare, table, tmp_path / "out", recalibrate=tmp_path / "new")
    with pytest.raises(BundleError, match="elsewhere"):
        validate(calibrated, table, tmp_path / "out", recalibrate=calibrated)
    done = validate(calibrated, table, tmp_path / "out", recalibrate=tmp_path / "new")
    assert not done.record.recalibration.is_fitted
    print_page(describe_validation(done.record, {}))
    assert "Nothing was fitted" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def refitted(calibrated, tmp_path_factory):
    """A validation of 180 cells of 90 sources, the cells, and the bundle fitted to half of them."""
    folder = tmp_path_factory.mktemp("refitted")
    before = {p.name: p.read_bytes() for p in calibrated.iterdir()}
    table = save_table(folder / "cells", 60, 18)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation_figures, "draw_validation", lambda *_: {})
        done = validate(calibrated, table, folder / "out", recalibrate=folder / "new")
    assert {p.name: p.read_bytes() for p in calibrated.iterdir()} == before
    return done, table, folder / "new"


def test_fitting_to_half_of_the_cells_helps_on_the_other(refitted, calibrated, capsys):
    done, _, path = refitted
    gain = done.record.recalibration
    print_page(describe_validation(done.record, {}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "New bundle new: fitted on" in shown and "Better on the other half" in shown
    assert gain.n_fit + gain.n_test == 180 and abs(gain.n_fit_sources - gain.n_test_sources) <= 1
    assert gain.gain_log_loss.low > 0
    assert gain.after["accuracy"] == gain.before["accuracy"]  # a temperature renames nothing
    assert gain.after["ece"].value < gain.before["ece"].value
    assert gain.after["coverage"].value > gain.before["coverage"].value
    new = load_bundle(path)
    assert new.read_graph() == load_bundle(calibrated).read_graph()
    trust = new.read_trust()
    assert trust.info.policy.calibration.temperature > 0.5
    # The reference is the half that nothing was fitted to.
    assert trust.info.reference.n_images == gain.n_test and trust.info.n_calib == gain.n_fit
    assert trust.info.reference.accuracy.value == pytest.approx(gain.after["accuracy"].value)
    assert trust.info.reference.accepted.value == pytest.approx(gain.after["accepted"].value)
    assert new.info.provenance.recalibrated[0].data == "cells"
    # It was not measured on a split, and has no leakage_status of one.
    assert trust.info.reference.leakage_status == "local"


def test_cells_that_a_bundle_was_fitted_to_are_left_out(refitted, tmp_path):
    """And those that its reference was measured on are compared with no reference."""
    done, table, path = refitted
    gain, reference = done.record.recalibration, load_bundle(path).read_trust().info.reference
    again = validate(path, table, tmp_path / "out").record
    assert again.n_images == gain.n_test and again.n_sources == gain.n_test_sources
    assert again.confusion == reference.confusion  # the very cells: so much for a comparison
    assert again.reference is None and again.comparison is None
    assert again.shift.separation is None
    assert (again.n_reference, again.n_fitted) == (gain.n_test, gain.n_fit)
    assert again.figures["ece"].value < done.record.figures["ece"].value
    # The guarantee of the sets is not the reference's.
    assert again.nominal_coverage == done.record.nominal_coverage > 0


def test_other_cells_are_compared_with_the_reference_of_a_refitted_bundle(refitted, tmp_path):
    other = save_table(tmp_path / "cells", 14, seed=500)
    found = validate(refitted[2], other, tmp_path / "out").record
    reference = load_bundle(refitted[2]).read_trust().info.reference
    assert found.n_images == 42 and not found.n_reference
    assert found.reference == reference and reference.data == "cells"
    assert found.shift.separation is not None
    assert found.per_class[0].sensitivity.internal == reference.recall[0]


def test_the_command_says_by_its_exit_code(bare, tmp_path):
    table = save_table(tmp_path / "cells", 12)
    criteria = tmp_path / "criteria.toml"
    run = CliRunner().invoke
    words = ["validate", str(bare), "--data", str(table), "--out", str(tmp_path / "out")]
    criteria.write_text("min_accuracy = 0.5\n")
    passed = run(app, [*words, "--criteria", str(criteria)])
    assert passed.exit_code == 0, passed.output
    assert "Accepted: the criterion is met." in passed.stdout
    criteria.write_text("min_accuracy = 0.999\n")
    open_ = run(app, [*words, "--criteria", str(criteria)])
    assert open_.exit_code == 3 and "Not decided:" in open_.stdout
    criteria.write_text("min_acuracy = 0.9\n")
    assert run(app, [*words, "--criteria", str(criteria)]).exit_code == 2


@pytest.mark.parametrize("limit", [0, 4_000])
def test_on_a_full_disk_nothing_changes(bare, tmp_path, limit):
    table = save_table(tmp_path / "cells", 3)
    out = tmp_path / "out"
    for before in ({}, None):
        if before is None:
            validate(bare, table, out)
            before = {path: path.read_bytes() for path in out.iterdir()}
        with full_disk(limit), pytest.raises(StorageError, match="out must be writable"):
            validate(bare, table, out)
        assert {path: path.read_bytes() for path in out.glob("*")} == before


def test_further_looks_are_planned_before_the_first(bare, tmp_path):
    few = save_table(tmp_path / "cells", 4, 0)
    criteria = tmp_path / "criteria.toml"
    criteria.write_text("min_accuracy = 0.9\nlooks = 2\n")
    first = validate(bare, few, tmp_path / "first", criteria=criteria).record
    assert first.look == Look(1, 2) and first.criteria[0].outcome == "undecided"
    more = save_table(tmp_path / "cells", 30, 0)
    second = validate(
        bare, more, tmp_path / "second", criteria=criteria, previous=tmp_path / "first"
    ).record
    assert second.look == Look(2, 2)
    again = {"criteria": criteria, "previous": tmp_path / "second" / "validation.json"}
    with pytest.raises(ConfigError, match="planned before the first"):
        validate(bare, more, tmp_path / "third", **again)
    criteria.write_text("min_accuracy = 0.8\nlooks = 2\n")
    with pytest.raises(ConfigError, match="those of the first look"):
        validate(bare, more, tmp_path / "third", **again)
    with pytest.raises(ConfigError, match="readable JSON"):
        validate(bare, more, tmp_path / "third", previous=tmp_path / "nowhere.json")
    other = replace(first, provenance=replace(first.provenance, weights_sha256="1" * 64))
    save_record(other, tmp_path / "other.json")
    with pytest.raises(ConfigError, match="same network"):
        validate(bare, more, tmp_path / "third", previous=tmp_path / "other.json")


def test_cells_that_were_looked_at_before_are_noted(bare, tmp_path):
    few = save_table(tmp_path / "cells", 4, 0)
    criteria = tmp_path / "criteria.toml"
    criteria.write_text("min_accuracy = 0.9\n")

    def find_codes(table, **options):
        record = validate(bare, table, tmp_path / "out", **options).record
        return [one.code for one in record.warnings]

    assert "cells_seen_before" not in find_codes(few, criteria=criteria)
    assert "cells_seen_before" not in find_codes(few, criteria=criteria)  # the same once more
    more = save_table(tmp_path / "cells", 12, 0)
    assert "cells_seen_before" in find_codes(more, criteria=criteria)
    (tmp_path / "out" / "validation_scores.parquet").write_bytes(b"of another version")
    assert "cells_seen_before" not in find_codes(few, criteria=criteria)
