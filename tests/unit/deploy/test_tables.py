import csv
import json

import pyarrow.parquet as pq
import pytest

from leukoscope.deploy.predictor import Prediction
from leukoscope.deploy.tables import Counts, neutralise
from leukoscope.deploy.tables import save_predictions as save
from leukoscope.errors import ConfigError
from leukoscope.trust.decision import Reason

CLASSES = ("Eosinophil", "=cmd()")
REASONS = (Reason("several_labels", {"labels": CLASSES}), Reason("no_threshold"))
COUNTS = Counts(4, 1, {"review": 1}, {"Eosinophil": 1})
ROWS = (
    Prediction(
        "a.jpg",
        "Eosinophil",
        0.75,
        (0.75, 0.25),
        decision="review",
        reasons=REASONS,
        labels=CLASSES,
    ),
    Prediction("=1+1.jpg", "=cmd()", 0.6, (0.4, 0.6)),
    Prediction("bad.jpg", error="truncated: ends early"),
    Prediction('odd, "name"\n.jpg', "Eosinophil", 1.0, (1.0, 0.0)),
)


def describe(reasons):
    return " and ".join(one.code.upper() for one in reasons)


def save_table(predictions, classes, path):
    return save(predictions, classes, path, describe)


def test_csv(tmp_path):
    place = tmp_path / "p.csv"
    assert save_table(iter(ROWS), CLASSES, place) == COUNTS
    with place.open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = ["path", "label", "confidence", "decision", "reason", "reason_codes", "set"]
    assert header == [*columns, "p:Eosinophil", "p:=cmd()", "error"]
    assert rows[0][:5] == [
        *("a.jpg", "Eosinophil", "0.750000"),
        *("review", "SEVERAL_LABELS and NO_THRESHOLD"),
    ]
    assert rows[0][5] == "several_labels|no_threshold"
    assert json.loads(rows[0][6]) == list(CLASSES)
    assert rows[0][7:] == ["0.750000", "0.250000", ""]
    assert rows[1][:7] == ["'=1+1.jpg", "'=cmd()", "0.600000", "", "", "", ""]
    assert rows[2] == ["bad.jpg", *[""] * 8, "truncated: ends early"]
    assert rows[3][0] == ROWS[3].path


def test_json_lines(tmp_path):
    place = tmp_path / "p.jsonl"
    assert save_table(ROWS, CLASSES, place) == COUNTS
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert rows[1] == {
        "path": "=1+1.jpg",
        "label": "=cmd()",
        "confidence": 0.6,
        "probabilities": {"Eosinophil": 0.4, "=cmd()": 0.6},
    }
    assert rows[2] == {"path": "bad.jpg", "error": "truncated: ends early"}
    assert rows[0]["decision"] == "review" and rows[0]["set"] == list(CLASSES)
    assert rows[0]["reason_codes"] == ["several_labels", "no_threshold"]
    assert rows[0]["reason"] == describe(REASONS)


def test_parquet(tmp_path):
    place = tmp_path / "p.parquet"
    assert save_table(ROWS, CLASSES, place) == COUNTS
    rows = pq.read_table(place).to_pylist()
    assert rows[0]["p:Eosinophil"] == 0.75 and rows[0]["error"] is None
    assert rows[0]["set"] == list(CLASSES) and rows[1]["set"] is None
    assert rows[0]["reason_codes"] == ["several_labels", "no_threshold"]
    assert rows[0]["reason"] == describe(REASONS) and rows[1]["reason_codes"] is None
    assert rows[2]["label"] is None and rows[2]["p:Eosinophil"] is None


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_names_that_are_not_unicode_do_not_stop_the_table(tmp_path, suffix):
    odd = b"\xff.jpg".decode(errors="surrogateescape")
    rows = [Prediction(odd, "Eosinophil", 1.0, (1.0, 0.0))]
    assert save_table(rows, CLASSES, tmp_path / f"p.{suffix}") == Counts(1, 0, {}, {})


@pytest.mark.parametrize("name", ["p.xlsx", "p"])
def test_another_ending_is_rejected(tmp_path, name):
    with pytest.raises(ConfigError, match=r"p\.csv"):
        save_table(ROWS, CLASSES, tmp_path / name)


def test_nothing_is_left_of_a_table_that_failed(tmp_path):
    def fail():
        yield ROWS[0]
        raise RuntimeError("stopped")

    place = tmp_path / "p.csv"
    place.write_text("earlier")
    with pytest.raises(RuntimeError):
        save_table(fail(), CLASSES, place)
    assert place.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_execute_is_neutralised(text):
    assert neutralise(text) == f"'{text}"


def test_other_cells_stay():
    for text in ("", "a=1", "1-2", "plain"):
        assert neutralise(text) == text


@pytest.mark.parametrize(
    "label", ["Blast; L1", "Blast (L1)", "a/b", 'a, "b"|c', "two\nlines", "ß" * 200]
)
def test_labels_come_back_as_they_were(tmp_path, label):
    classes = (label, "other")
    reason = Reason("several_labels", {"labels": classes})
    row = Prediction(
        "a.jpg", label, 0.6, (0.6, 0.4), decision="review", reasons=(reason,), labels=classes
    )
    for suffix in ("csv", "jsonl", "parquet"):
        save_table([row], classes, tmp_path / f"p.{suffix}")
    with (tmp_path / "p.csv").open(newline="") as file:
        (read,) = csv.DictReader(file)
    assert read["label"] == label and json.loads(read["set"]) == list(classes)
    assert read["reason_codes"] == "several_labels" and read[f"p:{label}"] == "0.600000"
    (line,) = (tmp_path / "p.jsonl").read_text().splitlines()
    (found,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    for one in (json.loads(line), found):
        assert one["label"] == label and one["set"] == list(classes)
        assert one["reason_codes"] == ["several_labels"]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\x85", "\u2028", "\x0b", "\x1c"])
def test_a_name_with_a_line_end_is_one_row(tmp_path, end):
    rows = [Prediction(f"a{end}b.png", error=f"x{end}y"), Prediction("c.png", error="z")]
    save(rows, ("a", "b"), tmp_path / "p.csv", str)
    with (tmp_path / "p.csv").open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.reader(file))
    assert [row[0] for row in found] == ["path", f"a{end}b.png", "c.png"]
    assert found[1][-1] == f"x{end}y"
