"""Figures of accuracy as a whole, and the files of figures."""

import io
import sys

import matplotlib
import pytest
from PIL import Image
from tests.builders.figures import list_texts

from leukoscope.errors import DataError, StorageError
from leukoscope.evaluation.record import EpochFigures
from leukoscope.interval import Interval
from leukoscope.report import accuracy_figures as room
from leukoscope.report.figures import render_png, render_svg, save_figure

HISTORY = [
    EpochFigures(epoch, 1 / epoch, 1.1 / epoch, 1 - 0.5 / epoch, (0.5, 0.9, 0.8)[epoch - 1])
    for epoch in (1, 2, 3)
]


def test_headline_says_what_the_network_adds():
    baselines = {"Majority": Interval(0.2, 0.1, 0.3), "Colour": Interval(0.81, 0.7, 0.9)}
    shown = list_texts(room.draw_baselines(Interval(0.9, 0.85, 0.95), baselines))
    assert "+9.0 points over the best baseline" in shown
    assert "90.0 %  (85.0 to 95.0)" in shown
    assert shown.index("Colour") < shown.index("Majority")
    worse = list_texts(room.draw_baselines(Interval(0.5, 0.4, 0.6), baselines, "CoAtNet"))
    assert "−31.0 points" in worse and "CoAtNet" in worse
    assert "±0.0 points" in list_texts(room.draw_baselines(baselines["Colour"], baselines))
    assert "points" not in list_texts(room.draw_baselines(Interval(0.5, 0.4, 0.6), {}))


def test_accuracies_mark_what_leaked_by_more_than_colour():
    honest = {"Network": Interval(0.9, 0.85, 0.95), "Majority": Interval(0.25, 0.2, 0.3)}
    leaked = {"Network": Interval(0.99, 0.98, 1.0), "Majority": Interval(0.26, 0.2, 0.3)}
    figure = room.draw_accuracies(
        [
            room.AccuracyBlock("The 94 images without a copy", honest),
            room.AccuracyBlock("All 1,494 images, of which so many " + "long " * 9, leaked, True),
        ]
    )
    shown = list_texts(figure)
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


def test_training_curves_mark_the_best_epoch():
    figure = room.draw_training_curves(HISTORY)
    loss, accuracy = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [one.train_loss for one in HISTORY]
    assert accuracy.lines[1].get_ydata().tolist() == [0.5, 0.9, 0.8]
    assert list(accuracy.lines[2].get_xdata()) == [2, 2]
    with pytest.raises(DataError, match="an epoch at least"):
        room.draw_training_curves([])


def test_files_are_the_same_each_time_and_readable(tmp_path):
    def draw():
        return room.draw_baselines(Interval(0.9, 0.85, 0.95), {})

    png, svg = save_figure(draw(), tmp_path, "headline")
    assert png == tmp_path / "headline.png" and svg == tmp_path / "headline.svg"
    assert png.read_bytes() == render_png(draw())
    text = svg.read_text(encoding="utf-8")
    assert text == render_svg(draw())
    assert "<dc:date>" not in text and "http://matplotlib" not in text
    image = Image.open(io.BytesIO(png.read_bytes()))
    assert image.size[0] == 1200 and image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    with pytest.raises(StorageError, match="writable"):
        save_figure(draw(), tmp_path / "absent", "headline")


def test_no_global_state_changes():
    before = dict(matplotlib.rcParams)
    render_png(room.draw_baselines(Interval(0.9, 0.85, 0.95), {}))
    assert dict(matplotlib.rcParams) == before
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []
