"""The frame of every HTML page: one style, the disclaimer, and text that is always escaped.

What this file does not do: it says nothing; what a page tells is the business of its own module.
"""

import re
from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from leukoscope.labels import display_label

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
