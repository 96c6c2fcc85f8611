"""Do the guards of `data.images` reject what is damaged, and nothing else?

    python benchmarks/damaged_images.py ../shared/data

Prints how many real images are rejected by reason (none should be), how many of their halves with
an end marker are found, what probing costs, and the peak of memory for the largest pictures.
"""

import io
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.data.images import MAX_PIXELS, decode_image, probe_image
from leukoscope.errors import ImageError

END = b"\xff\xd9"
CASES = ("rgb.png", "rgba.png", "grey16.png", "rgb.jpg", "progressive.jpg", "rgb.tif")


def reason_of(content):
    try:
        probe_image(content)
    except ImageError as error:
        return error.reason
    return "whole"


def measure_real(folder):
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp")
    )
    random.Random(0).shuffle(files)
    start, counts, rejected = time.process_time(), Counter(), []
    for path in files:
        reason = reason_of(path.read_bytes())
        counts[reason] += 1
        if reason != "whole":
            rejected.append(f"{path}: {reason}")
    spent = (time.process_time() - start) / len(files)
    print(f"{len(files):,} real images: {dict(counts)}; {1000 * spent:.2f} ms each")
    print(*rejected[:20], sep="\n")
    jpegs = [p for p in files if p.suffix.lower() != ".png"][:300]
    halves = [p.read_bytes() for p in jpegs]
    found = Counter(reason_of(content[: len(content) // 2] + END) for content in halves)
    print(f"{len(halves)} halves with an end marker: {dict(found)}")
    draw = random.Random(1)
    cut = [c[: draw.randrange(len(c) // 4, len(c) - 2)] + END for c in halves]
    print(
        f"{len(cut)} cut anywhere in the last three quarters: {dict(Counter(map(reason_of, cut)))}"
    )
    again = []
    for content in halves:
        stream = io.BytesIO()
        Image.open(io.BytesIO(content)).save(stream, "JPEG", quality=90, progressive=True)
        again.append(stream.getvalue())
    print(f"{len(again)} saved as progressive: {dict(Counter(map(reason_of, again)))}")
    cut = [c[: draw.randrange(len(c) // 4, len(c) - 2)] + END for c in again]
    print(f"cut anywhere in the last three quarters: {dict(Counter(map(reason_of, cut)))}")


def measure_peak(name):
    """Peak memory of decoding one picture of the largest size, in MB."""
    side = int(MAX_PIXELS**0.5)
    if name.startswith("rgba"):
        image = Image.new("RGBA", (side, side), (200, 100, 90, 128))
    elif name.startswith("grey16"):
        image = Image.fromarray(np.full((side, side), 50_000, np.uint16))
    else:
        image = Image.new("RGB", (side, side), (200, 100, 90))
    stream = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF", "png": "PNG"}[name.split(".")[1]]
    image.save(stream, kind, **({"progressive": True} if name.startswith("prog") else {}))
    content = stream.getvalue()
    del image, stream
    place = Path(sys.argv[3])
    place.write_bytes(content)


def main():
    if sys.argv[1] == "make":
        measure_peak(sys.argv[2])
    elif sys.argv[1] == "decode":
        decode_image(Path(sys.argv[2]).read_bytes())
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    else:
        measure_real(Path(sys.argv[1]))
        for name in CASES:
            place = Path("/tmp") / f"leukoscope_{name}"
            own = [sys.executable, "-m", "benchmarks.damaged_images"]
            subprocess.run([*own, "make", name, str(place)], check=True)
            done = subprocess.run(
                [*own, "decode", str(place)], check=True, capture_output=True, text=True
            )
            print(f"{name}: {place.stat().st_size / 1e6:.1f} MB, peak {done.stdout.strip()} MB")
            place.unlink()


if __name__ == "__main__":
    main()
