"""A page of robustness: a network that rejects, with copies of some images in training."""

from tests.builders.robustness import build_robustness

from leukoscope.report.robustness_page import describe_robustness
from leukoscope.trust.notes import Note


def build_page():
    record = build_robustness(
        {"blur": 0.03, "jpeg": 0.0, "stain_weaker": 0.15},
        wrong={"blur": 0.02, "stain_weaker": 0.15},
        detected=[("stain_weaker", 5)],
        model="<script>run</script>",
        data="a/b",
        leakage_status="leaking",
        remarks=(Note("images_in_training", {"n": 40}),),
        warnings=(Note("files_rejected", {"n": 3}),),
    )
    return describe_robustness(record, trailer=("Page: robustness.html",))
