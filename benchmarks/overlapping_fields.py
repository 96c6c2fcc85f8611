"""How well overlapping fields are recognised, and whether fields that do not overlap are joined.

    python benchmarks/overlapping_fields.py --data ../shared/data [--pairs FOLDER]

Recall: painted fields on the path of a stage, and windows cut from real fields, by the share that
neighbours have in common; the second field is taken by another exposure, white balance, focus and
JPEG encoder. False joins: all pairs of the real fields of each set, and painted fields that lie
apart; what was joined is saved side by side in FOLDER, to be looked at. Time by number of fields.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from leukoscope.painted.fields import paint_fields
from leukoscope.smear.overlap import build_view, find_overlaps

SHARES = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8)


def photograph_again(pixels_HWC, rng):
    """Another exposure, white balance and focus; grain; JPEG."""
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.95, 1.05, 3)
    picture = np.clip(pixels_HWC * gain + rng.uniform(-12, 12), 0, 255)
    picture = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(60, 93)))
    return np.array(Image.open(buffer).convert("RGB"))


def list_true(places, size_px):
    """Pairs whose fields share more than nothing, with their share and translation."""
    true = {}
    for i, a in enumerate(places):
        for j, b in enumerate(places[i + 1 :], i + 1):
            dx, dy = b[0] - a[0], b[1] - a[1]
            if abs(dx) < size_px[0] and abs(dy) < size_px[1]:
                area = (size_px[0] - abs(dx)) * (size_px[1] - abs(dy))
                true[i, j] = (area / (size_px[0] * size_px[1]), dx, dy)
    return true


def measure_painted(share, n_samples, rng):
    """Recall of neighbours on the path, errors of their places, false joins."""
    fields = list(paint_fields(9, n_samples=n_samples, overlap_frac=share, seed=int(100 * share)))
    n, found_n, false, errors = 0, 0, 0, []
    for k in range(n_samples):
        part = fields[9 * k : 9 * k + 9]
        views = [build_view(photograph_again(field.pixels_HWC, rng)) for field in part]
        true = list_true([field.place_px for field in part], (640, 480))
        found = {(one.first, one.second): one for one in find_overlaps(views)}
        false += len(set(found) - set(true))
        near = {pair: move for pair, move in true.items() if move[0] >= 0.85 * share}
        n += len(near)
        for pair, (_, dx, dy) in near.items():
            if pair in found:
                found_n += 1
                errors.append(max(abs(found[pair].dx_px - dx), abs(found[pair].dy_px - dy)))
    return found_n, n, float(np.quantile(errors, 0.95)), false


def measure_windows(images, share, rng, size_px=(400, 300)):
    """Recall on two windows of each real field, the second to the right of the first or below."""
    found_n, n, errors = 0, 0, []
    for k, pixels_HWC in enumerate(images):
        height, width = pixels_HWC.shape[:2]
        w, h = size_px if width >= 600 and height >= 420 else (width * 5 // 8, height * 5 // 8)
        dx, dy = (round(w * (1 - share)), 0) if k % 2 else (0, round(h * (1 - share)))
        if dx + w > width or dy + h > height:
            w, h = int(width / (2 - share)), int(height / (2 - share))
            dx, dy = (round(w * (1 - share)), 0) if k % 2 else (0, round(h * (1 - share)))
        one, two = pixels_HWC[:h, :w], pixels_HWC[dy : dy + h, dx : dx + w]
        views = [build_view(one), build_view(photograph_again(two, rng))]
        found = find_overlaps(views)
        n += 1
        if found:
            found_n += 1
            errors.append(max(abs(found[0].dx_px - dx), abs(found[0].dy_px - dy)))
    return found_n, n, float(np.quantile(errors, 0.95)) if errors else float("nan")


def measure_false_joins(name, images, folder):
    start = time.process_time()
    views = [build_view(pixels_HWC) for pixels_HWC in images]
    between = time.process_time()
    found = find_overlaps(views)
    seconds = time.process_time() - between
    n = len(images)
    print(
        f"{name}: {n} fields, {n * (n - 1) // 2:,} pairs, {len(found)} joined; views "
        f"{1000 * (between - start) / n:.0f} ms a field, pairs {seconds:.1f} s",
        flush=True,
    )
    for one in found:
        print(f"  {one}")
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            both = [Image.fromarray(images[k]).resize((480, 360)) for k in (one.first, one.second)]
            side = Image.fromarray(np.hstack([np.asarray(image) for image in both]))
            side.save(folder / f"{name}_{one.first}_{one.second}.png")


def load(paths):
    return [np.array(Image.open(path).convert("RGB")) for path in sorted(paths)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["painted", "windows", "joins", "time"])
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    sets = {}
    if args.data:
        sets = {
            "bccd": load((args.data / "bccd/JPEGImages").glob("*.jpg")),
            "raabin": load((args.data / "raabin").glob("*/*.jpg")),
            "chula": load((args.data / "chula_rbc12/images").glob("*.jpg")),
        }
    if "painted" in args.only:
        for share in SHARES:
            found_n, n, error, false = measure_painted(share, args.samples, rng)
            print(
                f"painted, neighbours share {share:.0%}: {found_n} of {n} pairs found, "
                f"95 % of places within {error:.0f} px, {false} false",
                flush=True,
            )
    if "windows" in args.only:
        for name, images in sets.items():
            for share in SHARES:
                found_n, n, error = measure_windows(images[::4], share, rng)
                print(
                    f"{name}, windows share {share:.0%}: {found_n} of {n} found, "
                    f"95 % of places within {error:.0f} px",
                    flush=True,
                )
    if "joins" in args.only:
        for name, images in sets.items():
            measure_false_joins(name, images, args.pairs)
        painted = [field.pixels_HWC for field in paint_fields(200, seed=11)]
        measure_false_joins("painted, one slide", painted, args.pairs)
    if "time" in args.only:
        few = [build_view(field.pixels_HWC) for field in paint_fields(60, n_samples=4, seed=12)]
        for n in (250, 500, 1000, 2000):
            # Views are shifted copies: what is measured is the search, not the painting.
            views = [few[k % len(few)] for k in range(n)]
            views = [disturb(view, rng) for view in views]
            start = time.process_time()
            found = find_overlaps(views)
            print(
                f"{n} fields: {time.process_time() - start:.1f} s of CPU, {len(found)} pairs",
                flush=True,
            )


def disturb(view, rng):
    """A view of another place: its features moved and changed, its picture turned over."""
    from dataclasses import replace

    noise = rng.integers(-25, 26, view.descriptors_KD.shape)
    changed = np.clip(view.descriptors_KD.astype(int) + noise, 0, 255).astype(np.uint8)
    points_K4 = view.points_K4.copy()
    points_K4[:, :2] = rng.uniform(0, 190, (len(points_K4), 2))
    flips = int(rng.integers(4))
    grey_HW = view.grey_HW[:: 1 - 2 * (flips & 1), :: 1 - (flips & 2)]
    return replace(
        view,
        descriptors_KD=changed,
        points_K4=points_K4,
        grey_HW=np.roll(grey_HW, rng.integers(0, 150, 2), (0, 1)),
    )


if __name__ == "__main__":
    main()
