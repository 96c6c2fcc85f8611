"""Decoded, resized images of a catalog in one memory-mapped file, named by its content.

A pack is `<key>.npy`, uint8 `(N, S, S, 3)`, in the order of the records it was built from. The
key hashes the images' own hashes, their boxes and the preprocessing, so a pack can never be
mistaken for another. What this file does not do: no labels, no roles, no augmentation.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import InputConfig
from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import decode_image, load_content, resize_image
from leukoscope.runfolder import create_folder, replacing

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def build_pack(
    records: Sequence[ImageRecord],
    config: InputConfig,
    folder: Path,
    on_progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Return the pack of these records, memory-mapped read-only: uint8 `(N, S, S, 3)`.

    An existing pack of the same content is opened; otherwise it is built on all cores and put in
    place at once, so that a killed build leaves nothing that looks like a pack.

    Raises `ImageError` for an image that cannot be read or whose bytes are not those the catalog
    saw, `StorageError` when the disk is full.
    """
    create_folder(folder)
    shape = (len(records), config.image_size, config.image_size, 3)
    path = folder / f"{_pack_key(records, config)}.npy"
    if path.is_file():
        # A damaged pack is built again: it holds nothing that the images do not.
        with contextlib.suppress(ValueError):
            pixels = np.lib.format.open_memmap(path, mode="r")
            if pixels.shape == shape and pixels.dtype == np.uint8:
                return np.asarray(pixels)
    with replacing(path) as temporary:
        # Reserve the space now: a memory-mapped write to a full disk kills the process.
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(temporary)

        def fill(row: int) -> None:
            pixels[row] = _read_record(records[row], config)

        # Threads suffice: Pillow lets go of the interpreter while it decodes and resizes.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(fill, range(len(records))), start=1):
                if on_progress is not None:
                    on_progress(done, len(records))
        pixels.flush()
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def _read_record(record: ImageRecord, config: InputConfig) -> NDArray[np.uint8]:
    content = load_content(record.path, record.sha256)
    pixels = decode_image(content, record.box, str(record.path))
    return resize_image(pixels, config.image_size, config.resize, config.interpolation)


def _reserve(path: Path) -> None:
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _pack_key(records: Sequence[ImageRecord], config: InputConfig) -> str:
    digest = hashlib.sha256(config.model_dump_json().encode())
    for record in records:
        digest.update(f"{record.sha256} {record.box}\n".encode())
    return digest.hexdigest()[:32]
