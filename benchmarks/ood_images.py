"""Out-of-distribution images for `novelty.py` and `ood_rejection.py`: made or cut, never stored.

Axes: S side in pixels, C red, green, blue. Every function returns uint8 `(N, S, S, 3)` as
`images.resize_image` would give them, the same for the same seed. What this file does not do: it
knows no network and measures nothing.
"""

import string
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from leukoscope.data.images import decode_image, load_content, resize_image
from leukoscope.painted.cells import paint_cells

Images = NDArray[np.uint8]

MOST = 600
"""Images per group at most."""

SMEAR = (248, 225, 200)
"""About the background of a PBC image: text and noise are also drawn on it."""


def read_files(paths: list[Path], side: int, rng: np.random.Generator) -> Images:
    chosen = sorted(rng.permutation(len(paths))[:MOST])
    return np.stack([resize_image(decode_image(load_content(paths[i])), side) for i in chosen])


def read_boxes(folder: Path, name: str, side: int, rng: np.random.Generator) -> Images:
    """Cut the VOC boxes of one name out of the fields of BCCD; slivers at the border left out."""
    boxes = []
    for path in sorted((folder / "Annotations").glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        field = folder / "JPEGImages" / f"{path.stem}.jpg"
        for one in root.iter("object"):
            if one.findtext("name") != name or not field.is_file():
                continue
            at = one.find("bndbox")
            box = [int(float(at.findtext(key))) for key in ("xmin", "ymin", "xmax", "ymax")]
            if min(box[2] - box[0], box[3] - box[1]) >= 30:
                boxes.append((field, box))
    found = []
    for i in sorted(rng.permutation(len(boxes))[:MOST]):
        field, (left, top, right, bottom) = boxes[i]
        pixels = decode_image(load_content(field))
        found.append(resize_image(pixels[max(0, top) : bottom, max(0, left) : right], side))
    return np.stack(found)


def paint(side: int, seed: int) -> Images:
    """Painted cells, of every second source the moved copy with its black fill."""
    cells = list(paint_cells(MOST // 4, copies=2, size_px=side, seed=seed))
    return np.stack([cell.pixels_HWC for cell in cells])


def draw_noise(side: int, rng: np.random.Generator) -> dict[str, Images]:
    n = MOST // 2
    shape = (n, side, side, 3)
    uniform = rng.integers(0, 256, shape, dtype=np.uint8)
    mean = rng.uniform(30, 225, (n, 1, 1, 3))
    mean[: n // 2] = SMEAR
    sd = rng.uniform(5, 80, (n, 1, 1, 1))
    gaussian = np.clip(mean + sd * rng.normal(size=shape), 0, 255).astype(np.uint8)
    coloured = np.stack([_draw_coloured(side, rng) for _ in range(n)])
    flat = rng.integers(0, 256, (n, 1, 1, 3))
    grey = rng.integers(0, 256, (n // 2, 1, 1, 1))
    flat[: n // 2] = grey
    flat[0], flat[1], flat[2], flat[3] = 0, 255, 128, SMEAR
    return {
        "uniform noise": uniform,
        "Gaussian noise": gaussian,
        "coloured noise": coloured,
        "one colour": np.broadcast_to(flat, shape).astype(np.uint8),
        "black": np.zeros((1, side, side, 3), np.uint8),
        "white": np.full((1, side, side, 3), 255, np.uint8),
        "mid grey": np.full((1, side, side, 3), 128, np.uint8),
    }


def _draw_coloured(side: int, rng: np.random.Generator) -> Images:
    """Noise of power 1 / f^a, a from 0.5 to 4, each channel mixed with the others at random."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :]
    f = np.maximum(np.hypot(fy, fx), 1 / side) ** -(rng.uniform(0.5, 4) / 2)
    planes = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, side, side))) * f).real
    planes /= planes.std(axis=(1, 2), keepdims=True)
    mixed = np.tensordot(rng.normal(size=(3, 3)), planes, 1)
    mean = np.array(SMEAR) if rng.uniform() < 0.5 else rng.uniform(60, 200, 3)
    pixels = mean[:, None, None] + rng.uniform(10, 50) * mixed
    return np.clip(pixels, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def draw_text(side: int, rng: np.random.Generator) -> Images:
    """Pages of random words: sizes, colours, some blurred; a third on the ground of a smear."""
    letters = np.array(list(string.ascii_letters + string.digits + "     .,;"))
    found = []
    for i in range(MOST // 2):
        ground = (255, 255, 255) if i % 3 == 0 else tuple(rng.integers(0, 256, 3).tolist())
        ground = SMEAR if i % 3 == 1 else ground
        ink = (0, 0, 0) if i % 2 == 0 else tuple(rng.integers(0, 200, 3).tolist())
        page = Image.new("RGB", (2 * side, 2 * side), ground)
        size = float(rng.uniform(side / 10, side))
        font = ImageFont.load_default(size)
        y = float(rng.uniform(-size / 2, size))
        while y < 2 * side:
            line = "".join(rng.choice(letters, 2 + int(5 * side / size)))
            ImageDraw.Draw(page).text((rng.uniform(0, size), y), line, fill=ink, font=font)
            y += 1.2 * size
        page = page.rotate(float(rng.uniform(-10, 10)), fillcolor=ground)
        if rng.uniform() < 0.3:
            page = page.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 4))))
        found.append(np.asarray(page.resize((side, side), Image.Resampling.BILINEAR)))
    return np.stack(found)


def cut_photographs(side: int, rng: np.random.Generator) -> Images:
    """Crops of the colour and grey photographs that scikit-image and scikit-learn bring along."""
    import skimage
    import sklearn.datasets

    names = "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png"
    names += " gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png"
    names += " retina.jpg rocket.jpg"
    folder = Path(skimage.__file__).parent / "data"
    paths = [folder / name for name in names.split()]
    photographs = [decode_image(load_content(path)) for path in paths]
    photographs += [np.asarray(one) for one in sklearn.datasets.load_sample_images().images]
    found = [resize_image(one, side) for one in photographs]
    while len(found) < MOST:
        one = photographs[len(found) % len(photographs)]
        height, width = one.shape[:2]
        cut = int(rng.uniform(min(64, height, width), min(height, width) + 1))
        top, left = rng.integers(0, height - cut + 1), rng.integers(0, width - cut + 1)
        found.append(resize_image(one[top : top + cut, left : left + cut], side))
    return np.stack(found)


def match_colour(images: Images, internal: Images) -> Images:
    """Give images the mean and deviation of each channel's optical density of the internal
    test set (Reinhard et al. 2001, in density instead of a perceptual space): what a stain
    standardiser would do."""

    def take_density(pixels: Images) -> NDArray[np.float64]:
        return -np.log((pixels.astype(np.float64) + 1) / 256)

    wanted = take_density(internal).reshape(-1, 3)
    density = take_density(images)
    mean = density.mean(axis=(1, 2), keepdims=True)
    sd = density.std(axis=(1, 2), keepdims=True) + 1e-6
    density = (density - mean) / sd * wanted.std(axis=0) + wanted.mean(axis=0)
    return np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8)


def corrupt_internal(internal: Images, rng: np.random.Generator) -> dict[str, Images]:
    """Internal test images made unusable or strange."""

    def change(one: Callable[[Image.Image], Image.Image]) -> Images:
        return np.stack([np.asarray(one(Image.fromarray(pixels))) for pixels in internal])

    side = internal.shape[1]
    corner = side // 4
    turned = np.roll(internal, 1, axis=3)
    noisy = internal.astype(np.float64) + 25 * rng.normal(size=internal.shape)
    return {
        "internal: a corner": np.stack([resize_image(x[:corner, :corner], side) for x in internal]),
        "internal: blur 2 px": change(lambda x: x.filter(ImageFilter.GaussianBlur(2 * side / 128))),
        "internal: half as bright": (internal // 2).astype(np.uint8),
        "internal: channels moved": turned,
        "internal: noise of 25": np.clip(noisy, 0, 255).astype(np.uint8),
        "internal: inner half": np.stack(
            [resize_image(x[corner:-corner, corner:-corner], side) for x in internal]
        ),
        "internal: inverted": (255 - internal).astype(np.uint8),
    }


def build_groups(data: Path, side: int, internal: Images, seed: int = 0) -> dict[str, Images]:
    """All groups by name; those beginning with `internal` or `extra` are not part of the target."""
    rng = np.random.default_rng(seed)
    kaggle = data / "dataset2-master" / "images"
    groups = {
        name: read_files(sorted((kaggle / name).rglob("*.jpeg")), side, rng)
        for name in ("TRAIN", "TEST_SIMPLE")
    }
    groups["BCCD red cells"] = read_boxes(data / "bccd", "RBC", side, rng)
    groups["BCCD white cells"] = read_boxes(data / "bccd", "WBC", side, rng)
    groups["painted cells"] = paint(side, seed)
    groups |= draw_noise(side, rng)
    groups["text"] = draw_text(side, rng)
    groups["photographs"] = cut_photographs(side, rng)
    for name in ("TEST_SIMPLE", "BCCD red cells", "BCCD white cells", "painted cells"):
        groups[f"extra: {name}, internal colours"] = match_colour(groups[name], internal)
    groups |= corrupt_internal(internal[:MOST], rng)
    return groups
