"""Calibration: stated confidence that agrees with real success.

Axes: N images, K classes, S sources. What this file does not do: it measures no calibration error
(`evaluation.calibration_error`). Applying needs NumPy only, fitting SciPy.

Both methods are fitted by maximum likelihood with a weak prior: the logarithm of the temperature
and each bias are drawn from a normal distribution of standard deviation 1, so that the prior
weighs as much as half a nat in all, whatever the number of images. Guo et al. and Alexandari et
al. have none. Without it a calibration role in which every image is correctly classified asks for a
temperature of 0, and a class without images for a bias of minus infinity; with a thousand images
and some mistakes it moves the temperature in the fourth decimal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from leukoscope.errors import DataError
from leukoscope.scores import compute_probabilities

CalibrationMethod = Literal["none", "temperature", "bias_corrected"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_MAX_BIAS = 20.0

FOLDS = 5


class Calibration(BaseModel):
    """A change of logits, `logits / temperature + bias`, as a bundle keeps it.

    "temperature" (Guo et al. 2017, section 4.2) makes all confidences milder or sharper together
    and changes no name. "bias_corrected" (bias-corrected temperature scaling, Alexandari et al.
    2020) also adds one number per class. It is the stronger method here in place of vector
    scaling: the same correction of class frequencies with K + 1 numbers instead of 2 K, which
    rare classes with tens of calibration images can carry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: CalibrationMethod = "none"
    temperature: float = Field(1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    bias: tuple[float, ...] = ()
    """One number per class for "bias_corrected", in the order of the classes; else none."""

    @model_validator(mode="after")
    def _check_parts(self) -> "Calibration":
        if bool(self.bias) != (self.method == "bias_corrected"):
            raise ValueError("bias_corrected, and no other method, has a bias per class")
        if self.method == "none" and self.temperature != 1:
            raise ValueError("without a method the temperature is 1")
        return self

    def apply(self, logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return calibrated logits: float64 `(N, K)`.

        Raises `DataError` if the biases are those of another number of classes.

        >>> Calibration(method="temperature", temperature=2.0).apply(np.array([[2.0, 0.0]]))
        array([[1., 0.]])
        """
        out_NK = np.asarray(logits_NK, dtype=np.float64) / self.temperature
        if not self.bias:
            return out_NK
        if out_NK.ndim != 2 or out_NK.shape[1] != len(self.bias):
            raise DataError(
                f"logits must have the {len(self.bias)} classes that were calibrated",
                f"shape {out_NK.shape}",
                "use the calibration of the network that made them",
            )
        return np.asarray(out_NK + np.array(self.bias))


NEEDED_ERRORS: Mapping[CalibrationMethod, float] = {"temperature": 1.0, "bias_corrected": 2.0}
"""A method is taken if it is better than the simpler one by more than so many standard errors. To
fit is to add noise: of a network that needs nothing even one temperature, from 1,120 images with
12 named wrongly, raised the calibration error from 0.1 to 0.4 points (docs/experiments/029)."""


@dataclass(frozen=True)
class CalibrationChoice:
    """How the method was chosen: mean log loss of each on sources that it was not fitted on.

    `gains` are by how much a method is better than the best of those before it in the order none,
    temperature, bias_corrected (negative if worse), and `standard_errors` how far chance moves
    that, over sources. With too few sources to hold some out `folds` is 0 and there are none.
    `scarce` numbers the classes with fewer than `FOLDS` sources: where there are any, no bias is
    fitted.
    """

    chosen: CalibrationMethod
    folds: int
    n_images: int
    n_sources: int
    log_losses: Mapping[CalibrationMethod, float] = field(default_factory=dict)
    gains: Mapping[CalibrationMethod, float] = field(default_factory=dict)
    standard_errors: Mapping[CalibrationMethod, float] = field(default_factory=dict)
    scarce: tuple[int, ...] = ()


def fit_temperature(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> Calibration:
    """Fit one temperature, between 0.05 and 20 (Guo et al. 2017; prior in the header).

    Raises `DataError` for no images, logits that are not finite, or labels outside the classes.
    """
    from scipy.optimize import minimize_scalar

    z_NK = _check(logits_NK, labels_N)

    def loss(log_temperature: float) -> float:
        likelihood = compute_log_losses(z_NK / math.exp(log_temperature), labels_N).sum()
        return (float(likelihood) + log_temperature**2 / 2) / len(z_NK)

    found = minimize_scalar(
        loss,
        bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return Calibration(method="temperature", temperature=_limit_temperature(found.x))


def fit_bias_corrected(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> Calibration:
    """Fit a temperature and a bias per class (Alexandari et al. 2020; prior in the header).

    The biases sum to 0: adding one number to all classes changes nothing. Errors as in
    `fit_temperature`.
    """
    from scipy.optimize import minimize

    z_NK = _check(logits_NK, labels_N)
    n, k = z_NK.shape
    onehot_NK = np.eye(k)[labels_N]

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled_NK, bias_K = z_NK * math.exp(-x[0]), x[1:]
        likelihood = compute_log_losses(scaled_NK + bias_K, labels_N).sum()
        residual_NK = compute_probabilities(scaled_NK + bias_K) - onehot_NK
        slope = np.array([-float((residual_NK * scaled_NK).sum()), *residual_NK.sum(axis=0)])
        return (float(likelihood) + float(x @ x) / 2) / n, (slope + x) / n

    start = math.log(fit_temperature(z_NK, labels_N).temperature)
    found = minimize(
        loss,
        np.array([start, *[0.0] * k]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))]
        + [(-_MAX_BIAS, _MAX_BIAS)] * k,
        options={"ftol": 1e-13, "gtol": 1e-8},
    )
    bias_K = found.x[1:] - found.x[1:].mean()
    return Calibration(
        method="bias_corrected",
        temperature=_limit_temperature(found.x[0]),
        bias=tuple(float(b) for b in bias_K),
    )


def fit_calibration(
    logits_NK: NDArray[np.floating],
    labels_N: NDArray[np.int64],
    sources: Sequence[str],
    seed: int = 0,
) -> tuple[Calibration, CalibrationChoice]:
    """Fit the calibration that wins on held-out images: none, a temperature, or a bias per class.

    Each is fitted on four fifths of the sources and compared by the log loss of the last fifth,
    five times. Nothing is done unless a temperature is better than nothing, and no bias is fitted
    unless it is better than what stood before, by more than chance explains (`NEEDED_ERRORS`,
    counted over sources); what is chosen is then fitted on all images. `seed` draws the folds. A
    class with next to no images gets a bias that renames its cells, whatever that does for the
    average, so a class with fewer than `FOLDS` sources keeps it out.

    With fewer than 10 sources there is nothing to choose by: the temperature is taken. Errors as in
    `fit_temperature`, and `DataError` for a number of sources that differs from N.
    """
    z_NK = _check(logits_NK, labels_N)
    n = len(z_NK)
    source_N, s = number_sources(sources, n)
    if s < 2 * FOLDS:
        return fit_temperature(z_NK, labels_N), CalibrationChoice("temperature", 0, n, s)
    scarce = tuple(
        k for k in range(z_NK.shape[1]) if len(np.unique(source_N[labels_N == k])) < FOLDS
    )
    fold_N = (np.random.default_rng(seed).permutation(s) % FOLDS)[source_N]
    losses = {method: np.zeros(n) for method in _FITS}
    for fold in range(FOLDS):
        held_N = fold_N == fold
        for method, fit in _FITS.items():
            fitted = fit(z_NK[~held_N], labels_N[~held_N])
            loss_N = compute_log_losses(fitted.apply(z_NK[held_N]), labels_N[held_N])
            losses[method][held_N] = loss_N
    chosen: CalibrationMethod = "none"
    gains: dict[CalibrationMethod, float] = {}
    errors: dict[CalibrationMethod, float] = {}
    for method, needed in NEEDED_ERRORS.items():
        gain_N = losses[chosen] - losses[method]
        gains[method] = float(gain_N.mean())
        spread_S = np.bincount(source_N, weights=gain_N - gains[method])
        errors[method] = math.sqrt(s / (s - 1) * float(spread_S @ spread_S)) / n
        if gains[method] > needed * errors[method] and not (scarce and method == "bias_corrected"):
            chosen = method
    means = {method: float(loss_N.mean()) for method, loss_N in losses.items()}
    return _FITS[chosen](z_NK, labels_N), CalibrationChoice(
        chosen, FOLDS, n, s, means, gains, errors, scarce
    )


def _fit_nothing(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> Calibration:
    """Return the calibration that changes nothing; errors as in `fit_temperature`."""
    _check(logits_NK, labels_N)
    return Calibration()


_FITS: dict[CalibrationMethod, Callable[..., Calibration]] = {
    "none": _fit_nothing,
    "temperature": fit_temperature,
    "bias_corrected": fit_bias_corrected,
}


def compute_log_losses(
    logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log loss of each image `(N,)` in nats, from logits: finite where a probability
    would round to 0."""
    z_NK = np.asarray(logits_NK, dtype=np.float64)
    z_NK = z_NK - z_NK.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(z_NK).sum(axis=1)) - z_NK[np.arange(len(z_NK)), labels_N])


def number_sources(sources: Sequence[str], n: int) -> tuple[NDArray[np.int64], int]:
    """Return the number of each image's source, and how many sources there are.

    Raises `DataError` unless there are `n` names.
    """
    if len(sources) != n:
        raise DataError(
            f"each of {n} images must have its source", f"{len(sources)} sources",
            "pass columns of one score table",
        )  # fmt: skip
    names, source_N = np.unique(np.asarray(sources, dtype=np.str_), return_inverse=True)
    return np.asarray(source_N, dtype=np.int64), len(names)


def _limit_temperature(log_temperature: float) -> float:
    return float(np.clip(math.exp(log_temperature), MIN_TEMPERATURE, MAX_TEMPERATURE))


def _check(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Raise `DataError` unless the two can be fitted on; return the logits as float64."""
    if logits_NK.ndim != 2 or logits_NK.shape[1] < 2 or len(labels_N) != len(logits_NK):
        raise DataError(
            "calibration needs logits (N, K) of at least 2 classes and N labels",
            f"logits {logits_NK.shape}, {len(labels_N)} labels",
            "pass columns of one score table",
        )
    bad = int((~np.isfinite(logits_NK)).any(axis=1).sum())
    if not len(logits_NK) or bad:
        raise DataError(
            "calibration needs at least one image, all with finite logits",
            f"{len(logits_NK)} images, {bad} of them not finite",
            "choose a role that has labelled images; score them again if logits are not finite",
        )
    if labels_N.min() < 0 or labels_N.max() >= logits_NK.shape[1]:
        raise DataError(
            f"labels must lie between 0 and {logits_NK.shape[1] - 1}",
            f"{labels_N.min()} to {labels_N.max()}",
            "leave images of unknown classes out",
        )
    return logits_NK.astype(np.float64)
