"""What one evaluation found: the one record behind `metrics.json`, report, text and model card.

What this file does not do: it computes nothing (`evaluate`) and says nothing (`report`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leukoscope.data.findings import Finding
from leukoscope.errors import DataError
from leukoscope.evaluation.agreement import PairedTest
from leukoscope.evaluation.coverage import Coverage
from leukoscope.evaluation.decisions import DecisionFigures
from leukoscope.interval import Interval, Number
from leukoscope.scores import LeakageStatus
from leukoscope.trust.calibration import CalibrationMethod
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.notes import Note

BaselineName = Literal["majority", "colour_histogram", "nearest_neighbour"]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Figures of one class by name (`metrics.PER_CLASS`), and its images and sources."""

    label: str
    n_images: int
    n_sources: int
    figures: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class BaselineFigures:
    """What one simple method reaches on the same images. `paired` compares the network, the first
    reader, with it image by image. `label` is the class that `majority` always predicts, "" for
    others."""

    accuracy: Interval
    balanced_accuracy: Number
    paired: PairedTest
    label: str = ""


TooFew = Literal["", "training_images", "all_duplicates", "few_left"]
"""Why there are no figures without duplicates; "" where there are."""


@dataclass(frozen=True, slots=True)
class LeakFigures:
    """What is left of an evaluation without the images that have a duplicate in training.

    `n_images` and `n_sources` count what is left. `figures` are those of the whole, `baselines` the
    accuracy of each baseline, `paired` compares the network with it image by image; all are empty
    where too few images are left (`reason`).
    """

    n_duplicates: int
    n_images: int
    n_sources: int
    figures: Mapping[str, Interval]
    baselines: Mapping[BaselineName, Interval]
    paired: Mapping[BaselineName, PairedTest]
    reason: TooFew = ""

    @property
    def accuracy(self) -> Interval | None:
        """Accuracy without duplicates; None where too few images are left."""
        return self.figures.get("accuracy")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another evaluation of the same network, in short; `disjoint` and `n_disjoint` are of its
    images without a duplicate in training, where it is leaking and there are enough."""

    data: str
    role: str
    leakage_status: LeakageStatus
    n_images: int
    accuracy: Interval
    n_disjoint: int = 0
    disjoint: Interval | None = None


@dataclass(frozen=True, slots=True)
class TrustFigures:
    """What calibration, prediction sets and decisions are worth on `n_images`.

    `before` and `after` calibration hold the figures of `trust_measures.measure_calibration`.
    `coverage` is of the sets as theory defines them, which may be empty; `delivered` of those that
    users get, with the given label added. `remarks` say what the
    figures are worth. `notes` are those of the fit, on `n_calib` images of `n_calib_sources`.
    """

    method: CalibrationMethod
    alpha: float
    target_accuracy: float
    n_calib: int
    n_calib_sources: int
    notes: tuple[Note, ...]
    n_images: int
    decisions: DecisionFigures
    coverage: Coverage
    delivered: DeliveredSets
    before: Mapping[str, Interval]
    after: Mapping[str, Interval]
    remarks: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """One epoch of the training history; accuracies are fractions."""

    epoch: int
    train_loss: Number
    val_loss: Number
    train_accuracy: Number
    val_accuracy: Number


@dataclass(frozen=True, slots=True)
class EvaluationProvenance:
    """What made the figures: run, network, recipe, data, software. `best_epoch` is None for an
    ensemble, which was not trained; its `seed` names those of its members. `scores_sha256` is the
    hash of the run's score table, None on other data; `trust_sha256` that of its `trust.json`, None
    where it was not calibrated. `place` is where other data lay, None for the run's own."""

    run: str
    network: str
    image_size: int
    best_epoch: int | None
    recipe: str
    recipe_hash: str
    seeds: tuple[int, ...]
    precision: str
    weights_sha256: str
    split_sha256: str
    leukoscope: str
    python: str
    platform: str
    packages: Mapping[str, str]
    command: tuple[str, ...]
    started: str
    scores_sha256: str | None = None
    trust_sha256: str | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One evaluation, as `metrics.json` holds it.

    `figures` are those of the whole (`metrics.OVERALL`, and `ece`, the debiased calibration error);
    where the run was calibrated, of the calibrated scores. `per_class` gives the order of rows
    (true) and columns (predicted) of `confusion`. `leak` is there exactly where the leakage status
    is `leaking`: then all other figures count images with a duplicate in training, and no accuracy
    may stand alone. `remarks` and `split_findings` stand behind the leakage status. `headlines` say
    that the network is of little use whatever the status; they come first wherever it is described.
    `compare` are other evaluations of the same network. `persons_unknown`: sources were found in
    the pixels, so that each is one picture, and nobody knows whose blood it shows. `trust` is None
    for a run that was not calibrated; `history` is empty for an ensemble.

    Raises `DataError` where leakage status and `leak` disagree.
    """

    data: str
    role: str
    protocol: str
    n_images: int
    n_sources: int
    source_known: bool
    persons_unknown: bool
    leakage_status: LeakageStatus
    remarks: tuple[Note, ...]
    split_findings: tuple[Finding, ...]
    figures: Mapping[str, Interval]
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    baselines: Mapping[BaselineName, BaselineFigures]
    headlines: tuple[Note, ...] = ()
    leak: LeakFigures | None = None
    trust: TrustFigures | None = None
    warnings: tuple[Note, ...] = ()
    compare: tuple[Comparison, ...] = ()
    history: tuple[EpochFigures, ...] = ()
    provenance: EvaluationProvenance | None = None

    def __post_init__(self) -> None:
        if (self.leakage_status == "leaking") != (self.leak is not None):
            raise DataError(
                "a leaking split, and no other, is reported with what leaks",
                f"leakage status {self.leakage_status}, {'no ' * (self.leak is None)}leak",
                "evaluate the run again",
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in order."""
        return tuple(one.label for one in self.per_class)

    @property
    def source_disjoint(self) -> Interval | None:
        """Accuracy on images without a duplicate in training, as far as duplicates are known; None
        where these are too few, or where nobody knows which images are duplicates."""
        if self.leak is not None:
            return self.leak.accuracy
        without = self.leakage_status in ("disjoint", "images_disjoint")
        return self.figures["accuracy"] if without else None

    def summarise(self) -> Comparison:
        """Return the evaluation in short, as others of the same network list it."""
        leak = self.leak
        return Comparison(
            self.data,
            self.role,
            self.leakage_status,
            self.n_images,
            self.figures["accuracy"],
            leak.n_images if leak and leak.accuracy else 0,
            leak.accuracy if leak else None,
        )
