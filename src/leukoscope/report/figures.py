"""The style of all figures, and their files.

Drawn with matplotlib's object interface, so no global state changes and no display is needed.
Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; no message rests
on colour alone. What this file does not do: it draws nothing but rows with intervals.
"""

import contextlib
import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from leukoscope.errors import StorageError
from leukoscope.interval import Interval
from leukoscope.labels import display_label
from leukoscope.text import TOO_FEW

BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, PALE = "#1f2933", "#7b8794", "#d9dee3"
WARNING = "#a3310b"  # for words: vermillion is too pale for small type
CURVES = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
_DPI = 150
# Any, because the keys are a Literal of several hundred names.
_STYLE: dict[Any, Any] = {
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "leukoscope",
    "text.color": INK,
    "text.parse_math": False,  # class names are free text and may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}

_P = ParamSpec("_P")


_OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP"),
    *("Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "MS Gothic"),
    *("Malgun Gothic", "Apple SD Gothic Neo", "Nanum Gothic", "Arial Unicode MS"),
    *("Noto Sans Arabic", "Noto Naskh Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Segoe UI", "Tahoma"),
)
"""Fonts of scripts that the first one lacks; those that are installed draw what it does not."""


@functools.cache
def _choose_fonts() -> tuple[str, ...]:
    installed = set(font_manager.fontManager.get_font_names())
    return ("DejaVu Sans", *(name for name in _OTHER_FONTS if name in installed))


def can_draw(text: str) -> bool:
    """Tell whether the fonts that are installed have a glyph for every sign."""
    return has_glyphs(text, _choose_fonts())


def has_glyphs(text: str, names: Sequence[str] = ("DejaVu Sans",)) -> bool:
    """Tell whether these fonts have a glyph for every sign."""
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in names]
    return all(any(font.get_char_index(ord(sign)) for font in fonts) for sign in text)


def number_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names that figures give classes: their own, or `class 1`, counted in this order,
    where no font has the signs. As boxes, all classes would look alike.

    >>> number_classes(["blast", chr(0x10FFFD)])
    ('blast', 'class 2')
    """
    return tuple(
        name if can_draw(display_label(name)) else f"class {k}"
        for k, name in enumerate(classes, start=1)
    )


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    style = _STYLE | {"font.family": list(_choose_fonts())}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A sign that no font has is drawn as a box; the report has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Draw in the style of the house, with a layout that no rendering moves."""

    @wraps(draw)
    def draw_styled(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with _drawing():
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            # Each rendering would move the layout on a little; fixed here, all files agree.
            figure.set_layout_engine("none")
            return figure

    return draw_styled


def label_interval(interval: Interval) -> str:
    """Return a share in per cent with its bounds, as it stands beside its row.

    >>> label_interval(Interval(0.9, 0.8, 0.95)), label_interval(Interval(0.9, math.nan, math.nan))
    ('90.0 %  (80.0 to 95.0)', '90.0 %  (too few sources)')
    """
    value, low, high = (100 * x for x in (interval.value, interval.low, interval.high))
    bounds = TOO_FEW if math.isnan(low) else f"{low:.1f} to {high:.1f}"
    return f"{value:.1f} %  ({bounds})"


def draw_ranges(axes: Axes, rows: Sequence[tuple[str, Interval]], colours: Sequence[str]) -> None:
    """Draw one row per figure: interval, value, and both in words; what is undefined is not in the
    test set."""
    for y, ((_, interval), colour) in enumerate(zip(rows, colours, strict=True)):
        text = "not in the test set"
        if not math.isnan(interval.value):
            axes.plot([interval.low, interval.high], [y, y], color=colour, lw=2.5)
            axes.plot(interval.value, y, "o", color=colour, ms=8, clip_on=False, zorder=3)
            text = label_interval(interval)
        axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def render_png(figure: Figure) -> bytes:
    """Render a figure as PNG at 150 dots per inch, equal bytes for equal figures."""
    return _render(figure, "png")


def render_svg(figure: Figure) -> str:
    """Render a figure as SVG without date or random ids, equal text for equal figures."""
    return _render(figure, "svg").decode()


def _render(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    with _drawing():
        figure.savefig(buffer, format=form, dpi=_DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `<name>.png` and `<name>.svg` into an existing folder; return both paths.

    Raises `StorageError` if they cannot be written.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    try:
        png.write_bytes(render_png(figure))
        svg.write_text(render_svg(figure), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"figures must be writable in {folder}", str(error), "free space or choose a folder"
        ) from error
    return png, svg
