"""The records behind a model card, read one value at a time.

Whatever a card says is read through `Reader`, which notes what was read; what is not on record
becomes a blank that a person fills in. What this file does not do: it reads no files
(`pipelines.card`) and says nothing of its own (`card_facts`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from leukoscope.interval import Interval
from leukoscope.report.checklist import Finding
from leukoscope.report.evaluation_page import LEAKAGE_TITLES, format_percent
from leukoscope.scores import LeakageStatus

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
    "metrics": "leukoscope evaluate",
    "trust": "leukoscope calibrate",
    "evaluations": "leukoscope evaluate --data",
    "robustness": "leukoscope robustness RUN --out RUN/robustness",
    "validation": "leukoscope validate --out RUN/validation",
    "explained": "leukoscope explain RUN --out RUN/explained",
}

Writer = Callable[[Reader], str | tuple[str, ...]]
"""From records to Markdown. Gives up (through a `read_*`) where the records do not suffice."""


def answer_fact(write: Writer, records: CardRecords) -> Finding:
    """Return what the records say to a fact."""
    reader = Reader(records)
    try:
        return Finding(write(reader), tuple(reader.used))
    except _AbsentError as error:
        maker = _MAKERS.get(error.path.split("/")[0])
        written = f", which {maker} writes" if maker else ""
        return Finding(None, missing=f"no record {error.path}{written}")


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
