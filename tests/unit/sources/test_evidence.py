import math

import numpy as np
import pytest

from leukoscope.sources.evidence import compose_maps, invert_map, split_map


def build(angle=0.0, scale=1.0, shear=0.0, mirrored=False):
    a = math.radians(angle)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    if mirrored:
        linear = linear @ np.diag([1, -1])
    return np.hstack([linear, [[3], [-7]]])


def take_apart(matrix):
    return split_map(tuple(float(v) for v in np.ravel(matrix)))


@pytest.mark.parametrize("angle", [-170, -90, -12.5, 0, 33, 90, 179])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_map_is_taken_apart_into_what_made_it(angle, scale, mirrored):
    found = take_apart(build(angle, scale, mirrored=mirrored))
    assert found.rotation_deg == pytest.approx(angle)
    assert found.scale == pytest.approx(scale)
    assert found.shear == pytest.approx(0, abs=1e-9)
    assert found.mirrored is mirrored


@pytest.mark.parametrize("shear", [-0.2, 0.05, 0.2])
def test_shear_is_recovered(shear):
    found = take_apart(build(20, 1.1, shear))
    assert found.shear == pytest.approx(shear)
    assert found.scale == pytest.approx(1.1)


def test_a_map_that_flattens_the_picture_does_not_fail():
    assert take_apart([[1, 0, 0], [1, 0, 0]]).shear == math.inf


def test_maps_compose_and_invert():
    outer, inner = (0.8, -0.6, 5, 0.7, 0.9, -3), (1.1, 0.2, -7, 0.1, -0.9, 40)
    x, y = 12.0, -5.0

    def apply(m, point):
        return (m[0] * point[0] + m[1] * point[1] + m[2], m[3] * point[0] + m[4] * point[1] + m[5])

    assert apply(compose_maps(outer, inner), (x, y)) == pytest.approx(
        apply(outer, apply(inner, (x, y)))
    )
    assert apply(invert_map(outer), apply(outer, (x, y))) == pytest.approx((x, y))
