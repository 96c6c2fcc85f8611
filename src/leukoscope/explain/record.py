"""What an explanation found: the content of `faithfulness.json`.

What this file does not do: it measures nothing (`faithfulness`, `study`) and words nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from leukoscope.errors import RejectCode
from leukoscope.explain.methods import Method
from leukoscope.interval import Interval, Number
from leukoscope.runfolder import ModelProvenance

CurveKind = Literal["deletion", "insertion"]
CURVE_KINDS: tuple[CurveKind, ...] = ("deletion", "insertion")

Baseline = Literal["random", "centre"]
"""Maps that know nothing of the image: noise as coarse as the map itself, and a bell at the
centre."""

MAX_MISSED = 0.02
"""Integrated gradients may miss so much of the difference of two logits, or of half a logit."""

Outcome = Literal[
    "passed",
    "failed",
    "unclear",
    "too_few_images",
    "not_measured",
    "not_applicable",
    "unattainable",
]
"""`failed` was shown to fail, `unclear` was not shown to pass. `not_applicable`: attention knows no
class, so its curves test nothing. `unattainable`: the boxes are so large that no map could pass."""


@dataclass(frozen=True, slots=True)
class FaithfulnessTest:
    """One test of one method and what came of it. `baseline` is what the curves were compared with,
    None for the other tests."""

    test: Literal["deletion", "insertion", "randomisation", "localisation"]
    outcome: Outcome
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True)
class FaithfulnessResult:
    """A method's figures, means over images with 95 % bounds over sources, and its tests.

    `n_images` were evaluated, `n_with_box` of them by place. `against` has the paired differences
    to each baseline, method minus baseline: good deletion is below 0, good insertion above.
    `correlation` is keyed by what was randomised last, from the head down. `localisation` is the
    mass in the box over the box's share of the area, `ceiling` the most it could be.
    """

    method: Method
    n_images: int
    n_with_box: int
    deletion: Interval
    insertion: Interval
    against: Mapping[Baseline, Mapping[CurveKind, Interval]]
    correlation: Mapping[str, Interval]
    localisation: Interval
    ceiling: Interval
    tests: tuple[FaithfulnessTest, ...]

    @property
    def failures(self) -> tuple[FaithfulnessTest, ...]:
        """The tests that were not passed: shown to fail, or not shown to pass."""
        return tuple(one for one in self.tests if one.outcome in ("failed", "unclear"))

    @property
    def holds(self) -> bool:
        """Whether every test that was made was passed, by enough images."""
        few = any(one.outcome == "too_few_images" for one in self.tests)
        return not self.failures and not few


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image: its prediction, and its scores where it was evaluated.

    `decision` is "" without calibration. `picture` is the file of original and overlays, relative
    to the folder. `areas` are those under the curves of each method, `random_areas` those of
    noise as coarse as its map, `centre_areas` those of the bell. `localisation` and `ceiling` need
    a box. `missed`: what integrated gradients miss
    (`attribution.compute_integrated_gradients`).
    """

    path: str
    label: str
    confidence: Number
    decision: str
    target: str
    picture: str
    areas: Mapping[Method, Mapping[CurveKind, float]] = field(default_factory=dict)
    random_areas: Mapping[Method, Mapping[CurveKind, float]] = field(default_factory=dict)
    centre_areas: Mapping[CurveKind, float] = field(default_factory=dict)
    localisation: Mapping[Method, float] = field(default_factory=dict)
    ceiling: float | None = None
    missed: float | None = None


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """An image that was left out, and why."""

    path: str
    reason: RejectCode
    found: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that `leukoscope explain` found.

    `n_members` networks predict, of which the first is explained. `n_evaluated` images of
    `n_sources` were evaluated for faithfulness, `n_without_box` of them without a box although
    boxes were given; `n_same_name` images bear the name of an annotated one and show something
    else. Images that are not in the split of the run are a source each.
    """

    model: str
    is_bundle: bool
    n_members: int
    methods: tuple[Method, ...]
    stage: str
    n_evaluated: int
    n_sources: int
    n_without_box: int
    n_same_name: int
    results: tuple[FaithfulnessResult, ...]
    images: tuple[ExplainedImage, ...]
    unreadable: tuple[UnreadableImage, ...]
    provenance: ModelProvenance
