from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.builders.bundles import SIDE, build_mean_graph, describe

from leukoscope.deploy import predictor as predictor_module
from leukoscope.deploy.bundle import save_bundle
from leukoscope.deploy.predictor import Predictor
from leukoscope.errors import BundleError, DataError, MissingExtraError
from leukoscope.trust.decision import Decisions

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    paths = []
    for i in range(40):
        name = list(COLOURS)[i % 3]
        path = folder / f"{i:02d}_{name}.png"
        Image.new("RGB", (50, 40), COLOURS[name]).save(path)
        paths.append(path)
    return paths


def test_every_image_gets_its_answer_in_order(mean_bundle, images):
    done = []
    found = list(
        Predictor(mean_bundle).predict_files(images, batch_size=7, on_progress=done.append)
    )
    assert [one.path for one in found] == [str(path) for path in images]
    assert [one.label for one in found] == [path.stem.split("_")[1] for path in images]
    assert done[-1] == 40 and done == sorted(done)
    # 250 and 10 of 255, divided by 25.5: a difference of 240 / 25.5 in the logits.
    top = 1 / (1 + 2 * np.exp(-240 / 25.5))
    assert all(one.confidence == pytest.approx(top, abs=1e-6) for one in found)
    assert all(sum(one.probabilities) == pytest.approx(1) for one in found)


def test_unreadable_files_are_rows_with_an_error(mean_bundle, images, tmp_path):
    cut = tmp_path / "cut.png"
    cut.write_bytes(images[0].read_bytes()[:60])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    paths = [cut, images[0], tmp_path / "nowhere.png", text, tmp_path]
    found = list(Predictor(mean_bundle).predict_files(paths, batch_size=2))
    assert [bool(one.error) for one in found] == [True, False, True, True, True]
    assert found[1].label == "red"
    assert found[0].label == "" and found[0].confidence is None and not found[0].probabilities
    assert found[3].error.startswith("not_an_image")


def test_a_batch_of_nothing_but_errors(mean_bundle, tmp_path):
    found = list(Predictor(mean_bundle).predict_files([tmp_path / "a", tmp_path / "b"]))
    assert [one.error.split(":")[0] for one in found] == ["missing_file"] * 2
    assert list(Predictor(mean_bundle).predict_files([])) == []


def test_files_are_not_read_far_ahead(mean_bundle, images):
    """A million paths must not become a million decoded images."""
    asked = []

    def ask():
        for path in images:
            asked.append(path)
            yield path

    rows = Predictor(mean_bundle).predict_files(ask(), batch_size=4)
    next(rows)
    assert len(asked) <= 12
    rows.close()


def test_logits_and_embeddings_of_arrays(mean_bundle):
    batch = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    logits, embeddings, disagreement = Predictor(mean_bundle).score(batch)
    means = batch.mean(axis=(1, 2))
    assert embeddings == pytest.approx(means, rel=1e-5)
    assert logits == pytest.approx(means / 25.5, rel=1e-5)
    assert disagreement is None and logits.dtype == embeddings.dtype == np.float32


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_rejected(mean_bundle, batch):
    with pytest.raises(DataError, match="uint8 of shape"):
        Predictor(mean_bundle).score(batch)


def test_threads_share_a_predictor(mean_bundle, images):
    predictor = Predictor(mean_bundle, threads=2)
    alone = list(predictor.predict_files(images))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: list(predictor.predict_files(images)), range(8)))
    assert all(found == alone for found in together)


def test_a_graph_that_the_engine_rejects(mean_bundle, monkeypatch):
    import dataclasses
    import hashlib

    content = b"\x08\x0a"  # an ONNX file without a graph
    info = describe(content)
    (mean_bundle.path / info.variants["fp32"].file).write_bytes(content)
    assert info.variants["fp32"].sha256 == hashlib.sha256(content).hexdigest()
    with pytest.raises(BundleError, match="ONNX Runtime must accept"):
        Predictor(dataclasses.replace(mean_bundle, info=info))


def test_an_engine_that_is_not_installed(mean_bundle, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"leukoscope\[openvino\]"):
        Predictor(mean_bundle, engine="openvino")


# -- ensembles ------------------------------------------------------------------------------------


def add_disagreement(model):
    """A third output: the largest channel mean."""
    from onnx import TensorProto, helper

    model.graph.node.append(
        helper.make_node("ReduceMax", ["embedding", "last"], ["disagreement"], keepdims=0)
    )
    model.graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [1]))
    model.graph.output.append(
        helper.make_tensor_value_info("disagreement", TensorProto.FLOAT, ["batch"])
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_disagreement_reaches_predictions_and_decisions(tmp_path, monkeypatch, engine):
    pytest.importorskip(engine)
    graph = build_mean_graph(change=add_disagreement)
    save_bundle(describe(graph), {"fp32": graph}, tmp_path / "joint")
    predictor = Predictor(tmp_path / "joint", engine=engine)
    batch = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    expected = batch.mean(axis=(1, 2)).max(axis=1)
    assert predictor.score(batch).disagreement_N == pytest.approx(expected, rel=1e-5)
    found = [one.disagreement for one in predictor.predict_pixels(batch)]
    assert found == pytest.approx(expected.tolist(), rel=1e-5)
    # A calibrated bundle decides by it.
    heard = []

    def decide(policy, novelty, logits, embeddings, quality, disagreement):
        heard.append(disagreement)
        p = np.full((len(logits), 3), 1 / 3)
        zeros = np.zeros(len(logits), np.int64)
        return Decisions(
            p, zeros, p[:, 0], p > 0, zeros * 1.0, ("review",) * len(logits), ("why",) * len(logits)
        )

    monkeypatch.setattr(predictor_module, "decide", decide)
    predictor.trust = SimpleNamespace(info=SimpleNamespace(policy=None), novelty=None)
    found = predictor.predict_pixels(batch)
    assert heard[0] == pytest.approx(expected, rel=1e-5)
    assert [one.disagreement for one in found] == pytest.approx(expected.tolist(), rel=1e-5)
    assert {one.decision for one in found} == {"review"}


def test_one_network_has_no_disagreement(mean_bundle):
    predictor = Predictor(mean_bundle)
    batch = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    assert predictor.score(batch).disagreement_N is None
    assert [one.disagreement for one in predictor.predict_pixels(batch)] == [None, None]
