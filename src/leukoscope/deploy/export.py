"""From a trained network to a bundle: graphs for ONNX Runtime, each with proof of what it does.

Axes: N images, B batch, S side, K classes, D embedding width, G heads, T tokens. What this file
does not do: it chooses no images and reads no run (`pipelines.export_run`).
"""

import contextlib
import copy
import hashlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from leukoscope.data.images import Pixels
from leukoscope.data.loader import normalise
from leukoscope.deploy.bundle import (
    ChangedDecision,
    Parity,
    VariantInfo,
    VariantName,
    name_graph,
)
from leukoscope.deploy.graphs import check_graph
from leukoscope.deploy.predictor import Run, count_cores, start_onnxruntime
from leukoscope.errors import DataError, ParityError
from leukoscope.models.attention import MapSize, RelativeAttention
from leukoscope.models.blocks import MBConv
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.ensemble import Ensemble, Network
from leukoscope.scores import Outputs, compute_probabilities, join_outputs
from leukoscope.trust.decision import Decisions

OPSET = 18

MAX_LOGIT_DIFFERENCE = 1e-3
"""Of the fp32 graph: rounding of another order of additions, nothing else."""

MAX_DISAGREEMENT_DIFFERENCE = 1e-4
"""Of the fp32 graph of an ensemble, in nats."""

MAX_CHANGED_FRAC = 0.003
"""Of reduced precision: share of most probable labels that may change, and one image at least."""

MAX_OUTCOME_FRAC = 0.01
"""Of reduced precision: share of images that may be accepted, reviewed or rejected otherwise, and
one at least. Every threshold cuts through cells, and int8 moves embeddings by more than labels."""

CALIBRATION_IMAGES = 256
"""The int8 ranges come from at most so many images."""

FEW_IMAGES = 100
"""Where the members of an ensemble together left fewer images untouched, any images will do."""

REFERENCE_IMAGES = 2000
"""Parity is measured on at most so many images."""


# -- the network that is exported -----------------------------------------------------------------


class ServedNetwork(nn.Module):
    """uint8 images `(B, S, S, 3)` in, logits `(B, K)` and embedding `(B, D)` out; of an ensemble
    also disagreement `(B,)`.

    The same function as the trained network's, in evaluation: batch norm is folded into the
    convolutions, and attention's bias is laid out for the one image size; of every member.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network: Network
        if isinstance(network, Ensemble):
            members = [_serve(cast(CoAtNet, member)) for member in network.members]
            self.network = Ensemble(members, network.spec.views)
        else:
            self.network = _serve(network)
        names = ("embedding", "disagreement") if isinstance(network, Ensemble) else ("embedding",)
        self.names = names

    def forward(self, images_BSSC: Tensor) -> tuple[Tensor, ...]:
        """Return logits and embedding, and disagreement where there is one."""
        logits_BK, out = self.network(normalise(images_BSSC))
        return logits_BK, *(out[name] for name in self.names)


def _serve(network: CoAtNet) -> CoAtNet:
    return lay_out_attention(fold_batch_norm(network))


def fold_batch_norm(network: CoAtNet) -> CoAtNet:
    """Return a copy in evaluation mode whose batch norms are folded into convolutions.

    The same function up to rounding. A norm before a 1x1 convolution without padding folds as one
    behind it does; there are no others in a CoAtNet.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    stem = network.stem
    stem[0] = fuse_conv_bn_eval(cast(nn.Conv2d, stem[0]), cast(nn.BatchNorm2d, stem[1]))
    stem[1] = nn.Identity()
    for block in network.modules():
        if isinstance(block, MBConv):
            _fold_block(block)
    return network


def _fold_block(block: MBConv) -> None:
    if isinstance(block.pre_norm, nn.BatchNorm2d):
        block.expand = _fold_before(block.pre_norm, block.expand)
        block.pre_norm = nn.Identity()
    for name in ("expand", "depthwise", "reduce"):
        norm = getattr(block, f"{name}_norm")
        if isinstance(norm, nn.BatchNorm2d):
            setattr(block, name, fuse_conv_bn_eval(getattr(block, name), norm))
            setattr(block, f"{name}_norm", nn.Identity())


def _fold_before(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias - mean * gain
    stride = cast(tuple[int, int], conv.stride)
    out = nn.Conv2d(conv.in_channels, conv.out_channels, 1, stride=stride)
    with torch.no_grad():
        out.weight.copy_(conv.weight * gain[:, None, None])
        out.bias.copy_(conv.weight[:, :, 0, 0] @ shift)  # type: ignore[union-attr]
    return out.eval()


class _LaidOutAttention(nn.Module):
    """`RelativeAttention` for one map size: the bias is a constant `(1, G, T, T)`, and the scale
    of the inner product lies in the weights of the queries."""

    def __init__(self, attention: RelativeAttention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.project = attention.project
        self.qkv = copy.deepcopy(attention.qkv)
        width = self.qkv.out_features // 3
        with torch.no_grad():
            bias_GTT = attention.relative_bias(attention.map_size)
            for values in (self.qkv.weight, self.qkv.bias):
                values[:width] *= (width // self.heads) ** -0.5
        self.register_buffer("bias_1GTT", bias_GTT[None].clone())
        self.bias_1GTT: Tensor

    def forward(self, tokens_BTC: Tensor, _map_size: MapSize) -> Tensor:
        n, width = tokens_BTC.shape[1], self.qkv.out_features // 3
        qkv: Tensor = self.qkv(tokens_BTC).reshape(-1, n, 3, self.heads, width // self.heads)
        q_BGTD, k_BGTD, v_BGTD = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights_BGTT = (q_BGTD @ k_BGTD.transpose(-1, -2) + self.bias_1GTT).softmax(-1)
        out_BTC = (weights_BGTT @ v_BGTD).transpose(1, 2).reshape(-1, n, width)
        out: Tensor = self.project(out_BTC)
        return out


def lay_out_attention(network: CoAtNet) -> CoAtNet:
    """Replace each attention of a network by the same function for its own map size."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, RelativeAttention):
                setattr(module, name, _LaidOutAttention(child).eval())
    return network


# -- graphs ---------------------------------------------------------------------------------------


def build_variants(
    network: Network,
    names: Sequence[VariantName],
    calibration_NSSC: Pixels,
    on_progress: Callable[[str, int, int], None],
) -> dict[VariantName, bytes]:
    """Return one ONNX graph per variant. `calibration_NSSC` are the uint8 images `(N, S, S, 3)`
    that set the ranges of int8."""
    on_progress("Building the graph", 0, 1)
    exact = build_graph(network)
    on_progress("Building the graph", 1, 1)
    graphs: dict[VariantName, bytes] = {}
    for name in names:
        if name == "int8":
            on_progress("Quantising", 0, 1)
            with tempfile.TemporaryDirectory() as place:
                graphs[name] = quantise(exact, calibration_NSSC, Path(place))
            on_progress("Quantising", 1, 1)
        else:
            graphs[name] = exact if name == "fp32" else convert_to_half(exact)
    return graphs


def build_graph(network: Network) -> bytes:
    """Return the fp32 ONNX graph of a trained network, batch size free."""
    served = ServedNetwork(network)
    side = network.spec.image_size
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            served,
            (example,),
            input_names=["images"],
            output_names=["logits", *served.names],
            dynamic_shapes={"images_BSSC": {0: torch.export.Dim.DYNAMIC}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # None is for the older exporter
    content: bytes = program.model_proto.SerializeToString()
    return content


def convert_to_half(graph: bytes) -> bytes:
    """Return the graph with 16-bit weights and arithmetic; inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        model = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    content: bytes = model.SerializeToString()
    return content


def quantise(graph: bytes, images_NSSC: NDArray[np.uint8], folder: Path) -> bytes:
    """Return the graph in int8: static, weights per channel, ranges from the given images.

    The linear layers of the transformer blocks are quantised (QDQ): they hold nearly all weights.
    Convolutions and the head stay in fp32, as norms, softmax and products of activations do: they
    change nearly all decisions that int8 changes (28 of 2,000 images instead of 1:
    docs/experiments/013) and gained no time. Weights keep 7 of 8 bits: processors without VNNI add
    pairs of products in 16 bits, which 8 bits overflow. `folder` takes temporary files.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, prepared, out = (folder / f"{name}.onnx" for name in ("fp32", "prepared", "int8"))
    source.write_bytes(graph)
    with _quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            _CalibrationReader(images_NSSC),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],  # the head is a Gemm
            nodes_to_exclude=_list_activation_products(prepared),
        )
    return out.read_bytes()


def _list_activation_products(graph: Path) -> list[str]:
    """Names of the matrix products without a weight. The quantiser's own option to leave them
    alone (`MatMulConstBOnly`) does nothing in the format QDQ."""
    import onnx

    nodes = onnx.load(graph).graph
    weights = {tensor.name for tensor in nodes.initializer}
    return [n.name for n in nodes.node if n.op_type == "MatMul" and n.input[1] not in weights]


class _CalibrationReader:
    """What the quantiser asks for images; a few at a time, for it keeps all that they cause."""

    def __init__(self, images_NSSC: NDArray[np.uint8]) -> None:
        self.batches = iter(
            images_NSSC[start : start + 8] for start in range(0, len(images_NSSC), 8)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporter and quantiser talk to everybody at length; what matters is measured afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# -- parity ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParityReference:
    """What variants are compared on: uint8 images `(N, S, S, 3)`, their ids, and what the trained
    network itself says of them in float32 PyTorch, batch norm not folded. `decide` decides on these
    images from what a network says of them, as the run does; None for a run that was not
    calibrated."""

    images_NSSC: Pixels
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    outputs: Outputs
    decide: Callable[[Outputs], Decisions] | None = None


def prove_variants(
    graphs: Mapping[VariantName, bytes],
    reference: ParityReference,
    on_progress: Callable[[str, int, int], None],
) -> dict[VariantName, VariantInfo]:
    """Measure every variant against the trained network, as ONNX Runtime runs it here.

    Raises `ParityError` for the first one that departs too far.
    """
    infos: dict[VariantName, VariantInfo] = {}
    for name, graph in graphs.items():
        check_graph(graph, f"the variant {name}")  # what no reader of bundles would take
        parity = measure_parity(
            start_onnxruntime(graph, count_cores()),
            reference,
            name,
            lambda d, t, name=name: on_progress(f"Parity of {name}", d, t),  # type: ignore[misc]
        )
        check_parity(parity, name)
        sha256 = hashlib.sha256(graph).hexdigest()
        infos[name] = VariantInfo(
            file=name_graph(name, sha256),
            sha256=sha256,
            bytes=len(graph),
            parity=parity,
        )
    return infos


def measure_parity(
    run: Run,
    reference: ParityReference,
    variant: VariantName,
    on_progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """Run a variant over the reference set and compare it with the trained network."""
    own, parts = reference.outputs, []
    for start in range(0, len(reference.ids), 16):
        parts.append(run(np.ascontiguousarray(reference.images_NSSC[start : start + 16])))
        if on_progress is not None:
            on_progress(min(start + 16, len(reference.ids)), len(reference.ids))
    found = join_outputs(parts)
    disagreement = None
    if own.disagreement_N is not None and found.disagreement_N is not None:
        disagreement = float(np.abs(found.disagreement_N - own.disagreement_N).max())
    if not np.isfinite(found.logits_NK).all() or not np.isfinite(disagreement or 0):
        raise ParityError(
            f"logits of the variant {variant} must be finite",
            f"{int((~np.isfinite(found.logits_NK)).any(axis=1).sum())} images with others",
            "export without it, by `--variants fp32`; nothing was written",
        )
    difference_NK = np.abs(found.logits_NK - own.logits_NK)
    own_NK = compute_probabilities(own.logits_NK)
    other_NK = compute_probabilities(found.logits_NK)
    before, after = own_NK.argmax(axis=1), other_NK.argmax(axis=1)
    top_N2 = np.sort(own_NK, axis=1)[:, -2:]
    changed = tuple(
        ChangedDecision(
            id=reference.ids[i],
            reference=reference.classes[before[i]],
            variant=reference.classes[after[i]],
            margin=float(top_N2[i, 1] - top_N2[i, 0]),
        )
        for i in np.flatnonzero(before != after)
    )
    exact = variant == "fp32"
    outcomes = None
    if reference.decide is not None:
        outcomes = count_changes(reference.decide(own), reference.decide(found))
    return Parity(
        images=len(reference.ids),
        max_logit_difference=float(difference_NK.max()),
        mean_logit_difference=float(difference_NK.mean()),
        max_probability_difference=float(np.abs(other_NK - own_NK).max()),
        max_disagreement_difference=disagreement,
        decisions_changed=len(changed),
        changed=changed,
        max_logit_tolerance=MAX_LOGIT_DIFFERENCE if exact else None,
        max_changed_frac=0.0 if exact else MAX_CHANGED_FRAC,
        outcomes_changed=outcomes,
        max_outcome_frac=None if outcomes is None else 0.0 if exact else MAX_OUTCOME_FRAC,
    )


def count_changes(first: Decisions, second: Decisions) -> int:
    """Return on how many images two decisions differ, in the status or in the label."""
    status_N = np.array(first.status) != np.array(second.status)
    return int((status_N | (first.labels_N != second.labels_N)).sum())


def check_parity(parity: Parity, variant: VariantName) -> None:
    """Raise `ParityError` if a variant departs further from the trained network than it may."""
    allowed = int(np.ceil(parity.max_changed_frac * parity.images))
    limit = parity.max_logit_tolerance
    # Written so that a difference that is not a number is rejected too.
    if limit is not None and not parity.max_logit_difference <= limit:
        raise ParityError(
            f"logits of the variant {variant} must lie within {limit:g} of the trained network",
            f"{parity.max_logit_difference:.3g} on {parity.images:,} images",
            "report this as a bug; nothing was written",
        )
    apart = parity.max_disagreement_difference
    if limit is not None and apart is not None and not apart <= MAX_DISAGREEMENT_DIFFERENCE:
        raise ParityError(
            f"the disagreement of the variant {variant} must lie within"
            f" {MAX_DISAGREEMENT_DIFFERENCE:g} nats of the trained ensemble's",
            f"{apart:.3g} on {parity.images:,} images",
            "report this as a bug; nothing was written",
        )
    if parity.decisions_changed > allowed:
        first = ", ".join(one.id for one in parity.changed[:3])
        raise ParityError(
            f"the variant {variant} may change {allowed} decisions of {parity.images:,} images",
            f"{parity.decisions_changed}, the first {first}",
            "export without it, by `--variants fp32`; nothing was written",
        )
    if parity.outcomes_changed is not None:
        allowed = int(np.ceil((parity.max_outcome_frac or 0) * parity.images))
        if parity.outcomes_changed > allowed:
            raise ParityError(
                f"of {parity.images:,} images the variant {variant} may accept, review or reject"
                f" {allowed} otherwise than the trained network",
                f"{parity.outcomes_changed}",
                "export without it, by `--variants fp32`; nothing was written",
            )


def choose_rows(
    roles_N: NDArray[np.str_], seed: int = 0, *, any_role: bool = False
) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    """Choose what sets the int8 ranges and, apart from it, what parity is measured on.

    Returns a role (`calib`, or `val` where there is none), at most `CALIBRATION_IMAGES` and at
    most half of its rows, and at most `REFERENCE_IMAGES` other rows that did not train the
    network; rows in their order, the same ones for the same seed.

    With `any_role` both are drawn from all rows, and the role is `any role`: parity says how far
    two computations of one network differ, for which an image need not be new to it; that none is
    new must be said beside the figures.

    Raises `DataError` where one of the two would be empty.
    """
    if any_role:
        roles_N = np.full(len(roles_N), "any role")
    role = "any role" if any_role else "calib" if (roles_N == "calib").any() else "val"
    candidates = np.flatnonzero(roles_N == role)
    fit = _draw(candidates, min(CALIBRATION_IMAGES, max(1, len(candidates) // 2)), seed)
    reference = _draw(np.setdiff1d(np.flatnonzero(roles_N != "train"), fit), REFERENCE_IMAGES, seed)
    if not len(fit) or not len(reference):
        raise DataError(
            "a bundle is checked on images that neither trained the network nor set its ranges",
            f"{int((roles_N != 'train').sum())} images outside the role train",
            "train on a split with images in the roles val and test",
        )
    return role, fit, reference


def _draw(index: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    if len(index) <= limit:
        return index
    return np.sort(np.random.default_rng(seed).choice(index, limit, replace=False))
