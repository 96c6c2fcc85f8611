"""What the user sees in the terminal: tables, progress, error panels. The only place that prints.

Results go to standard output, progress and errors to standard error, so that a pipe stays clean.
Under several processes only the main one speaks.
"""

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from leukoscope.text import format_count, show_unseen

if TYPE_CHECKING:
    from leukoscope.config import Recipe
    from leukoscope.data.catalog import Catalog
    from leukoscope.errors import LeukoscopeError
    from leukoscope.pipelines import Evaluation, Packed, TrainedRun, WrittenCard
    from leukoscope.report.page import Block, Cell, Level, Page
    from leukoscope.report.page import Table as PageTable
    from leukoscope.training.loop import EpochResult

ADVICE = "Research use only. Not a medical device."


def _console(*, stderr: bool = False) -> Console:
    # Made anew each time: a console keeps the stream it found, and tests exchange streams.
    return Console(stderr=stderr, soft_wrap=True, highlight=False, quiet=not _is_main())


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


# -- errors ---------------------------------------------------------------------------------------


def print_error(error: "LeukoscopeError") -> None:
    """Show what must hold, what was found and what to do."""
    body = (
        f"{_plain(error.expected)}.\n"
        f"[bold]Found:[/] {_plain(error.found)}\n"
        f"[bold]What to do:[/] {_plain(error.remedy)}."
    )
    console = Console(stderr=True, highlight=False)
    console.print(Panel(body, title="Error", title_align="left", border_style="red"))


def print_interrupted() -> None:
    """Say that the work can go on."""
    _console(stderr=True).print(
        "Interrupted. A training run goes on with --resume; `demo` and `data leak-report` go on"
        " when called again."
    )


# -- progress -------------------------------------------------------------------------------------


class TerminalProgress:
    """Bars with rate and remaining time on a terminal; plain lines elsewhere.

    It serves as the progress callback of the use cases and as the reporter of the loop.
    """

    def __init__(self, console: Console, *, says_scans: bool = True) -> None:
        self.console = console
        self.says_scans = says_scans
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}
        self.announced: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar of one activity."""
        self._plainly(f"{what} ({total:,})", what)
        self._move(what, done, total, 1)

    def on_step(self, epoch: int, step: int, steps: int, images: int) -> None:
        """Move the bar of an epoch."""
        self._move(f"Epoch {epoch}", step, steps, images)

    def on_epoch(self, result: "EpochResult", epochs: int, best: bool) -> None:
        """Leave a line behind."""
        task = self.tasks.pop(f"Epoch {result.epoch}", None)
        if task is not None:
            self.bars.remove_task(task)
        self.console.print(
            f"Epoch {result.epoch}/{epochs}  loss {result.train_loss:.3f}"
            f"  val loss {result.val_loss:.3f}  val accuracy {result.val_accuracy:.1%}"
            f"  {result.seconds:.0f} s{'  best so far' if best else ''}"
        )

    def on_scan(self, path: Path, catalog: "Catalog", rejected: Path | None) -> None:
        """Say what a scan read, as what, and what it left out."""
        from leukoscope.report.data_pages import describe_scan

        for line in describe_scan(path, catalog, rejected) if self.says_scans else ():
            self.console.print(_plain(line))

    def _plainly(self, line: str, key: str) -> None:
        if not self.console.is_terminal and key not in self.announced:
            self.announced.add(key)
            self.console.print(line)

    def _move(self, name: str, done: int, total: int, images: int) -> None:
        """Move a bar whose unit stands for so many images."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, rate="")
        task = self.bars.tasks[self.bars.task_ids.index(self.tasks[name])]
        rate = f"{task.speed * images:,.0f} images/s" if task.speed else ""
        self.bars.update(self.tasks[name], completed=done, total=total, rate=rate)


@contextmanager
def progress(*, says_scans: bool = True) -> Iterator[TerminalProgress]:
    """Yield a progress display on standard error; without `says_scans` it is silent on what was
    read, since the command shows it."""
    shown = TerminalProgress(_console(stderr=True), says_scans=says_scans)
    with shown.bars:
        yield shown


@contextmanager
def open_output(out: Path) -> Iterator[Path | TextIO]:
    """Yield where a table goes: the path, or for `-` standard output, in UTF-8 whatever the code
    page, with line ends as they are written."""
    if str(out) != "-":
        yield out
        return
    stream = io.TextIOWrapper(
        sys.stdout.buffer, encoding="utf-8", errors="surrogateescape", newline=""
    )
    try:
        yield stream
        stream.flush()
    finally:
        stream.detach()


# -- pages ----------------------------------------------------------------------------------------

_COLOURS: "dict[Level, str]" = {"good": "green", "caution": "yellow", "bad": "red"}


_MAX_NOTED = 6
"""Columns of a table on the terminal whose cells show their notes."""

_MAX_TILES = 3
"""Tiles of a gallery that are named; the page shows more."""


def print_page(page: "Page", *, stderr: bool = False) -> None:
    """Show a page on the terminal: its first screen, the sections marked as brief, the disclaimer,
    and where to go on."""
    from leukoscope.report.page import DISCLAIMER

    console = _console(stderr=stderr)
    _print_blocks(console, page.lead)
    for section in page.sections:
        if section.brief:
            console.print(f"\n[bold]{_plain(section.title)}[/]")
            _print_blocks(console, section.blocks)
    console.print(DISCLAIMER)
    for line in page.trailer:
        console.print(_plain(line))


def _print_blocks(console: Console, blocks: "Iterable[Block]", style: str = "") -> None:
    from leukoscope.report import page as kinds

    for block in blocks:
        match block:
            case kinds.Text(text, muted):
                console.print(_plain(text), style="dim" if muted else style)
            case kinds.Statement(text):
                console.print(_plain(text), style=f"bold {style}".strip())
            case kinds.Big(value, caption):
                console.print(f"[bold]{_plain(value)}[/] {_plain(caption)}")
            case kinds.Bullets(items, numbered):
                for k, item in enumerate(items, 1):
                    console.print(f"{k}." if numbered else "-", _plain(item))
            case kinds.Table() if _measure_table(block) > console.width:
                _print_rows(console, block)
            case kinds.Table():
                console.print(_build_table(block))
            case kinds.Banner(level, title, inside):
                if title:
                    console.print(_plain(title), style=f"bold {_COLOURS[level]}")
                _print_blocks(console, inside, _COLOURS[level])
            case kinds.Box(inside, title, tag):
                if title:
                    head = f"{title}{f' ({tag})' if tag else ''}"
                    colour = _COLOURS[block.level] if block.level else ""
                    console.print(_plain(head), style=f"bold {colour}".strip())
                _print_blocks(console, inside)
            case kinds.Row(boxes):
                _print_blocks(console, boxes)
            case kinds.Gallery(tiles):
                for tile in tiles[:_MAX_TILES]:
                    console.print("-", _plain("; ".join((tile.title, *tile.lines))))
            case _:
                pass  # pictures, and what is explained at length, are for the page


def _build_table(block: "PageTable") -> Table:
    table = Table(
        title=_plain(block.caption) or None,
        title_justify="left",
        show_header=any(column.name for column in block.columns),
    )
    for k, column in enumerate(block.columns):
        name = f"{column.name}{f' ({column.tag})' if column.tag else ''}"
        justify: JustifyMethod = "right" if k and not column.is_text else "left"
        table.add_column(_plain(name), justify=justify, overflow="fold")
    # Many narrow columns would cut their notes; the page shows them.
    notes = len(block.columns) <= _MAX_NOTED
    for row in block.rows:
        table.add_row(*(_plain(_join_cell(cell, notes)) for cell in row))
    return table


def _measure_table(block: "PageTable") -> int:
    """How wide a table is at least, without a word that is broken."""
    if not block.columns:
        return 0
    notes = len(block.columns) <= _MAX_NOTED
    widest = [
        max((len(word) for text in texts for word in text.split()), default=0)
        for texts in zip(
            [f"{column.name} {column.tag}" for column in block.columns],
            *([_join_cell(cell, notes) for cell in row] for row in block.rows),
            strict=True,
        )
    ]
    return sum(widest) + 3 * len(widest) + 1


def _print_rows(console: Console, block: "PageTable") -> None:
    """Show a table that is too wide for the terminal: each row by itself, a line for each cell."""
    if block.caption:
        console.print(_plain(block.caption), style="italic")
    for first, *others in block.rows:
        console.print(_plain(_join_cell(first, notes=False)), style="bold")
        for column, cell in zip(block.columns[1:], others, strict=True):
            note = f" ({cell.note})" if cell.note else ""
            console.print(_plain(f"  {column.name}: {_join_cell(cell, notes=False)}{note}"))


def _join_cell(cell: "Cell", notes: bool) -> str:
    text = f"{cell.text}{f' [{cell.tag}]' if cell.tag else ''}"
    return f"{text}\n{cell.note}" if cell.note and notes else text


def print_record(record: object) -> None:
    """Print a record as JSON."""
    from leukoscope.records import dump_record

    # ASCII: file names need not be Unicode.
    sys.stdout.write(json.dumps(dump_record(record), indent=2, allow_nan=False) + "\n")


# -- results --------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Text as it is: no markup, no surrogates of file names that are not Unicode, and signs that
    would steer the terminal as their codes."""
    return escape(show_unseen(text))


def print_replaced(files: "Sequence[Path]") -> None:
    """Say which files a command has written over; nothing where there were none."""
    if files:
        _console().print(_plain(f"Replaced: {', '.join(map(str, files))}"))


def print_trained(run: "TrainedRun") -> None:
    """Show what the network was trained on, the best epoch and the next step."""
    from leukoscope.report.data_pages import describe_split
    from leukoscope.report.data_words import describe_located

    best = max(run.history, key=lambda e: (e.val_accuracy, -e.val_loss))
    trained = (
        f"Trained: {run.folder.path}  (epoch {best.epoch},"
        f" validation accuracy {best.val_accuracy:.1%}; not yet a result)"
    )
    following = f"Next: leukoscope evaluate {run.folder.path}"
    located = f"Located: {describe_located(run.located)}" if run.located else ""
    trailer = (*((located,) if located else ()), trained, following)
    print_page(describe_split(run.audit, trailer=trailer))


def print_evaluation(found: "Evaluation") -> None:
    """Show the first screen of the report, what the network adds, and where the report lies."""
    from leukoscope.report.evaluation_page import describe_evaluation

    trailer: tuple[str, ...] = (f"Report: {found.report}", "Model card: leukoscope card RUN")
    if found.uncalibrated:
        trailer = (f"It was not calibrated, so it never rejects: {found.uncalibrated}", *trailer)
    print_page(describe_evaluation(found.record, trailer=trailer))


def print_recipe(recipe: "Recipe") -> None:
    """Print a resolved recipe as TOML."""
    for section, content in recipe.model_dump(mode="json", exclude_none=True).items():
        if isinstance(content, dict):
            sys.stdout.write(f"\n[{section}]\n")
            for key, value in content.items():
                sys.stdout.write(f"{key} = {_format_toml(value)}\n")
        else:
            sys.stdout.write(f"{section} = {json.dumps(content)}\n")


def _format_toml(value: object) -> str:
    """JSON but for tables, which TOML writes inline with equals signs."""
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(k)} = {_format_toml(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    return json.dumps(value)


def print_pack(packed: "Packed") -> None:
    """Say what was packed, and how to train from it."""
    console = _console()
    console.print(
        f"{format_count(packed.images, 'image')} at {packed.image_size} px in"
        f" {packed.bytes / 1e6:,.1f} MB: {_plain(str(packed.path))}"
    )
    console.print(f"Next: leukoscope train SPLIT --packs {_plain(str(packed.path.parent))}")


# -- bundles and predictions ----------------------------------------------------------------------


def print_card(card: "WrittenCard") -> None:
    """Show where a model card lies, and how much of it a person has to fill in."""
    console = _console()
    for name, document in card.documents.items():
        blanks, total = document.n_part + document.n_blank, len(document.answers)
        console.print(f"{_plain(name)}: {blanks} of {total} items need a person.")
    console.print('Search the files for "to be filled in"; what you add is never overwritten.')
    console.print(ADVICE)
    console.print(f"Card: {_plain(str(card.files[0]))}")
