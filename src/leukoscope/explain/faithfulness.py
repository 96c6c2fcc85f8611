"""Does a map show what the network used? Measured, not assumed.

Four questions, each with a baseline: does the answer go when the marked places go (deletion), does
it come when they come (insertion), does the map change when the weights are lost (randomisation),
does it lie on the cell (localisation)?

Only the positive part of a map counts. Axes: N images, S side, C colour, K classes, T steps of a
curve. What this file does not do: it makes no maps and knows no networks, only a function that
scores images; so it works on a bundle too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leukoscope.config import Resize
from leukoscope.data.images import Box
from leukoscope.errors import DataError
from leukoscope.explain.methods import Method
from leukoscope.explain.occlusion import Score, compute_background, score_in_batches
from leukoscope.explain.record import (
    CURVE_KINDS,
    Baseline,
    CurveKind,
    FaithfulnessResult,
    FaithfulnessTest,
    Outcome,
)
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.scores import compute_probabilities
from leukoscope.spread import compute_mean

STEPS = 16
"""Steps of a curve."""

ENOUGH = 20
"""Fewer images than this test nothing."""

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
    boxes: Sequence[Box], width: int, height: int, side: int, resize: Resize = "stretch"
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


# -- means, and what comes of the tests -----------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What was measured of one method, image by image; empty where it was not.

    `deletion` and `insertion` are areas; those of the baselines have the same order of images.
    `correlation` is keyed by what was randomised last, from the head down. `localisation` has
    images with a cell only, `ceiling` the most each of them allows. `sources` are those of all
    images, `boxed_sources` of those with a cell.
    """

    deletion: Sequence[float] = ()
    insertion: Sequence[float] = ()
    baselines: Mapping[Baseline, Mapping[CurveKind, Sequence[float]]] = field(default_factory=dict)
    correlation: Mapping[str, Sequence[float]] = field(default_factory=dict)
    localisation: Sequence[float] = ()
    ceiling: Sequence[float] = ()
    sources: Sequence[str] = ()
    boxed_sources: Sequence[str] = ()


def evaluate_method(method: Method, measured: Measured) -> FaithfulnessResult:
    """Return a method's figures, and what came of its tests.

    A test is passed if the 95 % bound on the bad side still holds: better than a baseline by any
    amount, rank correlation below 0.2 with every weight randomised, mass in the cell at least 2.5
    times its share. It failed if the bound on the good side does not hold either, and is unclear in
    between, which it is from too few sources too (`spread`). Fewer than 20 images (for the mass:
    with a box) test nothing. Attention is not tested
    by deletion and insertion: it knows no class.
    """

    def average(values: Sequence[float], sources: Sequence[str] = measured.sources) -> Interval:
        return compute_mean(np.asarray(values), sources) if len(values) else UNDEFINED

    against: dict[Baseline, dict[CurveKind, Interval]] = {}
    for baseline, kinds in measured.baselines.items():
        against[baseline] = {}
        for kind, values in kinds.items():
            own = measured.deletion if kind == "deletion" else measured.insertion
            against[baseline][kind] = average(np.subtract(own, values).tolist())
    correlation = {k: average(v) for k, v in measured.correlation.items()}
    localisation = average(measured.localisation, measured.boxed_sources)
    ceiling = average(measured.ceiling, measured.boxed_sources)
    n, n_with_box = len(measured.deletion), len(measured.localisation)
    tests = [
        FaithfulnessTest(kind, _test_curve(method, n, kind, kinds[kind]), baseline)
        for kind in CURVE_KINDS
        for baseline, kinds in against.items()
    ]
    tests.append(FaithfulnessTest("randomisation", _test_correlation(measured, correlation)))
    found = _test_localisation(n_with_box, localisation, ceiling)
    tests.append(FaithfulnessTest("localisation", found))
    return FaithfulnessResult(
        method, n, n_with_box, average(measured.deletion), average(measured.insertion),
        against, correlation, localisation, ceiling, tuple(tests),
    )  # fmt: skip


def _test_curve(method: Method, n: int, kind: CurveKind, less: Interval) -> Outcome:
    if n < ENOUGH:
        return "too_few_images"
    if method == "attention":
        return "not_applicable"
    worst, best = (less.high, less.low) if kind == "deletion" else (-less.low, -less.high)
    return "passed" if worst < 0 else "failed" if best >= 0 else "unclear"


def _test_correlation(measured: Measured, correlation: Mapping[str, Interval]) -> Outcome:
    if not correlation:
        return "not_measured"
    level, last = list(correlation.items())[-1]
    if len(measured.correlation[level]) < ENOUGH:
        return "too_few_images"
    if last.high < MAX_RANK_CORRELATION:
        return "passed"
    return "failed" if last.low >= MAX_RANK_CORRELATION else "unclear"


def _test_localisation(n: int, found: Interval, ceiling: Interval) -> Outcome:
    if not n:
        return "not_measured"
    if n < ENOUGH:
        return "too_few_images"
    if ceiling.value <= MIN_LOCALISATION:
        return "unattainable"
    if found.low >= MIN_LOCALISATION:
        return "passed"
    return "failed" if found.high < MIN_LOCALISATION else "unclear"
