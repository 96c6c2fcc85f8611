"""Pictures of a differential: shares with intervals as bars, fields with numbered boxes, and cells.

Drawn as SVG text and with Pillow, so that a report needs no plotting library. Colours are those of
Okabe and Ito (2008), and boxes bear numbers and labels: nothing rests on colour. What this file
does not do: it chooses no words but labels, and computes nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from leukoscope.data.images import Box, decode_file, resize_image
from leukoscope.errors import ImageError
from leukoscope.interval import Interval
from leukoscope.labels import display_label, shorten_label
from leukoscope.report.differential_words import sort_shares
from leukoscope.report.page import Picture
from leukoscope.report.thumbnails import encode_jpeg
from leukoscope.smear.differential import ClassShare, CountedCell, DifferentialRecord

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8F6B00"),
)
GREY = "#5f6b76"

MOST_FIELDS = 40
"""So many fields are shown, those with most cells first in the order of the sample."""

MOST_CELLS = 18
"""So many cells of each class are shown, least certain first."""

_FIELD_PX = 880
_HIGHEST_PX = 8000
"""A strip of a field that is higher is shown narrower."""

_CELL_PX = 96
_JPEG_QUALITY = 82
_AROUND = 0.35
"""Of a cell's longer side, shown around it in the gallery."""


@dataclass(frozen=True)
class DrawnDifferential:
    """Pictures of one sample: the bars, fields by name, and cells by image and number."""

    bars: Picture
    fields: Mapping[str, Picture]
    cells: Mapping[tuple[str, int], Picture]
    n_left_out: int = 0
    """Fields with cells that are not shown."""


def draw_differential(
    record: DifferentialRecord, cells: Sequence[CountedCell], files: Mapping[str, Path]
) -> DrawnDifferential:
    """Draw what the page of a sample shows; `files` are its images by the names in the record."""
    colours = choose_colours(record)
    wanted = [cell for group in group_cells(cells).values() for cell in group]
    by_image: dict[str, list[CountedCell]] = {}
    for cell in wanted:
        by_image.setdefault(cell.image, []).append(cell)
    boxed: dict[str, list[CountedCell]] = {}
    for cell in cells:
        if cell.box is not None:
            boxed.setdefault(cell.image, []).append(cell)
    shown = [*boxed][:MOST_FIELDS]
    fields: dict[str, Picture] = {}
    pictures: dict[tuple[str, int], Picture] = {}
    for name in dict.fromkeys([*shown, *by_image]):
        try:
            pixels_HWC = decode_file(files[name])
        except ImageError as error:
            for cell in by_image.get(name, ()):
                problem = f"This image cannot be shown: {error.found}"
                pictures[name, cell.number] = Picture("", name, problem)
            continue
        if name in shown:
            fields[name] = draw_field(pixels_HWC, boxed[name], colours)
        for cell in by_image.get(name, ()):
            pictures[name, cell.number] = _draw_cell(pixels_HWC, cell)
    return DrawnDifferential(draw_bars(record), fields, pictures, len(boxed) - len(shown))


def group_cells(cells: Iterable[CountedCell]) -> dict[str, list[CountedCell]]:
    """Return the cells of the gallery by label, at most `MOST_CELLS` of each: least certain first;
    those that are unidentified under ""."""
    groups: dict[str, list[CountedCell]] = {}
    for cell in cells:
        if cell.is_counted or cell.decision == "unknown":
            groups.setdefault(cell.label if cell.is_counted else "", []).append(cell)
    return {
        label: sorted(group, key=lambda one: (one.confidence, one.image, one.number))[:MOST_CELLS]
        for label, group in groups.items()
    }


def choose_colours(record: DifferentialRecord) -> dict[str, str]:
    """Return a colour for each class; beyond eight they repeat, and labels tell them apart."""
    labels = [one.label for one in sort_shares(record.classes)]
    labels += [one.label for one in record.others]
    return {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}


def _draw_cell(pixels_HWC: NDArray[np.uint8], cell: CountedCell) -> Picture:
    height, width = pixels_HWC.shape[:2]
    part_HWC = pixels_HWC
    if cell.box is not None:
        x_min, y_min, x_max, y_max = _widen(cell.box, width, height)
        part_HWC = pixels_HWC[y_min:y_max, x_min:x_max]
    square_HWC = resize_image(np.ascontiguousarray(part_HWC), _CELL_PX, "pad", "bicubic")
    return Picture(encode_jpeg(Image.fromarray(square_HWC), _JPEG_QUALITY), cell.image)


def _widen(box: Box, width: int, height: int) -> Box:
    """A square around a box, with some of its surroundings, inside of the field."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(box[2] - box[0], box[3] - box[1]) * (0.5 + _AROUND)
    return (
        max(0, int(x - half)),
        max(0, int(y - half)),
        min(width, math.ceil(x + half)),
        min(height, math.ceil(y + half)),
    )


# -- fields ---------------------------------------------------------------------------------------


def draw_field(
    pixels_HWC: NDArray[np.uint8], cells: Sequence[CountedCell], colours: Mapping[str, str]
) -> Picture:
    """Draw a field with a box around each cell, its number and label. What is not counted (cut by
    the edge, shown in another field, unidentified) has a thin grey box."""
    height, width = pixels_HWC.shape[:2]
    zoom = min(2.0, _FIELD_PX / width, _HIGHEST_PX / height)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    image = Image.fromarray(pixels_HWC).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    for cell in cells:
        assert cell.box is not None
        box = tuple(round(x * zoom) for x in cell.box)
        colour = colours.get(cell.label, GREY) if cell.is_counted else GREY
        draw.rectangle(box, outline="white", width=5 if cell.is_counted else 3)
        inner = (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            draw.rectangle(inner, outline=colour, width=3 if cell.is_counted else 1)
        _write(draw, _name_cell(cell), box, colour, size, font)
    names = ", ".join(f"{cell.number} {display_label(cell.label)}" for cell in cells if cell.label)
    return Picture(encode_jpeg(image, _JPEG_QUALITY), f"{cells[0].image}: {names or 'no cell'}")


def _name_cell(cell: CountedCell) -> str:
    if cell.edge:
        return f"{cell.number} edge"
    if cell.duplicate_of:
        return f"{cell.number} counted elsewhere"
    if cell.decision == "unknown":
        return f"{cell.number} unidentified"
    return (
        f"{cell.number} {shorten_label(cell.label, 24)}{'?' if cell.decision == 'review' else ''}"
    )


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: Sequence[int],
    colour: str,
    size: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """White on the colour, above the box or, at the upper edge, in it."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = int(right - left) + 8, int(bottom - top) + 6
    x = min(max(0, box[0]), max(0, size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), text, fill="white", font=font)


# -- bars -----------------------------------------------------------------------------------------

_ROW, _NAME, _LEFT, _WIDTH, _SIDE = 50, 18, 16, 544, 580
"""A row with its name and figures above the bar: narrow enough to be read on a telephone."""


def draw_bars(record: DifferentialRecord) -> Picture:
    """Draw a row for each class: the corrected share as a bar with its interval, the raw share as a
    ring, the reference interval as a band where it is a share."""
    rows = sort_shares(record.classes)
    most = max((x for one in rows for x in (one.best.high, one.raw.high) if x == x), default=1.0)
    top = min(1.0, math.ceil(most * 10) / 10) or 0.1
    step = 0.2 if top > 0.6 else 0.1 if top > 0.3 else 0.05
    height = len(rows) * _ROW + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIDE}" height="{height}"'
        f' viewBox="0 0 {_SIDE} {height}"'
        ' font-family="Arial, Helvetica, sans-serif" font-size="14" fill="#1f2933">'
    ]
    for k in range(math.floor(top / step + 1e-9) + 1):
        x = _place(k * step, top)
        parts.append(
            f'<line x1="{x}" y1="4" x2="{x}" y2="{height - 40}" stroke="#d9dee3"/>'
            f'<text x="{x}" y="{height - 22}" text-anchor="middle" font-size="12"'
            f' fill="{GREY}">{100 * k * step:g} %</text>'
        )
    colours = choose_colours(record)
    for k, one in enumerate(rows):
        parts += _draw_row(one, 4 + k * _ROW, top, colours[one.label])
    has_both = any(one.best is not one.raw for one in rows if one.raw.value == one.raw.value)
    legend = "bar: corrected share, line: 95 % interval, ring: raw share" if has_both else (
        "bar: raw share, line: 95 % interval")  # fmt: skip
    if any(one.limits is not None and one.limits.unit == "share" for one in rows):
        legend += ", shaded: reference interval"
    parts.append(f'<text x="{_LEFT}" y="{height - 4}" font-size="12" fill="{GREY}">{legend}</text>')
    names = ", ".join(f"{display_label(one.label)} {_percent(one.best)}" for one in rows)
    return Picture("".join([*parts, "</svg>"]), f"Shares of the white cells: {names}")


def _place(share: float, top: float) -> float:
    return round(_LEFT + _WIDTH * share / top, 1)


def _percent(one: Interval) -> str:
    return f"{100 * one.value:.1f} %" if one.value == one.value else "none"


def _draw_row(one: ClassShare, y: float, top: float, colour: str) -> list[str]:
    middle = y + (_NAME + _ROW) / 2
    name = escape(shorten_label(one.label, 24))
    parts = [f'<text x="{_LEFT}" y="{y + _NAME - 4}">{name}</text>']
    if one.limits is not None and one.limits.unit == "share":
        x = _place(min(one.limits.lower, top), top)
        width = _place(min(one.limits.upper, top), top) - x
        parts.append(
            f'<rect x="{x}" y="{y + _NAME}" width="{round(width, 1)}" height="{_ROW - _NAME}"'
            ' fill="#009E73" fill-opacity="0.16"/>'
        )
    best = one.best
    if best.value != best.value:
        return parts
    x, low, high = (_place(min(value, top), top) for value in (best.value, best.low, best.high))
    width = round(x - _LEFT, 1)
    parts += [
        f'<rect x="{_LEFT}" y="{y + _NAME + 5}" width="{width}" height="{_ROW - _NAME - 10}"'
        f' fill="{colour}" fill-opacity="0.55"/>',
        f'<path d="M{low} {middle}H{high}M{low} {middle - 6}v12M{high} {middle - 6}v12"'
        ' stroke="#1f2933" stroke-width="2" fill="none"/>',
    ]
    if best is not one.raw:
        parts.append(
            f'<circle cx="{_place(min(one.raw.value, top), top)}" cy="{middle}" r="4.5"'
            ' fill="white" stroke="#1f2933" stroke-width="1.5"/>'
        )
    text = f"{_percent(best)} ({100 * best.low:.1f} to {100 * best.high:.1f})"
    parts.append(f'<text x="{_LEFT + _WIDTH}" y="{y + _NAME - 4}" text-anchor="end">{text}</text>')
    return parts
