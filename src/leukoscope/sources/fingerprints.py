"""What is remembered of one image to find its duplicates: features, a global vector, a thumbnail.

Local features are SIFT (Lowe 2004): they keep under rotation, scale, mild shear and light. They do
not keep under reflection, but the descriptor of a mirrored patch is a permutation of the patch's
own (`MIRROR`), so both mirror states are compared without touching pixels again. The global
vector is a VLAD (Jegou et al. 2010) of each feature together with its mirror image, therefore the
same for an image and its reflection; a fixed codebook and a fixed random projection make it a
function of this image alone, so that no other image can change it.

Axes: H, W rows and columns; K features; D descriptor or vector dimension. Working pixels: the
longer side is `WORKING_PX`; the thumbnail is half of that. What this file does not do: it compares
nothing (`matching`).
"""

import functools
import itertools
import struct
import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORKING_PX = 256
"""Longer side at which features are found; copies of another size come to the same scale."""

MAX_FEATURES = 200
VECTOR_DIMENSION = 1024
FORMAT = 2
"""To be raised whenever the same image gives another fingerprint."""

_CONTRAST = 0.015
"""SIFT's contrast threshold; its default of 0.04 leaves too little on pale, soft cells."""

# Fill: what a copy shows where its picture had ended.
_FLAT_LEVELS = 8
_FILL_SPREAD = 2.0
_FILL_COLOUR_RANGE = 14
_MIN_FILL_FRAC = 0.004
_FEATURE_MARGIN_PX = 4

_HEADER = struct.Struct("<H2I3H")

# SIFT's layout: 4 rows of 4 cells of 8 orientations. Reflection about the feature's own axis
# turns the rows over and negates the orientations.
_CELLS = np.arange(128).reshape(4, 4, 8)
MIRROR: NDArray[np.int64] = _CELLS[::-1][:, :, (-np.arange(8)) % 8].reshape(-1).astype(np.int64)
"""`descriptors_KD[:, MIRROR]` are the descriptors of the mirrored image."""


@dataclass(frozen=True)
class Fingerprint:
    """One image, ready to be compared.

    `size_px` is (width, height) of the stored image. `points_K4` are float32 x, y (working
    pixels), diameter and orientation in degrees; `descriptors_KD` uint8 `(K, 128)`, K from 0 to
    `MAX_FEATURES`. `vector_D` is float32 of length 1, or 0 for an image without features.
    `grey_HW` is the uint8 thumbnail, `content_HW` uint8 is 1 where it shows the picture and 0
    where it shows fill.
    """

    size_px: tuple[int, int]
    points_K4: NDArray[np.float32]
    descriptors_KD: NDArray[np.uint8]
    vector_D: NDArray[np.float32]
    grey_HW: NDArray[np.uint8]
    content_HW: NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """Return the fingerprint for the cache."""
        height, width = self.grey_HW.shape
        content = np.packbits(self.content_HW).tobytes()
        blocks = (
            self.points_K4.tobytes(),
            self.vector_D.astype(np.float16).tobytes(),
            self.descriptors_KD.tobytes(),
            self.grey_HW.tobytes(),
            content,
        )
        head = _HEADER.pack(FORMAT, *self.size_px, height, width, len(self.points_K4))
        return zlib.compress(head + b"".join(blocks), level=1)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Fingerprint":
        """Read what `to_bytes` wrote. Raises `ValueError` for anything else."""
        try:
            data = zlib.decompress(content)
            version, wide, high, height, width, n = _HEADER.unpack_from(data)
        except (zlib.error, struct.error) as error:
            raise ValueError(str(error)) from error
        packed = -(-height * width // 8)
        sizes = (16 * n, 2 * VECTOR_DIMENSION, 128 * n, height * width, packed)
        if version != FORMAT or len(data) != _HEADER.size + sum(sizes):
            raise ValueError(f"format {version}, {len(data)} bytes")
        edges = np.cumsum((_HEADER.size, *sizes))
        points, vector, descriptors, grey, bits = (data[a:b] for a, b in itertools.pairwise(edges))
        content_HW = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
        return cls(
            size_px=(wide, high),
            points_K4=np.frombuffer(points, np.float32).reshape(n, 4),
            descriptors_KD=np.frombuffer(descriptors, np.uint8).reshape(n, 128),
            vector_D=np.frombuffer(vector, np.float16).astype(np.float32),
            grey_HW=np.frombuffer(grey, np.uint8).reshape(height, width),
            content_HW=content_HW.reshape(height, width),
        )


def find_working_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) at which an image of that stored size is described."""
    scale = WORKING_PX / max(size_px)
    # At least 32 working pixels: a sliver of an image has no features, but must not fail.
    return max(32, round(size_px[0] * scale)), max(32, round(size_px[1] * scale))


def build_fingerprint(pixels_HWC: NDArray[np.uint8]) -> Fingerprint:
    """Describe one image: uint8 RGB `(H, W, 3)`, as `decode_image` returns it.

    Deterministic, and a function of the pixels alone. A constant or very soft image has no
    features; its vector is then 0.
    """
    import cv2

    height, width = pixels_HWC.shape[:2]
    working = find_working_size((width, height))
    grow = cv2.INTER_LINEAR if max(height, width) < WORKING_PX else cv2.INTER_AREA
    working_HWC = _as_bytes(
        cv2.resize(np.ascontiguousarray(pixels_HWC), working, interpolation=grow)
    )
    small = (working[0] // 2, working[1] // 2)
    small_HWC = _as_bytes(cv2.resize(working_HWC, small, interpolation=cv2.INTER_AREA))
    content_HW = find_content(small_HWC)
    mask_HW = cv2.resize(content_HW * np.uint8(255), working, interpolation=cv2.INTER_NEAREST)
    margin = np.ones((2 * _FEATURE_MARGIN_PX + 1,) * 2, np.uint8)
    mask_HW = cv2.erode(mask_HW, margin, borderValue=255.0)
    grey_HW = cv2.cvtColor(working_HWC, cv2.COLOR_RGB2GRAY)
    # Without the precise upscale all features lie a quarter of a pixel off.
    detector = cv2.SIFT_create(  # type: ignore[attr-defined]
        nfeatures=MAX_FEATURES, contrastThreshold=_CONTRAST, enable_precise_upscale=True
    )
    points, descriptors = detector.detectAndCompute(grey_HW, mask_HW)
    # Features of equal strength can exceed the number asked for.
    points = points[:MAX_FEATURES]
    points_K4 = np.array([(p.pt[0], p.pt[1], p.size, p.angle) for p in points], np.float32).reshape(
        -1, 4
    )
    descriptors_KD = (
        np.zeros((0, 128), np.uint8)
        if descriptors is None
        else descriptors[:MAX_FEATURES].astype(np.uint8)
    )
    return Fingerprint(
        size_px=(width, height),
        points_K4=points_K4,
        descriptors_KD=descriptors_KD,
        # As the cache keeps it: a fresh fingerprint and a stored one must not differ.
        vector_D=compute_vector(descriptors_KD).astype(np.float16).astype(np.float32),
        grey_HW=_as_bytes(cv2.cvtColor(small_HWC, cv2.COLOR_RGB2GRAY)),
        content_HW=content_HW,
    )


def _as_bytes(image: Any) -> NDArray[np.uint8]:
    """OpenCV's stubs lose the dtype; uint8 in is uint8 out."""
    return np.asarray(image, dtype=np.uint8)


def find_content(small_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where an image shows its picture, 0 where a warp left constant fill: uint8 (H, W).

    Fill is one flat colour that touches the border and leaves a convex picture: a rectangle moved
    by an affine map and cut by the frame is convex. The empty background of a smear fails this:
    it is noisier, and the cells before it are no convex whole. Coloured (not grey) fill in a JPEG
    with halved chroma is often missed, for its edge bleeds into the picture.
    """
    import cv2

    height, width = small_HWC.shape[:2]
    full_HW = np.ones((height, width), np.uint8)
    near = np.ones((3, 3), np.uint8)
    range_HW = (cv2.dilate(small_HWC, near) - cv2.erode(small_HWC, near)).max(axis=2)
    flat_HW = (range_HW <= _FLAT_LEVELS).astype(np.uint8)
    _, parts_HW, facts, _ = cv2.connectedComponentsWithStats(flat_HW, connectivity=4)
    rim = np.concatenate([parts_HW[0], parts_HW[-1], parts_HW[:, 0], parts_HW[:, -1]])
    sizes = {int(p): int(facts[p, cv2.CC_STAT_AREA]) for p in np.unique(rim) if p > 0}
    at_least = _MIN_FILL_FRAC * height * width / 4
    parts = sorted((p for p in sizes if sizes[p] >= at_least), key=lambda p: (-sizes[p], p))
    colours = {p: small_HWC[parts_HW == p] for p in parts}
    means = {p: colour.mean(axis=0) for p, colour in colours.items()}
    content_HW = full_HW
    while parts:
        first = parts[0]
        alike = [p for p in parts if np.abs(means[p] - means[first]).max() <= _FILL_COLOUR_RANGE]
        parts = [p for p in parts if p not in alike]
        if colours[first].std(axis=0).max() > _FILL_SPREAD:
            continue
        fill_HW = np.isin(parts_HW, alike).astype(np.uint8)
        hull_HW = _enclose(_as_bytes(1 - cv2.dilate(fill_HW, near)))
        if hull_HW is not None and _is_fill(fill_HW, hull_HW):
            content_HW = content_HW & hull_HW
    # Two fills that leave nothing between them are no fill.
    return content_HW if content_HW.mean() >= 0.2 else full_HW


def _enclose(rest_HW: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The convex hull of the largest part of what is not fill; None where nothing is left, or
    where the hull is much more than that part."""
    import cv2

    rest_HW = _as_bytes(cv2.morphologyEx(rest_HW, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)))
    outlines, _ = cv2.findContours(rest_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    hull_HW = np.zeros_like(rest_HW)
    cv2.fillConvexPoly(hull_HW, cv2.convexHull(max(outlines, key=cv2.contourArea)), 1.0)
    return hull_HW if rest_HW[hull_HW > 0].mean() >= 0.97 else None


def _is_fill(fill_HW: NDArray[np.uint8], hull_HW: NDArray[np.uint8]) -> bool:
    outside = hull_HW == 0
    return bool(
        outside.mean() >= _MIN_FILL_FRAC
        and hull_HW.mean() >= 0.2
        and fill_HW[outside].mean() >= 0.6
    )


# -- the global vector ----------------------------------------------------------------------------


def root_descriptors(descriptors_KD: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return RootSIFT (Arandjelovic and Zisserman 2012): float32 `(K, 128)`, rows of length 1."""
    values_KD = descriptors_KD.astype(np.float32)
    sums_K1 = np.maximum(values_KD.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.sqrt(values_KD / sums_K1), dtype=np.float32)


def compute_vector(descriptors_KD: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the global vector of an image's features: float32 `(VECTOR_DIMENSION,)`, length 1,
    or 0 without features. It is the same for the mirrored image."""
    if not len(descriptors_KD):
        return np.zeros(VECTOR_DIMENSION, np.float32)
    codebook_CD = _load_codebook()
    both_KD = root_descriptors(np.concatenate([descriptors_KD, descriptors_KD[:, MIRROR]]))
    nearest_K = (2 * both_KD @ codebook_CD.T - (codebook_CD**2).sum(axis=1)).argmax(axis=1)
    belongs_CK = (nearest_K == np.arange(len(codebook_CD))[:, None]).astype(np.float32)
    sums_CD = belongs_CK @ both_KD - belongs_CK.sum(axis=1, keepdims=True) * codebook_CD
    # Each word counts alike (Arandjelovic and Zisserman 2013): repeated red cells must not rule.
    sums_CD /= np.maximum(np.linalg.norm(sums_CD, axis=1, keepdims=True), 1e-6)
    order, signs = _draw_sketch(sums_CD.size)
    vector_D = (sums_CD.reshape(-1)[order] * signs).reshape(-1, VECTOR_DIMENSION).sum(axis=0)
    length = max(float(np.linalg.norm(vector_D)), 1e-6)
    return np.asarray(vector_D / length, dtype=np.float32)


@functools.cache
def _load_codebook() -> NDArray[np.float32]:
    """The 64 visual words: k-means over features of painted cells, see `tests/golden`."""
    path: Any = files("leukoscope.sources") / "codebook.npy"
    with path.open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)


@functools.cache
def _draw_sketch(dimension: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A fixed random projection, learned from no data: an order and signs, then sums of what
    falls together (a count sketch, Charikar et al. 2002; a dense matrix costs tenfold)."""
    draw = np.random.default_rng(20261123)
    order = draw.permutation(dimension)
    return order, draw.choice(np.array([-1, 1], np.float32), dimension)
