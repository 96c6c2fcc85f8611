"""Maps as pictures: the original beside the map laid over it, captions, contact sheets.

Drawn with Pillow alone, so that the light install draws them too. Axes: S side of the image in
network pixels, P side of a tile in drawn pixels, C colour. What this file does not do: it makes no
maps and measures none.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from leukoscope.explain.methods import Method, name_method
from leukoscope.explain.record import ExplainedImage
from leukoscope.labels import display_label
from leukoscope.text import format_percent

TILE_PX = 240

CONTOURS = (0.5, 0.8)
"""Lines are drawn round the places above these shares of the map's peak: white, then black."""

BLOCK_PX = 4
"""Maps of single pixels are drawn in blocks of this side."""

OPACITY = 0.62
"""Of the colour where the map is highest; a place of 0 shows the image as it is."""

# Inferno (van der Walt and Smith, matplotlib, CC0) at 17 equal steps: lightness rises evenly, so it
# reads without colour vision and in grey print.
_INFERNO = np.array(
    [(0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110),
     (113, 25, 110), (138, 34, 106), (163, 44, 97), (188, 55, 84), (210, 70, 68),
     (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53),
     (242, 234, 105), (252, 255, 164)]
)  # fmt: skip

_INK, _SOFT, _PAPER = (31, 41, 51), (82, 96, 109), (255, 255, 255)
_GAP = 10
_PER_LINE = 4
"""Tiles side by side: as many as a page shows without making their captions too small to read."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Tile:
    """One picture with a title above and lines of caption below."""

    picture_PPC: NDArray[np.uint8]
    title: str
    lines: tuple[str, ...] = ()


def colour_map(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the colours of values from 0 to 1: uint8, one more axis of 3.

    >>> colour_map(np.array([0.0, 1.0], np.float32)).tolist()
    [[0, 0, 4], [252, 255, 164]]
    """
    steps = np.linspace(0, 1, len(_INFERNO))
    bands = [np.interp(values, steps, _INFERNO[:, c]) for c in range(3)]
    return np.asarray(np.rint(np.stack(bands, axis=-1)), dtype=np.uint8)


def draw_overlay(
    image_SSC: NDArray[np.uint8],
    map_SS: NDArray[np.float32],
    box_mask_SS: NDArray[np.float32] | None = None,
    *,
    tile_px: int = TILE_PX,
) -> NDArray[np.uint8]:
    """Return a map laid over its image, uint8 `(P, P, 3)`.

    Only the positive part is shown, its peak at the end of the scale; contours run at half and at
    eight tenths of the peak. The image below is grey, so that all colour is the map's. A box
    is drawn dashed in white and black.
    """
    size = (tile_px, tile_px)
    grey = Image.fromarray(image_SSC).convert("L").resize(size, Image.Resampling.BICUBIC)
    grey_PP = np.asarray(grey, dtype=np.float64)
    positive_SS = np.clip(map_SS, 0, None)
    peak = float(positive_SS.max())
    scaled_SS = positive_SS / peak if peak > 0 else positive_SS
    scaled_PP = np.asarray(
        Image.fromarray(scaled_SS.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    ).clip(0, 1)
    weight_PP1 = OPACITY * np.sqrt(scaled_PP)[..., None]
    laid_PPC = (1 - weight_PP1) * grey_PP[..., None] + weight_PP1 * colour_map(scaled_PP)
    for level, colour in zip(CONTOURS, (255, 0), strict=True):
        laid_PPC[_find_edge(scaled_PP >= level)] = colour
    if box_mask_SS is not None:
        _draw_box(laid_PPC, box_mask_SS)
    return np.asarray(np.rint(laid_PPC), dtype=np.uint8)


def average_blocks(map_SS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the positive part of a map averaged over blocks of `BLOCK_PX` pixels and drawn large
    again, for the eye only: `(S, S)`.

    >>> average_blocks(np.ones((8, 8), np.float32)).shape
    (8, 8)
    """
    side = len(map_SS)
    few = (max(1, side // BLOCK_PX),) * 2
    small = Image.fromarray(np.clip(map_SS, 0, None)).resize(few, Image.Resampling.BOX)
    return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))


def draw_original(
    image_SSC: NDArray[np.uint8],
    box_mask_SS: NDArray[np.float32] | None = None,
    *,
    tile_px: int = TILE_PX,
) -> NDArray[np.uint8]:
    """Return the image as the network got it, uint8 `(P, P, 3)`, with its box if there is one."""
    size = (tile_px, tile_px)
    drawn = np.asarray(
        Image.fromarray(image_SSC).resize(size, Image.Resampling.BICUBIC), dtype=np.float64
    ).copy()
    if box_mask_SS is not None:
        _draw_box(drawn, box_mask_SS)
    return drawn.astype(np.uint8)


def _find_edge(inside_PP: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outermost pixels of a region."""
    padded = np.pad(inside_PP, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside_PP & ~core


def _draw_box(drawn_PPC: NDArray[np.float64], mask_SS: NDArray[np.float32]) -> None:
    size = (len(drawn_PPC), len(drawn_PPC))
    large = np.asarray(Image.fromarray(mask_SS).resize(size, Image.Resampling.BILINEAR)) >= 0.5
    edge = _find_edge(large)
    y, x = np.nonzero(edge)
    drawn_PPC[y, x] = np.where((x + y) // 6 % 2, 255, 0)[:, None]


def _load_font(size: int, text: str) -> Font:
    """Pillow's own font, which has no more than ASCII; for the rest that of matplotlib, where it is
    installed."""
    if not text.isascii():
        found = importlib.util.find_spec("matplotlib")
        if found is not None and found.origin is not None:
            path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
            if path.is_file():
                return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


def draw_row(tiles: Sequence[Tile]) -> NDArray[np.uint8]:
    """Return tiles side by side on white, uint8 RGB; captions are wrapped to their tile. More than
    four are shared out evenly among lines, one below the other."""
    lines = math.ceil(len(tiles) / _PER_LINE)
    each = math.ceil(len(tiles) / lines)
    return draw_sheet([_draw_line(tiles[i : i + each]) for i in range(0, len(tiles), each)])


def _draw_line(tiles: Sequence[Tile]) -> NDArray[np.uint8]:
    width = len(tiles[0].picture_PPC)
    # Which font a text needs depends on its letters.
    lines = [
        [(part, font) for text in t.lines for font in (_load_font(13, text),)
         for part in _wrap(text, font, width)]
        for t in tiles
    ]  # fmt: skip
    height = 26 + width + 6 + 17 * max(map(len, lines), default=0)
    sheet = Image.new("RGB", (len(tiles) * (width + _GAP) + _GAP, height + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (tile, caption) in enumerate(zip(tiles, lines, strict=True)):
        x = _GAP + place * (width + _GAP)
        title_font = _load_font(15, tile.title)
        pen.text((x, _GAP), _wrap(tile.title, title_font, width)[0], _INK, title_font)
        sheet.paste(Image.fromarray(tile.picture_PPC), (x, _GAP + 26))
        for row, (line, font) in enumerate(caption):
            pen.text((x, _GAP + 26 + width + 6 + 17 * row), line, _SOFT, font)
    return np.asarray(sheet)


def _wrap(text: str, font: Font, width_px: int) -> list[str]:
    """Lines no wider than a tile; a word that alone is too wide is cut with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        while font.getlength(word) > width_px:
            word = word[:-2].rstrip("…") + "…"
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width_px:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines or [""]


def draw_sheet(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return rows one below the other on white, uint8 RGB."""
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded)


def _name_label(label: str) -> str:
    """The label, or where it is to be found if no font has its signs: the page has it in full."""
    shown = display_label(label)
    if shown.isascii():
        return shown
    if importlib.util.find_spec("matplotlib") is None:
        return _ELSEWHERE
    from leukoscope.report.figures import has_glyphs

    return shown if has_glyphs(shown) else _ELSEWHERE


_ELSEWHERE = "label: see page"


def draw_explained(
    image: ExplainedImage,
    image_SSC: NDArray[np.uint8],
    maps: Mapping[Method, NDArray[np.float32]],
    stage: str,
    box_mask_SS: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Return the row of one image, uint8 RGB: the original, then a tile for each map `(S, S)`, with
    what was predicted and measured below."""
    lines = [f"{_name_label(image.label)}, {format_percent(image.confidence)}"]
    if image.decision:
        lines.append(image.decision)
    if image.target != image.label:
        lines.append(f"explained: {_name_label(image.target)}")
    if image.ceiling is not None:
        lines.append(f"box: {100 / image.ceiling:.0f} % of the area")
    name = Path(image.path).name
    tiles = [Tile(draw_original(image_SSC, box_mask_SS), name, tuple(lines))]
    for method, map_SS in maps.items():
        lines = [
            f"{kind} {area:.2f} (centre {image.centre_areas[kind]:.2f})"
            for kind, area in image.areas.get(method, {}).items()
        ]
        if method in image.localisation:
            lines.append(f"in the box: {image.localisation[method]:.1f} times its area")
        if not lines:
            lines.append("not evaluated")
        shown_SS = map_SS
        if method == "gradients":  # single pixels are too fine to be seen
            shown_SS = average_blocks(map_SS)
            lines.append(f"drawn in blocks of {BLOCK_PX} pixels")
        overlay = draw_overlay(image_SSC, shown_SS, box_mask_SS)
        tiles.append(Tile(overlay, name_method(method, stage), tuple(lines)))
    return draw_row(tiles)
