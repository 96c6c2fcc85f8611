"""From the cells of a sample, each with its label and decision, to a differential.

Cells count by the label that the network gives, those that wait for a person too: leaving them out
would count the easy classes too often. Cells that are unlike training are unidentified. Axes: K
classes of the network. What this file does not do: it reads no image and predicts nothing
(`pipelines.differential`), and words nothing (`report.differential_page`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.interval import UNDEFINED, Interval
from leukoscope.labels import is_critical
from leukoscope.smear.differential import (
    BANDS,
    IMMATURE_GRANULOCYTES,
    SUMS,
    CellGroup,
    ClassShare,
    CountedCell,
    DifferentialProvenance,
    DifferentialRecord,
    LeftShift,
    OtherCells,
    ReferenceLimits,
    ReferencePopulation,
    Totals,
    compare_to_limits,
    get_group,
)
from leukoscope.smear.prevalence import (
    NO_ESTIMATE,
    Estimate,
    ShareDraws,
    compute_exact_interval,
    estimate_shares,
)
from leukoscope.smear.reference import ReferenceSet
from leukoscope.trust.folder import compare_acceptance
from leukoscope.trust.notes import Note, Values
from leukoscope.trust.record import TrustInfo

FEW_CALIBRATION_CELLS = 10
"""Of a class with fewer independent calibration cells it is hardly known how it is called."""

FEW_WHITE_CELLS = 100
"""A differential at the bench is of 100 cells or more."""

MANY_UNIDENTIFIED = 0.1
"""Where more of the cells are unidentified, shares may be of a selection."""


@dataclass(frozen=True, slots=True)
class CountSettings:
    """What a laboratory may set: `precision` is half of the interval's length that is wanted (a
    share); `red_threshold` the nucleated red cells per 100 white ones from which the white count is
    corrected; a left shift is more bands than `bands_limit` or more immature granulocytes than
    `immature_limit` (shares)."""

    precision: float = 0.05
    red_threshold: float = 5.0
    bands_limit: float = 0.1
    immature_limit: float = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """What is counted: the name, the files, the cells of all of them, duplicates and cut ones too;
    the total white count in 10^9/L (NaN: not given), and what the user wrote of it."""

    name: str
    images: tuple[str, ...]
    cells: tuple[CountedCell, ...]
    white_count: float = math.nan
    remark: str = ""


def count_sample(
    sample: Sample,
    classes: tuple[str, ...],
    trust: TrustInfo | None,
    provenance: DifferentialProvenance,
    settings: CountSettings | None = None,
    reference: ReferenceSet | None = None,
) -> DifferentialRecord:
    """Count a sample. `classes` are the labels of the network; `trust` its trust record, None for
    a bundle that was not calibrated; `reference` the limits of healthy people, of which the
    absolute ones are used where the white count is given."""
    counter = _Counter(sample, classes, trust, settings or CountSettings(), reference)
    return counter.build(provenance)


class _Counter:
    """One sample, while it is counted."""

    def __init__(
        self,
        sample: Sample,
        classes: tuple[str, ...],
        trust: TrustInfo | None,
        settings: CountSettings,
        reference: ReferenceSet | None,
    ) -> None:
        self.sample, self.classes, self.trust = sample, classes, trust
        self.settings, self.reference = settings, reference
        self.cells = [c for c in sample.cells if c.label and not c.edge and not c.duplicate_of]
        identified = [one for one in self.cells if one.is_counted]
        self.n = Counter(one.label for one in identified)
        self.n_review = Counter(one.label for one in identified if one.decision == "review")
        self.groups: tuple[CellGroup, ...] = tuple(get_group(label) for label in classes)
        self.white_K = self._mask(*(c for c in classes if get_group(c) == "white"))
        self.n_white = sum(self.n[label] for label in self._list("white"))
        self.draws: ShareDraws | None = None
        counts = trust.calibration_counts if trust is not None else None
        if counts is not None and identified:
            called_K = np.array([self.n[label] for label in classes], dtype=np.int64)
            whole_K = _measure_whole(identified, classes)
            self.draws = estimate_shares(called_K, counts, whole_K=whole_K)
        self.red_per_100 = self._count_per_100(self._list("nucleated_red"))
        self.white_count = self._correct_white_count()

    def _mask(self, *labels: str) -> NDArray[np.bool_]:
        return np.array([one in labels for one in self.classes], dtype=np.bool_)

    def _list(self, group: CellGroup) -> tuple[str, ...]:
        return tuple(one for one in self.classes if get_group(one) == group)

    def _sum(self, *groups: CellGroup) -> int:
        return sum(self.n[label] for group in groups for label in self._list(group))

    def _estimate(self, labels: Sequence[str]) -> Estimate:
        """The corrected share of some classes in the white cells."""
        if self.draws is None or not self.n_white:
            return NO_ESTIMATE
        return self.draws.compare(self._mask(*labels), self.white_K)

    def _count_per_100(self, labels: Sequence[str]) -> Interval:
        """Cells of some other classes per 100 white ones."""
        if not labels or not self.n_white:
            return UNDEFINED
        if self.draws is not None:
            found = self.draws.compare(self._mask(*labels), self.white_K).interval
            return Interval(100 * found.value, 100 * found.low, 100 * found.high)
        n = sum(self.n[label] for label in labels)
        share = compute_exact_interval(n, n + self.n_white)
        ends = (100 * x / (1 - x) for x in (share.low, share.high))
        return Interval(100 * n / self.n_white, *ends)

    def _correct_white_count(self) -> float:
        """Counters take nucleated red cells for white ones."""
        red, given = self.red_per_100.value, self.sample.white_count
        return given * 100 / (100 + red) if red >= self.settings.red_threshold else given

    def _find_limits(self, label: str) -> ReferenceLimits | None:
        if self.reference is None:
            return None
        return self.reference.find(label, has_absolute=not math.isnan(self.white_count))

    def _build_share(self, label: str, labels: Sequence[str]) -> ClassShare:
        """The share of one class, or of several under one name."""
        n = sum(self.n[one] for one in labels)
        raw = compute_exact_interval(n, self.n_white)
        estimate = self._estimate(labels)
        corrected = estimate.interval
        wanted = estimate if not math.isnan(corrected.value) else Estimate(raw, 1.0)
        best = wanted.interval
        absolute = Interval(*(self.white_count * x for x in (best.value, best.low, best.high)))
        limits = self._find_limits(label)
        is_absolute = limits is not None and limits.unit == "10^9/L"
        return ClassShare(
            label=label,
            count=n,
            n_review=sum(self.n_review[one] for one in labels),
            raw=raw,
            corrected=corrected,
            absolute=absolute,
            n_more=wanted.count_more(self.n_white, self.settings.precision),
            limits=limits,
            relation=compare_to_limits(absolute if is_absolute else best, limits),
        )

    def build(self, provenance: DifferentialProvenance) -> DifferentialRecord:
        """Return the differential."""
        classes = tuple(self._build_share(label, [label]) for label in self._list("white"))
        immature = [label for label in IMMATURE_GRANULOCYTES if label in self.classes]
        bands = [label for label in BANDS if label in self.classes]
        young = [
            self._build_share(name, labels).best if labels else UNDEFINED
            for name, labels in (("immature", immature), ("bands", bands))
        ]
        total = self._find_limits("white_cell")
        total = None if math.isnan(self.white_count) else total
        return DifferentialRecord(
            sample=self.sample.name,
            totals=self._count_totals(),
            classes=classes,
            sums=tuple(
                self._build_share(name, known)
                for name, parts in SUMS.items()
                if len(known := [label for label in parts if label in self.classes]) > 1
            ),
            others=tuple(
                OtherCells(label, group, self.n[label], self.n_review[label],
                           self._count_per_100([label]))
                for label, group in zip(self.classes, self.groups, strict=True)
                if group != "white"
            ),
            nucleated_red_per_100=self.red_per_100,
            white_count=self.sample.white_count,
            corrected_white_count=self.white_count,
            immature=young[0],
            bands=young[1],
            left_shift=self._find_left_shift(*young),
            notes=tuple(self._list_notes(classes)),
            provenance=provenance,
            reference=None
            if self.reference is None
            else ReferencePopulation(
                self.reference.name, self.reference.population, self.reference.note
            ),
            white_count_limits=total,
            white_count_relation=compare_to_limits(Interval(*[self.white_count] * 3), total),
            remark=self.sample.remark,
            images=self.sample.images,
        )  # fmt: skip

    def _count_totals(self) -> Totals:
        unidentified = sum(one.decision == "unknown" for one in self.cells)
        return Totals(
            files=len(self.sample.images),
            unreadable=len({one.image for one in self.sample.cells if one.error}),
            found=len(self.cells),
            counted=self.n_white,
            in_review=sum(self.n_review.values()),
            unidentified=unidentified,
            nucleated_red=self._sum("nucleated_red"),
            platelets=self._sum("platelet"),
            smudge=self._sum("smudge"),
            other=self._sum("other"),
            edge=sum(one.edge for one in self.sample.cells),
            duplicates=sum(bool(one.duplicate_of) for one in self.sample.cells),
        )

    def _find_left_shift(self, immature: Interval, bands: Interval) -> LeftShift:
        pairs = ((immature, self.settings.immature_limit), (bands, self.settings.bands_limit))
        known = [(one, limit) for one, limit in pairs if not math.isnan(one.value)]
        if not known:
            return "not_known"
        if any(one.low > limit for one, limit in known):
            return "present"
        return "perhaps" if any(one.value > limit for one, limit in known) else "none"

    def _list_notes(self, classes: Sequence[ClassShare]) -> list[Note]:
        """What a reader has to know, the most important first."""
        notes = []
        critical = tuple(label for label in self.classes if self.n[label] and is_critical(label))
        if critical:
            n = sum(self.n[label] for label in critical)
            notes.append(Note("critical_cells", {"labels": critical, "n": n}))
        if not self.n_white:
            notes.append(Note("nothing_counted", {"n_cells": len(self.cells)}))
        elif self.n_white < FEW_WHITE_CELLS:
            few_white = {"n": self.n_white, "n_needed": FEW_WHITE_CELLS}
            notes.append(Note("few_white_cells", few_white))
        notes += self._note_appearance()
        notes += self._note_white_count()
        if self.trust is None or self.trust.calibration_counts is None:
            notes.append(Note("no_correction", {"is_calibrated": int(self.trust is not None)}))
        else:
            pairs = zip(self.classes, self.trust.calibration_counts.effective, strict=True)
            few = tuple(label for label, n in pairs if n < FEW_CALIBRATION_CELLS)
            if few:
                needed = FEW_CALIBRATION_CELLS
                notes.append(Note("few_calibration_cells", {"labels": few, "n_needed": needed}))
        beyond = tuple(one.label for one in classes if one.n_more is None)
        if beyond and self.n_white >= FEW_WHITE_CELLS:
            reach: Values = {"labels": beyond, "precision": self.settings.precision}
            notes.append(Note("precision_out_of_reach", reach))
        return notes

    def _note_appearance(self) -> list[Note]:
        """Whether the cells look as those that the network learned from, as far as decisions tell:
        the correction holds for no others."""
        found = []
        reference = self.trust.reference if self.trust is not None else None
        if reference is not None and self.cells:
            labels = Counter(one.label for one in self.cells)
            n_accepted = sum(one.decision == "accepted" for one in self.cells)
            acceptance = compare_acceptance(
                reference, [labels[name] for name in self.classes], n_accepted
            )
            if acceptance is not None and acceptance.is_unusual:
                values = {"share": acceptance.share, "expected": acceptance.expected}
                found.append(Note("appearance_differs", values))
        unknown = sum(one.decision == "unknown" for one in self.cells)
        if unknown > MANY_UNIDENTIFIED * len(self.cells):
            found.append(Note("many_unidentified", {"n": unknown, "n_cells": len(self.cells)}))
        return found

    def _note_white_count(self) -> list[Note]:
        given = self.sample.white_count
        if math.isnan(given):
            return []
        if not self._list("nucleated_red"):
            return [Note("nucleated_red_not_known")]
        if self.white_count == given:
            return []
        values = {"given": given, "corrected": self.white_count, "per_100": self.red_per_100.value}
        return [Note("white_count_corrected", values)]


def _measure_whole(cells: Sequence[CountedCell], classes: Sequence[str]) -> NDArray[np.float64]:
    """How likely a cell of each class is counted, by the sizes of those that were: a counted cell
    stands for 1 / chance cells, so that the harmonic mean is that of all. A class without cells has
    the mean of all."""
    n_K, stood_K = np.zeros(len(classes)), np.zeros(len(classes))
    places = {label: k for k, label in enumerate(classes)}
    for one in cells:
        n_K[places[one.label]] += 1
        stood_K[places[one.label]] += 1 / one.whole_frac
    mean = n_K.sum() / stood_K.sum()
    return np.asarray(np.where(n_K > 0, n_K / np.maximum(stood_K, 1e-9), mean))
