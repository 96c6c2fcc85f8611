"""Numbers in words: counts, shares, points, intervals, and words joined as a sentence does.

What this file does not do: it makes no sentence (`report`), and knows nothing of figures of merit.
"""

import math
import re
from collections.abc import Iterable, Sequence

from leukoscope.interval import Interval

DASH = "–"
"""What is undefined."""

TOO_FEW = "too few sources"
"""Why a figure has no interval."""

NO_INTERVAL = f"no interval: {TOO_FEW}"
"""Instead of bounds that cannot be had."""


def format_count(n: int, one: str, several: str = "") -> str:
    """Return a number with its noun.

    >>> format_count(1, "image"), format_count(2000, "class"), format_count(2, "cell bears",
    ...              "cells bear")
    ('1 image', '2,000 classes', '2 cells bear')
    """
    plural = several or one + ("es" if one.endswith("s") else "s")
    return f"{n:,} {one if n == 1 else plural}"


def join_words(parts: Iterable[str]) -> str:
    """Join words as a sentence does.

    >>> join_words(["a"]), join_words(["a", "b"]), join_words("abc")
    ('a', 'a and b', 'a, b and c')
    """
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def format_number(value: float, digits: int, sign: str = "") -> str:
    """Return a number with so many decimals and a true minus, never `−0.0`; `+` signs all.

    >>> format_number(-0.04, 1), format_number(-2.5, 1), format_number(-0.04, 1, "+")
    ('0.0', '−2.5', '+0.0')
    """
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def format_percent(value: float) -> str:
    """Return a share in per cent with one decimal; 100.0 and 0.0 only where they are exact.

    >>> format_percent(0.9379), format_percent(0.99996), format_percent(1.0), format_percent(-0.0)
    ('93.8 %', '>99.9 %', '100.0 %', '0.0 %')
    """
    if math.isnan(value):
        return DASH
    text = format_number(100 * value, 1)
    if text == "100.0" and value < 1:
        return ">99.9 %"
    if text == "0.0" and value > 0:
        return "<0.1 %"
    return f"{text} %"


def format_share(n: int, total: int, what: str) -> str:
    """Word a part of a whole that has at least one; 100 per cent and 0 only where exact.

    >>> format_share(1469, 1494, "test image"), format_share(1, 9999, "image")
    ('1,469 of 1,494 test images (98.3 %)', '1 of 9,999 images (<0.1 %)')
    """
    return f"{n:,} of {format_count(total, what)} ({format_percent(n / total)})"


def format_points(value: float) -> str:
    """Return the size of a difference of shares in percentage points.

    >>> format_points(0.0061), format_points(-0.25), format_points(0.0)
    ('0.6 points', '25.0 points', '0.0 points')
    """
    return f"{format_number(abs(100 * value), 1)} points"


def join_bounds(low: float, high: float, digits: int) -> str:
    """Return two bounds with a dash, or with `to` where a dash would look like a minus; words where
    they cannot be had."""
    if math.isnan(low):
        return NO_INTERVAL
    between = " to " if low < 0 else "–"
    return f"{format_number(low, digits)}{between}{format_number(high, digits)}"


def format_figure(interval: Interval) -> str:
    """Return a figure with three decimals and its interval, a dash for what is undefined.

    >>> format_figure(Interval(0.5, 0.41234, 0.6))
    '0.500 (0.412–0.600)'
    >>> format_figure(Interval(0.1, -0.2, 0.4))
    '0.100 (−0.200 to 0.400)'
    """
    if math.isnan(interval.value):
        return DASH
    value = format_number(interval.value, 3)
    return f"{value} ({join_bounds(interval.low, interval.high, 3)})"


def format_range(interval: Interval) -> str:
    """Return a share in per cent with its interval, in words.

    >>> format_range(Interval(0.931, 0.8604, 0.97))
    '93.1 % (95 % interval 86.0 % to 97.0 %)'
    >>> format_range(Interval(0.9, math.nan, math.nan))
    '90.0 % (no interval: too few sources)'
    """
    if math.isnan(interval.low):
        return f"{format_percent(interval.value)} ({NO_INTERVAL})"
    low, high = format_percent(interval.low), format_percent(interval.high)
    return f"{format_percent(interval.value)} (95 % interval {low} to {high})"


def format_short(interval: Interval) -> str:
    """Return a share in per cent with its bounds in brackets.

    >>> format_short(Interval(-0.0, -0.052, 0.1))
    '0.0 % (−5.2 to 10.0)'
    """
    if math.isnan(interval.value):
        return DASH
    bounds = join_bounds(100 * interval.low, 100 * interval.high, 1)
    return f"{format_percent(interval.value)} ({bounds})"


def format_signed(interval: Interval) -> str:
    """Return a difference of shares in points, signed, with its bounds.

    >>> format_signed(Interval(-0.0001, -0.2, 0.1))
    '+0.0 (−20.0 to +10.0)'
    """
    if math.isnan(interval.value):
        return DASH
    value, low, high = (
        format_number(100 * x, 1, "+") for x in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({NO_INTERVAL if math.isnan(interval.low) else f'{low} to {high}'})"


def align_columns(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lay out a table in plain text: columns flush right where `right`, flush left elsewhere.

    >>> align_columns([["", "images"], ["Band", "9"]], [False, True])
    ['      images', 'Band       9']
    """
    if not rows:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)
"""Signs that steer a terminal, or turn the direction of writing."""


def show_unseen(text: str) -> str:
    """Return text without surrogates of file names that are not Unicode, and with signs that would
    steer a terminal as their codes.

    >>> print(show_unseen(chr(27) + "[31m"))
    \\u001b[31m
    """
    text = text.encode("utf-8", "replace").decode()
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)
