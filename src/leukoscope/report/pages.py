"""The frame of every HTML page: one style, the disclaimer, and text that is always escaped.

What this file does not do: it says nothing; what a page tells is the business of its own module.
"""

import base64
import re
from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from leukoscope.labels import display_label, is_critical
from leukoscope.text import format_figure, format_percent

DISCLAIMER = "Research use only. Not a medical device."

Filters = Mapping[str, Callable[..., object]]


def render_page(template: str, filters: Filters | None = None, **content: object) -> str:
    """Render a template of this room as one page that needs no other file and no network.

    `filters` are added to `display` (the name of a class), `code` (backticks) and `count`.
    """
    environment = Environment(
        loader=PackageLoader("leukoscope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "display": display_label,
        "code": mark_code,
        "count": lambda n: f"{n:,}",
        **(filters or {}),
    }
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    return environment.get_template(template).render(
        style=Markup(style),  # our own file; the rest is escaped
        disclaimer=DISCLAIMER,
        **content,
    )


def mark_code(text: str) -> Markup:
    """Escape text for HTML, and set what stands between backticks as code.

    >>> mark_code("run `a < b`")
    Markup('run <code>a &lt; b</code>')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


# Until the last page that uses them has a description.


def list_filters() -> dict[str, Callable[..., object]]:
    """Return the filters that show figures in a template."""
    return {
        "percent": format_percent,
        "figure": format_figure,
        "critical": is_critical,
        "range": lambda x: f"{100 * x.low:.1f}–{100 * x.high:.1f}",
        "share": format_percent,
    }


def embed_image(image: bytes | str) -> str:
    """Return PNG bytes or SVG text as a data URL."""
    kind, data = ("svg+xml", image.encode()) if isinstance(image, str) else ("png", image)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def head_lines(title: str) -> list[str]:
    """Return the lines of a heading in plain text."""
    return ["", title, "-" * len(title)]


def align_columns(rows: list[list[str]], header: list[str] | None) -> list[str]:
    """Lay out columns: the first and any without a header flush left, numbers flush right."""
    table = rows if header is None else [header, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    right = [bool(name) for name in header] if header else [False] * len(widths)
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        for row in table
    ]
