"""A page of robustness: a network that rejects, with copies of some images in training."""

from tests.builders.robustness import build_robustness

from leukoscope.report.robustness_page import describe_robustness


def build_page():
    record = build_robustness(
        {"blur": 0.03, "jpeg": 0.0, "stain_weaker": 0.15},
        wrong={"blur": 0.02, "stain_weaker": 0.15},
        detected=[("stain_weaker", 5)],
        model="<script>run</script>",
        data="a/b",
        leakage_status="leaking",
        sentences=("40 images also lie in training or validation.",),
        warnings=("3 files were rejected; `leukoscope data scan` says why.",),
    )
    return describe_robustness(record, trailer=("Page: robustness.html",))
