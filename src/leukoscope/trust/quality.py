"""Image quality: what the pixels say of focus, light, stain and size, against training images.

Axes: N images, S side in pixels, C red, green, blue; H, W rows and columns of one image; Q quality
features. Optical density (OD) is the natural logarithm of ground over pixel, per channel: dyes add
up in it (Beer-Lambert), and a darker lamp cancels out. Sums are sums of whole numbers, so the same
pixels give the same features bit for bit, whatever the batch, the processor and its threads.

What this file does not do: it knows no network and no class, and decides nothing (`decision`). A
measure that is usual in training is not a good image; it is an image like those.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.trust.conformal import step_off
from leukoscope.trust.novelty import fit_distance_threshold

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Feature:
    """How a feature is scaled.

    `offset` is added before the logarithm is taken (None: taken as it is); `least` is the smallest
    spread that training images are credited with, on that scale: a feature that never
    varied in training must not reject the first image that differs by a rounding. `subject` is
    another feature that means the same thing by lying on the same side ("" for none). What is
    named `_frac` is a share of pixels or light, or a length as a share of the side of the image.
    """

    name: str
    least: float
    offset: float | None = None
    subject: str = ""


_FEATURES = (
    _Feature("sharpness", 0.02, 0.01),
    _Feature("noise", 0.05, 0.001),
    _Feature("brightness", 0.02, 1.0),
    _Feature("black_frac", 0.01),
    _Feature("saturated_frac", 0.02),
    _Feature("ground_red", 0.01, 0.01),
    _Feature("ground_blue", 0.01, 0.01),
    _Feature("contrast", 0.05, 0.01),
    _Feature("stain_depth", 0.05, 0.01),
    _Feature("nucleus_red_frac", 0.01),
    _Feature("nucleus_blue_frac", 0.01),
    _Feature("cell_red_frac", 0.01),
    _Feature("cell_blue_frac", 0.01),
    _Feature("colour_spread", 0.05, 0.01),
    _Feature("cell_frac", 0.02),
    _Feature("nucleus_size_frac", 0.01),
    _Feature("cell_chord_frac", 0.05, 0.005, subject="nucleus_size_frac"),
    _Feature("nucleus_chord_frac", 0.05, 0.005),
    _Feature("off_centre_frac", 0.01),
)

QUALITY_NAMES = tuple(feature.name for feature in _FEATURES)
"""The features that `measure_quality` measures, in its order."""

SUBJECTS = {feature.name: feature.subject or feature.name for feature in _FEATURES}
"""The feature that stands for each where they are counted: of some, two mean the same thing."""

_GROUND_FRAC = 0.9  # the ground: this quantile of each channel
_CELL_OD = 0.12
_PEAK_FRAC = 0.995
_LEAST_PEAK_OD = 0.2  # below it there is no nucleus to speak of
_BLACK = 4
_PER_OD = 1000  # densities are whole thousandths
_BLOCK = 8192
# What rounding to whole levels leaves in the squared Laplacian (20 times a pixel's variance) of
# luminance in quarters: 1/12 per channel, weighted 0.30, 0.59 and 0.11. Without taking it away, a
# strong blur would end in an image as sharp as noise.
_ROUNDING = 20 * 16 / 12 * (0.30**2 + 0.59**2 + 0.11**2)


def measure_quality(images_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the quality of images as `images.resize_image` gives them: float32 `(N, Q)`.

    `images_NSSC` is uint8 `(N, S, S, 3)` RGB. The columns are `QUALITY_NAMES`, all finite:

    - `sharpness`: mean squared Laplacian over mean squared gradient of the luminance. By Parseval
      that is the mean squared frequency of the edges, so any blur whose response falls with
      frequency lowers it, and contrast cancels out. Rounding to 8 bits is taken away. 0 for an
      image without edges; 5 for noise.
    - `noise`: Immerkaer's estimate of the noise deviation, as a share of the brightness; texture of
      the cell counts as noise.
    - `brightness`: luminance of the ground, 0 to 255; the ground is the 90 % quantile of a channel.
    - `black_frac`, `saturated_frac`: share of pixels with luminance of 4 or less, with any channel
      at 255.
    - `ground_red`, `ground_blue`: red and blue of the ground over its green, 1 added to each, as in
      OD.
    - `contrast`: standard deviation of OD (mean of the channels).
    - `stain_depth`: the 99.5 % quantile of OD. Pixels above half of it are called nucleus here:
      chromatin is what stains deepest, but in a platelet it is its granules.
    - `nucleus_red_frac`, `nucleus_blue_frac`, `cell_red_frac`, `cell_blue_frac`: share of the red
      and the blue channel in the summed OD of the nucleus, and of all pixels with an OD above 0.12.
      What keeps back more red light looks bluer.
    - `colour_spread`: deviation of the OD differences red-green and blue-green.
    - `cell_frac`: share of pixels with an OD above 0.12.
    - `nucleus_size_frac`: diameter of a disc of the nucleus's area, in image sides.
    - `cell_chord_frac`, `nucleus_chord_frac`: mean length of runs along rows and columns, in image
      sides (the mean chord of stereology: no counting of cells is needed).
    - `off_centre_frac`: distance of the nucleus's centre of mass from the middle, in image sides.

    What is undefined in an empty image is 0, a share of OD 1/3. Raises `DataError` for other
    arrays. Source: J. Immerkaer, "Fast noise variance estimation", 1996; the others as said above.

    >>> measure_quality(np.full((1, 32, 32, 3), 200, np.uint8))[0, :3].tolist()
    [0.0, 0.0, 200.0]
    """
    if images_NSSC.dtype != np.uint8 or images_NSSC.ndim != 4 or images_NSSC.shape[3:] != (3,):
        raise DataError(
            "images must be uint8 of shape (N, S, S, 3)",
            f"{images_NSSC.dtype} of shape {images_NSSC.shape}",
            "read them with `leukoscope.data.images.load_pixels`",
        )
    if len(images_NSSC) and (
        images_NSSC.shape[1] != images_NSSC.shape[2] or images_NSSC.shape[1] < 8
    ):
        raise DataError(
            "images must be square and at least 8 pixels wide",
            f"{images_NSSC.shape[2]} x {images_NSSC.shape[1]} pixels",
            "resize them with `leukoscope.data.images.resize_image`",
        )
    quality_NQ = np.zeros((len(images_NSSC), len(_FEATURES)), np.float32)
    # One by one: an image stays in the processor's cache, and a batch cannot change a sum.
    for row, pixels_HWC in enumerate(images_NSSC):
        quality_NQ[row] = _measure_image(pixels_HWC)
    return quality_NQ


def _measure_image(pixels_HWC: NDArray[np.uint8]) -> list[float]:
    planes_CHW = np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))
    counts = [_count(plane, 256) for plane in planes_CHW]
    ground = [_find_quantile(count, _GROUND_FRAC) for count in counts]
    red, green, blue = planes_CHW.astype(np.uint16)
    # Luminance (ITU-R BT.601) in quarters of a grey level; 16 bits hold it, and what follows.
    grey_HW = ((77 * red + 150 * green + 29 * blue + 32) >> 6).astype(np.int16)
    brightness = (77 * ground[0] + 150 * ground[1] + 29 * ground[2]) / 256
    most_HW = np.maximum(np.maximum(planes_CHW[0], planes_CHW[1]), planes_CHW[2])
    sharpness, noise = _measure_edges(grey_HW)
    return [
        sharpness,
        noise / max(brightness, 1.0),
        brightness,
        int(np.count_nonzero(grey_HW <= 4 * _BLACK)) / grey_HW.size,
        int(np.count_nonzero(most_HW == 255)) / grey_HW.size,
        (ground[0] + 1) / (ground[1] + 1),
        (ground[2] + 1) / (ground[1] + 1),
        *_measure_density(planes_CHW, ground),
    ]


def _measure_edges(grey_HW: NDArray[np.int16]) -> tuple[float, float]:
    """Return sharpness, and noise in grey levels. `grey_HW` is in quarters of a level."""
    across_HW, down_HW = grey_HW[:, 1:] - grey_HW[:, :-1], grey_HW[1:] - grey_HW[:-1]
    bend_x_HW, bend_y_HW = across_HW[:, 1:] - across_HW[:, :-1], down_HW[1:] - down_HW[:-1]
    slope = _sum_squares(across_HW) / across_HW.size + _sum_squares(down_HW) / down_HW.size
    curve_HW = bend_x_HW[1:-1] + bend_y_HW[:, 1:-1]
    curve = _sum_squares(curve_HW) / curve_HW.size
    # The second difference across and down at once cancels every plane and every straight edge
    # along an axis.
    mask_HW = bend_x_HW[2:] - 2 * bend_x_HW[1:-1] + bend_x_HW[:-2]
    mean = int(np.abs(mask_HW).sum(dtype=np.int64)) / mask_HW.size
    curve = max(0.0, curve - _ROUNDING)
    return curve / slope if slope else 0.0, math.sqrt(math.pi / 2) / 6 * mean / 4


def _measure_density(planes_CHW: NDArray[np.uint8], ground: list[int]) -> list[float]:
    """Return `contrast` and all that follows it in `QUALITY_NAMES`."""
    side = planes_CHW.shape[1]
    # In 16 bits, three channels together too: small arrays are what makes this fast.
    density = []
    for channel, plane_HW in enumerate(planes_CHW):
        table = np.rint(_PER_OD * np.log((ground[channel] + 1) / (np.arange(256) + 1)))
        density.append(np.maximum(table, 0).astype(np.int16).take(plane_HW))
    red_HW, green_HW, blue_HW = density
    total_HW = red_HW + green_HW + blue_HW
    spread = _compute_variance(red_HW - green_HW) + _compute_variance(blue_HW - green_HW)
    peak = _find_quantile(_count(total_HW, int(total_HW.max()) + 1), _PEAK_FRAC)
    nucleus_HW = total_HW > max(peak, int(3 * _PER_OD * _LEAST_PEAK_OD)) // 2
    cell_HW = total_HW > int(3 * _PER_OD * _CELL_OD)
    n_nucleus, n_cell = int(np.count_nonzero(nucleus_HW)), int(np.count_nonzero(cell_HW))
    return [
        math.sqrt(_compute_variance(total_HW)) / (3 * _PER_OD),
        peak / (3 * _PER_OD),
        *_compute_hue(density, nucleus_HW),
        *_compute_hue(density, cell_HW),
        math.sqrt(spread) / _PER_OD,
        n_cell / side**2,
        math.sqrt(4 * n_nucleus / math.pi) / side,
        _compute_chord(cell_HW, n_cell) / side,
        _compute_chord(nucleus_HW, n_nucleus) / side,
        _compute_distance(nucleus_HW, n_nucleus) / side,
    ]


def _find_quantile(counts: NDArray[np.int64], frac: float) -> int:
    """Return the smallest value that at least `frac` of the pixels do not exceed."""
    below = counts.cumsum()
    return int(below.searchsorted(math.ceil(frac * int(below[-1]))))


def _count(values_HW: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Return how often each whole number below `size` occurs."""
    counts = np.zeros(size, np.int64)
    for block in _cut_blocks(values_HW):
        counts += np.bincount(block, minlength=size)
    return counts


def _sum_squares(values_HW: NDArray[np.int16]) -> int:
    """Return the exact sum: whole numbers below 2**53 are exact in float64, in any order."""
    wide = (block.astype(np.float64) for block in _cut_blocks(values_HW))
    return sum(int(block @ block) for block in wide)


def _cut_blocks(values_HW: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    """Yield pieces that take 64 KiB in 64 bits: larger ones cost more in page faults than in
    arithmetic."""
    flat = values_HW.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK]


def _compute_variance(values_HW: NDArray[np.int16]) -> float:
    n, total = values_HW.size, int(values_HW.sum(dtype=np.int64))
    return max(0, n * _sum_squares(values_HW) - total * total) / (n * n)


def _compute_hue(
    density: list[NDArray[np.int16]], mask_HW: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return what the red and the blue channel hold of the summed OD under the mask."""
    red, green, blue = (int((od_HW * mask_HW).sum(dtype=np.int64)) for od_HW in density)
    total = red + green + blue
    return (red / total, blue / total) if total else (1 / 3, 1 / 3)


def _compute_chord(mask_HW: NDArray[np.bool_], n: int) -> float:
    """Return the mean length of runs along rows and columns, in pixels."""
    starts = sum(
        int(np.count_nonzero(line[:, 1:] > line[:, :-1])) + int(np.count_nonzero(line[:, 0]))
        for line in (mask_HW, mask_HW.T)
    )
    return 2 * n / starts if starts else 0.0


def _compute_distance(mask_HW: NDArray[np.bool_], n: int) -> float:
    """Return how far the mask's centre of mass lies from the middle, in pixels."""
    if not n:
        return 0.0
    place, middle = np.arange(len(mask_HW)), (len(mask_HW) - 1) / 2
    down, right = (int(np.count_nonzero(mask_HW, axis=k) @ place) for k in (1, 0))
    return math.hypot(down / n - middle, right / n - middle)


# -- how far from training ------------------------------------------------------------------------

STRONG_RATIO = 2.0
"""A finding is strong from so many times the threshold on."""

LEAST_TRAIN = 20
"""Fewer training images have no range to speak of."""

_MOST_DEVIATIONS = 3
_HALF_FRAC = 0.01  # a spread reaches from the median to this quantile, and to one less it
_USUAL_FRAC = 0.005
_WINSOR = 3.0
_LEAST_VARIANCE = 0.18  # of a normal feature whose 1 % and 99 % quantiles lie at -1 and 1
_LEAST_DISTANCE = 1.0  # one standard deviation is never strange

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Side = Literal["low", "high", "combination"]


@dataclass(frozen=True, slots=True)
class Deviation:
    """A feature that sets an image apart: below (`low`) or above (`high`) the usual range of
    training, or within it but unusual beside the others (`combination`). `value`, `usual_low` and
    `usual_high` are in the feature's own unit."""

    feature: str
    side: Side
    value: float
    usual_low: float
    usual_high: float


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """How far one image lies from those of training: `distance` is its joint distance as a share of
    the threshold. `deviations` say why it is rejected, the most unusual first; none where it is
    not."""

    distance: float
    deviations: tuple[Deviation, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the image lies beyond the threshold."""
        return self.distance > 1

    @property
    def strong(self) -> bool:
        """Whether it lies so far beyond that it can hardly be a usable image of a cell."""
        return self.distance > STRONG_RATIO


class QualityModel(BaseModel):
    """What training images look like, and how far from it an image may lie.

    One joint distance decides: each feature is centred on its median in training and divided by its
    distance from there to the 1 % or the 99 % quantile, on the side where it lies; the distance is
    Mahalanobis' in these. It sees combinations (a cell too large for its chromatin), and no feature
    can be far off without it. `max_distance` comes from calib images alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = QUALITY_NAMES
    centre: tuple[_Finite, ...]
    """Median in training, of the logarithm for some features; so are `below` and `above`."""
    below: tuple[_Positive, ...]
    above: tuple[_Positive, ...]
    mean: tuple[_Finite, ...]
    precision: tuple[tuple[_Finite, ...], ...]
    """Inverse covariance `(Q, Q)` of the scaled features."""
    usual_low: tuple[_Finite, ...]
    """0.5 % quantile in training, in the feature's own unit."""
    usual_high: tuple[_Finite, ...]
    max_distance: _Positive
    reject_frac: float = Field(gt=0, lt=1)
    n_train: int = Field(ge=1)
    n_calib: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_lengths(self) -> "QualityModel":
        if self.names != QUALITY_NAMES:
            raise ValueError("fitted on other features than this version measures")
        columns = (self.centre, self.below, self.above, self.mean, self.usual_low, self.usual_high)
        if {len(column) for column in (*columns, self.precision, *self.precision)} != {
            len(self.names)
        }:
            raise ValueError("every feature needs its numbers")
        return self

    def compute_distance(self, quality_NQ: NDArray[np.floating]) -> Array:
        """Return the joint distance of each image as a share of the threshold: float64 `(N,)`.
        Above 1 it is rejected. The same bit for bit in any batch. Raises `DataError` unless
        `quality_NQ` is as `measure_quality` gives it: `(N, Q)`, all finite."""
        return self._measure(self._scale(quality_NQ))

    def fit_max_distance(
        self,
        quality_NQ: NDArray[np.floating],
        reject_frac: float,
        sources: Sequence[str] | None = None,
    ) -> "QualityModel":
        """Return the same model with `max_distance` fitted to other calib images `(N, Q)`: of
        images exchangeable with these, at most `reject_frac` are rejected in expectation. Errors as
        in `novelty.fit_distance_threshold`."""
        distances_N = self.model_copy(update={"max_distance": 1.0}).compute_distance(quality_NQ)
        found = step_off(fit_distance_threshold(distances_N, reject_frac, sources), distances_N)
        return self.model_copy(
            update={
                "max_distance": max(found, _LEAST_DISTANCE),
                "reject_frac": reject_frac,
                "n_calib": len(quality_NQ),
            }
        )

    def compute_findings(self, quality_NQ: NDArray[np.floating]) -> list[QualityFinding]:
        """Return a finding for each image; errors as in `compute_distance`."""
        scaled_NQ = self._scale(quality_NQ)
        distances_N = self._measure(scaled_NQ)
        return [
            QualityFinding(distance, self._list_deviations(values, scaled_Q))
            if distance > 1
            else QualityFinding(distance)
            for values, scaled_Q, distance in zip(
                quality_NQ.tolist(), scaled_NQ, distances_N.tolist(), strict=True
            )
        ]

    def _scale(self, quality_NQ: NDArray[np.floating]) -> Array:
        _check_quality(quality_NQ)
        away_NQ = _transform(quality_NQ) - np.array(self.centre)
        return _divide(away_NQ, np.array(self.below), np.array(self.above))

    def _measure(self, scaled_NQ: Array) -> Array:
        precision_QQ, mean_Q = np.array(self.precision), np.array(self.mean)
        squared = (_multiply(row_Q - mean_Q, precision_QQ) for row_Q in scaled_NQ)
        distances_N = np.array([math.sqrt(max(0.0, value)) for value in squared], dtype=np.float64)
        return distances_N / self.max_distance

    def _list_deviations(self, values: list[float], scaled_Q: Array) -> tuple[Deviation, ...]:
        """Why an image is rejected, one feature of each subject and side."""
        found: dict[tuple[str, Side], Deviation] = {}
        for q in np.argsort(-np.abs(scaled_Q), kind="stable").tolist():
            if self.usual_low[q] <= values[q] <= self.usual_high[q]:
                continue
            side: Side = "low" if values[q] < self.usual_low[q] else "high"
            key = (SUBJECTS[self.names[q]], side)
            found.setdefault(key, self._build_deviation(q, side, values))
        if found:
            return tuple(found.values())[:_MOST_DEVIATIONS]
        # Each feature is usual, their combination is not: name those that weigh most.
        away_Q = scaled_Q - np.array(self.mean)
        weight_Q = away_Q * (np.array(self.precision) @ away_Q)
        heavy = np.argsort(-weight_Q, kind="stable")[:2].tolist()
        return tuple(self._build_deviation(q, "combination", values) for q in heavy)

    def _build_deviation(self, q: int, side: Side, values: list[float]) -> Deviation:
        return Deviation(self.names[q], side, values[q], self.usual_low[q], self.usual_high[q])


def fit_quality(
    quality_train_NQ: NDArray[np.floating],
    quality_calib_NQ: NDArray[np.floating],
    reject_frac: float,
    sources: Sequence[str] | None = None,
) -> QualityModel:
    """Fit what is usual from train images, how far is too far from calib images.

    Both arrays are `(N, Q)` as `measure_quality` gives them; `sources` are those of the calib
    images. Of images exchangeable with these, at most `reject_frac` are rejected in expectation
    (`novelty.fit_distance_threshold`).
    Medians and quantiles scale the features, and what lies beyond three spreads counts as three in
    the covariance, so that a few spoilt training images do not stretch it; it is shrunk by
    Q / (Q + N) towards its diagonal. Raises `DataError` for other arrays, fewer than `LEAST_TRAIN`
    train images, or too few calib images for `reject_frac`.
    """
    _check_quality(quality_train_NQ)
    _check_quality(quality_calib_NQ)
    n, width = quality_train_NQ.shape
    if n < LEAST_TRAIN:
        raise DataError(
            f"a model of image quality takes at least {LEAST_TRAIN} training images",
            f"{n}",
            "give the role train more images",
        )
    values_NQ = _transform(quality_train_NQ)
    least_Q = np.array([feature.least for feature in _FEATURES])
    low_Q, centre_Q, high_Q = np.quantile(values_NQ, (_HALF_FRAC, 0.5, 1 - _HALF_FRAC), axis=0)
    below_Q = np.maximum(centre_Q - low_Q, least_Q)
    above_Q = np.maximum(high_Q - centre_Q, least_Q)
    away_NQ = values_NQ - centre_Q
    scaled_NQ = np.clip(_divide(away_NQ, below_Q, above_Q), -_WINSOR, _WINSOR)
    covariance_QQ = np.cov(scaled_NQ.T)
    share = width / (width + n)
    variance_Q = np.diag(covariance_QQ)
    # A feature that hardly varied is credited with the variance that `least` stands for.
    covariance_QQ += np.diag(np.maximum(_LEAST_VARIANCE - variance_Q, 0))
    diagonal_QQ = np.diag(np.diag(covariance_QQ))
    precision_QQ = np.linalg.inv((1 - share) * covariance_QQ + share * diagonal_QQ)
    usual_2Q = np.quantile(quality_train_NQ, (_USUAL_FRAC, 1 - _USUAL_FRAC), axis=0)
    return QualityModel(
        centre=tuple(centre_Q.tolist()),
        below=tuple(below_Q.tolist()),
        above=tuple(above_Q.tolist()),
        mean=tuple(scaled_NQ.mean(axis=0).tolist()),
        precision=tuple(tuple(row) for row in ((precision_QQ + precision_QQ.T) / 2).tolist()),
        usual_low=tuple(usual_2Q[0].tolist()),
        usual_high=tuple(usual_2Q[1].tolist()),
        max_distance=1.0,
        reject_frac=reject_frac,
        n_train=n,
        n_calib=max(1, len(quality_calib_NQ)),
    ).fit_max_distance(quality_calib_NQ, reject_frac, sources)


def _transform(quality_NQ: NDArray[np.floating]) -> Array:
    """Return the features on the scale on which they are compared: some as logarithms."""
    values_NQ = np.array(quality_NQ, dtype=np.float64)
    for q, feature in enumerate(_FEATURES):
        if feature.offset is not None:
            values_NQ[:, q] = np.log(values_NQ[:, q] + feature.offset)
    return values_NQ


def _divide(away_NQ: Array, below_Q: Array, above_Q: Array) -> Array:
    return np.asarray(away_NQ / np.where(away_NQ < 0, below_Q, above_Q))


def _multiply(row_Q: Array, precision_QQ: Array) -> float:
    return float(row_Q @ (precision_QQ @ row_Q))


def _check_quality(quality_NQ: NDArray[np.floating]) -> None:
    if quality_NQ.ndim != 2 or quality_NQ.shape[1] != len(QUALITY_NAMES):
        raise DataError(
            f"quality must be of shape (N, {len(QUALITY_NAMES)})",
            f"shape {quality_NQ.shape}",
            "measure it with `leukoscope.trust.quality.measure_quality`",
        )
    bad_N = ~(np.isfinite(quality_NQ) & (quality_NQ >= 0)).all(axis=1)
    if bad_N.any():
        raise DataError(
            "every quality feature must be finite and not negative",
            f"{int(bad_N.sum())} of {len(bad_N)} rows are otherwise",
            "measure it with `leukoscope.trust.quality.measure_quality`",
        )
