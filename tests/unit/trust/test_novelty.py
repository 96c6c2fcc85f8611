"""Distances against closed forms and SciPy; hard cases; thresholds by rank."""

import io

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from leukoscope.errors import DataError
from leukoscope.trust.novelty import MAX_AXES, NoveltyModel, fit_distance_threshold, fit_novelty


def draw_rows(n=400, width=12, classes=3, seed=0, spread=1.0):
    """Gaussian classes of one covariance."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(0, 4, (classes, width))
    labels = rng.integers(0, classes, n)
    mix = np.random.default_rng(98).normal(size=(width, width)) / np.sqrt(width)
    return means[labels] + spread * rng.normal(size=(n, width)) @ mix, labels


def compute_by_hand(rows, labels, new, axes):
    """The documented distance with dense matrices and SciPy."""
    classes = np.unique(labels)
    means = np.stack([rows[labels == k].mean(axis=0) for k in classes])
    away = rows - means[np.searchsorted(classes, labels)]
    covariance = away.T @ away / (len(rows) - len(classes))
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].copy(), vectors[:, ::-1]
    values[axes:] = values[axes:].mean() if axes < len(values) else values[axes:]
    values = np.maximum(values, 1e-2 * rows.var(axis=0).mean())
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    to = lambda row, k: mahalanobis(row, means[k], inverse) ** 2  # noqa: E731
    own = np.array([to(r, np.searchsorted(classes, y)) for r, y in zip(rows, labels, strict=True)])
    spreads = [
        (own[labels == k].sum() + 20 * own.mean()) / ((labels == k).sum() + 20) for k in classes
    ]
    return [min(to(row, k) / spreads[k] for k in range(len(classes))) for row in new]


@pytest.mark.parametrize("width", [12, MAX_AXES + 16])
def test_mahalanobis_is_the_distance_it_says(width):
    rows, labels = draw_rows(width=width)
    new = draw_rows(20, width, seed=1, spread=3)[0]
    found = fit_novelty(rows, labels).compute_distance(new)
    np.testing.assert_allclose(found, compute_by_hand(rows, labels, new, MAX_AXES), rtol=2e-4)
    assert found.dtype == np.float64


def test_directions_without_spread_do_not_blow_up_a_small_difference():
    """Embeddings of a well trained network: classes apart, next to no spread within them. What an
    8-bit engine changes (1 % of a typical deviation, everywhere) makes no strangers."""
    rng = np.random.default_rng(0)
    labels = np.arange(800) % 4
    rows = 4 * rng.normal(size=(4, 256))[labels] + 0.004 * rng.normal(size=(800, 256))
    rows[:, :6] += rng.normal(size=(800, 6))
    model = fit_novelty(rows[:400], labels[:400])
    before = model.compute_distance(rows[400:])
    moved = rows[400:] + 0.01 * rows.std(axis=0).mean() * rng.normal(size=(400, 256))
    limit = fit_distance_threshold(before, 0.02)
    assert (model.compute_distance(moved) > limit).mean() < 0.1
    assert model.compute_distance(rows[:1] + 2.0)[0] > 3 * limit


def test_what_is_foreign_lies_farther():
    rows, labels = draw_rows(2000)
    home = draw_rows(500, seed=1)[0]
    foreign = np.random.default_rng(2).normal(0, 4, (500, 12))
    model = fit_novelty(rows, labels)
    limit = fit_distance_threshold(model.compute_distance(draw_rows(999, seed=3)[0]), 0.05)
    assert (model.compute_distance(home) > limit).mean() < 0.09
    assert (model.compute_distance(foreign) > limit).mean() > 0.7


def test_a_varied_class_is_not_rejected_more_than_a_uniform_one():
    rng = np.random.default_rng(0)

    def draw(n):
        labels = np.repeat([0, 1], n)
        return 20 * labels[:, None] + rng.normal(size=(2 * n, 8)) * (1 + 2 * labels[:, None])

    labels = np.repeat([0, 1], 1000)
    model = fit_novelty(draw(1000), labels)
    limit = fit_distance_threshold(model.compute_distance(draw(1000)), 0.05)
    far = (model.compute_distance(draw(2000)) > limit).reshape(2, -1).mean(axis=1)
    assert 0.03 < far.min() <= far.max() < 0.07


def test_hard_cases_keep_a_finite_distance():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 200)).astype(np.float32)  # more features than rows
    rows[:, :5] = 3.0  # constant
    labels = np.r_[np.repeat([2, 5], [15, 14]), 7]  # a class of one row, and none of 0
    model = fit_novelty(rows, labels)
    found = model.compute_distance(np.concatenate([rows, np.zeros((1, 200)), 1e6 * rows[:1]]))
    assert np.isfinite(found).all()
    strange = rows[:1].copy()
    strange[0, 0] = 9.0  # in a feature that never varied
    assert model.compute_distance(strange)[0] > 100 * model.compute_distance(rows[:1])[0]


def test_a_row_does_not_depend_on_its_company():
    rows, labels = draw_rows(width=256)
    model = fit_novelty(rows, labels)
    new = draw_rows(41, 256, seed=1)[0].astype(np.float32)
    whole = model.compute_distance(new)
    order = np.random.default_rng(0).permutation(41)
    assert np.array_equal(model.compute_distance(new[order]), whole[order])
    assert np.array_equal(model.compute_distance(np.asfortranarray(new)), whole)
    assert [model.compute_distance(new[i : i + 1])[0] for i in range(41)] == whole.tolist()
    assert model.compute_distance(new[:0]).shape == (0,)


def test_another_engine_changes_next_to_nothing():
    """Also where the network has collapsed onto a few directions, as trained ones do."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    rows = (
        3 * np.eye(4, 128)[labels] + rng.normal(size=(600, 128)) * np.r_[np.ones(8), [1e-7] * 120]
    )
    model = fit_novelty(rows, labels)
    limit = fit_distance_threshold(model.compute_distance(rows), 0.02)
    moved = rows + rng.uniform(-1e-5, 1e-5, rows.shape)
    away = np.abs(model.compute_distance(moved) - model.compute_distance(rows))
    assert away.max() < 2e-3 * limit


def test_what_is_not_finite_is_infinitely_far():
    rows, labels = draw_rows()
    new = rows[:3].copy()
    new[0, 1], new[2, 4] = np.nan, np.inf
    found = fit_novelty(rows, labels).compute_distance(new)
    assert np.isinf(found).tolist() == [True, False, True]


def test_arrays_survive_a_file_without_pickle_and_stay_small():
    rows, labels = draw_rows(300, 768, classes=20)
    model = fit_novelty(rows, labels)
    file = io.BytesIO()
    np.savez(file, **model.to_arrays())
    assert len(file.getvalue()) < 2.1e6
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        again = NoveltyModel.from_arrays(dict(loaded))
    assert np.array_equal(again.compute_distance(rows[:9]), model.compute_distance(rows[:9]))
    with pytest.raises(ValueError, match="read-only"):
        again.means_KD[...] = 0


def spoil(arrays, name, change):
    return arrays | {name: change(arrays[name])}


def test_damaged_arrays_are_rejected():
    good = fit_novelty(*draw_rows()).to_arrays()
    name = "means_KD"
    for bad in (
        {},
        {k: v for k, v in good.items() if k != name},
        good | {"more": good[name]},
        spoil(good, name, lambda a: a.astype(np.float64)),
        spoil(good, name, lambda a: a[0]),
        spoil(good, name, lambda a: a[:, :-1]),
        spoil(good, name, lambda a: a * np.nan),
        spoil(good, "spreads_K", lambda a: a[:-1]),
        spoil(good, "rest_1", lambda a: a[:0]),
    ):
        with pytest.raises(DataError, match="calibrate the run again"):
            NoveltyModel.from_arrays(bad)


def test_what_cannot_be_fitted_is_rejected():
    rows, labels = draw_rows(20)
    spoilt = rows.copy()
    spoilt[3, 2] = np.nan
    for bad, names, message in (
        (spoilt, labels, "1 of 20"),
        (rows, np.where(labels == 1, -1, labels), "have none"),
        (rows[:4], np.arange(4) % 3, "two rows more"),
        (np.ones((9, 5)), np.zeros(9, int), "all 9 are the same"),
        (rows, labels[:-1], "N labels"),
        (rows[0], labels[:12], "N labels"),
    ):
        with pytest.raises(DataError, match=message):
            fit_novelty(bad, names)
    with pytest.raises(DataError, match=r"\(N, 12\)"):
        fit_novelty(rows, labels).compute_distance(rows[:, :-1])


def test_the_threshold_is_the_distance_of_its_rank():
    distances = np.random.default_rng(0).permutation(np.arange(1.0, 1000.0))
    assert fit_distance_threshold(distances, 0.1) == 900
    assert fit_distance_threshold(distances, 0.02) == 980
    # 50 * 0.98 and 100 * 0.93 are not whole in floating point.
    assert fit_distance_threshold(np.arange(1.0, 50.0), 0.02) == 49
    assert fit_distance_threshold(np.arange(1.0, 100.0), 0.07) == 93
    for n, share in ((48, 0.02), (0, 0.5), (98, 0.01)):
        with pytest.raises(DataError, match=f"at least {n + 1} calib sources"):
            fit_distance_threshold(np.arange(float(n)), share)
    with pytest.raises(DataError, match="1 of 3"):
        fit_distance_threshold(np.array([1, np.inf, 2]), 0.5)
    with pytest.raises(DataError, match="between 0 and 1"):
        fit_distance_threshold(np.arange(9.0), 1.0)
