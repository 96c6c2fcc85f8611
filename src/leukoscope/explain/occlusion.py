"""Occlusion: what the network loses when a patch of the image is hidden.

It needs no gradients, so it works on a bundle as on a trained network, without PyTorch.

Axes: N images, S side, C colour (RGB), K classes. A `Score` is anything that turns uint8 images
`(N, S, S, 3)` into logits `(N, K)`. What this file does not do: it tests no map (`faithfulness`).
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import ConfigError

Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

BATCH_SIZE = 32


def compute_background(image_SSC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colour of the empty field of one image, uint8 `(3,)`: the median of the brightest
    quarter of its pixels. On a smear light passes where nothing lies.

    >>> image = np.full((8, 8, 3), 230, np.uint8)
    >>> image[2:6, 2:6] = 90
    >>> compute_background(image).tolist()
    [230, 230, 230]
    """
    pixels_PC = image_SSC.reshape(-1, 3)
    light_P = pixels_PC.sum(axis=1, dtype=np.int64)
    bright_PC = pixels_PC[light_P >= np.quantile(light_P, 0.75)]
    return np.asarray(np.rint(np.median(bright_PC, axis=0)), dtype=np.uint8)


def score_in_batches(
    score: Score, images: Iterator[NDArray[np.uint8]], batch_size: int = BATCH_SIZE
) -> NDArray[np.float64]:
    """Return the logits `(N, K)` of images `(S, S, 3)` that are made one by one, a batch in memory
    at a time."""
    found, batch = [], []
    for image_SSC in images:
        batch.append(image_SSC)
        if len(batch) == batch_size:
            found.append(score(np.stack(batch)))
            batch = []
    if batch:
        found.append(score(np.stack(batch)))
    return np.concatenate(found).astype(np.float64)


def compute_occlusion(
    score: Score,
    image_SSC: NDArray[np.uint8],
    target: int,
    *,
    window_px: int | None = None,
    stride_px: int | None = None,
) -> NDArray[np.float32]:
    """Return how far hiding each place lowers the logit of one class: float32 `(S, S)`, signed.

    A square of `window_px` (default: a sixth of the side) slides by `stride_px` (half the window)
    and is painted in the colour of the empty field (`compute_background`); the last square of a
    row ends at the border. A pixel gets the mean drop over the squares that held it.
    With the default a white cell of a third of the side is hidden piece by piece, in 145 calls.

    Raises `ConfigError` for a window or stride that does not fit the image.

    Source: Zeiler and Fergus 2014, section 2.2. Deviation: the fill is the background instead of
    grey, since grey is a colour that no smear has; drops are of the logit, which does not
    saturate as a probability of 0.999 does. The mean over squares is that of captum's
    `Occlusion`, with which the tests compare.
    """
    side = len(image_SSC)
    window = window_px if window_px is not None else max(1, side // 6)
    stride = stride_px if stride_px is not None else max(1, window // 2)
    if not (1 <= window <= side and 1 <= stride <= window):
        raise ConfigError(
            f"an occlusion window must have 1 to {side} pixels, and a stride of 1 to its own size",
            f"window {window}, stride {stride}",
            "leave both out",
        )
    fill_C = compute_background(image_SSC)
    starts = [*range(0, side - window, stride), side - window]
    places = [(y, x) for y in starts for x in starts]

    def hide() -> Iterator[NDArray[np.uint8]]:
        yield image_SSC
        for y, x in places:
            hidden_SSC = image_SSC.copy()
            hidden_SSC[y : y + window, x : x + window] = fill_C
            yield hidden_SSC

    logits_N = score_in_batches(score, hide())[:, target]
    sum_SS, count_SS = np.zeros((side, side)), np.zeros((side, side))
    for (y, x), logit in zip(places, logits_N[1:], strict=True):
        sum_SS[y : y + window, x : x + window] += logits_N[0] - logit
        count_SS[y : y + window, x : x + window] += 1
    return np.asarray(sum_SS / count_SS, dtype=np.float32)
