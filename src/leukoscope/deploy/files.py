"""Which image files a user means: files, folders, patterns, a list on standard input.

What this file does not do: it opens no image.
"""

import codecs
import glob
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leukoscope.data.images import IMAGE_SUFFIXES
from leukoscope.data.readers import Rejected, walk_folder
from leukoscope.errors import DataError
from leukoscope.storage import is_folder

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class ImageFiles:
    """The files that are meant, in the order given, and what was passed over in folders."""

    paths: tuple[Path, ...]
    passed_over: tuple[Rejected, ...] = ()


def list_images(
    given: Sequence[str | Path],
    standard_input: bytes | None = None,
    more_suffixes: frozenset[str] = frozenset(),
) -> ImageFiles:
    """Return the files that are meant, in the order given.

    A folder stands for the image files in it and below (endings of pictures, and `more_suffixes`),
    links followed once; what has another ending, is hidden or cannot be opened is passed over and
    listed. A pattern (`*`, `?`, `[`, `**`) stands for the files that it matches; `-` for a list on
    standard input (read from `standard_input`, if given), one path per line or, as `find -print0`
    writes, between null bytes. A file is taken whatever its name or state: that it cannot be read
    is said when it is. A name that exists is never taken for a pattern.

    Raises `DataError` if nothing is found, for a web address, and for a list in UTF-16.
    """
    suffixes = IMAGE_SUFFIXES | more_suffixes
    found: list[Path] = []
    passed: list[Rejected] = []
    for item in given:
        text = os.fspath(item)
        if text == STANDARD_INPUT:
            content = sys.stdin.buffer.read() if standard_input is None else standard_input
            found += _read_list(content)
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
            raise DataError(
                "images are files on this computer",
                f"{text} is a web address",
                "download it first, and name the file",
            )
        elif is_folder(Path(text)):
            for entry in walk_folder(Path(text)):
                path = Path(entry.path) if isinstance(entry, Rejected) else entry
                is_image = path.suffix.lower() in suffixes
                if is_image and not (isinstance(entry, Rejected) and entry.code in _NO_FILE):
                    found.append(path)
                elif isinstance(entry, Rejected):
                    passed.append(entry)
                else:
                    passed.append(Rejected(str(path), "not_an_image", found=path.suffix.lower()))
        elif not _exists(Path(text)) and glob.has_magic(text):
            found += _match(text)
        else:
            found.append(Path(text))
    if not found:
        more = f"; {len(passed):,} other files there" if passed else ""
        raise DataError(
            "there must be at least one image to predict",
            f"none in {', '.join(map(str, given)) or 'nothing'}{more}",
            "name image files, folders of them, or a pattern; endings looked for in folders: "
            + ", ".join(sorted(suffixes)),
        )
    return ImageFiles(tuple(found), tuple(passed))


_NO_FILE = ("hidden", "already_read")
"""What is no file that anybody means, whatever its name."""


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _match(pattern: str) -> list[Path]:
    """Return the files that a pattern matches; signs in the names of folders that are there are no
    pattern."""
    parts = Path(pattern).parts
    depth = 0
    while depth < len(parts) - 1 and is_folder(Path(*parts[: depth + 1])):
        depth += 1
    folder = Path(*parts[:depth])
    rest = str(Path(*parts[depth:]))
    matches = sorted(glob.glob(rest, root_dir=folder, recursive=True))  # noqa: PTH207
    return [path for path in (folder / name for name in matches) if not is_folder(path)]


def _read_list(content: bytes) -> list[Path]:
    """Return the paths in a list: bytes as the system has them, for names need not be Unicode."""
    content = content.removeprefix(codecs.BOM_UTF8)
    names = content.split(b"\0") if b"\0" in content else content.split(b"\n")
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Without its mark: a null byte beside each Latin letter, not one after each name.
    if is_wide or content.count(b"\0") > len(content) / 5:
        raise DataError(
            "a list on standard input must be in UTF-8",
            "it is in UTF-16",
            "write it in UTF-8; in Windows PowerShell by `| Out-File -Encoding utf8 list.txt`",
        )
    if b"\0" not in content:
        names = [name.rstrip(b"\r") for name in names]
    return [Path(os.fsdecode(name)) for name in names if name.strip()]
