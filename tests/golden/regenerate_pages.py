"""Write the text of every golden page; then read the diff."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden.test_pages import NAMES, PLACE, build_page

from leukoscope.report.page import render_text

if __name__ == "__main__":
    for name in NAMES:
        (PLACE / f"{name}.txt").write_text(render_text(build_page(name)), encoding="utf-8")
