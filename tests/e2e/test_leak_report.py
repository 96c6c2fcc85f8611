"""The leak report as a user asks for it, on painted cells of which copies are known."""

import csv
from dataclasses import replace

import pytest
from tests.builders.images import records_of
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli import app as cli
from leukoscope.config import load_recipe
from leukoscope.data.catalog import Catalog, load_catalog, save_catalog
from leukoscope.data.splits import load_split
from leukoscope.errors import RunError
from leukoscope.evaluation.leakage import LeakReport, LeakWarning
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.painted.cells import save_painted
from leukoscope.records import load_record
from leukoscope.report import evaluation_figures
from leukoscope.report.leak_page import describe_difference
from leukoscope.sources.search import SourceFindings
from leukoscope.trust.notes import Note

SETTINGS = ["input.image_size=32", "train.epochs=1", "train.batch_size=16"]


@pytest.fixture(autouse=True)
def few_figures(monkeypatch):
    """The figures of single evaluations are looked at elsewhere; the report's own are drawn."""
    monkeypatch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Catalogs: 32 cells in three images each; eight cells from elsewhere, one image each."""
    folder = tmp_path_factory.mktemp("painted")
    pipelines.scan_images(
        save_painted(folder / "home", 32, copies=3, size_px=32), folder / "catalog.csv"
    )
    elsewhere = pipelines.scan_images(
        save_painted(folder / "away", 12, copies=1, size_px=32, seed=5)
    )
    # Painted sets call their sources alike.
    renamed = tuple(replace(r, source=f"away {r.source}") for r in elsewhere.records)
    save_catalog(Catalog(renamed), folder / "elsewhere.csv")
    return folder


class Epochs:
    """Counts the epochs that are trained."""

    def __init__(self):
        self.count = 0

    def on_step(self, *_):
        pass

    def on_epoch(self, *_):
        self.count += 1


@pytest.fixture(scope="module")
def invoked(painted, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "leak"
    options = [x for setting in SETTINGS for x in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})
        patch.setenv("COLUMNS", "200")
        done = CliRunner().invoke(
            cli.app,
            ["data", "leak-report", str(painted / "catalog.csv"), "--out", str(out), *options,
             "--external", str(painted / "elsewhere.csv")],
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    return out, done


def load_report(out):
    return load_record(LeakReport, out / "leak_report.json", "leukoscope data leak-report")


def test_the_command_tells_what_the_leak_is_worth(invoked):
    out, done = invoked
    headline, _ = describe_difference(load_report(out))
    assert headline in done.stdout.replace("\n", " ")
    assert "Random split, its test images [leaked]" in done.stdout
    assert "Research use only" in done.stdout and "leak_report.html" in done.stdout
    # The two splits have the same images: they are decoded once.
    assert "Grouped split: scoring images" in done.stderr
    assert "Grouped split: decoding images" not in done.stderr
    page = (out / "leak_report.html").read_text()
    assert headline in page and "<script" not in page
    assert headline.upper() in (out / "leak_report.txt").read_text()
    assert not (out / "sources.csv").exists()  # they were known


def test_its_rows_are_those_of_the_runs(invoked):
    out, _ = invoked
    found = load_report(out)
    rows = {(row.protocol, row.subject): row for row in found.rows}
    assert list(rows)[-2:] == [("random", "external"), ("grouped", "external")]
    for protocol in ("random", "grouped"):
        record = load_record(EvaluationRecord, out / protocol / "metrics.json", "x")
        row = rows[protocol, "test"]
        assert row.accuracy == record.figures["accuracy"] and row.n_images == record.n_images
        assert set(row.baselines) == {"majority", "colour_histogram", "nearest_neighbour"}
        assert rows[protocol, "external"].n_images == 12
        # One image of each source, as file names would be: copies cannot be excluded.
        assert rows[protocol, "external"].leakage_status == "unproven"
    # Witness: the published shares, and the duplicates counted from the split itself.
    assert found.counts["random"] == {"train": 64, "val": 17, "test": 15}
    assert set(found.counts["grouped"]) == {"train", "val", "calib", "test"}
    with (out / "random" / "split.csv").open() as file:
        table = list(csv.DictReader(file))
    seen = {row["source"] for row in table if row["role"] in ("train", "val")}
    copied = sum(row["role"] == "test" and row["source"] in seen for row in table)
    assert rows["random", "test"].n_duplicates == copied > 0
    assert rows["random", "test"].leaked and not rows["grouped", "test"].leaked
    assert rows["grouped", "test"].n_duplicates == 0


def test_a_second_call_trains_nothing_again(invoked, painted):
    out, _ = invoked
    before = load_report(out)
    epochs = Epochs()
    again = pipelines.report_leak(
        load_catalog(painted / "catalog.csv"),
        load_recipe("quick", SETTINGS),
        out,
        external=[painted / "elsewhere.csv"],
        reporter=epochs,
    )
    assert epochs.count == 0
    assert again.report.rows == before.rows
    with pytest.raises(RunError, match="with the recipe and data it was started with"):
        pipelines.report_leak(
            load_catalog(painted / "catalog.csv"),
            load_recipe("quick", [*SETTINGS, "optim.lr=0.1"]),
            out,
        )


def test_unknown_sources_are_found_together_with_those_of_other_data(
    painted, tmp_path, monkeypatch
):
    """Of an external set of 11 images one is a copy; the search is played, the rest is real."""
    whole = load_catalog(painted / "catalog.csv")
    truth = {r.sha256: r.source for r in whole.records}
    copy = next(r for r in whole.records if r.extra["copy"] == "0")
    home = Catalog(
        tuple(
            replace(r, source="", extra={}, split="test" if r.sha256 == copy.sha256 else "")
            for r in whole.records
        )
    )
    away = load_catalog(painted / "elsewhere.csv")
    mixed = [replace(r, source="", extra={}) for r in (*away.records[:10], copy)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    save_catalog(Catalog(tuple(mixed)), tmp_path / "a" / "set.csv")
    named = tuple(replace(r, source="source_00001", extra={}) for r in away.records)
    save_catalog(Catalog(named), tmp_path / "b" / "set.csv")
    searched = []

    def play(catalog, *, cache, on_progress):
        searched.append(catalog)
        on_progress("Describing images", 1, 1)
        found = tuple(
            replace(r, source=r.source or truth.get(r.sha256, f"px-{r.sha256[:12]}"))
            for r in catalog.records
        )
        return SourceFindings(Catalog(found, catalog.rejected), (), (home.records[3].id,), {"a": 1})

    monkeypatch.setattr("leukoscope.pipelines.data.find_sources", play)
    monkeypatch.setattr(
        "leukoscope.pipelines.leak.save_findings",
        lambda found, path, _: saved.append((found, path)),
    )
    saved = []
    report = pipelines.report_leak(
        home,
        load_recipe("quick", SETTINGS),
        tmp_path / "leak",
        external=[tmp_path / "a" / "set.csv", tmp_path / "b" / "set.csv"],
        cache=tmp_path / "cache.sqlite",
    ).report
    (union,) = searched
    assert len(union) == 95 + 11 + 12 and len({r.id for r in union.records}) == len(union)
    # What two data sets call by one name has nothing in common.
    assert {r.source for r in union.records} == {"", "set_2: source_00001"}
    ((findings, path),) = saved
    assert path == tmp_path / "leak" / "sources.csv" and len(findings.catalog) == 95
    assert findings.featureless == (home.records[3].id,)
    assert {r.sha256: r.source for r in findings.catalog.records}.items() <= truth.items()
    assert (report.n_images, report.n_sources) == (95, 32)
    assert report.pixels and report.provenance.search == {"a": "1"}
    assert report.warnings == (LeakWarning("", Note("test_part_left_aside", {"n": 1})),)
    external = {(r.protocol, r.data): r for r in report.rows if r.subject == "external"}
    rest = {r.protocol: r for r in report.rows if r.subject == "external_without_duplicates"}
    for protocol in ("random", "grouped"):
        split = load_split(tmp_path / "leak" / protocol / "split.csv")
        fitted = [r.source for role in ("train", "val") for r in records_of(split, role)]
        shared = external[protocol, "set.csv"]
        assert shared.leaked == (truth[copy.sha256] in fitted)
        assert shared.n_duplicates == shared.leaked
        assert external[protocol, "b/set.csv"].leakage_status == "disjoint"
        if shared.leaked:
            assert rest[protocol].n_images == 10
    assert any(row.leaked for row in external.values())
