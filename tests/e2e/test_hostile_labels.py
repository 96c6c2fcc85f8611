"""Labels with separators, brackets, quotes, line ends and other scripts pass through every step.

Each fixture is one step more, each test looks at what one step wrote. To go further, add a fixture
that runs the next command on the last one, and compare with `CLASSES`.
"""

import csv
import json

import pytest
from markupsafe import escape
from PIL import Image
from tests.builders.images import paint
from typer.testing import CliRunner

from leukoscope.cli.app import app
from leukoscope.data.audit import DataAudit
from leukoscope.data.catalog import load_catalog, load_rejected
from leukoscope.data.splits import SplitAudit, load_split
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.evaluation.validation import Validation
from leukoscope.labels import display_label, resolve_label
from leukoscope.records import load_record, parse_record
from leukoscope.sources.search import SourceSummary

LABELS = (
    "Blast; L1",
    "Blast (L1)",
    "a/b",
    'say "x"',
    "one, two",
    "line\nend",
    "<script>alert(1)</script>",
    "`code`",
    "[red]markup[/]",
    "Ärztliche Zählung 細胞",
    "long" * 50,
)
CLASSES = tuple(sorted(map(resolve_label, LABELS)))
PER_CLASS = 12

TWINS = ("Blast; L1", "Blast (L1)")
"""The labels under which one file stands twice."""


def ask(*words, code=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of images, one class per label, and one file under two labels."""
    place = tmp_path_factory.mktemp("hostile")
    rows = []
    for k, label in enumerate(LABELS):
        for i in range(PER_CLASS):
            name = f"{k} (x); {i}, y.png"
            Image.fromarray(paint(100 * k + i)).save(place / name)
            rows.append((name, label))
    twin = place / "twin (Blast; L1).png"
    Image.fromarray(paint(9999)).save(twin)
    rows += [(twin.name, label) for label in TWINS]
    with (place / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return place / "cells.csv"


@pytest.fixture(scope="module")
def catalog(table):
    out = table.with_name("catalog.csv")
    ask("data", "scan", table, "--out", out)
    return out


@pytest.fixture(scope="module")
def sources(catalog):
    out = catalog.with_name("sources.csv")
    ask("data", "sources", catalog, "--out", out)
    return out


@pytest.fixture(scope="module")
def split(sources):
    out = sources.with_name("split.csv")
    ask("data", "split", sources, "--protocol", "grouped", "--out", out)
    return out


@pytest.fixture(scope="module")
def run(split):
    out = split.with_name("run")
    small = ("input.image_size=32", "train.epochs=1", "train.batch_size=8")
    settings = [word for one in small for word in ("--set", one)]
    ask("train", split, "--out", out, "--recipe", "quick", *settings)
    ask("calibrate", out, "--set", "trust.alpha=0.3")
    ask("evaluate", out)
    ask("card", out)
    return out


@pytest.fixture(scope="module")
def bundle(run):
    out = run.with_name("bundle")
    ask("export", run, "--out", out, "--variants", "fp32")
    return out


def test_labels_stay_different():
    assert len(set(CLASSES)) == len(LABELS) == len(set(map(display_label, CLASSES)))


def test_a_table_is_scanned(catalog):
    found = load_catalog(catalog)
    assert found.classes == CLASSES and len(found) == len(CLASSES) * PER_CLASS


def test_class_folders_are_scanned(tmp_path):
    labels = [label for label in LABELS if "/" not in label]
    for k, label in enumerate(labels):
        (tmp_path / "cells" / label).mkdir(parents=True)
        Image.fromarray(paint(k)).save(tmp_path / "cells" / label / "1.png")
    ask("data", "scan", tmp_path / "cells", "--out", tmp_path / "catalog.csv")
    found = load_catalog(tmp_path / "catalog.csv").classes
    assert found == tuple(sorted(map(resolve_label, labels)))


def test_a_conflict_keeps_ids_and_labels(catalog):
    rejected = load_rejected(catalog.with_name("rejected.csv"))
    assert {entry.code for entry in rejected} == {"label_conflict"}
    assert [entry.label for entry in rejected] == [resolve_label(label) for label in TWINS]
    assert [entry.id for entry in rejected] == ["twin (Blast; L1).png", "twin (Blast; L1).png#2"]
    assert len({entry.content for entry in rejected}) == 1


def test_sources_keep_labels(sources):
    assert load_catalog(sources).classes == CLASSES
    summary = load_record(SourceSummary, sources.with_suffix(".json"), "data sources")
    assert summary.n_images == len(CLASSES) * PER_CLASS
    page = sources.with_suffix(".html").read_text(encoding="utf-8")
    assert all(escape(display_label(label)) in page for label in CLASSES)
    assert "<script" not in page


def test_a_split_and_its_audit_keep_labels(split):
    assert load_split(split).catalog.classes == CLASSES
    audit = load_record(SplitAudit, split.with_name("split.audit.json"), "data split")
    assert {label for counts in audit.counts.values() for label in counts} == set(CLASSES)


def test_an_audit_finds_the_conflict(split, tmp_path):
    page = tmp_path / "audit.html"
    # One file under two labels is an error.
    text = ask("data", "audit", split, "--html", page, "--json", code=3)
    audit = parse_record(DataAudit, json.loads(text), "the output", "data audit")
    assert tuple(c.label for c in audit.classes) == CLASSES
    (found,) = [one for one in audit.findings if one.code == "files_in_conflict"]
    twins = tuple(sorted(map(resolve_label, TWINS)))
    assert [count.names for count in found.counts] == [twins]
    (example,) = found.examples
    assert {example.first.label, example.second.label} == set(twins)
    assert example.first.id == "twin (Blast; L1).png"
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert all(escape(display_label(label)) in html for label in CLASSES)
    assert "Blast (l1)" in ask("data", "audit", split, code=3)


def test_an_evaluation_keeps_labels(run):
    record = load_record(EvaluationRecord, run / "metrics.json", "evaluate")
    assert record.classes == CLASSES
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(escape(display_label(label)) in page for label in CLASSES)
    assert "<script" not in page


def test_a_card_cannot_be_broken_by_labels(run):
    card = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "<script" not in card and "long" * 50 in card.lower()


def test_a_bundle_predicts_the_labels(bundle, tmp_path):
    ask("predict", bundle, bundle.parent, "--out", tmp_path / "predicted.csv")
    with (tmp_path / "predicted.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {f"p:{label}" for label in CLASSES} <= set(rows[0])
    assert {row["label"] for row in rows} <= set(CLASSES)


def test_a_validation_keeps_labels(bundle, table, tmp_path):
    ask("validate", bundle, "--data", table, "--out", tmp_path / "validated")
    record = load_record(Validation, tmp_path / "validated" / "validation.json", "validate")
    assert tuple(one.label for one in record.per_class) == CLASSES
    assert {one.code for one in record.unreadable} == {"label_conflict"}
    assert "<script" not in (tmp_path / "validated" / "validation.html").read_text("utf-8")
