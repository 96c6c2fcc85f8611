"""What a page says, as data: one description, from which HTML, plain text and terminal are made.

A page is a title, a first screen (`lead`) and sections; both hold blocks. The main message comes
first. What this file does not do: it knows no HTML (`frame`), prints nothing (`cli.render`), and
knows nothing of what pages are about.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from leukoscope.text import align_columns, show_unseen

DISCLAIMER = "Research use only. Not a medical device."

Level = Literal["good", "caution", "bad"]
"""How a message is coloured; never the only way in which it is told."""

Mark = Literal["", "strong", "hit", "miss", "zero", "low", "good", "caution", "bad"]
"""How a cell of a table is set apart."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; what stands between backticks is code."""

    text: str
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """The answer, in large letters."""

    text: str


@dataclass(frozen=True, slots=True)
class Big:
    """One figure in very large letters, with what it is. `doubted`: set in grey."""

    value: str
    caption: str
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; `numbered` where the order matters. With `anchors`, one for each item, items are
    links to those sections; with `links`, to files beside the page."""

    items: tuple[str, ...]
    numbered: bool = False
    anchors: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: its text, a smaller note below it, a tag beside it."""

    text: str
    note: str = ""
    tag: str = ""
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column: numbers stand flush right, text flush left and may wrap."""

    name: str
    is_text: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row names the row. Without `columns` it has no head.
    `dense`: many columns; `matrix`: cells are centred and heads wrap."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    dense: bool = False
    matrix: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: PNG or JPEG bytes or SVG text, and what it shows in words. `problem` says in its
    place why it cannot be shown; `framed`: outlined in blue."""

    image: bytes | str
    alt: str
    problem: str = ""
    framed: bool = False

    @property
    def url(self) -> str:
        """The image as a data URL; "" where there is none."""
        if not self.image:
            return ""
        if isinstance(self.image, str):
            return f"data:image/svg+xml;base64,{base64.b64encode(self.image.encode()).decode()}"
        kind = "jpeg" if self.image.startswith(b"\xff\xd8") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.image).decode()}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart or sheet at the width of the page."""

    picture: Picture


@dataclass(frozen=True, slots=True)
class Tile:
    """One thing of a gallery: its pictures side by side, a title, a tag, and lines below."""

    pictures: tuple[Picture, ...]
    title: str
    lines: tuple[str, ...] = ()
    tag: str = ""
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Gallery:
    """Tiles in a grid of columns of `width_px`."""

    tiles: tuple[Tile, ...]
    width_px: int = 160


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms and what they mean."""

    terms: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Banner:
    """A message that must not be missed."""

    level: Level
    title: str
    blocks: "tuple[Block, ...]" = ()


@dataclass(frozen=True, slots=True)
class Box:
    """A framed group of blocks. `tag` stands beside the title; `trusted`: the one to believe;
    `level` colours the edge."""

    blocks: "tuple[Block, ...]"
    title: str = ""
    tag: str = ""
    trusted: bool = False
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Boxes side by side."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: "tuple[Block, ...]"
    is_open: bool = False
    is_alarm: bool = False


Block = (
    Text
    | Statement
    | Big
    | Bullets
    | Table
    | Figure
    | Gallery
    | Terms
    | Banner
    | Box
    | Row
    | Details
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its blocks. `brief`: it is shown on the terminal too. `anchor` is its name for
    links within the page, "" for none."""

    title: str
    blocks: tuple[Block, ...]
    brief: bool = False
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, the first screen, and sections in order. `trailer` ends the terminal's
    output: where files lie, and what to do next."""

    title: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...] = ()
    trailer: tuple[str, ...] = ()


Drawings = Mapping[str, Picture]
"""Figures by name, drawn beforehand."""


def build_figures(drawn: Drawings, *names: str) -> tuple[Figure, ...]:
    """Return those of the named figures that were drawn, in this order."""
    return tuple(Figure(drawn[name]) for name in names if name in drawn)


def build_table(
    names: Iterable[str | Column],
    rows: Iterable[Iterable[str | Cell]],
    caption: str = "",
    *,
    dense: bool = False,
    matrix: bool = False,
) -> Table:
    """Return a table from plain strings: columns of numbers, and cells without notes.

    >>> build_table(["", "images"], [["Band", "9"]]).rows[0][1].text
    '9'
    """
    return Table(
        tuple(one if isinstance(one, Column) else Column(one) for one in names),
        tuple(tuple(one if isinstance(one, Cell) else Cell(one) for one in row) for row in rows),
        caption,
        dense,
        matrix,
    )


def build_glossary(terms: tuple[tuple[str, str], ...]) -> Section:
    """Return the section that explains the words of a page."""
    return Section("Terms", (Box((Terms(terms),)),))


def build_provenance(content: Mapping[str, str], caption: str = "") -> tuple[Section, ...]:
    """Return the section on what made the numbers; none where nothing is known."""
    if not content:
        return ()
    head = (Column("", is_text=True), Column("", is_text=True))
    rows = tuple((Cell(name), Cell(value)) for name, value in content.items())
    return (Section("Provenance", (Box((Table(head, rows, caption),)),)),)


# -- plain text -----------------------------------------------------------------------------------


def render_text(page: Page) -> str:
    """Render a page as plain text: all that its HTML says, but for pictures."""
    lines = [page.title, "=" * len(page.title), DISCLAIMER, ""]
    lines += list_lines(page.lead)
    for section in page.sections:
        body = list_lines(section.blocks)
        if body:
            lines += ["", section.title, "-" * len(section.title), *body]
    text = "\n".join(line.rstrip() for line in [*lines, "", DISCLAIMER]) + "\n"
    return show_unseen(text)


def list_lines(blocks: Iterable[Block]) -> list[str]:
    """Return the lines of some blocks in plain text."""
    lines: list[str] = []
    for block in blocks:
        lines += _list_block(block)
    return lines


def _list_block(block: Block) -> list[str]:
    match block:
        case Text(text):
            return [text]
        case Statement(text):
            return [text.upper()]
        case Big(value, caption):
            return [f"{value} {caption}"]
        case Bullets(items, numbered):
            return [f"{k}. {one}" if numbered else f"- {one}" for k, one in enumerate(items, 1)]
        case Table():
            return _list_table(block)
        case Terms(terms):
            return [f"{term}: {meaning}" for term, meaning in terms]
        case Banner(_, title, inside):
            return [*([title.upper()] if title else []), *list_lines(inside)]
        case Box(inside, title, tag):
            head = [f"{title}{f' ({tag})' if tag else ''}:"] if title else []
            return [*head, *list_lines(inside)]
        case Row(boxes):
            return list_lines(boxes)
        case Details(summary, inside):
            return [f"{summary}:", *list_lines(inside)]
        case Gallery(tiles):
            return [f"- {'; '.join((tile.title, *tile.lines))}" for tile in tiles]
        case Figure():
            return []


def _list_table(table: Table) -> list[str]:
    rows = [[join_cell(cell) for cell in row] for row in table.rows]
    right = [not column.is_text for column in table.columns]
    right = [False, *right[1:]] if right else [False] * (len(rows[0]) if rows else 0)
    if any(column.name for column in table.columns):
        rows.insert(0, [f"{c.name}{f' ({c.tag})' if c.tag else ''}" for c in table.columns])
    return [*([table.caption] if table.caption else []), *align_columns(rows, right)]


def join_cell(cell: Cell) -> str:
    """Return a cell on one line: text, tag and note."""
    text = f"{cell.text}{f' [{cell.tag}]' if cell.tag else ''}"
    return f"{text} ({cell.note})" if cell.note else text
