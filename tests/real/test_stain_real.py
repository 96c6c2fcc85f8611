"""Colours of real smears: what is dark stays dark, whichever method standardises them."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from leukoscope.config import InputConfig
from leukoscope.data.images import load_pixels
from leukoscope.data.stain import standardise_stain

SIDE = 96


@pytest.mark.parametrize("method", ["background", "reinhard", "macenko"])
@pytest.mark.parametrize(
    "place", ["bccd/JPEGImages/*.jpg", "dataset2-master/images/TRAIN/*/*.jpeg"]
)
def test_light_and_dark_keep_their_order(real_data, place, method):
    paths = sorted(real_data.glob(place))
    for path in paths[:: len(paths) // 12]:
        image = load_pixels(path, SIDE)
        found = standardise_stain(image, InputConfig(stain=method))
        before, after = (one.mean(axis=2).ravel() for one in (image, found))
        assert spearmanr(before, after).statistic > 0.8, path.name
        photographed = image.max(axis=2) > 60  # the corners of turned copies are black
        red = np.where(photographed, image[..., 0], 255)
        nucleus = red <= np.quantile(red[photographed], 0.03)
        assert found[nucleus].mean() < 190, path.name
