"""Train the network that finds cells and write its graph.

    PYTHONPATH=. python benchmarks/train_finder.py DATA WORK --out src/leukoscope/smear/finder.onnx
    PYTHONPATH=. python benchmarks/train_finder.py DATA WORK --boxes raabin --out WORK/raabin.onnx

DATA is the folder of the real images, WORK takes what is made on the way. Three rounds: the first
learns from boxes (half of BCCD, painted fields); it then says where the red cells of Chula and the
cells of PBC are, which have no boxes, and the second round learns from all of them; the third sees
more of what was mistaken for white cells on the training fields, and fields crowded with cells.
`--boxes raabin` is the experiment the other way round: all of Raabin instead of BCCD. What ships
never sees Raabin.

Axes: B batch, C channels, H, W pixels, Y, X places of a map (a micrometre apart), K cells.
"""

import argparse
import contextlib
import hashlib
import io
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.finder_sets import BoxedField, load_bccd, load_chula, load_raabin, measure_overlaps
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval
from torch.utils.data import DataLoader, Dataset

from leukoscope.data.images import decode_image
from leukoscope.deploy.export import OPSET, fold_batch_norm
from leukoscope.models.blocks import MBConv
from leukoscope.painted.fields import paint_fields
from leukoscope.smear.classical import find_nucleus_cells
from leukoscope.smear.ground import GROUND, balance, find_ground, resize_by
from leukoscope.smear.network import PLATELET, PX_PER_UM, RED, STEP_PX, WHITE, find_peaks
from leukoscope.smear.nuclei import find_stained
from leukoscope.smear.scale import RED_CELL_UM, estimate_scale

CANVAS_PX = 160
BATCH = 16
SEED = 17
PBC_PX_PER_UM = 5.4
"""Of PBC's files at hand, 192 px wide: the median of what their red cells say."""

PBC_PER_CLASS = 80
_PBC_CLASSES = (
    *("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte"),
    *("monocyte", "neutrophil", "platelet"),
)
_LEAST_VISIBLE = 0.3
_SURE, _UNSURE = 0.5, 0.15


# -- network --------------------------------------------------------------------------------------


def _block(width: int, out: int, stride: int = 1) -> MBConv:
    return MBConv(
        width,
        out,
        4 * width,
        stride=stride,
        activation="silu",
        pre_norm=True,
        stride_place="depthwise",
        norm_eps=1e-5,
        norm_momentum=0.05,
    )


class FinderNet(nn.Module):
    """`coatnet-pico`'s stem and the blocks of its convolution stages, and a way up again.

    Images `(B, 3, H, W)` in, 0 where the ground is; logits of centres `(B, 3, Y, X)` and logarithms
    of distances in micrometres `(B, 4, Y, X)` out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16, momentum=0.05),
            nn.SiLU(),
            nn.Conv2d(16, 16, 3, padding=1),
        )
        self.quarter = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32, momentum=0.05),
            nn.SiLU(),
            _block(32, 32),
        )
        self.eighth = nn.Sequential(_block(32, 64, 2), _block(64, 64))
        self.sixteenth = nn.Sequential(_block(64, 80, 2), _block(80, 80), _block(80, 80))
        self.up_eighth = nn.Conv2d(80, 64, 1)
        self.join_eighth = _block(64, 64)
        self.up_quarter = nn.Conv2d(64, 48, 1)
        self.across = nn.Conv2d(32, 48, 1)
        self.head = nn.Sequential(
            nn.Conv2d(48, 48, 3, padding=1), nn.SiLU(), nn.Conv2d(48, 48, 3, padding=1), nn.SiLU()
        )
        self.centres = nn.Conv2d(48, 3, 1)
        self.distances = nn.Conv2d(48, 4, 1)
        nn.init.constant_(self.centres.bias, -4.0)
        nn.init.constant_(self.distances.bias, 1.3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(self.stem(images))
        eighth = self.eighth(quarter)
        deep = self.up_eighth(self.sixteenth(eighth))
        eighth = self.join_eighth(eighth + F.interpolate(deep, scale_factor=2.0, mode="nearest"))
        up = F.interpolate(self.up_quarter(eighth), scale_factor=2.0, mode="nearest")
        maps = self.head(self.across(quarter) + up)
        return self.centres(maps), self.distances(maps)


class ServedFinder(nn.Module):
    """What the graph computes: uint8 `(1, H, W, 3)` to scores and micrometres."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        centres, distances = self.network(normalise(image))
        return centres.sigmoid(), distances.clamp(-2.0, 4.0).exp()


def normalise(images_BHWC: Tensor) -> Tensor:
    """Ground becomes 0, as what lies outside of a picture is."""
    return (images_BHWC.permute(0, 3, 1, 2).float() - GROUND) / 64.0


# -- fields ---------------------------------------------------------------------------------------


@dataclass
class Packed:
    """A field at 4 px/um, its ground balanced. `ignored` are boxes within which a kind of cell
    counts neither as found nor as absent; `weight` is how often the field is drawn."""

    pixels: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray
    ignored: np.ndarray
    ignored_kinds: np.ndarray
    weight: float
    origin: str
    points: np.ndarray | None = None


def pack_boxed(one: BoxedField, weight: float, origin: str) -> Packed:
    pixels = read(one.path)
    ground = find_ground(pixels)
    scale = measure_scale(one, pixels.shape) or estimate_scale(pixels, ground) or 12.0
    factor = PX_PER_UM / scale
    small = balance(resize_by(pixels, factor), ground)
    found = find_nucleus_cells(find_stained(small, np.full(3, float(GROUND))), PX_PER_UM)
    boxes = one.boxes_K4 * factor
    sides = boxes[:, 2:] - boxes[:, :2]
    is_box = sides.min(axis=1) > 2.0
    boxes, kinds = boxes[is_box], one.kinds_K[is_box]
    unlabelled = [cell.box for cell in found if _is_cut(cell.box, small.shape)]
    ignored = np.array(unlabelled, float).reshape(-1, 4)
    if len(ignored) and (kinds == WHITE).any():
        ignored = ignored[measure_overlaps(ignored, boxes[kinds == WHITE]).max(axis=1) < 0.1]
    return Packed(small, boxes, kinds, ignored, np.full(len(ignored), WHITE), weight, origin)


def measure_scale(one: BoxedField, shape: tuple[int, ...]) -> float | None:
    """Pixels per micrometre by the boxes of whole red cells."""
    boxes = one.boxes_K4[one.kinds_K == RED]
    inside = (boxes[:, :2] > 2).all(axis=1) & (boxes[:, 2] < shape[1] - 2)
    boxes = boxes[inside & (boxes[:, 3] < shape[0] - 2)]
    sides = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1)
    return float(np.median(sides)) / RED_CELL_UM if len(sides) >= 3 else None


def _is_cut(box: tuple[float, ...], shape: tuple[int, ...]) -> bool:
    return box[0] < 2 or box[1] < 2 or box[2] > shape[1] - 2 or box[3] > shape[0] - 2


def read(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes(), name=path.name)


def pack_painted(work: Path) -> list[Packed]:
    cache = work / "painted.pkl"
    if not cache.exists():
        fields = list(
            paint_fields(5, n_samples=14, white_cells=4, size_px=(288, 224), px_per_um=6, seed=170)
        )
        cache.write_bytes(pickle.dumps(fields))
    packed = []
    for field in pickle.loads(cache.read_bytes()):
        factor = PX_PER_UM / field.px_per_um
        cells = [
            (cell.box, kind)
            for kind, group in (
                (WHITE, field.white_cells), (RED, field.red_cells), (PLATELET, field.platelets)
            )
            for cell in group
            if cell.visible_frac > _LEAST_VISIBLE
        ]  # fmt: skip
        boxes = np.array([box for box, _ in cells], float).reshape(-1, 4) * factor
        small = balance(resize_by(field.pixels_HWC, factor), find_ground(field.pixels_HWC))
        kinds = np.array([kind for _, kind in cells])
        none = np.zeros((0, 4))
        packed.append(Packed(small, boxes, kinds, none, np.zeros(0, int), 0.35, "painted"))
    return packed


def pack_pbc(data: Path) -> list[Packed]:
    """PBC's pictures, the middle cell alone with a box, by its nucleus; other cells unknown."""
    rng = np.random.default_rng(SEED)
    packed = []
    for label in _PBC_CLASSES:
        paths = sorted((data / "pbc" / label).iterdir())
        for k in np.sort(rng.choice(len(paths), PBC_PER_CLASS, replace=False)):
            pixels = read(paths[k])
            ground = find_ground(pixels)
            small = balance(resize_by(pixels, PX_PER_UM / PBC_PX_PER_UM), ground)
            cells = find_nucleus_cells(find_stained(small, np.full(3, float(GROUND))), PX_PER_UM)
            boxes = np.array([cell.box for cell in cells]).reshape(-1, 4)
            kinds = np.full(len(boxes), WHITE)
            origin = "pbc_platelet" if label == "platelet" else "pbc"
            none = np.zeros((0, 4))
            packed.append(Packed(small, boxes, kinds, none, np.zeros(0, int), 0.35, origin))
    return packed


def pack_chula(data: Path) -> list[Packed]:
    packed = []
    for one in load_chula(data, "train"):
        pixels = read(one.path)
        ground = find_ground(pixels)
        scale = estimate_scale(pixels, ground) or 6.0
        factor = PX_PER_UM / scale
        small = balance(resize_by(pixels, factor), ground)
        boxes, none = one.boxes_K4 * factor, np.zeros((0, 4))
        packed.append(
            Packed(
                small, boxes, one.kinds_K, none, np.zeros(0, int), 0.6, "chula",
                points=one.points_K2 * factor,
            )
        )  # fmt: skip
    return packed


def complete(network: nn.Module, fields: list[Packed]) -> list[Packed]:
    """Say where the cells are that have no boxes: what the network of the first round is sure of
    counts, what it is unsure of counts neither way."""
    served = ServedFinder(network).eval()
    done = []
    for field in fields:
        done_one = _complete_one(served, field)
        if done_one is not None:
            done.append(done_one)
    return done


def _complete_one(served: nn.Module, field: Packed) -> Packed | None:
    centres, distances = run(served, field.pixels)
    boxes, kinds, ignored, ignored_kinds = [], [], [], []

    def keep(box: np.ndarray, kind: int) -> None:
        boxes.append(box)
        kinds.append(kind)

    def ignore(box: np.ndarray, kind: int) -> None:
        ignored.append(box)
        ignored_kinds.append(kind)

    peaks = {kind: find_peaks(centres[kind], distances, _UNSURE, 0.4) for kind in range(3)}
    middle = np.array([field.pixels.shape[1], field.pixels.shape[0]]) / 2
    for kind in (RED, PLATELET):
        for box, score in zip(peaks[kind].boxes_K4, peaks[kind].scores_K, strict=True):
            (keep if score >= _SURE else ignore)(box, kind)
    white = peaks[WHITE]
    if field.origin == "pbc":
        # The middle cell: by its nucleus, and by the network where both agree.
        holds = [box for box in field.boxes if _holds(box, middle, 0.2)]
        if len(holds) != 1:
            return None
        cell = holds[0]
        if len(white.boxes_K4):
            overlaps = measure_overlaps(cell[None], white.boxes_K4)[0]
            if overlaps.max() > 0.5:
                cell = (cell + white.boxes_K4[overlaps.argmax()]) / 2
        keep(cell, WHITE)
        others = [*field.boxes, *white.boxes_K4]
        for box in others:
            if measure_overlaps(box[None], cell[None])[0, 0] < 0.3 and not _holds(box, middle, 0.2):
                ignore(box, WHITE)
        # No red cell lies where the white one is.
        inside = [measure_overlaps(box[None], cell[None])[0, 0] > 0.4 for box in boxes]
        both = [k for k, one in enumerate(inside) if not (one and kinds[k] != WHITE)]
        boxes[:], kinds[:] = [boxes[k] for k in both], [kinds[k] for k in both]
    elif field.origin == "chula":
        if len(field.points):
            # A red cell is where a person saw one; what else the network saw is unknown.
            is_red = np.array(kinds) == RED
            near = [
                not red or np.abs(field.points - _middle(box)).max(axis=1).min() < 8
                for box, red in zip(boxes, is_red, strict=True)
            ]
            ignored += [box for box, one in zip(boxes, near, strict=True) if not one]
            ignored_kinds += [RED] * (len(near) - sum(near))
            boxes[:] = [box for box, one in zip(boxes, near, strict=True) if one]
            kinds[:] = [kind for kind, one in zip(kinds, near, strict=True) if one]
            middles = np.array([_middle(box) for box in boxes]).reshape(-1, 2)
            for point in field.points:
                if not (np.abs(middles - point).max(axis=1) < 8).any():
                    half = 0.47 * RED_CELL_UM * PX_PER_UM
                    keep(np.concatenate([point - half, point + half]), RED)
        for box, kind in zip(field.boxes, field.kinds, strict=True):
            (keep if kind == WHITE else ignore)(box, WHITE)
    else:
        for box in white.boxes_K4:
            if not _holds(box, middle, 0.2):
                ignore(box, WHITE)
        if not any(
            kind == PLATELET and _holds(b, middle, 0.1)
            for b, kind in zip(boxes, kinds, strict=True)
        ):
            ignore(np.concatenate([middle - 20, middle + 20]), PLATELET)
    return Packed(
        field.pixels,
        np.array(boxes, float).reshape(-1, 4),
        np.array(kinds, int),
        np.array(ignored, float).reshape(-1, 4),
        np.array(ignored_kinds, int),
        field.weight,
        field.origin,
    )


def cut_mistaken(network: nn.Module, fields: list[Packed]) -> list[Packed]:
    """Return the surroundings of what the network takes for white cells and is none: dirt,
    pointers, scale bars, dark red cells. They are rare, and are drawn more often by themselves."""
    served = ServedFinder(network).eval()
    mistaken = []
    for field in fields:
        centres, distances = run(served, field.pixels)
        peaks = find_peaks(centres[WHITE], distances, _UNSURE, 0.4)
        known = np.concatenate(
            [field.boxes[field.kinds == WHITE], field.ignored[field.ignored_kinds == WHITE]]
        )
        for box in peaks.boxes_K4:
            if not len(known) or measure_overlaps(box[None], known).max() < 0.1:
                mistaken.append(_cut_around(field, _middle(box)))
    return mistaken


def build_crowds(fields: list[Packed], count: int = 160) -> list[Packed]:
    """Return fields crowded with white cells, as leukaemia and marrow show them: cells of PBC, each
    resized anew, laid side by side on fields of Chula. No set at hand has boxes of such fields."""
    rng = np.random.default_rng(SEED + 3)
    cells = [
        (field.pixels, box)
        for field in fields
        if field.origin == "pbc"
        for box in field.boxes[field.kinds == WHITE]
        if not _is_cut(tuple(box), field.pixels.shape)
    ]
    grounds = [
        field for field in fields if field.origin == "chula" and not (field.kinds == WHITE).any()
    ]
    crowds = []
    for _ in range(count):
        ground = grounds[rng.integers(len(grounds))]
        canvas = ground.pixels.astype(np.float32)
        height, width = canvas.shape[:2]
        wanted = int(rng.integers(2, 1 + max(3, height * width // 1500)))
        laid: list[np.ndarray] = []
        # A smear has cells of one or two kinds; a single colour keeps them from telling it.
        chosen = rng.choice(len(cells), int(rng.integers(1, 7)), replace=False)
        size = float(np.exp(rng.normal(0, 0.15)))
        for _ in range(6 * wanted):
            pixels, box = cells[chosen[rng.integers(len(chosen))]]
            factor = size * float(np.exp(rng.normal(0, 0.08)))
            patch, mask = _cut_out(pixels, box, factor, rng)
            high, wide = mask.shape
            if high >= height or wide >= width:
                continue
            x, y = int(rng.integers(width - wide)), int(rng.integers(height - high))
            place = np.array([x, y, x + wide, y + high], float)
            if laid and measure_overlaps(place[None], np.array(laid)).max() > 0.12:
                continue
            part = canvas[y : y + high, x : x + wide]
            part += (patch - part) * mask[:, :, None]
            laid.append(place)
            if len(laid) == wanted:
                break
        if not laid:
            continue
        white = np.array(laid)
        # The patch is a little wider than its cell.
        middle, half = (white[:, :2] + white[:, 2:]) / 2, (white[:, 2:] - white[:, :2]) / 2 / _RIM
        white = np.concatenate([middle - half, middle + half], axis=1)
        covered = np.array([_cover(box, white) for box in ground.boxes])
        kept, hidden = covered < 0.2, covered >= 0.2
        crowds.append(
            Packed(
                np.clip(canvas, 0, 255).astype(np.uint8),
                np.concatenate([white, ground.boxes[kept]]),
                np.concatenate([np.full(len(white), WHITE), ground.kinds[kept]]),
                np.concatenate([ground.ignored, ground.boxes[hidden]]),
                np.concatenate([ground.ignored_kinds, ground.kinds[hidden]]).astype(int),
                0.8,
                "crowd",
            )
        )
    return crowds


_RIM = 1.12


def _cut_out(
    pixels: np.ndarray, box: np.ndarray, factor: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A cell with a soft rim, turned and resized, and how much of each pixel is its own."""
    middle, half = _middle(box), (box[2:] - box[:2]) / 2 * _RIM
    low = np.maximum(middle - half, 0).round().astype(int)
    high = np.maximum(middle + half, 1).round().astype(int)
    patch = pixels[low[1] : high[1], low[0] : high[0]]
    patch = np.rot90(patch, int(rng.integers(4)))
    patch = patch[:, ::-1] if rng.integers(2) else patch
    patch = cv2.resize(np.ascontiguousarray(patch), None, fx=factor, fy=factor)
    height, width = patch.shape[:2]
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    radius = np.hypot(y[:, None], x[None])
    mask = np.clip((1.0 - radius) / (1 - 1 / _RIM), 0, 1).astype(np.float32)
    return patch.astype(np.float32), mask


def _cover(box: np.ndarray, others: np.ndarray) -> float:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1).sum()
    return float(shared / max(1e-6, (box[2:] - box[:2]).prod()))


def _cut_around(field: Packed, middle: np.ndarray) -> Packed:
    size = np.array(field.pixels.shape[1::-1])
    low = np.clip(middle - 60, 0, np.maximum(size - 120, 0)).astype(int)
    high = np.minimum(low + 120, size)
    return Packed(
        field.pixels[low[1] : high[1], low[0] : high[0]],
        field.boxes - np.tile(low, 2),
        field.kinds,
        field.ignored - np.tile(low, 2),
        field.ignored_kinds,
        1.5,
        field.origin,
    )


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _holds(box: np.ndarray, point: np.ndarray, margin: float) -> bool:
    inner = margin * (box[2:] - box[:2])
    return bool((point > box[:2] + inner).all() and (point < box[2:] - inner).all())


@torch.no_grad()
def run(served: nn.Module, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    down, right = -pixels.shape[0] % 16, -pixels.shape[1] % 16
    padded = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(GROUND,) * 3)
    centres, distances = served(torch.from_numpy(padded[None]))
    rows, columns = -(-pixels.shape[0] // STEP_PX), -(-pixels.shape[1] // STEP_PX)
    return centres[0, :, :rows, :columns].numpy(), distances[0, :, :rows, :columns].numpy()


# -- examples -------------------------------------------------------------------------------------


@dataclass
class Example:
    pixels: np.ndarray
    heat: np.ndarray
    counts: np.ndarray
    centre: np.ndarray
    distances: np.ndarray
    weights: np.ndarray


def draw_example(field: Packed, rng: np.random.Generator) -> Example:
    """A square of a field, turned, resized and coloured anew, with what the network should say."""
    scale = float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    height, width = field.pixels.shape[:2]
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    # To the middle, turn, mirror, resize, to a place on the canvas.
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    linear = np.array([[cos, -sin], [sin, cos]], float) * scale
    if mirror:
        linear[0] *= -1
    size = np.abs(linear) @ np.array([width, height])
    slack = CANVAS_PX - size
    # Larger than the canvas: any part of it; smaller: any place, often at the corner.
    where = np.where(
        slack < 0,
        rng.uniform(np.minimum(slack, 0), 0),
        rng.integers(2) * rng.uniform(0, 1, 2) * slack,
    )
    offset = where + size / 2 - linear @ (np.array([width, height]) / 2)
    matrix = np.column_stack([linear, offset + linear.sum(axis=1) * 0.5 - 0.5])
    pixels = cv2.warpAffine(
        field.pixels,
        matrix,
        (CANVAS_PX, CANVAS_PX),
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GROUND,) * 3,
    )
    seen = np.concatenate([np.clip(where, 0, None), np.clip(where + size, None, CANVAS_PX)])
    boxes, kinds = move(field.boxes, linear, offset), field.kinds
    ignored = move(field.ignored, linear, offset)
    example = draw_targets(boxes, kinds, ignored, field.ignored_kinds, seen)
    example.pixels = colour(pixels, rng)
    return example


def move(boxes: np.ndarray, linear: np.ndarray, offset: np.ndarray) -> np.ndarray:
    if not len(boxes):
        return boxes
    a, b = boxes[:, :2] @ linear.T + offset, boxes[:, 2:] @ linear.T + offset
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)


def draw_targets(
    boxes: np.ndarray,
    kinds: np.ndarray,
    ignored: np.ndarray,
    ignored_kinds: np.ndarray,
    seen: np.ndarray,
) -> Example:
    side = CANVAS_PX // STEP_PX
    heat = np.zeros((3, side, side), np.float32)
    counts = np.ones((3, side, side), np.float32)
    centre = np.zeros((3, side, side), np.float32)
    distances = np.ones((4, side, side), np.float32)
    weights = np.zeros((side, side), np.float32)
    owner = np.zeros((side, side), np.float32)
    grid = np.arange(side) + 0.5
    cut = np.concatenate(
        [np.maximum(boxes[:, :2], seen[:2]), np.minimum(boxes[:, 2:], seen[2:])], 1
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    visible = np.clip(cut[:, 2:] - cut[:, :2], 0, None).prod(axis=1) / np.maximum(areas, 1e-6)
    for box, kind in zip(ignored, ignored_kinds, strict=True):
        _fill(counts[kind], box, 0.0)
    for k in np.argsort(-areas, kind="stable"):
        if visible[k] <= 0:
            continue
        kind = kinds[k]
        if visible[k] < _LEAST_VISIBLE:
            _fill(counts[kind], cut[k], 0.0)
            continue
        x0, y0, x1, y1 = cut[k] / STEP_PX
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        column, row = min(side - 1, int(x)), min(side - 1, int(y))
        sigma_x, sigma_y = (max(0.45, 0.13 * (high - low)) for low, high in ((x0, x1), (y0, y1)))
        near = np.exp(
            -0.5 * (((grid - x) / sigma_x) ** 2)[None]
            - 0.5 * (((grid - y) / sigma_y) ** 2)[:, None]
        ).astype(np.float32)
        heat[kind] = np.maximum(heat[kind], near)
        heat[kind, row, column] = 1.0
        centre[kind, row, column] = 1.0
        near[row, column] = 1.0
        own = (near > 0.25) & (near >= owner * 0.8)
        owner[own] = near[own]
        weights[own] = near[own]
        sides = (grid[None] - x0, grid[:, None] - y0, x1 - grid[None], y1 - grid[:, None])
        for place, values in zip(distances, sides, strict=True):
            place[own] = np.broadcast_to(values, own.shape)[own]
    # A place that is sure to be a cell's centre counts whatever else lies there.
    counts = np.maximum(counts, centre)
    return Example(np.zeros(0), heat, counts, centre, np.clip(distances, 0.2, None), weights)


def _fill(plane: np.ndarray, box: np.ndarray, value: float) -> None:
    x0, y0 = np.maximum(np.floor(box[:2] / STEP_PX), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(box[2:] / STEP_PX), 0).astype(int)
    plane[y0:y1, x0:x1] = value


def colour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another stain, lamp, lens and camera; the ground stays near its level, as balancing leaves
    it."""
    if rng.random() < 0.05:
        return pixels
    density = -np.log((pixels.astype(np.float32) + 1) / (GROUND + 1))
    if rng.random() < 0.9:
        # Other dyes: channels mix, and take away more or less light, also by the amount of dye.
        mix = np.eye(3) + rng.normal(0, 0.12, (3, 3))
        mix *= np.exp(rng.normal(0, 0.22, (3, 1))) * np.exp(rng.normal(0, 0.3))
        density = density @ mix.T.astype(np.float32)
        power = float(np.exp(rng.normal(0, 0.15)))
        density = np.sign(density) * np.abs(density) ** power
    if rng.random() < 0.3:  # light that falls off, thick places
        steps = rng.normal(0, 0.12, (3, 3)).astype(np.float32)
        density += cv2.resize(steps, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    out = (GROUND + 1) * np.exp(-density) - 1
    out *= np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 1.4)))
    elif rng.random() < 0.25:
        soft = cv2.GaussianBlur(out, (0, 0), 1.0)
        out += float(rng.uniform(0.3, 1.2)) * (out - soft)
    if rng.random() < 0.5:
        out += rng.normal(0, rng.uniform(0, 7), out.shape)
    out = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out


# -- training -------------------------------------------------------------------------------------


def compute_loss(
    network: nn.Module, batch: list[Example], bf16: bool
) -> tuple[Tensor, float, float]:
    images = normalise(torch.from_numpy(np.stack([one.pixels for one in batch])))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        centres, distances = network(images)
    centres, distances = centres.float(), distances.float()
    heat, counts, centre, wanted = (
        torch.from_numpy(np.stack([getattr(one, name) for one in batch]))
        for name in ("heat", "counts", "centre", "distances")
    )
    weights = torch.from_numpy(np.stack([one.weights for one in batch]))
    # Law and Deng 2018, equation 1: near a centre, an absence costs less.
    score = centres.sigmoid()
    found = (1 - score) ** 2 * F.logsigmoid(centres) * centre
    absent = score**2 * F.logsigmoid(-centres) * (1 - heat) ** 4 * (1 - centre) * counts
    heat_loss = -(found + absent).sum() / centre.sum().clamp(min=1)
    near = distances.clamp(-2.0, 4.0).exp()
    low, high = torch.minimum(near, wanted), torch.maximum(near, wanted)
    shared = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    area, true_area = ((d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (near, wanted))
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    union = area + true_area - shared
    giou = shared / union - (hull - union) / hull
    absolute = (distances - wanted.log()).abs().mean(dim=1)
    total = weights.sum().clamp(min=1)
    distance_loss = ((1 - giou + 0.5 * absolute) * weights).sum() / total
    return heat_loss + distance_loss, heat_loss.item(), distance_loss.item()


class _Batches(Dataset):
    """Batch k is the same whoever draws it, and when."""

    def __init__(self, fields: list[Packed], steps: int, seed: int) -> None:
        self.fields, self.steps, self.seed = fields, steps, seed
        share = np.array([one.weight for one in fields], float)
        self.share = share / share.sum()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> list[Example]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, k])
        chosen = rng.choice(len(self.fields), BATCH, p=self.share)
        return [draw_example(self.fields[one], rng) for one in chosen]


def train(
    network: FinderNet, fields: list[Packed], steps: int, rate: float, seed: int, bf16: bool
) -> FinderNet:
    """Train in place and return the running mean of the weights (in evaluation mode)."""
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.15, cycle_momentum=False
    )
    kept = torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 10 / steps)
    averaged = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=kept, use_buffers=True)
    start, heard = time.perf_counter(), []
    batches = DataLoader(
        _Batches(fields, steps, seed),
        batch_size=None,
        num_workers=1,
        prefetch_factor=8,
        collate_fn=list,
    )
    for step, batch in enumerate(batches, 1):
        network.train()
        loss, *parts = compute_loss(network, batch, bf16)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(network)
        heard.append(parts)
        if step % 50 == 0 or step == steps:
            centre, distance = np.mean(heard[-50:], axis=0)
            seconds = time.perf_counter() - start
            print(
                f"{step:5d} centres {centre:.3f} distances {distance:.3f} {seconds:.0f} s",
                flush=True,
            )
    return averaged.module.eval()


def build_graph(network: FinderNet) -> bytes:
    """Return the ONNX graph, batch norm folded; it holds no path of the machine that made it."""
    import onnx

    folded = fold_batch_norm(network)
    folded.quarter[1] = fuse_conv_bn_eval(folded.quarter[1], folded.quarter[2])
    folded.quarter[2] = nn.Identity()
    served = ServedFinder(folded).eval()
    example = torch.zeros(1, 160, 208, 3, dtype=torch.uint8)
    height = torch.export.Dim("height_16", min=2, max=1000)
    width = torch.export.Dim("width_16", min=2, max=1000)
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            served,
            (example,),
            input_names=["image"],
            output_names=["centres", "distances"],
            dynamic_shapes={"image": {1: 16 * height, 2: 16 * width}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:], model.graph.value_info[:]
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--boxes", choices=("bccd", "raabin"), default="bccd")
    parser.add_argument("--steps", type=int, nargs=3, default=(500, 1400, 1000))
    parser.add_argument("--fp32", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    cv2.setNumThreads(1)
    boxed = (
        load_bccd(args.data, "train", corrected=True)
        if args.boxes == "bccd"
        else load_raabin(args.data, corrected=True)
    )
    labelled = [pack_boxed(one, 200 / len(boxed), args.boxes) for one in boxed]
    labelled += pack_painted(args.work)
    print(len(labelled), "fields with boxes", flush=True)
    network = FinderNet()
    first_file = args.work / f"first_{args.boxes}.pt"
    first = train(network, labelled, args.steps[0], 3e-3, SEED, not args.fp32)
    torch.save(first.state_dict(), first_file)
    (args.work / f"first_{args.boxes}.onnx").write_bytes(build_graph(first))
    unlabelled = pack_pbc(args.data) + pack_chula(args.data)
    added = complete(first, unlabelled)
    print(len(added), "of", len(unlabelled), "fields without boxes", flush=True)
    (args.work / f"added_{args.boxes}.pkl").write_bytes(pickle.dumps(added))
    network.load_state_dict(first.state_dict())
    second = train(network, labelled + added, args.steps[1], 3e-3, SEED + 1, not args.fp32)
    torch.save(second.state_dict(), args.work / f"second_{args.boxes}.pt")
    mistaken = cut_mistaken(second, labelled + added)
    print(len(mistaken), "places taken for white cells", flush=True)
    network.load_state_dict(second.state_dict())
    fields = labelled + added + build_crowds(added) + mistaken
    third = train(network, fields, args.steps[2], 1.5e-3, SEED + 2, not args.fp32)
    torch.save(third.state_dict(), args.work / f"third_{args.boxes}.pt")
    content = build_graph(third)
    args.out.write_bytes(content)
    print(args.out, len(content), "bytes, SHA-256", hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
