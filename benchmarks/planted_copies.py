"""How many copies under names of their own are found by pixels? (docs/experiments/035)

Run `python benchmarks/planted_copies.py --work FOLDER [--pbc ../shared/data/pbc]`; needs the extra
`sources`, and for the second part the images of PBC. One line for each way to copy: of 96 painted
cells of 64 and of 96 pixels, and of 12 PBC cells of each class among 2,000, how many copies are
found, with the right original, and the fewest matched features. Then the time and the false finds
of comparing 300 of these PBC images with the other 1,700, without a cache and again with it.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from leukoscope.data.catalog import ImageRecord
from leukoscope.painted.cells import save_painted
from leukoscope.pipelines import scan_images
from leukoscope.sources.comparison import find_copies

PALE = (235, 225, 230)


def _turn(angle_deg: float, fill: tuple[int, int, int]) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(angle_deg, Image.Resampling.BICUBIC, fillcolor=fill)


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10))


def _brighten(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) * 1.15 + 5, 0, 255).astype(np.uint8))


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 37 degrees, pale corners": _turn(37, PALE),
    "turned by 37 degrees, black corners": _turn(37, (0, 0, 0)),
    "flipped": ImageOps.mirror,
    "flipped and turned by 143 degrees": lambda image: _turn(143, PALE)(ImageOps.flip(image)),
    "JPEG of quality 30": lambda image: image,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "cropped to 80 % of each side": _crop,
    "brighter": _brighten,
}


def plant(originals: Sequence[ImageRecord], others: Sequence[ImageRecord], work: Path) -> None:
    """Copy some images in each way, look for them among the others, and print what was found."""
    for way, change in WAYS.items():
        folder = work / way.replace(" ", "_").replace("%", "") / "copies"
        folder.mkdir(parents=True)
        for i, record in enumerate(originals):
            with Image.open(record.path) as image:
                copy = change(image.convert("RGB"))
            copy.save(folder / f"{i:03d}.jpg", quality=30 if "JPEG" in way else 90)
        copies = scan_images(folder.parent).records
        found = find_copies(copies, others, cache=work.parent / "cache.sqlite")
        truth = {c.id: o.id for c, o in zip(copies, originals, strict=True)}
        right = sum(truth[name] == other for name, other in found.pairs)
        print(
            f"{work.name}: {way}: {right} of {len(copies)},"
            f" {len(found.pairs) - right} with another original, {found.n_smooth} undecided"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--pbc", type=Path, help="class folders of PBC")
    given = parser.parse_args()
    given.work.mkdir(parents=True)
    for size_px in (64, 96):
        table = save_painted(given.work / f"cells{size_px}", 96, copies=1, size_px=size_px)
        cells = scan_images(table).records
        plant(cells, cells, given.work / f"painted {size_px} px")
    if given.pbc is None:
        return
    draw = random.Random(1)
    for folder in sorted(given.pbc.iterdir()):
        (given.work / "pbc" / folder.name).mkdir(parents=True)
        for path in draw.sample(sorted(folder.glob("*.jpg")), 250):
            (given.work / "pbc" / folder.name / path.name).symlink_to(path.resolve())
    records = list(scan_images(given.work / "pbc").records)
    draw.shuffle(records)
    for again in ("without a cache", "again"):
        wall, cpu = time.perf_counter(), time.process_time()
        found = find_copies(records[:300], records[300:], cache=given.work / "cache.sqlite")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"300 with 1,700 {again}: {wall:.1f} s, {cpu:.1f} s of CPU, copies {found.pairs}")
    chosen = [
        one
        for label in sorted({r.label for r in records})
        for one in [r for r in records if r.label == label][:12]
    ]
    plant(chosen, records, given.work / "pbc cells")


if __name__ == "__main__":
    main()
