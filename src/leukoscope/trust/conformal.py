"""Conformal prediction sets: all names that fit, with a promise that holds in finite samples.

LAC (Sadinle et al. 2019) takes every class whose probability is high enough; APS (Romano et al.
2020) and RAPS (Angelopoulos et al. 2021) take classes from the top until enough probability is
gathered. With one threshold per class (Mondrian; Vovk 2012) the promise holds for each true class
by itself. High scores mean strange.

Images of one source are no independent draws. Each source has weight 1, shared by its images
(hierarchical conformal prediction, Lee, Barber and Willett 2023): the threshold is the smallest
score up to which the weights sum to (S + 1)(1 - alpha), and the promise is for an image of a source
never seen. With one image per source that is the score of rank ceil((n + 1)(1 - alpha)). Counted as
independent, copies would promise more than they can keep; counted by their strangest image, sets
would be larger than was asked.

Axes: N images, K classes, S sources. What this file does not do: it promises nothing about images
of another kind than those of calibration; `compare_exchangeability` looks whether they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.interval import Number
from leukoscope.trust.calibration import number_sources

SetMethod = Literal["lac", "aps", "raps"]
CoverageCheck = Literal["holds", "below", "above", "no images"]

RAPS_PENALTY, RAPS_FREE_RANKS = 0.01, 2

_Share = Annotated[float, Field(gt=0, lt=1)]


class ConformalSets(BaseModel):
    """Thresholds of prediction sets, as a bundle keeps them; tuples have one entry per class.

    `alphas` are the shares of cells of a class whose set may miss it. `thresholds` are the largest
    scores that still fit; None stands for infinity: the class is in every set. `counts` are the
    sources that each threshold was to rest on. Classes with one number in `groups` share a
    threshold that was fitted on all of them; by default each has its own if `class_conditional`,
    else all share one.

    `borrowed` marks classes that had too few sources and took another threshold; `fallbacks` says
    in sentences which, how, and what is still promised.

    `randomised` sets were fitted with `uniform_N`. `raps_penalty` is what each name beyond the
    first `raps_free_ranks` costs (lambda and k_reg in section 3 of Angelopoulos et al. 2021).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: SetMethod
    class_conditional: bool
    alphas: tuple[_Share, ...] = Field(min_length=2)
    thresholds: tuple[float | None, ...]
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    groups: tuple[int, ...] = ()
    borrowed: tuple[bool, ...] = ()
    fallbacks: tuple[str, ...] = ()
    randomised: bool = False
    raps_penalty: float = Field(RAPS_PENALTY, ge=0)
    raps_free_ranks: int = Field(RAPS_FREE_RANKS, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("alphas"), list | tuple):
            return content
        k = len(content["alphas"])
        groups = tuple(range(k)) if content.get("class_conditional") else (0,) * k
        filled = {**content}
        filled["groups"] = content.get("groups") or groups
        filled["borrowed"] = content.get("borrowed") or (False,) * k
        return filled

    @model_validator(mode="after")
    def _check_lengths(self) -> "ConformalSets":
        columns = (self.thresholds, self.counts, self.groups, self.borrowed)
        if {len(column) for column in columns} != {len(self.alphas)}:
            raise ValueError(
                "alphas, thresholds, counts, groups and borrowed need one entry per class"
            )
        return self

    def predict(
        self, probabilities_NK: NDArray[np.float64], uniform_N: NDArray[np.float64] | None = None
    ) -> NDArray[np.bool_]:
        """Return which names fit: bool `(N, K)`, from calibrated probabilities. A set may be empty.

        APS and RAPS come near the asked level exactly only if they are `randomised` and get
        `uniform_N`, draws between 0 and 1. Without it sets are the same each time: those of a
        randomised fit then hold every class that some draw would let in.

        Raises `DataError` for another number of classes, or `uniform_N` that does not fit.
        """
        n = len(probabilities_NK)
        if probabilities_NK.shape != (n, len(self.thresholds)):
            raise DataError(
                f"probabilities must have the {len(self.thresholds)} classes of the sets",
                f"shape {probabilities_NK.shape}",
                "use the sets of the network that made them",
            )
        if uniform_N is not None and not self.randomised and self.method != "lac":
            raise DataError(
                "only sets that were fitted with uniform_N can be drawn at random",
                "sets that are the same each time",
                "leave uniform_N out, or fit the sets with it",
            )
        if uniform_N is None and self.randomised:
            uniform_N = np.zeros(n)
        scores_NK = compute_scores(
            probabilities_NK,
            self.method,
            uniform_N,
            raps_penalty=self.raps_penalty,
            raps_free_ranks=self.raps_free_ranks,
        )
        return scores_NK <= np.array([math.inf if t is None else t for t in self.thresholds])

    def step_off(self, probabilities_NK: NDArray[np.float64]) -> "ConformalSets":
        """Return the same sets with thresholds a hair above the images they were fitted on; see the
        function `step_off`. Sets of these images, `(N, K)`, stay what they are."""
        scores_NK = compute_scores(
            probabilities_NK,
            self.method,
            raps_penalty=self.raps_penalty,
            raps_free_ranks=self.raps_free_ranks,
        )
        moved = tuple(
            None if threshold is None else step_off(threshold, scores_NK[:, k])
            for k, threshold in enumerate(self.thresholds)
        )
        return self.model_copy(update={"thresholds": moved})


_ROOM = 1e-4
"""Engines agree on a score or distance to about 1e-5 of it."""


def step_off(threshold: float, scores_N: NDArray[np.float64]) -> float:
    """Return a threshold a hair above a fitted one, at most halfway to the next of the scores.

    A threshold by rank is one image's own score, to the last bit: another engine, or the same on
    another processor, would decide that image by rounding. No score changes sides, so ranks and
    promises stay as they are.

    >>> step_off(0.5, np.array([0.25, 0.5, 0.75])), step_off(4.0, np.array([4, 4 + 2**-14])) - 4
    (0.50005, 3.0517578125e-05)
    """
    above_N = scores_N[scores_N > threshold]
    room = _ROOM * abs(threshold)
    return threshold + min(room, float(above_N.min() - threshold) / 2 if len(above_N) else room)


def compute_scores(
    probabilities_NK: NDArray[np.float64],
    method: SetMethod,
    uniform_N: NDArray[np.float64] | None = None,
    *,
    raps_penalty: float = RAPS_PENALTY,
    raps_free_ranks: int = RAPS_FREE_RANKS,
) -> NDArray[np.float64]:
    """Return how strange each class is for each image: float64 `(N, K)`.

    LAC: `1 - p` (Sadinle et al. 2019). APS: the probability of all classes above this one, plus `u`
    times its own, where u is `uniform_N`, or 1 (Romano et al. 2020, equation 7). RAPS: the same,
    plus a penalty per rank beyond the free ones (Angelopoulos et al. 2021, equation 4). Equal
    probabilities rank in the order of the classes. Raises `DataError` for `uniform_N` of another
    length or outside 0 to 1.

    >>> compute_scores(np.array([[0.5, 0.3, 0.2]]), "aps")
    array([[0.5, 0.8, 1. ]])
    """
    n = len(probabilities_NK)
    u_N = np.ones(n) if uniform_N is None else np.asarray(uniform_N, dtype=np.float64)
    if u_N.shape != (n,) or not ((u_N >= 0) & (u_N <= 1)).all():
        raise DataError(
            f"uniform_N must hold {n} numbers between 0 and 1",
            f"shape {u_N.shape}" + (f", {u_N.min():.3g} to {u_N.max():.3g}" if u_N.size else ""),
            "draw one for each image",
        )
    if method == "lac":
        return np.asarray(1.0 - probabilities_NK)
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(probabilities_NK, order_NK, axis=1)
    found_NK = np.cumsum(sorted_NK, axis=1) - (1 - u_N[:, None]) * sorted_NK
    if method == "raps":
        rank_K = np.arange(1, sorted_NK.shape[1] + 1)
        found_NK += raps_penalty * np.maximum(0, rank_K - raps_free_ranks)
    out_NK = np.empty_like(found_NK)
    np.put_along_axis(out_NK, order_NK, found_NK, axis=1)
    # Rounding of the sums must not decide whether the last class fits.
    return np.asarray(np.round(out_NK, 12))


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
    method: SetMethod = "lac",
    alpha: float = 0.05,
    class_conditional: bool = True,
    alpha_by_class: Mapping[str, float] | None = None,
    on_few: Literal["error", "pool"] = "pool",
    sources: Sequence[str] | None = None,
    uniform_N: NDArray[np.float64] | None = None,
    raps_penalty: float = RAPS_PENALTY,
    raps_free_ranks: int = RAPS_FREE_RANKS,
) -> ConformalSets:
    """Fit thresholds on calibration images: calibrated probabilities `(N, K)`, labels `(N,)`.

    The set of a new image holds its true class with probability 1 - `alpha` or more: for each class
    by itself, or if not `class_conditional` on average over classes. This is so if new sources are
    exchangeable with these, neither network nor calibration was fitted on new images, and `sources`
    (None: each image is its own) are independent draws.

    `alpha_by_class` asks for another level for some classes, 1 less a baseline of sensitivity;
    these always have a threshold of their own. With `uniform_N` APS and RAPS are fitted for random
    draws.

    A class with too few sources for its level raises `DataError` (`on_few="error"`) or takes the
    larger of two thresholds ("pool"): that of all classes together, and the highest score among its
    own n sources, which the next one exceeds with probability 1 / (n + 1) at most. `fallbacks` then
    says so. Classes in `alpha_by_class` always raise, and so does a level that all sources together
    are too few for.
    """
    n, k = len(labels_N), len(classes)
    p_NK = _check_probabilities(probabilities_NK, labels_N, k)
    asked = dict(alpha_by_class or {})
    _check_levels(alpha, asked, classes)
    alphas = [asked.get(name, alpha) for name in classes]
    if class_conditional:
        groups = list(range(k))
    else:
        shared = next((i for i, name in enumerate(classes) if name not in asked), 0)
        groups = [i if name in asked else shared for i, name in enumerate(classes)]
    source_N = _number(sources, n)
    all_NK = compute_scores(
        p_NK, method, uniform_N, raps_penalty=raps_penalty, raps_free_ranks=raps_free_ranks
    )
    scores_N = all_NK[np.arange(n), labels_N]
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
            own = on_few == "pool" and alone and classes[group] not in asked
            if not own or math.isinf(pooled):
                _raise_few(
                    classes[group] if alone else "", level, behind, source_N, math.isinf(pooled)
                )
            threshold = max(pooled, float(scores_N[rows].max(initial=-math.inf)))
            borrowed[group] = True
            fallbacks.append(_word_fallback(classes[group], level, behind))
        for i in members:
            thresholds[i], counts[i] = threshold, behind
    return ConformalSets(
        method=method,
        class_conditional=class_conditional,
        alphas=tuple(alphas),
        thresholds=tuple(thresholds),
        counts=tuple(counts),
        groups=tuple(groups),
        borrowed=tuple(borrowed),
        fallbacks=tuple(fallbacks),
        randomised=uniform_N is not None and method != "lac",
        raps_penalty=raps_penalty,
        raps_free_ranks=raps_free_ranks,
    )


def _raise_few(
    name: str, alpha: float, found: int, source_N: NDArray[np.int64], even_together: bool
) -> None:
    held = f"{100 * (1 - alpha):.4g} %"
    together = len(np.unique(source_N))
    raise DataError(
        f"sets that hold the true class of {held} of cells"
        + (f" of the class {name}" if name else "")
        + f" need {count_needed(alpha)} calibration sources",
        f"{found}"
        + (f", and {together} of all classes together" if name and even_together else ""),
        "ask for less (trust.alpha, trust.min_sensitivity), or set more images aside for"
        " calibration",
    )


def _word_fallback(name: str, alpha: float, found: int) -> str:
    promise = (
        f"its own promise is {found} in {found + 1}, the rest is on average over all classes"
        if found
        else "nothing is promised for it by itself"
    )
    return (
        f"{name}: {found} calibration source{'' if found == 1 else 's'} where"
        f" {count_needed(alpha)} are needed for {100 * (1 - alpha):.4g} %; it shares the threshold"
        f" of all classes or has a wider one, and {promise}."
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


def _check_levels(alpha: float, asked: Mapping[str, float], classes: Sequence[str]) -> None:
    unknown = sorted(set(asked) - set(classes))
    if unknown:
        raise DataError(
            f"levels can be asked for the classes {', '.join(classes)}",
            ", ".join(unknown),
            "correct the name",
        )
    wrong = [a for a in (alpha, *asked.values()) if not 0 < a < 1]
    if wrong:
        raise DataError(
            "the share of sets that may miss the true class lies between 0 and 1",
            f"{wrong[0]}",
            "use 0.05",
        )


@dataclass(frozen=True)
class Share:
    """A measured coverage on some images, and the limits within which it lies in 99 of 100 repeats
    if the promise is kept.

    `promised` is False where the sets promise nothing for these images by themselves (a class under
    a threshold that all classes share); the limits then only say what was asked.
    """

    value: Number
    n_images: int
    low: Number
    high: Number
    promised: bool = True

    @property
    def check(self) -> CoverageCheck:
        """Say on which side of the limits the coverage lies. Above them breaks no promise."""
        if not self.n_images:
            return "no images"
        # Shares of whole numbers: 1e-9 is rounding.
        if self.value < self.low - 1e-9:
            return "below"
        return "above" if self.value > self.high + 1e-9 else "holds"

    @property
    def holds(self) -> bool:
        """False where coverage is lower than chance explains."""
        return self.check != "below"

    def to_dict(self) -> dict[str, float | int | str | bool | None]:
        """Return figures and check for JSON, None for NaN."""
        figures = {
            k: None if isinstance(v, float) and math.isnan(v) else v
            for k, v in asdict(self).items()
        }
        return {**figures, "check": self.check}


@dataclass(frozen=True)
class Coverage:
    """Coverage of prediction sets on N images of known class, and how large the sets are."""

    marginal: Share
    per_class: Mapping[str, Share]
    mean_size: float
    empty_frac: float
    single_frac: float
    many_frac: float
    size_by_class: Mapping[str, Number]
    """Mean size of the sets of each true class; NaN for a class without images."""

    def to_dict(self) -> dict[str, object]:
        """Return the figures for JSON, None for NaN."""
        return {
            "marginal": self.marginal.to_dict(),
            "per_class": {name: share.to_dict() for name, share in self.per_class.items()},
            "mean_size": self.mean_size,
            "empty_frac": self.empty_frac,
            "single_frac": self.single_frac,
            "many_frac": self.many_frac,
            "size_by_class": {
                name: None if math.isnan(size) else size
                for name, size in self.size_by_class.items()
            },
        }


def measure_coverage(
    sets_NK: NDArray[np.bool_],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    promised: ConformalSets | float,
    *,
    sources: Sequence[str] | None = None,
    level: float = 0.99,
) -> Coverage:
    """Measure how often sets hold the true class, in all and for each class.

    Beside each share stand the limits within which chance keeps it with probability `level`
    (`compute_band`). `promised` are the fitted sets, whose own finite calibration set is then
    counted in, or just alpha: then the limits are binomial, for a threshold known exactly. Those of
    the whole follow from the classes exactly: hits of several thresholds are sums of independent
    beta-binomial numbers. Where images share `sources`, the limits are those of as many independent
    images as Kish's effective number of sources, the widest that can be needed.

    Raises `DataError` for no images, or labels outside the classes.
    """
    n, k = len(labels_N), len(classes)
    if not n or sets_NK.shape != (n, k) or labels_N.min() < 0 or labels_N.max() >= k:
        raise DataError(
            f"coverage is measured on images of {k} known classes, each with its set",
            f"{n} labels, sets {sets_NK.shape}",
            "choose a role that has labelled images; leave those of unknown classes out",
        )
    source_N = _number(sources, n)
    hit_N = sets_NK[np.arange(n), labels_N]
    if isinstance(promised, ConformalSets):
        sets = promised
    else:
        # A threshold known exactly is one from very many sources.
        sets = ConformalSets(
            method="lac", class_conditional=False, alphas=(promised,) * k, thresholds=(None,) * k,
            counts=(_VERY_MANY,) * k,
        )  # fmt: skip
    per_class = {}
    for i, name in enumerate(classes):
        own_N = labels_N == i
        low, high = _compute_limits(sets, [(i, _count_effective(source_N[own_N]))], level)
        kept = sets.groups.count(sets.groups[i]) == 1 and (sets.counts[i] > 0)
        per_class[name] = _measure_share(hit_N[own_N], low, high, kept)
    parts = []
    for group in dict.fromkeys(sets.groups):
        rows_N = np.array(sets.groups)[labels_N] == group
        parts.append((sets.groups.index(group), _count_effective(source_N[rows_N])))
    sizes_N = sets_NK.sum(axis=1)
    return Coverage(
        marginal=_measure_share(hit_N, *_compute_limits(sets, parts, level), True),
        per_class=per_class,
        mean_size=float(sizes_N.mean()),
        empty_frac=float((sizes_N == 0).mean()),
        single_frac=float((sizes_N == 1).mean()),
        many_frac=float((sizes_N > 1).mean()),
        size_by_class={
            name: float(sizes_N[labels_N == i].mean()) if (labels_N == i).any() else math.nan
            for i, name in enumerate(classes)
        },
    )


_VERY_MANY = 10**9


def _count_effective(source_N: NDArray[np.int64]) -> int:
    """Kish's number of sources: as if images of a source always stood or fell together."""
    if not len(source_N):
        return 0
    mass_S = np.unique(source_N, return_counts=True)[1]
    return max(1, int(len(source_N) ** 2 / float(mass_S @ mass_S)))


def _measure_share(hit_N: NDArray[np.bool_], low: float, high: float, promised: bool) -> Share:
    if not len(hit_N):
        return Share(math.nan, 0, math.nan, math.nan, promised)
    return Share(float(hit_N.mean()), len(hit_N), low, high, promised)


def _compute_limits(
    sets: ConformalSets, parts: Sequence[tuple[int, int]], level: float
) -> tuple[float, float]:
    """Limits of the share of hits among images of several thresholds: (class, images) of each."""
    total = sum(n for _, n in parts)
    if not total:
        return math.nan, math.nan
    least, most = np.ones(1), np.ones(1)
    for i, n in parts:
        worst, best = _list_chances(n, sets.counts[i], sets.alphas[i], sets.borrowed[i])
        least, most = np.convolve(least, worst), np.convolve(most, best)
    tail = (1 - level) / 2
    low = int(np.searchsorted(np.cumsum(least), tail * (1 - 1e-9)))
    high = int(np.searchsorted(np.cumsum(most), 1 - tail))
    return min(low, total) / total, min(high, total) / total


def _list_chances(
    n: int, n_calib: int, alpha: float, borrowed: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of 0 to n hits under one threshold, at the worst and at the best."""
    from scipy.stats import betabinom

    all_hit = np.zeros(n + 1)
    all_hit[n] = 1
    rank = compute_rank(n_calib, alpha)
    if rank <= n_calib and not borrowed:
        found = np.asarray(betabinom.pmf(np.arange(n + 1), n, rank, n_calib + 1 - rank))
        return found, found
    if not borrowed:
        return all_hit, all_hit
    if not n_calib:
        return all_hit[::-1], all_hit
    return np.asarray(betabinom.pmf(np.arange(n + 1), n, n_calib, 1)), all_hit


def compute_band(
    n_images: int, alpha: float, n_calib: int, level: float = 0.99
) -> tuple[float, float]:
    """Return the limits within which measured coverage lies with probability `level` or more.

    The probability that a new score is at most the r-th of n is the r-th of n uniform draws, so
    the coverage of one fitted threshold is distributed as Beta(r, n + 1 - r), and the hits among
    `n_images` as a beta-binomial number (Vovk 2012; Angelopoulos and Bates 2023, section 3.2 and
    appendix C); r is `compute_rank`. An infinite threshold always covers. Ties between scores can
    only raise coverage.

    >>> compute_band(1000, 0.1, 10**9), compute_band(1000, 0.1, 100)
    ((0.875, 0.924), (0.806, 0.965))
    """
    sets = ConformalSets(
        method="lac", class_conditional=False, alphas=(alpha,) * 2, thresholds=(None,) * 2,
        counts=(n_calib,) * 2,
    )  # fmt: skip
    return _compute_limits(sets, [(0, n_images)], level)


@dataclass(frozen=True)
class Exchangeability:
    """Do new images look like draws from where those of calibration came?

    `gap` is the largest difference between the two cumulative shares of scores, 0 to 1, and
    `p_value` that of the two-sided Kolmogorov-Smirnov test. `auc` is the chance that a new image is
    stranger than one of calibration (0.5 is alike). `strange_frac` is the share of new images
    with a conformal p-value of at most 0.05: 5 % or less if nothing is broken.
    """

    n_calib: int
    n_new: int
    gap: float
    p_value: float
    auc: float
    strange_frac: float
    level: float

    @property
    def broken(self) -> bool:
        """True where chance explains the difference in less than `level` of repeats."""
        return self.p_value < self.level

    def to_dict(self) -> dict[str, float | int | bool]:
        """Return the figures for JSON."""
        return {**asdict(self), "broken": self.broken}


def compute_p_values(
    calib_N: NDArray[np.float64], new_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the conformal p-value of each new score `(M,)`: the share of calibration scores, its
    own counted in, that are at least as strange (Vovk et al. 2005; Bates et al. 2023).

    >>> compute_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 3.0, 9.0])).tolist()
    [1.0, 0.5, 0.25]
    """
    below_M = np.searchsorted(np.sort(calib_N), new_M, side="left")
    return np.asarray((1 + len(calib_N) - below_M) / (len(calib_N) + 1))


def compare_exchangeability(
    calib_N: NDArray[np.float64], new_M: NDArray[np.float64], *, level: float = 0.01
) -> Exchangeability:
    """Compare one score per image, of calibration images and of new ones: high means strange.

    Scores that need no label will do, as 1 less the highest probability or the distance of the
    novelty model; so will those of the true class. A test of uniform conformal p-values would take
    them for independent, but all lean on one calibration set (Bates et al. 2023, section 2); the
    two-sample test allows for it. Give one image per source on each side, or copies will look like
    a difference. That nothing is found is no proof: the score may not see what changed, and few
    images show little.

    Raises `DataError` where either side has no images or a score that is not finite.
    """
    from scipy.stats import ks_2samp, rankdata

    n, m = len(calib_N), len(new_M)
    both = np.concatenate([calib_N, new_M])
    if not n or not m or not np.isfinite(both).all():
        raise DataError(
            "a comparison needs images with finite scores on both sides",
            f"{n} and {m} images, {int((~np.isfinite(both)).sum())} scores not finite",
            "leave out images that the network gave no finite answer for",
        )
    found = ks_2samp(calib_N, new_M)
    auc = (float(rankdata(both)[n:].sum()) - m * (m + 1) / 2) / (n * m)
    strange = float((compute_p_values(calib_N, new_M) <= 0.05).mean())
    return Exchangeability(n, m, float(found.statistic), float(found.pvalue), auc, strange, level)
