"""Figures of a validation."""

from dataclasses import replace

import numpy as np
import pytest
from tests.builders.validation import build_cells, build_reference, validate

from leukoscope.errors import DataError
from leukoscope.report.page import render_text
from leukoscope.report.validation_figures import draw_comparison, draw_validation
from leukoscope.report.validation_page import describe_validation


def test_classes_are_drawn_against_the_reference_and_mistakes_with_their_images():
    cells = build_cells(n=30)
    loaded = []

    def load_image(row):
        loaded.append(row)
        return np.zeros((8, 8, 3), np.uint8)

    drawn = draw_validation(validate(cells, reference=build_reference()), cells, load_image)
    assert drawn.keys() == {"classes", "reliability", "mistakes"}
    wrong = np.flatnonzero(cells.predictions.labels_N != cells.table.labels_N)
    assert set(loaded) <= set(wrong.tolist()) and loaded
    right = build_cells(n=30, right=1.0)
    assert "mistakes" not in draw_validation(validate(right), right, load_image)


@pytest.mark.parametrize("reference", [None, build_reference()])
def test_classes_that_no_font_draws_have_numbers_that_the_page_explains(reference):
    cells = build_cells(n=30)
    record = validate(cells, reference=reference)
    name = f"{chr(0x10FFFD)}a"
    first, *others = record.per_class
    renamed = replace(
        record,
        classes=(name, *record.classes[1:]),
        per_class=(replace(first, label=name), *others),
    )

    def draw(one):
        return draw_validation(one, cells, lambda _: np.zeros((8, 8, 3), np.uint8))

    text = render_text(describe_validation(renamed, draw(renamed)))
    assert text.count(f"class 1 is {name}") == 1
    assert "class 1 is" not in render_text(describe_validation(renamed, {}))
    assert "class 1 is" not in render_text(describe_validation(record, draw(record)))


def test_a_comparison_shows_both_sides_and_classes_without_a_cell():
    record = validate(build_cells(n=30), reference=build_reference())
    rows = {x.label: (x.sensitivity.external, x.sensitivity.internal) for x in record.per_class}
    texts = [text.get_text() for text in draw_comparison(rows).axes[0].texts]
    assert sum(text.startswith("internal ") for text in texts) == 3
    assert "external: no cell" in texts
    with pytest.raises(DataError, match="at least one class"):
        draw_comparison({})
