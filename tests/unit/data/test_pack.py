import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leukoscope.config import InputConfig
from leukoscope.data import pack
from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import load_pixels, resize_image
from leukoscope.data.pack import build_pack, find_pack, shrink_pack
from leukoscope.errors import DataError, ImageError, StorageError

CONFIG = InputConfig(image_size=32)


@pytest.fixture
def records(tmp_path):
    """Five images of different sizes, the last twice as two boxes of one field."""
    generator = np.random.default_rng(0)
    found = []
    for i, box in enumerate([None, None, None, (0, 0, 20, 30), (10, 5, 40, 40)]):
        path = tmp_path / f"{min(i, 3)}.png"
        if not path.exists():
            pixels = generator.integers(0, 256, (40 + i, 50 - i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        content = path.read_bytes()
        found.append(
            ImageRecord(
                id=f"{path.name}#{i}",
                path=path,
                label="neutrophil",
                width=50,
                height=40,
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                box=box,
            )
        )
    return found


def list_packs(folder):
    """Everything but locks and what stands beside a pack."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not name.endswith((".lock", ".json"))]


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_pack_holds_what_the_preprocessing_makes(tmp_path, records, resize, interpolation):
    config = InputConfig(image_size=32, resize=resize, interpolation=interpolation)
    pixels = build_pack(records, config, tmp_path / "pack")
    assert pixels.shape == (5, 32, 32, 3) and pixels.dtype == np.uint8
    for row, record in enumerate(records):
        expected = load_pixels(record.path, 32, record.box, resize, interpolation)
        assert (pixels[row] == expected).all()
    assert len({pixels[row].tobytes() for row in range(5)}) == 5  # the boxes too
    assert not pixels.flags.writeable
    assert len(list_packs(tmp_path / "pack")) == 1


def test_progress_is_told(tmp_path, records):
    heard = []
    build_pack(records, CONFIG, tmp_path / "pack", lambda *x: heard.append(x))
    assert heard == [(i, 5) for i in range(1, 6)]


def test_an_empty_pack_is_a_pack(tmp_path):
    assert build_pack([], CONFIG, tmp_path / "pack").shape == (0, 32, 32, 3)
    assert build_pack([], CONFIG, tmp_path / "pack").shape == (0, 32, 32, 3)


def test_an_existing_pack_is_opened_without_a_look_at_the_images(tmp_path, records):
    first = np.array(build_pack(records, CONFIG, tmp_path / "pack"))
    for record in records:
        record.path.unlink(missing_ok=True)
    again = build_pack(records, CONFIG, tmp_path / "pack", lambda *_: pytest.fail("decoded again"))
    assert (again == first).all()
    assert not again.flags.writeable


def test_a_pack_in_a_folder_without_write_permission_is_opened(tmp_path, records, monkeypatch):
    folder = tmp_path / "pack"
    first = np.array(build_pack(records, CONFIG, folder))
    for lock in folder.glob(".*.lock"):
        lock.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    folder.chmod(0o555)
    try:
        # The superuser may write all the same: whoever runs this, nobody may even try.
        for name in ("_lock", "create_folder", "save_record"):
            monkeypatch.setattr(pack, name, lambda *_: pytest.fail("about to write"))
        assert (build_pack(records, CONFIG, folder) == first).all()
    finally:
        folder.chmod(0o755)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_who_waits_for_another_build_opens_what_it_built(tmp_path, records, monkeypatch):
    folder, real = tmp_path / "pack", pack._lock

    @contextlib.contextmanager
    def wait(path):
        monkeypatch.setattr(pack, "_lock", real)
        build_pack(records, CONFIG, folder)
        with real(path):
            yield

    monkeypatch.setattr(pack, "_lock", wait)
    pixels = build_pack(records, CONFIG, folder, lambda *_: pytest.fail("decoded again"))
    assert (pixels[0] == load_pixels(records[0].path, 32)).all()


def test_other_content_is_another_pack(tmp_path, records):
    folder = tmp_path / "pack"
    build_pack(records, CONFIG, folder)
    others = [
        (records[:4], CONFIG),
        (records[::-1], CONFIG),
        ([*records[:3], replace(records[3], box=(0, 0, 20, 31)), records[4]], CONFIG),
        (records, InputConfig(image_size=64)),
        (records, InputConfig(image_size=32, resize="pad")),
        (records, InputConfig(image_size=32, interpolation="nearest")),
    ]
    for number, (rows, config) in enumerate(others, start=2):
        build_pack(rows, config, folder)
        assert len(list_packs(folder)) == number
    # Label and id decide nothing about pixels.
    build_pack([replace(record, label="monocyte", id="x") for record in records], CONFIG, folder)
    assert len(list_packs(folder)) == number


@pytest.mark.parametrize(
    "damage",
    ["wrong shape", "wrong type", "truncated", "garbage", "header", "empty", "pickle", "zip"],
)
def test_a_damaged_pack_is_built_again(tmp_path, records, damage):
    expected = np.array(build_pack(records, CONFIG, tmp_path / "pack"))
    (path,) = (tmp_path / "pack").glob("*.npy")
    if damage == "wrong shape":
        np.save(path, expected[:4])
    elif damage == "wrong type":
        np.save(path, expected.astype(np.int16))
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "garbage":
        path.write_bytes(b"\x00" * 1000)
    elif damage == "header":  # what NumPy reads it with raises errors of its own
        path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': '<9, (")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        with path.open("wb") as file:
            np.savez(file, expected)
    assert (build_pack(records, CONFIG, tmp_path / "pack") == expected).all()
    assert (np.load(path) == expected).all()


# -- images that are not as the catalog saw them ----------------------------------------------


def test_a_file_changed_since_the_scan_is_rejected(tmp_path, records):
    Image.new("RGB", (50, 40)).save(records[1].path)
    with pytest.raises(DataError, match=r"1\.png must hold the bytes that were scanned"):
        build_pack(records, CONFIG, tmp_path / "pack")
    assert list_packs(tmp_path / "pack") == []


def test_a_missing_file_is_named(tmp_path, records):
    records[1].path.unlink()
    with pytest.raises(ImageError, match=r"1\.png must be a readable file.*No such file") as caught:
        build_pack(records, CONFIG, tmp_path / "pack")
    assert caught.value.reason == "missing_file"
    assert list_packs(tmp_path / "pack") == []


def test_a_box_outside_is_rejected(tmp_path, records):
    records[3] = replace(records[3], box=(0, 0, 60, 10))
    with pytest.raises(ImageError) as caught:
        build_pack(records, CONFIG, tmp_path / "pack")
    assert caught.value.reason == "bad_box"
    assert list_packs(tmp_path / "pack") == []


def test_an_image_that_does_not_decode_is_rejected(tmp_path, records):
    path = records[0].path
    path.write_bytes(path.read_bytes()[:200])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ImageError, match=r"0\.png"):
        build_pack([replace(records[0], sha256=sha256)], CONFIG, tmp_path / "pack")
    assert list_packs(tmp_path / "pack") == []


# -- the disk ---------------------------------------------------------------------------------

BUILD = """
import os, resource, signal, sys
from pathlib import Path
from leukoscope.config import InputConfig
from leukoscope.data.catalog import ImageRecord
from leukoscope.data.pack import build_pack
from leukoscope.errors import StorageError
records = [ImageRecord("x", Path(sys.argv[1]), "neutrophil", 50, 40, 1, sys.argv[2])] * 50
"""


def run_build(tmp_path, record, code):
    return subprocess.run(
        [sys.executable, "-c", BUILD + code, str(record.path), record.sha256, str(tmp_path / "p")],
        capture_output=True,
        text=True,
    )


def test_a_killed_build_leaves_no_pack(tmp_path, records):
    done = run_build(
        tmp_path,
        records[0],
        """
def kill(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
build_pack(records, InputConfig(image_size=32), Path(sys.argv[3]), kill)
""",
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not [name for name in list_packs(tmp_path / "p") if not name.startswith(".")]
    assert build_pack(records[:1] * 50, CONFIG, tmp_path / "p").shape == (50, 32, 32, 3)


def test_a_killed_build_goes_on_where_it_stood(tmp_path, records, monkeypatch):
    done = run_build(
        tmp_path,
        records[0],
        """
from leukoscope.data import pack
pack._ROWS_AT_ONCE = 8
def kill(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
build_pack(records, InputConfig(image_size=32), Path(sys.argv[3]), kill)
""",
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    heard = []
    pixels = build_pack(records[:1] * 50, CONFIG, tmp_path / "p", lambda *x: heard.append(x))
    assert heard == [(i, 50) for i in range(17, 51)]  # two whole portions were kept
    assert (pixels == load_pixels(records[0].path, 32)).all()
    assert len(list_packs(tmp_path / "p")) == 1


@pytest.mark.parametrize("damage", ["marks gone", "marks short", "part short"])
def test_what_is_left_of_a_killed_build_is_not_trusted_when_damaged(tmp_path, records, damage):
    folder = tmp_path / "pack"
    path = find_pack(records, CONFIG, folder)

    def stop(done, _total):
        if done == 4:
            raise KeyboardInterrupt

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack, "_ROWS_AT_ONCE", 2)
        build_pack(records, CONFIG, folder, stop)
    marks, part = folder / f".{path.stem}.done", folder / f".{path.stem}.part"
    assert marks.is_file() and part.is_file() and not path.exists()
    if damage == "marks gone":
        marks.unlink()
    elif damage == "marks short":
        marks.write_bytes(b"\x01")
    else:
        part.write_bytes(part.read_bytes()[:-1])
    pixels = build_pack(records, CONFIG, folder)
    for row, record in enumerate(records):
        assert (pixels[row] == load_pixels(record.path, 32, record.box)).all()


def test_a_changed_byte_is_found_on_request(tmp_path, records):
    expected = np.array(build_pack(records, CONFIG, tmp_path / "pack"))
    (path,) = (tmp_path / "pack").glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert (build_pack(records, CONFIG, tmp_path / "pack") != expected).any()
    assert (build_pack(records, CONFIG, tmp_path / "pack", verify=True) == expected).all()
    path.with_suffix(".json").unlink()
    heard = []
    build_pack(records, CONFIG, tmp_path / "pack", lambda *x: heard.append(x), verify=True)
    assert len(heard) == 5  # nobody knows what it should be, so it is built again


def test_several_processes_may_ask_for_one_pack(tmp_path, records):
    code = "print(build_pack(records, InputConfig(image_size=32), Path(sys.argv[3])).sum())"
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: run_build(tmp_path, records[0], code), range(3)))
    assert len({one.stdout for one in found}) == 1 and found[0].returncode == 0, found[0].stderr
    assert len(list_packs(tmp_path / "p")) == 1


def test_a_full_disk_is_told_before_anything_is_decoded(tmp_path, records):
    """A real limit: the process may not write files beyond 100 kB; the pack needs 150 kB."""
    done = run_build(
        tmp_path,
        records[0],
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    build_pack(records, InputConfig(image_size=32), Path(sys.argv[3]), lambda *_: print("decoded"))
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
""",
    )
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "the disk is full" in done.stdout and "decoded" not in done.stdout
    assert list_packs(tmp_path / "p") == []


def test_space_is_reserved_where_the_system_can(tmp_path, records, monkeypatch):
    calls = []
    real = os.posix_fallocate
    monkeypatch.setattr(
        pack.os, "posix_fallocate", lambda *x: (calls.append(x[1:]), real(*x))[1], raising=False
    )
    build_pack(records, CONFIG, tmp_path / "a")
    (path,) = (tmp_path / "a").glob("*.npy")
    assert calls == [(0, path.stat().st_size)]
    monkeypatch.delattr(pack.os, "posix_fallocate")
    assert (build_pack(records, CONFIG, tmp_path / "b") == np.load(path)).all()


def test_small_copies_are_resized_one_by_one():
    pack = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    small = shrink_pack(pack, np.array([3, 1]), 8)
    assert small.shape == (2, 8, 8, 3) and small.dtype == np.uint8
    assert (small[0] == resize_image(pack[3], 8)).all()
    assert (small[1] == resize_image(pack[1], 8)).all()
    assert shrink_pack(pack, np.array([], np.int64), 8).shape == (0, 8, 8, 3)
