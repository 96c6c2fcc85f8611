"""A bundle of two variants that was never calibrated."""

from tests.builders.bundles import describe

from leukoscope.deploy.bundle import ParitySet
from leukoscope.report.bundle_page import describe_bundle


def build_page():
    info = describe(b"a graph")
    exact = info.variants["fp32"]
    changes = {"max_logit_difference": 0.0312, "decisions_changed": 1, "outcomes_changed": 2}
    parity = exact.parity.model_copy(update=changes)
    int8 = exact.model_copy(update={"bytes": 2_345_678, "parity": parity})
    used = ParitySet(roles={"calib": 3, "test": 7}, n_int8=128, int8_role="calib")
    variants = {"fp32": exact, "int8": int8}
    changed = info.model_copy(update={"variants": variants, "parity_set": used})
    return describe_bundle(changed, ("Bundle: bundle. Predict: leukoscope predict BUNDLE IMAGES",))
