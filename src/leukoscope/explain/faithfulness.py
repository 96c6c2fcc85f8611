"""Does a map show what the network used? Measured, not assumed.

Four questions, each with a baseline: does the answer go when the marked places go (deletion), does
it come when they come (insertion), does the map change when the weights are lost (randomisation),
does it lie on the cell (localisation)?

Axes: N images, S side, C colour, K classes, T steps of a curve. Maps are judged by their positive
part. What this file does not do: it makes no maps and knows no networks, only a function that
scores images; so it works on a bundle too.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leukoscope.config import Resize
from leukoscope.data.images import Box
from leukoscope.errors import DataError
from leukoscope.explain.methods import Method
from leukoscope.explain.occlusion import Score, compute_background, score_in_batches
from leukoscope.scores import compute_probabilities

CurveKind = Literal["deletion", "insertion"]

STEPS = 16
"""Steps of a curve."""

ENOUGH = 20
"""Fewer images than this are no ground for a result on a method."""

MIN_LOCALISATION = 2.5
"""Mass inside the cell over the cell's share of the area."""

MAX_RANK_CORRELATION = 0.2
"""Between a map and the one after all weights were drawn anew."""

BLUR_FRAC = 0.1
"""Standard deviation of the blur that insertion starts from, as a share of the side."""


# -- maps that know nothing -----------------------------------------------------------------------


def build_centre_prior(side: int) -> NDArray[np.float32]:
    """Return a Gaussian at the centre, its standard deviation a quarter of the side: `(S, S)`.

    >>> prior = build_centre_prior(5)
    >>> prior[2, 2] == prior.max(), prior.shape
    (np.True_, (5, 5))
    """
    away_S = np.arange(side) - (side - 1) / 2
    bell_S = np.exp(-(away_S**2) / (2 * (side / 4) ** 2))
    return np.outer(bell_S, bell_S).astype(np.float32)


def build_random_maps(n: int, grid: int, side: int, seed: int = 0) -> NDArray[np.float32]:
    """Return `n` maps of noise, `grid` x `grid` uniform values enlarged bilinearly: `(N, S, S)`.

    The grid should be that of the map to compare with: noise of single pixels destroys the texture
    of an image wherever it falls, and would be beaten, or not, for that reason alone.
    """
    rng = np.random.default_rng(seed)
    noise_NGG = rng.random((n, grid, grid), dtype=np.float32)
    if grid == side:
        return noise_NGG
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.BILINEAR)) for m in noise_NGG]
    )


# -- deletion and insertion -----------------------------------------------------------------------


def compute_curve(
    score: Score,
    image_SSC: NDArray[np.uint8],
    target: int,
    map_SS: NDArray[np.float32],
    kind: CurveKind,
    *,
    ties_SS: NDArray[np.float32] | None = None,
    steps: int = STEPS,
) -> NDArray[np.float64]:
    """Return the probability of a class as pixels go or come, highest of the map first: `(T+1,)`.

    Entry t has `t / steps` of the pixels changed. Deletion paints them in the colour of the empty
    field: what is left when a cell is taken off a slide, where the usual black or grey would be an
    object of its own. Insertion starts from the blurred image and puts the sharp pixels back, since
    sharp pixels on a plain ground look like small cells (both as in Petsiuk et al. 2018, but for
    the colour). Only the positive part of the map has an order; pixels of equal value, and all that
    speak against the class, come in that of `ties_SS`, highest first, or in one drawn pixel by
    pixel. Against a baseline of noise `ties_SS` should be that noise: single pixels drawn at random
    destroy more texture, which made up to 0.10 of the area on maps with few positive places.
    """
    order_P = _order_pixels(map_SS, ties_SS)
    side = len(image_SSC)
    if kind == "deletion":
        start_SSC, end_PC = image_SSC, np.broadcast_to(compute_background(image_SSC), (side**2, 3))
    else:
        blur = ImageFilter.GaussianBlur(BLUR_FRAC * side)
        start_SSC = np.asarray(Image.fromarray(image_SSC).filter(blur))
        end_PC = image_SSC.reshape(-1, 3)

    def change() -> Iterator[NDArray[np.uint8]]:
        for t in range(steps + 1):
            pixels_PC = start_SSC.reshape(-1, 3).copy()
            chosen = order_P[: round(t / steps * side**2)]
            pixels_PC[chosen] = end_PC[chosen]
            yield pixels_PC.reshape(side, side, 3)

    logits_TK = score_in_batches(score, change()).astype(np.float32)
    return np.asarray(compute_probabilities(logits_TK)[:, target], dtype=np.float64)


def _order_pixels(
    map_SS: NDArray[np.float32], ties_SS: NDArray[np.float32] | None
) -> NDArray[np.int64]:
    drawn_P = np.random.default_rng(0).random(map_SS.size)
    keys = (drawn_P,) if ties_SS is None else (drawn_P, -ties_SS.ravel())
    return np.lexsort((*keys, -np.clip(map_SS.ravel(), 0, None)))


def compute_area(curve_T: NDArray[np.float64]) -> float:
    """Return the area under a curve over 0 to 1 by trapezoids.

    >>> compute_area(np.array([1.0, 0.5, 0.0]))
    0.5
    """
    return float(np.trapezoid(curve_T, dx=1 / (len(curve_T) - 1)))


# -- localisation ---------------------------------------------------------------------------------


def compute_localisation(
    map_SS: NDArray[np.float32], inside_SS: NDArray[np.float32]
) -> tuple[float, float]:
    """Return the share of the map's positive mass inside a cell divided by the cell's share of the
    area, and the most that could be reached: all mass inside, 1 / share.

    `inside_SS` says for each pixel how much of it lies inside, 0 to 1. A map that marks nothing
    counts as 1.0, what a plain grey map gets. Raises `DataError` for a cell without area.

    >>> inside = np.zeros((4, 4), np.float32)
    >>> inside[:2, :2] = 1
    >>> compute_localisation(inside, inside)
    (4.0, 4.0)
    >>> compute_localisation(np.ones((4, 4), np.float32), inside)
    (1.0, 4.0)
    """
    share = float(inside_SS.mean(dtype=np.float64))
    if share <= 0:
        raise DataError(
            "a cell must cover part of the image", "an area of 0", "leave this image out"
        )
    mass_SS = np.clip(map_SS, 0, None).astype(np.float64)
    total = float(mass_SS.sum())
    if total <= 0:
        return 1.0, 1 / share
    return float((mass_SS * inside_SS).sum()) / total / share, 1 / share


def build_inside(
    boxes: Sequence[Box],
    width: int,
    height: int,
    side: int,
    resize: Resize = "stretch",
) -> NDArray[np.float32]:
    """Return how much of each pixel of the network's input lies in one of the boxes: `(S, S)`, 0
    to 1. Boxes are in pixels of the image, `width` x `height`, which `resize_image` made square.

    >>> build_inside([(0, 0, 50, 100)], 100, 100, 4).tolist()[0]
    [1.0, 1.0, 0.0, 0.0]
    """
    if resize == "stretch":
        scale_x, scale_y, left, top = side / width, side / height, 0, 0
    else:
        scale_x = scale_y = side / max(width, height)
        left = (side - max(1, round(width * scale_x))) // 2
        top = (side - max(1, round(height * scale_y))) // 2
    inside_SS = np.zeros((side, side), dtype=np.float32)
    place_S = np.arange(side)
    for x_min, y_min, x_max, y_max in boxes:
        covered = [
            np.clip(np.minimum(place_S + 1, high) - np.maximum(place_S, low), 0, 1)
            for low, high in (
                (left + x_min * scale_x, left + x_max * scale_x),
                (top + y_min * scale_y, top + y_max * scale_y),
            )
        ]
        inside_SS = np.maximum(inside_SS, np.outer(covered[1], covered[0]))
    return inside_SS.astype(np.float32)


# -- randomisation --------------------------------------------------------------------------------


def compute_rank_correlation(
    first_SS: NDArray[np.float32], second_SS: NDArray[np.float32]
) -> float:
    """Return Spearman's rank correlation of two maps' positive parts, -1 to 1; 0 where one of them
    is flat, since it then says nothing of the other."""
    from scipy.stats import spearmanr

    first_P, second_P = (np.clip(m, 0, None).ravel() for m in (first_SS, second_SS))
    if np.ptp(first_P) == 0 or np.ptp(second_P) == 0:
        return 0.0
    return float(spearmanr(first_P, second_P).statistic)


# -- means with limits, and the result -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MeanRange:
    """A mean over images with its 95 % limits; NaN limits for fewer than two images."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the figures for JSON, None for NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {k: None if math.isnan(x) else x for k, x in named.items()} | {"n": self.n}


def compute_mean_range(values_N: Sequence[float], *, seed: int = 0) -> MeanRange:
    """Return the mean with the percentile limits of 4,000 bootstrap draws over images.

    The unit of chance is the image: copies of one cell make the limits too narrow.

    >>> compute_mean_range([1.0, 1.0, 1.0])
    MeanRange(value=1.0, low=1.0, high=1.0, n=3)
    """
    values = np.asarray(values_N, dtype=np.float64)
    if len(values) < 2:
        return MeanRange(float(values.mean()) if len(values) else math.nan, math.nan, math.nan,
                         len(values))  # fmt: skip
    drawn = np.random.default_rng(seed).integers(0, len(values), (4000, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return MeanRange(float(values.mean()), float(low), float(high), len(values))


@dataclass(frozen=True)
class Measured:
    """What was measured of one method, image by image; empty where it was not.

    `deletion` and `insertion` are areas; those of the baselines have the same order of images.
    `correlation` is keyed by what was randomised last, from the head down. `localisation` has
    images with a cell only, `ceiling` the most each of them allows.
    """

    deletion: Sequence[float] = ()
    insertion: Sequence[float] = ()
    baselines: Mapping[str, Mapping[CurveKind, Sequence[float]]] = field(default_factory=dict)
    correlation: Mapping[str, Sequence[float]] = field(default_factory=dict)
    localisation: Sequence[float] = ()
    ceiling: Sequence[float] = ()


@dataclass(frozen=True)
class FaithfulnessResult:
    """A method's figures with limits, and in words which tests it does not pass; no warnings where
    it holds. `notes` say what was not tested.

    `against` has the paired differences to each baseline, method minus baseline: good deletion is
    below 0, good insertion above.
    """

    method: str
    deletion: MeanRange
    insertion: MeanRange
    against: Mapping[str, Mapping[CurveKind, MeanRange]]
    correlation: Mapping[str, MeanRange]
    localisation: MeanRange
    ceiling: MeanRange
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every test that was made was passed, by enough images."""
        return (
            not self.warnings and self.deletion.n >= ENOUGH and not 0 < self.localisation.n < ENOUGH
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "method": self.method,
            "deletion": self.deletion.to_dict(),
            "insertion": self.insertion.to_dict(),
            "against": {
                baseline: {kind: r.to_dict() for kind, r in kinds.items()}
                for baseline, kinds in self.against.items()
            },
            "correlation": {level: r.to_dict() for level, r in self.correlation.items()},
            "localisation": self.localisation.to_dict(),
            "ceiling": self.ceiling.to_dict(),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


_KIND_WORDS: dict[CurveKind, tuple[str, str, str]] = {
    "deletion": ("taking away what it marks", "costs the network", "taking away"),
    "insertion": ("putting in what it marks", "gives the network", "putting in"),
}
_FLOOR_WORDS = {"random": "random places", "centre": "the middle of the image"}


def judge_method(method: Method, measured: Measured) -> FaithfulnessResult:
    """Return a method's figures with limits, and which tests it does not pass.

    A test is passed if the 95 % limit on the bad side still holds: better than a baseline by any
    amount, rank correlation below 0.2 with every weight drawn anew, mass in the cell at least 2.5
    times its share. Words tell apart what was shown to fail from what was not shown to hold. Fewer
    than 20 images (for the mass: with a box) give no result, and a note says so. Attention is not
    judged by deletion and insertion: it knows no class.
    """
    against: dict[str, dict[CurveKind, MeanRange]] = {}
    for baseline, kinds in measured.baselines.items():
        against[baseline] = {}
        for kind, values in kinds.items():
            own = measured.deletion if kind == "deletion" else measured.insertion
            pairs = np.subtract(own, values)
            against[baseline][kind] = compute_mean_range(pairs.tolist())
    correlation = {k: compute_mean_range(v) for k, v in measured.correlation.items()}
    localisation = compute_mean_range(measured.localisation)
    ceiling = compute_mean_range(measured.ceiling)

    warnings, notes = [], []
    n = len(measured.deletion)
    if n < ENOUGH:
        notes.append(f"No result from {count_images(n)}: at least {ENOUGH} are needed.")
    elif method == "attention":
        notes.append("Attention has no result on deletion and insertion: it knows no class.")
    else:
        warnings += _word_curves(against)
    if not correlation:
        notes.append("Not tested against random weights.")
    else:
        warnings += _word_correlation(list(correlation.values())[-1])
    if not measured.localisation:
        notes.append("Not tested for lying on the cell: no judged image has a box.")
    elif localisation.n < ENOUGH:
        notes.append(
            f"No result on lying on the cell from {count_images(localisation.n)} with a box: at"
            f" least {ENOUGH} are needed."
        )
    elif ceiling.value <= MIN_LOCALISATION:
        notes.append(
            "Not tested for lying on the cell: the boxes are so large that no map could have more"
            f" than {ceiling.value:.1f} times the mass of their area."
        )
    else:
        warnings += _word_localisation(localisation)
    return FaithfulnessResult(
        method, compute_mean_range(measured.deletion), compute_mean_range(measured.insertion),
        against, correlation, localisation, ceiling, tuple(warnings), tuple(notes),
    )  # fmt: skip


def count_images(n: int) -> str:
    """Word a number of images.

    >>> count_images(1), count_images(2)
    ('1 image', '2 images')
    """
    return f"{n:,} image{'' if n == 1 else 's'}"


def _word_curves(against: Mapping[str, Mapping[CurveKind, MeanRange]]) -> list[str]:
    """Which baselines a method was shown not to beat, and which it was not shown to beat."""
    told = []
    for kind, (own, worth, theirs) in _KIND_WORDS.items():
        failed: list[str] = []
        unclear: list[str] = []
        for baseline, kinds in against.items():
            r = kinds[kind]
            passes = r.high < 0 if kind == "deletion" else r.low > 0
            fails = r.low >= 0 if kind == "deletion" else r.high <= 0
            if not passes:
                (failed if fails else unclear).append(_FLOOR_WORDS.get(baseline, baseline))
        if failed:
            text = f"{own} {worth} no more than {theirs} {' or '.join(failed)}."
            told.append(text[0].upper() + text[1:])
        if unclear:
            told.append(
                f"It is not shown that {own} {worth} more than {theirs} {' or '.join(unclear)}: too"
                " few images to say."
            )
    return told


def _word_correlation(last: MeanRange) -> list[str]:
    """What of a map stays when the network is wholly random."""
    if last.n < ENOUGH or last.high < MAX_RANK_CORRELATION:
        return []
    figures = f"rank correlation {last.value:.2f}, {last.low:.2f} to {last.high:.2f}"
    if last.low >= MAX_RANK_CORRELATION:
        return [
            f"It looks much the same when every weight of the network is random ({figures}): it may"
            " show the image, not the network."
        ]
    return [
        f"It is not shown to change when every weight of the network is random ({figures}; asked"
        f" below {MAX_RANK_CORRELATION:g}): too few images to say."
    ]


def _word_localisation(found: MeanRange) -> list[str]:
    if found.low >= MIN_LOCALISATION:
        return []
    text = (
        f"The cell has {found.value:.1f} times ({found.low:.1f} to {found.high:.1f}) the mass of"
        " its area"
    )
    if found.high < MIN_LOCALISATION:
        return [f"{text}, less than {MIN_LOCALISATION:g}."]
    return [f"{text}, not shown to be at least {MIN_LOCALISATION:g}: too few images to say."]
