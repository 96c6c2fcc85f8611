"""What decides the shape of a network, as data: stages, a CoAtNet, an ensemble.

What this file does not do: it builds nothing (`coatnet`, `ensemble`) and knows no sizes
(`presets`). It needs no PyTorch.
"""

from dataclasses import dataclass
from typing import Literal

from leukoscope.errors import ConfigError

Activation = Literal["silu", "gelu"]
StridePlace = Literal["expand", "depthwise"]
BlockKind = Literal["mbconv", "transformer"]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: `depth` blocks of one kind at one width. `heads` counts for transformers only."""

    kind: BlockKind
    depth: int
    width: int
    heads: int = 0


@dataclass(frozen=True, slots=True)
class CoAtNetSpec:
    """Everything that decides the shape of a CoAtNet. Sizes with their sources: `presets`.

    `family` "paper" is Dai et al. 2021: a stem of two 3x3 convolutions, and every stage halves
    the map inside its first block. "hematology" is the reference system's network: a stem of one
    7x7 convolution, the first stage at the stem's resolution, and a strided 3x3 convolution
    between stages.
    """

    name: str
    family: Literal["paper", "hematology"]
    stem_width: int
    stages: tuple[StageSpec, ...]
    activation: Activation
    se_ratio: float
    stride_place: StridePlace
    norm_eps: float
    norm_momentum: float
    dropout: float = 0.0
    head_dropout: float = 0.0
    stochastic_depth: float = 0.0
    n_classes: int = 1000
    image_size: int = 224

    def check(self) -> None:
        """Raise `ConfigError` unless a network can be built from this spec."""
        if self.image_size < 32 or self.image_size % 32:
            raise ConfigError(
                "image_size must be a positive multiple of 32, since the network halves it 5 times",
                f"{self.image_size}",
                f"use {max(32, round(self.image_size / 32) * 32)}",
            )
        if self.n_classes < 2:
            raise ConfigError(
                "a classifier needs at least 2 classes", f"{self.n_classes}", "add a second class"
            )


ViewCount = Literal[1, 4, 8]
"""1: the image as it is. 4: its flips. 8: flips and quarter turns (the dihedral group)."""

VIEW_COUNTS: tuple[ViewCount, ...] = (1, 4, 8)


@dataclass(frozen=True, slots=True)
class EnsembleSpec:
    """Everything that decides the shape of an ensemble; the first three as in `CoAtNetSpec`."""

    name: str
    n_classes: int
    image_size: int
    views: ViewCount
    members: tuple[CoAtNetSpec, ...]
