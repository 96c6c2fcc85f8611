"""Boxes round the cells of images that are explained, and which image each of them belongs to.

What this file does not do: it places no box in the network's input (`explain.faithfulness`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.errors import DataError, ImageError
from leukoscope.labels import resolve_label

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.images import Box

    Pixels = NDArray[np.uint8]

SAME = 8.0
"""Mean difference of grey levels: JPEG of quality 20 makes 5.4 at most, different images of a set
are 12.6 and more apart (BCCD, PBC, dataset2-master)."""

_REMEDY = "name the folder of images and annotations, and the label by --box-label"


@dataclass(frozen=True)
class Boxes:
    """The boxes of one label. `by_path` is keyed by resolved path; `by_name` says which annotated
    images bear a name."""

    label: str
    by_path: "Mapping[Path, Sequence[Box]]"
    by_name: Mapping[str, Sequence[Path]]

    def find(self, path: Path, pixels_HWC: "Pixels") -> "tuple[Sequence[Box], bool]":
        """Return the boxes of an image, and whether it only bears the name of an annotated one.

        An image elsewhere is the annotated one if it has its name, its size and its pixels, up to
        compression. By the name alone a resized or another image would get boxes that lie wrong.
        """
        mine = self.by_path.get(path.resolve())
        if mine is not None:
            return mine, False
        same_named = self.by_name.get(path.name, ())
        for known in same_named:
            if _is_same(pixels_HWC, known):
                return self.by_path[known], False
        return (), bool(same_named)


def load_boxes(folder: Path, label: str) -> Boxes:
    """Load the boxes of a label from a detection set. Raises `DataError` if there is none."""
    from leukoscope.data.images import probe_file
    from leukoscope.data.readers import Candidate, find_candidates, place_box

    wanted = resolve_label(label)
    by_path: dict[Path, list[Box]] = {}
    for candidate in find_candidates(folder).entries:
        if not isinstance(candidate, Candidate) or resolve_label(candidate.label) != wanted:
            continue
        box = candidate.box
        if candidate.frac_box is not None:
            try:
                facts = probe_file(candidate.path)
            except ImageError:
                continue
            box = place_box(candidate, facts.width, facts.height)
        if box is not None:
            by_path.setdefault(candidate.path.resolve(), []).append(box)
    if not by_path:
        raise DataError(
            f"{folder} must be a folder of images with boxes of {label}", "none", _REMEDY
        )
    by_name: dict[str, list[Path]] = {}
    for path in by_path:
        by_name.setdefault(path.name, []).append(path)
    return Boxes(label, by_path, by_name)


def check_boxes(boxes: Boxes, paths: Sequence[Path]) -> None:
    """Raise `DataError` unless one of these images, at least, has a box."""
    from leukoscope.data.images import decode_file

    n_same_named = 0
    for path in paths:
        if path.resolve() in boxes.by_path:
            return
        if path.name not in boxes.by_name:
            continue
        try:
            found, is_same_named = boxes.find(path, decode_file(path))
        except ImageError:
            continue
        if found:
            return
        n_same_named += is_same_named
    more = f"; {n_same_named:,} bear the name of one that has, and show something else"
    raise DataError(
        f"the folder of boxes must frame cells of these images as {boxes.label}",
        f"no box for any of {len(paths):,} images{more if n_same_named else ''}",
        _REMEDY,
    )


def move_boxes(boxes: "Sequence[Box]", seen: "Box") -> "list[Box]":
    """Return boxes as they lie in the part of an image that is seen; those outside drop out.

    >>> move_boxes([(10, 10, 30, 30), (0, 0, 5, 5)], (20, 5, 60, 45))
    [(0, 5, 10, 25)]
    """
    left, top, right, bottom = seen
    moved = [
        (max(x, left) - left, max(y, top) - top, min(x_max, right) - left, min(y_max, bottom) - top)
        for x, y, x_max, y_max in boxes
    ]
    return [box for box in moved if box[0] < box[2] and box[1] < box[3]]


def _is_same(pixels_HWC: "Pixels", path: Path) -> bool:
    import numpy as np

    from leukoscope.data.images import decode_file

    try:
        known_HWC = decode_file(path)
    except ImageError:
        return False
    if known_HWC.shape != pixels_HWC.shape:
        return False
    return float(np.abs(known_HWC.astype(np.int16) - pixels_HWC).mean()) < SAME
