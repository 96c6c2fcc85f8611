"""Novelty: how far an image's embedding lies from those of the training images.

Axes: N images, D embedding width, K classes, R axes kept, M reference rows. Fitted on train rows,
its threshold on calib rows. What this file does not do: it looks at no pixel (`quality`), and it
decides nothing (`decision`). A distance is only as sharp as the embedding: what a network was
never trained to tell apart may lie on top of what it knows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.trust.conformal import compute_threshold, count_needed

NoveltyMethod = Literal["mahalanobis", "knn"]
"""Which distance; docs/experiments/019 and 028 say how they compare."""

MAX_AXES = 64
"""Directions of the embedding that are given a variance of their own."""

MAX_REFERENCES = 1500
"""Training rows that `knn` keeps; fewer where they are wide, to stay below 2 MB."""

NEIGHBOUR = 5
"""`knn` measures the distance to the fifth nearest."""

# Deviations below a tenth of a typical one do not count. Well trained embeddings hardly vary within
# a class but along some twenty directions, and int8 moves them by 2 % of a typical deviation in
# all: with a hundredth as the baseline it made nine in ten cells strangers (docs/experiments/028).
_LEAST_VARIANCE = 1e-2
_MAX_NUMBERS = 480_000
_LEAN_ROWS = 20

_ARRAYS: dict[NoveltyMethod, tuple[str, ...]] = {
    "mahalanobis": ("means_KD", "spreads_K", "axes_RD", "scales_R", "rest_1"),
    "knn": ("references_MD",),
}


@dataclass(frozen=True, eq=False)
class NoveltyModel:
    """A fitted distance. `arrays` are float32, at most 2 MB in all, and read only.

    - `mahalanobis`: squared Mahalanobis distance to a class mean, one covariance for all classes
      (Lee et al. 2018), over the mean of that distance among the class's own training rows, so
      that a varied class is not rejected more than a uniform one; of the nearest class. 1 is
      ordinary. The covariance keeps its `MAX_AXES` largest directions and the others share their
      mean variance (probabilistic PCA, Tipping and Bishop 1999): that is the shrinkage, and it
      holds where D exceeds N.
    - `knn`: distance to the fifth nearest of a sample of training rows, balanced over the classes,
      embeddings scaled to length 1 (Sun et al. 2022, who keep all rows).
    """

    method: NoveltyMethod
    arrays: Mapping[str, NDArray[np.float32]]

    @property
    def width(self) -> int:
        """D, the width of the embeddings it was fitted on."""
        return int(self.arrays[_ARRAYS[self.method][0]].shape[1])

    def compute_distance(self, embeddings_ND: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance of each embedding: float64 `(N,)`, larger is stranger.

        An embedding that is not finite is infinitely far. A row's distance is the same bit for bit
        whatever other rows come with it. Raises `DataError` for another width.
        """
        if embeddings_ND.ndim != 2 or embeddings_ND.shape[1] != self.width:
            raise DataError(
                f"embeddings must be of shape (N, {self.width}), as those of training",
                f"shape {embeddings_ND.shape}",
                "use the network that this distance was fitted for",
            )
        parts = [self.arrays[name].astype(np.float64) for name in _ARRAYS[self.method]]
        distances_N = np.full(len(embeddings_ND), np.inf)
        # Row by row: a matrix product may add up in another order for another number of rows.
        for n, row_D in enumerate(np.ascontiguousarray(embeddings_ND, dtype=np.float64)):
            if not np.isfinite(row_D).all():
                continue
            if self.method == "knn":
                distances_N[n] = _find_neighbour(row_D, parts[0])
            else:
                means_KD, spreads_K, *covariance = parts
                squared_K = _compute_squared(row_D - means_KD, *covariance)
                distances_N[n] = float((squared_K / spreads_K).min())
        return distances_N

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what `from_arrays` reads: float32 arrays named `METHOD.NAME`, for `np.savez`."""
        return {f"{self.method}.{name}": array for name, array in self.arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> "NoveltyModel":
        """Return the model of `to_arrays`. Raises `DataError` for any other arrays."""
        for method, names in _ARRAYS.items():
            if set(arrays) == {f"{method}.{name}" for name in names}:
                found = {name: np.asarray(arrays[f"{method}.{name}"]) for name in names}
                _check_arrays(found)
                return cls(method, {name: _freeze(array) for name, array in found.items()})
        raise DataError(
            f"the arrays must be those of one method: {', '.join(_ARRAYS)}",
            ", ".join(sorted(arrays)) or "none",
            "calibrate the run again with this version of leukoscope",
        )


def fit_novelty(
    embeddings_ND: NDArray[np.floating],
    labels_N: NDArray[np.integer],
    method: NoveltyMethod = "mahalanobis",
    *,
    seed: int = 0,
) -> NoveltyModel:
    """Fit a distance on train rows: embeddings `(N, D)` and class indices `(N,)`.

    N may be smaller than D, a class may have a single row, and features may be constant; of all
    this only the distance becomes coarser. `seed` draws the rows that `knn` keeps. Raises
    `DataError` for rows without a class, embeddings that are not finite, fewer than two rows more
    than classes, or embeddings that are all the same.
    """
    rows_ND = np.asarray(embeddings_ND, dtype=np.float64)
    _check_rows(rows_ND, labels_N)
    present, index_N = np.unique(labels_N, return_inverse=True)
    if method == "knn":
        kept = _draw_balanced(index_N, len(present), rows_ND.shape[1], seed)
        references_MD = np.stack([_scale_to_one(row_D) for row_D in rows_ND[kept]])
        return _build_model(method, [references_MD])
    means_KD = np.stack([rows_ND[index_N == k].mean(axis=0) for k in range(len(present))])
    baseline = _LEAST_VARIANCE * float(rows_ND.var(axis=0).mean())
    away_ND = rows_ND - means_KD[index_N]
    covariance = _fit_covariance(away_ND, len(present), baseline)
    own_N = _compute_squared(away_ND, *covariance)
    # A class of few rows says little of its spread: it leans on that of all.
    counts_K = np.bincount(index_N)
    sums_K = np.bincount(index_N, weights=own_N)
    spreads_K = (sums_K + _LEAN_ROWS * own_N.mean()) / (counts_K + _LEAN_ROWS)
    return _build_model(method, [means_KD, spreads_K, *covariance])


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


def _find_neighbour(row_D: NDArray[np.float64], references_MD: NDArray[np.float64]) -> float:
    # Both have length 1, so the squared distance is 2 - 2 cos.
    squared_M = 2 - 2 * (references_MD @ _scale_to_one(row_D))
    place = min(NEIGHBOUR, len(squared_M)) - 1
    return math.sqrt(max(0.0, float(np.partition(squared_M, place)[place])))


def _scale_to_one(row_D: NDArray[np.float64]) -> NDArray[np.float64]:
    return row_D / max(float(np.sqrt(row_D @ row_D)), 1e-12)


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


def _draw_balanced(index_N: NDArray[np.intp], n_classes: int, width: int, seed: int) -> list[int]:
    """Return rows, as many of each class as there are, up to an even share of the places."""
    generator = np.random.default_rng(seed)
    left = min(MAX_REFERENCES, _MAX_NUMBERS // width)
    by_class = sorted((np.flatnonzero(index_N == k) for k in range(n_classes)), key=len)
    kept: list[int] = []
    for done, rows in enumerate(by_class):
        share = max(1, (left - len(kept)) // (n_classes - done))
        kept += generator.permutation(rows)[:share].tolist()
    return sorted(kept)


def _build_model(method: NoveltyMethod, parts: list[NDArray[np.float64]]) -> NoveltyModel:
    names = _ARRAYS[method]
    arrays = {n: _freeze(p.astype(np.float32)) for n, p in zip(names, parts, strict=True)}
    return NoveltyModel(method, arrays)


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
