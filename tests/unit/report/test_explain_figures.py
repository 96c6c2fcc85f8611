import numpy as np
import pytest

from leukoscope.report.explain_figures import draw_attention, draw_biases, draw_curves


def test_curves_are_means_and_baselines_are_grey():
    """Each method is compared with noise as coarse as its own map; all of it is in the figure."""
    steps = np.linspace(0, 1, 11)
    own = [
        {"deletion": 1 - steps, "insertion": steps},
        {"deletion": np.zeros(11), "insertion": steps},
    ]
    flat = [{"deletion": np.full(11, 0.7), "insertion": np.full(11, 0.2)}]
    figure = draw_curves({"occlusion": own, "gradcam": own}, {16: flat, 4: flat}, flat, "stage_2")
    left, right = figure.axes
    assert "lower is better" in left.get_title("left") and "higher" in right.get_title("left")
    lines = {line.get_label(): line for line in left.get_lines()}
    np.testing.assert_allclose(lines["Occlusion"].get_ydata(), (1 - steps) / 2)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    noise = ["Random places, 4 x 4", "Random places, 16 x 16"]
    assert names == [*noise, "Centre of the image", "Occlusion", "Grad-CAM (stage_2)"]
    broken = [lines[name].get_linestyle() != "-" for name in names]
    assert broken == [True, True, True, False, False]


def test_attention_shows_the_query_s_row():
    image = np.full((32, 32, 3), 200, np.uint8)
    weights = np.zeros((2, 16, 16), np.float32)
    weights[:, :, 0] = 1
    weights[0, 4 * 3 + 1] = 0
    weights[0, 4 * 3 + 1, 15] = 1  # the token in row 3, column 1 looks at the last one
    figure = draw_attention(image, {"stage_3 block 1": (weights, (4, 4))}, (0.9, 0.3))
    shown = [axes.get_images()[-1].get_array() for axes in figure.axes[1:] if axes.get_visible()]
    assert len(shown) == 3  # mean and two heads
    np.testing.assert_array_equal(shown[1], weights[0, 13].reshape(4, 4))
    np.testing.assert_array_equal(shown[0], weights[:, 13].mean(0).reshape(4, 4))
    (frame, _) = figure.axes[1].patches
    assert frame.get_xy() == (8, 24)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_biases_share_one_scale_about_zero(value):
    tables = {"a": np.full((2, 7, 7), value, np.float32), "b": np.full((1, 3, 3), -0.5, np.float32)}
    figure = draw_biases(tables)
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    limits = {image.get_clim() for image in images[:3]}
    assert limits == {(-max(value, 0.5), max(value, 0.5))}
    assert sum(axes.get_visible() and bool(axes.get_lines()) for axes in figure.axes) == 3
