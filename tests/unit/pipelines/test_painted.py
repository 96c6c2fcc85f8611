"""Cells or fields are painted, and options of the one are not taken for the other."""

import pytest
from PIL import Image

from leukoscope.errors import ConfigError
from leukoscope.pipelines import paint_set


def test_cells_or_fields(tmp_path):
    heard = []
    table = paint_set(tmp_path / "cells", n_sources=4, copies=1, size_px=32)
    assert table.name == "painted.csv" and len(list(table.parent.rglob("*.png"))) == 4
    table = paint_set(
        tmp_path / "fields", n_fields=2, size_px=240, progress=lambda *c: heard.append(c)
    )
    assert table.name == "cells.csv" and heard[-1] == ("Painting fields", 2, 2)
    images = list(table.parent.rglob("*.jpg"))
    assert len(images) == 2
    with Image.open(images[0]) as image:
        assert image.size == (240, 180)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_fields": 2, "copies": 3}, "--copies with --fields"),
        ({"n_samples": 2, "overlap_frac": 0.2}, "--samples, --overlap without --fields"),
    ],
)
def test_options_of_the_other_are_named(options, named, tmp_path):
    with pytest.raises(ConfigError) as caught:
        paint_set(tmp_path / "set", **options)
    assert caught.value.found == named
    assert not (tmp_path / "set").exists()
