"""Messages beside the pages of a differential."""

import json
from datetime import UTC, datetime

import pytest
from PIL import Image
from tests.builders import bundles as means

from leukoscope import pipelines
from leukoscope.errors import ConfigError, MissingExtraError
from leukoscope.smear.observations import MESSAGE_KINDS, MessageHeader

HEADER = MessageHeader(datetime(2026, 11, 28, 12, tzinfo=UTC))


@pytest.fixture
def sample(tmp_path):
    folder = tmp_path / "S|1 ü"
    folder.mkdir()
    for k in range(3):
        picture = Image.effect_noise((32, 32), 40 + k).convert("RGB")
        picture.save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return means.save_mean_bundle(tmp_path_factory.mktemp("bundle"))


def test_messages_lie_beside_the_page(sample, bundle, tmp_path):
    out = tmp_path / "out"
    done = pipelines.count_differentials(
        [sample], bundle, out, messages=MESSAGE_KINDS, header=HEADER
    )
    stem = done.pages[0].stem
    names = {f"{stem}.oru.hl7", f"{stem}.oul.hl7", f"{stem}.fhir.json"}
    assert names <= {path.name for path in out.iterdir()}
    oru = (out / f"{stem}.oru.hl7").read_bytes()
    assert oru.startswith(b"MSH|^~\\&|leukoscope|") and b"\n" not in oru
    assert "S\\F\\1 ü" in oru.decode("utf-8")
    content = json.loads((out / f"{stem}.fhir.json").read_text("utf-8"))
    assert content["entry"][0]["resource"]["status"] == "preliminary"
    # Ours are replaced by the same command; others are not.
    there = pipelines.find_replaced_differentials(out, [sample], MESSAGE_KINDS)
    assert {out / name for name in names} <= set(there)
    (out / f"{stem}.fhir.json").write_text("{}")
    with pytest.raises(ConfigError):
        pipelines.find_replaced_differentials(out, [sample], MESSAGE_KINDS)
    again = pipelines.count_differentials(
        [sample], bundle, tmp_path / "again", messages=("oru",), header=HEADER
    )
    assert (again.out / f"{stem}.oru.hl7").read_bytes() == oru


def test_no_message_unless_asked(sample, bundle, tmp_path):
    done = pipelines.count_differentials([sample], bundle, tmp_path / "out")
    assert not [path for path in done.out.iterdir() if ".hl7" in path.name or "fhir" in path.name]


def test_the_extra_is_asked_for_before_the_work(sample, bundle, tmp_path, monkeypatch):
    found = pipelines.extras.importlib.util.find_spec
    monkeypatch.setattr(
        pipelines.extras.importlib.util,
        "find_spec",
        lambda name: None if name == "hl7apy" else found(name),
    )
    with pytest.raises(MissingExtraError, match=r"leukoscope\[messages\]"):
        pipelines.count_differentials([sample], bundle, tmp_path / "out", messages=("oru",))


def test_kinds_are_named_with_commas_or_one_by_one():
    assert pipelines.parse_message_kinds([]) == ()
    assert pipelines.parse_message_kinds(["oul, ORU", "fhir"]) == ("oul", "oru", "fhir")
    for wrong, named in (("oru,adt", "adt"), ("oru,", "nothing")):
        with pytest.raises(ConfigError) as caught:
            pipelines.parse_message_kinds([wrong])
        assert caught.value.found == named


def test_the_time_of_a_message():
    given = pipelines.parse_message_time("2026-11-28T12:00:00+01:00")
    assert given.isoformat() == "2026-11-28T12:00:00+01:00"
    assert pipelines.parse_message_time(None).tzinfo is UTC
    for wrong in ("yesterday", "2026-11-28T12:00:00"):
        with pytest.raises(ConfigError, match="time of a message"):
            pipelines.parse_message_time(wrong)
