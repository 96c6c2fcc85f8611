"""Novelty: how far an image's embedding lies from those of the training images.

Axes: N images, D embedding width, K classes, R axes kept. Fitted on train rows,
its threshold on calib rows. What this file does not do: it looks at no pixel (`quality`), and it
decides nothing (`decision`). A distance is only as sharp as the embedding: what a network was
never trained to tell apart may lie on top of what it knows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.trust.conformal import compute_threshold, count_needed

MAX_AXES = 64
"""Directions of the embedding that are given a variance of their own."""

# Deviations below a tenth of a typical one do not count. Well trained embeddings hardly vary within
# a class but along some twenty directions, and int8 moves them by 2 % of a typical deviation in
# all: with a hundredth as the baseline it made nine in ten cells strangers (docs/experiments/028).
_LEAST_VARIANCE = 1e-2
_LEAN_ROWS = 20

_NAMES = ("means_KD", "spreads_K", "axes_RD", "scales_R", "rest_1")


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """A fitted distance; arrays are float32 and read only.

    Squared Mahalanobis distance to a class mean, one covariance for all classes (Lee et al. 2018),
    over the mean of that distance among the class's own training rows (`spreads_K`), so that a
    varied class is not rejected more than a uniform one; of the nearest class. 1 is ordinary. The
    covariance keeps its `MAX_AXES` largest directions (`axes_RD`, one over their deviations in
    `scales_R`) and the others share their mean variance (`rest_1`; probabilistic PCA, Tipping and
    Bishop 1999): that is the shrinkage, and it holds where D exceeds N.
    """

    means_KD: NDArray[np.float32]
    spreads_K: NDArray[np.float32]
    axes_RD: NDArray[np.float32]
    scales_R: NDArray[np.float32]
    rest_1: NDArray[np.float32]

    def compute_distance(self, embeddings_ND: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance of each embedding: float64 `(N,)`, larger is stranger.

        An embedding that is not finite is infinitely far. A row's distance is the same bit for bit
        whatever other rows come with it. Raises `DataError` for another width.
        """
        width = self.means_KD.shape[1]
        if embeddings_ND.ndim != 2 or embeddings_ND.shape[1] != width:
            raise DataError(
                f"embeddings must be of shape (N, {width}), as those of training",
                f"shape {embeddings_ND.shape}",
                "use the network that this distance was fitted for",
            )
        means_KD, spreads_K, *covariance = (a.astype(np.float64) for a in self.to_arrays().values())
        distances_N = np.full(len(embeddings_ND), np.inf)
        # Row by row: a matrix product may add up in another order for another number of rows.
        for n, row_D in enumerate(np.ascontiguousarray(embeddings_ND, dtype=np.float64)):
            if np.isfinite(row_D).all():
                squared_K = _compute_squared(row_D - means_KD, *covariance)
                distances_N[n] = float((squared_K / spreads_K).min())
        return distances_N

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what `from_arrays` reads, by name, for `np.savez`."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> "NoveltyModel":
        """Return the model of `to_arrays`. Raises `DataError` for any other arrays."""
        if set(arrays) != set(_NAMES):
            raise DataError(
                f"the arrays must be {', '.join(_NAMES)}",
                ", ".join(sorted(arrays)) or "none",
                "calibrate the run again with this version of leukoscope",
            )
        _check_arrays(arrays)
        return cls(*(_freeze(np.asarray(arrays[name])) for name in _NAMES))


def fit_novelty(embeddings_ND: NDArray[np.floating], labels_N: NDArray[np.integer]) -> NoveltyModel:
    """Fit a distance on train rows: embeddings `(N, D)` and class indices `(N,)`.

    N may be smaller than D, a class may have a single row, and features may be constant; of all
    this only the distance becomes coarser. Raises `DataError` for rows without a class, embeddings
    that are not finite, fewer than two rows more than classes, or embeddings that are all the same.
    """
    rows_ND = np.asarray(embeddings_ND, dtype=np.float64)
    _check_rows(rows_ND, labels_N)
    present, index_N = np.unique(labels_N, return_inverse=True)
    means_KD = np.stack([rows_ND[index_N == k].mean(axis=0) for k in range(len(present))])
    baseline = _LEAST_VARIANCE * float(rows_ND.var(axis=0).mean())
    away_ND = rows_ND - means_KD[index_N]
    covariance = _fit_covariance(away_ND, len(present), baseline)
    own_N = _compute_squared(away_ND, *covariance)
    # A class of few rows says little of its spread: it leans on that of all.
    counts_K = np.bincount(index_N)
    sums_K = np.bincount(index_N, weights=own_N)
    spreads_K = (sums_K + _LEAN_ROWS * own_N.mean()) / (counts_K + _LEAN_ROWS)
    parts = (means_KD, spreads_K, *covariance)
    return NoveltyModel(*(_freeze(part.astype(np.float32)) for part in parts))


def fit_distance_threshold(
    distances_N: NDArray[np.floating], reject_frac: float, sources: Sequence[str] | None = None
) -> float:
    """Return the distance above which an image is rejected, from calib rows: distances `(N,)`.

    The threshold is the calib distance of rank ceil((N + 1)(1 - reject_frac)): an image that is
    exchangeable with the calib rows lies above it with a probability of at most `reject_frac`
    (split conformal prediction, Vovk et al. 2005). Where images share `sources`, each source counts
    once, as in `conformal`. Raises `DataError` where the sources are too few for such a rank, which
    takes 1 / reject_frac - 1 of them, and for distances that are not finite.

    >>> fit_distance_threshold(np.arange(1.0, 100.0), 0.02)
    98.0
    """
    n = len(distances_N)
    if not 0 < reject_frac < 1:
        raise DataError(
            "the share to reject must lie between 0 and 1", f"it is {reject_frac}", "change it"
        )
    if not np.isfinite(distances_N).all():
        raise DataError(
            "every calib distance must be finite",
            f"{int((~np.isfinite(distances_N)).sum())} of {n} are not",
            "look for embeddings that are not finite in the score table",
        )
    threshold = compute_threshold(np.asarray(distances_N, np.float64), reject_frac, sources)
    if math.isinf(threshold):
        raise DataError(
            f"rejecting {reject_frac:.2%} takes at least {count_needed(reject_frac)} calib sources",
            f"{n if sources is None else len(set(sources))} sources of {n} images",
            "give the role calib more images, or reject a larger share",
        )
    return threshold


# -- distances ------------------------------------------------------------------------------------


def _compute_squared(
    away_ND: NDArray[np.float64],
    axes_RD: NDArray[np.float64],
    scales_R: NDArray[np.float64],
    rest_1: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the squared Mahalanobis length of each row."""
    along_NR = away_ND @ axes_RD.T
    left_ND = away_ND - along_NR @ axes_RD
    squared_N = ((along_NR * scales_R) ** 2).sum(axis=1)
    return np.asarray(squared_N + (left_ND**2).sum(axis=1) * rest_1[0] ** 2)


# -- fitting --------------------------------------------------------------------------------------


def _fit_covariance(
    away_ND: NDArray[np.float64], n_means: int, baseline: float
) -> list[NDArray[np.float64]]:
    """Return the directions of largest variance, one over their deviations, and the same for all
    the rest."""
    n, width = away_ND.shape
    covariance_DD = away_ND.T @ away_ND / (n - n_means)
    variances_D, directions_DD = np.linalg.eigh(covariance_DD)
    variances_D, directions_DD = variances_D[::-1], directions_DD[:, ::-1]
    n_axes = min(MAX_AXES, width, n - n_means)
    rest = float(variances_D[n_axes:].mean()) if n_axes < width else baseline
    scales_R = 1 / np.sqrt(np.maximum(variances_D[:n_axes], baseline))
    return [directions_DD[:, :n_axes].T, scales_R, np.array([1 / math.sqrt(max(rest, baseline))])]


def _freeze(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _check_rows(rows_ND: NDArray[np.float64], labels_N: NDArray[np.integer]) -> None:
    if rows_ND.ndim != 2 or labels_N.shape != rows_ND.shape[:1]:
        raise DataError(
            "embeddings must be of shape (N, D), with N labels",
            f"shapes {rows_ND.shape} and {labels_N.shape}",
            "take both from one score table",
        )
    bad = int((~np.isfinite(rows_ND).all(axis=1)).sum())
    if bad:
        raise DataError(
            "every training embedding must be finite",
            f"{bad} of {len(rows_ND)} are not",
            "train again; the network has diverged",
        )
    unlabelled = int((labels_N < 0).sum())
    if unlabelled:
        raise DataError(
            "every training row must have a class of the network",
            f"{unlabelled} of {len(labels_N)} have none",
            "leave them out",
        )
    classes = len(np.unique(labels_N))
    if len(rows_ND) < classes + 2:
        raise DataError(
            "novelty is fitted on at least two rows more than there are classes",
            f"{len(rows_ND)} rows of {classes} classes",
            "give the role train more images",
        )
    if not rows_ND.var(axis=0).sum() > 0:
        raise DataError(
            "training embeddings must differ from each other",
            f"all {len(rows_ND)} are the same",
            "train again; the network has collapsed",
        )


def _check_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    for name, array in arrays.items():
        axes = 1 if name.endswith(("_K", "_R", "_1")) else 2
        if array.dtype != np.float32 or array.ndim != axes or not np.isfinite(array).all():
            raise DataError(
                f"{name} must be finite float32 with {axes} axes",
                f"{array.dtype} of shape {array.shape}",
                "calibrate the run again; the file is damaged",
            )
    sizes: dict[str, set[int]] = {}
    for name, array in arrays.items():
        for axis, size in zip(name.rsplit("_", 1)[1], array.shape, strict=True):
            sizes.setdefault(axis, set()).add(size)
    if any(len(found) != 1 or 0 in found for found in sizes.values()):
        raise DataError(
            "the arrays of a distance must agree in every axis and hold something",
            ", ".join(f"{axis}: {sorted(found)}" for axis, found in sizes.items()),
            "calibrate the run again; the file is damaged",
        )
