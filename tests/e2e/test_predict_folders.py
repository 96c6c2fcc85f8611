"""`predict` on folders as they are: what was read, what was passed over, and the exit code."""

import csv
from pathlib import Path

import pytest
from PIL import Image
from tests.builders.bundles import build_mean_graph, describe
from typer.testing import CliRunner

from leukoscope.cli.app import app
from leukoscope.deploy.bundle import save_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    graph = build_mean_graph()
    place = tmp_path_factory.mktemp("b") / "bundle"
    save_bundle(describe(graph), {"fp32": graph}, place)
    return place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One image, five files that bear other names, a folder behind a link."""
    place = tmp_path / "in"
    (tmp_path / "real").mkdir()
    place.mkdir()
    for path in (place / "a.png", tmp_path / "real/b.png"):
        Image.new("RGB", (20, 20), (200, 30, 30)).save(path)
    for name in ("b.svs", "c.czi", "d.jp2", "e.avif", "noending"):
        (place / name).write_bytes((place / "a.png").read_bytes())
    (place / "linked").symlink_to("../real", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return place


def predict(bundle, *arguments, **options):
    words = ["predict", str(bundle), *(str(one) for one in arguments)]
    return CliRunner().invoke(app, words, **options)


def rows(path):
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_passed_over_is_counted_and_listed(bundle, folder, tmp_path):
    done = predict(bundle, "in")
    assert done.exit_code == 0
    assert "2 images" in done.output
    assert "5 files were passed over" in done.output and ".avif 1" in done.output
    assert [row["label"] for row in rows("predictions.csv")] == ["red", "red"]
    listed = rows("predictions.rejected.csv")
    assert {row["found"] for row in listed} == {".svs", ".czi", ".jp2", ".avif", ""}
    # An older list does not speak for a newer table.
    assert predict(bundle, "in/a.png").exit_code == 0
    assert rows("predictions.rejected.csv") == []


def test_strict_counts_what_is_passed_over(bundle, folder):
    assert predict(bundle, "in", "--strict").exit_code == 3
    assert predict(bundle, "in/a.png", "--strict").exit_code == 0
    (folder / "broken.png").write_bytes(b"")
    assert predict(bundle, "in/a.png", "in/broken.png").exit_code == 0
    assert predict(bundle, "in/a.png", "in/broken.png", "--strict").exit_code == 3


def test_no_image_read_at_all_is_no_success(bundle, folder):
    for k in range(3):
        (folder / f"{k}.jpg").write_text("<html>404</html>")
    done = predict(bundle, *(f"in/{k}.jpg" for k in range(3)))
    assert done.exit_code == 3
    # The table is complete all the same.
    assert ["HTML" in row["error"] for row in rows("predictions.csv")] == [True] * 3
    assert predict(bundle, "https://example.org/a.jpg").exit_code == 3
    assert predict(bundle, "gone.jpg").exit_code == 3


def test_a_list_on_standard_input(bundle, folder):
    done = predict(bundle, "-", input=b"\xef\xbb\xbfin/a.png\r\nreal/b.png\r\n")
    assert done.exit_code == 0, done.output
    assert [row["error"] for row in rows("predictions.csv")] == ["", ""]
    assert predict(bundle, "-", input="in/a.png\n".encode("utf-16")).exit_code == 3


# -- borders to shell, terminal and disk ----------------------------------------------------------


def test_a_table_goes_to_a_pipe(bundle, folder, monkeypatch):
    done = predict(bundle, "in", "-o", "-")
    assert done.exit_code == 0
    table = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["label"] for row in table] == ["red", "red"]
    # What is for the person goes elsewhere.
    assert "5 files were passed over" in done.stderr
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "real"]


def test_signs_beyond_ascii_are_shown_by_excel(bundle, folder):
    predict(bundle, "in")
    assert not Path("predictions.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    name = "in/Stäbchen 中性粒细胞.png"
    Path("in/a.png").rename(name)
    predict(bundle, name)
    assert Path("predictions.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert [row["path"] for row in rows("predictions.csv")] == [name]
