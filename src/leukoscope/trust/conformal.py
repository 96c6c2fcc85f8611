"""Conformal prediction sets: all names that fit, with a promise that holds in finite samples.

LAC (Sadinle et al. 2019) takes every class whose probability is high enough; APS (Romano et al.
2020) and RAPS (Angelopoulos et al. 2021) take classes from the top until enough probability is
gathered. With one threshold per class (Mondrian; Vovk 2012) the promise holds for each true class
by itself. Scores: high means strange. Axes: N images, K classes. What this file does not do: it
promises nothing about images of another kind than those of calibration; `compare_scores` looks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError

SetMethod = Literal["lac", "aps", "raps"]

RAPS_PENALTY, RAPS_FREE = 0.01, 2
"""Each name beyond the second costs 0.01 of probability (Angelopoulos et al. 2021, section 3)."""

_Share = Annotated[float, Field(gt=0, lt=1)]


class ConformalSets(BaseModel):
    """Thresholds of prediction sets, one entry per class in every tuple.

    `thresholds` are largest scores that still fit; None stands for infinity: the class is in every
    set. Without `class_conditional` all entries are equal. `counts` are the sources that each
    threshold rests on; `fallbacks` says in sentences which classes have the pooled threshold
    because they had too few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: SetMethod
    class_conditional: bool
    alphas: tuple[_Share, ...] = Field(min_length=2)
    thresholds: tuple[float | None, ...]
    counts: tuple[int, ...]
    fallbacks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_lengths(self) -> "ConformalSets":
        if not len(self.alphas) == len(self.thresholds) == len(self.counts):
            raise ValueError("alphas, thresholds and counts must have one entry per class")
        return self

    def predict(
        self, probabilities_NK: NDArray[np.float64], uniform_N: NDArray[np.float64] | None = None
    ) -> NDArray[np.bool_]:
        """Return which names fit: bool `(N, K)`. A set may be empty.

        APS and RAPS are exact only with `uniform_N`, draws between 0 and 1, given here and when
        they were fitted; without them the sets are a little too large. Raises `DataError` for
        another number of classes.
        """
        if probabilities_NK.shape[1] != len(self.thresholds):
            raise DataError(
                f"probabilities must have {len(self.thresholds)} classes",
                f"{probabilities_NK.shape[1]}",
                "use the sets of the network that made them",
            )
        limits_K = np.array([math.inf if t is None else t for t in self.thresholds])
        return compute_scores(probabilities_NK, self.method, uniform_N) <= limits_K


def compute_scores(
    probabilities_NK: NDArray[np.float64],
    method: SetMethod,
    uniform_N: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return how strange each class is for each image: float64 `(N, K)`.

    LAC: `1 - p`. APS: the probability of all classes above this one, plus `u` times its own (`u` is
    1 where no `uniform_N` is given). RAPS: the same, plus a penalty for each rank from the third.

    >>> compute_scores(np.array([[0.5, 0.3, 0.2]]), "aps")
    array([[0.5, 0.8, 1. ]])
    """
    if method == "lac":
        return 1.0 - probabilities_NK
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(probabilities_NK, order_NK, axis=1)
    u_N1 = np.ones((len(sorted_NK), 1)) if uniform_N is None else uniform_N[:, None]
    above_NK = np.cumsum(sorted_NK, axis=1) - sorted_NK
    found_NK = above_NK + u_N1 * sorted_NK
    if method == "raps":
        rank_K = np.arange(1, sorted_NK.shape[1] + 1)
        found_NK = found_NK + RAPS_PENALTY * np.maximum(0, rank_K - RAPS_FREE)
    out_NK = np.empty_like(found_NK)
    np.put_along_axis(out_NK, order_NK, found_NK, axis=1)
    # Rounding of the sums must not decide whether the last class fits.
    return np.round(out_NK, 12)


def compute_rank(n: int, alpha: float) -> int:
    """Return which of n sorted scores is the threshold, counted from 1: ceil((n + 1) (1 - alpha)).

    n + 1 means that none is high enough: the threshold is infinite.

    >>> compute_rank(99, 0.1), compute_rank(199, 0.05), compute_rank(8, 0.1)
    (90, 190, 9)
    """
    # 100 * 0.9 may be 90.00000000000001, and its ceiling 91.
    return min(n + 1, math.ceil(round((n + 1) * (1 - alpha), 9)))


def count_needed(alpha: float) -> int:
    """Return the least number of scores from which a finite threshold follows.

    >>> count_needed(0.1), count_needed(0.05)
    (9, 19)
    """
    n = max(1, math.floor(1 / alpha) - 2)
    while compute_rank(n, alpha) > n:
        n += 1
    return n


def fit_sets(
    probabilities_NK: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    *,
    method: SetMethod = "lac",
    alpha: float = 0.05,
    class_conditional: bool = True,
    alpha_by_class: Mapping[str, float] | None = None,
    on_few: Literal["pool", "error"] = "pool",
    sources: Sequence[str] | None = None,
    uniform_N: NDArray[np.float64] | None = None,
) -> ConformalSets:
    """Fit thresholds on calibration images: labels `(N,)`, calibrated probabilities `(N, K)`.

    Images of one source are not independent. A source counts once, with its strangest image of the
    class: the promise then holds for the whole source, and is a little stronger for each image.

    `alpha_by_class` asks for another level for some classes (1 less a floor of sensitivity). One
    with too few sources for its level takes the threshold of all images together and says so in
    `fallbacks` (`on_few="pool"`), or raises `DataError`; classes of `alpha_by_class` always raise,
    and so does a level that even all sources together are too few for.
    """
    asked = dict(alpha_by_class or {})
    k = len(classes)
    if not len(labels_N) or probabilities_NK.shape != (len(labels_N), k):
        raise DataError(
            f"sets are fitted on labelled images with probabilities of {k} classes",
            f"{len(labels_N)} labels, probabilities {probabilities_NK.shape}",
            "choose a role that has labelled images",
        )
    if not set(asked) <= set(classes):
        raise DataError(
            f"levels can be asked for the classes {', '.join(classes)}",
            ", ".join(sorted(set(asked) - set(classes))),
            "correct the name",
        )
    names = np.arange(len(labels_N)).astype(str) if sources is None else np.asarray(sources, str)
    scores_N = compute_scores(probabilities_NK, method, uniform_N)[
        np.arange(len(labels_N)), labels_N
    ]
    alphas = tuple(asked.get(name, alpha) for name in classes)
    thresholds: list[float | None] = []
    counts: list[int] = []
    few: list[str] = []
    for place, name in enumerate(classes):
        own_N = labels_N == place if class_conditional or name in asked else labels_N >= 0
        strangest = _take_strangest(scores_N[own_N], names[own_N])
        needed = count_needed(alphas[place])
        if len(strangest) < needed:
            if name in asked or on_few == "error" or not class_conditional:
                raise DataError(
                    f"prediction sets that hold the true class in {1 - alphas[place]:.4g} of cells"
                    f" need {needed} calibration sources"
                    + (f" of the class {name}" if class_conditional else ""),
                    f"{len(strangest)}",
                    "ask for less (trust.alpha, trust.sensitivity_floor), or set more images aside"
                    " for calibration",
                )
            few.append(name)
            strangest = _take_strangest(scores_N, names)
            if len(strangest) < needed:
                raise DataError(
                    f"prediction sets at this level need {needed} calibration sources",
                    f"{len(strangest)} of all classes together",
                    "ask for less (trust.alpha), or set more images aside for calibration",
                )
        rank = compute_rank(len(strangest), alphas[place])
        thresholds.append(float(np.sort(strangest)[rank - 1]))
        counts.append(len(strangest))
    fallbacks = (
        (
            f"Too few calibration sources for a threshold of their own: {', '.join(few)}. For these"
            " the promise of the sets holds on average over all classes only.",
        )
        if few
        else ()
    )
    return ConformalSets(
        method=method,
        class_conditional=class_conditional,
        alphas=alphas,
        thresholds=tuple(thresholds),
        counts=tuple(counts),
        fallbacks=fallbacks,
    )


def _take_strangest(
    scores_N: NDArray[np.float64], names_N: NDArray[np.str_]
) -> NDArray[np.float64]:
    """The highest score of each source."""
    _, index_N = np.unique(names_N, return_inverse=True)
    out_S = np.full(index_N.max() + 1 if len(index_N) else 0, -np.inf)
    np.maximum.at(out_S, index_N, scores_N)
    return out_S


@dataclass(frozen=True)
class Share:
    """A measured coverage: what was measured on how many images, and the limits within which it
    should lie in 99 of 100 repeats if the promise holds exactly."""

    value: float
    n_images: int
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """False where coverage is lower than chance explains. Too much of it breaks no promise."""
        return not self.value < self.low


@dataclass(frozen=True)
class Coverage:
    """Coverage of prediction sets on N images of known class."""

    marginal: Share
    per_class: Mapping[str, Share]
    mean_size: float
    empty_frac: float
    single_frac: float

    def to_dict(self) -> dict[str, object]:
        """Return the figures for JSON, None for NaN."""

        def tell(share: Share) -> dict[str, float | int | None]:
            figures = {"value": share.value, "low": share.low, "high": share.high}
            known = {k: None if math.isnan(v) else v for k, v in figures.items()}
            return {**known, "n_images": share.n_images}

        return {
            "marginal": tell(self.marginal),
            "per_class": {name: tell(share) for name, share in self.per_class.items()},
            "mean_size": self.mean_size,
            "empty_frac": self.empty_frac,
            "single_frac": self.single_frac,
        }


def measure_coverage(
    sets_NK: NDArray[np.bool_],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    fitted: ConformalSets,
) -> Coverage:
    """Measure how often sets hold the true class, in all and for each class.

    The limits beside each figure are those of the beta-binomial distribution that coverage has when
    the images are exchangeable with those of calibration: the threshold itself came from finitely
    many (Angelopoulos and Bates 2023, section 3.2, appendix C). The marginal figure
    of class-conditional sets is a mixture of classes; its limits are approximated by those of one
    threshold from all calibration sources together. Raises `DataError` for no images.
    """
    if not len(labels_N):
        raise DataError(
            "coverage is measured on labelled images", "none", "choose a role that has images"
        )
    hit_N = sets_NK[np.arange(len(labels_N)), labels_N]
    per_class = {}
    for k, name in enumerate(classes):
        own_N = labels_N == k
        per_class[name] = _measure_share(hit_N[own_N], fitted.alphas[k], fitted.counts[k])
    mixed = fitted.class_conditional
    present_K = np.bincount(labels_N, minlength=len(classes))
    alpha = float(np.dot(present_K, fitted.alphas) / present_K.sum())
    sizes_N = sets_NK.sum(axis=1)
    return Coverage(
        marginal=_measure_share(hit_N, alpha, sum(fitted.counts) if mixed else fitted.counts[0]),
        per_class=per_class,
        mean_size=float(sizes_N.mean()),
        empty_frac=float((sizes_N == 0).mean()),
        single_frac=float((sizes_N == 1).mean()),
    )


def _measure_share(hit_N: NDArray[np.bool_], alpha: float, n_calib: int) -> Share:
    n = len(hit_N)
    if not n:
        return Share(math.nan, 0, math.nan, math.nan)
    low, high = compute_band(n, alpha, n_calib)
    return Share(float(hit_N.mean()), n, low, high)


def compute_band(
    n_images: int, alpha: float, n_calib: int, level: float = 0.99
) -> tuple[float, float]:
    """Return the limits within which measured coverage lies with probability `level` or more.

    With rank r of n calibration scores, the true coverage is Beta(r, n + 1 - r) distributed, and
    hits among new images beta-binomial (Angelopoulos and Bates 2023, appendix C). An infinite
    threshold always covers.

    >>> compute_band(1000, 0.1, 1_000_000_000)
    (0.875, 0.924)
    """
    from scipy.stats import betabinom

    rank = compute_rank(n_calib, alpha)
    if rank > n_calib:
        return 1.0, 1.0
    spread = betabinom(n_images, rank, n_calib + 1 - rank)
    low, high = spread.ppf((1 - level) / 2), spread.ppf((1 + level) / 2)
    return float(low) / n_images, float(high) / n_images


def compare_scores(
    fitted_N: NDArray[np.float64], new_N: NDArray[np.float64]
) -> tuple[float, float]:
    """Tell whether new images look exchangeable with those of calibration: (difference, p-value).

    Both arrays hold one number per image that needs no label, as the highest probability or the
    distance of the novelty model. The difference is the largest gap between the two cumulative
    shares, 0 to 1, and the p-value that of the two-sided Kolmogorov-Smirnov test: small where sets
    and limits promise nothing any more. Raises `DataError` where either is empty.
    """
    from scipy.stats import ks_2samp

    if not len(fitted_N) or not len(new_N):
        raise DataError(
            "a comparison needs images on both sides",
            f"{len(fitted_N)} and {len(new_N)}",
            "give images",
        )
    found = ks_2samp(fitted_N, new_N)
    return float(found.statistic), float(found.pvalue)
