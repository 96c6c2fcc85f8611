"""Messages of a differential: values, codes, units and flags arrive, whatever a sample's name."""

import json
import math
import random
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hl7apy.parser import parse_message
from tests.builders.differential import make_record

from leukoscope import labels
from leukoscope.errors import ConfigError, MissingExtraError
from leukoscope.interval import UNDEFINED
from leukoscope.smear.differential import ReferenceLimits, Totals
from leukoscope.smear.fhir import build_fhir
from leukoscope.smear.hl7 import build_oru, build_oul
from leukoscope.smear.observations import MessageHeader, escape, list_observations

HEADER = MessageHeader(datetime(2026, 11, 28, 12, tzinfo=UTC))
BUILDERS = {"ORU_R01": build_oru, "OUL_R22": build_oul}
HOSTILE = "S|1^7~&\\F\\\nMSH|^~\\&|ü 血\r\x00\u2028"


def read_segments(text):
    """Segments as lists of fields; those of MSH counted as HL7 does."""
    assert text.endswith("\r") and "\n" not in text
    rows = [segment.split("|") for segment in text.split("\r")[:-1]]
    return [[row[0], "|", *row[1:]] if row[0] == "MSH" else row for row in rows]


def unescape(text):
    signs = {"E": "\\", "F": "|", "S": "^", "T": "&", "R": "~"}
    return re.sub(r"\\([EFSTR])\\", lambda found: signs[found[1]], text)


# -- what is sent ---------------------------------------------------------------------------------


def test_values_units_limits_and_flags():
    found = {one.code: one for one in list_observations(make_record())}
    neutrophil = found["neutrophil"]
    assert neutrophil.loinc == "26511-6" and neutrophil.unit == "%"
    assert neutrophil.value == pytest.approx(75.5) and neutrophil.raw == pytest.approx(75.0)
    assert (neutrophil.count, neutrophil.of, neutrophil.n_review) == (150, 200, 7)
    assert neutrophil.limits == pytest.approx((40, 75)) and neutrophil.flag == "H"
    # Limits stand beside the value whose unit they have.
    assert found["lymphocyte"].flag == "" and found["lymphocyte"].limits is None
    assert found["lymphocyte_absolute"].flag == "N"
    assert found["lymphocyte_absolute"].limits == (1.0, 4.0)
    assert found["lymphocyte_absolute"].unit == "10*9/L"
    red = found["nucleated_red_cells"]
    assert (red.loinc, red.unit, red.value) == ("26461-4", "/100{WBCs}", 3.0)
    assert found["smudge_cell"].loinc == "34992-8"
    assert found["white_cells_counted"].value == 200
    assert found["white_count"].value == 10.8 and found["white_count"].flag == ""
    limits = ReferenceLimits(3.6, 9.2, "10^9/L", "made up")
    (count,) = [
        one
        for one in list_observations(replace(make_record(), white_count_limits=limits))
        if one.code == "white_count"
    ]
    assert (count.limits, count.flag, count.source) == ((3.6, 9.2), "H", "made up")


def test_what_cannot_be_had_is_not_sent():
    record = make_record()
    bare = replace(
        record,
        totals=Totals(1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        classes=(
            replace(record.classes[0], raw=UNDEFINED, corrected=UNDEFINED, absolute=UNDEFINED),
        ),
        sums=(),
        others=(),
        nucleated_red_per_100=UNDEFINED,
        white_count=math.nan,
        corrected_white_count=math.nan,
    )
    assert [one.code for one in list_observations(bare)] == ["white_cells_counted"]
    for build in BUILDERS.values():
        assert len([row for row in read_segments(build(bare, HEADER)) if row[0] == "OBX"]) == 1
    uncorrected = replace(record.classes[0], corrected=UNDEFINED)
    shares = list_observations(replace(record, classes=(uncorrected,)))
    (share,) = [one for one in shares if one.code == "segmented_neutrophil"]
    assert share.value == pytest.approx(60.0) and share.raw is None


def test_a_class_of_the_name_of_a_sum_is_sent_once():
    record = make_record()
    twice = replace(record, classes=(replace(record.classes[0], label="neutrophil"),))
    codes = [one.code for one in list_observations(twice)]
    assert codes.count("neutrophil") == 1


@pytest.mark.parametrize(("upper", "flag"), [(0.7, "H"), (0.9, "N")])
def test_flags_are_of_the_value(upper, flag):
    record = make_record()
    limits = ReferenceLimits(0.4, upper, "share", "made up")
    record = replace(record, sums=(replace(record.sums[0], limits=limits),))
    assert list_observations(record)[2].flag == flag
    low = replace(record.sums[0], limits=ReferenceLimits(0.8, 0.9, "share", "made up"))
    assert list_observations(replace(record, sums=(low,)))[2].flag == "L"


def test_codes_are_those_of_one_table():
    assert set(labels.LOINC) <= {cell.name for cell in labels.CELL_TYPES}
    assert len(set(labels.LOINC.values())) == len(labels.LOINC) == 15
    assert all(re.fullmatch(r"\d{4,5}-\d", code) for code in labels.LOINC.values())
    texts = [build(make_record(), HEADER) for build in (*BUILDERS.values(), build_fhir)]
    for text in texts:
        assert "34165-1" not in text and "24318-8" not in text
        assert all(code in text for code in ("26511-6", "26505-8", "26508-2", "28541-1"))


# -- HL7 v2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", BUILDERS)
def test_messages_are_valid_and_say_what_the_record_says(structure):
    text = BUILDERS[structure](make_record(), HEADER)
    message = parse_message(text, find_groups=True)
    assert message.validate()
    assert message.msh.msh_9.value == f"{structure.replace('_', '^')}^{structure}"
    assert message.msh.msh_12.value == "2.5.1" and message.msh.msh_18.value == "UNICODE UTF-8"
    rows = read_segments(text)
    names = [row[0] for row in rows]
    assert names[:3] == (["MSH", "SPM", "OBR"] if structure == "OUL_R22" else ["MSH", "OBR", "OBX"])
    observations = list_observations(make_record())
    found = [row for row in rows if row[0] == "OBX"]
    assert len(found) == len(observations)
    for number, (row, one) in enumerate(zip(found, observations, strict=True), start=1):
        assert row[1:3] == [str(number), "NM"]
        assert float(row[5]) == pytest.approx(one.value, abs=0.051)
        assert row[6] == f"{one.unit}^{one.unit}^UCUM"
        assert row[8] == one.flag and row[11] == "P"
        assert (row[3].split("^")[2] == "LN") == bool(one.loinc)
        if one.loinc:
            assert row[3].split("^")[0] == one.loinc
    notes = [row[3] for row in rows if row[0] == "NTE"]
    assert any("150 of 200" in note and "68.0 to 82.0" in note for note in notes)
    assert next(row for row in found if row[8] == "H")[7] == "40-75"


@pytest.mark.parametrize("structure", BUILDERS)
def test_a_signed_result_is_final(structure):
    rows = read_segments(BUILDERS[structure](make_record(), replace(HEADER, signed=True)))
    assert {row[11] for row in rows if row[0] == "OBX"} == {"F"}
    assert {row[25] for row in rows if row[0] == "OBR"} == {"F"}


@pytest.mark.parametrize("structure", BUILDERS)
def test_hostile_names_stay_in_their_field(structure):
    plain = BUILDERS[structure](make_record("S-17"), HEADER)
    header = replace(HEADER, sender="a|b^c", receiver="\n&~", sender_facility="血 ü")
    text = BUILDERS[structure](make_record(HOSTILE), header)
    rows = read_segments(text)
    assert [row[0] for row in rows] == [row[0] for row in read_segments(plain)]
    order = next(row for row in rows if row[0] == "OBR")
    assert unescape(order[3]) == "S|1^7~&\\F\\ MSH|^~\\&|ü 血 "
    specimen = next(row for row in rows if row[0] == "SPM")
    assert unescape(specimen[2]) == f"^{unescape(order[3])}"
    assert text.encode("utf-8").decode() == text
    assert parse_message(text, find_groups=True).validate()


def test_any_text_survives_the_library():
    """hl7apy escapes by itself what it does not take for escaped."""
    rng = random.Random(3)
    for _ in range(40):
        name = "x" + "".join(rng.choices("|^~&\\EFSTRHNx. ", k=rng.randint(1, 12))) + "x"
        record = replace(make_record(name), classes=(), sums=(), others=())
        rows = read_segments(build_oru(record, HEADER))
        assert unescape(next(row for row in rows if row[0] == "OBR")[3]) == name


def test_the_same_content_gives_the_same_message():
    record = make_record()
    for build in (*BUILDERS.values(), build_fhir):
        text = build(record, HEADER)
        assert build(record, HEADER) == text
        assert build(record, replace(HEADER, signed=True)) != text
    first, other = (read_segments(build_oru(make_record(name), HEADER))[0] for name in "ab")
    assert first[10] != other[10] and len(first[10]) == 20
    given = read_segments(build_oru(record, replace(HEADER, message_id="M-1")))[0]
    assert given[10] == "M-1" and given[7] == "20261128120000+0000"


def test_a_header_that_cannot_be_sent():
    for build in (build_oru, build_fhir):
        with pytest.raises(ConfigError, match="time zone"):
            build(make_record(), MessageHeader(datetime(2026, 11, 28)))
        for field in ("message_id", "sender", "receiver", "sender_facility", "receiver_facility"):
            with pytest.raises(ConfigError, match="at most 20"):
                build(make_record(), replace(HEADER, **{field: "M" * 21}))
    # Separators take three characters.
    with pytest.raises(ConfigError, match="at most 20"):
        build_oru(make_record(), replace(HEADER, sender="|" * 7))


def test_a_name_that_is_too_long_for_the_field_is_not_cut():
    build_oru(make_record("S" * 199), HEADER)
    for build in BUILDERS.values():
        with pytest.raises(ConfigError, match=r"valid HL7 v2\.5\.1"):
            build(make_record("S" * 200), HEADER)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hl7apy.core", None)
    monkeypatch.setitem(sys.modules, "fhir.resources.R4B.bundle", None)
    for build in (build_oru, build_fhir):
        with pytest.raises(MissingExtraError, match=r"leukoscope\[messages\]"):
            build(make_record(), HEADER)


def test_text_without_separators_is_left():
    assert escape("Łódź 血-17") == "Łódź 血-17"
    assert escape("a\udc80b") == "a b"


# -- FHIR -----------------------------------------------------------------------------------------


def test_the_bundle_is_valid_and_its_references_resolve():
    from fhir.resources.R4B.bundle import Bundle

    text = build_fhir(make_record(), HEADER)
    bundle = Bundle.model_validate_json(text)
    names = [entry.fullUrl for entry in bundle.entry]
    assert len(set(names)) == len(names)
    content = json.loads(text)
    resources = [entry["resource"] for entry in content["entry"]]
    report, *observations, specimen = resources
    assert report["resourceType"] == "DiagnosticReport" and report["status"] == "preliminary"
    assert [one["reference"] for one in report["result"]] == names[1:-1]
    assert specimen["resourceType"] == "Specimen"
    assert {one["specimen"]["reference"] for one in observations} == {names[-1]}
    sent = list_observations(make_record())
    assert len(observations) == len(sent)
    for content, one in zip(observations, sent, strict=True):
        value = content["valueQuantity"]
        assert float(value["value"]) == pytest.approx(one.value, abs=0.051)
        assert (value["code"], value["system"]) == (one.unit, "http://unitsofmeasure.org")
        codes = {coding["system"]: coding["code"] for coding in content["code"]["coding"]}
        assert codes.get("http://loinc.org", "") == one.loinc
        flags = [i["coding"][0]["code"] for i in content.get("interpretation", ())]
        assert flags == ([one.flag] if one.flag else [])
        assert "subject" not in content
    neutrophil = observations[2]
    assert float(neutrophil["referenceRange"][0]["high"]["value"]) == 75
    parts = {part["code"]["coding"][0]["code"]: part["valueQuantity"]["value"]
             for part in neutrophil["component"]}  # fmt: skip
    assert {k: float(v) for k, v in parts.items()} == {
        "interval_low": 68, "interval_high": 82, "counted_share": 75, "count": 150,
    }  # fmt: skip
    final = json.loads(build_fhir(make_record(), replace(HEADER, signed=True)))
    assert {entry["resource"].get("status", "final") for entry in final["entry"]} == {"final"}


@pytest.mark.parametrize("name", [HOSTILE, "\n", "血", "\udc80"])
def test_hostile_names_in_fhir(name):
    content = json.loads(build_fhir(make_record(name), HEADER))
    value = content["entry"][-1]["resource"]["identifier"][0]["value"]
    assert value and not re.search(r"[\x00-\x1f]", value)
