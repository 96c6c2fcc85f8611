"""Write the text of every golden page and card; then read the diff."""

import sys
import types
from pathlib import Path

# Some packages install a `tests` of their own, which would be found first.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(Path(__file__).resolve().parents[1])]

from tests.golden import test_cards  # noqa: E402
from tests.golden.test_pages import NAMES, PLACE, build_page  # noqa: E402

from leukoscope.report.page import render_text  # noqa: E402

if __name__ == "__main__":
    for name in NAMES:
        (PLACE / f"{name}.txt").write_text(render_text(build_page(name)), encoding="utf-8")
    for name, text in test_cards.render_cards().items():
        (test_cards.PLACE / name).write_text(text, encoding="utf-8")
