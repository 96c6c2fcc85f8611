"""The records behind a model card, and what a fact finds in them.

What this file does not do: it reads no files (`pipelines.card`) and words no fact
(`card_data_facts`, `card_figure_facts`, `card_external_facts`).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leukoscope.config import InputConfig, Recipe
from leukoscope.data.splits import SplitAudit
from leukoscope.deploy.bundle import BundleInfo
from leukoscope.evaluation.record import EvaluationRecord
from leukoscope.evaluation.robustness import Robustness
from leukoscope.evaluation.validation import Validation
from leukoscope.explain.record import Explanation
from leukoscope.report.checklist import Finding
from leukoscope.runfolder import RunProvenance
from leukoscope.trust.record import TrustInfo


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
    evaluation: EvaluationRecord | None = None
    evaluations: Mapping[str, EvaluationRecord] | None = None
    trust: TrustInfo | None = None
    bundle: BundleInfo | None = None
    robustness: Robustness | None = None
    validation: Validation | None = None
    explanation: Explanation | None = None


_REMEDIES = {
    "network": "run leukoscope train",
    "recipe": "run leukoscope train",
    "provenance": "run leukoscope train",
    "data": "the training run has it",
    "epochs_s": "the training run has it",
    "evaluation": "run leukoscope evaluate RUN",
    "evaluations": "run leukoscope evaluate RUN --data DATA",
    "trust": "run leukoscope calibrate RUN",
    "bundle": "run leukoscope export RUN",
    "robustness": "run leukoscope robustness RUN --out RUN/robustness",
    "validation": "run leukoscope validate BUNDLE --data DATA --out RUN/validation",
    "explanation": "run leukoscope explain RUN IMAGES --out RUN/explained",
}
"""Where each record comes from."""

Fact = Callable[..., str | tuple[str, ...] | None]
"""What the records say of one thing: Markdown, or sentences; None where they leave it open. Its
parameters name the records that it needs; those with a default may be missing."""


def find_fact(fact: Fact, records: CardRecords) -> Finding:
    """Return what a fact finds in the records, and which of them it was given."""
    parameters = inspect.signature(fact).parameters.values()
    given = {one.name: getattr(records, one.name) for one in parameters}
    absent = [name for name, record in given.items() if record is None]
    needed = [one.name for one in parameters if one.default is one.empty]
    lacking = [name for name in needed if name in absent]
    text = None if lacking else fact(**given)
    if text is not None:
        return Finding(text, tuple(name for name in given if name not in absent))
    first = next(iter((*lacking, *absent)), "")
    return Finding(None, missing=f"not on record{f': {_REMEDIES[first]}' if first else ''}")
