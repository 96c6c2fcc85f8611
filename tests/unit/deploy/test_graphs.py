"""What is let through to a runtime: what an export writes, and nothing else."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tests.builders.bundles import build_mean_graph, describe

from leukoscope.deploy.bundle import load_bundle, save_bundle
from leukoscope.deploy.graphs import MAX_FIELDS, OPERATORS, check_graph
from leukoscope.deploy.predictor import Predictor, start_onnxruntime
from leukoscope.errors import BundleError


def move_out(tensor, location="../../secret.bin"):
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def in_initializer(model):
    move_out(model.graph.initializer[0])


def without_the_mark(model):
    """The path alone, without the field that says that it counts."""
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def in_an_attribute(model):
    node = model.graph.node.add(op_type="Cast", output=["x"])
    attribute = node.attribute.add(name="value", type=4)
    move_out(attribute.t)


def in_attributes(model):
    node = model.graph.node.add(op_type="Cast", output=["x"])
    move_out(node.attribute.add(name="value", type=9).tensors.add())


@pytest.mark.parametrize(
    "change", [in_initializer, without_the_mark, in_an_attribute, in_attributes]
)
def test_a_graph_that_names_other_files_is_rejected(change):
    with pytest.raises(BundleError, match="must hold its own weights"):
        check_graph(build_mean_graph(change=change))


def with_operator(name, domain=""):
    def change(model):
        model.graph.node.add(op_type=name, domain=domain, input=["real"], output=["x"])

    return change


def in_a_branch(model):
    node = model.graph.node.add(op_type="Cast", input=["c"], output=["y"])
    attribute = node.attribute.add(name="then_branch", type=5)
    move_out(attribute.g.initializer.add(name="w", data_type=1, dims=[1]))


def in_branches(model):
    node = model.graph.node.add(op_type="Cast", input=["c"], output=["y"])
    node.attribute.add(name="branches", type=10).graphs.add(name="g")


def in_a_sparse_tensor(model):
    move_out(model.graph.sparse_initializer.add().values)


def in_a_sparse_attribute(model):
    node = model.graph.node.add(op_type="Cast", output=["x"])
    node.attribute.add(name="value", type=11).sparse_tensor.dims.append(3)


def in_a_function(model):
    function = model.functions.add(name="f", domain="d")
    node = function.node.add(op_type="Add", output=["x"])
    move_out(node.attribute.add(name="value", type=4).t)


def in_a_training(model):
    model.training_info.add().algorithm.node.add(op_type="Add")


NOT_EXPORTED = {
    **{name: with_operator(name) for name in ("Loop", "If", "Scan", "SequenceMap", "Expand", "Tile",
       "RandomNormal", "ConstantOfShape", "Range", "StringNormalizer", "Optional", "")},
    "another domain": with_operator("Add", "com.microsoft"),
    "a library's own": with_operator("Add", "ai.onnx.contrib"),
    "a branch": in_a_branch,
    "branches": in_branches,
    "a sparse tensor": in_a_sparse_tensor,
    "a sparse attribute": in_a_sparse_attribute,
    "a function": in_a_function,
    "a training graph": in_a_training,
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_what_no_export_writes_is_rejected(name):
    with pytest.raises(BundleError, match="as `leukoscope export` makes it"):
        check_graph(build_mean_graph(change=NOT_EXPORTED[name]))


def test_a_whole_graph_passes(mean_graph):
    check_graph(mean_graph)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_judged_without_a_crash(content):
    with contextlib.suppress(BundleError):
        check_graph(content)


@given(st.data())
@settings(deadline=None)
def test_a_cut_graph_is_judged_without_a_crash(mean_graph, data):
    end = data.draw(st.integers(0, len(mean_graph)))
    with contextlib.suppress(BundleError):
        check_graph(mean_graph[:end])


# -- the format itself ----------------------------------------------------------------------------


def number(value, n_bytes=0):
    """A variable-length integer, padded to at least so many bytes."""
    out = b""
    while value > 127 or n_bytes > 1:
        out += bytes([value & 127 | 128])
        value, n_bytes = value >> 7, n_bytes - 1
    return out + bytes([value])


def wrap(field, content, key_bytes=0, length_bytes=0, high=0):
    """One field of a protocol-buffer message that holds another message."""
    key = (field << 3 | 2) + (high << 32)
    return number(key, key_bytes) + number(len(content), length_bytes) + content


SECRET = wrap(13, wrap(1, b"location") + wrap(2, b"../../secret.bin"))


@pytest.mark.parametrize("length", range(2, 12))
def test_a_key_or_length_longer_than_it_need_be_is_rejected(length):
    """A runtime that cuts or pads it sees a field that the check did not."""
    check_graph(wrap(7, wrap(5, wrap(8, b"w"))))
    for tensor in (wrap(13, b"", key_bytes=length), wrap(8, b"w", length_bytes=length)):
        with pytest.raises(BundleError, match="longer than it may be"):
            check_graph(wrap(7, wrap(5, tensor)))


@pytest.mark.parametrize("high", [1, 2, 1 << 20, (1 << 31) - 1])
def test_a_key_beyond_32_bits_is_rejected(high):
    """Cut to 32 bits it is the field of a tensor that names another file."""
    content = number((13 << 3 | 2) + (high << 32)) + SECRET[1:]
    with pytest.raises(BundleError, match="longer than it may be"):
        check_graph(wrap(7, wrap(5, content)))


@pytest.mark.parametrize("kind", ["model", "graph", "node", "attribute", "tensor"])
def test_fields_that_nobody_knows_are_rejected(kind):
    inner = wrap(99, b"x")
    roads = {"model": (), "graph": (7,), "node": (7, 1), "attribute": (7, 1, 5), "tensor": (7, 5)}
    for field in reversed(roads[kind]):
        inner = wrap(field, inner)
    with pytest.raises(BundleError, match=f"field 99 of the {kind}"):
        check_graph(inner)


def test_each_of_several_operators_of_one_node_counts():
    """In the format the last one wins; that is the runtime's affair."""
    for node in (wrap(4, b"Add") + wrap(4, b"Loop"), wrap(4, b"Loop") + wrap(4, b"Add")):
        with pytest.raises(BundleError, match="Loop"):
            check_graph(wrap(7, wrap(1, node)))
    with pytest.raises(BundleError, match="operator"):
        check_graph(wrap(7, wrap(1, number(4 << 3) + number(1))))
    with pytest.raises(BundleError, match="is no message"):
        check_graph(number(7 << 3) + number(1))


def test_nesting_has_an_end():
    graph = b""
    for _ in range(100):  # a graph in an attribute of a node of a graph ...
        graph = wrap(1, wrap(5, wrap(6, graph)))
    with pytest.raises(BundleError, match="field 6 of the attribute"):
        check_graph(wrap(7, graph))


def test_a_graph_of_too_many_parts_is_rejected():
    with pytest.raises(BundleError, match="fields"):
        check_graph(wrap(7, wrap(1, wrap(1, b"x") * (MAX_FIELDS + 1))))


# -- graphs of the right operators that do not fit ------------------------------------------------


def rename(old, new):
    def change(model):
        for node in model.graph.node:
            node.output[:] = [new if name == old else name for name in node.output]
            node.input[:] = [new if name == old else name for name in node.input]
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name

    return change


@pytest.mark.parametrize(
    ("old", "new"), [("images", "pixels"), ("logits", "x"), ("embedding", "y")]
)
def test_other_inputs_and_outputs_are_rejected(old, new):
    graph = build_mean_graph(change=rename(old, new))
    with pytest.raises(BundleError, match="must accept the bundle's graph") as caught:
        start_onnxruntime(graph, 1)
    assert new in caught.value.found


def one_logit_too_many(model):
    weight = np.ones((3, 4), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def no_row_per_image(model):
    model.graph.node[1].attribute[0].i = 1  # keepdims
    for value in model.graph.output:
        value.type.ClearField("tensor_type")
        value.type.tensor_type.elem_type = 1


@pytest.mark.parametrize("change", [one_logit_too_many, no_row_per_image])
def test_answers_of_another_shape_are_rejected(tmp_path, disc_folder, change):
    graph = build_mean_graph(change=change)
    save_bundle(describe(graph), {"fp32": graph}, tmp_path / "bundle")
    predictor = Predictor(load_bundle(tmp_path / "bundle"))
    with pytest.raises(BundleError):
        list(predictor.predict_files(sorted(disc_folder.rglob("*.png"))[:2]))


def test_a_graph_that_fails_while_it_runs_is_told(tmp_path, disc_folder):
    def change(model):
        shape = numpy_helper.from_array(np.array([7, 7]), "seven")
        model.graph.initializer.append(shape)
        model.graph.node[2].output[0] = "almost"
        model.graph.node.append(helper.make_node("Reshape", ["almost", "seven"], ["logits"]))

    graph = build_mean_graph(change=change)
    save_bundle(describe(graph), {"fp32": graph}, tmp_path / "bundle")
    predictor = Predictor(load_bundle(tmp_path / "bundle"))
    with pytest.raises(BundleError, match="must accept the bundle's graph"):
        list(predictor.predict_files(sorted(disc_folder.rglob("*.png"))[:2]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_logits_that_are_no_numbers_are_an_error_of_the_image(tmp_path, disc_folder, value):
    def change(model):
        weight = np.full((3, 3), value, np.float32)
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))

    graph = build_mean_graph(change=change)
    save_bundle(describe(graph), {"fp32": graph}, tmp_path / "bundle")
    predictor = Predictor(load_bundle(tmp_path / "bundle"))
    found = list(predictor.predict_files(sorted(disc_folder.rglob("*.png"))[:2]))
    assert [one.error for one in found] == ["not_finite: logits"] * 2
    assert all(one.label == "" and one.confidence is None for one in found)


def test_the_operators_are_those_that_users_are_told():
    text = (Path(__file__).parents[3] / "SECURITY.md").read_text("utf-8")
    listed = re.search(r"The operators are ([\w,\s]+)\.", text)[1]
    assert set(re.findall(r"\w+", listed)) == OPERATORS
