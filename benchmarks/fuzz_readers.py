"""Do the readers of trees and tables take whatever comes? (docs/experiments/039)

    python benchmarks/fuzz_readers.py [SECONDS] [FIRST_SEED]

Builds trees (class folders, Pascal-VOC, YOLO, COCO) and tables at random, damages most of them, and
reads each: only errors of the package may come, nothing may be lost, and what is saved must read
back the same. Prints how many inputs were tried, what came of them, and the seeds that failed.
"""

import io
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.data.catalog import load_catalog, read_catalog, save_catalog
from leukoscope.data.readers import Candidate, Levels, Rejected, find_candidates
from leukoscope.data.tables import read_cells
from leukoscope.errors import LeukoscopeError
from leukoscope.pipelines.data import split_catalog
from leukoscope.report.data_words import (
    describe_reading,
    describe_reading_remarks,
    describe_rejected,
)

KINDS = ("folders", "voc", "yolo", "coco", "table")

_LAYERS = (
    ("EOS", "LYM", "MYO", "blast", "-1", "1", "neutrophil"),
    ("train", "TestA", "valid", "holdout", "eval", "odd part", "external"),
    ("patient_1", "patient_2", "P03", "101", "slide 7", "Patient Mueller"),
    ("fold_0", "fold_1", "cv2"),
    ("images", "data", "masks", "labels", "raw"),
    ("a", "b", "x", "caf\u00e9", "cafe\u0301", "\u7ec6\u80de", " ", "#", "[1]", "e" * 60),
    ("site_A", "100x", "2020-01-02", "2021"),
)
_NAMES = ("1", "2", "a b", "1_mask", "thumb_1", "caf\u00e9", "cafe\u0301", "x.y", "#0", "-", "NA")
_CELLS = (
    *("", "NA", "nan", "-", "7.0", "07", "7", "p7", "P07", "P 7", "EOS", "Eosinophil", "MYB"),
    *("EOS, LYM", "train", "TestA", "1e9", "-1", "inf", "1.5", '"', "\\", "\u00e4", "\x00", "=1"),
)
_HEADERS = (
    *("path", "file_name", "filename", "image_id", "label", "class", "split", "fold", "patient"),
    *("xmin", "ymin", "xmax", "ymax", "x", "y", "width", "height", "bbox", "id", "", "stain"),
    *("source", "sha256", "role", "Path ", "Label"),
)


def _paint(seed, size=16):
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


PICTURES = tuple(_paint(seed) for seed in range(40))


def _write(path, content):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    except OSError:  # a name is too long, or a file stands where a folder is wanted
        return


def _make_images(rng, root):
    layers = [rng.choice(_LAYERS) for _ in range(rng.randint(0, 4))]
    paths = []
    for _ in range(rng.randint(1, 14)):
        folder = root.joinpath(*(rng.choice(names) for names in layers))
        path = folder / f"{rng.choice(_NAMES)}{rng.choice(['.png', '.jpg', '.TIF', '.png'])}"
        _write(path, rng.choice(PICTURES))
        if path.is_file():
            paths.append(path)
    return paths


def _make_voc(rng, paths):
    for path in paths:
        objects = "".join(
            f"<object><name>{rng.choice(_CELLS).strip(chr(0))}</name><bndbox>"
            + "".join(f"<{k}>{rng.randint(-3, 19)}</{k}>" for k in ("xmin", "ymin", "xmax", "ymax"))
            + "</bndbox></object>"
            for _ in range(rng.randint(0, 3))
        )
        root = rng.choice(("annotation", "annotation", "ImageInfo"))
        name = f"<filename>{path.name}</filename>"
        _write(path.with_suffix(".xml"), f"<{root}>{name}{objects}</{root}>")


def _make_yolo(rng, root, paths):
    for path in paths:
        rows = "".join(
            " ".join([str(rng.randint(0, 4)), *(f"{rng.uniform(-0.2, 1.2):.3f}" for _ in range(n))])
            + "\n"
            for n in rng.choices((4, 4, 5, 6, 8, 3), k=rng.randint(0, 3))
        )
        swapped = [
            rng.choice(("labels", name)) if name == "images" else name for name in path.parts
        ]
        _write(type(path)(*swapped).with_suffix(".txt"), rows)
    _write(
        root / "data.yaml",
        rng.choice(("names: [a, EOS, 'b']", "names:\n  0: EOS\n  9: x", "names:\n- a\ntrain: x/y")),
    )


def _make_coco(rng, root, paths):
    images = [{"id": k, "file_name": path.name} for k, path in enumerate(paths)]
    objects = [
        {
            "image_id": rng.randint(0, len(paths)),
            "category_id": rng.randint(0, 3),
            "bbox": [rng.choice((0, 1, 5.5, -2, 1e12, 16)) for _ in range(rng.choice((4, 4, 3)))],
        }
        for _ in range(rng.randint(0, 12))
    ]
    names = [{"id": k, "name": name} for k, name in enumerate(("EOS", "LYM", "x"))]
    content = {"images": images, "annotations": objects, "categories": names}
    place = rng.choice(("_annotations.coco.json", "annotations/instances_train2017.json"))
    _write(root / place, json.dumps(content))


def _make_table(rng, root, paths):
    header = rng.sample(_HEADERS, rng.randint(1, 8))
    if rng.random() < 0.8:
        header = list(dict.fromkeys([rng.choice(("path", "file_name")), "label", *header]))
    delimiter = rng.choice(",,;\t|")
    lines = [delimiter.join(header)]
    for _ in range(rng.randint(0, 14)):
        row = []
        for name in header:
            path = rng.choice(paths) if paths else root / "none.png"
            named = str(path.relative_to(root)) if rng.random() < 0.9 else path.stem
            if rng.random() < 0.2:
                named = named.replace("/", "\\")
            is_path = name.strip().lower() in ("path", "file_name", "filename", "image_id")
            row.append(named if is_path else rng.choice(_CELLS))
        if rng.random() < 0.1:
            row.append("more")
        lines.append(delimiter.join(f'"{c}"' if rng.random() < 0.2 else c for c in row))
    start = rng.choice(("", "", "\ufeff", f"sep={delimiter}\n", "\n"))
    table = root / "table.csv"
    _write(table, start + rng.choice(("\n", "\r\n")).join(lines))
    return table


def _damage(rng, root):
    """Change a few bytes of text files, and a few places of the tree."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in rng.sample(files, min(len(files), rng.randint(0, 2))):
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 4)):
            place = rng.randint(0, len(content))
            match rng.randint(0, 3):
                case 0:
                    del content[place : place + rng.randint(1, 40)]
                case 1:
                    content[place:place] = rng.choice(
                        (b"\xff", b"\x00", b'"', b"<", b"\n", b"9" * 30)
                    )
                case 2 if place < len(content):
                    content[place] = rng.randint(0, 255)
                case _:
                    content += content[:place]
        path.write_bytes(bytes(content))
    if rng.random() < 0.3:
        (root / rng.choice(("LYM", "empty", "train/EOS"))).mkdir(parents=True, exist_ok=True)
    if rng.random() < 0.2 and not (root / "loop").exists():
        (root / "loop").symlink_to(root, target_is_directory=True)
    if rng.random() < 0.2:
        _write(root / rng.choice(("notes.txt", "scan.xml", "x.json", ".hidden", "Thumbs.db")), "x")


def build_case(seed, root):
    """Write a tree or table of a kind that the seed chooses; return the kind and what to read."""
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    root.mkdir(parents=True, exist_ok=True)
    paths = _make_images(rng, root)
    target = root
    if kind == "voc":
        _make_voc(rng, paths)
    elif kind == "yolo":
        _make_yolo(rng, root, paths)
    elif kind == "coco":
        _make_coco(rng, root, paths)
    elif kind == "table":
        target = _make_table(rng, root, paths)
    if rng.random() < 0.6:
        _damage(rng, root)
    levels = Levels(rng.choice((None, None, None, 1, 2, 3)), rng.choice((None, None, None, 1)))
    return kind, target, levels


def check_case(target, levels):
    """Read, write and read again. Return the code of what came: `read`, or the error's name.

    Raises `AssertionError` where anything is lost, and whatever the package should not raise.
    """
    try:
        found = find_candidates(target, levels)
        catalog = read_catalog(target, levels=levels)
    except LeukoscopeError as error:
        assert len(str(error)) < 3000, "an error must be short"
        return type(error).__name__
    describe_reading(catalog.reading)
    describe_reading_remarks(catalog.reading)
    for entry in catalog.rejected:
        describe_rejected(entry)
    ids = [one.id for one in found.entries if isinstance(one, Candidate)]
    assert len(set(ids)) == len(ids)
    candidates = len(ids)
    passed = len(found.entries) - candidates
    assert len(catalog) + len(catalog.rejected) == candidates + passed
    if target.is_dir():
        _check_nothing_lost(target, found)
    else:
        rows = {number for number, _ in read_cells(target).rows}
        assert {one.row for one in found.entries} == rows
    if not catalog.records:
        return "nothing"
    saved = target.parent / "fuzz_catalog.csv"
    save_catalog(catalog, saved)
    loaded = load_catalog(saved)
    assert loaded.records == catalog.records
    saved.unlink()
    try:
        split_catalog(catalog)
    except LeukoscopeError:
        return "unsplit"
    return "split"


def _check_nothing_lost(root, found):
    named = {one.path for one in found.entries if isinstance(one, Rejected)}
    named |= {str(one.path) for one in found.entries if isinstance(one, Candidate)}
    named |= {str(root / name) for name in found.reading.files}
    # Passed over with all that is below: hidden folders, and links to what was read.
    skipped = {path for path in named if Path(path).is_dir()}
    for path in root.rglob("*"):
        if path.is_file() and not any(str(folder) in skipped for folder in path.parents):
            assert str(path) in named, f"lost: {path.name!r}"


LIMIT_S = 20
"""An input that takes longer hangs."""


def main(seconds: float, first: int) -> None:
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("it hangs")))
    came: Counter[tuple[str, str]] = Counter()
    failed = []
    seed = first
    end = time.process_time() + seconds
    while time.process_time() < end:
        folder = Path(tempfile.mkdtemp())
        try:
            kind, target, levels = build_case(seed, folder / "set")
            signal.alarm(LIMIT_S)
            came[kind, check_case(target, levels)] += 1
        except Exception:
            failed.append(seed)
            print(f"seed {seed}: {traceback.format_exc()}", file=sys.stderr)
        finally:
            signal.alarm(0)
            shutil.rmtree(folder, ignore_errors=True)
        seed += 1
    print(f"{seed - first:,} inputs in {seconds:.0f} s of processor time, {len(failed)} failed")
    for (kind, what), n in sorted(came.items()):
        print(f"{kind:8} {what:14} {n:,}")
    if failed:
        print("failed seeds:", *failed[:50])


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 240, int((sys.argv[2:] or ["0"])[0]))
