"""Text of a table that a spreadsheet may open: shown as it is, and never executed.

What this file does not do: it reads and writes no table (`catalog`, `deploy.tables`).
"""

import csv
import re
from collections.abc import Callable, Sequence
from typing import IO

_FORMULA = re.compile("'*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")
"""Full-width signs, too: some spreadsheets take them for the others."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def neutralise(cell: str) -> str:
    """Return a cell that a spreadsheet shows and does not execute: an apostrophe goes before what
    looks like a formula (OWASP, CSV injection).

    >>> neutralise("=1+1.jpg"), neutralise("cell.jpg"), neutralise("'=x")
    ("'=1+1.jpg", 'cell.jpg', "''=x")
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def neutralise_text(cell: str) -> str:
    """Do what `neutralise` does, but leave numbers: further columns of a table hold measurements.

    >>> neutralise_text("-0.5"), neutralise_text("-x")
    ('-0.5', "'-x")
    """
    return cell if _NUMBER.fullmatch(cell) else neutralise(cell)


def restore(cell: str) -> str:
    """Return the cell that `neutralise` was given.

    >>> restore("'=1+1.jpg"), restore("'quoted'"), restore("''=x")
    ('=1+1.jpg', "'quoted'", "'=x")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def build_writer(to: IO[str]) -> Callable[[Sequence[str]], None]:
    """Return what writes rows of CSV to a stream.

    A carriage return in a file name would end the row for every reader: the writer of the standard
    library quotes only the line ends that it writes itself.
    """
    plain = csv.writer(to, lineterminator="\n")
    quoted = csv.writer(to, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(row: Sequence[str]) -> None:
        (quoted if any("\r" in cell for cell in row) else plain).writerow(row)

    return write


def mark_unicode(text: str) -> str:
    """Put a byte-order mark before text that goes beyond ASCII: without it Excel takes UTF-8 for
    the code page of the country. Plain ASCII stays as it is, for readers that know no such mark;
    so do names that are not Unicode."""
    return f"\ufeff{text}" if re.search("[^\0-\x7f\udc80-\udcff]", text) else text
