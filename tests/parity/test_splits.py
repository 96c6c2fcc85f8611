"""Splits against scikit-learn's: the same draw where it is the protocol, as good a balance where
it is not."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from tests.builders.images import records_of

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.splits import build_kfold, build_split


def make_catalog(labels, sources=None, parts=None):
    return Catalog(
        tuple(
            ImageRecord(
                id=f"{i:06d}",
                path=Path(f"/cells/{i}.png"),
                label=str(label),
                width=32,
                height=32,
                bytes=9,
                sha256=hashlib.sha256(str(i).encode()).hexdigest(),
                split="" if parts is None else parts[i],
                source="" if sources is None else str(sources[i]),
            )
            for i, label in enumerate(labels)
        )
    )


def rows_of(split, role):
    return [int(record.id) for record in records_of(split, role)]


@pytest.mark.parametrize("n", [3, 4, 7, 19, 20, 21, 100, 997, 9957])
@pytest.mark.parametrize("seed", [42, 0, 7])
def test_random_draws_the_images_that_train_test_split_draws(n, seed):
    split = build_split(make_catalog(np.arange(n) % 2), "random", seed=seed)
    rest, test = train_test_split(np.arange(n), test_size=0.15, random_state=seed)
    train, val = train_test_split(rest, test_size=0.2, random_state=seed)
    assert rows_of(split, "test") == sorted(test)
    assert rows_of(split, "val") == sorted(val)
    assert rows_of(split, "train") == sorted(train)
    if n == 9957:
        assert (len(train), len(val), len(test)) == (6770, 1693, 1494)


def test_random_draws_among_the_images_that_are_not_left_aside():
    parts = ["test" if i % 7 == 0 else "train" for i in range(500)]
    split = build_split(make_catalog(np.arange(500) % 3, parts=parts), "random")
    open_rows = [i for i in range(500) if i % 7]
    rest, test = train_test_split(open_rows, test_size=0.15, random_state=42)
    train, val = train_test_split(rest, test_size=0.2, random_state=42)
    assert rows_of(split, "test") == sorted(test)
    assert rows_of(split, "val") == sorted(val)
    assert rows_of(split, "train") == sorted(train)


def measure_unevenness(labels, folds):
    """Root mean square of a fold's share of a class less the share it ought to have."""
    n_folds = max(folds) + 1
    shares = [
        np.bincount(folds[labels == label], minlength=n_folds) / (labels == label).sum()
        for label in np.unique(labels)
    ]
    return float(np.sqrt(np.mean((np.array(shares) - 1 / n_folds) ** 2)))


@pytest.mark.filterwarnings("ignore:The least populated class in y")
@pytest.mark.parametrize("n_folds", [3, 5])
def test_folds_are_as_even_as_those_of_stratified_group_k_fold(n_folds):
    ours, theirs = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        sources, labels = [], []
        for source in range(60):
            # Sizes over two orders, classes rare and common, some sources of mixed class.
            size = int(generator.lognormal(2, 1)) + 1
            kinds = generator.choice(5, size=2, p=[0.45, 0.3, 0.15, 0.06, 0.04])
            labels += list(generator.choice(kinds, size=size))
            sources += [source] * size
        labels, sources = np.array(labels), np.array(sources)
        folds = np.full(len(labels), -1)
        for k, split in enumerate(build_kfold(make_catalog(labels, sources), n_folds)):
            folds[rows_of(split, "test")] = k
        assert folds.min() == 0
        ours.append(measure_unevenness(labels, folds))
        witness = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        for k, (_, test) in enumerate(witness.split(labels, labels, sources)):
            folds[test] = k
        theirs.append(measure_unevenness(labels, folds))
    assert np.mean(ours) <= 1.05 * np.mean(theirs)
