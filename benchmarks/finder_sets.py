"""Real smear fields with boxes, for training and measuring the finder.

BCCD's fields fall into two halves by a hash of their names: `train` may be used for training and
tuning, `test` for neither. Chula's likewise. Raabin's boxes were made with the help of a YOLOv8n:
they serve for measuring, and for the experiment the other way round, never for what ships.

Boxes are pixels of the field, maxima exclusive. What this file does not do: it trains and measures
nothing.
"""

import csv
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from leukoscope.smear.network import PLATELET, RED, WHITE

BCCD_CORRECTIONS, RAABIN_CORRECTIONS = (
    Path(__file__).parent / "data" / f"{name}_corrections.csv" for name in ("bccd", "raabin")
)

CHULA_WHITE = Path(__file__).parent / "data" / "chula_white_cells.csv"
"""White cells that Chula's fields do hold, found by looking at them."""

_KINDS = {"WBC": WHITE, "RBC": RED, "Platelets": PLATELET}

UNCERTAIN = -1
"""A kind: white cell or something else, a person cannot tell."""

Half = Literal["train", "test"]


@dataclass
class BoxedField:
    """A field with what is known of it: `boxes_K4` with `kinds_K`, or red cells' centres alone."""

    path: Path
    name: str
    boxes_K4: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    kinds_K: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    points_K2: np.ndarray | None = None

    def white(self) -> np.ndarray:
        return self.boxes_K4[self.kinds_K == WHITE]


def choose_half(name: str) -> Half:
    """Return the half of a field, by a hash of its name."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def load_bccd(data: Path, half: Half | None = None, *, corrected: bool) -> list[BoxedField]:
    """Return the fields of BCCD, with their own boxes or with the corrections."""
    found = []
    for path in sorted((data / "bccd" / "Annotations").glob("*.xml")):
        if half is not None and choose_half(path.stem) != half:
            continue
        boxes, kinds = [], []
        for one in ET.parse(path).getroot().findall("object"):
            box = one.find("bndbox")
            x_min, y_min, x_max, y_max = (
                int(float(box.find(name).text)) for name in ("xmin", "ymin", "xmax", "ymax")
            )
            # Pascal VOC counts pixels from 1, the last inclusive.
            boxes.append((x_min - 1, y_min - 1, x_max, y_max))
            kinds.append(_KINDS[one.find("name").text])
        image = data / "bccd" / "JPEGImages" / f"{path.stem}.jpg"
        found.append(
            BoxedField(
                image, path.stem, np.array(boxes, float).reshape(-1, 4), np.array(kinds, int)
            )
        )
    if corrected:
        _correct(found, BCCD_CORRECTIONS)
    return found


def _correct(fields: list[BoxedField], corrections: Path) -> None:
    by_name = {one.name: one for one in fields}
    with corrections.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            one = by_name.get(row["field"])
            if one is None:
                continue
            kind = _KINDS[row["label"]]
            if row["action"] in ("drop", "change"):
                old = np.array([float(row[f"old_{k}"]) for k in _SIDES])
                is_it = (np.abs(one.boxes_K4 - old).max(axis=1) < 1.5) & (one.kinds_K == kind)
                if is_it.sum() != 1:
                    raise ValueError(f"{row['field']}: {is_it.sum()} boxes at {old}")
                one.boxes_K4, one.kinds_K = one.boxes_K4[~is_it], one.kinds_K[~is_it]
            if row["action"] in ("add", "change"):
                new = np.array([[float(row[f"new_{k}"]) for k in _SIDES]])
                one.boxes_K4 = np.concatenate([one.boxes_K4, new])
                one.kinds_K = np.append(one.kinds_K, kind)


_SIDES = ("x_min", "y_min", "x_max", "y_max")


def load_raabin(data: Path, *, corrected: bool) -> list[BoxedField]:
    """Return the 500 images of Raabin with their boxes, or with the corrections: where boxes and
    either finder disagreed, a person looked."""
    by_path: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
    with (data / "raabin" / "cells.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_path[row["path"]] = []
    with (data / "raabin" / "boxes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            box = tuple(float(row[side]) for side in _SIDES)
            by_path.setdefault(row["path"], []).append((_KINDS[row["label"]], box))
    found = [
        BoxedField(
            data / "raabin" / path,
            path,
            np.array([box for _, box in boxes], float).reshape(-1, 4),
            np.array([kind for kind, _ in boxes], int),
        )
        for path, boxes in sorted(by_path.items())
    ]
    if corrected:
        _correct(found, RAABIN_CORRECTIONS)
    return found


def load_chula(data: Path, half: Half | None = None) -> list[BoxedField]:
    """Return the fields of Chula RBC-12 with the centres of their red cells and the few white
    cells that they hold."""
    points: dict[str, list[tuple[float, float]]] = {}
    with (data / "chula_rbc12" / "points.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points.setdefault(row["path"], []).append((float(row["x_px"]), float(row["y_px"])))
    white: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
    with CHULA_WHITE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            box = tuple(float(row[side]) for side in _SIDES)
            kind = WHITE if row["certain"] == "1" else UNCERTAIN
            white.setdefault(row["field"], []).append((kind, box))
    return [
        BoxedField(
            path,
            path.stem,
            np.array([box for _, box in white.get(path.stem, [])], float).reshape(-1, 4),
            np.array([kind for kind, _ in white.get(path.stem, [])], int),
            points_K2=np.array(points.get(f"images/{path.name}", [])).reshape(-1, 2),
        )
        for path in sorted((data / "chula_rbc12" / "images").iterdir())
        if half is None or choose_half(path.stem) == half
    ]


def measure_overlaps(a_K4: np.ndarray, b_L4: np.ndarray) -> np.ndarray:
    """Return intersection over union of each box with each other: `(K, L)`."""
    low = np.maximum(a_K4[:, None, :2], b_L4[None, :, :2])
    high = np.minimum(a_K4[:, None, 2:], b_L4[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(axis=1) for one in (a_K4, b_L4)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
