"""The differential count of one sample, as a record: counts, shares with intervals, flags, notes.

Of which class a cell is the network says; what this does to the shares is corrected by
`smear.prevalence`, and `smear.counting` builds the record. Shares are those of the white cells:
nucleated red cells, platelets, smudge and unidentified cells stand outside of the 100 %. What this
file does not do: it computes no figure, words nothing and reads no image.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from leukoscope.data.images import Box
from leukoscope.interval import UNDEFINED, Interval, Number
from leukoscope.trust.decision import Reason, Status
from leukoscope.trust.notes import Note

CellGroup = Literal["white", "nucleated_red", "platelet", "smudge", "other"]
"""Where a class stands in a differential: in the 100 %, per 100 white cells, or apart."""

CELL_GROUPS: tuple[CellGroup, ...] = get_args(CellGroup)

_GROUPS: dict[str, CellGroup] = {
    "erythroblast": "nucleated_red",
    "proerythroblast": "nucleated_red",
    "platelet": "platelet",
    "smudge_cell": "smudge",
    "red_cell": "other",
    "artefact": "other",
    "not_identifiable": "other",
    "other_cell": "other",
}

BANDS = ("band_neutrophil",)

IMMATURE_GRANULOCYTES = (
    *("immature_granulocyte", "metamyelocyte", "myelocyte", "promyelocyte"),
    "atypical_promyelocyte",
)
"""Granulocytes younger than bands; blasts are counted by themselves."""

NEUTROPHILS = ("neutrophil", "segmented_neutrophil", "band_neutrophil")

SUMS: dict[str, tuple[str, ...]] = {
    "neutrophil": NEUTROPHILS,
    "immature_granulocyte": IMMATURE_GRANULOCYTES,
}
"""Classes that a report gives together, by the name of the sum."""


def get_group(label: str) -> CellGroup:
    """Return where a class stands; a label that is not listed is a white cell.

    >>> get_group("erythroblast"), get_group("monocyte")
    ('nucleated_red', 'white')
    """
    return _GROUPS.get(label, "white")


@dataclass(frozen=True, slots=True)
class ReferenceLimits:
    """Between which limits healthy people lie: `unit` is a share of the white cells (0 to 1) or
    10^9 cells per litre; `source` is what to cite."""

    lower: float
    upper: float
    unit: Literal["share", "10^9/L"]
    source: str = ""


Relation = Literal["", "below", "perhaps_below", "within", "perhaps_above", "above"]
"""How a figure lies to its reference limits: beyond with its whole interval; beyond, but its
interval reaches within (`perhaps_`); within; "" where there are none, or no figure."""

RELATIONS: tuple[Relation, ...] = get_args(Relation)


def compare_to_limits(figure: Interval, limits: ReferenceLimits | None) -> Relation:
    """Return how a figure lies to limits, which are in the unit of the figure.

    >>> limits = ReferenceLimits(0.2, 0.4, "share")
    >>> compare_to_limits(Interval(0.5, 0.41, 0.6), limits)
    'above'
    >>> compare_to_limits(Interval(0.5, 0.39, 0.6), limits)
    'perhaps_above'
    """
    if limits is None or math.isnan(figure.value):
        return ""
    if figure.value < limits.lower:
        return "below" if figure.high < limits.lower else "perhaps_below"
    if figure.value > limits.upper:
        return "above" if figure.low > limits.upper else "perhaps_above"
    return "within"


@dataclass(frozen=True, slots=True)
class ClassShare:
    """One class of white cells, or several added up (`SUMS`).

    `count` cells were given this label, `n_review` of them wait for a person. `raw` is their share
    of the white cells with the exact binomial interval, `corrected` the share that the mistakes of
    the network leave likely, with the uncertainty of both; `absolute` in 10^9/L. Figures are NaN
    where they cannot be had. `relation` compares the absolute count with the limits where these are
    absolute, else the corrected share, or the raw one without a correction. `n_more` further white
    cells would bring the interval to the wanted precision: 0 where it is reached, None where no
    number would do, for the classifier is not known well enough.
    """

    label: str
    count: int
    n_review: int
    raw: Interval
    corrected: Interval = UNDEFINED
    absolute: Interval = UNDEFINED
    n_more: int | None = None
    limits: ReferenceLimits | None = None
    relation: Relation = ""

    @property
    def best(self) -> Interval:
        """The corrected share, or the raw one where there is no correction."""
        return self.raw if math.isnan(self.corrected.value) else self.corrected


@dataclass(frozen=True, slots=True)
class OtherCells:
    """A class outside of the 100 %: its cells, and how many there are per 100 white cells."""

    label: str
    group: CellGroup
    count: int
    n_review: int
    per_100_white: Interval = UNDEFINED


@dataclass(frozen=True, slots=True)
class Totals:
    """Cells of a sample. `found` of them were looked at by the network: `counted` white cells,
    `unidentified` ones, and those of other groups; `in_review` of all but the unidentified wait for
    a person. Not looked at are cells cut by the `edge` of a field and `duplicates` in fields that
    overlap; of `files` images `unreadable` could not be read."""

    files: int
    unreadable: int
    found: int
    counted: int
    in_review: int
    unidentified: int
    nucleated_red: int
    platelets: int
    smudge: int
    other: int
    edge: int = 0
    duplicates: int = 0


LeftShift = Literal["not_known", "none", "perhaps", "present"]
"""Whether young granulocytes are more than a setting allows: the network knows no such class; they
are not; they are, but the interval reaches below; they are."""

LEFT_SHIFTS: tuple[LeftShift, ...] = get_args(LeftShift)


@dataclass(frozen=True, slots=True)
class CountedCell:
    """One cell of a sample: where it lies and what was said of it.

    `image` is the file, `number` counts the cells of a field from 1 as in its picture (0: the image
    is one cell); `box` is in pixels of the field. `error` says why a file could not be read: a code
    and what was found. `duplicate_of` names another cell (`image#number`) that is the same one, in
    a field that overlaps; it is counted there. `whole_frac` is the chance that a cell of its size
    lies whole in what was photographed (`smear.edges`), 1 for a single cell.
    """

    image: str
    number: int = 0
    box: Box | None = None
    score: Number = math.nan
    edge: bool = False
    duplicate_of: str = ""
    label: str = ""
    confidence: Number = math.nan
    decision: Status | Literal[""] = ""
    reasons: tuple[Reason, ...] = ()
    labels: tuple[str, ...] = ()
    error: str = ""
    whole_frac: float = 1.0

    @property
    def is_counted(self) -> bool:
        """Whether the network's label counts: read, whole, the only one, and identified."""
        is_own = not self.edge and not self.duplicate_of
        return is_own and bool(self.label) and self.decision != "unknown"


@dataclass(frozen=True, slots=True)
class ReferencePopulation:
    """Whose limits figures are compared with: name and people of the reference intervals, and what
    a reader must know of them."""

    name: str
    population: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class DifferentialProvenance:
    """What made a differential: the bundle by its name, the SHA-256 of its `bundle.json` and of the
    network's weights; the version of the package; and the settings that change figures. No time and
    no machine: the same images give the same bytes."""

    leukoscope: str
    bundle: str
    bundle_sha256: str
    weights_sha256: str
    variant: str
    precision: float
    """Half of the interval's length that is wanted, as a share."""
    red_threshold: float
    """Nucleated red cells per 100 white ones from which the white count is corrected."""
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class DifferentialRecord:
    """The differential of one sample: what `differential.json` holds of it.

    `classes` are the white cells in the order of the network, `sums` of several of them where the
    network tells them apart, `others` what stands outside. `white_count` is the total white count
    in 10^9/L as given, `corrected_white_count` without the nucleated red cells that a counter took
    for white ones (the same where there are too few to matter); NaN where none was given.
    `seal` of the file is that of `records.save_record`.
    """

    sample: str
    totals: Totals
    classes: tuple[ClassShare, ...]
    sums: tuple[ClassShare, ...]
    others: tuple[OtherCells, ...]
    nucleated_red_per_100: Interval
    white_count: Number
    corrected_white_count: Number
    immature: Interval
    """Share of immature granulocytes among the white cells; NaN where the network knows none."""
    bands: Interval
    left_shift: LeftShift
    notes: tuple[Note, ...]
    provenance: DifferentialProvenance
    reference: ReferencePopulation | None = None
    """None where figures are compared with no limits."""
    white_count_limits: ReferenceLimits | None = None
    white_count_relation: Relation = ""
    """Of the corrected white count, which is taken as exact."""
    remark: str = ""
    """What the table of samples says of it, as the user wrote it."""
    images: tuple[str, ...] = field(default=())
    """The files of the sample, in order."""

    def get_share(self, label: str) -> ClassShare | None:
        """Return a class or a sum by its name; None where the network does not know it."""
        found = {one.label: one for one in (*self.sums, *self.classes)}
        return found.get(label)
