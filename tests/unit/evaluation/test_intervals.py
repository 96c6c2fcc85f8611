import math

import numpy as np
import pytest

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation import intervals as room
from leukoscope.evaluation.intervals import (
    compute_ece_interval,
    compute_intervals,
    compute_proportion,
    compute_shrinkage,
    find_large_sources,
    wilson,
)
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS, compute_metrics
from leukoscope.scores import ScoreTable
from leukoscope.trust.notes import Note


def make_table(n=200, k=4, per_source=1, seed=0, signal=2.0, decimals=None, perfect=False):
    generator = np.random.default_rng(seed)
    sources = np.arange(n) // per_source
    labels = np.resize(np.arange(k), sources.max() + 1)[sources]
    z = generator.normal(size=(n, k))
    z[np.arange(n), labels] += 50 if perfect else signal
    z = z if decimals is None else np.round(z, decimals)
    return ScoreTable(
        classes=tuple(f"c{i}" for i in range(k)),
        ids=tuple(str(i) for i in range(n)),
        paths=("",) * n,
        sources=tuple(f"s{i}" for i in sources),
        roles=("test",) * n,
        labels_N=labels,
        logits_NK=z.astype(np.float32),
        embeddings_ND=np.zeros((n, 0), np.float32),
        source_known=True,
    )


def test_wilson_agrees_with_published_values():
    # Newcombe 1998, table I, method 3.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(successes, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_edges():
    assert wilson(5, 5).high == 1 and wilson(5, 5).low < 0.6
    assert wilson(0, 5).low == 0
    assert all(math.isnan(x) for x in (wilson(0, 0).value, wilson(0, 0).low, wilson(0, 0).high))
    assert wilson(5, 10, 0.5).low > wilson(5, 10).low
    for successes, n, level in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0)):
        with pytest.raises(ConfigError):
            wilson(successes, n, level)


def test_single_images_take_plain_wilson():
    hits = np.arange(50) < 45
    assert compute_proportion(hits, [str(i) for i in range(50)]) == wilson(45, 50)


def test_copies_do_not_narrow_the_interval():
    hits = np.arange(40) % 4 > 0
    once = compute_proportion(hits, [str(i) for i in range(40)])
    copied = compute_proportion(np.repeat(hits, 25), [str(i) for i in np.repeat(range(40), 25)])
    assert copied.value == once.value
    assert copied.low <= once.low and copied.high >= once.high


def test_independent_images_in_sources_are_hardly_penalised():
    hits = np.random.default_rng(0).random(2000) < 0.9
    clustered = compute_proportion(hits, [str(i // 20) for i in range(2000)])
    plain = compute_proportion(hits, [str(i) for i in range(2000)])
    assert clustered.high - clustered.low == pytest.approx(plain.high - plain.low, rel=0.35)


@pytest.mark.parametrize("right", [True, False])
def test_all_alike_counts_sources(right):
    found = compute_proportion(np.full(60, right), [str(i // 12) for i in range(60)])
    expected = wilson(5 * right, 5)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_unequal_sources_count_less():
    """Seven sources of which one is nearly all count like fewer equal ones, or allow nothing."""
    sizes = np.array([30, 10, 10, 10, 10, 10, 10])
    found = compute_proportion(np.ones(90, bool), np.repeat(np.arange(7).astype(str), sizes))
    kish = 90**2 / (sizes**2).sum()
    assert found.low == pytest.approx(wilson(kish, kish).low) and found.low < wilson(6, 6).low
    found = compute_proportion(np.ones(100, bool), ["big"] * 97 + ["a", "b", "c"])
    assert found.value == 1 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("sources", [["only"] * 100, ["one"] * 50 + ["two"] * 50])
def test_one_source_or_two_say_nothing(sources):
    found = compute_proportion(np.arange(100) % 10 > 0, sources)
    assert found.value == 0.9 and math.isnan(found.low) and math.isnan(found.high)


def test_three_equal_sources_have_an_interval_and_three_unequal_ones_none():
    hits = np.arange(60) % 10 > 0
    assert not math.isnan(compute_proportion(hits, [str(i // 20) for i in range(60)]).low)
    assert math.isnan(compute_proportion(hits, ["0"] * 21 + ["1"] * 20 + ["2"] * 19).low)


def test_a_large_source_that_is_right_does_not_hide_how_small_ones_differ():
    """Three sources of 600 without a mistake, twenty of 10 of which four are all wrong: what small
    ones show of the spread between sources holds for large ones too."""
    sizes = np.r_[[600] * 3, [10] * 20]
    wrong = np.r_[[0] * 3, [10] * 4, [0] * 16]
    hits = np.concatenate([np.arange(n) >= w for n, w in zip(sizes, wrong, strict=True)])
    found = compute_proportion(hits, np.repeat(np.arange(23).astype(str), sizes).tolist())
    assert found.value == 0.98 and found.low < 0.7


@pytest.mark.parametrize(("count", "size"), [(3, 30), (5, 30), (33, 36)])
def test_equal_sources_are_as_they_were(count, size):
    """The interval of before sources of unequal size were allowed for, in its own words."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        hits_S = generator.binomial(size, generator.beta(3, 0.3, count))
        n, p = count * size, hits_S.sum() / (count * size)
        u2_S = (hits_S - p * size) ** 2.0
        effective = count
        if u2_S.sum() > 1e-9:
            freedom = min(count - 1, u2_S.sum() ** 2 / (u2_S**2).sum())
            variance = count / (count - 1) * u2_S.sum() / n**2
            wanted = min(n, p * (1 - p) / variance) * compute_shrinkage(freedom, 0.95)
            effective = max(1.0, count * compute_shrinkage(count - 1, 0.95), wanted)
        expected = wilson(p * effective, effective)
        hits = np.concatenate([np.arange(size) < h for h in hits_S])
        found = compute_proportion(hits, [str(i // size) for i in range(n)])
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_errors_in_one_source_make_the_interval_wide():
    sources = [str(i // 36) for i in range(33 * 36)]
    one = compute_proportion(np.arange(33 * 36) != 5, sources)
    none = compute_proportion(np.ones(33 * 36, bool), sources)
    assert one.low < 0.95  # not 0.995, as if 1,188 images had been independent
    assert abs(one.low - none.low) < 0.06


def test_proportion_needs_images_with_sources():
    with pytest.raises(DataError, match="0 images"):
        compute_proportion(np.zeros(0, bool), [])
    with pytest.raises(DataError, match="2 images, 1 sources"):
        compute_proportion(np.ones(2, bool), ["a"])
    with pytest.raises(ConfigError, match="level"):
        compute_proportion(np.ones(1, bool), ["a"], 2)


@pytest.mark.parametrize("decimals", [None, 0])
def test_every_influence_is_the_derivative_of_its_figure(decimals):
    """By the weight of an image, in scikit-learn's figures; also where scores are equal."""
    table = make_table(n=80, per_source=4, decimals=decimals, signal=1.0)
    p, labels, step = table.probabilities_NK, table.labels_N, 1e-4
    found, found_of = room._find_influences(labels, p.argmax(axis=1), p, table.classes)
    for i in (0, 17, 42, 79):
        weights = np.ones((2, 80))
        weights[:, i] += step, -step
        up, down = (compute_metrics(labels, p, table.classes, row) for row in weights)
        for name, influence in found.items():
            slope = (up.overall[name] - down.overall[name]) / (2 * step)
            assert influence[i] == pytest.approx(slope, abs=1e-7), name
        for (name, label), influence in found_of.items():
            slope = (up.per_class[label][name] - down.per_class[label][name]) / (2 * step)
            assert influence[i] == pytest.approx(slope, abs=1e-7), name
    shares = {"accuracy", "weighted_recall"}, {"recall", "precision", "specificity"}
    assert set(found) | shares[0] == set(OVERALL)
    assert {name for name, _ in found_of} | shares[1] == set(PER_CLASS)


@pytest.mark.parametrize("per_source", [1, 5])
def test_every_figure_lies_inside_its_interval(per_source):
    table = make_table(per_source=per_source)
    found = compute_intervals(table)
    values = compute_metrics(table.labels_N, table.probabilities_NK, table.classes)
    assert {name: found.overall[name].value for name in OVERALL} == values.overall
    hit_N = table.probabilities_NK.argmax(axis=1) == table.labels_N
    assert found.overall["ece"] == compute_ece_interval(
        table.probabilities_NK.max(axis=1), hit_N, table.sources
    )
    for label, own in found.per_class.items():
        assert {name: x.value for name, x in own.items()} == values.per_class[label]
    for figures in (found.overall, *found.per_class.values()):
        for name, interval in figures.items():
            assert interval.low <= interval.value <= interval.high, name
            assert interval.high > interval.low, name
    assert found.overall["accuracy"] == found.overall["weighted_recall"]
    assert found.overall["balanced_accuracy"] == found.overall["macro_recall"]


def test_unknown_labels_do_not_count():
    table = make_table(n=80)
    labels = table.labels_N.copy()
    labels[:30] = -1
    mixed = ScoreTable(**{**vars(table), "labels_N": labels})
    assert compute_intervals(mixed) == compute_intervals(mixed.take(labels >= 0))
    with pytest.raises(DataError, match="at least one image"):
        compute_intervals(mixed.take(labels < 0))


def test_the_order_of_rows_does_not_matter():
    table = make_table(per_source=5)
    first = compute_intervals(table)
    again = compute_intervals(table.take(np.random.default_rng(1).permutation(200)))
    for name, one in first.overall.items():
        other = again.overall[name]
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-7), name


def test_perfect_scores_have_intervals_that_are_not_zero_wide():
    found = compute_intervals(make_table(n=120, per_source=10, perfect=True))
    for name in OVERALL[:12]:
        one = found.overall[name]
        assert one.value == pytest.approx(1) and one.high == pytest.approx(1)
        assert 0 < one.low < 0.9, name
    for name in ("recall", "f1"):
        assert found.per_class["c0"][name].low == pytest.approx(wilson(3, 3).low)


@pytest.mark.parametrize("per_source", [40, 20])
def test_one_source_or_two_give_figures_without_limits(per_source):
    found = compute_intervals(make_table(n=40, k=2, per_source=per_source)).overall
    for name, one in found.items():
        assert math.isnan(one.low) and math.isnan(one.high), name
    assert not math.isnan(found["log_loss"].value)


def test_two_classes_with_three_sources_each_give_shares_only():
    found = compute_intervals(make_table(n=60, k=2, per_source=10))
    assert not math.isnan(found.overall["accuracy"].low)
    assert not math.isnan(found.per_class["c0"]["recall"].low)
    for name in ("balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc"):
        assert math.isnan(found.overall[name].low), name
    more = compute_intervals(make_table(n=80, k=2, per_source=10)).overall
    assert not any(math.isnan(one.low) for one in more.values())


def test_a_rare_class_of_one_source_costs_averages_their_interval_and_kappa_not():
    table = make_table(n=400, k=3, per_source=10)
    rare = np.flatnonzero(table.labels_N == 0)[:10]
    found = compute_intervals(table.take(np.r_[rare, np.flatnonzero(table.labels_N > 0)]))
    assert math.isnan(found.overall["balanced_accuracy"].low)
    assert math.isnan(found.per_class["c0"]["roc_auc"].low)
    for name in ("accuracy", "kappa", "mcc", "weighted_f1", "log_loss"):
        assert not math.isnan(found.overall[name].low), name


def test_a_source_with_more_than_a_quarter_is_named():
    table = make_table(n=100, k=3, per_source=5)
    assert find_large_sources(table) == ()
    own = np.flatnonzero(table.labels_N == 1)
    names = list(table.sources)
    for i in own[:20].tolist():
        names[i] = "patient"
    found = find_large_sources(ScoreTable(**{**vars(table), "sources": tuple(names)}))
    share = 20 / len(own)
    assert found == (
        Note("large_source_of_labels", {"labels": ("c1",), "limit": 0.25, "share": share}),
    )
    whole = ScoreTable(**{**vars(table), "sources": ("patient",) * 100})
    assert [one.code for one in find_large_sources(whole)] == [
        "large_source", "large_source_of_labels",
    ]  # fmt: skip
    # A class of three images that are each a source has no large one.
    assert find_large_sources(make_table(n=9, k=3)) == ()


def test_a_loss_of_nothing_has_no_interval():
    table = make_table(n=40, k=2, perfect=True)
    sure = ScoreTable(**{**vars(table), "logits_NK": 1000 * table.logits_NK})
    found = compute_intervals(sure).overall
    assert found["log_loss"].value == pytest.approx(0, abs=1e-12)
    assert math.isnan(found["log_loss"].low)


def test_absent_class_has_no_figure_and_no_interval():
    table = make_table(n=60, k=3, per_source=3)
    some = table.take(table.labels_N < 2)
    found = compute_intervals(some)
    for name in ("recall", "f1", "roc_auc"):
        one = found.per_class["c2"][name]
        assert all(math.isnan(x) for x in (one.value, one.low, one.high))
    assert found.overall["macro_f1"].low < found.overall["macro_f1"].high


def test_bad_arguments():
    with pytest.raises(ConfigError, match="level"):
        compute_intervals(make_table(n=20), level=95)


def test_a_slide_with_every_class_is_one_slide():
    """Averages over classes rest on no more sources than accuracy does."""
    classes, slides = ("a", "b", "c", "d"), 5
    labels_N = np.tile(np.repeat(np.arange(4), 10), slides)
    n = len(labels_N)
    table = ScoreTable(
        classes=classes,
        ids=tuple(map(str, range(n))),
        paths=tuple(map(str, range(n))),
        sources=tuple(str(i // 40) for i in range(n)),
        roles=("test",) * n,
        labels_N=labels_N,
        logits_NK=8 * np.eye(4, dtype=np.float32)[labels_N],
        embeddings_ND=np.zeros((n, 0), np.float32),
        source_known=True,
    )
    found = room.compute_intervals(table).overall
    assert found["accuracy"].low == pytest.approx(wilson(slides, slides).low)
    assert found["balanced_accuracy"].low == pytest.approx(found["accuracy"].low)
    recall = room.compute_from_confusion(
        labels_N,
        labels_N,
        4,
        table.sources,
        lambda m: (np.diagonal(m, axis1=1, axis2=2) / m.sum(axis=2)).mean(axis=1),
        "average",
    )
    assert recall.low == pytest.approx(found["accuracy"].low)
