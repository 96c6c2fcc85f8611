import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from leukoscope.errors import DataError
from leukoscope.evaluation.baselines import (
    compute_baselines,
    compute_colour_histograms,
    compute_thumbnails,
)
from leukoscope.evaluation.intervals import compute_proportion

CLASSES = ("neutrophil", "lymphocyte")


def paint(labels, seed, by="colour", size=24):
    """Noise images whose class lies in the colour, or in the shape (a half) only."""
    generator = np.random.default_rng(seed)
    images = generator.integers(100, 130, (len(labels), size, size, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        if by == "colour":
            image[..., 0] += np.uint8(100 * label)
        elif label:
            image[: size // 2] += 100
        else:
            image[:, : size // 2] += 100
    return images


@pytest.fixture(scope="module")
def floors_by():
    train, test = np.arange(80) % 5 // 3, np.arange(40) % 2
    sources = [str(i // 2) for i in range(40)]
    return {
        by: compute_baselines(
            paint(train, 0, by), train, paint(test, 1, by), test, CLASSES, sources, seed=3
        )
        for by in ("colour", "shape")
    }


def test_three_floors_with_intervals_over_sources(floors_by):
    baselines = floors_by["colour"]
    assert list(baselines) == ["majority", "colour_histogram", "nearest_neighbour"]
    test, sources = np.arange(40) % 2, [str(i // 2) for i in range(40)]
    for name, baseline in baselines.items():
        assert baseline.name == name
        assert baseline.predictions_N.dtype == np.int64
        assert baseline.accuracy == compute_proportion(baseline.predictions_N == test, sources)
        assert baseline.balanced_accuracy == balanced_accuracy_score(test, baseline.predictions_N)


def test_majority_takes_the_commonest_class_of_training(floors_by):
    baseline = floors_by["colour"]["majority"]
    assert (baseline.predictions_N == 0).all()
    assert baseline.accuracy.value == 0.5 and baseline.balanced_accuracy == 0.5
    assert baseline.label == "neutrophil" and floors_by["colour"]["colour_histogram"].label == ""


def test_colour_histogram_finds_colour(floors_by):
    assert floors_by["colour"]["colour_histogram"].accuracy.value == 1
    assert floors_by["colour"]["nearest_neighbour"].accuracy.value == 1


def test_colour_histogram_is_blind_to_shape(floors_by):
    baselines = floors_by["shape"]
    assert baselines["nearest_neighbour"].accuracy.value == 1
    # 40 images, chance 0.5: five standard errors.
    assert abs(baselines["colour_histogram"].balanced_accuracy - 0.5) < 0.4


def test_same_seed_same_floors(floors_by):
    train, test = np.arange(80) % 5 // 3, np.arange(40) % 2
    again = compute_baselines(
        paint(train, 0, "shape"), train, paint(test, 1, "shape"), test, CLASSES,
        [str(i // 2) for i in range(40)], seed=3,
    )  # fmt: skip
    for name, baseline in floors_by["shape"].items():
        assert (again[name].predictions_N == baseline.predictions_N).all()


def test_histogram_agrees_with_numpy_and_ignores_where_pixels_lie():
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 20, 3), dtype=np.uint8)
    found = compute_colour_histograms(images)
    edges = [np.arange(0, 257, 32)] * 3
    for i in (0, 255, 256, 299):  # both sides of a chunk's border
        expected = np.histogramdd(images[i].reshape(-1, 3), bins=edges)[0].ravel() / 320
        assert found[i] == pytest.approx(expected, abs=1e-6)
    assert (compute_colour_histograms(images[:, ::-1, ::-1]) == found).all()


@pytest.mark.parametrize("size", [16, 32, 41])
def test_thumbnails_are_block_means(size):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    found = compute_thumbnails(images).reshape(3, 16, 16, 3)
    edges = np.linspace(0, size, 17).astype(int)
    for i, j in ((0, 0), (7, 3), (15, 15)):
        block = images[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
        assert found[:, i, j] == pytest.approx(block.mean(axis=(1, 2)), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"train_images_NHWC": np.zeros((0, 16, 16, 3), np.uint8)}, "training images, each"),
        ({"test_labels_N": np.zeros(3, int)}, "test images, each"),
        ({"test_images_NHWC": np.zeros((2, 16, 16, 3))}, "float64"),
        ({"test_images_NHWC": np.zeros((2, 16, 16, 4), np.uint8)}, "16, 4"),
        ({"test_images_NHWC": np.zeros((2, 16, 16), np.uint8)}, r"\(2, 16, 16\)"),
        ({"train_images_NHWC": np.zeros((2, 8, 16, 3), np.uint8)}, "8, 16, 3"),
        ({"test_labels_N": np.array([-1, 0])}, "-1 to 0"),
        ({"train_labels_N": np.array([1, 2])}, "1 to 2"),
    ],
)
def test_unfit_input_is_rejected(change, found):
    images, labels = np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1])
    given = {
        "train_images_NHWC": images, "train_labels_N": labels,
        "test_images_NHWC": images, "test_labels_N": labels,
    } | change  # fmt: skip
    with pytest.raises(DataError, match=found):
        compute_baselines(**given, classes=CLASSES, test_sources=["a", "b"], seed=0)
