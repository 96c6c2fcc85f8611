"""Which files a command may write over: never its input, and others only if leukoscope wrote them.

What this file does not do: it writes nothing; folders are checked by the use cases themselves. The
command line asks here, the use cases do not: a program names each file in its code and may call
one twice, while a default of the command line, `catalog.csv`, is easily a file of the user.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from leukoscope.data.catalog import COLUMNS, REJECTED_COLUMNS
from leukoscope.errors import ConfigError, FileError, RunError
from leukoscope.sources.search import LINK_COLUMNS
from leukoscope.storage import is_leftover, open_file

OutputKind = Literal[
    "catalog", "split", "rejected", "links", "predictions", "record", "page", "message"
]

_PREDICTED = ("path", "label", "confidence", "decision", "reason", "reason_codes")
_SPLIT = {"role", "protocol", "seed"}
_PEEKED = 1 << 16


def find_replaced(
    outs: Sequence[Path],
    kind: OutputKind,
    beside: Mapping[str, OutputKind],
    inputs: Iterable[str | Path] = (),
    *,
    force: bool = False,
) -> tuple[Path, ...]:
    """Return those of the files that a command will write which are there already: `outs`, and
    beside each the files named in `beside`, by an ending (`.json`) or by their whole name.

    A file may be replaced if it is empty, or of the same kind and written by leukoscope, which its
    header or seal tells; with `force` whatever it is. Raises `ConfigError` for any other, for one
    of the `inputs` always, and for an output without a name.
    """
    files = dict.fromkeys(outs, kind)
    for out in outs:
        if not out.name or out.name == "..":
            raise ConfigError("an output must be a file", str(out), "give the name of a file")
        for name, its_kind in beside.items():
            place = out.with_name(f"{out.stem}{name}" if name[0] == "." else name)
            if place in outs:
                raise ConfigError(
                    "an output must not bear the name of what is written beside it",
                    str(place),
                    "choose another --out",
                )
            files[place] = its_kind
    there = tuple(path for path in files if path.exists())
    given = [Path(one) for one in inputs if Path(one).exists()]
    for path in there:
        if any(path.samefile(one) for one in given):
            raise ConfigError(
                "a command must not write over what it reads",
                f"{path} is both",
                "choose another --out",
            )
        if not force and not _is_own(path, files[path]):
            raise ConfigError(
                f"only files that leukoscope wrote are replaced, each by one of its kind"
                f" ({files[path]})",
                f"{path} is another one",
                "choose another --out, move it away, or replace it by --force",
            )
    return there


def is_unused(path: Path) -> bool:
    """Tell whether nothing is at `path`, or a folder that holds nothing but what killed processes
    left behind, and lists of rejected files: those of a call that found no usable image."""
    if not path.is_dir():
        return not path.exists()
    return all(
        is_leftover(one) or (one.name.endswith("rejected.csv") and _is_own(one, "rejected"))
        for one in path.iterdir()
    )


def check_new_folder(path: Path) -> None:
    """Raise `RunError` unless a folder is unused."""
    if not is_unused(path):
        raise RunError(
            f"{path} must be an empty folder, so that no files of two calls mix",
            "it holds files" if path.is_dir() else "it is no folder",
            "choose another --out",
        )


def _is_own(path: Path, kind: OutputKind) -> bool:
    try:
        with open_file(path) as file:
            head = file.read(_PEEKED)
            file.seek(max(0, path.stat().st_size - _PEEKED))
            tail = file.read(_PEEKED)
    except FileError:
        return False
    if kind == "record":
        return not head or b'\n  "seal": "' in tail[-100:]
    if kind == "page":
        return not head or (head.startswith(b"<!DOCTYPE html>") and b"leukoscope" in head + tail)
    if kind == "message":
        return not head or b"99LEUKO" in head or b"urn:leukoscope:" in head
    if kind == "predictions" and path.suffix.lower() != ".csv":
        table = head.startswith(b"PAR1") and b"reason_codes" in tail
        return not head or table or head.startswith(b'{"path": ')
    line = (head.decode("utf-8-sig", "replace").splitlines() or [""])[0]
    columns = tuple(next(csv.reader([line]), ()))
    if kind in ("catalog", "split"):
        ours = columns[: len(COLUMNS)] == COLUMNS
        return not head or (ours and (set(columns) >= _SPLIT) == (kind == "split"))
    own = {"rejected": REJECTED_COLUMNS, "links": LINK_COLUMNS, "predictions": _PREDICTED}[kind]
    return not head or columns[: len(own)] == own
