"""Records come back as they were; what does not fit is told with the first field that does not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from leukoscope.errors import BundleError, RunError
from leukoscope.interval import Interval, Number
from leukoscope.records import dump_record, load_record, parse_record, save_record


@dataclass(frozen=True)
class Finding:
    figures: Mapping[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    name: str
    severity: Literal["error", "note"] = "note"
    share: Number = math.nan


def build(name="a"):
    return Finding({"recall/a; b": Interval(0.5, math.nan, 1.0)}, ((1, 2), (3, 4)), name)


@pytest.mark.parametrize(
    "name",
    ["Blast; L1", "Blast (L1)", "a/b", 'say "x"', "two\nlines", "Стаб", "x\udcff", "n" * 200],
)
def test_a_record_comes_back_as_it_was(tmp_path, name):
    path = tmp_path / "record.json"
    save_record(build(name), path)
    found = load_record(Finding, path, "leukoscope audit")
    assert found.name == name and found.confusion == ((1, 2), (3, 4))
    interval = found.figures["recall/a; b"]
    assert (interval.value, interval.high) == (0.5, 1.0)
    assert math.isnan(interval.low) and math.isnan(found.share)


def test_what_is_undefined_is_null():
    content = dump_record(build())
    assert content["share"] is None and content["figures"]["recall/a; b"]["low"] is None
    assert dump_record({"x": math.inf}, dict[str, Number]) == {"x": None}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"figures": {}, "confusion": []}, "name"),
        ({"figures": {}, "confusion": [["x"]], "name": "a"}, "confusion.0.0"),
        ({"figures": {}, "confusion": [], "name": "a", "severity": "grave"}, "severity"),
        ([], "the file"),
    ],
)
def test_the_first_thing_wrong_is_named(content, where):
    with pytest.raises(BundleError) as caught:
        parse_record(Finding, content, "bundle.json", "leukoscope export", BundleError)
    assert caught.value.found.startswith(f"{where}:")
    assert "leukoscope export" in caught.value.expected


@pytest.mark.parametrize("text", ["", "{", "\x00", "{'a': 1}"])
def test_a_file_that_is_no_json_is_told(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RunError, match="readable JSON"):
        load_record(Finding, path, "leukoscope audit")
    with pytest.raises(RunError, match="readable JSON"):
        load_record(Finding, tmp_path / "none.json", "leukoscope audit")


def test_the_file_keeps_the_order_and_is_plain_text(tmp_path):
    path = tmp_path / "x.json"
    save_record({"z": 1, "a": "µ"}, path)
    raw = path.read_bytes()
    assert raw.endswith(b"}\n") and raw.index(b'"z"') < raw.index(b'"a"')
    assert "µ".encode() in raw


def test_a_file_is_sealed_to_the_last_bit(tmp_path):
    """Blanks, the spelling of a number, the case of a digit of the seal: all of them."""
    path = tmp_path / "x.json"
    save_record({"µ": [1e-07, "\x1f"], "b": 0.1}, path, dict[str, Any])
    content = path.read_bytes()
    assert load_record(dict[str, Any], path, "leukoscope audit") == {"µ": [1e-07, "\x1f"], "b": 0.1}
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(RunError):
            load_record(dict[str, Any], path, "leukoscope audit")


def test_changes_without_a_new_seal_are_named(tmp_path):
    path = tmp_path / "x.json"
    save_record({"a": 1, "b": 2}, path)
    text = path.read_text()
    others = {
        "other": text.replace("2", "3"),
        "none": '{"a": 1, "b": 2}\n',
        "twice": text.replace('  "b"', '  "b": 3,\n  "b"'),
        "after": text + " ",
    }
    for other in others.values():
        path.write_text(other)
        with pytest.raises(RunError, match="seal does not fit") as caught:
            load_record(dict[str, int], path, "leukoscope audit")
        assert "leukoscope audit" in caught.value.remedy
    path.write_bytes(text.replace("\n", "\r\n").encode())  # Git on Windows
    assert load_record(dict[str, int], path, "leukoscope audit") == {"a": 1, "b": 2}


def test_not_a_number_is_rejected_and_the_old_file_stays(tmp_path):
    path = tmp_path / "x.json"
    save_record({"a": 1}, path)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="Out of range float"):
            save_record({"a": value}, path, dict[str, float])
    assert load_record(dict[str, int], path, "leukoscope audit") == {"a": 1}


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400])
def test_a_number_beyond_any_limit_is_rejected(number):
    for kind in (dict[str, float], Interval):
        with pytest.raises(RunError, match="must be as"):
            parse_record(kind, {name: int(number) for name in ("value", "low", "high")}, "x", "y")
