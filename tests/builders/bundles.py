"""A bundle whose answers can be worked out by hand: logits are mean colours."""

import hashlib

import numpy as np
import pytest
from tests.builders.images import draw_disc
from tests.builders.trust import CHOICE

from leukoscope.config import InputConfig, SavedRecipe, TrustConfig, load_recipe
from leukoscope.deploy.bundle import (
    BundleInfo,
    BundleProvenance,
    Parity,
    ParitySet,
    VariantInfo,
    load_bundle,
    name_graph,
    save_bundle,
)
from leukoscope.runfolder import Provenance, RunProvenance
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.conformal import fit_sets
from leukoscope.trust.decision import Policy
from leukoscope.trust.novelty import fit_novelty
from leukoscope.trust.quality import fit_quality, measure_quality
from leukoscope.trust.record import TrustInfo, pack_arrays

CLASSES = ("red", "green", "blue")

COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


SIDE = 32

MADE = Provenance("0.1", "3.11", "Linux", 2, {"numpy": "2"}, ("leukoscope", "train"), "2026-01-01")
ORIGIN = BundleProvenance(
    exported=MADE,
    trained=RunProvenance(
        **vars(MADE), recipe_hash="0", split_sha256="0" * 64, seeds=(42,), packs=None
    ),
    recipe=SavedRecipe.of(load_recipe("quick")),
    weights_sha256="0" * 64,
)
"""Where the bundle comes from: invented."""


def build_mean_graph(side=SIDE, change=None):
    """logits = mean of each channel / 25.5, embedding = mean of each channel."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weight"], ["logits"]),
    ]
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32) / 25.5, "weight")
    axes = numpy_helper.from_array(np.array([1, 2]), "axes")
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [weight, axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if change is not None:
        change(model)
    else:
        onnx.checker.check_model(model)
    return model.SerializeToString()


def describe(graph, **changes):
    parity = Parity(
        images=10,
        max_logit_difference=1e-6,
        mean_logit_difference=1e-7,
        max_probability_difference=0.0,
        decisions_changed=0,
        changed=(),
        max_changed_frac=0.0,
    )
    sha256 = hashlib.sha256(graph).hexdigest()
    variant = VariantInfo(
        file=name_graph("fp32", sha256),
        sha256=sha256,
        bytes=len(graph),
        parity=parity,
    )
    content = {
        "network": "means",
        "classes": CLASSES,
        "preprocessing": InputConfig(image_size=SIDE),
        "opset": 18,
        "default": "fp32",
        "variants": {"fp32": variant},
        "parity_set": ParitySet(roles={"test": 10}),
        "provenance": ORIGIN,
    }
    return BundleInfo(**(content | changes))


def save_mean_bundle(folder):
    """Save the bundle of `build_mean_graph`, with one variant, into a folder below; return it."""
    graph = build_mean_graph()
    save_bundle(describe(graph), {"fp32": graph}, folder / "bundle")
    return folder / "bundle"


def find_graph(bundle):
    """Return where the default graph of a bundle lies."""
    info = load_bundle(bundle).info
    return bundle / info.variants[info.default].file


def save_calibrated_bundle(folder):
    """The same with decision thresholds, fitted to discs in the colours of the classes."""
    images = np.stack([np.asarray(draw_disc(COLOURS[k % 3], k, SIDE)) for k in range(90)])
    labels = np.arange(90) % 3
    embeddings = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    quality = measure_quality(images)
    probabilities = np.exp(embeddings / 25.5)
    probabilities /= probabilities.sum(1, keepdims=True)
    novelty = fit_novelty(embeddings, labels)
    policy = Policy(
        classes=CLASSES,
        calibration=Calibration(method="temperature", temperature=0.5),
        sets=fit_sets(probabilities, labels, CLASSES),
        quality=fit_quality(quality, quality, 0.02),
        max_distance=float(novelty.compute_distance(embeddings).max() * 2),
        min_confidence=0.5,
    )
    arrays = pack_arrays(novelty, embeddings, quality)
    info = TrustInfo(
        config=TrustConfig(target_accuracy=0.6), policy=policy, n_train=90, n_calib=90,
        n_calib_sources=90, choice=CHOICE, notes=(), weights_sha256="0" * 64,
        arrays_sha256=hashlib.sha256(arrays).hexdigest(),
    )  # fmt: skip
    graph = build_mean_graph()
    save_bundle(describe(graph, trust=info), {"fp32": graph}, folder / "bundle", arrays)
    return folder / "bundle"
