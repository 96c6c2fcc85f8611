"""Folders of painted sets: what one was painted with, so that nothing else is overwritten."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from leukoscope.errors import StorageError
from leukoscope.records import load_record
from leukoscope.storage import storage_errors

MARKER = "painted.json"
"""The file that says what a painted set was made with."""


def check_folder(folder: Path, painting: Any) -> None:
    """Raise `StorageError` unless a folder is new, empty, or holds what was painted with the same
    arguments; `painting` is their record."""
    with storage_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        marker, found = folder / MARKER, None
        if marker.is_file():
            found = load_record(type(painting), marker, "leukoscope data paint", StorageError)
    if found != painting:
        raise StorageError(
            f"{folder} must be new, empty, or hold the same painted set",
            "other files" if found is None else f"a set painted with {asdict(found)}",
            "choose another folder",
        )
