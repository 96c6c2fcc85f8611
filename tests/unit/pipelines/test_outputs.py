"""Which files may be written over: told by what they hold, not by their names."""

import csv
import shutil

import pytest
from tests.builders.bundles import build_mean_graph, describe
from tests.builders.images import save_discs
from typer.testing import CliRunner

from leukoscope.cli import app as cli
from leukoscope.deploy.bundle import load_bundle, save_bundle
from leukoscope.deploy.tables import PredictionProvenance
from leukoscope.errors import ConfigError, RunError
from leukoscope.pipelines import find_replaced
from leukoscope.pipelines.outputs import check_new_folder
from leukoscope.records import load_record
from leukoscope.storage import hash_file


def ask(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One of every kind of file, as the commands leave it."""
    folder = tmp_path_factory.mktemp("made")
    cells = save_discs(folder / "cells")
    (next(cells.iterdir()) / "notes.txt").write_text("x")
    graph = build_mean_graph()
    save_bundle(describe(graph), {"fp32": graph}, folder / "bundle")
    for arguments in (
        ("data", "scan", cells, "--out", folder / "catalog.csv"),
        ("data", "split", folder / "catalog.csv", "--out", folder / "split.csv"),
        *(("predict", folder / "bundle", cells, "-o", folder / f"p.{end}")
          for end in ("csv", "jsonl", "parquet")),
    ):  # fmt: skip
        done = ask(*arguments)
        assert done.exit_code == 0, done.output
    (folder / "page.html").write_text("<!DOCTYPE html>\n<p>made by leukoscope</p>")
    (folder / "links.csv").write_text(
        "first,second,kind,accepted,inliers,overlap_frac,agreement_frac,contradiction_frac,"
        "mirrored,rotation_deg,scale,shear,m00,m01,m02,m10,m11,m12\n"
    )
    return folder


OURS = {
    "catalog": ["catalog.csv"],
    "split": ["split.csv"],
    "rejected": ["rejected.csv"],
    "predictions": ["p.csv", "p.jsonl", "p.parquet"],
    "record": ["split.audit.json", "p.provenance.json"],
    "page": ["page.html"],
}
FOREIGN = {
    "mine.csv": b"path,label,patient,comment\na.jpg,eosinophil,P1,read twice\n",
    "mine.txt": b"cells that the haematologist rejected, typed by hand\n",
    "mine.json": b'{"id": 1, "sha256": 2}\n',
    "mine.html": b"<html>my page</html>",
    "mine.bin": bytes(range(256)),
    "mine.parquet": b"PAR1 of somebody else PAR1",
}


@pytest.mark.parametrize("kind", OURS)
def test_only_its_own_kind_is_replaced(made, tmp_path, kind):
    for other, names in OURS.items():
        for name in names:
            place = shutil.copy(made / name, tmp_path / name)
            if kind == other:
                assert find_replaced([place], kind, {}) == (place,)
            else:
                with pytest.raises(ConfigError, match="only files that leukoscope wrote"):
                    find_replaced([place], kind, {})
                assert find_replaced([place], kind, {}, force=True) == (place,)
    for name, content in FOREIGN.items():
        place = tmp_path / name
        place.write_bytes(content)
        with pytest.raises(ConfigError, match="--force"):
            find_replaced([place], kind, {})
        assert find_replaced([place], kind, {}, force=True) == (place,)
        place.write_bytes(b"")  # nothing to lose
        assert find_replaced([place], kind, {}) == (place,)
    with pytest.raises(ConfigError, match="is another one"):
        find_replaced([tmp_path], kind, {})
    assert find_replaced([tmp_path / "new.csv"], kind, {"rejected.csv": "rejected"})[1:] == ()


@pytest.mark.parametrize("out", [".", "", "/", "a/.."])
def test_an_output_without_a_name_is_rejected(out, tmp_path):
    from pathlib import Path

    with pytest.raises(ConfigError, match="must be a file"):
        find_replaced([Path(out)], "catalog", {".json": "record"})


def test_an_output_may_not_be_what_lies_beside_it(tmp_path):
    with pytest.raises(ConfigError, match="written beside it"):
        find_replaced([tmp_path / "rejected.csv"], "catalog", {"rejected.csv": "rejected"})


def test_a_new_folder_holds_nothing_that_somebody_needs(made, tmp_path):
    check_new_folder(tmp_path / "not yet")
    check_new_folder(tmp_path)
    (tmp_path / ".leukoscope-abc.tmp").mkdir()
    shutil.copy(made / "rejected.csv", tmp_path)
    shutil.copy(made / "rejected.csv", tmp_path / "other.rejected.csv")
    check_new_folder(tmp_path)
    (tmp_path / "rejected.csv").write_text("cells that the haematologist rejected")
    for path, found in (
        (tmp_path, "it holds files"),
        (tmp_path / "rejected.csv", "it is no folder"),
    ):
        with pytest.raises(RunError, match=found) as raised:
            check_new_folder(path)
        assert "remove" not in str(raised.value)  # it may be a run


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_an_input_is_never_written_over(made, tmp_path, force):
    mine = tmp_path / "catalog.csv"
    rows = [(x, x.parent.name, "P1") for x in sorted((made / "cells").rglob("*.png"))]
    with mine.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "patient"), *rows])
    table = shutil.copy(made / "catalog.csv", tmp_path / "table.csv")
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    image = rows[0][0]
    before = {path: path.read_bytes() for path in (mine, table, image)}
    for arguments in (
        ("data", "scan", mine, "--out", mine),
        ("data", "split", table, "--out", table),
        ("data", "sources", table, "--out", link),
        ("predict", made / "bundle", image, mine, "-o", mine),
    ):
        done = ask(*arguments, *force)
        assert done.exit_code == 2, done.output
        assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "catalog.csv",
        "link.csv",
        "table.csv",
    ]


def test_what_others_wrote_stays_and_what_we_wrote_is_said(made, tmp_path):
    mine = b"path,label\nhand-corrected labels of last week\n"
    out = tmp_path / "p.csv"
    out.write_bytes(mine)
    command = ("predict", made / "bundle", next((made / "cells").iterdir()), "-o", out)
    assert ask(*command).exit_code == 2 and out.read_bytes() == mine
    done = ask(*command, "--force")
    assert done.exit_code == 0 and f"Replaced: {out}" in " ".join(done.output.split())
    done = ask(*command)
    assert done.exit_code == 0 and f"{tmp_path / 'p.provenance.json'}" in done.output
    done = ask(*command[:-1], tmp_path / "new.csv")
    assert "Replaced" not in done.output
    page = tmp_path / "mine.html"
    page.write_text("<html>my page</html>")
    done = ask("data", "audit", made / "catalog.csv", "--html", page)
    assert done.exit_code == 2 and page.read_text() == "<html>my page</html>"
    (tmp_path / "rejected.csv").write_text("cells that somebody rejected\n")
    done = ask("data", "scan", made / "cells", "--out", tmp_path / "c.csv")
    assert done.exit_code == 2 and not (tmp_path / "c.csv").exists()


def test_predictions_name_the_bundle_that_made_them(made):
    found = load_record(PredictionProvenance, made / "p.provenance.json", "leukoscope predict")
    bundle = load_bundle(made / "bundle")
    assert found.bundle_sha256 == bundle.sha256 == hash_file(made / "bundle" / "bundle.json")
    assert found.table_sha256 == hash_file(made / "p.parquet")  # the last of the three
    assert (found.variant, found.engine, found.bundle) == ("fp32", "onnxruntime", "bundle")
