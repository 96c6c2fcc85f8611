"""Which image files a user means: files, folders, patterns, a list on standard input.

What this file does not do: it opens no image.
"""

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from leukoscope.data.images import IMAGE_SUFFIXES
from leukoscope.errors import DataError

STANDARD_INPUT = "-"


def list_images(
    given: Sequence[str | Path], standard_input: Iterable[str] | None = None
) -> list[Path]:
    """Return the files that are meant, in the order given.

    A folder stands for the image files in it and below, sorted by name, hidden ones left out; a
    pattern (`*`, `?`, `[`, `**`) for what it matches; `-` for the lines of standard input, one
    path each. A file is taken whatever its name or state: that it cannot be read is said when it
    is. A name that exists is never taken for a pattern.

    Raises `DataError` if nothing is found.
    """
    found: list[Path] = []
    for item in given:
        text = os.fspath(item)
        if text == STANDARD_INPUT:
            lines = sys.stdin if standard_input is None else standard_input
            found += [Path(line.rstrip("\r\n")) for line in lines if line.strip()]
        elif Path(text).is_dir():
            found += _walk(Path(text))
        elif not Path(text).exists() and glob.has_magic(text):
            # Path.glob takes no absolute pattern.
            matches = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207
            found += [path for path in matches if path.is_file()]
        else:
            found.append(Path(text))
    if not found:
        raise DataError(
            "there must be at least one image to predict",
            f"none in {', '.join(map(str, given)) or 'nothing'}",
            "name image files, folders of them, or a pattern; endings looked for in folders: "
            + ", ".join(sorted(IMAGE_SUFFIXES)),
        )
    return found


def _walk(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return found
