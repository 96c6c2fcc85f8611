"""The exported ensemble against the trained one: members, views and disagreement in one graph."""

import numpy as np
import onnx
import pytest
import torch
from tests.builders.runs import write_run
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.data.loader import normalise
from leukoscope.data.splits import load_split
from leukoscope.deploy import export
from leukoscope.deploy.predictor import (
    Predictor,
    start_onnxruntime,
    start_openvino,
)
from leukoscope.errors import ParityError
from leukoscope.runfolder import RunFolder
from leukoscope.scores import Outputs, load_scores
from leukoscope.storage import hash_file
from leukoscope.training.trained import load_trained


def draw_images(n, seed=0):
    """Large patches of colour, which show where up is."""
    rough = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(rough.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture(scope="module")
def run(disc_folder, tmp_path_factory):
    """Two members from eight sides, joined as a user types it."""
    place = tmp_path_factory.mktemp("exported")
    (place / "packs").mkdir()
    split = pipelines.split_catalog(pipelines.scan_images(disc_folder))
    typed = [str(write_run(place / f"m{seed}", split, seed)) for seed in range(2)]
    out = place / "joint"
    done = CliRunner().invoke(app, ["ensemble", *typed, "--tta", "dihedral", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "2 x tiny, 8 views" in done.output and "Research use only" in done.output
    return out


@pytest.fixture(scope="module")
def ensemble(run):
    return load_trained(RunFolder(run), torch.device("cpu")).network


@pytest.fixture(scope="module")
def bundle(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "FEW_IMAGES", 1)  # else so small a set would count as spent
        return pipelines.export_run(run, run.parent / "bundle", variants=("fp32",))


@pytest.fixture(scope="module")
def graph(bundle):
    return bundle.read_graph("fp32")


@torch.inference_mode()
def answer(network, images):
    logits, out = network(normalise(torch.from_numpy(images)))
    return Outputs(*(x.numpy() for x in (logits, out["embedding"], out["disagreement"])))


@pytest.fixture(scope="module")
def reference(ensemble):
    images = draw_images(48, seed=1)
    own = answer(ensemble, images)
    ids = tuple(f"image {i}" for i in range(48))
    return export.ParityReference(images, ids, tuple("abcd"), own)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_graph_is_the_ensemble_for_any_batch(ensemble, graph, n):
    images = draw_images(n)
    own, found = answer(ensemble, images), start_onnxruntime(graph, 1)(images)
    assert found.logits_NK == pytest.approx(own.logits_NK, abs=1e-4)
    assert found.embeddings_ND == pytest.approx(own.embeddings_ND, abs=1e-4)
    assert found.disagreement_N == pytest.approx(own.disagreement_N, abs=1e-5)
    assert found.disagreement_N.shape == (n,) and found.disagreement_N.min() > 1e-3


def test_the_graph_says_what_it_gives(graph):
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    assert [out.name for out in model.graph.output] == ["logits", "embedding", "disagreement"]
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_predictions_are_those_of_the_run(run, bundle):
    parity = bundle.info.variants["fp32"].parity
    assert bundle.info.network == "2 x tiny, 8 views"
    assert parity.decisions_changed == 0 and parity.max_disagreement_difference < 1e-5
    assert not bundle.info.parity_set.in_training
    assert bundle.info.provenance.weights_sha256 == hash_file(run / "model.safetensors")
    table = load_scores(run / "scores.parquet")
    records = load_split(run / "split.csv").catalog.records
    predictor = Predictor(bundle, threads=1)
    rows = list(predictor.predict_files([record.path for record in records]))
    found = np.array([row.probabilities for row in rows])
    np.testing.assert_allclose(found, table.probabilities_NK, atol=1e-4)
    spread = np.array([row.disagreement for row in rows])
    np.testing.assert_allclose(spread, table.disagreement_N, atol=1e-5)


def test_openvino_gives_the_same(ensemble, graph):
    pytest.importorskip("openvino")
    images = draw_images(3)
    own, found = answer(ensemble, images), start_openvino(graph, 1)(images)
    assert found.logits_NK == pytest.approx(own.logits_NK, abs=1e-4)
    assert found.disagreement_N == pytest.approx(own.disagreement_N, abs=1e-5)


def test_every_variant_keeps_to_its_tolerance(graph, reference, tmp_path):
    graphs = {
        "fp32": graph,
        "fp16": export.convert_to_half(graph),
        "int8": export.quantise(graph, draw_images(16, seed=2), tmp_path),
    }
    apart = {}
    for name, content in graphs.items():
        parity = export.measure_parity(start_onnxruntime(content, 1), reference, name)
        apart[name] = parity.max_disagreement_difference
        if name != "int8":  # random weights lie close to a toss-up
            export.check_parity(parity, name)
    assert apart["fp32"] < 1e-5 and 0 < apart["fp16"] < 1e-3 and 1e-5 < apart["int8"] < 0.05
    assert reference.outputs.disagreement_N.mean() > 0.05  # what these are to be seen against
    half = onnx.load_from_string(graphs["fp16"])
    weights = {t.data_type for t in half.graph.initializer if np.prod(t.dims) > 100}
    assert onnx.TensorProto.FLOAT16 in weights and onnx.TensorProto.FLOAT not in weights


def test_a_disagreement_that_departs_is_rejected(reference):
    def run(images):
        rows = slice(run.start, run.start + len(images))
        run.start += len(images)
        return Outputs(
            reference.outputs.logits_NK[rows], reference.outputs.logits_NK[rows],
            reference.outputs.disagreement_N[rows] + run.error,
        )  # fmt: skip

    for error, variant, rejected in (
        (0.001, "fp32", True),
        (0.001, "int8", False),
        (0, "fp32", False),
    ):
        run.start, run.error = 0, np.float32(error)
        parity = export.measure_parity(run, reference, variant)
        assert parity.max_disagreement_difference == pytest.approx(error, rel=1e-3)
        if rejected:
            with pytest.raises(ParityError, match="disagreement"):
                export.check_parity(parity, variant)
        else:
            export.check_parity(parity, variant)
    run.start, run.error = 0, np.float32(np.nan)
    with pytest.raises(ParityError, match="finite"):
        export.measure_parity(run, reference, "fp16")
