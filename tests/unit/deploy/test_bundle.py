import hashlib
import signal
import subprocess
import sys

import pytest
from tests.builders.bundles import build_mean_graph, describe, find_graph
from tests.builders.files import list_flips, load_json, save_json

from leukoscope.deploy.bundle import (
    BUNDLE_JSON,
    check_target,
    load_bundle,
    parse_variants,
    save_bundle,
)
from leukoscope.errors import BundleError, ConfigError


def test_a_bundle_comes_back_as_it_was_saved(mean_bundle, mean_graph):
    assert mean_bundle.info == describe(mean_graph)
    assert mean_bundle.read_graph() == mean_bundle.read_graph("fp32") == mean_graph
    assert "Research use only" in (mean_bundle.path / BUNDLE_JSON).read_text()


def test_a_changed_graph_is_rejected(mean_bundle):
    path = find_graph(mean_bundle.path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="must hold what was exported"):
        mean_bundle.read_graph()


def test_a_missing_graph_and_a_missing_variant_are_told(mean_bundle):
    with pytest.raises(BundleError, match="variant must be one of fp32"):
        mean_bundle.read_graph("int8")
    find_graph(mean_bundle.path).unlink()
    with pytest.raises(BundleError, match="readable"):
        mean_bundle.read_graph()


def change_json(bundle, **changes):
    path = bundle.path / BUNDLE_JSON
    save_json(load_json(path) | changes, path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 2}, "format"),
        ({"format": "x"}, "format"),
        ({"classes": ["one"]}, "classes"),
        ({"default": "int8"}, "int8 is not among"),
        ({"surprise": 1}, "surprise"),
        ({"variants": {}}, "variants"),
    ],
)
def test_json_that_is_not_as_written_is_rejected(mean_bundle, changes, match):
    change_json(mean_bundle, **changes)
    with pytest.raises(BundleError, match=match):
        load_bundle(mean_bundle.path)


def test_a_bundle_is_sealed_bit_by_bit(mean_bundle):
    path = mean_bundle.path / BUNDLE_JSON
    content = path.read_bytes()
    for changed in list_flips(content):
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            load_bundle(mean_bundle.path)
    path.write_bytes(content)
    assert load_bundle(mean_bundle.path).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b.onnx", "model.onnx/..", ""])
def test_a_graph_outside_the_folder_is_rejected(mean_bundle, name):
    content = load_json(mean_bundle.path / BUNDLE_JSON)
    content["variants"]["fp32"]["file"] = name
    change_json(mean_bundle, **content)
    with pytest.raises(BundleError, match="file"):
        load_bundle(mean_bundle.path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_rejected(tmp_path, content):
    (tmp_path / BUNDLE_JSON).write_bytes(content)
    with pytest.raises(BundleError):
        load_bundle(tmp_path)


def test_a_folder_without_json_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="leukoscope export"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="leukoscope export"):
        load_bundle(tmp_path / "nowhere")


def test_a_huge_json_is_rejected_unread(tmp_path):
    with (tmp_path / BUNDLE_JSON).open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(BundleError, match="at most"):
        load_bundle(tmp_path)


# -- writing --------------------------------------------------------------------------------------


def test_a_folder_with_other_things_is_left_alone(tmp_path, mean_graph):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="other things"):
        save_bundle(describe(mean_graph), {"fp32": mean_graph}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(BundleError, match="a file"):
        check_target(tmp_path / "thesis.txt")


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_older_bundle_is_replaced(mean_bundle, mean_graph):
    mine = ("model.mine.onnx", "trust.npz")
    for name in (*mine, "model.int8.0123abcd.onnx", "trust.0123abcd.npz"):
        (mean_bundle.path / name).write_bytes(b"old")
    (mean_bundle.path / ".leukoscope-x.tmp").mkdir()
    newer = describe(mean_graph, network="newer")
    save_bundle(newer, {"fp32": mean_graph}, mean_bundle.path)
    assert load_bundle(mean_bundle.path).info == newer
    assert list_names(mean_bundle.path) == sorted((BUNDLE_JSON, newer.variants["fp32"].file, *mine))


def test_what_a_killed_export_left_is_no_reason_to_reject_the_folder(tmp_path, mean_graph):
    (tmp_path / ".leukoscope-abc.tmp").mkdir()
    (tmp_path / ".leukoscope-abc.tmp" / "model.fp32.onnx").touch()
    save_bundle(describe(mean_graph), {"fp32": mean_graph}, tmp_path)
    assert load_bundle(tmp_path).read_graph() == mean_graph
    assert ".leukoscope-abc.tmp" not in list_names(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from leukoscope.deploy.bundle import load_bundle, save_bundle
newer, left = load_bundle(Path(sys.argv[1])), int(sys.argv[3])
def killing(call):
    def killed(self, *args, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(self, *args, **options)
    return killed
Path.replace, Path.unlink = killing(Path.replace), killing(Path.unlink)
save_bundle(newer.info, {"fp32": newer.read_graph()}, Path(sys.argv[2]))
"""


def test_an_export_killed_at_any_rename_or_removal_leaves_a_bundle_that_opens(tmp_path, mean_graph):
    other = build_mean_graph(change=lambda model: setattr(model, "producer_name", "newer"))
    newer = tmp_path / "newer"
    save_bundle(describe(other, network="newer"), {"fp32": other}, newer)
    came = set()
    for steps in range(20):
        path = tmp_path / str(steps)
        save_bundle(describe(mean_graph, network="older"), {"fp32": mean_graph}, path)
        done = subprocess.run([sys.executable, "-c", KILLED, str(newer), str(path), str(steps)])
        found = load_bundle(path)
        found.read_graph()
        came.add((found.info.network, done.returncode))
        if done.returncode == 0:
            assert list_names(path) == list_names(newer)
            break
    assert came == {("older", -signal.SIGKILL), ("newer", -signal.SIGKILL), ("newer", 0)}


def test_names_of_variants():
    assert parse_variants("int8, fp32,int8") == ("int8", "fp32")
    for text in ("", "fp64", "fp32,fp64"):
        with pytest.raises(ConfigError, match="fp32, fp16, int8"):
            parse_variants(text)
