"""Invented explanations: measured figures of methods that hold, fail or were hardly tested."""

import numpy as np
from tests.builders.bundles import MADE

from leukoscope.explain.faithfulness import Measured, evaluate_method
from leukoscope.explain.record import ExplainedImage, Explanation, UnreadableImage
from leukoscope.runfolder import ModelProvenance

PROVENANCE = ModelProvenance(**vars(MADE), weights_sha256="a" * 64)


def build_measured(n=30, **changes):
    """Figures of a method that holds, some of them changed."""
    area = np.linspace(0.1, 0.2, n)
    bad = np.full(n, 0.9)
    worse = {"deletion": bad, "insertion": 1 - bad}
    content = {
        "deletion": area, "insertion": 1 - area, "baselines": {"random": worse, "centre": worse},
        "correlation": {"head": np.full(n, 0.5), "stem": np.linspace(-0.1, 0.1, n)},
        "localisation": [4.0] * n, "ceiling": [10.0] * n,
    }  # fmt: skip
    content |= changes
    names = [str(i) for i in range(n)]
    boxed = names[: len(content["localisation"])]
    return Measured(**({"sources": names, "boxed_sources": boxed} | content))


def build_result(method="gradcam", n=30, **changes):
    return evaluate_method(method, build_measured(n, **changes))


def build_image(k=0, **changes):
    given = {
        "path": f"cells/{k}.png", "label": "neutrophil", "confidence": 0.9, "decision": "accepted",
        "target": "neutrophil", "picture": f"overlays/{k}.png",
    }  # fmt: skip
    return ExplainedImage(**(given | changes))


def build_explanation(results=None, **changes):
    """An explanation of a run by Grad-CAM and occlusion."""
    results = (build_result(), build_result("occlusion")) if results is None else tuple(results)
    given = {
        "model": "runs/first", "is_bundle": False, "n_members": 1, "stage": "stage_2",
        "methods": tuple(one.method for one in results), "results": results,
        "n_evaluated": results[0].n_images if results else 0,
        "n_sources": results[0].n_images if results else 0, "n_without_box": 0,
        "n_same_name": 0, "images": (build_image(0), build_image(1)), "unreadable": (),
        "provenance": PROVENANCE,
    }  # fmt: skip
    return Explanation(**(given | changes))


def build_unreadable(path="<script>.jpg"):
    return UnreadableImage(path, "not_an_image", "0 bytes")
