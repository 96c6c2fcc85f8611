import math

import numpy as np
import pytest
from PIL import Image
from tests.builders.explanation import (
    build_explanation,
    build_image,
    build_result,
    build_unreadable,
)

from leukoscope.data.images import resize_image
from leukoscope.errors import DataError
from leukoscope.explain import faithfulness
from leukoscope.explain.faithfulness import (
    Measured,
    build_centre_prior,
    build_inside,
    build_random_maps,
    compute_area,
    compute_curve,
    compute_localisation,
    compute_rank_correlation,
    evaluate_method,
)
from leukoscope.explain.record import Explanation
from leukoscope.records import load_record, save_record

SIDE = 32
CELL = np.zeros((SIDE, SIDE), np.float32)
CELL[6:14, 16:26] = 1


def score_cell(images_NSSC):
    """Two classes; the first one's logit is how much of the dark cell is there: -4 to 4."""
    dark_N = ((255.0 - images_NSSC.mean(3)) * CELL).sum((1, 2)) / (CELL.sum() * 215)
    logit_N = 8 * dark_N - 4
    return np.stack([logit_N, np.zeros_like(logit_N)], axis=1).astype(np.float32)


@pytest.fixture
def field():
    image = np.full((SIDE, SIDE, 3), 240, np.uint8)
    image[CELL > 0] = 40
    return image


def area(field, map_SS, kind):
    return compute_area(compute_curve(score_cell, field, 0, map_SS, kind))


def test_deletion_and_insertion_by_hand(field):
    """The probability as pixels of the cell go one by one is known in closed form."""
    curve = compute_curve(score_cell, field, 0, CELL, "deletion", steps=SIDE * SIDE)
    left = np.clip(1 - np.arange(SIDE * SIDE + 1) / CELL.sum(), 0, None)
    logit = 8 * (left * 215 + (1 - left) * 15) / 215 - 4
    np.testing.assert_allclose(curve, 1 / (1 + np.exp(-logit)), atol=1e-5)
    back = compute_curve(score_cell, field, 0, CELL, "insertion")
    assert back[-1] == pytest.approx(curve[0]) and np.all(np.diff(back) > -1e-6)
    assert back[0] < 0.9 * back[-1]  # the blur takes part of the cell away


def test_a_true_map_beats_every_floor_and_a_false_one_none(field):
    baselines = [build_centre_prior(SIDE), *build_random_maps(5, 8, SIDE)]
    for baseline in baselines:
        assert area(field, CELL, "deletion") < area(field, baseline, "deletion") - 0.1
        assert area(field, CELL, "insertion") > area(field, baseline, "insertion") + 0.02
        assert area(field, 0.01 - CELL, "deletion") > area(field, baseline, "deletion")


def test_only_what_speaks_for_the_class_has_an_order(field):
    """A map is shown and judged by its positive part: what lies below 0 says nothing of rank."""
    mixed = CELL - 0.5 * np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
    for kind in ("deletion", "insertion"):
        curve = compute_curve(score_cell, field, 0, mixed, kind)
        positive = compute_curve(score_cell, field, 0, np.clip(mixed, 0, None), kind)
        np.testing.assert_array_equal(curve, positive)
    # A map without a positive part is worth what its order of ties is worth, to the last digit.
    (noise,) = build_random_maps(1, 8, SIDE)
    for kind in ("deletion", "insertion"):
        baseline = compute_curve(score_cell, field, 0, noise, kind)
        nothing = compute_curve(score_cell, field, 0, -CELL, kind, ties_SS=noise)
        np.testing.assert_array_equal(nothing, baseline)


def test_equal_values_go_in_no_order(field):
    """A flat map must not delete row by row, which would hit the cell at one moment."""
    left = []

    def watch(images_NSSC):
        left.extend((images_NSSC[:, CELL > 0] < 100).mean((1, 2)))
        return score_cell(images_NSSC)

    compute_curve(watch, field, 0, np.zeros((SIDE, SIDE), np.float32), "deletion")
    # 80 pixels drawn without order: a standard deviation of 0.056 at the most.
    np.testing.assert_allclose(left, np.linspace(1, 0, len(left)), atol=0.2)


def test_floors_know_nothing_and_are_as_coarse_as_asked():
    fine, coarse = build_random_maps(40, 32, SIDE), build_random_maps(40, 4, SIDE)
    step = [float(np.abs(np.diff(m, axis=2)).mean()) for m in (fine, coarse)]
    assert step[1] < step[0] / 3
    np.testing.assert_allclose(coarse.mean(0), 0.5, atol=0.25)
    assert not np.array_equal(coarse[0], coarse[1])
    np.testing.assert_array_equal(coarse, build_random_maps(40, 4, SIDE))
    prior = build_centre_prior(SIDE)
    np.testing.assert_allclose(prior, prior[::-1, ::-1], rtol=1e-6)
    away = 15.5 / (SIDE / 4)  # deviations from the middle to the border
    assert prior[0, 0] == pytest.approx(math.exp(-(away**2)), rel=1e-4)


def test_localisation():
    mixed = CELL * 3 - 1  # what speaks against the class does not count
    share = CELL.mean()
    assert compute_localisation(mixed, CELL) == (pytest.approx(1 / share), pytest.approx(1 / share))
    half = np.zeros_like(CELL)
    half[6:14, 22:30] = 2.0
    assert compute_localisation(half, CELL)[0] == pytest.approx(0.5 / share)
    assert compute_localisation(-CELL, CELL)[0] == 1.0
    noise = [compute_localisation(m, CELL)[0] for m in build_random_maps(200, 8, SIDE)]
    assert np.mean(noise) == pytest.approx(1, abs=0.05)
    with pytest.raises(DataError, match="cover"):
        compute_localisation(CELL, np.zeros_like(CELL))


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (40, 40)])
def test_boxes_go_where_the_preprocessing_puts_them(resize, shape):
    """Witness: a white box on black, through the preprocessing itself."""
    height, width = shape
    box = (10, 20, 34, 37)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    wanted = resize_image(pixels, SIDE, resize)[:, :, 0] / 255
    found = build_inside([box], width, height, SIDE, resize)
    assert found.sum() == pytest.approx(wanted.sum(), rel=0.06)
    y, x = np.mgrid[:SIDE, :SIDE]
    for place in (y, x):
        assert (found * place).sum() / found.sum() == pytest.approx(
            (wanted * place).sum() / wanted.sum(), abs=0.3
        )
    both = build_inside([box, box, (0, 0, width, 2)], width, height, SIDE, resize)
    assert both.max() == 1 and both.sum() > found.sum()
    assert not build_inside([], width, height, SIDE, resize).any()


def test_rank_correlation():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, SIDE, SIDE)).astype(np.float32)
    assert compute_rank_correlation(one, one**3) == pytest.approx(1)
    assert compute_rank_correlation(one, 1 - one) == pytest.approx(-1)
    assert abs(compute_rank_correlation(one, other)) < 0.1
    # Only what is shown counts, and a map that shows nothing correlates with nothing.
    assert compute_rank_correlation(one, np.where(one > 0.5, one, -other)) > 0.7
    assert compute_rank_correlation(one, -other) == 0


def measure(field, maps, rho):
    baselines = {"random": build_random_maps(len(maps), 8, SIDE),
              "centre": np.stack([build_centre_prior(SIDE)] * len(maps))}  # fmt: skip
    areas = {
        name: {k: [area(field, m, k) for m in group] for k in ("deletion", "insertion")}
        for name, group in {"own": maps, **baselines}.items()
    }
    local = [compute_localisation(m, CELL) for m in maps]
    return Measured(
        areas["own"]["deletion"], areas["own"]["insertion"],
        {name: areas[name] for name in baselines}, {"head": [0.9] * len(maps), "stem": rho},
        [one for one, _ in local], [most for _, most in local],
        *[[str(i) for i in range(len(maps))]] * 2,
    )  # fmt: skip


def get_outcomes(result):
    return {(one.test, one.baseline): one.outcome for one in result.tests}


def test_a_faithful_method_passes_and_noise_fails_everything(field):
    rng = np.random.default_rng(1)
    n = 24
    true = [CELL + rng.normal(0, 0.05, CELL.shape).astype(np.float32) for _ in range(n)]
    good = evaluate_method("gradcam", measure(field, true, rng.normal(0, 0.1, n).tolist()))
    assert good.holds and set(get_outcomes(good).values()) == {"passed"} and len(good.tests) == 6
    assert good.against["centre"]["deletion"].high < 0 < good.against["random"]["insertion"].low
    assert good.localisation.low > faithfulness.MIN_LOCALISATION
    assert good.ceiling.value == pytest.approx(1 / CELL.mean())

    noise = evaluate_method(
        "gradcam", measure(field, list(build_random_maps(n, 8, SIDE, seed=9)), [0.4] * n)
    )
    assert len(noise.failures) == 6 and not noise.holds
    rho = rng.normal(0, 0.1, n).tolist()
    maps = list(build_random_maps(n, 8, SIDE))
    attention = evaluate_method("attention", measure(field, maps, rho))
    assert [one.test for one in attention.failures] == ["localisation"]
    assert get_outcomes(attention)["deletion", "centre"] == "not_applicable"


def test_failing_and_not_being_shown_to_pass_are_two_things():
    """Each test by hand: the bound on the bad side, then the one on the good side."""
    assert build_result().holds
    for name, changes in {
        ("localisation", None): {
            "unclear": {"localisation": [-6.0, 12.0] * 15},  # mean 3.0, bounds round 2.5
            "failed": {"localisation": [2.0] * 30},
            "too_few_images": {"localisation": [0.1] * 15, "ceiling": [10.0] * 15},
            "unattainable": {"localisation": [2.0] * 30, "ceiling": [2.0] * 30},
            "not_measured": {"localisation": [], "ceiling": []},
        },
        ("randomisation", None): {
            "unclear": {"correlation": {"stem": np.tile([-0.6, 0.8], 15)}},
            "failed": {"correlation": {"head": np.zeros(30), "stem": np.full(30, 0.4)}},
            "not_measured": {"correlation": {}},
        },
    }.items():
        for outcome, changed in changes.items():
            found = build_result(**changed)
            assert get_outcomes(found).pop(name) == outcome
            assert bool(found.failures) == (outcome in ("failed", "unclear"))
            assert found.holds == (outcome in ("unattainable", "not_measured"))

    same = np.linspace(0.1, 0.2, 30)
    close = {"deletion": same + np.tile([-0.3, 0.4], 15), "insertion": 1 - same + 0.05}
    found = get_outcomes(build_result(baselines={"random": close, "centre": close}))
    assert found["deletion", "random"] == found["deletion", "centre"] == "unclear"
    assert found["insertion", "random"] == found["insertion", "centre"] == "failed"


def test_few_images_test_nothing(field):
    few = evaluate_method("occlusion", measure(field, [CELL] * 5, [0.9] * 5))
    assert set(get_outcomes(few).values()) == {"too_few_images"} and not few.holds


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    found = build_explanation(
        [build_result(), build_result("attention", localisation=[], ceiling=[])],
        images=(build_image(path="a/\udcff.png", confidence=math.nan, label="Blast; L1"),),
        unreadable=(build_unreadable(),),
    )
    save_record(found, tmp_path / "r.json")
    again = load_record(Explanation, tmp_path / "r.json", "leukoscope explain")
    assert repr(again) == repr(found)  # not-a-number differs from itself


def test_bounds_are_over_sources_and_few_of_them_leave_a_test_unclear():
    """Copies of eight images pass as tests of 160 images would; counted as sources they do not."""
    area = np.repeat(np.linspace(0.1, 0.9, 8), 20)
    names = np.repeat(np.arange(8).astype(str), 20).tolist()
    against = {"random": {"deletion": np.full(160, 0.6), "insertion": np.full(160, 0.4)}}

    def test(sources):
        given = Measured(area, area, against, sources=sources)
        result = evaluate_method("gradcam", given)
        return result.against["random"]["deletion"], get_outcomes(result)["deletion", "random"]

    alone, passed = test([str(i) for i in range(160)])
    shared, unclear = test(names)
    assert alone.high < 0 < shared.high and (passed, unclear) == ("passed", "unclear")
    few, outcome = test(["a", "b"] * 80)
    assert math.isnan(few.low) and outcome == "unclear"


def test_the_blur_keeps_the_colour_of_the_field(field):
    """Insertion starts from what a strong blur leaves, not from a plain ground."""
    seen = []

    def watch(images_NSSC):
        seen.extend(images_NSSC)
        return score_cell(images_NSSC)

    compute_curve(watch, field, 0, CELL, "insertion", steps=4)
    assert np.ptp(seen[0]) > 40 and not np.array_equal(seen[0], field)
    np.testing.assert_array_equal(seen[-1], field)
    assert Image.fromarray(seen[0]).size == (SIDE, SIDE)
