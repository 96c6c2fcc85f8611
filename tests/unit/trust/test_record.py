"""The trust record: written and read back, and rejected when anything in it is not as written."""

import hashlib
import io
import math
import struct
import zipfile

import numpy as np
import pytest
from tests.builders.trust import build_reference

from leukoscope.config import TrustConfig
from leukoscope.errors import BundleError, RunError
from leukoscope.interval import UNDEFINED
from leukoscope.records import dump_record, save_record
from leukoscope.runfolder import RunFolder
from leukoscope.trust.decision import decide_table
from leukoscope.trust.record import TrustInfo, load_trust, open_trust, pack_arrays


@pytest.fixture
def record(fitted, trust_table):
    calib = trust_table.of_role("calib")
    content = pack_arrays(fitted.novelty, calib.embeddings_ND[:9], calib.quality_NQ[:9])
    info = TrustInfo(
        config=TrustConfig(),
        policy=fitted.policy,
        n_train=400,
        n_calib=400,
        n_calib_sources=400,
        choice=fitted.choice,
        notes=fitted.notes,
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
        arrays_sha256=hashlib.sha256(content).hexdigest(),
    )
    return info, content


@pytest.fixture
def run(tmp_path, record):
    folder = RunFolder(tmp_path)
    folder.weights.write_bytes(b"weights")
    save_record(record[0], folder.trust)
    folder.trust_arrays.write_bytes(record[1])
    return folder


def test_what_is_read_decides_as_what_was_written(run, record, fitted, trust_table):
    found = load_trust(run)
    assert found.info == record[0]
    one = decide_table(fitted.policy, fitted.novelty, trust_table)
    other = decide_table(found.info.policy, found.novelty, trust_table)
    assert one.status == other.status and one.reasons == other.reasons
    assert (one.distance_N == other.distance_N).all()
    assert found.reference_embeddings_MD.shape == (9, 6) and len(found.reference_quality_MQ) == 9


def test_a_run_that_was_not_calibrated_has_none(tmp_path):
    assert load_trust(RunFolder(tmp_path)) is None


def test_the_same_arrays_give_the_same_bytes(fitted, trust_table):
    arrays = trust_table.embeddings_ND[:3], trust_table.quality_NQ[:3]
    assert pack_arrays(fitted.novelty, *arrays) == pack_arrays(fitted.novelty, *arrays)


def test_a_record_of_other_weights_is_rejected(run):
    run.weights.write_bytes(b"other")
    with pytest.raises(RunError, match="calibrated with other weights"):
        load_trust(run)


def test_a_record_of_other_scores_is_rejected(run, record):
    run.scores.write_bytes(b"scores")
    with pytest.raises(RunError, match="calibrated with other scores"):
        load_trust(run)
    sha256 = hashlib.sha256(b"scores").hexdigest()
    save_record(record[0].model_copy(update={"scores_sha256": sha256}), run.trust)
    assert load_trust(run) is not None


def test_missing_and_changed_arrays_are_rejected(run, record):
    content = bytearray(record[1])
    content[len(content) // 2] ^= 1
    run.trust_arrays.write_bytes(content)
    with pytest.raises(BundleError, match="must hold what was calibrated"):
        load_trust(run)
    run.trust_arrays.unlink()
    with pytest.raises(BundleError, match="must be a readable file"):
        load_trust(run)


def make_archive(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def lie(**claims):
    """An archive with one array whose header claims something else than its bytes hold."""
    return write_array(
        str({"descr": "<f4", "fortran_order": False, "shape": (3,)} | claims).encode()
    )


def write_array(header):
    """An archive with one array of this header."""
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(12)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("novelty_means_KD.npy", array)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        lie(shape=(10**12,)),
        lie(shape=(10**9, 10**9)),
        lie(shape=(-3,)),
        lie(shape=(4,)),
        lie(descr="|O"),
        lie(descr="<f8"),
        lie(descr="[" * 5000),
        lie(shape="x"),
        write_array(b"{'descr': '<f9, ("),
        write_array(b"{("),
        write_array(b"\0"),
        lie(more=1),
        b"PK\x05\x06" + bytes(18),
        b"PK\x03\x04 no archive",
        make_archive(x=np.zeros(3)),
        make_archive(reference_embeddings=np.zeros((1, 2)), reference_quality=np.zeros((1, 2))),
        make_archive(evil=np.array([{"a": 1}], dtype=object)),
    ],
)
def test_hostile_arrays_are_rejected(record, content):
    """Pickles among them: nothing is ever unpickled."""
    info = record[0].model_copy(update={"arrays_sha256": hashlib.sha256(content).hexdigest()})
    with pytest.raises((BundleError,)) as caught:
        open_trust(info, content, "trust.npz")
    assert "trust.npz must be" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"policy": {"max_distance": "far"}}, r"policy\.max_distance"),
        ({"surprise": 1}, "surprise"),
        ({"reference": {"ece": None}}, r"reference\.ece"),
        ({"reference": {"ece": -1}}, r"reference\.ece"),
    ],
)
def test_records_of_another_form_are_rejected(run, record, change, message):
    content = dump_record(record[0].model_copy(update={"reference": build_reference()}))
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    save_record(content, run.trust)
    with pytest.raises(BundleError, match=message):
        load_trust(run)


def test_what_is_undefined_is_null_and_comes_back(run, record):
    """A class without images: its recall is not-a-number."""
    recall = (UNDEFINED, *build_reference().recall[1:])
    save_record(
        record[0].model_copy(update={"reference": build_reference(recall=recall)}), run.trust
    )
    assert "NaN" not in run.trust.read_text()
    found = load_trust(run).info.reference
    assert math.isnan(found.recall[0].value) and found.recall[1:] == recall[1:]
