"""The network: a spec in, logits and named intermediates out.

Axes: B batch, C channels, H height, W width, K classes, D embedding width. What this file does
not do: it knows nothing of files, labels, training or preprocessing beyond the value range.
"""

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from leukoscope.models.attention import RelativeAttention
from leukoscope.models.blocks import MBConv, TransformerBlock, recompute_block
from leukoscope.models.spec import CoAtNetSpec, StageSpec


class CoAtNet(nn.Module):
    """Convolution and attention network for images in the range -1 to 1.

    `forward(images_BCHW)` returns `(logits_BK, intermediates)`; the intermediates are, in order:
    "stem", "stage_1" ... (maps `(B, C, H, W)`), "embedding" `(B, D)` (global average of the last
    map, normalised where the family has a final norm), "logits".

    With `recompute` set, training keeps only the inputs of the convolution blocks, whose maps fill
    most of the memory, and computes their insides again in the backward pass.

    Deviation: the paper does not say whether a norm follows the last stage; pre-norm residual
    streams need one, so the paper family has a layer norm before the pooling's linear layer.
    """

    def __init__(self, spec: CoAtNetSpec) -> None:
        super().__init__()
        spec.check()
        self.spec = spec
        self.recompute = False
        paper = spec.family == "paper"
        map_px = spec.image_size // 2
        if paper:
            self.stem = nn.Sequential(
                nn.Conv2d(3, spec.stem_width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(spec.stem_width, eps=spec.norm_eps, momentum=spec.norm_momentum),
                nn.GELU() if spec.activation == "gelu" else nn.SiLU(),
                nn.Conv2d(spec.stem_width, spec.stem_width, 3, padding=1),
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv2d(3, spec.stem_width, 7, stride=2, padding=3),
                nn.BatchNorm2d(spec.stem_width, eps=spec.norm_eps, momentum=spec.norm_momentum),
            )
        n_blocks = sum(stage.depth for stage in spec.stages)
        rates = iter(spec.stochastic_depth * i / max(1, n_blocks - 1) for i in range(n_blocks))
        self.stages = nn.ModuleList()
        width = spec.stem_width
        for position, stage in enumerate(spec.stages):
            modules: list[nn.Module] = []
            halve = paper or position > 0
            if halve:
                map_px //= 2
            if halve and not paper:
                modules.append(nn.Conv2d(width, stage.width, 3, stride=2, padding=1))
                width = stage.width
            for block in range(stage.depth):
                stride = 2 if paper and block == 0 else 1
                modules.append(self._build_block(stage, width, stride, map_px, next(rates)))
                width = stage.width
            self.stages.append(nn.Sequential(*modules))
        self.norm = nn.LayerNorm(width, eps=spec.norm_eps) if paper else nn.Identity()
        self.head_dropout = nn.Dropout(spec.head_dropout)
        self.head = nn.Linear(width, spec.n_classes)
        draw = _draw_paper_weights if paper else _draw_keras_weights
        self.apply(draw)

    def _build_block(
        self, stage: StageSpec, width: int, stride: int, map_px: int, rate: float
    ) -> nn.Module:
        spec = self.spec
        if stage.kind == "transformer":
            return TransformerBlock(
                width,
                stage.width,
                stage.heads,
                (map_px, map_px),
                stride=stride,
                dropout=spec.dropout,
                stochastic_depth=rate,
                norm_eps=spec.norm_eps,
            )
        paper = spec.family == "paper"
        expanded = 4 * (stage.width if paper else width)
        return MBConv(
            width,
            stage.width,
            expanded,
            stride=stride,
            activation=spec.activation,
            pre_norm=paper,
            se_width=round(spec.se_ratio * stage.width),
            stride_place=spec.stride_place,
            stochastic_depth=rate,
            norm_eps=spec.norm_eps,
            norm_momentum=spec.norm_momentum,
        )

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits `(B, K)` and the named intermediates; see the class."""
        out: dict[str, Tensor] = {}
        maps_BCHW = out["stem"] = self.stem(images_BCHW)
        for position, stage in enumerate(self.stages, start=1):
            for block in cast(nn.Sequential, stage):
                if self.recompute and self.training and isinstance(block, MBConv):
                    maps_BCHW = recompute_block(block, maps_BCHW)
                else:
                    maps_BCHW = block(maps_BCHW)
            out[f"stage_{position}"] = maps_BCHW
        out["embedding"] = self.norm(maps_BCHW.mean((2, 3)))
        out["logits"] = self.head(self.head_dropout(out["embedding"]))
        return out["logits"], out


def _draw_paper_weights(module: nn.Module) -> None:
    """Start convolutions with He's normal distribution by fan-out and linear layers with 0.02.

    The paper names no start; this is what EfficientNet and vision transformers take. The fan-out of
    a depthwise convolution is that of one group: each output belongs to one channel only, and
    counted as dense it would start at 0.03 instead of 0.47 (docs/experiments/041).
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        fan_out = height * width * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    _clear_bias(module)


def _draw_keras_weights(module: nn.Module) -> None:
    """Start as Keras does where nothing is said, as the published notebook does not: Glorot's
    uniform distribution, biases at 0. Queries, keys and values are one matrix here and three
    layers there, so each third is drawn by itself. A depthwise kernel counts 9 C + 9 fans in both.
    """
    if isinstance(module, RelativeAttention):
        for third in module.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(third)
    elif isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    _clear_bias(module)


def _clear_bias(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def count_multiply_adds(spec: CoAtNetSpec, image_size: int | None = None) -> int:
    """Return the multiply-adds of one image, attention's two matrix products included; norms,
    activations and pooling are not counted. Runs on the meta device: no memory, no arithmetic."""
    size = image_size or spec.image_size
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            per_pixel = module.weight.numel()
            total += per_pixel * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            tokens = inputs[0].numel() // inputs[0].shape[0] // inputs[0].shape[-1]
            total += module.weight.numel() * tokens
        elif isinstance(module, RelativeAttention):
            n, width = output.shape[1:]
            total += 2 * n * n * width

    with torch.device("meta"):
        network = CoAtNet(replace(spec, image_size=size)).eval()
        for module in network.modules():
            module.register_forward_hook(add)
        network(torch.empty(1, 3, size, size))
    return total
