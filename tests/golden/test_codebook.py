"""The words and the projection of the global vector do not move unless somebody means them to.

A changed codebook (see fit_codebook.py) or another stream of numpy's generator gives every image
another vector: what lies in caches would be compared with what it cannot be compared with. Raise
`fingerprints.FORMAT` together with the numbers here.
"""

import hashlib

import numpy as np
import pytest

from leukoscope.sources.fingerprints import (
    VECTOR_DIMENSION,
    _draw_sketch,
    _load_codebook,
    compute_vector,
)

GOLDEN_VECTOR = {708: 0.221028, 404: 0.216896, 503: 0.21491, 31: -0.181274}


def compute_hash(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def test_the_codebook_is_the_stored_one():
    words = _load_codebook()
    assert words.shape == (64, 128)
    assert words.dtype == np.float32
    assert compute_hash(words).startswith("a39a53901d8ba85208620156")
    # Means of rows of length 1, all of them different words.
    assert (np.linalg.norm(words, axis=1) < 1).all()
    assert (words >= 0).all()
    apart = np.linalg.norm(words[:, None] - words, axis=2) + 9 * np.eye(64)
    assert apart.min() > 0.05


def test_the_projection_is_the_stored_one():
    order, signs = _draw_sketch(64 * 128)
    assert compute_hash(order.astype("<i8"), signs).startswith("45de744c3608d7887f5da9d1")
    assert (np.sort(order) == np.arange(64 * 128)).all()
    assert set(signs.tolist()) == {-1, 1}


def test_a_vector_is_the_stored_one():
    descriptors = (np.arange(40 * 128).reshape(40, 128) * 7919 % 199).astype(np.uint8)
    vector = compute_vector(descriptors)
    assert vector.shape == (VECTOR_DIMENSION,)
    largest = np.abs(vector).argsort()[::-1][:4]
    assert dict(zip(largest.tolist(), vector[largest].tolist(), strict=True)) == pytest.approx(
        GOLDEN_VECTOR, abs=1e-4
    )
