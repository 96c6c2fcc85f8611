"""Prediction sets: all labels that fit, with a coverage guarantee that holds in finite samples.

A set takes every class whose probability is high enough (LAC, Sadinle et al. 2019). With one
threshold per class (Mondrian; Vovk 2012) the guarantee holds for each true class by itself. High
scores mean strange. The sets of APS and RAPS were measured to be larger (docs/experiments/017).

Images of one source are no independent draws. Each source has weight 1, shared by its images
(hierarchical conformal prediction, Lee, Barber and Willett 2023): the threshold is the smallest
score up to which the weights sum to (S + 1)(1 - alpha), and the guarantee is for an image of a
source never seen. With one image per source that is the score of rank ceil((n + 1)(1 - alpha)).
Counted as independent, duplicates would claim more than holds; counted by their strangest image,
sets would be larger than needed.

Axes: N images, K classes, S sources. What this file does not do: it guarantees nothing for images
of another kind than those of calibration; `evaluation.coverage` measures whether they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError, TooFewSourcesError
from leukoscope.interval import Number
from leukoscope.trust.calibration import number_sources
from leukoscope.trust.notes import Note, Values

_Share = Annotated[float, Field(gt=0, lt=1)]


class ConformalSets(BaseModel):
    """Thresholds of prediction sets, as a bundle keeps them; tuples have one entry per class.

    `alphas` are the shares of cells of a class whose set may miss it. `thresholds` are the largest
    scores that still fit; None stands for infinity: the class is in every set. `counts` are the
    sources that each threshold was to rest on. Classes with one number in `groups` share a
    threshold that was fitted on all of them. `borrowed` marks classes that had too few sources and
    took another threshold; `fallbacks` says which, and what is still guaranteed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alphas: tuple[_Share, ...] = Field(min_length=2)
    thresholds: tuple[float | None, ...]
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    groups: tuple[int, ...]
    borrowed: tuple[bool, ...]
    fallbacks: tuple[Note, ...] = ()

    @model_validator(mode="after")
    def _check_lengths(self) -> "ConformalSets":
        columns = (self.thresholds, self.counts, self.groups, self.borrowed)
        if {len(column) for column in columns} != {len(self.alphas)}:
            raise ValueError(
                "alphas, thresholds, counts, groups and borrowed need one entry per class"
            )
        return self

    @property
    def alpha(self) -> float:
        """The share of cells of any class whose set may miss it: the largest of `alphas`."""
        return max(self.alphas)

    def predict(self, probabilities_NK: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which labels fit: bool `(N, K)`, from calibrated probabilities. A set may be
        empty. Raises `DataError` for another number of classes."""
        if probabilities_NK.shape != (len(probabilities_NK), len(self.thresholds)):
            raise DataError(
                f"probabilities must have the {len(self.thresholds)} classes of the sets",
                f"shape {probabilities_NK.shape}",
                "use the sets of the network that made them",
            )
        limits_K = np.array([math.inf if t is None else t for t in self.thresholds])
        return np.asarray(1.0 - probabilities_NK <= limits_K)

    def step_off(self, probabilities_NK: NDArray[np.float64]) -> "ConformalSets":
        """Return the same sets with thresholds a hair above the images they were fitted on; see the
        function `step_off`. Sets of these images, `(N, K)`, stay what they are."""
        scores_NK = 1.0 - probabilities_NK
        moved = tuple(
            None if threshold is None else step_off(threshold, scores_NK[:, k])
            for k, threshold in enumerate(self.thresholds)
        )
        return self.model_copy(update={"thresholds": moved})


@dataclass(frozen=True, slots=True)
class DeliveredSets:
    """The sets that users get, with the given label always among them, on N images of known class.

    `coverage` is the share that holds the true class, and `coverage_raw` that before the label was
    added, which the guarantee is for. `several_frac` is the share of two labels or more, and
    `wrong_several_frac` that among the `n_wrong` misclassified images (NaN without any).
    """

    coverage: float
    coverage_raw: float
    mean_size: float
    several_frac: float
    n_wrong: int
    wrong_several_frac: Number


_ROOM = 1e-4
"""Engines agree on a score or distance to about 1e-5 of it."""


def step_off(threshold: float, scores_N: NDArray[np.float64]) -> float:
    """Return a threshold a hair above a fitted one, at most halfway to the next of the scores.

    A threshold by rank is one image's own score, to the last bit: another engine, or the same on
    another processor, would decide that image by rounding. No score changes sides, so ranks and
    guarantees stay as they are.

    >>> step_off(0.5, np.array([0.25, 0.5, 0.75])), step_off(4.0, np.array([4, 4 + 2**-14])) - 4
    (0.50005, 3.0517578125e-05)
    """
    above_N = scores_N[scores_N > threshold]
    room = _ROOM * abs(threshold)
    return threshold + min(room, float(above_N.min() - threshold) / 2 if len(above_N) else room)


def compute_rank(n: int, alpha: float) -> int:
    """Return which of n sorted scores is the threshold, counted from 1: ceil((n + 1)(1 - alpha)).

    n + 1 means that none is high enough: the threshold is infinite (Vovk et al. 2005; Angelopoulos
    and Bates 2023, section 1).

    >>> compute_rank(99, 0.1), compute_rank(199, 0.05), compute_rank(8, 0.1)
    (90, 190, 9)
    """
    # (n + 1) * (1 - alpha) may be 90.00000000000001, whose ceiling is 91.
    return min(n + 1, math.ceil(round((n + 1) * (1 - alpha), 8)))


def count_needed(alpha: float) -> int:
    """Return the least number of sources from which a finite threshold follows.

    >>> count_needed(0.1), count_needed(0.05), count_needed(0.01)
    (9, 19, 99)
    """
    n = max(1, math.floor(1 / alpha) - 2)
    while compute_rank(n, alpha) > n:
        n += 1
    return n


def compute_coverage_range(n: int, alpha: float, level: float = 0.95) -> tuple[float, float]:
    """Return within which bounds the coverage of one fitted threshold lies with probability `level`
    over calibration sets: that of Beta(r, n + 1 - r) for the rank r among n sources (Vovk 2012).

    The guarantee 1 - `alpha` is for the average over calibration sets. Where sources have several
    cells the range is that of cells of a source which all fit or all do not: the widest.

    >>> [round(x, 3) for x in compute_coverage_range(99, 0.1)], compute_coverage_range(5, 0.1)
    ([0.834, 0.95], (1.0, 1.0))
    """
    from scipy.special import betaincinv

    rank = compute_rank(n, alpha)
    if rank > n:
        return 1.0, 1.0
    low, high = (
        float(betaincinv(rank, n + 1 - rank, tail)) for tail in (0.5 - level / 2, 0.5 + level / 2)
    )
    return low, high


def compute_threshold(
    scores_N: NDArray[np.float64], alpha: float, sources: Sequence[str] | None = None
) -> float:
    """Return the threshold of calibration scores, infinite where they are too few (header).

    >>> scores = np.arange(1, 100) / 100
    >>> compute_threshold(scores, 0.1), compute_threshold(scores, 0.001)
    (0.9, inf)
    """
    return _find_threshold(scores_N, _number(sources, len(scores_N)), alpha)


def _number(sources: Sequence[str] | None, n: int) -> NDArray[np.int64]:
    return np.arange(n) if sources is None else number_sources(sources, n)[0]


def _find_threshold(
    scores_N: NDArray[np.float64], source_N: NDArray[np.int64], alpha: float
) -> float:
    _, source_N, mass_S = np.unique(source_N, return_inverse=True, return_counts=True)
    s = len(mass_S)
    rank = compute_rank(s, alpha)
    if rank > s:
        return math.inf
    if s == len(scores_N):
        return float(np.sort(scores_N)[rank - 1])
    order_N = np.argsort(scores_N, kind="stable")
    weights_N = np.cumsum((1 / mass_S)[source_N][order_N])
    reached_N = np.round(weights_N, 8) >= round((s + 1) * (1 - alpha), 8)
    return float(scores_N[order_N][np.argmax(reached_N)])


def fit_sets(
    probabilities_NK: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    *,
    alpha: float = 0.05,
    class_conditional: bool = True,
    alpha_by_class: Mapping[str, float] | None = None,
    sources: Sequence[str] | None = None,
) -> ConformalSets:
    """Fit thresholds on calibration images: calibrated probabilities `(N, K)`, labels `(N,)`.

    The set of a new image holds its true class with probability 1 - `alpha` or more: for each class
    by itself, or if not `class_conditional` on average over classes. This is so if new sources are
    exchangeable with these, neither network nor calibration was fitted on new images, and `sources`
    (None: each image is its own) are independent draws.

    `alpha_by_class` gives another level to some classes, 1 less a baseline of sensitivity;
    these always have a threshold of their own.

    A class with too few sources for its level takes the larger of two thresholds: that of all
    classes together, and the highest score among its own n sources, which the next one exceeds with
    probability 1 / (n + 1) at most; `fallbacks` then says so.

    Raises `TooFewSourcesError` for a class in `alpha_by_class`, and for a level that all sources
    together are too few for; `DataError` for arrays that do not fit.
    """
    n, k = len(labels_N), len(classes)
    p_NK = _check_probabilities(probabilities_NK, labels_N, k)
    own = dict(alpha_by_class or {})
    _check_levels(alpha, own, classes)
    alphas = [own.get(name, alpha) for name in classes]
    if class_conditional:
        groups = list(range(k))
    else:
        shared = next((i for i, name in enumerate(classes) if name not in own), 0)
        groups = [i if name in own else shared for i, name in enumerate(classes)]
    source_N = _number(sources, n)
    scores_N = (1.0 - p_NK)[np.arange(n), labels_N]
    group_N = np.array(groups)[labels_N]

    thresholds: list[float] = [0.0] * k
    counts = [0] * k
    borrowed = [False] * k
    fallbacks = []
    for group in dict.fromkeys(groups):
        members = [i for i in range(k) if groups[i] == group]
        level = alphas[group]
        rows = np.flatnonzero(group_N == group)
        behind = len(np.unique(source_N[rows]))
        threshold = _find_threshold(scores_N[rows], source_N[rows], level)
        if math.isinf(threshold):
            alone = class_conditional or len(members) == 1
            pooled = _find_threshold(scores_N, source_N, level)
            if not alone or classes[group] in own or math.isinf(pooled):
                together = len(np.unique(source_N)) if alone and math.isinf(pooled) else None
                raise _build_error(classes[group] if alone else "", level, behind, together)
            threshold = max(pooled, float(scores_N[rows].max(initial=-math.inf)))
            borrowed[group] = True
            values: Values = {
                "label": classes[group],
                "n_sources": behind,
                "n_needed": count_needed(level),
                "nominal": 1 - level,
            }
            fallbacks.append(Note("few_sources_for_label", values))
        for i in members:
            thresholds[i], counts[i] = threshold, behind
    return ConformalSets(
        alphas=tuple(alphas),
        thresholds=tuple(thresholds),
        counts=tuple(counts),
        groups=tuple(groups),
        borrowed=tuple(borrowed),
        fallbacks=tuple(fallbacks),
    )


def _build_error(label: str, alpha: float, found: int, together: int | None) -> TooFewSourcesError:
    needed = count_needed(alpha)
    return TooFewSourcesError(
        f"sets that hold the true class of {100 * (1 - alpha):.4g} % of cells"
        + (f" of the class {label}" if label else "")
        + f" need {needed} calibration sources",
        f"{found}" + (f", and {together} of all classes together" if together is not None else ""),
        "ask for less (trust.alpha, trust.min_sensitivity), or set more images aside for"
        " calibration",
        n_sources=found,
        n_needed=needed,
        label=label,
    )


def _check_probabilities(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Raise `DataError` unless sets can be fitted on these; return the probabilities."""
    n = len(labels_N)
    if not n or probabilities_NK.shape != (n, k) or k < 2:
        raise DataError(
            "sets are fitted on labelled images with probabilities of all classes, 2 or more",
            f"{n} labels, {k} classes, probabilities {probabilities_NK.shape}",
            "choose a role that has labelled images",
        )
    p_NK = np.asarray(probabilities_NK, dtype=np.float64)
    bad_N = ~(np.isfinite(p_NK) & (p_NK >= 0)).all(axis=1) | (np.abs(p_NK.sum(axis=1) - 1) > 1e-4)
    if bad_N.any():
        raise DataError(
            "probabilities must be 0 or more and sum to 1 in each row",
            f"{int(bad_N.sum())} rows that do not, the first is row {int(np.argmax(bad_N))}",
            "pass the softmax of finite logits",
        )
    if labels_N.min() < 0 or labels_N.max() >= k:
        raise DataError(
            f"labels must lie between 0 and {k - 1}",
            f"{labels_N.min()} to {labels_N.max()}",
            "leave images of unknown classes out",
        )
    return p_NK


def _check_levels(alpha: float, own: Mapping[str, float], classes: Sequence[str]) -> None:
    unknown = sorted(set(own) - set(classes))
    if unknown:
        raise DataError(
            f"levels can be given for the classes {', '.join(classes)}",
            ", ".join(unknown),
            "correct the name",
        )
    wrong = [a for a in (alpha, *own.values()) if not 0 < a < 1]
    if wrong:
        raise DataError(
            "the share of sets that may miss the true class lies between 0 and 1",
            f"{wrong[0]}",
            "use 0.05",
        )
