import csv
import json

import pyarrow.parquet as pq
import pytest

from leukoscope.deploy.predictor import Prediction
from leukoscope.deploy.tables import Counts, neutralise, save_predictions
from leukoscope.errors import ConfigError

CLASSES = ("Eosinophil", "=cmd()")
COUNTS = Counts(4, 1, {"review": 1})
ROWS = (
    Prediction(
        "a.jpg",
        "Eosinophil",
        0.75,
        (0.75, 0.25),
        decision="review",
        reason="could be Eosinophil or =cmd()",
        names=CLASSES,
    ),
    Prediction("=1+1.jpg", "=cmd()", 0.6, (0.4, 0.6)),
    Prediction("bad.jpg", error="truncated: ends early"),
    Prediction('odd, "name"\n.jpg', "Eosinophil", 1.0, (1.0, 0.0)),
)


def test_csv(tmp_path):
    place = tmp_path / "p.csv"
    assert save_predictions(iter(ROWS), CLASSES, place) == COUNTS
    with place.open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = ["path", "label", "confidence", "decision", "reason", "set"]
    assert header == [*columns, "p:Eosinophil", "p:=cmd()", "error"]
    assert rows[0][:5] == [
        *("a.jpg", "Eosinophil", "0.750000"),
        *("review", "could be Eosinophil or =cmd()"),
    ]
    assert rows[0][5:] == ["Eosinophil =cmd()", "0.750000", "0.250000", ""]
    assert rows[1][:6] == ["'=1+1.jpg", "'=cmd()", "0.600000", "", "", ""]
    assert rows[2] == ["bad.jpg", "", "", "", "", "", "", "", "truncated: ends early"]
    assert rows[3][0] == ROWS[3].path


def test_json_lines(tmp_path):
    place = tmp_path / "p.jsonl"
    assert save_predictions(ROWS, CLASSES, place) == COUNTS
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert rows[1] == {
        "path": "=1+1.jpg",
        "label": "=cmd()",
        "confidence": 0.6,
        "probabilities": {"Eosinophil": 0.4, "=cmd()": 0.6},
    }
    assert rows[2] == {"path": "bad.jpg", "error": "truncated: ends early"}
    assert rows[0]["decision"] == "review" and rows[0]["set"] == list(CLASSES)


def test_parquet(tmp_path):
    place = tmp_path / "p.parquet"
    assert save_predictions(ROWS, CLASSES, place) == COUNTS
    rows = pq.read_table(place).to_pylist()
    assert rows[0]["p:Eosinophil"] == 0.75 and rows[0]["error"] is None
    assert rows[0]["set"] == list(CLASSES) and rows[1]["set"] is None
    assert rows[2]["label"] is None and rows[2]["p:Eosinophil"] is None


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_names_that_are_not_unicode_do_not_stop_the_table(tmp_path, suffix):
    odd = b"\xff.jpg".decode(errors="surrogateescape")
    rows = [Prediction(odd, "Eosinophil", 1.0, (1.0, 0.0))]
    assert save_predictions(rows, CLASSES, tmp_path / f"p.{suffix}") == Counts(1, 0, {})


@pytest.mark.parametrize("name", ["p.xlsx", "p"])
def test_another_ending_is_rejected(tmp_path, name):
    with pytest.raises(ConfigError, match=r"p\.csv"):
        save_predictions(ROWS, CLASSES, tmp_path / name)


def test_nothing_is_left_of_a_table_that_failed(tmp_path):
    def fail():
        yield ROWS[0]
        raise RuntimeError("stopped")

    place = tmp_path / "p.csv"
    place.write_text("earlier")
    with pytest.raises(RuntimeError):
        save_predictions(fail(), CLASSES, place)
    assert place.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_execute_is_neutralised(text):
    assert neutralise(text) == f"'{text}"


def test_other_cells_stay():
    for text in ("", "a=1", "1-2", "plain"):
        assert neutralise(text) == text
