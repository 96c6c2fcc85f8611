"""Whether a folder of images is accepted less often than its case mix explains.

Faults that spoil a whole slide, pale stain above all, leave many cells looking like sound ones of
another class: these are accepted wrongly, and only the many others that are not betray the slide.
Some classes are accepted less often than others, so a folder is compared with what the internal
test set says of its own classes. Axes: K classes. What this file does not do: it decides on no cell
(`decision`), words nothing (`report.prediction_page`), and needs NumPy only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.trust.record import Reference

_ALARM = 0.001
"""The chance at most that a folder of the development site alarms."""

FOLDER_LEVEL = 1 - 2 * _ALARM
"""Of the intervals that `Reference.class_accepted` holds, so that each end has that chance."""

_STEPS = 200
_BISECTIONS = 50
_UNSEEN = 1e-6
"""Given to confusions that the test set does not hold, so that none is impossible."""


@dataclass(frozen=True)
class FolderAcceptance:
    """The share of a folder's images that is accepted, the share expected of its case mix (0 to 1),
    and whether so few are beyond chance."""

    share: float
    expected: float
    is_unusual: bool


def compare_acceptance(
    reference: Reference, predicted_K: Sequence[int], n_accepted: int
) -> FolderAcceptance | None:
    """Compare how many images of a folder are accepted with what their case mix explains.

    `predicted_K` counts the images by predicted class, in the order of the policy; `n_accepted` of
    all of them are accepted. The case mix is the one under which these labels are most likely,
    given the confusions of the internal test set (`estimate_case_mix`): a class that is often
    mistaken for others is not taken for those. Expected is the mean of the classes' acceptance,
    weighted by it. The folder is unusual where the difference exceeds the joined bounds of both
    shares, each at one in 1,000 (Newcombe 1998): of the test set those over sources in
    `class_accepted`, of the folder Chernoff's (1952), which holds for a mixture of classes too
    (Hoeffding 1956).

    Which images of a folder are of one patient is not known. Where sources of the test set differ
    (`accepted_correlation`), the folder counts as one source: n images as n / (1 + (n - 1) rho) of
    independent ones (Kish 1965). Duplicates of one cell in a test set without sources are not
    noticed, and alarm sooner. A class of which the test set has no image, or no bound, may be
    accepted at any rate. None for an empty folder.
    """
    n = sum(predicted_K)
    if not n:
        return None
    mix_K = estimate_case_mix(reference, predicted_K)
    values_K = np.array([one.value for one in reference.class_accepted])
    lows_K = np.array([one.low for one in reference.class_accepted])
    values_K = np.where(np.isnan(values_K), reference.accepted.value, values_K)
    lows_K = np.where(np.isnan(lows_K), 0.0, lows_K)
    share, expected = n_accepted / n, float(mix_K @ values_K)
    if share >= expected:
        return FolderAcceptance(share, expected, False)
    effective = n / (1 + (n - 1) * reference.accepted_correlation)
    down = math.hypot(*(mix_K * (values_K - lows_K)).tolist())
    up = compute_chernoff_bound(share, effective) - share
    return FolderAcceptance(share, expected, expected - share > math.hypot(down, up))


def estimate_case_mix(reference: Reference, predicted_K: Sequence[int]) -> NDArray[np.float64]:
    """Return the shares of the true classes, `(K,)`, under which the predicted ones are most likely
    (Saerens, Latinne and Decaestecker 2002, on labels instead of probabilities).

    The confusions of the internal test set hold in a folder of another case mix as well. A class
    without a test image counts as always recognised. `predicted_K` must not be empty.
    """
    counts_KK = np.array(reference.confusion, dtype=np.float64)
    counts_KK += np.diag(counts_KK.sum(axis=1) == 0)
    rates_KK = counts_KK / counts_KK.sum(axis=1, keepdims=True) + _UNSEEN
    share_K = np.array(predicted_K) / sum(predicted_K)
    mix_K = np.full(len(share_K), 1 / len(share_K))
    for _ in range(_STEPS):
        mix_K = mix_K * (rates_KK @ (share_K / (mix_K @ rates_KK)))
        mix_K /= mix_K.sum()
    return mix_K


def compute_chernoff_bound(share: float, n: float) -> float:
    """Return the largest expected share under which `share` or less of `n` independent images has a
    chance above one in 1,000, by Chernoff's bound exp(-n KL(share, expected)).

    >>> [round(compute_chernoff_bound(x, 100), 2) for x in (0.0, 0.8, 1.0)]
    [0.07, 0.92, 1.0]
    """
    low, high = share, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        terms = ((share, middle), (1 - share, 1 - middle))
        divergence = sum(p * math.log(p / q) if q > 0 else math.inf for p, q in terms if p > 0)
        low, high = (low, middle) if n * divergence > -math.log(_ALARM) else (middle, high)
    return high
