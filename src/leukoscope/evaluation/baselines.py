"""Honest baselines: what methods reach that know nothing of cells, on the same test images.

Axes: N images, H height, W width, C colour channel (RGB). A network that does not beat the
colour histogram has not been shown to look at cells. What this file does not do: it reads no
files; thumbnails come as arrays, best from the pack the network itself was trained from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier

from leukoscope.errors import DataError
from leukoscope.evaluation.intervals import compute_proportion
from leukoscope.evaluation.record import BaselineName
from leukoscope.interval import Interval

THUMBNAIL_PX = 16
_BINS = 8
_TREES = 300
_CHUNK = 256


@dataclass(frozen=True)
class Baseline:
    """What one simple method reaches. `predictions_N` indexes the classes of the call; `label` is
    the class that `majority` always predicts, "" for others."""

    name: BaselineName
    predictions_N: NDArray[np.int64]
    accuracy: Interval
    balanced_accuracy: float
    label: str = ""


def compute_baselines(
    train_images_NHWC: NDArray[np.uint8],
    train_labels_N: NDArray[np.int64],
    test_images_NHWC: NDArray[np.uint8],
    test_labels_N: NDArray[np.int64],
    classes: Sequence[str],
    test_sources: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
) -> dict[BaselineName, Baseline]:
    """Fit three simple methods on the training images and score them on the test images.

    Images are uint8 RGB of one size, at least 16 pixels wide and high; labels index `classes`,
    and images of unknown class are the caller's to drop. The baselines are

    - `majority`: always the commonest class of the training images;
    - `colour_histogram`: 8 x 8 x 8 joint RGB histogram, 300 extremely randomised trees
      (Geurts et al. 2006): blind to any shape;
    - `nearest_neighbour`: the label of the nearest training image as a 16 x 16 RGB thumbnail,
      each value standardised over the training images.

    Raises `DataError` for empty or ill-matched arrays, or images that are not uint8 RGB.
    """
    _check_images("training", train_images_NHWC, train_labels_N, len(classes))
    _check_images("test", test_images_NHWC, test_labels_N, len(classes))
    commonest = int(np.bincount(train_labels_N).argmax())
    trees = ExtraTreesClassifier(n_estimators=_TREES, random_state=seed, n_jobs=-1)
    trees.fit(compute_colour_histograms(train_images_NHWC), train_labels_N)
    train_NF, test_NF = compute_thumbnails(train_images_NHWC), compute_thumbnails(test_images_NHWC)
    centre_F, scale_F = train_NF.mean(axis=0), train_NF.std(axis=0) + 1e-6
    neighbour = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    neighbour.fit((train_NF - centre_F) / scale_F, train_labels_N)
    predictions: dict[BaselineName, NDArray[np.int64]] = {
        "majority": np.full(len(test_labels_N), commonest, dtype=np.int64),
        "colour_histogram": trees.predict(compute_colour_histograms(test_images_NHWC)),
        "nearest_neighbour": neighbour.predict((test_NF - centre_F) / scale_F),
    }
    baselines: dict[BaselineName, Baseline] = {}
    for name, predictions_N in predictions.items():
        baselines[name] = Baseline(
            name=name,
            predictions_N=np.asarray(predictions_N, dtype=np.int64),
            accuracy=compute_proportion(predictions_N == test_labels_N, test_sources, level),
            balanced_accuracy=float(
                recall_score(
                    test_labels_N,
                    predictions_N,
                    labels=np.unique(test_labels_N),
                    average="macro",
                    zero_division=np.nan,
                )
            ),
            label=classes[commonest] if name == "majority" else "",
        )
    return baselines


def compute_colour_histograms(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of pixels in each of 8 x 8 x 8 RGB bins: float32 `(N, 512)`, rows sum to 1.

    >>> import numpy as np
    >>> float(compute_colour_histograms(np.full((1, 16, 16, 3), 255, np.uint8))[0, 511])
    1.0
    """
    n = len(images_NHWC)
    cells = _BINS**3
    histograms_NF = np.empty((n, cells), dtype=np.float32)
    for start in range(0, n, _CHUNK):  # chunks, because a pack may be larger than memory
        bins_NHWC = np.asarray(images_NHWC[start : start + _CHUNK]) >> 5
        red, green, blue = (bins_NHWC[..., c].astype(np.int32) for c in range(3))
        flat_NP = ((red * _BINS + green) * _BINS + blue).reshape(len(bins_NHWC), -1)
        count, pixels = flat_NP.shape
        flat_NP += np.arange(count, dtype=np.int32)[:, None] * cells
        counts = np.bincount(flat_NP.ravel(), minlength=count * cells)
        histograms_NF[start : start + count] = counts.reshape(count, cells) / pixels
    return histograms_NF


def compute_thumbnails(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average images down to 16 x 16 RGB: float32 `(N, 768)`, 0 to 255."""
    n, height, width = images_NHWC.shape[:3]
    rows = np.linspace(0, height, THUMBNAIL_PX + 1).astype(np.int64)
    columns = np.linspace(0, width, THUMBNAIL_PX + 1).astype(np.int64)
    area = np.diff(rows)[:, None, None] * np.diff(columns)[:, None]
    thumbnails_NF = np.empty((n, THUMBNAIL_PX**2 * 3), dtype=np.float32)
    for start in range(0, n, _CHUNK):
        chunk_NHWC = np.asarray(images_NHWC[start : start + _CHUNK])
        sums = np.add.reduceat(chunk_NHWC, rows[:-1], axis=1, dtype=np.uint32)
        sums = np.add.reduceat(sums, columns[:-1], axis=2)
        thumbnails_NF[start : start + len(sums)] = (sums / area).reshape(len(sums), -1)
    return thumbnails_NF


def _check_images(
    part: str, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], classes_count: int
) -> None:
    if len(images_NHWC) == 0 or len(images_NHWC) != len(labels_N):
        raise DataError(
            f"baselines need {part} images, each with its label",
            f"{len(images_NHWC)} images, {len(labels_N)} labels",
            "choose a split with images in both roles",
        )
    shape = images_NHWC.shape
    if (
        images_NHWC.dtype != np.uint8
        or len(shape) != 4
        or shape[3] != 3
        or min(shape[1:3]) < THUMBNAIL_PX
    ):
        raise DataError(
            f"{part} images must be uint8 (N, H, W, 3) of {THUMBNAIL_PX} pixels or more",
            f"{images_NHWC.dtype} {shape}",
            "pass thumbnails from the pack",
        )
    if labels_N.min() < 0 or labels_N.max() >= classes_count:
        raise DataError(
            f"{part} labels must lie between 0 and {classes_count - 1}",
            f"{labels_N.min()} to {labels_N.max()}",
            "leave images of unknown classes out",
        )
