"""What was measured at home, as far as a bundle carries it, for comparison elsewhere.

Axes: K classes, M images, D embedding width, Q quality features. What this file does not do: it
reads no bundle (`pipelines.validate`) and compares nothing (`validation`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.sample_size import compute_effective_size
from leukoscope.interval import UNDEFINED, Interval


@dataclass(frozen=True)
class Home:
    """What was measured at home.

    `confusion_KK` counts test images by true and given class. `recalls` and `specificities` are
    those of each class over sources; () in older bundles. `embeddings_MD` and `quality_MQ` describe
    some calibration images.
    """

    data: str
    leakage_status: str
    n_images: int
    n_sources: int
    source_known: bool
    confusion_KK: NDArray[np.float64]
    accuracy: Interval
    recalls: tuple[Interval, ...] = ()
    specificities: tuple[Interval, ...] = ()
    ece: float = math.nan
    coverage: float = math.nan
    accepted: Interval = UNDEFINED
    accepted_accuracy: Interval = UNDEFINED
    review_frac: float = math.nan
    unknown_frac: float = math.nan
    embeddings_MD: NDArray[np.float32] | None = None
    quality_MQ: NDArray[np.float32] | None = None


def compute_home_shares(home: Home) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Return sensitivity and specificity of each class at home; NaN for a class without images.

    An older bundle counts images only. Then the numbers of images are divided by the design effect
    that its accuracy tells: cells of a source are about as much alike in one class as in all.
    """
    if home.recalls and home.specificities:
        return home.recalls, home.specificities
    effective = compute_effective_size(home.accuracy)
    effect = 1.0 if math.isnan(effective) else max(1.0, home.n_images / effective)
    counts_KK = home.confusion_KK / effect
    true_K, said_K, hit_K = counts_KK.sum(axis=1), counts_KK.sum(axis=0), np.diagonal(counts_KK)
    rest_K = counts_KK.sum() - true_K
    passed_K = np.clip(rest_K - said_K + hit_K, 0, rest_K)  # 1e-16 below 0 by rounding
    return (
        tuple(wilson(float(h), float(n)) for h, n in zip(hit_K, true_K, strict=True)),
        tuple(wilson(float(h), float(n)) for h, n in zip(passed_K, rest_K, strict=True)),
    )
