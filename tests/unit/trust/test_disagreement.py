"""Members' score tables as one: against scipy's entropies and a loop."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from leukoscope.errors import DataError
from leukoscope.scores import ScoreTable
from leukoscope.trust.disagreement import average_members, combine_tables


def draw_logits(members=4, n=50, classes=5, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (members, n, classes)).astype(np.float32)


def make_table(logits_NK, ids, seed=0, **changes):
    n = len(ids)
    rng = np.random.default_rng(seed)
    given = {
        "classes": tuple("abcde"),
        "ids": tuple(ids),
        "paths": tuple(ids),
        "sources": tuple(ids),
        "roles": ("test",) * n,
        "labels_N": rng.integers(0, 5, n),
        "logits_NK": logits_NK,
        "embeddings_ND": rng.normal(size=(n, 3)).astype(np.float32),
        "source_known": True,
    }
    return ScoreTable(**(given | changes))


@pytest.mark.parametrize("scale", [0.1, 3.0, 400.0])
def test_mean_and_information_are_those_of_the_textbook(scale):
    logits = draw_logits(scale=scale)
    mean, information = average_members(logits)
    each = softmax(logits.astype(np.float64), axis=2)
    np.testing.assert_allclose(np.exp(mean), each.mean(0), atol=1e-12)
    expected = entropy(each.mean(0), axis=1) - entropy(each, axis=2).mean(0)
    np.testing.assert_allclose(information, expected, atol=1e-12)
    assert (information >= 0).all() and (information <= np.log(4) + 1e-12).all()
    assert np.isfinite(mean).all()


def test_one_member_and_equal_members_disagree_about_nothing():
    logits = draw_logits(1)
    for copies in (1, 5):
        mean, information = average_members(np.repeat(logits, copies, axis=0))
        np.testing.assert_allclose(mean, np.log(softmax(logits[0].astype(float), 1)), atol=1e-12)
        assert information.max() < 1e-12 and (information >= 0).all()


def test_unsure_together_is_not_disagreement():
    """Both are unsure; only the second pair contradicts each other."""
    same = np.array([[[0.0, 0.0]], [[0.0, 0.0]]])
    contrary = np.array([[[3.0, -3.0]], [[-3.0, 3.0]]])
    for logits, high in ((same, False), (contrary, True)):
        mean, information = average_members(logits)
        np.testing.assert_allclose(np.exp(mean), 0.5)
        assert (information[0] > 0.6) == high


def test_tables_are_combined_by_id():
    logits = draw_logits(2, 6)
    ids = [f"cell {i}" for i in range(6)]
    order = np.array([3, 1, 5, 0, 2, 4])
    first = make_table(
        logits[0],
        ids,
        quality_names=("blur",),
        quality_NQ=np.arange(6.0, dtype=np.float32)[:, None],
    )
    second = make_table(logits[1][order], [ids[i] for i in order], seed=1)
    joint = combine_tables([first, second])
    mean, information = average_members(logits)
    assert joint.ids == first.ids and (joint.labels_N == first.labels_N).all()
    np.testing.assert_allclose(joint.logits_NK, mean, rtol=1e-6)
    np.testing.assert_allclose(joint.disagreement_N, information, rtol=1e-5)
    np.testing.assert_array_equal(joint.embeddings_ND[:, :3], first.embeddings_ND)
    np.testing.assert_array_equal(joint.embeddings_ND[order, 3:], second.embeddings_ND)
    assert joint.quality_names == ("blur",) and joint.quality_NQ[2, 0] == 2


def test_tables_of_other_images_or_classes_are_rejected():
    table = make_table(draw_logits(1, 3)[0], ["a", "b", "c"])
    others = (
        make_table(draw_logits(1, 3)[0], ["a", "b", "d"]),
        make_table(draw_logits(1, 2)[0], ["a", "b"]),
        make_table(draw_logits(1, 3)[0], ["a", "b", "c"], classes=tuple("vwxyz")),
    )
    for other in others:
        with pytest.raises(DataError, match="same images and classes"):
            combine_tables([table, other])
    with pytest.raises(DataError, match="0 tables"):
        combine_tables([])
    with pytest.raises(DataError, match="at least one member"):
        average_members(np.zeros((0, 2, 2), np.float32))
