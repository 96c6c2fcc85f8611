"""Batched augmentation on the device: one affine warp, stain, brightness, blur, mixing.

Axes: B batch, C colour channel (RGB), H = W side, K classes. Images are in -1 to 1. All random
numbers come from the generator that is handed in, drawn on the CPU, so that a seed means the same
on every device. On a CPU the warp runs on 8-bit pixels before they become numbers (`warp_pixels`,
OpenCV), many times faster than on tensors; both do the same to a fraction of a grey level. What
this file does not do: it is never used outside training.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leukoscope.config import AugmentConfig
from leukoscope.data.images import Pixels
from leukoscope.data.loader import prepare_input


def augment_pixels(
    pixels_BHWC: Tensor, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Return randomly changed images: uint8 `(B, S, S, 3)` in, the network's input out, float32
    `(B, 3, S, S)`, -1 to 1, on the same device."""
    if pixels_BHWC.device.type != "cpu":
        return augment_images(prepare_input(pixels_BHWC), config, generator)
    if _moves(config):
        affine_B23 = build_affine(len(pixels_BHWC), config, generator)
        pixels_BHWC = torch.from_numpy(warp_pixels(pixels_BHWC.numpy(), affine_B23))
    out = _change_colour(prepare_input(pixels_BHWC), config, generator)
    return _blur(out, config, generator)


def augment_images(
    images_BCHW: Tensor, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Return randomly changed copies, same shape, dtype and range (-1 to 1).

    With every amount at 0 the input itself comes back.
    """
    out = images_BCHW
    if _moves(config):
        out = warp_images(out, build_affine(len(out), config, generator))
    out = _change_colour(out, config, generator)
    return _blur(out, config, generator)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def build_affine(n: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Draw `n` affine maps from output to input coordinates (both -1 to 1): `(n, 2, 3)`.

    Order, from the source's view: shift, flip, shear, scale, rotate.
    """
    angle = _uniform((n,), -1, 1, generator) * math.radians(config.rotate_deg)
    shear = torch.tan(_uniform((n,), -1, 1, generator) * math.radians(config.shear_deg))
    scale = torch.exp(_uniform((n,), -1, 1, generator) * math.log1p(config.scale_frac))
    # A shift of one side is 2 in these coordinates.
    shift = _uniform((n, 2), -1, 1, generator) * 2 * config.shift_frac
    flips = torch.ones(n, 2)
    if config.flip:
        flips = torch.randint(0, 2, (n, 2), generator=generator).float() * 2 - 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    shearing = torch.eye(2).repeat(n, 1, 1)
    shearing[:, 0, 1] = shear
    matrix = torch.diag_embed(flips) @ shearing @ rotation
    return torch.cat([matrix, shift[:, :, None]], dim=2)


def _moves(config: AugmentConfig) -> bool:
    amounts = (config.rotate_deg, config.shift_frac, config.scale_frac, config.shear_deg)
    return config.flip or any(amounts)


def warp_images(images_BCHW: Tensor, affine_B23: Tensor) -> Tensor:
    """Return images moved by maps of `build_affine`, bilinearly; same shape and dtype.

    Beyond the edge the image is reflected: a smear goes on beyond the crop, black corners do not
    exist on a slide.
    """
    affine_B23 = affine_B23.to(images_BCHW.device, images_BCHW.dtype)
    grid = F.affine_grid(affine_B23, list(images_BCHW.shape), align_corners=False)
    return F.grid_sample(images_BCHW, grid, padding_mode="reflection", align_corners=False)


def warp_pixels(pixels_BHWC: Pixels, affine_B23: Tensor) -> Pixels:
    """Return what `warp_images` does, on uint8 `(B, S, S, 3)` and rounded to it, by OpenCV.

    OpenCV interpolates in steps of 1/32 pixel: a pixel on a sharp edge may differ by some levels,
    others by rounding.
    """
    import cv2

    side = pixels_BHWC.shape[1]
    matrices_B22 = affine_B23[:, :, :2].numpy().astype(np.float64)
    # From coordinates of -1 to 1 over the edges of the image to the centres of its pixels.
    shifts_B2 = affine_B23[:, :, 2].numpy() + 1 + matrices_B22.sum(axis=2) * (1 / side - 1)
    maps_B23 = np.concatenate([matrices_B22, (shifts_B2 * side / 2 - 0.5)[:, :, None]], axis=2)
    out_BHWC = np.empty_like(pixels_BHWC)
    for image_HWC, map_23, out_HWC in zip(pixels_BHWC, maps_B23, out_BHWC, strict=True):
        cv2.warpAffine(
            image_HWC,
            map_23,
            (side, side),
            dst=out_HWC,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    return out_BHWC


def _change_colour(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    n, device = len(images), images.device
    if config.stain:
        # A stain's strength is a gain in optical density (Beer-Lambert), per colour channel.
        gain = _uniform((n, 3, 1, 1), 1 - config.stain, 1 + config.stain, generator).to(device)
        transmitted = ((images + 1) / 2).clamp(1 / 255, 1)
        images = transmitted**gain * 2 - 1
    if config.brightness:
        shift = _uniform((n, 1, 1, 1), -config.brightness, config.brightness, generator)
        images = (images + shift.to(device)).clamp(-1, 1)
    return images


def _blur(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    if not config.blur_px or torch.rand((), generator=generator) < 0.5:
        return images
    # Below 0.01 the kernel is a single 1 anyway; 0 would divide by 0.
    sigma = max(0.01, float(_uniform((), 0.1, 1, generator)) * config.blur_px)
    reach = max(1, min(math.ceil(3 * sigma), images.shape[-1] - 1))
    x = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(images, [reach] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def mix_images(
    images_BCHW: Tensor, targets_BK: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image with another of the batch, by mixup or cutmix (one of the two per batch,
    where both are on), and its target (class probabilities) in the same share."""
    choices = [name for name in ("mixup", "cutmix") if getattr(config, name)]
    if not choices:
        return images_BCHW, targets_BK
    choice = choices[int(torch.randint(len(choices), (), generator=generator))]
    share = _draw_beta(getattr(config, choice), generator)
    order = torch.randperm(len(images_BCHW), generator=generator)
    device = images_BCHW.device
    others, targets = images_BCHW[order.to(device)], targets_BK[order.to(device)]
    if choice == "mixup":
        images_BCHW = images_BCHW * share + others * (1 - share)
    else:
        side = images_BCHW.shape[-1]
        cut = round(side * math.sqrt(1 - share))
        y, x = torch.randint(0, side - cut + 1, (2,), generator=generator).tolist()
        images_BCHW = images_BCHW.clone()
        images_BCHW[..., y : y + cut, x : x + cut] = others[..., y : y + cut, x : x + cut]
        share = 1 - (cut / side) ** 2
    return images_BCHW, targets_BK * share + targets * (1 - share)


def _draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha) by way of numpy; torch's own takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
