"""Image quality: what each change of an image does to its features, against scikit-image and SciPy;
what is rejected, and why."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import convolve
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import laplace
from skimage.measure import label, regionprops

from leukoscope.errors import DataError
from leukoscope.painted.cells import paint_cells
from leukoscope.trust.quality import (
    LEAST_TRAIN,
    QUALITY_NAMES,
    STRONG_RATIO,
    QualityModel,
    fit_quality,
    measure_quality,
)

SIDE = 96


@pytest.fixture(scope="module")
def cells():
    """Eight painted cells, held away from black and white so that little clips when changed."""
    painted = [cell.pixels_HWC for cell in paint_cells(8, copies=1, size_px=SIDE)]
    return np.stack(painted) // 2 + 40


def measure(images):
    """Feature name -> `(N,)`."""
    return dict(zip(QUALITY_NAMES, measure_quality(images).T, strict=True))


def apply(images, change):
    return np.stack([np.asarray(change(Image.fromarray(one))) for one in images])


def draw_disc(radius, centre=(48, 48), colour=(60, 20, 90), ground=(200, 190, 180)):
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return np.where(inside[..., None], colour, ground).astype(np.uint8)


# -- what a change does ---------------------------------------------------------------------------


def test_blur_lowers_sharpness_step_by_step(cells):
    steps = [
        measure(apply(cells, lambda x, r=r: x.filter(ImageFilter.GaussianBlur(r))))["sharpness"]
        for r in (0.001, 0.5, 1, 2, 4)
    ]
    assert (np.diff(steps, axis=0) < 0).all()


def test_noise_raises_noise_step_by_step(cells):
    drawn = np.random.default_rng(0).normal(size=cells.shape)
    steps = [
        measure(np.clip(cells + sd * drawn, 0, 255).astype(np.uint8))["noise"]
        for sd in (0, 4, 9, 20)
    ]
    assert (np.diff(steps, axis=0) > 0).all()


def test_a_darker_lamp_changes_the_brightness_only(cells):
    before, after = measure(cells), measure((cells * 0.7).round().astype(np.uint8))
    np.testing.assert_allclose(after["brightness"], 0.7 * before["brightness"], rtol=0.01)
    for name in set(QUALITY_NAMES) - {"brightness"}:
        # Rounding to whole grey levels is all that is left; the noise is of that size itself.
        slack = 0.2 if name == "noise" else 0.05
        np.testing.assert_allclose(after[name], before[name], rtol=slack, atol=0.006, err_msg=name)


def test_turning_the_hue_changes_colours_and_no_shape(cells):
    hsv = np.stack([rgb2hsv(one) for one in cells])
    hsv[..., 0] = (hsv[..., 0] + 1 / 3) % 1  # red becomes green, green blue, blue red
    turned = np.rint(255 * np.stack([hsv2rgb(one) for one in hsv])).astype(np.uint8)
    before, after = measure(cells), measure(turned)
    for part in ("nucleus", "cell"):
        red, blue = (before[f"{part}_{colour}_frac"] for colour in ("red", "blue"))
        np.testing.assert_allclose(after[f"{part}_red_frac"], blue, atol=0.01)
        np.testing.assert_allclose(after[f"{part}_blue_frac"], 1 - red - blue, atol=0.01)
    np.testing.assert_allclose(after["ground_blue"], 1 / before["ground_red"], rtol=0.01)
    for name in ("cell_frac", "nucleus_size_frac", "off_centre_frac", "contrast", "stain_depth"):
        np.testing.assert_allclose(after[name], before[name], rtol=0.02, atol=0.003, err_msg=name)


def test_twice_the_magnification_doubles_what_is_measured_in_sides():
    both = measure(np.stack([draw_disc(12), draw_disc(24)]))
    for name in ("nucleus_size_frac", "cell_chord_frac", "nucleus_chord_frac"):
        assert both[name][1] == pytest.approx(2 * both[name][0], rel=0.05), name
    assert both["cell_frac"][1] == pytest.approx(4 * both["cell_frac"][0], rel=0.03)


def test_magnifying_cells_enlarges_them(cells):
    inner = slice(SIDE // 4, -SIDE // 4)
    wide = apply(cells[:, inner, inner], lambda x: x.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    before, after = measure(cells), measure(wide)
    for name in ("cell_chord_frac", "nucleus_chord_frac"):
        assert np.median(after[name] / before[name]) > 1.3, name
    assert np.median(after["sharpness"] / before["sharpness"]) < 0.6


def test_moving_a_cell_moves_its_centre_and_nothing_else():
    both = measure(np.stack([draw_disc(10), draw_disc(10, (48 + 12, 48 - 9))]))
    assert both["off_centre_frac"][1] - both["off_centre_frac"][0] == pytest.approx(
        15 / SIDE, abs=0.01
    )
    for name in set(QUALITY_NAMES) - {"off_centre_frac"}:
        assert both[name][0] == both[name][1], name


def test_mirrors_and_quarter_turns_change_nothing(cells):
    before = measure_quality(cells)
    for moved in (cells[:, ::-1], cells[:, :, ::-1], np.rot90(cells, axes=(1, 2))):
        np.testing.assert_allclose(measure_quality(moved), before, rtol=1e-6, atol=1e-6)


def test_an_image_does_not_depend_on_its_company(cells):
    whole = measure_quality(cells)
    order = np.random.default_rng(0).permutation(len(cells))
    assert np.array_equal(measure_quality(cells[order]), whole[order])
    assert np.array_equal(measure_quality(np.asfortranarray(cells)), whole)
    assert np.array_equal(np.concatenate([measure_quality(c[None]) for c in cells]), whole)
    assert whole.dtype == np.float32 and whole.shape == (8, len(QUALITY_NAMES))
    assert measure_quality(cells[:0]).shape == (0, len(QUALITY_NAMES))


def test_pixels_are_left_alone(cells):
    kept = cells.copy()
    measure_quality(cells)
    assert np.array_equal(cells, kept)


@pytest.mark.parametrize("side", [8, 33, 200])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (9, 200, 0)])
def test_one_colour_is_measured_without_a_warning(side, colour):
    found = measure(np.full((1, side, side, 3), colour, np.uint8))
    assert all(np.isfinite(value).all() for value in found.values())
    for name in ("sharpness", "noise", "contrast", "stain_depth", "cell_frac", "off_centre_frac"):
        assert found[name] == 0, name
    assert found["black_frac"] == (max(colour) == 0)


def test_other_arrays_are_rejected(cells):
    for bad in (cells.astype(np.float32), cells[0], cells[..., :1]):
        with pytest.raises(DataError, match=r"\(N, S, S, 3\)"):
            measure_quality(bad)
    for bad in (cells[:, :50], cells[:, :7, :7]):
        with pytest.raises(DataError, match="square"):
            measure_quality(bad)


# -- witnesses ------------------------------------------------------------------------------------


def test_sharpness_is_that_of_scikit_image(cells):
    grey = np.dot(cells.astype(float), [77, 150, 29]) / 256
    # Three channels, each rounded to whole levels.
    rounding = 20 / 12 * (np.array([77, 150, 29]) ** 2).sum() / 256**2
    for one, found in zip(grey, measure(cells)["sharpness"], strict=True):
        curve = (laplace(one, 3)[1:-1, 1:-1] ** 2).mean() - rounding
        slope = (np.diff(one, axis=0) ** 2).mean() + (np.diff(one, axis=1) ** 2).mean()
        assert found == pytest.approx(curve / slope, rel=0.01)


def test_sharpness_of_white_noise_is_five():
    grey = np.random.default_rng(0).integers(100, 140, (4, 200, 200, 1)).astype(np.uint8)
    np.testing.assert_allclose(measure(np.repeat(grey, 3, axis=3))["sharpness"], 5, rtol=0.02)


def test_noise_is_immerkaers_and_finds_a_planted_deviation(cells):
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    grey = np.dot(cells.astype(float), [77, 150, 29]) / 256
    found = measure(cells)
    for one, noise, bright in zip(grey, found["noise"], found["brightness"], strict=True):
        mean = np.abs(convolve(one, mask)[1:-1, 1:-1]).mean()
        assert noise * bright == pytest.approx(np.sqrt(np.pi / 2) / 6 * mean, rel=0.02)
    planted = 150 + 6 * np.random.default_rng(0).normal(size=(1, 200, 200, 1))
    flat = measure(np.repeat(np.rint(planted).astype(np.uint8), 3, axis=3))
    assert flat["noise"] * flat["brightness"] == pytest.approx(6, rel=0.03)


def test_sizes_are_those_of_scikit_image():
    image = draw_disc(17, (40, 55))
    found = measure(image[None])
    (region,) = regionprops(label((image[..., 0] == 60).astype(int)))
    assert found["nucleus_size_frac"] * SIDE == pytest.approx(region.equivalent_diameter_area)
    assert found["cell_frac"] * SIDE**2 == pytest.approx(region.area)
    centre = np.array(region.centroid) - (SIDE - 1) / 2
    assert found["off_centre_frac"] * SIDE == pytest.approx(np.hypot(*centre), rel=1e-5)
    # The mean chord is area over height: 35 rows and 35 columns.
    assert found["nucleus_chord_frac"] * SIDE == pytest.approx(region.area / 35)


def test_density_is_beer_and_lamberts():
    colour, ground = np.array([60, 20, 90]), np.array([200, 190, 180])
    density = np.log((ground + 1) / (colour + 1))
    found = measure(draw_disc(20)[None])
    assert found["stain_depth"] == pytest.approx(density.mean(), abs=1e-3)
    for part in ("nucleus", "cell"):
        assert found[f"{part}_red_frac"] == pytest.approx(density[0] / density.sum(), abs=1e-3)
        assert found[f"{part}_blue_frac"] == pytest.approx(density[2] / density.sum(), abs=1e-3)
    assert found["ground_red"] == pytest.approx(201 / 191)
    assert found["ground_blue"] == pytest.approx(181 / 191)
    share = found["cell_frac"]
    assert found["contrast"] == pytest.approx(
        density.mean() * np.sqrt(share * (1 - share)), rel=1e-2
    )


OFFSETS = {
    "sharpness": 0.01,
    "noise": 0.001,
    "brightness": 1.0,
    "ground_red": 0.01,
    "ground_blue": 0.01,
    "contrast": 0.01,
    "stain_depth": 0.01,
    "colour_spread": 0.01,
    "cell_chord_frac": 0.005,
    "nucleus_chord_frac": 0.005,
}
"""What is compared by its logarithm, and what is added first."""

# -- how far from training ------------------------------------------------------------------------


def draw_quality(n, seed):
    """Features like those of painted cells, correlated."""
    rng = np.random.default_rng(seed)
    centre = measure_quality(draw_disc(14)[None])[0].astype(float) + 0.05
    common = rng.normal(size=(n, 1))
    wobble = 0.05 * (0.8 * common + 0.6 * rng.normal(size=(n, len(centre))))
    return (centre * np.exp(wobble)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return fit_quality(draw_quality(800, 0), draw_quality(499, 1), 0.02)


def test_the_threshold_rejects_its_share(model):
    calib = draw_quality(499, 1)
    # Rank 490 of 499: nine lie above it.
    assert (model.compute_distance(calib) > 1).sum() == 9
    assert model.compute_distance(calib).max() > 1 >= np.sort(model.compute_distance(calib))[489]
    assert (model.compute_distance(draw_quality(3000, 2)) > 1).mean() < 0.035
    assert (model.reject_frac, model.n_train, model.n_calib) == (0.02, 800, 499)


def test_the_distance_is_mahalanobis_in_scaled_features(model):
    rows = draw_quality(40, 3)
    findings = model.compute_findings(rows)
    assert [f.distance for f in findings] == model.compute_distance(rows).tolist()
    values = rows.astype(float)
    for q, name in enumerate(QUALITY_NAMES):
        if name in OFFSETS:
            values[:, q] = np.log(values[:, q] + OFFSETS[name])
    away = values - model.centre
    z = np.where(away < 0, away / model.below, away / model.above) - model.mean
    squared = np.einsum("nq,qp,np->n", z, model.precision, z)
    np.testing.assert_allclose(model.compute_distance(rows), np.sqrt(squared) / model.max_distance)


FAR = [(name, 5.0) for name in QUALITY_NAMES] + [(name, 0.1) for name in OFFSETS]


@pytest.mark.parametrize(("name", "factor"), FAR)
def test_one_feature_far_off_is_rejected_and_named(model, name, factor):
    row = np.median(draw_quality(800, 0), axis=0)[None]
    row[0, QUALITY_NAMES.index(name)] *= factor
    (finding,) = model.compute_findings(row)
    assert finding.rejected
    first = finding.deviations[0]
    assert (first.feature, first.side) == (name, "high" if factor > 1 else "low")
    assert first.value == row[0, QUALITY_NAMES.index(name)]
    assert first.usual_low < first.usual_high


def test_a_combination_is_rejected_though_each_feature_is_usual(model):
    usual = draw_quality(800, 0)
    row = np.median(usual, axis=0)[None]
    # All features rise and fall together in training; here they take turns.
    row[0, ::2] = np.quantile(usual[:, ::2], 0.02, axis=0)
    row[0, 1::2] = np.quantile(usual[:, 1::2], 0.98, axis=0)
    (finding,) = model.compute_findings(row)
    assert finding.rejected and [one.side for one in finding.deviations] == ["combination"] * 2
    assert all(one.usual_low <= one.value <= one.usual_high for one in finding.deviations)


def test_what_is_accepted_deviates_in_nothing(model):
    findings = model.compute_findings(draw_quality(200, 4))
    accepted = [f for f in findings if not f.rejected]
    assert len(accepted) > 180
    assert all(f.deviations == () and not f.strong and f.distance <= 1 for f in accepted)


def test_deviations_name_what_was_done_to_an_image(cells):
    train = measure_quality(cells[np.arange(200) % 8])
    model = fit_quality(train, train, 0.02)
    blurred = apply(cells, lambda x: x.filter(ImageFilter.GaussianBlur(1)))
    dark = (cells // 4).astype(np.uint8)
    for finding in model.compute_findings(measure_quality(blurred)):
        found = {(one.feature, one.side) for one in finding.deviations}
        assert finding.rejected and ("sharpness", "low") in found
    for finding in model.compute_findings(measure_quality(dark)):
        first = finding.deviations[0]
        assert (first.feature, first.side) == ("brightness", "low")
        assert finding.strong and finding.distance > STRONG_RATIO
        assert len(finding.deviations) <= 3
    wide = train[:1].copy()
    wide[0, QUALITY_NAMES.index("nucleus_size_frac")] = 0.75
    (found,) = model.compute_findings(wide)[0].deviations
    assert (found.feature, found.side, found.value) == ("nucleus_size_frac", "high", 0.75)


def test_features_of_one_subject_are_named_once(model):
    """Larger nuclei and longer chords of cells both say that the cells are larger."""
    row = np.median(draw_quality(800, 0), axis=0)[None]
    for name in ("nucleus_size_frac", "cell_chord_frac"):
        row[0, QUALITY_NAMES.index(name)] *= 5
    (finding,) = model.compute_findings(row)
    assert len(finding.deviations) == 1


def test_a_finding_does_not_depend_on_its_company(model):
    rows = draw_quality(60, 5)
    rows[::7] *= 1.5
    whole = model.compute_findings(rows)
    order = np.random.default_rng(0).permutation(60)
    assert model.compute_findings(rows[order]) == [whole[i] for i in order]
    assert [model.compute_findings(rows[i : i + 1])[0] for i in range(60)] == whole
    assert model.compute_findings(rows[:0]) == [] and model.compute_distance(rows[:0]).shape == (0,)


def test_the_model_survives_json_bit_for_bit(model):
    again = QualityModel.model_validate_json(model.model_dump_json())
    assert again == model
    rows = draw_quality(60, 6)
    assert np.array_equal(again.compute_distance(rows), model.compute_distance(rows))
    assert len(model.model_dump_json()) < 20_000
    for change in (
        {"names": QUALITY_NAMES[::-1]},
        {"centre": model.centre[:-1]},
        {"precision": model.precision[:-1]},
        {"max_distance": 0},
        {"more": 1},
    ):
        with pytest.raises(ValueError, match="validation error"):
            QualityModel.model_validate(model.model_dump() | change)


def test_a_feature_that_never_varied_does_not_reject_a_rounding(cells):
    train = np.repeat(measure_quality(cells[:1]), 60, axis=0)
    model = fit_quality(train, train, 0.02)
    assert model.compute_distance(train).max() == 0
    assert not model.compute_findings(train[:1] * np.float32(1.001))[0].rejected
    assert model.compute_findings(measure_quality(cells[:1] // 3))[0].rejected


def test_a_few_spoilt_training_images_do_not_stretch_the_range(model):
    train = draw_quality(800, 0)
    train[:6] *= 40
    other = fit_quality(train, draw_quality(499, 1), 0.02)
    rows = draw_quality(200, 8)
    rows[:, 0] *= 1.6
    assert (model.compute_distance(rows) > 1).mean() > 0.9
    assert (other.compute_distance(rows) > 1).mean() > 0.9


def test_what_cannot_be_fitted_is_rejected():
    train, calib = draw_quality(100, 0), draw_quality(60, 1)
    with pytest.raises(DataError, match=f"at least {LEAST_TRAIN} training"):
        fit_quality(train[: LEAST_TRAIN - 1], calib, 0.02)
    with pytest.raises(DataError, match="at least 99 calib sources"):
        fit_quality(train, calib, 0.01)
    with pytest.raises(DataError, match="at least 49 calib sources"):
        fit_quality(train, calib[:0], 0.02)
    for bad in (train[:, :-1], train[0]):
        with pytest.raises(DataError, match=r"shape \(N, "):
            fit_quality(bad, calib, 0.02)
    calib[2, 3] = np.nan
    with pytest.raises(DataError, match="1 of 60 rows"):
        fit_quality(train, calib, 0.02)
