"""Markdown that names from elsewhere cannot break: escaping, tables, lists and commands.

What this file does not do: it words nothing.
"""

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from leukoscope.labels import display_label

_SPECIAL = {c: f"&#{ord(c)};" for c in "\\`*[]|~$<>&"}

_PATH = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:;,'\"<>|]+[/\\])+(?=[^\s/\\])")


def escape_text(text: str) -> str:
    """Return text as Markdown that shows it and does nothing else, on one line.

    Characters of structure become entities, which CommonMark never takes for structure (0.31.2,
    section 2.5), in table cells neither; links do not link; control characters and marks that turn
    the direction of writing become blanks; folders of absolute paths are left out.

    >>> escape_text("a|b <i> /home/ann/cells"), escape_text("split_a")
    ('a&#124;b &#60;i&#62; cells', 'split_a')
    """
    return _escape(hide_folders(" ".join(_drop_unprintable(text).split())))


def _escape(line: str) -> str:
    shown = "".join(_SPECIAL.get(c, c) for c in line)
    # An underscore inside of a word is no emphasis; elsewhere it might be.
    shown = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", shown)
    shown = shown.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"(?i)\b(www)\.", r"\1&#46;", shown)


def escape_sentence(text: str) -> str:
    """Return a sentence of a record, escaped; code in backticks gets quotation marks."""
    return escape_text(re.sub("`([^`]*)`", r"“\1”", text))


def format_class(name: str) -> str:
    """Return a class as a reader knows it, escaped; a label is no path.

    >>> format_class("immature_granulocyte"), format_class("/a/<b>")
    ('Immature granulocyte', '/a/&#60;b&#62;')
    """
    return _escape(" ".join(_drop_unprintable(display_label(name)).split())) or "(no name)"


def hide_folders(text: str) -> str:
    """Return a text in which absolute paths have become names: folders tell of a machine.

    >>> hide_folders("found /work/ann/cells.csv, 3/4 of all; --out=C:\\\\runs\\\\a")
    'found cells.csv, 3/4 of all; --out=a'
    """
    return _PATH.sub("", text)


def format_command(parts: Iterable[str]) -> str:
    """Return a command as a block of code, absolute paths as names.

    >>> print(format_command(["leukoscope", "train", "/home/ann lee/split.csv"]))
    ```sh
    leukoscope train split.csv
    ```
    """
    words = []
    for part in parts:
        one_line = " ".join(_drop_unprintable(part).split())
        option, equals, value = one_line.partition("=")
        if not option.startswith("-"):
            option, equals, value = "", "", one_line
        words.append(shlex.quote(f"{option}{equals}{_name_path(value)}"))
    line = " ".join(words)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{line}\n{fence}"


def _name_path(value: str) -> str:
    value = value.removeprefix("file://")
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(value)
        if path.is_absolute() or value.startswith("~") or ".." in path.parts:
            return path.name or "folder"
    return hide_folders(value)


def _drop_unprintable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def render_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> str:
    """Return a Markdown table of escaped cells; columns of `words` flush left, others right.

    >>> print(render_table(["a", "b"], [["x", "1"]]))
    | a | b |
    | --- | ---: |
    | x | 1 |
    """
    rule = ["---" if i in words else "---:" for i in range(len(header))]
    cells = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in cells)


def render_list(sentences: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {' '.join(sentence.split())}" for sentence in sentences)
