"""A picture that many tests of pages show."""

import numpy as np
from scipy import ndimage


def paint(seed, size=(48, 48)):
    """A smooth coloured picture without symmetry: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    rough_HWC = rng.normal(size=(size[1], size[0], 3))
    smooth_HWC = ndimage.gaussian_filter(rough_HWC, (4, 4, 0))
    low, high = smooth_HWC.min(), smooth_HWC.max()
    return np.rint(40 + 180 * (smooth_HWC - low) / (high - low)).astype(np.uint8)
