"""How calibration cells are called, and as how many independent ones they count."""

import numpy as np
import pytest

from leukoscope.evaluation.decisions import count_called

LABELS = np.repeat([0, 1], 120)


def test_cells_are_counted_by_what_they_are_called():
    called = np.where(np.arange(240) % 10 == 0, 2, LABELS)
    found = count_called(LABELS, called, [str(i) for i in range(240)], 2)
    assert found.called == ((108, 0, 12), (0, 108, 12))
    assert found.effective == (120, 120)


def test_copies_that_are_called_alike_count_once():
    source = np.arange(240) // 6
    called = np.where(source % 4 == 0, 1 - LABELS, LABELS)
    found = count_called(LABELS, called, [str(i) for i in source], 2)
    assert found.effective == pytest.approx((20, 20), rel=0.1)
    mixed = np.where(np.random.default_rng(0).random(240) < 0.25, 1 - LABELS, LABELS)
    assert min(count_called(LABELS, mixed, [str(i) for i in source], 2).effective) > 60


def test_a_class_without_cells_counts_nothing():
    found = count_called(LABELS, LABELS, [str(i) for i in range(240)], 3)
    assert found.called[2] == (0, 0, 0, 0)
    assert found.effective[2] == 0


def test_only_sources_that_are_samples_say_how_far_samples_differ():
    slide = np.arange(240) % 20
    called = np.where(slide % 4 == 0, 1 - LABELS, LABELS)
    found = count_called(LABELS, called, [str(i) for i in slide], 2)
    assert found.correlation > 0.5 and found.n_samples == pytest.approx(20)
    even = np.where(np.random.default_rng(0).random(240) < 0.25, 1 - LABELS, LABELS)
    assert count_called(LABELS, even, [str(i) for i in slide], 2).correlation < 0.1
    # Copies of a cell are of one class, and say nothing of another sample.
    copies = np.arange(240) // 6
    called = np.where(copies % 4 == 0, 1 - LABELS, LABELS)
    found = count_called(LABELS, called, [str(i) for i in copies], 2)
    assert (found.correlation, found.n_samples) == (0, 0)
