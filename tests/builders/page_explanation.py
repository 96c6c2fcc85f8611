"""A page of explanations: an ensemble's first member, four methods of which one holds."""

import numpy as np
from tests.builders.explanation import (
    build_explanation,
    build_image,
    build_result,
    build_unreadable,
)

from leukoscope.report.explain_page import describe_explanation
from leukoscope.report.page import Picture


def build_page():
    area = np.linspace(0.1, 0.2, 30)
    close = {"deletion": area + np.tile([-0.3, 0.4], 15), "insertion": 1 - area + 0.05}
    results = (
        build_result(correlation={"head": np.full(30, 0.9), "stem": np.full(30, 0.4)}),
        build_result("gradients", baselines={"random": close, "centre": close}, ceiling=[2.0] * 30),
        build_result("occlusion", correlation={}),
        build_result("attention", localisation=[2.0] * 30),
    )
    images = (
        build_image(0, label="Blast; L1", target="a/b", missed=0.31),
        build_image(1, path="b/Blast (L1).png"),
    )
    record = build_explanation(
        results,
        model="runs/<script>",
        n_members=3,
        n_without_box=2,
        n_same_name=1,
        images=images,
        unreadable=(build_unreadable(),),
    )
    drawn = {"overlays/0.png": Picture(b"png", "an image"), "curves": Picture(b"png", "curves")}
    return describe_explanation(record, drawn, ("Pictures: explained/explain.html",))
