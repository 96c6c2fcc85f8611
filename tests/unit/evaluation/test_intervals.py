import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluation import intervals as room
from leukoscope.evaluation.intervals import (
    compute_ece_interval,
    compute_intervals,
    compute_proportion,
    wilson,
)
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS, compute_metrics
from leukoscope.scores import ScoreTable


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
    hits = np.ones(100, bool)
    found = compute_proportion(hits, ["big"] * 97 + ["a", "b", "c"])
    assert found.low < wilson(2, 2).low  # four sources that are worth little more than one


def test_one_source_says_little():
    found = compute_proportion(np.arange(100) < 90, ["only"] * 100)
    assert found.value == 0.9
    assert found.high - found.low > 0.75


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
def test_every_vectorised_figure_agrees_with_scikit_learn(decimals):
    table = make_table(n=160, per_source=4, decimals=decimals, signal=1.0)
    index = np.arange(160) // 4
    counts = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=12).astype(float)
    counts[0] = 0
    counts[0, :2] = 1  # two of four classes only
    p, labels = table.probabilities_NK, table.labels_N
    confusion = room._count_confusions(index, labels, p.argmax(axis=1), table.classes)
    found, found_of = room._score_confusions(np.tensordot(counts, confusion, 1), table.classes)
    more, more_of = room._score_probabilities(counts[:, index], labels, p, table.classes)
    found, found_of = found | more, found_of | more_of
    for b, row in enumerate(counts):
        expected = compute_metrics(labels, p, table.classes, row[index])
        own = {name: float(values[b]) for name, values in found.items()}
        assert own == pytest.approx(
            {name: expected.overall[name] for name in own}, abs=1e-9, nan_ok=True
        )
        for (name, label), values in found_of.items():
            wanted = expected.per_class[label][name]
            assert float(values[b]) == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    ratios = room._list_ratios(confusion)
    class_ratios = room._list_class_ratios(confusion, table.classes)
    assert set(found) | set(ratios) == set(OVERALL)
    assert {name for name, _ in found_of | class_ratios} == set(PER_CLASS)
    expected = compute_metrics(labels, p, table.classes)
    for name, (top, bottom) in ratios.items():
        assert top.sum() / bottom.sum() == pytest.approx(expected.overall[name], abs=1e-12), name
    for (name, label), (top, bottom) in class_ratios.items():
        wanted = expected.per_class[label][name]
        assert top.sum() / bottom.sum() == pytest.approx(wanted, abs=1e-12), name


@pytest.mark.parametrize("per_source", [1, 5])
def test_every_figure_lies_inside_its_interval(per_source):
    table = make_table(per_source=per_source)
    found = compute_intervals(table, replicates=100)
    values = compute_metrics(table.labels_N, table.probabilities_NK, table.classes)
    assert {name: found.overall[name].value for name in OVERALL} == values.overall
    hit_N = table.probabilities_NK.argmax(axis=1) == table.labels_N
    assert found.overall["ece"] == compute_ece_interval(
        table.probabilities_NK.max(axis=1), hit_N, table.sources, replicates=100
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
    assert compute_intervals(mixed, replicates=20) == compute_intervals(
        mixed.take(labels >= 0), replicates=20
    )
    with pytest.raises(DataError, match="at least one image"):
        compute_intervals(mixed.take(labels < 0))


def test_same_seed_same_interval_and_any_chunk(monkeypatch):
    table = make_table(per_source=2)
    first = compute_intervals(table, replicates=30, seed=4)
    assert first == compute_intervals(table, replicates=30, seed=4)
    assert first != compute_intervals(table, replicates=30, seed=5)
    monkeypatch.setattr(room, "_CHUNK", 7 * 200)
    chunked = compute_intervals(table, replicates=30, seed=4)
    for name in OVERALL:
        assert chunked.overall[name].low == pytest.approx(first.overall[name].low, abs=1e-9)


def test_perfect_scores_have_intervals_that_are_not_zero_wide():
    found = compute_intervals(make_table(n=120, per_source=10, perfect=True), replicates=50)
    for name in OVERALL[:12]:
        one = found.overall[name]
        assert one.value == pytest.approx(1) and one.high == pytest.approx(1)
        assert 0 < one.low < 0.9, name
    for name in ("recall", "f1"):
        assert found.per_class["c0"][name].low == pytest.approx(wilson(3, 3).low)


def test_a_single_source_has_no_bootstrap():
    table = make_table(n=40, k=2, per_source=1)
    one = ScoreTable(**{**vars(table), "sources": ("s",) * 40})
    found = compute_intervals(one, replicates=10).overall
    assert found["accuracy"].high - found["accuracy"].low > 0.5
    assert found["macro_f1"].high - found["macro_f1"].low > 0.5
    for name in ("log_loss", "brier", "ece"):
        assert math.isnan(found[name].low) and not math.isnan(found[name].value)


def test_two_sources_widen_percentiles():
    table = make_table(n=40, k=2, per_source=20)
    found = compute_intervals(table, replicates=50).overall
    assert found["log_loss"].low < found["log_loss"].value < found["log_loss"].high


def test_absent_class_has_no_figure_and_no_interval():
    table = make_table(n=60, k=3, per_source=3)
    some = table.take(table.labels_N < 2)
    found = compute_intervals(some, replicates=30)
    for name in ("recall", "f1", "roc_auc"):
        one = found.per_class["c2"][name]
        assert all(math.isnan(x) for x in (one.value, one.low, one.high))
    assert found.overall["macro_f1"].low < found.overall["macro_f1"].high


def test_bad_arguments():
    table = make_table(n=20)
    with pytest.raises(ConfigError, match="replicates"):
        compute_intervals(table, replicates=0)
    with pytest.raises(ConfigError, match="level"):
        compute_intervals(table, level=95)


def test_area_of_tied_scores_counts_half():
    labels = np.array([True, True, False, False])
    scores = np.array([0.5, 0.5, 0.5, 0.1])
    roc, _ = room._score_areas(np.ones((1, 4)), scores, labels)
    assert roc[0] == roc_auc_score(labels, scores) == 0.75


def test_a_slide_with_every_class_is_one_slide():
    """Averages over classes rest on no more sources than accuracy does."""
    classes, per_class = ("a", "b", "c", "d"), 10
    labels_N = np.tile(np.repeat(np.arange(4), per_class), 2)
    n = len(labels_N)
    table = ScoreTable(
        classes=classes,
        ids=tuple(map(str, range(n))),
        paths=tuple(map(str, range(n))),
        sources=("slide 1",) * (n // 2) + ("slide 2",) * (n // 2),
        roles=("test",) * n,
        labels_N=labels_N,
        logits_NK=8 * np.eye(4, dtype=np.float32)[labels_N],
        embeddings_ND=np.zeros((n, 1), np.float32),
        source_known=True,
    )
    found = room.compute_intervals(table, replicates=50).overall
    assert found["accuracy"].low == pytest.approx(wilson(2, 2).low)
    assert found["balanced_accuracy"].low == pytest.approx(found["accuracy"].low)
    recall = room.compute_from_confusion(
        labels_N,
        labels_N,
        classes,
        table.sources,
        lambda m: (np.diagonal(m, axis1=1, axis2=2) / m.sum(axis=2)).mean(axis=1),
        signed=False,
        replicates=50,
    )
    assert recall.low == pytest.approx(found["accuracy"].low)
