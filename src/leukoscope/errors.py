"""Every error a user can meet, with the exit code the command line gives it.

    LeukoscopeError                    1   anything below; catch this one to catch all
    |-- ConfigError                    2   a recipe, an option or an argument is wrong
    |-- DataError                      3   images, labels, catalogs or splits are wrong
    |   |-- FileError                  3   a file cannot be read; `reason` is a RejectCode
    |   |   `-- ImageError             3   one image cannot be used
    |   |-- CatalogError               3   a catalog cannot be built or read
    |   |-- SplitError                 3   a split cannot be made or read
    |   `-- TooFewSourcesError         3   too few sources to fit something
    |-- RunError                       4   a run folder is not in the state that the step needs
    |   |-- RunLockedError             4   another process works in it
    |   |-- MissingStepError           4   an earlier step has not been done
    |   `-- WeightsError               4   weights or a checkpoint are corrupt or do not fit
    |-- StorageError                   5   the disk is full, or a folder cannot be written
    |-- NonFiniteError                 6   training produced a number that is not finite
    |-- MissingExtraError              7   a part of the package is not installed
    `-- BundleError                    8   a bundle cannot be read or run
        `-- ParityError                8   an export departs from the trained network

A message has three parts: what must hold, what was found, what to do next. The constructor
asks for them one by one so that none can be forgotten. This file raises nothing and imports
nothing of the package.
"""

from typing import Literal, get_args

RejectCode = Literal[
    "empty",
    "not_an_image",
    "truncated",
    "too_large",
    "too_small",
    "one_colour",
    "narrow_range",
    "several_pages",
    "unreadable",
    "not_regular",
    "hidden",
    "already_read",
    "bad_annotation",
    "unused_annotation",
    "companion",
    "empty_folder",
    "bad_row",
    "no_label",
    "several_labels",
    "label_conflict",
    "bad_box",
    "missing_file",
]
"""Why a file, box or table row stays out of a catalog."""

REJECT_CODES: tuple[RejectCode, ...] = get_args(RejectCode)


class LeukoscopeError(Exception):
    """Base of every error that leukoscope raises on purpose.

    `expected`, `found` and `remedy` are full sentences or phrases without a final full stop.

    >>> print(ConfigError("train.epochs must be at least 1", "it is 0", "set it to 1 or more"))
    train.epochs must be at least 1. Found: it is 0. What to do: set it to 1 or more.
    """

    exit_code = 1

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected, self.found, self.remedy = map(_shorten, (expected, found, remedy))
        super().__init__(f"{self.expected}. Found: {self.found}. What to do: {self.remedy}.")


_MAX_PART = 2000


def _shorten(text: str) -> str:
    """Cut what nobody would read: names and values of a hostile file may have any length."""
    if len(text) <= _MAX_PART:
        return text
    return f"{text[:_MAX_PART]} ... ({len(text) - _MAX_PART:,} more characters)"


class ConfigError(LeukoscopeError):
    """A recipe, an option or an argument is wrong."""

    exit_code = 2


class DataError(LeukoscopeError):
    """Images, labels, catalogs or splits are wrong."""

    exit_code = 3


class FileError(DataError):
    """A file cannot be read; `reason` says why in one word of `RejectCode`."""

    def __init__(self, reason: RejectCode, expected: str, found: str, remedy: str) -> None:
        super().__init__(expected, found, remedy)
        self.reason: RejectCode = reason


class ImageError(FileError):
    """One image cannot be used. `peak_16` is the highest level of a `narrow_range`."""

    def __init__(
        self, reason: RejectCode, expected: str, found: str, remedy: str, *, peak_16: int = 0
    ) -> None:
        super().__init__(reason, expected, found, remedy)
        self.peak_16 = peak_16


class CatalogError(DataError):
    """A catalog cannot be built or read."""


class SplitError(DataError):
    """A split cannot be made or read."""


class TooFewSourcesError(DataError):
    """There are `n_sources` where `n_needed` are needed: of the class `label`, or of all ("")."""

    def __init__(
        self,
        expected: str,
        found: str,
        remedy: str,
        *,
        n_sources: int = 0,
        n_needed: int = 0,
        label: str = "",
    ) -> None:
        super().__init__(expected, found, remedy)
        self.n_sources, self.n_needed, self.label = n_sources, n_needed, label


class RunError(LeukoscopeError):
    """A run folder is not in the state that the step needs."""

    exit_code = 4


class RunLockedError(RunError):
    """Another process works in the run folder."""


class MissingStepError(RunError):
    """An earlier step has not been done."""


class WeightsError(RunError):
    """Weights or a checkpoint are corrupt, or do not fit the network."""


class StorageError(LeukoscopeError):
    """The disk is full, or a folder cannot be written."""

    exit_code = 5


class NonFiniteError(LeukoscopeError):
    """Training produced a number that is not finite."""

    exit_code = 6


class MissingExtraError(LeukoscopeError):
    """A part of the package is not installed."""

    exit_code = 7


class BundleError(LeukoscopeError):
    """A bundle cannot be read or run."""

    exit_code = 8


class ParityError(BundleError):
    """An exported graph departs from the trained network further than it may."""
