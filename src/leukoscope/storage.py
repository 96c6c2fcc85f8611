"""Files that are read with care, and written at once or not at all; folders, and hashes.

What this file does not do: it knows no format (`records` knows JSON) and no run (`runfolder`).
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from leukoscope.errors import ConfigError, FileError, StorageError

MAX_BYTES = 1 << 30
"""Larger files are rejected unread."""

MAX_TEXT_BYTES = 1 << 16
"""A recipe, criteria, a list of names: nobody types more."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, to be read as bytes: the one place where a file that a
    user names is opened.

    Whatever waits for a writer or never ends (pipe, socket, device) is rejected and never waited
    for, also where it took the place of a regular file this very moment. Raises `FileError` with
    reason `missing_file`, `not_regular` or `unreadable`.
    """
    with _file_errors(path):
        try:
            # A look before the opening: to open some devices has effects.
            _check_regular(path, path.stat().st_mode)
            # Not blocking: a pipe that came in between would wait for its writer.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            file = os.fdopen(os.open(path, flags), "rb")
        except ValueError as error:  # a null byte in the name
            raise FileError(
                "missing_file", f"{path} must be a readable file", str(error), "check the path"
            ) from error
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)
    except FileError:
        file.close()
        raise
    return file


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `max_bytes`, whose size is looked at first.

    Raises `FileError` as `open_file` does, and with reason `too_large`.
    """
    with open_file(path) as file, _file_errors(path):
        size = os.fstat(file.fileno()).st_size
        # As much memory as there are bytes: a reader takes all that it is asked for at once.
        content = file.read(size + 1) if size <= max_bytes else b""
        while size < len(content) <= max_bytes:  # it grew meanwhile, or its size is not known
            size = len(content)
            content += file.read(1 << 16)
    if max(size, len(content)) > max_bytes:
        raise FileError(
            "too_large",
            f"{path} must have at most {max_bytes:,} bytes",
            f"{max(size, len(content)):,} bytes",
            "name another file",
        )
    return content


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Translate a failure to open or read `path` into `FileError`."""
    try:
        yield
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise FileError(
            "missing_file" if gone else "unreadable",
            f"{path} must be a readable file",
            error.strerror or str(error),
            "check the path",
        ) from error


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise FileError(
            "not_regular", f"{path} must be a regular file", f"it is {kind}", "check the path"
        )


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


def is_folder(path: str | Path) -> bool:
    """Tell whether a path leads to a folder; a name that no system takes does not."""
    return os.path.isdir(path)  # noqa: PTH112


def is_empty_folder(path: Path) -> bool:
    """Tell whether a folder holds nothing but what killed processes left behind."""
    return path.is_dir() and all(is_leftover(one) for one in path.iterdir())


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\<>:"|?*]')
_MAX_NAME_BYTES = 120  # with endings and what is put before them, below the 255 of file systems


def check_name(name: str) -> None:
    """Raise `ConfigError` unless a name is one of a file or folder on every system: what a user or
    a table calls something becomes part of a path only after this.

    >>> check_name("hospital B, 2024")
    """
    n_bytes = len(name.encode("utf-8", "replace"))
    fits = 0 < n_bytes <= _MAX_NAME_BYTES and name[0] not in ". " and name[-1] not in ". "
    if not fits or _FORBIDDEN.search(name) or _RESERVED.fullmatch(name):
        raise ConfigError(
            "a name must be a file name on every system: at most "
            f'{_MAX_NAME_BYTES} bytes, no folders, none of < > : " | ? *, no dot or blank at its'
            " ends, no device such as nul",
            f"{name[:40]!r}, {n_bytes:,} bytes",
            "give another name, for example hospital_b",
        )


def build_name(text: str) -> str:
    """Return a name made of any text that `check_name` accepts, as near to the text as may be.

    >>> build_name("../cells: day 1"), build_name(".."), build_name("nul")
    ('cells_day_1', 'data', 'nul_')
    """
    name = re.sub(r"[^\w.-]+", "_", text).strip("._ ")
    name = (
        name.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode(errors="ignore").rstrip("._ ")
        or "data"
    )
    return f"{name.split('.')[0]}_" if _RESERVED.fullmatch(name) else name


_PREFIX, _SUFFIX = ".leukoscope-", ".tmp"
_DAY_S = 86_400


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` at once.

    A reader, or a process killed at any moment, sees the old file or the new one, never half of
    one. Raises `StorageError` when the disk is full or the folder cannot be written.
    """
    create_folder(path.parent)
    with storage_errors(path), _make_temporary(path.parent, is_folder=False) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def replacing_together(folder: Path, last: str) -> Iterator[Path]:
    """Yield an empty temporary folder inside of `folder`; on success each file that was written
    there takes the place of the one of its name, `last` at the end.

    All that needs space is done before the first file is replaced: where the disk is full, or the
    writer fails or is interrupted, `folder` is left as it was, and not there if it was not. Only a
    process that is killed within the renames, which take no time, leaves new files beside old
    ones; `last` should hold the hashes by which a reader sees that. Files of other names stay; what
    killed processes left behind goes. Raises `StorageError`.
    """
    is_new = not folder.exists()
    create_folder(folder)
    remove_leftovers(folder)
    try:
        with storage_errors(folder), _make_temporary(folder, is_folder=True) as staged:
            yield staged
            files = [path for path in sorted(staged.rglob("*")) if path.is_file()]
            for path in files:
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
                path.chmod(0o666 & ~_umask())
            places = {path: folder / path.relative_to(staged) for path in files}
            for place in places.values():
                create_folder(place.parent)
            for path in sorted(files, key=lambda one: one.name == last):
                path.replace(places[path])
    except StorageError as error:  # names the folder that the user knows
        raise StorageError(f"{folder} must be writable", error.found, error.remedy) from error
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where nothing is in it


@contextlib.contextmanager
def _make_temporary(folder: Path, *, is_folder: bool) -> Iterator[Path]:
    """Yield a new temporary file or folder that is held while it is used, and remove it."""
    while True:
        if is_folder:
            path = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, folder))
        else:
            handle, name = tempfile.mkstemp(_SUFFIX, _PREFIX, folder)
            os.close(handle)
            path = Path(name)
        # Another process may take it for a leftover in this very moment.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            held = _hold(path)
            if path.exists():
                break
    try:
        yield path
    finally:
        _remove(path)
        if held is not None:
            os.close(held)


def _hold(path: Path) -> int | None:
    """Hold a file or folder until the descriptor that is returned is closed, or the process ends,
    however it does; None where the system knows no such locks. Raises `BlockingIOError` where
    another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a network's file system
    return descriptor


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Tell whether a file or folder is a temporary one of a command that runs or was killed."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders that killed processes left in a folder. Those of
    running ones are held; where that cannot be told, those of a day ago count as left."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            held = _hold(path)
            if held is not None or time.time() - path.stat().st_mtime > _DAY_S:
                _remove(path)
            if held is not None:
                os.close(held)


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
    """Return the SHA-256 of a file in hexadecimal digits. Raises `FileError`."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
