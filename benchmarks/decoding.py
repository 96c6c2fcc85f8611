"""Decoding JPEG files: is there a faster way that gives the same pixels? (docs/experiments/014)

Run `python benchmarks/decoding.py --images FOLDER [--n 300]`. Milliseconds per image for decoding
and resizing, and the difference of its pixels from Pillow's whole decoding, in grey levels.
`scaled` lets libjpeg leave out what a smaller image does not need. Needs the package simplejpeg.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image


def shrink(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def by_pillow(content: bytes, side: int) -> np.ndarray:
    return shrink(Image.open(io.BytesIO(content)), side)


def by_pillow_scaled(content: bytes, side: int) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (side, side))
    return shrink(image, side)


def by_simplejpeg(content: bytes, side: int) -> np.ndarray:
    return shrink(Image.fromarray(simplejpeg.decode_jpeg(content, "RGB")), side)


def by_simplejpeg_scaled(content: bytes, side: int) -> np.ndarray:
    pixels = simplejpeg.decode_jpeg(
        content, "RGB", fastdct=True, fastupsample=True, min_height=side, min_width=side
    )
    return shrink(Image.fromarray(pixels), side)


WAYS: dict[str, Callable[[bytes, int], np.ndarray]] = {
    "Pillow": by_pillow,
    "simplejpeg": by_simplejpeg,
    "Pillow, scaled": by_pillow_scaled,
    "simplejpeg, scaled, fast": by_simplejpeg_scaled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    found = sorted(p for p in given.images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    drawn = np.random.default_rng(0).permutation(len(found))[: given.n]
    contents = [found[i].read_bytes() for i in drawn]
    print(f"{len(contents)} files, {Image.open(found[0]).size} pixels")
    print(f"{'side':>5} {'way':26}{'ms':>6}{'against Pillow':>22}{'mean, max difference':>24}")
    for side in (96, 128, 160, 224):
        exact = [by_pillow(content, side) for content in contents]
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(given.rounds):
            for name, decode in WAYS.items():
                start = time.perf_counter()
                for content in contents:
                    decode(content, side)
                times[name].append((time.perf_counter() - start) / len(contents))
        for name, decode in WAYS.items():
            off = [
                np.abs(decode(content, side).astype(int) - one)
                for content, one in zip(contents, exact, strict=True)
            ]
            ratios = [a / b for a, b in zip(times["Pillow"], times[name], strict=True)]
            print(
                f"{side:5} {name:26}{1e3 * statistics.median(times[name]):6.2f}"
                f"{statistics.median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                f"{np.mean([x.mean() for x in off]):15.2f}, {max(x.max() for x in off)}"
            )


if __name__ == "__main__":
    main()
