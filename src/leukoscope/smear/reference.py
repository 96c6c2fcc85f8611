"""Reference intervals: between which limits healthy people lie, each number with its source.

The package brings those of adults (`adults.toml`); a laboratory gives its own as a TOML file of the
same form. What this file does not do: it compares nothing with them (`differential`).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.config import load_toml
from leukoscope.errors import ConfigError
from leukoscope.labels import is_known, resolve_label
from leukoscope.smear.differential import ReferenceLimits

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Limits(BaseModel):
    """One table of the file: limits of one class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: tuple[_Amount, _Amount] | None = None
    percent_source: str = ""
    absolute: tuple[_Amount, _Amount] | None = None
    absolute_source: str = ""

    @model_validator(mode="after")
    def _check(self) -> "_Limits":
        pairs = (
            ("percent", self.percent, self.percent_source),
            ("absolute", self.absolute, self.absolute_source),
        )
        for name, limits, source in pairs:
            if limits is not None and not limits[0] < limits[1]:
                raise ValueError(f"{name}: the lower limit must be below the upper one")
            if limits is not None and not source.strip():
                raise ValueError(f"{name}_source must say where the limits are from")
        if self.percent is not None and self.percent[1] > 100:
            raise ValueError("percent must be at most 100")
        if self.percent is None and self.absolute is None:
            raise ValueError("percent or absolute must be given")
        return self


class _Head(BaseModel):
    """What the file says besides the limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    population: str = Field(min_length=1)
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """The limits of one population, by label: shares of the white cells (0 to 1), and counts in
    10^9/L; the total white count stands under `white_cell`. `note` is what a reader must know of
    them, in the words of who made the file."""

    name: str
    population: str
    note: str
    shares: Mapping[str, ReferenceLimits]
    absolutes: Mapping[str, ReferenceLimits]

    def find(self, label: str, *, has_absolute: bool) -> ReferenceLimits | None:
        """Return the limits of a class: those of its absolute count where this is known and there
        are such limits, else those of its share; None without either."""
        share = self.shares.get(label)
        return self.absolutes.get(label, share) if has_absolute else share


def load_reference(path: Path | None = None) -> ReferenceSet:
    """Return the reference intervals of a TOML file; without one, those of adults.

    Raises `ConfigError` for a file that cannot be read, is not TOML, or has an unknown key, a class
    that is no cell type, limits out of order or without a source; all problems are named at once.

    >>> limits = load_reference().find("neutrophil", has_absolute=True)
    >>> limits.lower, limits.upper, limits.unit
    (1.7, 6.2, '10^9/L')
    """
    if path is None:
        text = resources.files("leukoscope.smear").joinpath("adults.toml").read_text("utf-8")
        return _parse(tomllib.loads(text), "adults.toml")
    return _parse(load_toml(path, "reference intervals"), str(path))


def _parse(content: Mapping[str, Any], place: str) -> ReferenceSet:
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    problems: list[str] = []
    head, limits_of = None, {}
    try:
        head = _Head.model_validate({k: v for k, v in content.items() if k not in tables})
    except ValidationError as error:
        problems += _list_problems(error, "")
    for name, table in tables.items():
        label = resolve_label(name)
        if not is_known(label):
            problems.append(f"[{name}] is no cell type that is known")
        elif label in limits_of:
            problems.append(f"[{name}] stands there under another name, too")
        try:
            limits_of[label] = _Limits.model_validate(table)
        except ValidationError as error:
            problems += _list_problems(error, f"[{name}] ")
    if head is None or problems:
        raise ConfigError(
            f"every key and value of the reference intervals in {place} must be known and in range",
            "; ".join(problems),
            "correct the file; docs/differential.md shows the form",
        )
    shares, absolutes = {}, {}
    for label, one in limits_of.items():
        if one.percent is not None:
            low, high = (limit / 100 for limit in one.percent)
            shares[label] = ReferenceLimits(low, high, "share", one.percent_source)
        if one.absolute is not None:
            absolutes[label] = ReferenceLimits(*one.absolute, "10^9/L", one.absolute_source)
    return ReferenceSet(head.name, head.population, head.note, shares, absolutes)


def _list_problems(error: ValidationError, where: str) -> list[str]:
    found = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        text = str(problem["msg"]).removeprefix("Value error, ")
        found.append(f"{where}{key}: {text}" if key else f"{where}{text}")
    return found
