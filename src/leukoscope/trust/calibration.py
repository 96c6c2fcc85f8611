"""Calibration: stated confidence that agrees with real success.

Axes: N images, K classes, M bins. What this file does not do: it draws no interval
(`evaluation.trust_measures`) and needs NumPy only to be applied; SciPy to be fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.scores import compute_probabilities

Method = Literal["none", "temperature", "bias_corrected"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""Limits of the search: with every calibration image named right the likelihood would ask for a
temperature of 0."""

FOLDS = 5


class Calibration(BaseModel):
    """A change of logits: `logits / temperature + bias`.

    "temperature" (Guo et al. 2017) moves all confidences together and no decision;
    "bias_corrected" (Alexandari et al. 2020, BCTS) also shifts classes against each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = "none"
    temperature: float = Field(1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    bias: tuple[float, ...] = ()
    """One number per class for "bias_corrected"; none otherwise."""

    @model_validator(mode="after")
    def _check_bias(self) -> "Calibration":
        if bool(self.bias) != (self.method == "bias_corrected"):
            raise ValueError("bias_corrected, and no other method, has a bias per class")
        if self.method == "none" and self.temperature != 1:
            raise ValueError("without a method the temperature is 1")
        return self

    def apply(self, logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated logits: float64 `(N, K)`.

        Raises `DataError` if the number of classes is another.

        >>> Calibration(method="temperature", temperature=2.0).apply(np.array([[2.0, 0.0]]))
        array([[1., 0.]])
        """
        out_NK = np.asarray(logits_NK, dtype=np.float64) / self.temperature
        if not self.bias:
            return out_NK
        if out_NK.shape[1] != len(self.bias):
            raise DataError(
                f"logits must have {len(self.bias)} classes",
                f"{out_NK.shape[1]}",
                "calibrate the network that made them",
            )
        return np.asarray(out_NK + np.array(self.bias))


@dataclass(frozen=True)
class CalibrationChoice:
    """How the method was chosen: mean log loss of each on held-out folds, and the standard error
    of the difference between the two methods. `folds` is 0 where there were too few sources."""

    folds: int
    log_loss_none: float
    log_loss_temperature: float
    log_loss_bias_corrected: float
    standard_error: float
    chosen: Method

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return the record for JSON, None for NaN."""
        found = asdict(self)
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in found.items()
        }


def fit_temperature(logits_NK: NDArray[np.float32], labels_N: NDArray[np.int64]) -> Calibration:
    """Fit one temperature by maximum likelihood (Guo et al. 2017), between 0.05 and 20.

    Raises `DataError` for no images, logits that are not finite, or labels outside the classes.
    """
    from scipy.optimize import minimize_scalar

    _check(logits_NK, labels_N)

    def loss(log_temperature: float) -> float:
        return _compute_log_loss(logits_NK / math.exp(log_temperature), labels_N)

    found = minimize_scalar(
        loss,
        bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.clip(math.exp(found.x), MIN_TEMPERATURE, MAX_TEMPERATURE))
    return Calibration(method="temperature", temperature=temperature)


def fit_bias_corrected(
    logits_NK: NDArray[np.float32], labels_N: NDArray[np.int64], ridge: float = 1e-3
) -> Calibration:
    """Fit a temperature and one bias per class by maximum likelihood (Alexandari et al. 2020).

    Deviation: a small penalty `ridge * sum(bias^2)` keeps the bias of a class without images, or
    of one that is never mistaken, finite. Errors as in `fit_temperature`.
    """
    from scipy.optimize import minimize

    _check(logits_NK, labels_N)
    n, k = logits_NK.shape
    z_NK = logits_NK.astype(np.float64)
    onehot_NK = np.eye(k)[labels_N]

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, bias_K = math.exp(-x[0]), x[1:]
        scaled_NK = z_NK * scale
        p_NK = compute_probabilities(scaled_NK + bias_K)
        residual_NK = (p_NK - onehot_NK) / n
        value = _compute_log_loss(scaled_NK + bias_K, labels_N) + ridge * float(bias_K @ bias_K)
        slope_scale = -float((residual_NK * scaled_NK).sum())
        return value, np.array([slope_scale, *(residual_NK.sum(axis=0) + 2 * ridge * bias_K)])

    start = math.log(fit_temperature(logits_NK, labels_N).temperature)
    bounds = [(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))] + [(-10.0, 10.0)] * k
    found = minimize(loss, [start, *[0.0] * k], jac=True, bounds=bounds, method="L-BFGS-B")
    temperature = float(np.clip(math.exp(found.x[0]), MIN_TEMPERATURE, MAX_TEMPERATURE))
    return Calibration(
        method="bias_corrected",
        temperature=temperature,
        bias=tuple(float(b) for b in found.x[1:]),
    )


def fit_calibration(
    logits_NK: NDArray[np.float32],
    labels_N: NDArray[np.int64],
    sources: Sequence[str],
    seed: int = 0,
) -> tuple[Calibration, CalibrationChoice]:
    """Fit a temperature, or the stronger method where it wins on held-out calibration images.

    Both are fitted on four fifths of the sources and judged by the log loss of the rest, five
    times; the stronger one is taken only if it is better by more than one standard error of the
    difference, over sources. Errors as in `fit_temperature`.
    """
    _check(logits_NK, labels_N)
    names, source_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)
    temperature = fit_temperature(logits_NK, labels_N)
    if len(names) < 2 * FOLDS:
        nan = math.nan
        return temperature, CalibrationChoice(0, nan, nan, nan, nan, "temperature")
    fold_S = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    loss_3N = np.zeros((3, len(labels_N)))
    for fold in range(FOLDS):
        held_N = fold_S[source_N] == fold
        rest = logits_NK[~held_N], labels_N[~held_N]
        fitted = Calibration(), fit_temperature(*rest), fit_bias_corrected(*rest)
        for place, calibration in enumerate(fitted):
            loss_3N[place, held_N] = compute_log_losses(
                calibration.apply(logits_NK[held_N]), labels_N[held_N]
            )
    gain_N = loss_3N[1] - loss_3N[2]
    gain_S = np.bincount(source_N, weights=gain_N - gain_N.mean())
    error = math.sqrt(float((gain_S**2).sum())) / len(labels_N)
    better = gain_N.mean() > error
    chosen = fit_bias_corrected(logits_NK, labels_N) if better else temperature
    none, simple, strong = (float(loss_N.mean()) for loss_N in loss_3N)
    return chosen, CalibrationChoice(FOLDS, none, simple, strong, error, chosen.method)


def compute_log_losses(
    logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log loss of each image, from logits: exact where a probability underflows."""
    z_NK = np.asarray(logits_NK, dtype=np.float64)
    z_NK = z_NK - z_NK.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(z_NK).sum(axis=1)) - z_NK[np.arange(len(z_NK)), labels_N])


def _compute_log_loss(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    return float(compute_log_losses(logits_NK, labels_N).mean())


def _check(logits_NK: NDArray[np.float32], labels_N: NDArray[np.int64]) -> None:
    bad = int((~np.isfinite(logits_NK)).any(axis=1).sum()) if len(logits_NK) else 0
    if not len(logits_NK) or bad or len(labels_N) != len(logits_NK):
        raise DataError(
            "calibration needs images with finite logits, each with its class",
            f"{len(logits_NK)} rows of logits, {bad} of them not finite, {len(labels_N)} labels",
            "choose a role that has labelled images",
        )
    if labels_N.min() < 0 or labels_N.max() >= logits_NK.shape[1]:
        raise DataError(
            f"labels must lie between 0 and {logits_NK.shape[1] - 1}",
            f"{labels_N.min()} to {labels_N.max()}",
            "leave images of unknown classes out",
        )


def compute_debiased_ece(
    confidence_N: NDArray[np.float64], hit_N: NDArray[np.bool_], bins: int = 15
) -> float:
    """Compute the calibration error in bins of equal mass without its bias, 0 to 1.

    The square root of the mean squared difference between confidence and success by bin would be
    above 0 even for a perfect network, by the chance in each bin's share of hits; that part,
    `accuracy (1 - accuracy) / (n - 1)`, is taken off (Kumar, Liang and Ma 2019, debiased
    estimator of the L2 error), and what falls below 0 is 0.

    >>> compute_debiased_ece(np.full(100, 0.9), np.arange(100) < 90)
    0.0
    """
    if not len(confidence_N):
        raise DataError(
            "a calibration error needs at least one image", "none", "choose a role that has images"
        )
    order = np.argsort(np.round(confidence_N, 12), kind="stable")
    squares = 0.0
    for part in np.array_split(order, min(bins, len(order))):
        n = len(part)
        accuracy = float(hit_N[part].mean())
        noise = accuracy * (1 - accuracy) / (n - 1) if n > 1 else 0.0
        squares += n * ((float(confidence_N[part].mean()) - accuracy) ** 2 - noise)
    return math.sqrt(max(0.0, squares / len(order)))
