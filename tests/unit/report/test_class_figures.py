"""Figures by class and by image."""

import matplotlib
import numpy as np
import pytest
from tests.builders.figures import list_texts

from leukoscope.evaluation.calibration_error import compute_debiased_ece
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.report import class_figures as room
from leukoscope.report.figures import render_png, render_svg


def make_scores(k=3, n=90, signal=2.0):
    generator = np.random.default_rng(0)
    labels = np.resize(np.arange(k), n)
    z = generator.normal(size=(n, k))
    z[np.arange(n), labels] += signal
    p = np.exp(z)
    return labels, p / p.sum(axis=1, keepdims=True)


def test_per_class_shows_absent_classes_as_such():
    recalls = {"immature_granulocyte": Interval(0.9, 0.8, 0.95), "basophil": UNDEFINED}
    shown = list_texts(room.draw_per_class(recalls, {"immature_granulocyte": 1200, "basophil": 0}))
    assert "Immature granulocyte (n = 1,200)" in shown and "not in the test set" in shown
    assert "n =" not in list_texts(room.draw_per_class(recalls))
    assert "Basophil" in list_texts(room.draw_per_class({"basophil": UNDEFINED}))


def test_confusion_shows_counts_and_shares_of_the_row():
    confusion = compute_confusion(np.array([0] * 300 + [1] * 4), np.array([0] * 299 + [1] * 5), 3)
    shown = list_texts(room.draw_confusion(confusion, ("basophil", "eosinophil", "monocyte")))
    assert "299\n100 %" in shown and "1\n<1 %" in shown and "4\n100 %" in shown
    assert "0\n" not in shown.replace("100 %", "")


@pytest.mark.parametrize(("draw", "word"), [(room.draw_roc, "area"), (room.draw_pr, "average")])
def test_curves_have_a_legend_with_areas(draw, word):
    labels, p = make_scores(k=3)
    labels = np.where(labels == 2, 0, labels)
    shown = list_texts(draw(labels, p, ("basophil", "eosinophil", "monocyte")))
    assert word in shown and "Basophil  0." in shown and "Monocyte  undefined" in shown
    assert "enlarged" not in shown


@pytest.mark.parametrize("draw", [room.draw_roc, room.draw_pr])
def test_crowded_corner_is_enlarged(draw):
    labels, p = make_scores(k=9, n=180, signal=9)
    figure = draw(labels, p, [f"kind_{i}" for i in range(9)])
    assert "enlarged" in list_texts(figure)
    assert len(figure.axes[0].child_axes) == 1


def test_probability_distributions_place_each_image():
    labels, p = make_scores(k=2, n=40)
    labels[:] = np.where(np.arange(40) < 30, 0, 1)
    figure = room.draw_probability_distributions(labels, p, ("basophil", "platelet"))
    kind = matplotlib.collections.PathCollection
    dots = [c for c in figure.axes[0].collections if isinstance(c, kind)]
    x = np.concatenate([np.asarray(c.get_offsets())[:, 0] for c in dots if len(c.get_offsets())])
    assert np.sort(x) == pytest.approx(np.sort(p[np.arange(40), labels]))
    assert "Basophil (n = 30)" in list_texts(figure)
    empty = room.draw_probability_distributions(np.zeros(40, int), p, ("basophil", "platelet"))
    assert "Platelet (n = 0)" in list_texts(empty)


def test_reliability_shows_the_calibration_error():
    labels, p = make_scores()
    sources = [str(i // 2) for i in range(len(labels))]
    figure = room.draw_reliability(labels, p, sources)
    error = compute_debiased_ece(p.max(axis=1), p.argmax(axis=1) == labels, sources)
    assert f"Calibration error {error:.3f}" in list_texts(figure)
    assert sum(patch.get_height() for patch in figure.axes[1].patches) == len(labels)


def test_samples_are_chosen_by_confidence():
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95]])
    found = {kind: rows.tolist() for kind, rows in room.choose_samples(labels, p, 2).items()}
    assert found == {"confident_wrong": [2, 3], "unsure_right": [1, 0], "confident_right": [4, 0]}
    assert list(found) == list(room.SAMPLE_TITLES)


def test_captions_never_round_up_to_certainty():
    assert room.caption_sample(0, np.array([0.999, 0.001]), ["a", "b"]) == "A\nright, 99 %"
    assert room.caption_sample(1, np.array([1.0, 0.0]), ["a", "b"]) == "B\npredicted A, 100 %"


def test_samples_sheet_shows_pixels_and_captions():
    images = [np.full((20, 20, 3), i, np.uint8) for i in range(7)]
    captions = [f"Cell {i}\nnamed Immature granulocyte, 70 %" for i in range(7)]
    figure = room.draw_samples(images, captions, "Wrong")
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [int(a[0, 0, 0]) for a in drawn] == list(range(7))
    assert "Cell 6\nnamed Immature\ngranulocyte, 70 %" in list_texts(figure)
    assert "There are none." in list_texts(room.draw_samples([], [], "Wrong"))


def test_names_may_hold_anything():
    labels, p = make_scores(k=2)
    names = ("$x^{", "赤芽球 <b>")
    svg = render_svg(room.draw_roc(labels, p, names))
    assert "$x^{" in svg or "x" in svg
    assert len(render_png(room.draw_confusion(np.eye(2), names))) > 1000
