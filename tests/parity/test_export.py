"""The exported network against the trained one: folded norms, laid-out attention, every variant."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from leukoscope.data.loader import normalise
from leukoscope.deploy import export
from leukoscope.deploy.graphs import check_graph
from leukoscope.deploy.predictor import start_onnxruntime
from leukoscope.errors import DataError, ParityError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import PRESETS, build_spec
from leukoscope.models.spec import StageSpec
from leukoscope.scores import Outputs, compute_probabilities
from leukoscope.trust.decision import Decisions


def build_network(preset, size=32):
    """A network whose norms and biases are far from their initial values."""
    torch.manual_seed(0)
    network = CoAtNet(build_spec(preset, 4, size)).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for name, parameter in network.named_parameters():
            if "bias_table" in name:
                parameter.normal_(0, 1)
    return network


def draw_images(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@torch.inference_mode()
def answer(network, images):
    logits, out = network(normalise(torch.from_numpy(images)))
    return logits.numpy(), out["embedding"].numpy()


@pytest.mark.parametrize("preset", ["coatnet-pico", "coatnet-hematology", "coatnet-0"])
def test_folding_and_laying_out_change_nothing(preset):
    network = build_network(preset, 64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = draw_images(3, 64)
    served = export.ServedNetwork(network).eval()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in served.modules())
    with torch.inference_mode():
        logits, embedding = served(torch.from_numpy(images))
    own_logits, own_embedding = answer(network, images)
    scale = np.abs(own_logits).max()
    assert np.abs(logits.numpy() - own_logits).max() < 2e-5 * max(1, scale)
    assert embedding.numpy() == pytest.approx(own_embedding, rel=1e-3, abs=1e-4)
    # The trained network itself is left as it was.
    assert all((before[name] == value).all() for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def network():
    return build_network("coatnet-pico")


@pytest.fixture(scope="module")
def graph(network):
    return export.build_graph(network)


@pytest.fixture(scope="module")
def reference(network):
    images = draw_images(64, seed=1)
    ids = tuple(f"image {i}" for i in range(64))
    return export.ParityReference(images, ids, tuple("abcd"), Outputs(*answer(network, images)))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_graph_is_the_network_for_any_batch(network, graph, n):
    images = draw_images(n)
    logits, embedding, disagreement = start_onnxruntime(graph, 2)(images)
    assert disagreement is None  # of one network there is none
    own_logits, own_embedding = answer(network, images)
    assert logits == pytest.approx(own_logits, abs=1e-4)
    assert embedding == pytest.approx(own_embedding, abs=1e-4)


def test_the_graph_is_what_a_bundle_promises(graph):
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    check_graph(graph)
    assert {x.domain: x.version for x in model.opset_import}[""] >= 18
    (images,) = model.graph.input
    assert images.name == "images"
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shape = [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim]
    assert isinstance(shape[0], str) and shape[1:] == [32, 32, 3]
    assert [out.name for out in model.graph.output] == ["logits", "embedding"]
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_every_variant_keeps_to_its_tolerance(graph, reference, tmp_path):
    graphs = {
        "fp32": graph,
        "fp16": export.convert_to_half(graph),
        "int8": export.quantise(graph, draw_images(32, seed=2), tmp_path),
    }
    sizes = {name: len(content) for name, content in graphs.items()}
    assert sizes["int8"] < 0.5 * sizes["fp32"] and sizes["fp16"] < 0.6 * sizes["fp32"]
    differences = {}
    for name, content in graphs.items():
        parity = export.measure_parity(start_onnxruntime(content, 2), reference, name)
        assert parity.images == 64
        differences[name] = parity.max_logit_difference
        if name != "int8":  # random weights lie close to a toss-up
            export.check_parity(parity, name)
    assert differences["fp32"] < 1e-4 < differences["int8"] < 1
    assert differences["fp16"] < 0.05
    int8 = onnx.load_from_string(graphs["int8"])
    kinds = {node.op_type for node in int8.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_changed_decisions_are_listed_and_rejected(reference):
    """The witness is a graph that answers with the second class for the first image."""

    def run(images):
        logits = reference.outputs.logits_NK[run.start : run.start + len(images)].copy()
        if run.start == 0:
            logits[0, :] = logits[0, :][::-1]
        run.start += len(images)
        return Outputs(logits, logits)

    run.start = 0
    parity = export.measure_parity(run, reference, "int8")
    first = reference.outputs.logits_NK[0]
    assert parity.decisions_changed == 1
    (changed,) = parity.changed
    assert changed.id == "image 0"
    assert changed.reference == "abcd"[first.argmax()]
    assert changed.variant == "abcd"[3 - first.argmax()]
    assert 0 <= changed.margin <= 1
    assert parity.max_logit_difference == pytest.approx(np.abs(first - first[::-1]).max())
    export.check_parity(parity, "int8")  # one image is always allowed to reduced precision
    with pytest.raises(ParityError, match="may change 1 decisions of 64"):
        export.check_parity(parity.model_copy(update={"decisions_changed": 2}), "int8")
    with pytest.raises(ParityError, match="fp32"):
        exact = parity.model_copy(update={"max_logit_tolerance": 1e-3})
        export.check_parity(exact, "fp32")


def decide_by_length(answer):
    """Accept embeddings that are short; name by the largest logit."""
    n = len(answer.logits_NK)
    long_N = np.linalg.norm(answer.embeddings_ND, axis=1) > decide_by_length.limit
    empty = np.zeros(n)
    return Decisions(
        compute_probabilities(answer.logits_NK),
        answer.logits_NK.argmax(axis=1),
        empty,
        np.zeros((n, 4), bool),
        empty,
        tuple(np.where(long_N, "unknown", "accepted").tolist()),
        ("",) * n,
    )


def test_a_cell_that_is_accepted_otherwise_is_counted_though_its_name_stays(network, reference):
    """Names alone prove nothing of limits: the embedding moves, no logit does."""
    logits, embedding = answer(network, reference.images_NSSC)
    lengths = np.linalg.norm(embedding, axis=1)
    decide_by_length.limit = np.sort(lengths)[32]
    judged = replace(reference, decide=decide_by_length)

    def run(images):
        rows = slice(run.start, run.start + len(images))
        run.start += len(images)
        return Outputs(logits[rows], run.stretch * embedding[rows])

    run.start, run.stretch = 0, 1.0
    same = export.measure_parity(run, judged, "int8")
    assert (same.outcomes_changed, same.max_outcome_frac) == (0, export.MAX_OUTCOME_FRAC)
    assert export.measure_parity(_restart(run), reference, "int8").outcomes_changed is None
    run.stretch = 2.0
    other = export.measure_parity(_restart(run), judged, "int8")
    assert other.decisions_changed == 0 and other.outcomes_changed > 1
    with pytest.raises(ParityError, match="accept, review or reject 1 otherwise"):
        export.check_parity(other, "int8")
    exact = same.model_copy(update={"outcomes_changed": 1, "max_outcome_frac": 0.0})
    with pytest.raises(ParityError, match="reject 0 otherwise"):
        export.check_parity(exact, "fp32")


def _restart(run):
    run.start = 0
    return run


def test_answers_that_are_no_numbers_are_rejected(reference):
    def run(images):
        nothing = np.full((len(images), 4), np.nan, np.float32)
        return Outputs(nothing, nothing)

    with pytest.raises(ParityError, match="finite"):
        export.measure_parity(run, reference, "fp16")


def test_parity_is_measured_on_rows_that_did_nothing_else():
    roles = np.array(["train"] * 3000 + ["calib"] * 700 + ["val"] * 900 + ["test"] * 1500)
    role, fit, reference = export.choose_rows(roles)
    assert role == "calib" and set(roles[fit]) == {"calib"} and len(fit) == 256
    assert len(reference) == 2000 and set(roles[reference]) == {"calib", "val", "test"}
    assert not set(fit) & set(reference)
    assert (np.diff(fit) > 0).all() and (np.diff(reference) > 0).all()
    for again, first in zip(export.choose_rows(roles)[1:], (fit, reference), strict=True):
        assert (again == first).all()


def test_few_rows_are_shared_out():
    role, fit, reference = export.choose_rows(np.array(["train", "val", "val", "val"]))
    assert role == "val" and len(fit) == 1 and len(reference) == 2
    assert not set(fit) & set(reference)
    for roles in (["train", "val"], ["train"]):
        with pytest.raises(DataError, match="neither trained"):
            export.choose_rows(np.array(roles))


def test_int8_leaves_convolutions_and_head_alone(graph, tmp_path):
    """Each quantised weight of the graph belongs to a linear layer of a transformer block."""
    content = export.quantise(graph, draw_images(8), tmp_path)
    model = onnx.load_from_string(content)
    restored = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    quantised = [n for n in model.graph.node if set(n.input[1:2]) & restored]
    assert {n.op_type for n in quantised} == {"MatMul"}
    before = onnx.load_from_string(graph)
    constants = {tensor.name for tensor in before.graph.initializer}
    linear = [n for n in before.graph.node if n.op_type == "MatMul" and n.input[1] in constants]
    assert len(quantised) == len(linear) > 4


KINDS = {(s.family, s.activation, s.se_ratio > 0, s.stride_place): s for s in PRESETS.values()}
"""The shapes of presets that give other operators."""


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_each_preset_exports_is_let_through(kind):
    stages = (StageSpec("mbconv", 2, 8), StageSpec("transformer", 1, 16, 2))
    spec = replace(KINDS[kind], stem_width=8, stages=stages, n_classes=4, image_size=32)
    check_graph(export.build_graph(CoAtNet(spec).eval()))
