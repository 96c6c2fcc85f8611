"""What is not a plain file, wherever a command opens one: rejected in words, at once."""

import os
import shutil
import socket
from pathlib import Path

import pytest
import typer
from tests.builders.bundles import find_graph, save_mean_bundle
from tests.builders.images import save_discs
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.config import load_recipe
from leukoscope.data.catalog import load_catalog, load_rejected
from leukoscope.deploy.bundle import load_bundle
from leukoscope.errors import LeukoscopeError
from leukoscope.pipelines.evaluation import select_images
from leukoscope.progress import silent

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system"),
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder of two classes, four images each, and what hangs or bursts a reader beside them."""
    folder = save_discs(tmp_path_factory.mktemp("h") / "c", 4, ("EOSINOPHIL", "LYMPHOCYTE"))
    place = folder / "LYMPHOCYTE"
    os.mkfifo(place / "pipe.png")
    (place / "to_pipe.png").symlink_to("pipe.png")
    (place / "device.png").symlink_to("/dev/zero")
    (place / "folder.png").mkdir()
    (place / "giant.png").touch()
    os.truncate(place / "giant.png", 100 << 30)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket.png"))
        yield folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_mean_bundle(tmp_path_factory.mktemp("b"))


@pytest.fixture(scope="module")
def catalog(hostile, tmp_path_factory):
    out = tmp_path_factory.mktemp("catalog") / "catalog.csv"
    pipelines.scan_images(hostile, out)
    return out


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_scan_rejects_each_by_name(hostile, catalog):
    rejected = load_rejected(catalog.with_name("rejected.csv"))
    assert {Path(one.path).name: one.code for one in rejected} == {
        "device.png": "not_regular",
        "giant.png": "too_large",
        "pipe.png": "not_regular",
        "socket.png": "not_regular",
        "to_pipe.png": "not_regular",
    }
    assert len(load_catalog(catalog)) == 8


def test_predict_gives_each_named_file_a_row(hostile, bundle, tmp_path):
    place = hostile / "LYMPHOCYTE"
    names = ["pipe", "to_pipe", "device", "giant", "socket", "000"]
    out = tmp_path / "out.csv"
    done = pipelines.predict_images(bundle, [place / f"{name}.png" for name in names], out)
    assert (done.images, done.errors) == (6, 5)
    text = out.read_text()
    assert text.count("not_regular") == 4 and text.count("too_large") == 1
    assert done.errors == pipelines.predict_images(bundle, [hostile], out).errors


def test_every_command_that_opens_a_folder_goes_through(hostile, bundle, tmp_path):
    split = pipelines.load_split_or_images(hostile)
    assert len(split.catalog) == 8
    recipe = load_recipe("quick", ["input.image_size=32"])
    assert pipelines.pack_images(hostile, recipe, tmp_path / "packs").images == 8
    assert len(select_images(hostile, "test", silent)[0]) == 8
    done = run("explain", bundle, hostile, "--out", tmp_path / "explained", "--evaluate", 0)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output


COMMANDS = [
    ("data", "scan", "X"),
    ("data", "sources", "X"),
    ("data", "split", "X"),
    ("data", "audit", "X"),
    ("data", "audit", "CATALOG", "--split", "X"),
    ("data", "audit", "CATALOG", "--against", "X"),
    ("data", "locate", "X"),
    ("data", "pack", "X"),
    ("data", "leak-report", "X"),
    ("train", "X"),
    ("train", "CATALOG", "--recipe", "X"),
    ("demo", "--data", "X"),
    ("evaluate", "X"),
    ("export", "X"),
    ("predict", "X", "CATALOG"),
    ("validate", "X", "--data", "CATALOG"),
    ("validate", "BUNDLE", "--data", "X"),
    ("validate", "BUNDLE", "--data", "CATALOG", "--criteria", "X"),
    ("explain", "BUNDLE", "X"),
    ("robustness", "BUNDLE", "--data", "X"),
    ("recipe", "X"),
    ("validate", "BUNDLE", "--data", "CATALOG", "--previous", "X"),
    ("validate", "BUNDLE", "--data", "CATALOG", "--against", "X"),
    ("calibrate", "X"),
    ("card", "X"),
    ("ensemble", "X", "X"),
    ("distill", "X"),
    ("cells", "X"),
    ("differential", "X", "--model", "BUNDLE"),
    ("differential", "X", "--model", "BUNDLE", "--images", "fields"),
    ("differential", "CATALOG", "--model", "X"),
    ("differential", "CATALOG", "--model", "BUNDLE", "--samples", "X"),
    ("differential", "CATALOG", "--model", "BUNDLE", "--reference", "X"),
]


def test_every_command_that_reads_is_tried():
    def list_names(group, before=()):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from list_names(command, (*before, name))
            else:
                yield (*before, name)

    known = set(list_names(typer.main.get_command(app)))
    tried = {command[: 2 if command[0] == "data" else 1] for command in COMMANDS}
    assert known - tried == {("data", "paint")}  # reads nothing


@pytest.mark.parametrize("name", ["pipe.png", "device.png", "giant.png", "socket.png", "nu\0ll"])
@pytest.mark.parametrize(
    "command",
    COMMANDS,
    ids=" ".join,
)
def test_every_argument_of_every_command_is_guarded(
    hostile, catalog, bundle, command, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    named = {"X": hostile / "LYMPHOCYTE" / name, "CATALOG": catalog, "BUNDLE": bundle}
    done = run(*(named.get(word, word) for word in command))
    assert done.exit_code in (2, 3, 4, 5, 8), done.output
    assert "Error" in done.output or "Usage" in done.output


@pytest.mark.parametrize("name", ["bundle.json", "GRAPH", "pipe.json"])
def test_a_bundle_of_pipes_is_rejected(bundle, name, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    name = find_graph(copy).name if name == "GRAPH" else name
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    if name == "pipe.json":  # nobody asks for it
        assert load_bundle(copy).read_graph()
        return
    with pytest.raises(LeukoscopeError) as caught:
        load_bundle(copy).read_graph()
    assert caught.value.exit_code == 8
