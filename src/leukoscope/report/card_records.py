"""The records behind a model card, and what a fact finds in them.

What this file does not do: it reads no files (`pipelines.card`) and words no fact
(`card_data_facts`, `card_figure_facts`).
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from leukoscope.config import InputConfig, Recipe
from leukoscope.data.splits import SplitAudit
from leukoscope.deploy.bundle import BundleInfo
from leukoscope.evaluation.robustness import Robustness
from leukoscope.evaluation.validation import Validation
from leukoscope.explain.record import Explanation
from leukoscope.interval import Interval
from leukoscope.report.checklist import Finding
from leukoscope.report.leakage_words import LEAKAGE_TITLES
from leukoscope.scores import LeakageStatus
from leukoscope.text import format_percent
from leukoscope.trust.record import TrustInfo

Record = Mapping[str, Any]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class RunProvenance:
    """What made the weights, as `provenance.json` of a run says."""

    leukoscope: str
    python: str
    cores: int | None
    packages: Mapping[str, str]
    command: tuple[str, ...]
    seed: int | str
    """Several for an ensemble."""
    recipe_hash: str
    split_sha256: str


@dataclass(frozen=True)
class Network:
    """The network of a run or a bundle. `stages` are kinds of block and their number, none where
    the record does not say. `best_epoch` is None for an ensemble of `n_members`; `views` is its
    test-time augmentation; `teacher` the network that it was distilled from, "" for none."""

    name: str
    classes: tuple[str, ...]
    input: InputConfig
    weights_sha256: str
    stages: tuple[tuple[str, int], ...] = ()
    best_epoch: int | None = None
    n_members: int = 1
    views: str = "none"
    teacher: str = ""


@dataclass(frozen=True)
class DataSummary:
    """A split: its audit, sources by role and class, how many images are boxes in fields, smallest
    and largest side of the images, and further columns of the table of images."""

    name: str
    classes: tuple[str, ...]
    audit: SplitAudit
    class_sources: Mapping[str, Mapping[str, int]]
    n_boxed: int
    width_px: tuple[int, int]
    height_px: tuple[int, int]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class CardRecords:
    """What a run or a bundle knows about itself; None where it does not.

    `evaluations` are those on other data and roles, by name; `epochs_s` the seconds that each epoch
    of training took. `robustness`, `validation` and `explanation` are what the commands found.
    """

    network: Network | None = None
    recipe: Recipe | None = None
    provenance: RunProvenance | None = None
    data: DataSummary | None = None
    epochs_s: Sequence[float] | None = None
    trust: TrustInfo | None = None
    bundle: BundleInfo | None = None
    robustness: Robustness | None = None
    validation: Validation | None = None
    explanation: Explanation | None = None
    metrics: Record = field(default_factory=dict)
    evaluations: Mapping[str, Record] = field(default_factory=dict)


_WRITERS = {
    "network": "leukoscope train",
    "recipe": "leukoscope train",
    "provenance": "leukoscope train",
    "data": "leukoscope train",
    "epochs_s": "leukoscope train",
    "trust": "leukoscope calibrate RUN",
    "bundle": "leukoscope export RUN",
    "robustness": "leukoscope robustness RUN --out RUN/robustness",
    "validation": "leukoscope validate BUNDLE DATA --out RUN/validation",
    "explanation": "leukoscope explain RUN IMAGES --out RUN/explained",
}
"""The command that leaves each record."""

_MAKERS = {
    "metrics": "leukoscope evaluate RUN",
    "evaluations": "leukoscope evaluate RUN --data",
}

Fact = Callable[..., str | tuple[str, ...] | None]
"""What the records say of one thing: Markdown, or sentences; None where they leave it open. Its
parameters name the records that it needs; those with a default may be missing."""


def find_fact(fact: Fact, records: CardRecords) -> Finding:
    """Return what a fact finds in the records, and which of them it was given."""
    parameters = inspect.signature(fact).parameters.values()
    reader = Reader(records)
    given = {
        one.name: reader if one.name == "reader" else getattr(records, one.name)
        for one in parameters
    }
    absent = [name for name, record in given.items() if record is None]
    needed = [one.name for one in parameters if one.default is one.empty]
    try:
        text = None if set(needed) & set(absent) else fact(**given)
    except _AbsentError as error:
        maker = _MAKERS.get(error.path.split("/")[0])
        remedy = f": run {maker}" if maker else ""
        return Finding(None, missing=f"not on record{remedy}")
    if text is None:
        name = next((name for name in absent if name in needed), next(iter(absent), ""))
        lack = f"not on record: run {_WRITERS[name]}" if name else "the records leave it open"
        return Finding(None, missing=lack)
    used = [name for name in given if name not in absent and name != "reader"]
    return Finding(text, (*used, *reader.used))


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


def read_leakage_status(reader: Reader, *path: str | int) -> LeakageStatus:
    """Return how far a figure can be trusted, or give the sentence up."""
    found = reader.read_text(*path)
    for leakage_status in LEAKAGE_TITLES:
        if found == leakage_status:
            return leakage_status
    reader.give_up(*path)


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
