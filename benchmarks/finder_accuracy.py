"""How well white cells are found: the rows of issue 17 that concern finding.

    PYTHONPATH=. python benchmarks/finder_accuracy.py DATA
    PYTHONPATH=. python benchmarks/finder_accuracy.py DATA --graph WORK/raabin.onnx --sets bccd

For each set and method: recall and precision at an overlap (intersection over union) of 0.5, and in
how many fields the count is exact. Cells at the edge count as any other here. Of BCCD only the half
that was not trained on counts (`--all`: both, for a graph that saw neither); of Chula too. Masks of
nuclei are compared with those of the field turned, mirrored and darkened or brightened, at the same
cells. What this file does not do: it measures no time (`finder_speed`).
"""

import argparse
import csv
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from benchmarks.finder_sets import BoxedField, load_bccd, load_chula, load_raabin, measure_overlaps

from leukoscope.data.images import decode_image
from leukoscope.smear.crops import CropSettings, cut_cell, mark_nucleus
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import LEAST_SCORE, Finder, FoundField
from leukoscope.smear.network import RED, WHITE, FinderNetwork

LEAST_OVERLAP = 0.5


@dataclass
class Tally:
    fields: int = 0
    true: int = 0
    found: int = 0
    matched: int = 0
    exact: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, true_K4: np.ndarray, found_L4: np.ndarray) -> None:
        matched = match(true_K4, found_L4)
        self.fields += 1
        self.true += len(true_K4)
        self.found += len(found_L4)
        self.matched += matched
        self.exact += len(true_K4) == len(found_L4)
        if matched != len(true_K4) or matched != len(found_L4):
            self.wrong.append(
                f"{name} (true {len(true_K4)}, found {len(found_L4)}, same {matched})"
            )

    def __str__(self) -> str:
        recall, precision = self.matched / max(1, self.true), self.matched / max(1, self.found)
        return (
            f"recall {recall:.4f} ({self.matched}/{self.true}), precision {precision:.4f}"
            f" ({self.matched}/{self.found}), exact count {self.exact / max(1, self.fields):.4f}"
            f" ({self.exact}/{self.fields})"
        )


def match(true_K4: np.ndarray, found_L4: np.ndarray) -> int:
    """Return how many pairs overlap enough, each box once, the best pairs first."""
    if not len(true_K4) or not len(found_L4):
        return 0
    overlaps = measure_overlaps(true_K4, found_L4)
    pairs = 0
    while overlaps.max() >= LEAST_OVERLAP:
        k, j = np.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[k], overlaps[:, j] = 0, 0
        pairs += 1
    return pairs


def read(one: BoxedField) -> PictureField:
    return PictureField(decode_image(one.path.read_bytes(), name=one.path.name))


def boxes_of(found: FoundField) -> np.ndarray:
    return np.array([cell.box for cell in found.record.cells], float).reshape(-1, 4)


def measure_boxes(
    finders: dict[str, Finder], sets: dict[str, list[BoxedField]], rows: list[list[object]]
) -> None:
    """`sets` are the same fields with other boxes."""
    tallies = {(method, name): Tally() for method in finders for name in sets}
    red_errors = []
    for group in zip(*sets.values(), strict=True):
        picture = read(group[0])
        for method, finder in finders.items():
            found = finder.find(picture, group[0].name)
            boxes = boxes_of(found)
            for name, one in zip(sets, group, strict=True):
                tallies[method, name].add(one.name, one.white(), boxes)
            for k, cell in enumerate(found.record.cells):
                rows.append([next(iter(sets)), group[0].name, method, k, *cell.box, cell.score])
            if found.record.n_red_cells is not None:
                true = int((group[-1].kinds_K == RED).sum())
                red_errors.append((found.record.n_red_cells - true) / max(1, true))
    for (method, name), tally in tallies.items():
        print(f"{name}, {method}: {tally}")
        print("   ", "; ".join(tally.wrong), flush=True)
    if red_errors:
        low, middle, high = np.percentile(red_errors, [10, 50, 90])
        print(
            "  red cells, network: relative error of the count at 10, 50 and 90 % of the fields"
            f" {low:+.2f} {middle:+.2f} {high:+.2f}"
        )


def measure_chula(
    finders: dict[str, Finder], fields: list[BoxedField], rows: list[list[object]]
) -> None:
    for method, finder in finders.items():
        names, held, seen = [], 0, 0
        for one in fields:
            found = finder.find(read(one), one.name).record
            boxes = np.array([cell.box for cell in found.cells], float).reshape(-1, 4)
            overlaps = measure_overlaps(boxes, one.boxes_K4)
            held += len(one.white())
            seen += int((overlaps[:, one.kinds_K == WHITE] > LEAST_OVERLAP).sum())
            names += [
                f"{one.name} {cell.box} {cell.score:.2f}"
                for cell, at in zip(found.cells, overlaps, strict=True)
                if not (at > 0.2).any()
            ]
            for k, cell in enumerate(found.cells):
                rows.append(["chula", one.name, method, k, *cell.box, cell.score])
        rate = 100 * len(names) / len(fields)
        print(
            f"Chula, {method}: {len(names)} false in {len(fields)} fields, {rate:.1f} in 100;"
            f" {seen} of {held} white cells found"
        )
        print("   ", "; ".join(names), flush=True)


CHANGES = {
    "turned by 90 deg": lambda pixels: np.rot90(pixels),
    "turned by 180 deg": lambda pixels: np.rot90(pixels, 2),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "darker, 0.8": lambda pixels: np.clip(pixels * 0.8, 0, 255).astype(np.uint8),
    "darker, 0.9": lambda pixels: np.clip(pixels * 0.9, 0, 255).astype(np.uint8),
    "brighter, 1.1": lambda pixels: np.clip(pixels * 1.1, 0, 255).astype(np.uint8),
    "turned by 30 deg": None,
}


def measure_dice(finder: Finder, fields: list[BoxedField], name: str) -> None:
    """Whole fields are turned or changed in brightness and searched again; the mask of each cell
    found there is compared with the mask of the original cell, changed likewise."""
    settings = CropSettings()
    dices: dict[str, list[float]] = {change: [] for change in CHANGES}
    lost = dict.fromkeys(CHANGES, 0)
    for one in fields:
        pixels = read(one).pixels_HWC
        original = finder.find(PictureField(pixels), one.name)
        for change, apply in CHANGES.items():
            if apply is None:
                changed, matrix = turn(pixels, 30.0, original.ground_C)
            else:
                changed, matrix = np.ascontiguousarray(apply(pixels)), None
            again = finder.find(PictureField(changed), one.name)
            for cell in original.record.counted:
                place = move(cell.box, change, pixels.shape, matrix)
                near = [c for c in again.record.cells if overlap(c.box, place) > 0.4]
                if not near:
                    lost[change] += 1
                    continue
                best = max(near, key=lambda c: overlap(c.box, place))
                a = draw_mask(pixels, cell.box, original, settings, cell.scale_px_per_um)
                if matrix is not None:
                    a = cv2.warpAffine(a, matrix, changed.shape[1::-1], flags=cv2.INTER_NEAREST)
                elif "er, " not in change:
                    a = np.ascontiguousarray(apply(a))
                b = draw_mask(changed, best.box, again, settings, best.scale_px_per_um)
                shared = 2 * int((a & b).sum()) / max(1, int(a.sum()) + int(b.sum()))
                dices[change].append(shared)
    for change, values in dices.items():
        if values:
            low, middle = np.percentile(values, [5, 50])
            print(
                f"{name}, nuclei {change}: Dice mean {np.mean(values):.4f}, median {middle:.4f},"
                f" 5th percentile {low:.4f}, {len(values)} cells, {lost[change]} not found again"
            )


def turn(pixels: np.ndarray, degrees: float, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(width * cos + height * sin), int(width * sin + height * cos)
    matrix[:, 2] += np.array(size) / 2 - np.array([width, height]) / 2
    level = tuple(float(one) for one in ground)
    return cv2.warpAffine(pixels, matrix, size, borderValue=level), matrix


def move(
    box: tuple[int, ...], change: str, shape: tuple[int, ...], matrix: np.ndarray | None
) -> tuple[float, ...]:
    x0, y0, x1, y1 = box
    height, width = shape[:2]
    if matrix is not None:
        x, y = matrix @ np.array([(x0 + x1) / 2, (y0 + y1) / 2, 1.0])
        half = ((x1 - x0) / 2, (y1 - y0) / 2)
        return x - half[0], y - half[1], x + half[0], y + half[1]
    if change == "turned by 90 deg":
        return y0, width - x1, y1, width - x0
    if change == "turned by 180 deg":
        return width - x1, height - y1, width - x0, height - y0
    if change == "mirrored":
        return width - x1, y0, width - x0, y1
    return x0, y0, x1, y1


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return float(measure_overlaps(np.array([a], float), np.array([b], float))[0, 0])


def draw_mask(
    pixels: np.ndarray,
    box: tuple[int, ...],
    found: FoundField,
    settings: CropSettings,
    scale: float,
) -> np.ndarray:
    """The mask of a cell's nucleus as it lies in the field."""
    crop = cut_cell(pixels, box, scale, found.ground_C, settings)
    zoom = settings.px_per_um / scale
    mask = mark_nucleus(crop, ((box[2] - box[0]) * zoom, (box[3] - box[1]) * zoom), found.ground_C)
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    shift = settings.side_px / 2
    back = np.array(
        [
            [zoom, 0, shift - middle_x * zoom + (zoom - 1) / 2],
            [0, zoom, shift - middle_y * zoom + (zoom - 1) / 2],
        ]
    )
    return cv2.warpAffine(
        mask, back, pixels.shape[1::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )


class _Graph(FinderNetwork):
    """Another graph than the one that comes with the package."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--half", choices=("train", "test"), default="test")
    parser.add_argument(
        "--sets", nargs="*", default=("bccd", "raabin", "chula", "dice"),
        choices=("bccd", "raabin", "chula", "dice"),
    )  # fmt: skip
    parser.add_argument("--methods", nargs="*", default=("network", "nuclei"))
    parser.add_argument("--least-score", type=float, default=LEAST_SCORE)
    parser.add_argument("--boxes", type=Path, help="write what was found to this CSV")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    network = _Graph(args.graph) if args.graph else None
    finders = {
        method: Finder(method, network=network, least_score=args.least_score)
        for method in args.methods
    }
    half = None if args.all else args.half
    rows: list[list[object]] = []
    start = time.perf_counter()
    if "bccd" in args.sets:
        measure_boxes(
            finders,
            {
                "BCCD, its own boxes": load_bccd(args.data, half, corrected=False),
                "BCCD, corrected boxes": load_bccd(args.data, half, corrected=True),
            },
            rows,
        )
    if "raabin" in args.sets:
        measure_boxes(
            finders,
            {
                "Raabin, its own boxes": load_raabin(args.data, corrected=False),
                "Raabin, corrected boxes": load_raabin(args.data, corrected=True),
            },
            rows,
        )
    if "chula" in args.sets:
        measure_chula(finders, load_chula(args.data, half), rows)
    if "dice" in args.sets:
        for method, finder in finders.items():
            bccd = load_bccd(args.data, half, corrected=True)
            measure_dice(finder, bccd[::4], f"BCCD, {method}")
            measure_dice(finder, load_raabin(args.data, corrected=True)[::10], f"Raabin, {method}")
    print(f"{time.perf_counter() - start:.0f} s")
    if args.boxes:
        with args.boxes.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
