"""Invented robustness: accuracy that falls in steps, as the corruptions get worse."""

import math

from tests.builders.bundles import MADE

from leukoscope.data.corrupt import AMOUNTS
from leukoscope.evaluation.robustness import (
    Level,
    Robustness,
    RobustnessProvenance,
    compute_mean_losses,
)
from leukoscope.interval import UNDEFINED, Interval

PROVENANCE = RobustnessProvenance(**vars(MADE), weights_sha256="a" * 64, seed=0, images=500)


def build_robustness(losses, decides=True, wrong=None, detected=(), spread=0.02, **changes):
    """Robustness whose accuracy falls from 0.95 by `losses[name]` at each severity, each loss with
    bounds `spread` apart from it. Of the accepted half `wrong[name]` more are misclassified at each
    severity; `detected` are pairs of corruption and severity."""
    levels = []
    for name, loss in losses.items():
        for severity in range(6):
            value = max(0.0, 0.95 - loss * severity)
            lost = 0.95 - value
            right = 1.0 - (wrong or {}).get(name, 0) * severity
            level = Level(
                name, severity, Interval(value, value - 0.02, min(1, value + 0.02)),
                Interval(lost, lost - spread, lost + spread), value, 0.9, 0.01,
                Interval(0.5, 0.4, 0.6) if decides else UNDEFINED,
                Interval(right, right - 0.1, 1.0) if decides else UNDEFINED,
                0.5 * (1 - right) if decides else math.nan,
                (name, severity) in detected,
            )  # fmt: skip
            levels.append(level)
    given = {
        "model": "run <a>", "data": "cells", "n_images": 200, "n_sources": 200, "majority": 0.3,
        "leakage_status": "disjoint", "remarks": (), "split_findings": (),
        "warnings": (), "provenance": PROVENANCE,
    }  # fmt: skip
    amounts = {name: AMOUNTS[name] for name in losses}
    mean_loss = compute_mean_losses(levels)
    return Robustness(
        **(given | changes), levels=tuple(levels), decides=decides, amounts=amounts,
        mean_loss=mean_loss,
    )  # fmt: skip
