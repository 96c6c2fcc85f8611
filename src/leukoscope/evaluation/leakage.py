"""How far the split lets a figure be trusted, and what duplicates in training are worth.

What this file does not do: it finds no duplicates itself (`sources`); it asks which images share a
source, bytes or a field.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.findings import Finding
from leukoscope.data.groups import find_source_kind, group_sources
from leukoscope.data.splits import Split, audit_split, choose_status
from leukoscope.evaluation.agreement import PairedTest, compute_mcnemar
from leukoscope.evaluation.baselines import Baseline
from leukoscope.evaluation.intervals import compute_intervals, compute_proportion
from leukoscope.evaluation.record import BaselineName, EvaluationRecord, LeakFigures, TooFew
from leukoscope.interval import Interval
from leukoscope.scores import LeakageStatus, ScoreTable
from leukoscope.trust.notes import Note, Value

SUSPICIOUS_GAP = 0.01
"""A baseline this close to the network, in accuracy, is a sign of duplicates."""

FEW_DISJOINT = 10
"""Fewer images without a duplicate in training than this say nothing."""


@dataclass(frozen=True)
class Leakage:
    """How far figures on some images can be trusted, and why.

    `leaked` are ids of the images with a duplicate in training: some where the status is `leaking`,
    none elsewhere. `ignores_sources`: single images of unknown source were drawn.
    """

    status: LeakageStatus
    remarks: tuple[Note, ...] = ()
    split_findings: tuple[Finding, ...] = ()
    leaked: frozenset[str] = frozenset()
    ignores_sources: bool = False


def assess_role(split: Split, role: str) -> Leakage:
    """Assess figures on one role of the split that a network was trained on."""
    # What chose the epoch is compared with what the network was fitted on.
    leaked = list_shared_sources(split, role, ("train",) if role == "val" else ("train", "val"))
    audit = audit_split(split)
    # Sources that cross other roles do not make this figure any better. Pixels were compared of
    # test images only.
    check = audit.check if role == "test" else None
    status = choose_status(bool(leaked), audit.source_kind, check)
    if status == "leaking" and check is not None:
        leaked |= {name for name, _ in check.copies}
    # Where the data's own parts decide, nobody drew single images.
    ignores_sources = split.protocol != "given" and not audit.sources_known
    if role == "train":
        return Leakage(status, (Note("training_images"),), (), leaked, ignores_sources)
    remarks = (Note("epoch_chosen_here"),) if role == "val" else ()
    return Leakage(status, remarks, audit.findings, leaked, ignores_sources)


def assess_other(
    split: Split,
    records: Sequence[ImageRecord],
    classes: Sequence[str],
    data: str,
    *,
    joint: bool = False,
) -> Leakage:
    """Assess figures on other data than those of the split that a network was trained on.

    `joint`: the sources of both were found in one search, so that equal names and different names
    both mean what they say. Only images of `classes` count.
    """
    leaked = list_shared(split, records, classes)
    if leaked:
        return Leakage("leaking", (Note("images_in_training", {"n": len(leaked)}),), leaked=leaked)
    kinds = {find_source_kind(catalog) for catalog in (split.catalog, Catalog(tuple(records)))}
    if kinds == {"declared"}:
        return Leakage("disjoint")
    # One picture is a source of its own, and a search of both sides found no copy of it.
    if joint and "unknown" not in kinds:
        return Leakage("images_disjoint", (Note("persons_not_recorded"),))
    return Leakage("unproven", (Note("duplicates_not_excluded", {"data": data}),))


def list_duplicates(split: Split, role: str, among: Sequence[str]) -> frozenset[str]:
    """Return the ids of the images of a role whose source has images in the roles `among` too, or
    whose picture was found there in the pixels."""
    leaked = list_shared_sources(split, role, among)
    if split.check is None or role != "test" or not {"train", "val"} <= set(among):
        return leaked
    return leaked | {name for name, _ in split.check.copies}


def list_shared_sources(split: Split, role: str, among: Sequence[str]) -> frozenset[str]:
    """Return the ids of the images of a role whose source has images in the roles `among` too."""
    own = list(zip(split.catalog.records, split.roles, split.sources, strict=True))
    seen = {source for _, part, source in own if part in among}
    return frozenset(r.id for r, part, source in own if part == role and source in seen)


def list_shared(
    split: Split, records: Sequence[ImageRecord], classes: Sequence[str]
) -> frozenset[str]:
    """Return the ids of the images of these classes that share bytes, source or field with an image
    of `train` or `val`. A source that has the same name in both data sets is one source."""
    groups = group_sources(Catalog((*split.catalog.records, *records)))
    n = len(split.catalog)
    seen = {
        group
        for group, part in zip(groups[:n], split.roles, strict=True)
        if part in ("train", "val")
    }
    pairs = zip(records, groups[n:], strict=True)
    return frozenset(r.id for r, group in pairs if group in seen and r.label in classes)


def suspect_duplicates(
    leakage: Leakage, network: Interval, baselines: Mapping[BaselineName, Baseline]
) -> Leakage:
    """Add a remark where a baseline does as well as the network, whatever the status, unless it is
    `leaking`, which says more; turn `unproven` into `suspect` where that speaks of duplicates.

    A baseline does as well when it clearly beats the majority class and comes within a point of the
    network. Where the split drew single images of unknown source, that is the sign of duplicates:
    without them neither colours alone nor a thumbnail's nearest neighbour usually come that far.
    Where duplicates are excluded, or nobody drew single images, it says that the images can be told
    apart without looking at cells: a stain, a scanner or a background that goes with the class.
    """
    if leakage.status == "leaking" or "majority" not in baselines:
        return leakage
    best = max(baselines.values(), key=lambda baseline: baseline.accuracy.value)
    learned = best.accuracy.low > baselines["majority"].accuracy.high
    if not learned or best.accuracy.value < network.value - SUSPICIOUS_GAP:
        return leakage
    values = {"baseline": best.name, "accuracy": best.accuracy.value, "network": network.value}
    if leakage.status == "unproven" and leakage.ignores_sources:
        remark = Note("baseline_as_good", values)
        return replace(leakage, status="suspect", remarks=(*leakage.remarks, remark))
    return replace(leakage, remarks=(*leakage.remarks, Note("shortcut_as_good", values)))


HEADLINE_BASELINES: tuple[BaselineName, ...] = ("majority", "colour_histogram")
"""Baselines that a network must be shown to beat to be worth anything: one that never looks, and
one that cannot see a shape."""


def find_headlines(
    paired: Mapping[BaselineName, PairedTest],
    accuracy: Mapping[BaselineName, Interval],
    network: Interval,
    found_of: Mapping[str, tuple[Interval, int]],
) -> tuple[Note, ...]:
    """Return what comes before every figure: baselines that the network is not shown to beat, image
    by image, and classes of which it found no cell.

    `paired` and `accuracy` are of the baselines; `found_of` gives the sensitivity for each class
    and how many images it has.
    """
    notes = []
    for name in HEADLINE_BASELINES:
        if name not in paired or paired[name].is_gain:
            continue
        gap = paired[name].difference
        values: dict[str, Value] = {
            "baseline": name,
            "accuracy": accuracy[name].value,
            "network": network.value,
            "gap": gap.value,
            "is_worse": int(paired[name].is_loss),
        }
        if not math.isnan(gap.low):
            values |= {"low": gap.low, "high": gap.high}
        notes.append(Note("baseline_not_beaten", values))
    missed = {label: n for label, (recall, n) in found_of.items() if n and recall.value == 0}
    if missed:
        n = sum(missed.values())
        notes.append(Note("classes_never_found", {"labels": tuple(missed), "n": n}))
    return tuple(notes)


def measure_leak(
    table: ScoreTable,
    leaked: Set[str],
    role: str,
    baselines: Mapping[BaselineName, Baseline],
) -> LeakFigures:
    """Count the images with a duplicate in training (`leaked`, ids), and measure network and
    baselines without them.

    `table` holds the rows of known class, in the order of the baselines' predictions.
    """
    unseen_N = np.array([name not in leaked for name in table.ids], dtype=np.bool_)
    rest = table.take(unseen_N)
    n = len(rest)
    counts = (len(table) - n, n, len(set(rest.sources)))
    if n < FEW_DISJOINT:
        reason: TooFew = "few_left" if n else "all_duplicates"
        return LeakFigures(*counts, {}, {}, {}, "training_images" if role == "train" else reason)
    hits_of = {
        name: baseline.predictions_N[unseen_N] == rest.labels_N
        for name, baseline in baselines.items()
    }
    return LeakFigures(
        *counts,
        compute_intervals(rest).overall,
        {name: compute_proportion(hits_N, rest.sources) for name, hits_N in hits_of.items()},
        compare_baselines(rest, hits_of),
    )


def compare_baselines(
    table: ScoreTable, hits_of: Mapping[BaselineName, NDArray[np.bool_]]
) -> dict[BaselineName, PairedTest]:
    """Compare the network with each baseline image by image: `hits_of` says which images of the
    table it classifies correctly."""
    network_N = table.probabilities_NK.argmax(axis=1) == table.labels_N
    return {
        name: compute_mcnemar(network_N, hits_N, table.sources) for name, hits_N in hits_of.items()
    }


# -- one recipe under two splits ------------------------------------------------------------------

LeakProtocol = Literal["random", "grouped"]
PROTOCOLS: tuple[LeakProtocol, ...] = ("random", "grouped")

Subject = Literal["test", "test_without_duplicates", "external", "external_without_duplicates"]
"""Evaluated on: the split's own test images; those of them without a duplicate in training; other
data; those of them without a duplicate."""


@dataclass(frozen=True, slots=True)
class LeakRow:
    """One measurement: the network trained under `protocol`, on images of `data`.

    `n_sources` is None where sources are not known; `n_duplicates` counts images with a duplicate
    in training. `baselines` are accuracies by name, fitted on the same training images.
    """

    protocol: LeakProtocol
    subject: Subject
    data: str
    leakage_status: LeakageStatus
    n_images: int
    n_sources: int | None
    n_duplicates: int
    accuracy: Interval
    baselines: Mapping[BaselineName, Interval]

    @property
    def leaked(self) -> bool:
        """Whether the figures count images with a duplicate in training."""
        return self.leakage_status == "leaking"


@dataclass(frozen=True, slots=True)
class LeakProvenance:
    """What a reader needs to repeat a leak report. `search` are the settings of the search for
    sources, empty where they were known; the split's seed draws both splits."""

    command: tuple[str, ...]
    split_seed: int
    seed: int
    recipe: str
    recipe_hash: str
    leukoscope: str
    python: str
    platform: str
    packages: Mapping[str, str]
    started: str
    search: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeakWarning:
    """A remark on one data set, "" for the report's own."""

    data: str
    remark: Note


@dataclass(frozen=True, slots=True)
class LeakReport:
    """One recipe under a random and under a grouped split: the content of `leak_report.json`.

    `difference` is the accuracy under `random` less that under `grouped`. `counts` are images by
    protocol and role; `pixels`: the sources were found in the pixels, not in the catalog. `rows`
    hold the test row of each protocol at least.
    """

    data: str
    n_images: int
    n_sources: int
    pixels: bool
    difference: Interval
    counts: Mapping[LeakProtocol, Mapping[str, int]]
    rows: tuple[LeakRow, ...]
    provenance: LeakProvenance
    warnings: tuple[LeakWarning, ...] = ()

    def row_of(self, protocol: LeakProtocol) -> LeakRow:
        """Return the row of a protocol's own test images."""
        return find_test_row(self.rows, protocol)


def find_test_row(rows: Sequence[LeakRow], protocol: LeakProtocol) -> LeakRow:
    """Return the row of a protocol's own test images."""
    return next(r for r in rows if r.protocol == protocol and r.subject == "test")


def list_leak_rows(
    protocol: LeakProtocol, record: EvaluationRecord, *, external: bool = False
) -> tuple[LeakRow, ...]:
    """Return the row of an evaluation, and one of its images without a duplicate where it is
    leaking and enough are left."""
    leak = record.leak
    known = record.source_known
    whole = LeakRow(
        protocol=protocol,
        subject="external" if external else "test",
        data=record.data,
        leakage_status=record.leakage_status,
        n_images=record.n_images,
        n_sources=record.n_sources if known else None,
        n_duplicates=leak.n_duplicates if leak else 0,
        accuracy=record.figures["accuracy"],
        baselines={name: found.accuracy for name, found in record.baselines.items()},
    )
    if leak is None or leak.accuracy is None:
        return (whole,)
    rest = LeakRow(
        protocol=protocol,
        subject="external_without_duplicates" if external else "test_without_duplicates",
        data=record.data,
        leakage_status=_choose_rest(record),
        n_images=leak.n_images,
        n_sources=leak.n_sources if known else None,
        n_duplicates=0,
        accuracy=leak.accuracy,
        baselines=leak.baselines,
    )
    return whole, rest


def _choose_rest(record: EvaluationRecord) -> LeakageStatus:
    """The status of the images that are left of a leaking evaluation."""
    if not record.source_known:
        return "unproven"
    return "images_disjoint" if record.persons_unknown else "disjoint"


def compute_difference(first: Interval, second: Interval) -> Interval:
    """Return the difference of two independent proportions with its interval, by combining their
    own bounds (Newcombe 1998, method 10).

    Test images of both splits come from one data set. Where they share cells the two figures move
    together, and the interval is wider than it need be.

    >>> from leukoscope.evaluation.intervals import wilson
    >>> found = compute_difference(wilson(56, 70), wilson(48, 80))
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, value - down, value + up)
