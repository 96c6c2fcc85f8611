"""The records behind a model card, read one value at a time, and text that cannot break Markdown.

Whatever a card says is read through `Reader`, which notes what was read; what is not on record
becomes a blank that a person fills in. What this file does not do: it reads no files
(`pipelines.card`) and says nothing of its own (`card_facts`, `model_card`, `reporting_items`).
"""

import math
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NoReturn, TypeVar

from leukoscope.interval import Interval
from leukoscope.labels import display_label
from leukoscope.report.evaluation_page import LEAKAGE_TITLES, format_percent
from leukoscope.scores import LeakageStatus

BLANK = "[to be filled in:"
"""How every blank begins, so that a search finds them all."""

Record = Mapping[str, Any]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class CardRecords:
    """What a run or a bundle knows about itself, as plain dictionaries; empty where it does not.

    `recipe`, `provenance`, `model`, `metrics`, `trust`, `ensemble` and `distillation` are the JSON
    files of a run folder, `bundle` is a bundle's, `evaluations` holds `metrics.json` of other
    evaluations by name, `history` one row per epoch. `data` describes the split: `name`,
    `protocol`, `seed`, `classes`, `counts` and `sources` (role -> class -> number), `n_sources`
    (role -> number), `sources_known`, `n_left_aside`, `n_boxed`, `width_px` and `height_px`
    (smallest, largest), `columns` (further columns of the table) and `warnings`. `robustness`,
    `validation` and `explained` are what the commands of these names found.
    """

    recipe: Record = field(default_factory=dict)
    provenance: Record = field(default_factory=dict)
    model: Record = field(default_factory=dict)
    data: Record = field(default_factory=dict)
    metrics: Record = field(default_factory=dict)
    evaluations: Mapping[str, Record] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    trust: Record = field(default_factory=dict)
    bundle: Record = field(default_factory=dict)
    ensemble: Record = field(default_factory=dict)
    distillation: Record = field(default_factory=dict)
    robustness: Record = field(default_factory=dict)
    validation: Record = field(default_factory=dict)
    explained: Record = field(default_factory=dict)


class _AbsentError(Exception):
    """A record that a sentence needs is not there."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Reader:
    """Reads values out of records by their path, and keeps the paths of those it found in `used`.

    `find_*` return None for what is not there or is of another kind; `read_*` give the sentence up,
    so that it becomes a blank. Not-a-number counts as not there.
    """

    def __init__(self, records: CardRecords) -> None:
        self._records = records
        self.used: dict[str, None] = {}

    def find(self, *path: str | int) -> Any:
        """Return whatever lies at a path; None where nothing does."""
        node: Any = vars(self._records)
        for key in path:
            if isinstance(node, Mapping):
                node = node.get(key)
            elif isinstance(key, int) and isinstance(node, list | tuple):
                node = node[key] if key < len(node) else None
            else:
                return None
        if node is None or (isinstance(node, float) and not math.isfinite(node)):
            return None
        if len(path) == 1 and not node:
            return None  # the whole record is missing
        self.used["/".join(str(key) for key in path)] = None
        return node

    def find_number(self, *path: str | int) -> float | None:
        """Return a finite number."""
        found = self.find(*path)
        usable = isinstance(found, int | float) and not isinstance(found, bool)
        return found if usable else None

    def find_count(self, *path: str | int) -> int | None:
        """Return a whole number of things, 0 or more."""
        found = self.find_number(*path)
        return int(found) if found is not None and found >= 0 and found == int(found) else None

    def find_text(self, *path: str | int) -> str | None:
        """Return a text that is not empty, as it is: escape it before it is shown."""
        found = self.find(*path)
        return found if isinstance(found, str) and found.strip() else None

    def find_flag(self, *path: str | int) -> bool | None:
        """Return true or false."""
        found = self.find(*path)
        return found if isinstance(found, bool) else None

    def find_names(self, *path: str | int) -> tuple[str, ...]:
        """Return a list of texts; empty where there is none."""
        found = self.find(*path)
        if not isinstance(found, list | tuple):
            return ()
        return tuple(x for x in found if isinstance(x, str))

    def find_keys(self, *path: str | int) -> tuple[str, ...]:
        """Return the names that stand below a path; empty where there are none."""
        found = self.find(*path)
        return tuple(str(key) for key in found) if isinstance(found, Mapping) else ()

    def find_length(self, *path: str | int) -> int:
        """Return how many entries a list has; 0 where there is none."""
        found = self.find(*path)
        return len(found) if isinstance(found, list | tuple) else 0

    def find_interval(self, *path: str | int) -> Interval | None:
        """Return a figure with its interval, whose limits may be undefined."""
        value = self.find_number(*path, "value")
        if value is None:
            return None
        low, high = (self.find_number(*path, name) for name in ("low", "high"))
        return Interval(value, math.nan if low is None else low, math.nan if high is None else high)

    def read_number(self, *path: str | int) -> float:
        """Return a number, or give the sentence up."""
        return _require(self.find_number(*path), path)

    def read_count(self, *path: str | int) -> int:
        """Return a whole number, or give the sentence up."""
        return _require(self.find_count(*path), path)

    def read_text(self, *path: str | int) -> str:
        """Return a text, or give the sentence up."""
        return _require(self.find_text(*path), path)

    def read_flag(self, *path: str | int) -> bool:
        """Return true or false, or give the sentence up."""
        return _require(self.find_flag(*path), path)

    def read_names(self, *path: str | int) -> tuple[str, ...]:
        """Return a list that is not empty, or give the sentence up."""
        return _require(self.find_names(*path) or None, path)

    def read_keys(self, *path: str | int) -> tuple[str, ...]:
        """Return names that are not none, or give the sentence up."""
        return _require(self.find_keys(*path) or None, path)

    def read_interval(self, *path: str | int) -> Interval:
        """Return a figure with its interval, or give the sentence up."""
        return _require(self.find_interval(*path), path)

    def give_up(self, *path: str | int) -> NoReturn:
        """Leave the sentence to a person: the record at this path is missing, or unusable."""
        raise _AbsentError("/".join(str(key) for key in path))


def _require(value: _Found | None, path: tuple[str | int, ...]) -> _Found:
    if value is None:
        raise _AbsentError("/".join(str(key) for key in path))
    return value


def read_classes(reader: Reader) -> tuple[str, ...]:
    """Return the classes of the network, as run or bundle says."""
    return reader.find_names("model", "classes") or reader.read_names("bundle", "classes")


def read_leakage_status(reader: Reader, *path: str | int) -> LeakageStatus:
    """Return how far a figure can be trusted, or give the sentence up."""
    found = reader.read_text(*path)
    for leakage_status in LEAKAGE_TITLES:
        if found == leakage_status:
            return leakage_status
    reader.give_up(*path)


_MAKERS = {
    "metrics": ", which leukoscope evaluate writes",
    "trust": ", which leukoscope calibrate writes",
    "evaluations": ", which leukoscope evaluate --data writes",
    "robustness": ", which leukoscope robustness RUN --out RUN/robustness writes",
    "validation": ", which leukoscope validate --out RUN/validation writes",
    "explained": ", which leukoscope explain RUN --out RUN/explained writes",
}

Writer = Callable[[Reader], str]
"""From records to Markdown. Gives up (through a `read_*`) where the records do not suffice."""


@dataclass(frozen=True)
class Question:
    """One thing that a reader wants to know, and where the answer comes from.

    `write` makes it from records; None where no record can hold it. `ask` is what a person has to
    add, "" where the records say everything. `is_block`: tables and lists, which stand alone.
    """

    id: str
    title: str
    write: Writer | None = None
    ask: str = ""
    is_block: bool = False


@dataclass(frozen=True)
class Answer:
    """A question with what the records say. `text` is Markdown without blanks, "" for nothing on
    record; `ask` is what a person has to add, "" for nothing; `records` are the paths read."""

    id: str
    title: str
    text: str
    ask: str
    records: tuple[str, ...]
    is_block: bool

    @property
    def status(self) -> str:
        """`filled`, `part` (a person adds something) or `blank`."""
        return ("part" if self.text else "blank") if self.ask else "filled"

    @property
    def shown(self) -> str:
        """The text with its blank, if it has one."""
        blank = format_blank(self.ask) if self.ask else ""
        return ("\n\n" if self.is_block else " ").join(x for x in (self.text, blank) if x)

    def to_dict(self) -> dict[str, object]:
        """Return the answer for JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "status": self.status,
            "text": self.text,
            "to_fill_in": self.ask or None,
            "records": list(self.records),
        }


def answer_question(question: Question, records: CardRecords) -> Answer:
    """Return what the records say to a question; a blank where they do not suffice."""
    reader = Reader(records)
    text, ask = "", question.ask
    if question.write is not None:
        try:
            text = question.write(reader)
        except _AbsentError as error:
            maker = _MAKERS.get(error.path.split("/")[0], "")
            ask = f"{ask or question.title.lower()}; no record {error.path}{maker}"
            reader.used.clear()
    return Answer(
        question.id, question.title, text, ask, tuple(reader.used), question.is_block and bool(text)
    )


# -- text from elsewhere ---------------------------------------------------------------------------

_SPECIAL = {c: f"&#{ord(c)};" for c in "\\`*[]|~$<>&"}

_PATH = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:;,'\"<>|]+[/\\])+(?=[^\s/\\])")


def format_blank(ask: str) -> str:
    """Return a blank: `[to be filled in: the licence]`."""
    return f"{BLANK} {escape_text(ask)}]"


def escape_text(text: str) -> str:
    """Return text as Markdown that shows it and does nothing else, on one line.

    Characters of structure become entities, which CommonMark never takes for structure (0.31.2,
    section 2.5), in table cells neither; links do not link; control characters and marks that turn
    the direction of writing become blanks; folders of absolute paths are left out.

    >>> escape_text("a|b <i> /home/ann/cells"), escape_text("split_a")
    ('a&#124;b &#60;i&#62; cells', 'split_a')
    """
    shown = hide_folders(" ".join(_drop_unprintable(text).split()))
    shown = "".join(_SPECIAL.get(c, c) for c in shown)
    # An underscore inside of a word is no emphasis; elsewhere it might be.
    shown = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", shown)
    shown = shown.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"(?i)\b(www)\.", r"\1&#46;", shown)


def escape_sentence(text: str) -> str:
    """Return a sentence of a record, escaped; code in backticks gets quotation marks."""
    return escape_text(re.sub("`([^`]*)`", r"“\1”", text))


def format_class(name: str) -> str:
    """Return a class as a reader knows it, escaped."""
    return escape_text(display_label(name)) or "(no name)"


def hide_folders(text: str) -> str:
    """Return a text in which absolute paths have become names: folders tell of a machine.

    >>> hide_folders("found /work/ann/cells.csv, 3/4 of all; --out=C:\\\\runs\\\\a")
    'found cells.csv, 3/4 of all; --out=a'
    """
    return _PATH.sub("", text)


def format_command(parts: Sequence[str]) -> str:
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
    header: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)
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


def render_list(sentences: Sequence[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {' '.join(sentence.split())}" for sentence in sentences)


def join_names(names: Sequence[str]) -> str:
    """Return names with commas and a last "and".

    >>> join_names(["a", "b", "c"])
    'a, b and c'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# -- figures in words ------------------------------------------------------------------------------


def count_things(n: int, noun: str) -> str:
    """Return a number of things with their noun."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def show_count(n: int | None) -> str:
    """Return a number, a dash where there is none."""
    return "–" if n is None else f"{n:,}"


def format_percents(interval: Interval | None) -> str:
    """Return a share with its limits: `93.1 % (86.0–97.0)`."""
    if interval is None:
        return "–"
    if interval.low != interval.low or interval.high != interval.high:
        return f"{format_percent(interval.value)} (–)"
    return f"{format_percent(interval.value)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def format_points(value: float) -> str:
    """Return a difference of shares in points."""
    points = 100 * value
    return f"{points:.1f} points" if points >= 0.1 else "less than 0.1 points"
