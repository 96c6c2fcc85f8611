"""Trees as laboratories have them: class folders, parts, patients, and detection sets."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def touch_tree(root, names):
    """Files whose content does not matter: readers open no image. A name with a final slash is an
    empty folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def save_noise(path, seed=0, size=(32, 24)):
    """A noisy PNG of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def write_voc(path, objects, filename="f1.jpg", head=""):
    """A Pascal-VOC file with objects `(label, (x_min, y_min, x_max, y_max))`."""
    rows = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tag = "" if filename is None else f"<filename>{filename}</filename>"
    path.write_text(f"{head}<annotation>{tag}{rows}</annotation>", encoding="utf-8")


def write_yolo(path, rows):
    """A YOLO label file with rows of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def write_coco(path, files, objects, categories=("cells", "WBC", "RBC"), **changes):
    """A COCO file: images by name, objects `(image number, category number, bbox)`."""
    content = {
        "info": {"year": "2026"},
        "licenses": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories)],
        "images": [{"id": k, "file_name": name, "width": 9} for k, name in enumerate(files)],
        "annotations": [
            {"id": k, "image_id": image, "category_id": kind, "bbox": list(bbox), "area": 1}
            for k, (image, kind, bbox) in enumerate(objects)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content | changes), encoding="utf-8")
