"""Fit `src/leukoscope/sources/codebook.npy`: 64 visual words from features of painted cells.

    python tests/golden/fit_codebook.py

Painted cells need no permission and no download, and the words do as well on real images as words
fitted to real smears (docs/experiments/010). A new codebook changes every fingerprint: raise
`fingerprints.FORMAT` with it.
"""

from pathlib import Path

import cv2
import faiss
import numpy as np

from leukoscope.painted.cells import paint_cells
from leukoscope.sources.fingerprints import root_descriptors

WORDS = 64


def fit_codebook():
    detector = cv2.SIFT_create(nfeatures=200, contrastThreshold=0.015, enable_precise_upscale=True)
    found = []
    for image in paint_cells(320, copies=1, size_px=256, seed=1):
        grey = cv2.cvtColor(image.pixels_HWC, cv2.COLOR_RGB2GRAY)
        found.append(detector.detectAndCompute(grey, None)[1].astype(np.uint8))
    features = root_descriptors(np.concatenate(found))
    faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(128, WORDS, niter=25, seed=1, max_points_per_centroid=10**6)
    means.train(features)
    return means.centroids.astype(np.float32)


if __name__ == "__main__":
    out = Path(__file__).parents[2] / "src/leukoscope/sources/codebook.npy"
    np.save(out, fit_codebook())
