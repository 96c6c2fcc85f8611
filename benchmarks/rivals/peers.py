"""What people would use instead, written as they would write it: the reference network, plainly.

`build_plain` is a straightforward PyTorch rewrite of the published notebook's network (no relative
bias, as there); `build_keras` the notebook's own construction in Keras. Both have the sizes of
`coatnet-hematology`. They are made to be measured against, not to be used.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS, DEPTHS, HEADS = (64, 96, 192, 384, 768), (2, 2, 3, 5, 2), (0, 0, 2, 4, 8)
CLASSES = 4


class PlainMBConv(nn.Module):
    """The reference's convolution block; shape in = shape out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3, momentum=0.01),
            nn.SiLU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3, momentum=0.01),
            nn.SiLU(),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.01),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        out: Tensor = x + self.body(x)
        return out


class PlainBlock(nn.Module):
    """The reference's transformer block, without a relative term; shape in = shape out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = (nn.LayerNorm(width, eps=1e-3) for _ in range(2))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(4 * width, width),
            nn.Dropout(0.1),
        )
        self.drop = nn.Dropout(0.1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's output."""
        b, c, h, w = maps.shape
        x = maps.flatten(2).transpose(1, 2)
        y = self.first(x)
        q, k, v = (
            f(y).reshape(b, h * w, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).reshape(b, h * w, c)))
        x = x + self.mlp(self.second(x))
        out: Tensor = x.transpose(1, 2).reshape(b, c, h, w)
        return out


def load_torchvision() -> None:
    """Make torchvision importable, and timm with it, beside a CPU build of PyTorch.

    The compiled operators of torchvision's build on the plain index do not load there, and its
    import fails over their names. The names are enough: nothing that is measured calls them.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a) -> Tensor")
        _KEPT.append(library)  # a library that is collected takes its names along


_KEPT: list[Any] = []


def build_plain() -> nn.Module:
    """The reference network in plain PyTorch: float `(B, 3, S, S)` in, logits `(B, 4)` out."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3),
        nn.BatchNorm2d(64, eps=1e-3, momentum=0.01),
    ]
    width = 64
    for position, (wide, depth, heads) in enumerate(zip(WIDTHS, DEPTHS, HEADS, strict=True)):
        if position:
            layers.append(nn.Conv2d(width, wide, 3, stride=2, padding=1))
            width = wide
        layers += [PlainBlock(width, heads) if heads else PlainMBConv(width) for _ in range(depth)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, CLASSES)]
    return nn.Sequential(*layers)


def build_keras(size: int) -> object:
    """The notebook's construction for images of `size` pixels; needs tensorflow-cpu."""
    import keras
    from keras import layers

    def mbconv(x: Any, width: int) -> Any:
        wide = 4 * width
        y = layers.Conv2D(wide, 1, use_bias=False)(x)
        y = layers.Activation("swish")(layers.BatchNormalization()(y))
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.Activation("swish")(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(y))
        return layers.Add()([x, y])

    def block(x: Any, width: int, heads: int) -> Any:
        _, h, w, _ = x.shape
        tokens = layers.Reshape((h * w, width))(x)
        y = layers.LayerNormalization(epsilon=1e-3)(tokens)
        y = layers.MultiHeadAttention(heads, width // heads)(y, y)
        tokens = layers.Add()([tokens, layers.Dropout(0.1)(y)])
        y = layers.LayerNormalization(epsilon=1e-3)(tokens)
        y = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
        tokens = layers.Add()([tokens, layers.Dropout(0.1)(y)])
        return layers.Reshape((h, w, width))(tokens)

    images = layers.Input((size, size, 3))
    x = layers.BatchNormalization()(layers.Conv2D(64, 7, strides=2, padding="same")(images))
    for position, (width, depth, heads) in enumerate(zip(WIDTHS, DEPTHS, HEADS, strict=True)):
        if position:
            x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
        for _ in range(depth):
            x = block(x, width, heads) if heads else mbconv(x, width)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    out = layers.Dense(CLASSES, activation="softmax", dtype="float32")(x)
    return keras.Model(images, out)
