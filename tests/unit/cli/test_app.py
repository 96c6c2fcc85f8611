"""The command line in-process: what it prints, where, and with which exit code."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders.bundles import save_mean_bundle
from tests.builders.images import save_discs
from typer.testing import CliRunner

import leukoscope
from leukoscope import pipelines
from leukoscope.cli import app as cli
from leukoscope.cli import render
from leukoscope.config import list_keys, load_recipe
from leukoscope.data.audit import audit_catalog
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.report import evaluation_figures
from leukoscope.report.audit_page import describe_audit
from leukoscope.sources.search import SourceFindings
from leukoscope.training.loop import EpochResult

SETTINGS = [
    "--set",
    "input.image_size=32",
    "--set",
    "train.epochs=1",
    "--set",
    "train.batch_size=8",
]


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        return CliRunner().invoke(cli.app, [str(a) for a in arguments])

    return call


def flat(text):
    """Text without the frame and line ends of a panel."""
    return " ".join(text.replace("│", " ").split())


def test_the_whole_road(invoke, disc_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})
    scanned = invoke("data", "scan", disc_folder, "--out", "catalog.csv")
    assert scanned.exit_code == 0, scanned.output
    assert "48 images in 4 classes" in scanned.stdout and "No file was rejected" in scanned.stdout
    made = invoke("data", "split", "catalog.csv", "--out", "split.csv")
    assert made.exit_code == 0 and made.stdout.startswith("Unproven:")
    assert json.loads((tmp_path / "split.audit.json").read_text())["leakage_status"] == "unproven"
    packed = invoke("data", "pack", "split.csv", "--out", "packs", *SETTINGS[:2])
    assert packed.exit_code == 0, packed.output
    assert "48 images at 32 px in 0.1 MB" in packed.output and "--packs packs" in packed.output
    trained = invoke("train", "split.csv", "--out", "run", "--packs", "packs", *SETTINGS)
    assert not (tmp_path / "run" / "pack").exists()
    assert trained.exit_code == 0, trained.output
    assert "Next: leukoscope evaluate run" in trained.stdout and "Epoch 1/1" in trained.stderr
    assert "Images by class and role" in trained.stdout
    found = invoke("evaluate", "run")
    assert found.exit_code == 0, found.output
    assert "Research use only" in found.stdout and "Report: run/report.html" in found.stdout


def test_demo_takes_a_folder(invoke, disc_folder, monkeypatch):
    monkeypatch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})
    found = invoke("demo", "--data", disc_folder, "--out", "demo", *SETTINGS)
    assert found.exit_code == 0, found.output
    assert "Report: demo/run/report.html" in found.stdout


def test_rejected_files_are_told_and_strict_is_an_error(invoke, tmp_path):
    folder = save_discs(tmp_path / "cells", 2)
    (folder / "MONOCYTE" / "notes.txt").write_text("x")
    shutil.copy(folder / "MONOCYTE" / "000.png", folder / "MONOCYTE" / "copy.png")
    told = invoke("data", "scan", folder)
    assert told.exit_code == 0
    assert "1 file was rejected." in told.stdout
    assert "1 image is an exact duplicate" in told.stdout
    strict = invoke("data", "scan", folder, "--strict")
    assert strict.exit_code == 3 and "notes.txt" in strict.stderr
    assert (tmp_path / "catalog.csv").is_file()


def test_folds_get_a_file_each(invoke, disc_folder, tmp_path):
    invoke("data", "scan", disc_folder)
    made = invoke("data", "split", "catalog.csv", "--protocol", "kfold", "--folds", "3")
    assert made.exit_code == 0 and flat(made.stdout).count("split.fold") == 3
    assert (tmp_path / "split.fold2.csv").is_file()


@pytest.fixture
def searched(monkeypatch):
    """Takes the place of `find_sources`: only identical bytes make a source."""

    def find(catalog, **_options):
        records = tuple(replace(r, source=f"px-{r.sha256[:12]}") for r in catalog.records)
        return SourceFindings(Catalog(records), (), (), {})

    monkeypatch.setattr("leukoscope.pipelines.data.find_sources", find)


def test_audit_tells_a_pipeline_by_its_exit_code(invoke, disc_folder, tmp_path, searched):
    folder = shutil.copytree(disc_folder, tmp_path / "cells")
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    invoke("data", "scan", folder)
    invoke("data", "split", "catalog.csv", "--out", "grouped.csv")
    invoke("data", "split", "catalog.csv", "--protocol", "random", "--out", "random.csv")
    assert invoke("data", "audit", "grouped.csv").exit_code == 0
    leaking = invoke("data", "audit", "random.csv")
    assert leaking.exit_code == 3 and leaking.stdout.startswith("Leaking:")
    found = json.loads(invoke("data", "audit", "random.csv", "--json").stdout)
    assert found["result"] == found["split"]["leakage_status"] == "leaking"
    assert found["split"]["test_with_copy_in_training"] == found["leak"]["exact"] > 0
    joined = invoke("data", "audit", "catalog.csv", "--split", "random.csv", "--html", "a.html")
    assert joined.exit_code == 3 and joined.stdout.endswith("Page: a.html\n")
    assert "Audit of catalog.csv" in (tmp_path / "a.html").read_text()
    for other, code in (("grouped.csv", 3), ("nowhere.csv", 3)):
        assert invoke("data", "audit", "catalog.csv", "--against", other).exit_code == code
    told = flat(invoke("data", "audit", "--help").stdout)
    assert "Exit codes: 0, no error was found" in told


def test_an_audit_says_the_main_thing_first(invoke, disc_folder, tmp_path, searched):
    folder = shutil.copytree(disc_folder, tmp_path / "cells")
    (folder / "MONOCYTE").rename(folder / "[red]odd")
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    invoke("data", "scan", folder)
    invoke("data", "split", "catalog.csv", "--protocol", "random", "--out", "random.csv")
    told = invoke("data", "audit", "random.csv").stdout
    lines = told.splitlines()
    assert lines[0].startswith("Leaking:")
    assert lines[1].endswith("in training.") and "\x1b" not in told
    assert "96 images, 48 sources" in lines[2]
    assert told.index("Error: ") < told.index("Warning: ") < told.index("Note: ")
    assert "[red]odd" in told and told.rstrip().endswith("Not a medical device.")
    assert told.count("- exact duplicates; ") == 6
    roleless = invoke("data", "audit", "catalog.csv")
    assert roleless.exit_code == 0
    assert roleless.stdout.startswith("No leak and no conflict found, but mind the warnings\n")
    assert "Split by protocol" not in roleless.stdout


def test_names_that_are_not_unicode_are_told_all_the_same(capsys):
    record = ImageRecord("\udcff.png", Path("/x/\udcff.png"), "monocyte", 9, 9, 9, "0" * 64)
    twin = replace(record, id="b.png", label="[b]last")
    found = audit_catalog(Catalog((record, twin)), name="\udcff.csv")
    render.print_page(describe_audit(found, {}))
    assert "exact duplicates; b.png ([b]last); ?.png (Monocyte)" in capsys.readouterr().out
    render.print_record(found)
    told = capsys.readouterr().out
    assert told.isascii() and json.loads(told)["name"] == "\udcff.csv"


def test_sources_are_found_and_a_split_keeps_them_together(invoke, tmp_path, draw_field):
    import cv2

    for label in ("LYMPHOCYTE", "MONOCYTE"):
        (tmp_path / "cells" / label).mkdir(parents=True)
        for k in range(3):
            field = draw_field(400 + k + 10 * (label == "MONOCYTE"), height=96, width=96)
            for copy, picture in enumerate((field, field[:, ::-1], field[::-1])):
                cv2.imwrite(str(tmp_path / "cells" / label / f"{3 * copy + k}.png"), picture)
    invoke("data", "scan", "cells")
    done = invoke("data", "sources", "catalog.csv", "--cache", "own.sqlite")
    assert done.exit_code == 0
    assert done.stdout.startswith("6 sources among 18 images\n")
    assert "Lymphocyte" in done.stdout
    for name in ("sources.csv", "sources.links.csv", "sources.json", "sources.html", "own.sqlite"):
        assert (tmp_path / name).is_file(), name
    assert invoke("data", "split", "sources.csv", "--protocol", "grouped").exit_code == 0
    assert invoke("data", "audit", "split.csv").exit_code == 0
    invoke("data", "split", "sources.csv", "--protocol", "random")
    assert invoke("data", "audit", "split.csv").exit_code == 3


def test_errors_have_three_parts_and_an_exit_code(invoke):
    missing = invoke("evaluate", "nowhere")
    assert missing.exit_code == 4
    told = flat(missing.stderr)
    assert "Found: no such folder" in told and "What to do: run `leukoscope train` first" in told
    assert missing.stdout == ""
    wrong = invoke("train", "x", "--set", "train.epoch=5")
    assert wrong.exit_code == 2 and "did you mean 'train.epochs'" in flat(wrong.stderr)
    assert invoke("train", "nowhere").exit_code == 3
    assert invoke("data", "split", "nowhere.csv").exit_code == 3
    assert invoke("data", "split", "x.csv", "--protocol", "clever").exit_code == 2  # by typer


def test_markup_in_names_is_shown_as_it_is(invoke, tmp_path):
    save_discs(tmp_path / "cells", 2, ("EOSINOPHIL", "NEUTROPHIL"))
    (tmp_path / "cells" / "NEUTROPHIL").rename(tmp_path / "cells" / "[red]odd")
    told = invoke("data", "scan", "cells")
    assert told.exit_code == 0 and "[red]odd" in told.stdout.lower()


def test_interruption_is_exit_code_130(invoke, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipelines, "scan_images", interrupt)
    found = invoke("data", "scan", ".")
    assert found.exit_code == 130 and "--resume" in found.stderr


def test_what_the_system_cannot_open_is_an_error_in_words(invoke, tmp_path):
    save_discs(tmp_path / "cells", 1, ("EOSINOPHIL", "NEUTROPHIL"))
    long = "x" * 5000
    for command in (
        ("data", "scan", "cells", "--out", long), ("data", "scan", long), ("data", "sources", long),
        ("data", "split", long), ("train", long), ("evaluate", long), ("calibrate", long),
        ("export", long), ("predict", long, "cells"), ("validate", long, "cells"), ("card", long),
        ("explain", long, "cells"), ("robustness", long), ("ensemble", long, long),
        ("cells", long, "--out", long), ("differential", long, "--model", long),
        ("data", "paint", long), ("demo", long),
    ):  # fmt: skip
        found = invoke(*command)
        assert found.exit_code in (2, 3, 4, 5, 8), (command[:2], found.exception)


def test_version_and_help(invoke):
    assert invoke("--version").stdout == f"leukoscope {leukoscope.__version__}\n"
    told = invoke("--help").stdout
    assert "Research use only" in told
    for command in ("train", "evaluate", "demo", "data", "recipe"):
        assert command in told


def test_a_printed_recipe_loads_again(invoke, tmp_path):
    for name in ("quick", "reference", "robust"):
        text = invoke("recipe", name).stdout
        (tmp_path / "mine.toml").write_text(text)
        assert load_recipe(tmp_path / "mine.toml") == load_recipe(name)
    leaves = {key.rsplit(".", 1)[-1] for key in list_keys()}
    shown = {line.split(" = ")[0] for line in text.splitlines() if " = " in line}
    assert shown | {"stochastic_depth", "target_confidence"} == leaves


def test_painted_cells_are_announced(invoke):
    found = invoke("data", "paint", "painted", "--sources", 4, "--copies", 1, "--size", 48)
    assert found.exit_code == 0 and "painted.csv" in found.stdout


def test_other_processes_are_silent(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with render.progress() as progress:
        progress("Reading images", 1, 2)
        progress.on_epoch(EpochResult(1, 1.0, 1.0, 0.5, 0.5, 0.1, 2.0), 1, True)
    render.print_interrupted()
    assert capsys.readouterr() == ("", "")


def test_bars_move_on_a_terminal():
    import io

    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=120)
    progress = render.TerminalProgress(console)
    with progress.bars:
        progress("Reading images", 1, 2)
        progress("Reading images", 2, 2)
        for step in (1, 2, 3):
            progress.on_step(1, step, 3, 32 if step < 3 else 10)
        progress.on_epoch(EpochResult(1, 1.0, 0.5, 0.5, 0.75, 0.1, 2.0), 4, False)
    told = stream.getvalue()
    assert "Reading images" in told and "Epoch 1/4" in told and "75.0%" in told
    assert "best" not in told


def test_python_m_runs_the_same_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "leukoscope", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"leukoscope {leukoscope.__version__}\n"


def test_a_differential_from_folders_to_reports(invoke, tmp_path):
    bundle = save_mean_bundle(tmp_path)
    save_discs(tmp_path / "S-1", 3)
    save_discs(tmp_path / "S-2", 2)
    options = ("--model", bundle, "-o", "report")
    one = invoke("differential", "S-1", *options, "--white-count", "7.2")
    assert one.exit_code == 0, one.output
    assert "White count given: 7.20" in one.stdout and "report/S-1.html" in one.stdout
    (tmp_path / "samples.csv").write_text("id,white_count\nS-2,4\n")
    two = invoke(
        *("differential", "S-1", "S-2", *options, "--samples", "samples.csv"),
        *("--precision", "10", "--nrbc-threshold", "10", "--reference", "none"),
    )
    assert two.exit_code == 0, two.output
    assert "2 samples" in two.stdout and "report/index.html" in two.stdout
    assert "differential.json" in two.output  # what was replaced is named
    nameless = invoke("differential", "S-1", "S-2", *options, "--white-count", "7")
    assert nameless.exit_code == 2 and "NAME=VALUE" not in nameless.stdout
    assert "S-17=7.2" in flat(nameless.output)
