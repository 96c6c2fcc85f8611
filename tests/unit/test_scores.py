from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leukoscope.errors import DataError, RunError
from leukoscope.scores import ScoreTable, load_scores, save_scores


def make_table(n=5, k=3, width=4, known=True):
    generator = np.random.default_rng(0)
    return ScoreTable(
        classes=tuple(f"c{i}" for i in range(k)),
        ids=tuple(f"a/é {i}.jpg" for i in range(n)),
        paths=tuple(f"/x/{i}.jpg" for i in range(n)),
        sources=tuple(f"s{i // 2}" for i in range(n)),
        roles=tuple("test" if i % 2 else "val" for i in range(n)),
        labels_N=np.arange(n) % (k + 1) - 1,
        logits_NK=generator.normal(size=(n, k)).astype(np.float32),
        embeddings_ND=generator.normal(size=(n, width)).astype(np.float32),
        source_known=known,
    )


def assert_same(a, b):
    for name in ("classes", "ids", "paths", "sources", "roles", "source_known"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("labels_N", "logits_NK", "embeddings_ND"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype and x.shape == y.shape and (x == y).all(), name


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("n", "width"), [(5, 4), (1, 1), (5, 0), (0, 0)])
def test_a_table_comes_back_as_it_was(tmp_path, n, width, known):
    table = make_table(n=n, width=width, known=known)
    save_scores(table, tmp_path / "scores.parquet")
    assert_same(load_scores(tmp_path / "scores.parquet"), table)


def test_a_taken_table_comes_back(tmp_path):
    table = make_table().take(np.array([4, 2, 1]))
    save_scores(table, tmp_path / "scores.parquet")
    assert_same(load_scores(tmp_path / "scores.parquet"), table)


def test_probabilities_are_the_softmax_even_of_huge_logits():
    table = make_table(n=2, k=2)
    huge = ScoreTable(**{**vars(table), "logits_NK": np.array([[1e4, 0], [2, 2]], np.float32)})
    assert huge.probabilities_NK.tolist() == [[1, 0], [0.5, 0.5]]
    assert huge.probabilities_NK.dtype == np.float64
    assert huge.logits_NK[0, 0] == 1e4  # untouched
    assert make_table(n=0).probabilities_NK.shape == (0, 3)


def test_rows_are_taken_by_mask_and_by_index():
    table = make_table()
    assert_same(table.take(np.array([False, True, False, True, False])), table.of_role("test"))
    assert_same(table.take(np.array([1, 3])), table.of_role("test"))
    assert len(table.of_role("train")) == 0
    assert len(table.of_role("test")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"paths": ("x",)},
        {"labels_N": np.zeros(4, np.int64)},
        {"embeddings_ND": np.zeros((6, 1), np.float32)},
        {"logits_NK": np.zeros((5, 2), np.float32)},
        {"logits_NK": np.zeros((4, 3), np.float32)},
    ],
)
def test_uneven_columns_are_rejected(change):
    with pytest.raises(DataError, match="one entry per image"):
        ScoreTable(**{**vars(make_table()), **change})


def test_other_files_are_rejected(tmp_path):
    path = tmp_path / "scores.parquet"
    with pytest.raises(RunError, match="must be a score table"):
        load_scores(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(RunError, match="must be a score table"):
        load_scores(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(RunError, match="version none"):
        load_scores(path)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"leukoscope_scores": "99"}), path)
    with pytest.raises(RunError, match="version 99"):
        load_scores(path)


@pytest.mark.parametrize("name", ["id", "role", "label", "embedding", "logit:c0", "source"])
def test_a_table_without_a_column_or_with_another_type_is_rejected(tmp_path, name):
    path = tmp_path / "scores.parquet"
    save_scores(make_table(), path)
    whole = pq.read_table(path)
    place = whole.column_names.index(name)
    words = pa.array([["x"]] * len(whole))
    missing = whole.remove_column(place)
    if name.startswith("logit:"):
        for other in ("logit:c1", "logit:c2"):
            missing = missing.remove_column(missing.column_names.index(other))
    for changed in (missing, whole.set_column(place, name, words)):
        pq.write_table(changed, path)
        with pytest.raises(RunError, match="columns of a score table"):
            load_scores(path)


def test_one_row_of_each_source_is_drawn():
    table = replace(make_table(n=6), sources=("a", "a", "b", "c", "c", "c"))
    rows = table.draw_sources(10, seed=0)
    assert sorted(table.sources[i] for i in rows) == ["a", "b", "c"]
    assert rows.tolist() == sorted(rows.tolist())
    assert len(table.draw_sources(2, seed=0)) == 2
    drawn = {tuple(table.draw_sources(10, seed=seed).tolist()) for seed in range(30)}
    assert len(drawn) == 6  # each of the two and of the three copies comes up
    assert table.take(np.zeros(6, bool)).draw_sources(5, seed=0).tolist() == []
