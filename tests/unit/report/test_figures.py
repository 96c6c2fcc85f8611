import io
import math
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from leukoscope.errors import DataError, StorageError
from leukoscope.evaluation.metrics import compute_confusion
from leukoscope.evaluation.record import EpochFigures
from leukoscope.interval import Interval
from leukoscope.report import figures as room
from leukoscope.trust.calibration import compute_debiased_ece

NAN = Interval(math.nan, math.nan, math.nan)
HISTORY = [
    EpochFigures(epoch, 1 / epoch, 1.1 / epoch, 1 - 0.5 / epoch, (0.5, 0.9, 0.8)[epoch - 1])
    for epoch in (1, 2, 3)
]


def make_scores(k=3, n=90, signal=2.0):
    generator = np.random.default_rng(0)
    labels = np.resize(np.arange(k), n)
    z = generator.normal(size=(n, k))
    z[np.arange(n), labels] += signal
    p = np.exp(z)
    return labels, p / p.sum(axis=1, keepdims=True)


def texts(figure):
    """All text that a figure shows, drawn once so that tick labels exist."""
    figure.canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return " | ".join(t.get_text() for t in found if t.get_text() and t.get_visible())


def test_headline_says_what_the_network_adds():
    baselines = {"Majority": Interval(0.2, 0.1, 0.3), "Colour": Interval(0.81, 0.7, 0.9)}
    shown = texts(room.draw_headline(Interval(0.9, 0.85, 0.95), baselines))
    assert "+9.0 points over the best baseline" in shown
    assert "90.0 %  (85.0 to 95.0)" in shown
    assert shown.index("Colour") < shown.index("Majority")
    worse = texts(room.draw_headline(Interval(0.5, 0.4, 0.6), baselines, "CoAtNet"))
    assert "−31.0 points" in worse and "CoAtNet" in worse
    assert "±0.0 points" in texts(room.draw_headline(baselines["Colour"], baselines))
    assert "points" not in texts(room.draw_headline(Interval(0.5, 0.4, 0.6), {}))


def test_accuracies_mark_what_leaked_by_more_than_colour():
    honest = {"Network": Interval(0.9, 0.85, 0.95), "Majority": Interval(0.25, 0.2, 0.3)}
    leaked = {"Network": Interval(0.99, 0.98, 1.0), "Majority": Interval(0.26, 0.2, 0.3)}
    figure = room.draw_accuracies(
        [
            room.AccuracyBlock("The 94 images without a copy", honest),
            room.AccuracyBlock("All 1,494 images, of which so many " + "long " * 9, leaked, True),
        ]
    )
    shown = texts(figure)
    assert "The 94 images without a copy" in shown and "90.0 %  (85.0 to 95.0)" in shown
    assert "LEAKED: All 1,494 images" in shown and "long\nlong" in shown
    (axes,) = figure.axes
    bars, signs = axes.lines[::2], axes.lines[1::2]
    assert [bar.get_linestyle() for bar in bars] == ["-", "-", ":", ":"]
    assert [sign.get_marker() for sign in signs] == ["o", "D", "o", "D"]
    hollow = [sign.get_markerfacecolor() == "white" for sign in signs]
    assert hollow == [False, False, True, True]
    places = [sign.get_ydata()[0] for sign in signs]
    assert places == sorted(set(places)) and axes.get_ylim()[0] > places[-1]


def test_per_class_shows_absent_classes_as_such():
    recalls = {"immature_granulocyte": Interval(0.9, 0.8, 0.95), "basophil": NAN}
    shown = texts(room.draw_per_class(recalls, {"immature_granulocyte": 1200, "basophil": 0}))
    assert "Immature granulocyte (n = 1,200)" in shown and "not in the test set" in shown
    assert "n =" not in texts(room.draw_per_class(recalls))
    assert "Basophil" in texts(room.draw_per_class({"basophil": NAN}))


def test_training_curves_mark_the_best_epoch():
    figure = room.draw_training_curves(HISTORY)
    loss, accuracy = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [one.train_loss for one in HISTORY]
    assert accuracy.lines[1].get_ydata().tolist() == [0.5, 0.9, 0.8]
    assert list(accuracy.lines[2].get_xdata()) == [2, 2]
    with pytest.raises(DataError, match="an epoch at least"):
        room.draw_training_curves([])


def test_confusion_shows_counts_and_shares_of_the_row():
    confusion = compute_confusion(np.array([0] * 300 + [1] * 4), np.array([0] * 299 + [1] * 5), 3)
    shown = texts(room.draw_confusion(confusion, ("basophil", "eosinophil", "monocyte")))
    assert "299\n100 %" in shown and "1\n<1 %" in shown and "4\n100 %" in shown
    assert "0\n" not in shown.replace("100 %", "")


@pytest.mark.parametrize(("draw", "word"), [(room.draw_roc, "area"), (room.draw_pr, "average")])
def test_curves_have_a_legend_with_areas(draw, word):
    labels, p = make_scores(k=3)
    labels = np.where(labels == 2, 0, labels)
    shown = texts(draw(labels, p, ("basophil", "eosinophil", "monocyte")))
    assert word in shown and "Basophil  0." in shown and "Monocyte  undefined" in shown
    assert "enlarged" not in shown


@pytest.mark.parametrize("draw", [room.draw_roc, room.draw_pr])
def test_crowded_corner_is_enlarged(draw):
    labels, p = make_scores(k=9, n=180, signal=9)
    figure = draw(labels, p, [f"kind_{i}" for i in range(9)])
    assert "enlarged" in texts(figure)
    assert len(figure.axes[0].child_axes) == 1


def test_probability_distributions_place_each_image():
    labels, p = make_scores(k=2, n=40)
    labels[:] = np.where(np.arange(40) < 30, 0, 1)
    figure = room.draw_probability_distributions(labels, p, ("basophil", "platelet"))
    kind = matplotlib.collections.PathCollection
    dots = [c for c in figure.axes[0].collections if isinstance(c, kind)]
    x = np.concatenate([np.asarray(c.get_offsets())[:, 0] for c in dots if len(c.get_offsets())])
    assert np.sort(x) == pytest.approx(np.sort(p[np.arange(40), labels]))
    assert "Basophil (n = 30)" in texts(figure)
    empty = room.draw_probability_distributions(np.zeros(40, int), p, ("basophil", "platelet"))
    assert "Platelet (n = 0)" in texts(empty)


def test_reliability_shows_the_calibration_error():
    labels, p = make_scores()
    sources = [str(i // 2) for i in range(len(labels))]
    figure = room.draw_reliability(labels, p, sources)
    error = compute_debiased_ece(p.max(axis=1), p.argmax(axis=1) == labels, sources)
    assert f"Calibration error {error:.3f}" in texts(figure)
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
    assert "Cell 6\nnamed Immature\ngranulocyte, 70 %" in texts(figure)
    assert "There are none." in texts(room.draw_samples([], [], "Wrong"))


def test_files_are_the_same_each_time_and_readable(tmp_path):
    def draw():
        return room.draw_headline(Interval(0.9, 0.85, 0.95), {})

    png, svg = room.save_figure(draw(), tmp_path, "headline")
    assert png == tmp_path / "headline.png" and svg == tmp_path / "headline.svg"
    assert png.read_bytes() == room.render_png(draw())
    text = svg.read_text(encoding="utf-8")
    assert text == room.render_svg(draw())
    assert "<dc:date>" not in text and "http://matplotlib" not in text
    image = Image.open(io.BytesIO(png.read_bytes()))
    assert image.size[0] == 1200 and image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    with pytest.raises(StorageError, match="writable"):
        room.save_figure(draw(), tmp_path / "absent", "headline")


def test_names_may_hold_anything():
    labels, p = make_scores(k=2)
    names = ("$x^{", "赤芽球 <b>")
    svg = room.render_svg(room.draw_roc(labels, p, names))
    assert "$x^{" in svg or "x" in svg
    assert len(room.render_png(room.draw_confusion(np.eye(2), names))) > 1000


def test_no_global_state_changes():
    before = dict(matplotlib.rcParams)
    room.render_png(room.draw_headline(Interval(0.9, 0.85, 0.95), {}))
    assert dict(matplotlib.rcParams) == before
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []
