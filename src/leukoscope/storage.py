"""Files that are written at once or not at all, folders, and hashes.

What this file does not do: it knows no format (`records` knows JSON) and no run (`runfolder`).
"""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from leukoscope.errors import RunError, StorageError


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate a failure to write `path` into `StorageError`; what stood there before stays."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StorageError(
            f"{path} must be writable",
            "the disk is full" if full else error.strerror or str(error),
            "free some space and run the command again; what was complete before is intact"
            if full
            else "check the path and your permissions",
        ) from error


def create_folder(path: Path) -> Path:
    """Create a folder with its parents and return it. Raises `StorageError`."""
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_new_folder(path: Path) -> None:
    """Raise `RunError` unless nothing is there, or a folder with nothing in it."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise RunError(
            f"{path} must be an empty folder, so that no files of two calls mix",
            "it holds files" if path.is_dir() else "it is no folder",
            "choose another --out",
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` at once.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of
    one. Raises `StorageError` when the disk is full or the folder cannot be written.
    """
    create_folder(path.parent)
    with storage_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left behind. Hold the lock meanwhile."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, at once or not at all. Raises `StorageError`."""
    with replacing(path) as temporary:
        # newline="": what the text says; surrogates: file names that are not Unicode.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
