"""The project's own targets: one table, and how a measurement is compared with its row.

A target is met by the median over rounds. What this file does not do: it measures nothing.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A target and what was measured: the median, `low` and `high` over rounds."""

    work: str
    target: str
    value: float
    low: float
    high: float
    met: bool
    unit: str


@dataclass(frozen=True)
class Target:
    """A bound on some figure of some work, in `unit`: at least, or with `at_most` at most."""

    work: str
    bound: float
    unit: str = "x"
    at_most: bool = False

    def compare(self, values: Sequence[float]) -> Outcome:
        """Return what came of the target; one value per round, at least one."""
        value = statistics.median(values)
        met = value <= self.bound if self.at_most else value >= self.bound
        words = f"{'at most' if self.at_most else 'at least'} {self.bound:g} {self.unit}"
        return Outcome(self.work, words, value, min(values), max(values), met, self.unit)


KERAS, PLAIN_LAST, TIMM = (
    "reference network in Keras (TensorFlow)",
    "plain PyTorch, channels last",
    "timm coatnet_0_224",
)
"""Candidates of `training` that a target is about."""

FEEDING: Mapping[str, Target] = {
    "Keras, flow_from_dataframe": Target("feeding, against Keras' `flow_from_dataframe`", 20),
    "DataLoader, 2 worker processes, torchvision": Target(
        "feeding, against two worker processes", 5
    ),
}
"""By candidate of `feeding`: how many times faster ours is."""

FEEDING_SHARE = Target(
    "feeding, share of a training step of `coatnet-hematology`", 5, "%", at_most=True
)
TRAINING: Mapping[tuple[str, str], Target] = {
    (preset, rival): Target(f"training step of `{preset}`, against {rival}", bound)
    for preset, rival, bound in (
        ("coatnet-hematology", KERAS, 1.5),
        ("coatnet-hematology", PLAIN_LAST, 1.25),
        ("coatnet-0", TIMM, 1.25),
    )
}
"""By network and candidate of `training`: how many times faster ours is."""

PREDICTION = Target(
    "prediction of `coatnet-hematology`, best variant against the plain rewrite in ONNX Runtime"
    " fp32",
    3,
)
ONE_IMAGE = Target("`predict` of one image, start to exit", 1, "s", at_most=True)
ONE_IMAGE_MEMORY = Target("its peak memory", 300, "MB", at_most=True)
MANY_FILES = Target("`predict` from JPEG files to CSV, int8", 200, "images/s")
