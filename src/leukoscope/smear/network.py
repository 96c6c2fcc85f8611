"""The compact network that finds cells: a graph that comes with the package, run by ONNX Runtime.

The graph is given a picture of 4 px/um whose ground is balanced to `ground.GROUND`, uint8
`(1, H, W, 3)`, both sides divisible by 16. Of each square micrometre it says how near it is to the
centre of a white cell, a red cell and a platelet (0 to 1), and how far the edges of the cell there
are (left, top, right, bottom, in micrometres). `benchmarks/train_finder.py` makes it.

Axes: H height, W width, C colour channel (RGB); Y, X places of a map, one a micrometre apart.
What this file does not do: it knows neither files nor scales, and joins no tiles.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import WeightsError
from leukoscope.smear.ground import GROUND

PX_PER_UM = 4.0
"""The scale of the pictures that the network was trained on."""

STEP_PX = 4
_MULTIPLE_PX = 16

GRAPH_FILE = "finder.onnx"
GRAPH_SHA256 = "537632874bb9804dc116d9ed82866b1d2b6d0d2d66469bbadcf2c94ad6efa461"
"""Hash of the graph that this version was measured with; another one is rejected."""

WHITE, RED, PLATELET = range(3)
"""Which map shows what."""


@dataclass(frozen=True)
class Peaks:
    """Centres of cells: boxes `(K, 4)` in pixels of the network's picture, scores `(K,)` from high
    to low."""

    boxes_K4: NDArray[np.float64]
    scores_K: NDArray[np.float64]


class FinderNetwork:
    """The graph, loaded and ready; safe to share among threads.

    Raises `WeightsError` if the file that came with the package is missing or was changed.
    """

    def __init__(self, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            load_graph(), options, providers=["CPUExecutionProvider"]
        )

    def find(
        self, balanced_HWC: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the maps of a picture of any size: centres `(3, Y, X)` and distances
        `(4, Y, X)`; what was added to make the sides divisible is cut off again."""
        height, width = balanced_HWC.shape[:2]
        down, right = -height % _MULTIPLE_PX, -width % _MULTIPLE_PX
        padded_HWC = cv2.copyMakeBorder(
            balanced_HWC, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(GROUND,) * 3
        )
        centres, distances = self._session.run(None, {"image": padded_HWC[None]})
        rows, columns = -(-height // STEP_PX), -(-width // STEP_PX)
        return centres[0, :, :rows, :columns], distances[0, :, :rows, :columns]


def load_graph() -> bytes:
    """Return the graph that comes with the package. Raises `WeightsError`."""
    try:
        content = resources.files("leukoscope.smear").joinpath(GRAPH_FILE).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{GRAPH_FILE} must lie in the package", str(error), "install leukoscope again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != GRAPH_SHA256:
        raise WeightsError(
            f"{GRAPH_FILE} must be the graph that this version was measured with",
            f"another one, SHA-256 {found[:12]}",
            "install leukoscope again",
        )
    return content


def find_peaks(
    centres_YX: NDArray[np.float32],
    distances_4YX: NDArray[np.float32],
    least_score: float,
    overlap: float = 0.4,
) -> Peaks:
    """Return the cells of one map: its local maxima of at least `least_score`, without those whose
    box covers that of a higher one by more than `overlap` (intersection over union)."""
    is_peak_YX = (centres_YX >= cv2.dilate(centres_YX, np.ones((3, 3), np.uint8))) & (
        centres_YX >= least_score
    )
    y, x = np.nonzero(is_peak_YX)
    scores_K = centres_YX[y, x].astype(np.float64)
    order = np.argsort(-scores_K, kind="stable")
    y, x, scores_K = y[order], x[order], scores_K[order]
    left, top, right, bottom = (distances_4YX[k, y, x].astype(np.float64) for k in range(4))
    boxes_K4 = np.stack([x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom], axis=1)
    kept = select_apart(boxes_K4, overlap)
    return Peaks(boxes_K4[kept] * STEP_PX, scores_K[kept])


def select_apart(boxes_K4: NDArray[np.float64], overlap: float) -> NDArray[np.int64]:
    """Return which of the boxes, the best first, to keep: those that cover no better one by more
    than `overlap` (intersection over union), nor lie in one by four fifths."""
    areas_K = np.clip(boxes_K4[:, 2:] - boxes_K4[:, :2], 0, None).prod(axis=1)
    is_open_K = np.ones(len(boxes_K4), dtype=bool)
    kept = []
    for k in range(len(boxes_K4)):
        if not is_open_K[k]:
            continue
        kept.append(k)
        low = np.maximum(boxes_K4[:, :2], boxes_K4[k, :2])
        high = np.minimum(boxes_K4[:, 2:], boxes_K4[k, 2:])
        shared_K = np.clip(high - low, 0, None).prod(axis=1)
        smaller_K = np.maximum(np.minimum(areas_K, areas_K[k]), 1e-9)
        union_K = np.maximum(areas_K + areas_K[k] - shared_K, 1e-9)
        is_open_K &= (shared_K / union_K <= overlap) & (shared_K / smaller_K < _CONTAINED)
    return np.array(kept, dtype=np.int64)


_CONTAINED = 0.8
