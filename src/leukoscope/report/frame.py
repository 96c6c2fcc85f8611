"""The frame of every HTML page: one template, one style, the disclaimer, text always escaped.

What this file does not do: it says nothing; what a page tells is the business of its own module.
"""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from leukoscope.report.page import DISCLAIMER, Page
from leukoscope.text import show_unseen


def render_html(page: Page) -> str:
    """Render a page as HTML that needs no other file, no network and no script.

    All text is escaped: class names are what users made of them.
    """
    environment = Environment(
        loader=PackageLoader("leukoscope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = mark_code
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    style = environment.loader.get_source(environment, "page.css")[0]  # type: ignore[union-attr]
    text = environment.get_template("page.html.j2").render(
        page=page,
        style=Markup(style),  # our own file; the rest is escaped
        disclaimer=DISCLAIMER,
    )
    return show_unseen(text)


def mark_code(text: str) -> Markup:
    """Escape text for HTML, and set what stands between backticks as code.

    >>> mark_code("run `a < b`")
    Markup('run <code>a &lt; b</code>')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
