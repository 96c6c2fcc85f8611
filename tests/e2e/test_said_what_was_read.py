"""Whoever opens a folder says what was read, as what, and what was left out, and lists it."""

import pytest
from tests.builders.bundles import save_mean_bundle
from tests.builders.images import draw_disc, save_discs
from tests.builders.runs import SETTINGS
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.config import load_recipe
from leukoscope.data.catalog import load_rejected
from leukoscope.errors import CatalogError, ConfigError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_mean_bundle(tmp_path_factory.mktemp("b"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Two classes of the bundle; of the second, three images are cut short."""
    folder = tmp_path_factory.mktemp("c") / "cells"
    for name, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (folder / name).mkdir(parents=True)
        for k in range(6):
            draw_disc(colour, k + len(name)).save(folder / name / f"00{k}.png")
    for k in range(3):
        content = (folder / f"green/00{k}.png").read_bytes()
        (folder / f"green/00{k}.png").write_bytes(content[: len(content) // 2])
    return folder


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("n") / "cells"
    for name in ("red", "green"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").write_text("<html>404</html>")
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize(
    "command",
    [
        ("validate", "BUNDLE", "--data", "CELLS", "--out"),
        ("robustness", "BUNDLE", "--data", "CELLS", "--images", "4", "--out"),
        ("data", "pack", "CELLS", "--set", "input.image_size=32", "--out"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_says_and_lists_it(command, bundle, cells, nothing, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    names = {"BUNDLE": bundle, "CELLS": cells}
    code, text = run(*(names.get(word, word) for word in command), tmp_path / "out")
    assert code == 0, text
    assert "9 images in 2 classes" in text and "class folders" in text
    assert "3 files were left out" in text and "the image ends early (3)" in text
    listed = load_rejected(tmp_path / "out/rejected.csv")
    assert [one.code for one in listed] == ["truncated"] * 3
    # Also where nothing is left.
    names["CELLS"] = nothing
    again = [*(names.get(word, word) for word in command), tmp_path / "none"]
    code, text = run(*again)
    assert code == 3 and "2 files were left out" in text
    assert len(load_rejected(tmp_path / "none/rejected.csv")) == 2
    # The list is in nobody's way, and goes when there is something to tell.
    assert run(*again)[0] == 3
    code, text = run(*(cells if word is nothing else word for word in again))
    assert code == 0 and len(load_rejected(tmp_path / "none/rejected.csv")) == 3


def test_a_scan_says_it_once(cells, tmp_path):
    code, text = run("data", "scan", cells, "--out", tmp_path / "catalog.csv")
    assert code == 0 and text.count("class folders") == 1


def test_a_list_that_a_person_wrote_is_not_written_over(cells, tmp_path):
    (tmp_path / "rejected.csv").write_text("cells that the haematologist rejected\n")
    with pytest.raises(ConfigError, match="force"):
        pipelines.scan_images(cells, rejected=tmp_path / "rejected.csv")
    assert (tmp_path / "rejected.csv").read_text().startswith("cells that")


def test_a_run_keeps_what_its_scan_left_out(tmp_path):
    folder = save_discs(tmp_path / "cells", 8, ("EOSINOPHIL", "LYMPHOCYTE"))
    (folder / "LYMPHOCYTE/broken.png").write_bytes(b"")
    split = pipelines.load_split_or_images(folder)
    trained = pipelines.train_run(split, load_recipe("quick", SETTINGS), tmp_path / "run")
    assert [one.code for one in load_rejected(tmp_path / "run/rejected.csv")] == ["empty"]
    # Other data are told in the folder of their evaluation.
    other = save_discs(tmp_path / "other", 2, ("EOSINOPHIL", "LYMPHOCYTE"), size=40)
    (other / "EOSINOPHIL/more.jpg").write_text("<html>404</html>")
    done = pipelines.evaluate_run(trained.folder.path, data=other)
    assert [one.code for one in load_rejected(done.folder / "rejected.csv")] == ["not_an_image"]
    (tmp_path / "empty/a").mkdir(parents=True)
    (tmp_path / "empty/a/x.png").write_bytes(b"")
    with pytest.raises(CatalogError):
        pipelines.evaluate_run(trained.folder.path, data=tmp_path / "empty")
    assert load_rejected(tmp_path / "run/evaluations/empty/rejected.csv")


def test_training_on_nothing_lists_it(nothing, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command in (("train", nothing), ("demo", "--data", nothing)):
        out = tmp_path / command[0]
        code, text = run(*command, "--out", out)
        assert code == 3 and "2 files were left out" in text and "rejected.csv" in text
        assert len(load_rejected(out / "rejected.csv")) == 2
    # In a folder with results the list would speak of them.
    before = tmp_path / "run/rejected.csv"
    before.parent.mkdir()
    before.write_text((tmp_path / "train/rejected.csv").read_text().splitlines()[0] + "\n")
    (tmp_path / "run/model.json").touch()
    assert run("train", nothing, "--out", tmp_path / "run")[0] == 3
    assert load_rejected(before) == ()


def test_external_data_of_which_nothing_is_left_are_listed(nothing, tmp_path):
    folder = save_discs(tmp_path / "cells", 2, ("EOSINOPHIL", "LYMPHOCYTE"))
    catalog = pipelines.scan_images(folder)
    with pytest.raises(CatalogError):
        pipelines.report_leak(
            catalog, load_recipe("quick", SETTINGS), tmp_path / "leak", external=[nothing]
        )
    assert len(load_rejected(tmp_path / "leak/cells.rejected.csv")) == 2


def test_explain_lists_what_it_left_out(bundle, cells, tmp_path):
    (tmp_path / "in").mkdir()
    draw_disc((200, 30, 30), 1).save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    (tmp_path / "in/notes.doc").write_bytes(b"")
    code, text = run("explain", bundle, tmp_path / "in", "--out", tmp_path / "out", "--evaluate", 0)
    assert code == 0 and "1 file was passed over: .doc 1" in text
    codes = [one.code for one in load_rejected(tmp_path / "out/rejected.csv")]
    assert codes == ["empty", "not_an_image"]
    # Also where nothing is left; the list is in nobody's way.
    (tmp_path / "in/a.png").unlink()
    for _ in range(2):
        arguments = ("explain", bundle, tmp_path / "in", "--out", tmp_path / "none")
        assert run(*arguments)[0] == 3
        codes = [one.code for one in load_rejected(tmp_path / "none/rejected.csv")]
        assert codes == ["empty", "not_an_image"]
