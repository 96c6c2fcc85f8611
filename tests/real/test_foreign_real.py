"""Image quality alone, fitted on PBC, before cells of another laboratory; read in place."""

import numpy as np

from leukoscope.data.images import load_pixels
from leukoscope.data.readers import find_candidates
from leukoscope.painted.cells import paint_cells
from leukoscope.trust.quality import fit_quality, measure_quality

SIDE = 96
SHARE = 0.02


def read(paths, boxes=None):
    boxes = boxes or [None] * len(paths)
    return measure_quality(
        np.stack([load_pixels(p, SIDE, b) for p, b in zip(paths, boxes, strict=True)])
    )


def test_foreign_images_are_rejected_and_home_is_not(real_data):
    rng = np.random.default_rng(0)
    paths = sorted((real_data / "pbc").rglob("*.jpg"))
    home = read([paths[i] for i in rng.permutation(len(paths))[:1100]])
    limits = fit_quality(home[:500], home[500:900], SHARE)
    assert (limits.compute_distance(home[900:]) > 1).mean() < 0.06

    kaggle = sorted((real_data / "dataset2-master" / "images" / "TEST_SIMPLE").rglob("*.jpeg"))
    red = [
        x for x in find_candidates(real_data / "bccd").entries if getattr(x, "label", "") == "RBC"
    ]
    red = [red[i] for i in rng.permutation(len(red))[:40]]
    groups = {
        "another laboratory": read(kaggle[:30]),
        "red cells": read([x.path for x in red], [x.box for x in red]),
        "painted": measure_quality(
            np.stack([x.pixels_HWC for x in paint_cells(12, copies=1, size_px=SIDE)])
        ),
        "noise": measure_quality(rng.integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)),
    }
    for name, quality in groups.items():
        assert (limits.compute_distance(quality) > 1).mean() >= 0.95, name
