"""The table of sizes, each with its source. A preset is data; the network is `coatnet.CoAtNet`."""

import difflib
from dataclasses import replace

from leukoscope.errors import ConfigError
from leukoscope.models.spec import Activation, CoAtNetSpec, StageSpec


def build_stages(
    depths: tuple[int, ...], widths: tuple[int, ...], head_width: int
) -> tuple[StageSpec, ...]:
    """Return two MBConv stages, then transformers with heads of `head_width` channels."""
    return tuple(
        StageSpec("mbconv", depth, width)
        if position < 2
        else StageSpec("transformer", depth, width, width // head_width)
        for position, (depth, width) in enumerate(zip(depths, widths, strict=True))
    )


def _paper(
    name: str,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    stem_width: int,
    activation: Activation = "gelu",
    se_ratio: float = 0.25,
) -> CoAtNetSpec:
    return CoAtNetSpec(
        name=name,
        family="paper",
        stem_width=stem_width,
        stages=build_stages(depths, widths, head_width=32),
        activation=activation,
        se_ratio=se_ratio,
        stride_place="expand",
        norm_eps=1e-5,
        norm_momentum=0.1,
    )


# "Bridging AI and Hematology": blocks 2, 2, 3, 5, 2, channels 64 to 768, heads 1, 1, 2, 4, 8 (96
# channels per head; the first two stages are convolutions and have none). Keras' defaults for
# batch norm (epsilon 1e-3, momentum 0.99, here 1 - 0.99) and layer norm (epsilon 1e-3).
_HEMATOLOGY = CoAtNetSpec(
    name="coatnet-hematology",
    family="hematology",
    stem_width=64,
    stages=(
        StageSpec("mbconv", 2, 64),
        StageSpec("mbconv", 2, 96),
        StageSpec("transformer", 3, 192, 2),
        StageSpec("transformer", 5, 384, 4),
        StageSpec("transformer", 2, 768, 8),
    ),
    activation="silu",
    se_ratio=0.0,
    stride_place="depthwise",
    norm_eps=1e-3,
    norm_momentum=0.01,
    dropout=0.1,
    head_dropout=0.2,
    n_classes=4,
)

PRESETS: dict[str, CoAtNetSpec] = {
    spec.name: spec
    for spec in (
        _HEMATOLOGY,
        # Dai et al. 2021, table 3.
        _paper("coatnet-0", (2, 3, 5, 2), (96, 192, 384, 768), 64),
        _paper("coatnet-1", (2, 6, 14, 2), (96, 192, 384, 768), 64),
        _paper("coatnet-2", (2, 6, 14, 2), (128, 256, 512, 1024), 128),
        _paper("coatnet-3", (2, 6, 14, 2), (192, 384, 768, 1536), 192),
        _paper("coatnet-4", (2, 12, 28, 2), (192, 384, 768, 1536), 192),
        # Ours, for CPUs: the paper's layout, thin where the map is large and wide where it is
        # small, with SiLU and, in pico, no squeeze-excite. Rates: docs/experiments/004.
        _paper("coatnet-pico", (1, 2, 3, 1), (32, 64, 160, 256), 16, "silu", 0.0),
        _paper("coatnet-nano", (2, 3, 5, 2), (64, 128, 224, 384), 32, "silu"),
    )
}


def build_spec(
    preset: str, n_classes: int, image_size: int, *, stochastic_depth: float | None = None
) -> CoAtNetSpec:
    """Return a preset's spec for a task; without a rate of stochastic depth the preset's own stays.

    Raises `ConfigError` for an unknown preset (naming the nearest) or an impossible size.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        raise ConfigError(
            f"model.preset must be one of {', '.join(PRESETS)}",
            repr(preset) + (f" (did you mean {near[0]!r}?)" if near else ""),
            "choose one of these",
        )
    spec = replace(PRESETS[preset], n_classes=n_classes, image_size=image_size)
    if stochastic_depth is not None:
        spec = replace(spec, stochastic_depth=stochastic_depth)
    spec.check()
    return spec
