"""A value with its confidence bounds: the one type for every figure of the package.

What this file does not do: it computes no bound (`evaluation.intervals`) and words none (`text`).
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

Number = Annotated[
    float,
    BeforeValidator(lambda x: math.nan if x is None else x),
    PlainSerializer(lambda x: x if math.isfinite(x) else None, when_used="json"),
]
"""A float that may be undefined: NaN in memory, `null` in JSON."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its confidence limits; NaN where undefined or not to be had."""

    value: Number
    low: Number
    high: Number


EXACT_BELOW = 10
"""Shares from fewer sources than this are decided by their exact interval."""

UNDEFINED = Interval(math.nan, math.nan, math.nan)
"""What a figure is where no image tells."""
