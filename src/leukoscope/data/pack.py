"""Decoded, resized images of a catalog in one memory-mapped file, named by its content.

A pack is `<key>.npy`, uint8 `(N, S, S, 3)`, in the order of the records it was built from. The
key hashes the images' own hashes, their boxes and the preprocessing, so a pack can never be
mistaken for another, and any number of runs can share a folder of packs. Beside it `<key>.json`
says what it is, with the hash of the file. What this file does not do: no labels, no roles, no
augmentation.
"""

import contextlib
import hashlib
import json
import os
import tokenize
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import InputConfig
from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import (
    Pixels,
    check_located,
    decode_file,
    prepare_image,
    resize_image,
)
from leukoscope.errors import DataError, RunError, StorageError
from leukoscope.records import load_record, save_record
from leukoscope.storage import create_folder, hash_file, storage_errors

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


_ROWS_AT_ONCE = 256
"""An interrupted build loses at most so many images."""


@dataclass(frozen=True, slots=True)
class PackFacts:
    """What a pack is: number of images, preprocessing, and the hash of its file."""

    images: int
    input: InputConfig
    sha256: str


def build_pack(
    records: Sequence[ImageRecord],
    config: InputConfig,
    folder: Path,
    on_progress: Progress | None = None,
    *,
    verify: bool = False,
) -> NDArray[np.uint8]:
    """Return the pack of these records, memory-mapped read-only: uint8 `(N, S, S, 3)`.

    An existing pack of the same content is opened and nothing is written, so that the folder may
    be read-only; with `verify`, which needs the lock, after a look at every byte. Otherwise it is
    built on all cores and put in place at once. A build that was killed goes on where it stood.
    Several processes may ask for the same pack; one builds, the others wait.

    Raises `ImageError` for an image that cannot be read or whose bytes are not those the catalog
    saw, `StorageError` when the disk is full.
    """
    shape = (len(records), config.image_size, config.image_size, 3)
    path = find_pack(records, config, folder)
    if not verify:
        pixels = _open(path, shape)
        if pixels is not None:
            return pixels
    create_folder(folder)
    with _lock(path):
        # Another process may have built it by now.
        pixels = _open(path, shape)
        if pixels is not None and (not verify or _is_whole(path)):
            return pixels
        _build(path, records, config, shape, on_progress or (lambda _done, _total: None))
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def find_pack(records: Sequence[ImageRecord], config: InputConfig, folder: Path) -> Path:
    """Return where the pack of these records lies, whether it is there or not."""
    digest = hashlib.sha256(json.dumps(config.to_key(), separators=(",", ":")).encode())
    for record in records:
        digest.update(f"{record.sha256} {record.box}\n".encode())
    return folder / f"{digest.hexdigest()[:32]}.npy"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    from filelock import FileLock

    place = path.with_name(f".{path.stem}.lock")
    with storage_errors(place):
        held = FileLock(place).acquire()
    with held:
        yield


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The file as a pack, None where it is none: a damaged pack is built again, for it holds
    nothing that the images do not."""
    if path.is_file():
        with contextlib.suppress(OSError, SyntaxError, ValueError, tokenize.TokenError):
            pixels = np.lib.format.open_memmap(path, mode="r")
            if pixels.shape == shape and pixels.dtype == np.uint8:
                return np.asarray(pixels)
    return None


def _is_whole(path: Path) -> bool:
    try:
        facts = load_record(PackFacts, path.with_suffix(".json"), "leukoscope data pack")
        return facts.sha256 == hash_file(path)
    except RunError:
        return False


def _build(
    path: Path,
    records: Sequence[ImageRecord],
    config: InputConfig,
    shape: tuple[int, ...],
    report: Progress,
) -> None:
    """Fill `.KEY.part`, mark the rows that are done in `.KEY.done`, then rename."""
    part, marks = (path.with_name(f".{path.stem}.{end}") for end in ("part", "done"))
    try:
        with storage_errors(path):
            if not records:
                np.save(path, np.zeros(shape, np.uint8))
            else:
                if _open(part, shape) is None or not _fits(marks, len(records)):
                    _begin(part, marks, shape)
                _fill(part, marks, records, config, report)
                part.replace(path)
            marks.unlink(missing_ok=True)
            facts = PackFacts(len(records), config, hash_file(path))
            save_record(facts, path.with_suffix(".json"))
    except (DataError, StorageError):
        # What is wrong will be put right under another key, or needs the space.
        for place in (part, marks):
            place.unlink(missing_ok=True)
        raise


def _fits(marks: Path, n: int) -> bool:
    return marks.is_file() and marks.stat().st_size == n


def _begin(part: Path, marks: Path, shape: tuple[int, ...]) -> None:
    marks.unlink(missing_ok=True)
    np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    # Reserve the space now: a memory-mapped write to a full disk kills the process.
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with part.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
    # Last, so that marks never speak of a file that is not there in full.
    marks.write_bytes(bytes(shape[0]))


def _fill(
    part: Path, marks: Path, records: Sequence[ImageRecord], config: InputConfig, report: Progress
) -> None:
    pixels = np.lib.format.open_memmap(part, mode="r+")
    filled = np.memmap(marks, np.uint8, mode="r+", shape=(len(records),))
    rows = np.flatnonzero(filled == 0)
    done = len(records) - len(rows)

    def fill(row: int) -> None:
        pixels[row] = _read_record(records[row], config)

    # Threads suffice: Pillow lets go of the interpreter while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            for _ in pool.map(fill, some.tolist()):
                done += 1
                report(done, len(records))
            # Pixels first: a mark must never be ahead of them, not even after a power cut.
            pixels.flush()
            filled[some] = 1
            filled.flush()


def shrink_pack(pack_NHWC: Pixels, rows: NDArray[np.int64], size_px: int) -> Pixels:
    """Return small copies of some rows, uint8 `(len(rows), size_px, size_px, 3)`, for baselines."""
    out = np.empty((len(rows), size_px, size_px, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        out[place] = resize_image(np.asarray(pack_NHWC[row]), size_px)
    return out


def _read_record(record: ImageRecord, config: InputConfig) -> NDArray[np.uint8]:
    check_located(config, record.box, record.id)
    pixels = decode_file(record.path, record.box, record.sha256)
    return prepare_image(pixels, config)
