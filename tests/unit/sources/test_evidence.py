import math

import numpy as np
import pytest

from leukoscope.sources.evidence import Link


def link(matrix, **facts):
    values = {
        "first": "a",
        "second": "b",
        "kind": "geometric",
        "inliers": 40,
        "overlap_frac": 0.9,
        "agreement_frac": 1.0,
        "contradiction_frac": 0.0,
    }
    return Link(**(values | facts), matrix=tuple(float(v) for v in np.ravel(matrix)))


def build(angle=0.0, scale=1.0, shear=0.0, mirrored=False):
    a = math.radians(angle)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    if mirrored:
        linear = linear @ np.diag([1, -1])
    return np.hstack([linear, [[3], [-7]]])


@pytest.mark.parametrize("angle", [-170, -90, -12.5, 0, 33, 90, 179])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_map_is_taken_apart_into_what_made_it(angle, scale, mirrored):
    found = link(build(angle, scale, mirrored=mirrored))
    assert found.rotation_deg == pytest.approx(angle)
    assert found.scale == pytest.approx(scale)
    assert found.shear == pytest.approx(0, abs=1e-9)
    assert found.mirrored is mirrored


@pytest.mark.parametrize("shear", [-0.2, 0.05, 0.2])
def test_shear_is_recovered(shear):
    found = link(build(20, 1.1, shear))
    assert found.shear == pytest.approx(shear)
    assert found.scale == pytest.approx(1.1)


def test_a_map_that_flattens_the_picture_does_not_fail():
    assert link([[1, 0, 0], [1, 0, 0]]).shear == math.inf


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (build(), "not turned"),
        (build(0.3, 1.01), "not turned"),
        (build(90), "turned 90°"),
        (build(12, 1.3, 0.2, mirrored=True), "mirrored, turned 12°, sheared 0.20, scaled 1.30"),
    ],
)
def test_a_map_is_put_into_words(matrix, words):
    assert link(matrix).describe() == words
