"""What is said of a bundle after its export: what each variant changes.

What this file does not do: it measures nothing (`deploy.export`).
"""

from leukoscope.deploy.bundle import BundleInfo, ParitySet
from leukoscope.report.page import Banner, Column, Page, Text, build_table
from leukoscope.text import DASH, format_count


def describe_bundle(info: BundleInfo, trailer: tuple[str, ...] = ()) -> Page:
    """Describe the variants of a bundle, measured against the trained network."""
    names = ("Size", "Largest", "Mean", "Relabelled", "Decided otherwise")
    table = build_table(
        (Column("Variant", is_text=True), *names),
        (
            (
                f"{name} (default)" if name == info.default else name,
                f"{variant.bytes / 1e6:.1f} MB",
                f"{variant.parity.max_logit_difference:.2g}",
                f"{variant.parity.mean_logit_difference:.2g}",
                f"{variant.parity.decisions_changed:,} of {variant.parity.images:,}",
                DASH
                if variant.parity.outcomes_changed is None
                else f"{variant.parity.outcomes_changed:,}",
            )
            for name, variant in info.variants.items()
        ),
        "Parity with the trained network (float32 PyTorch)",
    )
    meaning = (
        "Largest and mean difference of logits, images whose most probable class changed, and"
        " images that would be accepted, reviewed or rejected otherwise, or get another label: on"
        f" {describe_parity_set(info.parity_set)}."
    )
    uncalibrated = (
        "Without decision thresholds: the run was not calibrated, so this bundle never rejects."
        " `leukoscope calibrate RUN` first, then export again."
    )
    banner = () if info.trust else (Banner("caution", "", (Text(uncalibrated),)),)
    return Page(f"Bundle of {info.network}", (table, Text(meaning), *banner), (), trailer)


def describe_parity_set(images: ParitySet) -> str:
    """Say which images parity was measured on, as a part of a sentence."""
    roles = ", ".join(f"{n:,} {role}" for role, n in images.roles.items())
    basis = (
        "nearly all of which trained a member"
        if images.in_training
        else "that did not train the network"
    )
    text = f"{format_count(sum(images.roles.values()), 'image')} {basis} ({roles})"
    if images.n_int8:
        role = images.int8_role or "any role"
        text += f"; int8 ranges from {images.n_int8:,} others of {role}"
    return text
