"""Does every reader take whatever comes, in bounded time and memory? (docs/experiments/042)

    PYTHONPATH=. python benchmarks/fuzz_inputs.py [--inputs SHARE] [--kind KIND ...]
        [--first SEED] [--samples FOLDER]

Recipes, bundles (their JSON, arrays and graphs, hashed and
sealed anew as an attacker would), tables, annotations, lists on standard input, images of all
formats, smear fields, tables of samples and reference intervals, changed at random: bytes,
structure, size. For each input must hold: nothing but an error of the package comes; at most 10 s
of processor time; at most 1.5 GB; nothing is lost (rows + rejected = inputs); the user's files are
unchanged.

Inputs run in child processes of many inputs each, whose address space is limited and whose
processor time is counted by the system, so that a hang in a library and a burst of memory are
measured, not believed. Prints counts by kind, peaks, and the seeds that failed.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import resources
from pathlib import Path

import numpy as np
from benchmarks.fuzz_readers import check_case
from PIL import Image

from leukoscope.config import RECIPE_NAMES, load_recipe
from leukoscope.data.catalog import load_catalog, load_rejected
from leukoscope.data.images import decode_image, probe_image
from leukoscope.data.readers import Levels
from leukoscope.data.splits import load_split
from leukoscope.deploy.bundle import BUNDLE_JSON, name_arrays, name_graph
from leukoscope.deploy.files import list_images
from leukoscope.deploy.predictor import Predictor
from leukoscope.deploy.tables import save_predictions
from leukoscope.errors import ImageError, LeukoscopeError
from leukoscope.pipelines.data import load_table
from leukoscope.pipelines.messages import render_messages
from leukoscope.report.decision_words import describe_reasons
from leukoscope.smear.differential import DifferentialRecord
from leukoscope.smear.observations import MESSAGE_KINDS, MessageHeader

MAX_CPU_S = 10
MAX_BYTES = 1_500_000_000
MAX_WAIT_S = 900
"""Of a child without an answer: it waits for something. Long, for the machine may be shared."""

# -- changing bytes and structure ------------------------------------------------------------------

_ODD = (b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"9" * 40, b"\xff\xd8\xff", b"\n", b'"', b"{[")


def mutate_bytes(rng: random.Random, content: bytes, other: bytes = b"") -> bytes:
    """Change, cut, insert, repeat or exchange a few pieces."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place = rng.randint(0, len(found))
        length = min(len(found), int(2 ** rng.uniform(0, 10)))
        match rng.randint(0, 6):
            case 0 if found:
                found[place % len(found)] ^= 1 << rng.randint(0, 7)
            case 1:
                del found[place : place + length]
            case 2:
                found[place:place] = rng.choice(_ODD)
            case 3:
                found[place:place] = found[place : place + length] * rng.choice((1, 2, 50))
            case 4:
                del found[place:]
            case 5 if other:
                start = rng.randint(0, len(other))
                found[place : place + length] = other[start : start + length]
            case _:
                odd = rng.choice(_ODD)
                found[place : place + len(odd)] = odd
    return bytes(found)


def seal(text: str) -> str:
    """Seal a JSON text as leukoscope does: the seal is no secret."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f'{text.removesuffix("}").rstrip()},\n  "seal": "{digest}"\n}}\n'


_VALUES = (
    *(
        None,
        True,
        0,
        -1,
        10**6,
        2**63,
        10**400,
        1e308,
        5e-324,
        0.5,
        "",
        "x" * 10_000,
        "NaN",
        [],
        {},
    ),
    *("../x", "\x00", "\x1b[31m", "=1+1", "\ud800", [[]], [0] * 10_000, {"a": {}}, "é" * 3),
)


def mutate_json(rng: random.Random, content: object) -> object:
    """Change one value somewhere: another one, gone, repeated, nested, moved."""
    if isinstance(content, dict) and content and rng.random() < 0.9:
        key = rng.choice(list(content))
        changed = dict(content)
        match rng.randint(0, 9):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice((key.upper(), "x", key * 99))] = changed[key]
            case 2:
                changed = dict(reversed(changed.items()))
            case 3:
                changed[key] = changed[rng.choice(list(content))]
            case _:
                changed[key] = mutate_json(rng, content[key])
        return changed
    if isinstance(content, list) and content and rng.random() < 0.8:
        k = rng.randrange(len(content))
        tail = mutate_json(rng, content[k])
        return rng.choice(
            (
                [*content[:k], tail, *content[k + 1 :]],
                content[:k] + content[k + 1 :],
                content * rng.choice((2, 100)),
                content[::-1],
            )
        )
    if isinstance(content, int | float) and abs(content) < 1e9 and rng.random() < 0.4:
        return content * rng.choice((-1, 0.5, 2, 1e9, 1e-9, 1e300))
    if rng.random() < 0.05:
        deep: object = content
        for _ in range(rng.choice((10, 900, 20_000))):
            deep = [deep]
        return deep
    return rng.choice(_VALUES)


# Protocol buffers: (field, wire type, value), values of wire type 2 as bytes.
_Fields = list[tuple[int, int, "int | bytes"]]


def _parse(content: bytes) -> _Fields:
    fields: _Fields = []
    place = 0

    def read() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while place < len(content):
        key = read()
        wire = key & 7
        if wire == 0:
            fields.append((key >> 3, wire, read()))
            continue
        length = {1: 8, 5: 4}.get(wire)
        length = read() if length is None and wire == 2 else length
        if length is None or place + length > len(content):
            raise ValueError
        fields.append((key >> 3, wire, content[place : place + length]))
        place += length
    return fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _encode(fields: _Fields) -> bytes:
    out = []
    for number, wire, value in fields:
        out.append(_varint(number << 3 | wire))
        if isinstance(value, int):
            out.append(_varint(value))
        else:
            out += [_varint(len(value)) if wire == 2 else b"", value]
    return b"".join(out)


_OPERATORS = (b"Add", b"Reshape", b"Slice", b"Concat", b"MatMul", b"Conv", b"Transpose", b"Squeeze")


def mutate_message(rng: random.Random, content: bytes, depth: int = 0) -> bytes:
    """Change one field somewhere in a protocol-buffer message."""
    try:
        fields = _parse(content)
    except (IndexError, ValueError):
        fields = []
    if not fields or rng.random() < 0.1:
        odd = rng.choice((*_OPERATORS, b"", b"images", b"x" * 99, np.int64(2**40).tobytes()))
        return rng.choice((mutate_bytes(rng, content[:4096]) + content[4096:], odd))
    # The large ones are looked into more often: the graph, its nodes.
    sizes = [len(v) if isinstance(v, bytes) else 1 for *_, v in fields]
    k = rng.choices(range(len(fields)), [min(n, 2000) for n in sizes])[0]
    number, wire, value = fields[k]
    match rng.randint(0, 9):
        case 0:
            del fields[k]
        case 1:
            fields.insert(k, fields[k])
        case 2:
            fields.insert(rng.randint(0, len(fields)), fields.pop(k))
        case 3:
            fields[k] = (rng.choice((number, rng.randint(1, 40), 2**20)), wire, value)
        case _ if isinstance(value, int):
            big = (0, 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1, value + 1, 7, 16)
            fields[k] = (number, wire, rng.choice(big))
        case _ if wire == 2 and depth < 5:
            fields[k] = (number, wire, mutate_message(rng, value, depth + 1))
        case _:
            fields[k] = (number, wire, mutate_bytes(rng, value)[: len(value)].ljust(len(value)))
    return _encode(fields)


# -- samples, from which inputs are made -----------------------------------------------------------


@dataclass
class Samples:
    """Whole files of every kind, and a bundle that is whole in all its parts."""

    folder: Path
    recipes: list[bytes] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    counted: "DifferentialRecord | None" = None

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def list_fields(self) -> list[bytes]:
        """Painted smear fields, small: 240 to 480 pixels wide."""
        place = self.folder / "fields"
        if not place.is_dir():
            from leukoscope.painted.fields import paint_fields

            place.mkdir()
            for k, px_per_um in enumerate((3.0, 6.0)):
                for one in paint_fields(1, px_per_um=px_per_um, seed=k):
                    (place / f"{k}.jpg").write_bytes(one.jpeg)
                    with Image.open(io.BytesIO(one.jpeg)) as image:
                        image.resize((240, 180)).save(place / f"{k}.png")
        return [path.read_bytes() for path in sorted(place.iterdir())]

    def count_once(self) -> "DifferentialRecord":
        """The differential of the pictures."""
        if self.counted is None:
            from leukoscope import pipelines

            with tempfile.TemporaryDirectory(prefix="fuzz") as out:
                for path in self.pictures:
                    shutil.copy(path, out)
                done = pipelines.count_differentials([out], self.bundle, f"{out}/c", images="crops")
            self.counted = done.records[0]
        return self.counted

    def read_bundle(self) -> tuple[dict, bytes, bytes]:
        """The content of a bundle: JSON without its seal, graph, arrays."""
        content = json.loads((self.bundle / BUNDLE_JSON).read_text("utf-8"))
        del content["seal"]
        graph = (self.bundle / content["variants"]["fp32"]["file"]).read_bytes()
        arrays = (self.bundle / name_arrays(content["trust"]["arrays_sha256"])).read_bytes()
        return content, graph, arrays


def paint(seed: int, side: int = 40) -> Image.Image:
    """A smooth cell on a bright ground, so that every coding has something to do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    inside = (x**2 + y**2 < (side / 3) ** 2)[..., None]
    colours = np.where(inside, rng.uniform(60, 160, 3), rng.uniform(210, 240, 3))
    return Image.fromarray(np.clip(colours + rng.normal(0, 6, colours.shape), 0, 255).astype("u1"))


def list_pictures() -> Iterator[tuple[str, bytes]]:
    """One picture in every format, coding and mode that is read."""
    picture = paint(0)
    wide = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = picture.convert("RGBA")
    codings: tuple[tuple[str, Image.Image, dict], ...] = (
        ("JPEG", picture, {}),
        ("JPEG", picture, {"progressive": True}),
        ("JPEG", picture, {"restart_marker_blocks": 2}),
        ("JPEG", clear.convert("CMYK"), {}),
        ("JPEG", picture.convert("L"), {"exif": exif}),
        *(("PNG", picture.convert(mode), {}) for mode in ("RGB", "RGBA", "P", "1")),
        ("PNG", wide, {}),
        ("GIF", picture, {}),
        ("GIF", picture, {"save_all": True, "append_images": [paint(1)]}),
        ("BMP", picture, {}),
        ("WEBP", picture, {}),
        ("WEBP", picture, {"lossless": True}),
        *(("TIFF", one, {}) for one in (picture, wide, clear)),
        *(("TIFF", picture, {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate")),
        ("TIFF", picture, {"compression": "jpeg"}),
        ("TIFF", picture.convert("1"), {"compression": "group4"}),
        ("TIFF", picture, {"save_all": True, "append_images": [paint(1).resize((20, 20))]}),
    )
    for k, (kind, image, options) in enumerate(codings):
        out = io.BytesIO()
        image.save(out, kind, **options)
        yield f"{k:02d}.{kind.lower()}", out.getvalue()
    yield from _list_other_pictures(picture)


def _list_other_pictures(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Formats of the extra `formats`, as far as its packages are installed."""
    for name, write in (("f.tif", _write_floats), ("a.heic", _write_heic), ("a.dcm", _write_dicom)):
        with contextlib.suppress(ImportError):
            yield name, write(picture)


def _write_floats(picture: Image.Image) -> bytes:
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(out, np.asarray(picture).astype(np.float32) / 255, photometric="rgb")
    return out.getvalue()


def _write_heic(picture: Image.Image) -> bytes:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(picture).save(out, quality=80)
    return out.getvalue()


def _write_dicom(picture: Image.Image) -> bytes:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = picture.height, picture.width
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    data.PlanarConfiguration = data.PixelRepresentation = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = picture.tobytes()
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


def open_samples(folder: Path) -> Samples:
    """Samples in a folder that holds a `bundle`; the rest is made where it is not there."""
    place = folder / "images"
    if not place.is_dir():
        place.mkdir()
        for name, content in list_pictures():
            (place / name).write_bytes(content)
        for k in range(3):
            paint(k).save(folder / f"cell{k}.png")
    shipped = resources.files("leukoscope.recipes")
    return Samples(
        folder,
        [shipped.joinpath(f"{name}.toml").read_bytes() for name in RECIPE_NAMES],
        {path.name: path.read_bytes() for path in sorted(place.iterdir())},
        [folder / f"cell{k}.png" for k in range(3)],
    )


# -- kinds of input: each writes below `place`, reads it, and says what came -----------------------


def try_recipe(rng: random.Random, place: Path, samples: Samples) -> str:
    content = rng.choice(samples.recipes)
    match rng.randint(0, 6):
        case 0:
            lines = content.splitlines()
            rng.shuffle(lines)
            content = b"\n".join(lines * rng.choice((1, 2)))
        case 1:
            n = int(2 ** rng.uniform(0, 15))
            content += rng.choice(
                (
                    b"\nx = " + b"[" * n + b"]" * n,
                    b"\nx = " + b"{a=" * n + b"1" + b"}" * n,
                    b"\n" + b"a." * n + b"b = 1",
                    b"\n[" + b".".join([b"a"] * n) + b"]\nx = 1",
                    b"\nx = " + b"9" * n,
                    b"\nx = 0x" + b"f" * n,
                    b"\nx = 1e" + b"9" * n,
                    b'\nx = "' + b"\\u0041" * n + b'"',
                    b"\n[[a]]" * n,
                    b"\n" + b"".join(b"k%d = {}\n" % k for k in range(n)),
                    b"\nx = '''" + b"'" * n,
                    b"\nx = " + b"[\n#" * n,
                )
            )
        case 2:
            key = rng.choice([line for line in content.splitlines() if b"=" in line])
            odd = (
                b"nan",
                b"-inf",
                b"1_0",
                b"07:32:00",
                b"1979-05-27",
                b"[]",
                b"{}",
                b"true",
                b"''",
            )
            name = key.split(b"=")[0]
            content = content.replace(key, name + b"= " + rng.choice((*odd, b"1e999", b"-1", b"0")))
        case _:
            content = mutate_bytes(rng, content, rng.choice(samples.recipes))
    path = place / "recipe.toml"
    path.write_bytes(content)
    if rng.random() < 0.3:
        from leukoscope.evaluation.acceptance import load_criteria

        load_criteria(path, ("a", "b"))
        return "read"
    odd = ("train.epochs=" + "9" * 5000, "a" * 9999, "=", "x=" + "[" * 5000, "model.preset=\x00")
    load_recipe(path, [rng.choice(odd)] if rng.random() < 0.2 else ()).compute_hash()
    return "read"


def _save_bundle(place: Path, text: str, graph: bytes, arrays: bytes) -> Path:
    bundle = place / "bundle"
    bundle.mkdir()
    (bundle / BUNDLE_JSON).write_text(text, "utf-8", errors="surrogateescape", newline="")
    (bundle / name_graph("fp32", hashlib.sha256(graph).hexdigest())).write_bytes(graph)
    (bundle / name_arrays(hashlib.sha256(arrays).hexdigest())).write_bytes(arrays)
    return bundle


def _describe_bundle(content: dict, graph: bytes, arrays: bytes) -> str:
    """The JSON of a bundle whose hashes are those of these files."""
    sha256 = hashlib.sha256(graph).hexdigest()
    variant = content["variants"]["fp32"] | {
        "sha256": sha256, "file": name_graph("fp32", sha256), "bytes": len(graph)
    }  # fmt: skip
    trust = content["trust"] | {"arrays_sha256": hashlib.sha256(arrays).hexdigest()}
    changed = content | {"variants": {"fp32": variant}, "trust": trust}
    return seal(json.dumps(changed, indent=2, ensure_ascii=False))


def _check_bundle(bundle: Path, samples: Samples, rng: random.Random) -> str:
    predictor = Predictor(bundle, threads=1)
    rows = list(predictor.predict_files(samples.pictures))
    assert [row.path for row in rows] == [str(path) for path in samples.pictures]
    assert all(bool(row.label) != bool(row.error) for row in rows)
    out = io.StringIO()
    counts = save_predictions(rows, predictor.classes, out, describe_reasons)
    assert counts.images == len(rows) == len(list(csv.reader(io.StringIO(out.getvalue())))) - 1
    if rng.random() < 0.1:
        from leukoscope.pipelines.card import write_card

        write_card(bundle, bundle.parent / "card")
    return "predicted"


def try_bundle_json(rng: random.Random, place: Path, samples: Samples) -> str:
    content, graph, arrays = samples.read_bundle()
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if rng.random() < 0.3:
        changed = mutate_bytes(rng, text.encode(), b'{"a": [1e999, -0, "\\ud800"], "a": 1}')
        text = changed.decode("utf-8", "surrogateescape")
        text = seal(text) if rng.random() < 0.8 else text
    else:
        changed = content
        for _ in range(rng.choice((1, 1, 2, 4))):
            changed = mutate_json(rng, changed)
        try:
            text = seal(json.dumps(changed, indent=2, ensure_ascii=False))
        except (RecursionError, ValueError):  # too deep, or too many digits, for the writer
            n = rng.choice((2_000, 100_000))
            text = seal('{"format": ' + rng.choice(("[" * n, '{"a":' * n, "9" * n)) + "}")
    bundle = _save_bundle(place, text, graph, arrays)
    return _check_bundle(bundle, samples, rng)


def _mutate_arrays(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate_bytes(rng, content)
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = rng.choice(list(arrays))
    array, out = arrays[name], io.BytesIO()
    odd = (
        lambda: array[:0],
        lambda: array[..., None],
        lambda: array.T,
        lambda: array.astype(rng.choice(("f2", "f8", "i8", "c16", "U3", "?", ">f4"))),
        lambda: np.full_like(array, np.nan),
        lambda: array * 1e38,
        lambda: np.zeros(rng.choice(((), (1,), (0, 0), (2**24,))), array.dtype),
        lambda: np.repeat(array, 3, axis=0) if array.ndim else array,
    )
    match rng.randint(0, 4):
        case 0:
            del arrays[name]
        case 1:
            arrays[rng.choice(("x", "novelty_x", "../x", "é"))] = array
        case _:
            with np.errstate(all="ignore"):
                arrays[name] = rng.choice(odd)()
    save = rng.choice((np.savez, np.savez_compressed))
    save(out, **arrays)
    if rng.random() < 0.3:  # headers that lie
        with (
            zipfile.ZipFile(io.BytesIO(out.getvalue())) as archive,
            zipfile.ZipFile(out := io.BytesIO(), "w", rng.choice((0, 8))) as to,
        ):
            for one in archive.namelist():
                body = archive.read(one)
                if rng.random() < 0.5:
                    head = body[:128]
                    body = (
                        re.sub(rb"\d+", rb"99999999", head, count=1)[:128].ljust(128) + body[128:]
                    )
                    body = rng.choice((body, body + b"\0" * 10**7, mutate_bytes(rng, body)))
                to.writestr(one, body)
    return out.getvalue()


def try_bundle_arrays(rng: random.Random, place: Path, samples: Samples) -> str:
    content, graph, arrays = samples.read_bundle()
    arrays = _mutate_arrays(rng, arrays)
    bundle = _save_bundle(place, _describe_bundle(content, graph, arrays), graph, arrays)
    return _check_bundle(bundle, samples, rng)


def try_bundle_graph(rng: random.Random, place: Path, samples: Samples) -> str:
    content, graph, arrays = samples.read_bundle()
    if rng.random() < 0.25:
        graph = mutate_bytes(rng, graph)
    else:
        for _ in range(rng.choice((1, 1, 1, 3))):
            graph = mutate_message(rng, graph)
    bundle = _save_bundle(place, _describe_bundle(content, graph, arrays), graph, arrays)
    return _check_bundle(bundle, samples, rng)


_CELLS = (
    "",
    "NA",
    "EOS",
    "LYM",
    "7.0",
    "p 1",
    "P01",
    '"',
    "a\nb",
    "=1+1",
    "\x00",
    "x" * 300,
    "é",
    "1e9",
)


def try_table(rng: random.Random, place: Path, samples: Samples) -> str:
    table = place / f"t.{rng.choice(('csv', 'tsv'))}"
    for path in samples.pictures:
        shutil.copy(path, place)
    delimiter = rng.choice(",;\t|")
    header = ["path", "label", *rng.sample(("patient", "split", "fold", "x", "y", "xmin", "id"), 2)]
    n = int(2 ** rng.uniform(0, 9))
    rows = [header]
    for k in range(n):
        label = ("EOS", "LYM", "MON", "NEU")[k % 4] if rng.random() < 0.95 else rng.choice(_CELLS)
        rows.append([f"cell{k % 4}.png", label, *(rng.choice(_CELLS) for _ in header[2:])])
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode()
    big = int(2 ** rng.uniform(4, 20))
    regular = (
        b'"' * big, b'""' * big, b'"' + b"a" * big, delimiter.encode() * big, b"\n" * big,
        b"\r" * big,
        b"\0" * big, b" " * big + b"\n", b"cell0.png,EOS\n" * (big // 16), b"a" * big + b"\n",
        b"".join(b"%d" % (k % 9) + delimiter.encode() for k in range(big // 2)) + b"\n",
        b'"' + b'""\n' * (big // 4) + b'"\n', "\u2028é".encode() * (big // 4), b"0" * big + b".0\n",
        b"cell0.png" + b"," + b" " * big + b".0\n", b"cell0.png," + b"EOS+" * (big // 4) + b"\n",
    )  # fmt: skip
    match rng.randint(0, 4):
        case 0:
            content = mutate_bytes(rng, content)
        case 1:
            content += rng.choice(regular)
        case 2:
            content = rng.choice(regular) + content
        case 3:
            place_ = rng.randint(0, len(content))
            content = content[:place_] + rng.choice(regular) + content[place_:]
        case _:
            start = (b"\xef\xbb\xbf", b"sep=;\n", b"\n\n", b"\xff\xfe", b"#", b'"', b"\0")
            content = rng.choice(start) + mutate_bytes(rng, content, content)
    table.write_bytes(content)
    return check_case(table, Levels())


def try_own_table(rng: random.Random, place: Path, samples: Samples) -> str:
    """Tables that leukoscope wrote, changed since."""
    from leukoscope import pipelines

    folder = samples.folder / "tables"
    if not folder.is_dir():
        cells = samples.folder / "cells"
        for k in range(16):
            target = cells / ("EOS", "LYM")[k % 2] / f"{k}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            paint(k + 10).save(target)
        (cells / "EOS/broken.png").write_bytes(b"")
        folder.mkdir()
        catalog = pipelines.scan_images(cells, folder / "catalog.csv")
        pipelines.split_catalog(catalog, "random", folder / "split.csv")
    name = rng.choice(("catalog.csv", "split.csv", "rejected.csv"))
    content = (folder / name).read_bytes()
    if rng.random() < 0.3:
        lines = content.splitlines(keepends=True)
        k = rng.randrange(len(lines))
        cells_ = lines[k].split(b",")
        odd = (
            b"",
            b"-1",
            b"9" * 5000,
            b"nan",
            b"1e9",
            b"\0",
            b'"',
            b"../" * 99,
            b"test",
            b"x" * 10**5,
        )
        cells_[rng.randrange(len(cells_))] = rng.choice(odd)
        lines[k] = b",".join(cells_)
        content = b"".join(lines * rng.choice((1, 1, 1, 200)))
    else:
        content = mutate_bytes(rng, content, content)
    path = place / name
    path.write_bytes(content)
    {"catalog.csv": load_catalog, "split.csv": load_split, "rejected.csv": load_rejected}[name](
        path
    )
    load_table(path)
    return "read"


def _dump(content: object) -> str:
    try:
        return json.dumps(content)
    except (RecursionError, ValueError):  # too deep, or too many digits, for the writer
        return '{"images": ' + "[" * 20_000


def try_annotations(rng: random.Random, place: Path, samples: Samples) -> str:
    """Detection sets whose files are large, deep or very regular."""
    n = int(2 ** rng.uniform(2, 17))
    path = shutil.copy(samples.pictures[0], place / "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    cell = f"<object><name>EOS</name>{box}</object>"
    laughs = "".join(
        f'<!ENTITY l{k} "{f"&l{k - 1};" * 10 if k else "lol"}">' for k in range(rng.randint(2, 12))
    )
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "EOS"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}]}  # fmt: skip
    match rng.randint(0, 8):
        case 0:
            name = f"<filename>&l1;&l9;</filename>{cell}"
            text = f"<!DOCTYPE x [{laughs}]><annotation>{name}</annotation>"
        case 1:
            text = "<annotation>" + "<a>" * n + "</a>" * n + cell + "</annotation>"
        case 2:
            text = "<annotation>" + cell * (n // 64) + "</annotation>"
        case 3:
            text = f"<annotation><filename>{'a' * n}</filename><object {'b' * n}='1'/></annotation>"
        case 4:
            coco["annotations"] *= max(1, n // 64)
            text = _dump(mutate_json(rng, coco))
        case 5:
            text = rng.choice(('{"images": ' + "[" * n, '{"images": [' + "9" * n + "]}", "[" * n))
        case 6:
            text = "\n".join(["0 0.5 0.5 0.2 0.2"] * (n // 64) + ["0 " + "0.1 " * n])
        case 7:
            text = "names:\n" + "  0: EOS\n" * (n // 8) + "- x: " + "[" * n
        case _:
            text = _dump(mutate_json(rng, coco))
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        content = mutate_bytes(rng, content)
    name = {"<": "a.xml", "{": "_annotations.coco.json", "[": "_annotations.coco.json"}.get(
        text[:1]
    )
    name = name or ("data.yaml" if text.startswith("names") else "a.txt")
    if name in ("a.txt", "data.yaml"):
        (place / "images").mkdir()
        path = shutil.move(path, place / "images/a.png")
        (place / "labels").mkdir()
        (place / "data.yaml").write_text("names: [EOS]")
        (place / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2")
        name = "labels/a.txt" if name == "a.txt" else name
    (place / name).write_bytes(content)
    return check_case(place, Levels())


def try_list(rng: random.Random, place: Path, samples: Samples) -> str:
    odd = (
        *(b"", b" ", b"/dev/zero", b"/dev/stdin", b"/proc/self/mem", b"*.png", b"[", b"~", b"a\rb"),
        *(
            b"\xff\xfe\xfd",
            b"x" * 5000,
            b"../" * 2000,
            b"http://a.b/c.png",
            b"-",
            b".",
            b"/",
            b"\xc3\xa9",
        ),
    )
    os.mkfifo(place / "pipe")
    known = [os.fsencode(path) for path in (*samples.pictures, place / "pipe")]
    names = [rng.choice((*known, *odd)) for _ in range(rng.choice((1, 3, 20)))]
    if rng.random() < 0.05:
        names *= 500
    between = rng.choice((b"\n", b"\r\n", b"\0"))
    content = rng.choice((b"", b"", b"\xef\xbb\xbf")) + between.join(names)
    if rng.random() < 0.3:
        content = mutate_bytes(rng, content)
    found = list_images(["-"], standard_input=content)
    bare = content.removeprefix(b"\xef\xbb\xbf")
    wanted = [
        one for one in bare.split(b"\0" if b"\0" in bare else b"\n") if one.strip(b"\r").strip()
    ]
    assert len(found.paths) == len(wanted), "a line was lost"
    predictor = _open_shared(samples.bundle)
    rows = list(predictor.predict_files(found.paths))
    assert [row.path for row in rows] == [str(path) for path in found.paths]
    assert all(bool(row.label) != bool(row.error) for row in rows)
    out = io.StringIO()
    save_predictions(rows, predictor.classes, out, describe_reasons)
    assert len(list(csv.reader(io.StringIO(out.getvalue(), newline="")))) == len(rows) + 1
    return "predicted"


_shared: dict[Path, Predictor] = {}


def _open_shared(bundle: Path) -> Predictor:
    if bundle not in _shared:
        _shared[bundle] = Predictor(bundle, threads=1)
    return _shared[bundle]


def try_image(rng: random.Random, place: Path, samples: Samples) -> str:
    name = rng.choice(list(samples.images))
    content = samples.images[name]
    other = samples.images[rng.choice(list(samples.images))]
    match rng.randint(0, 5):
        case 0:  # numbers of a header
            at = rng.randrange(min(len(content), 400))
            size = rng.choice((1, 2, 4))
            number = rng.choice((0, 1, 8000, 65535, 2**31 - 1, 2**32 - 1)) % 256**size
            order = rng.choice(("big", "little"))
            content = content[:at] + number.to_bytes(size, order) + content[at + size :]
        case 1:
            content = content[: rng.randrange(len(content))] + rng.choice((b"", b"\xff\xd9"))
        case 2:
            content = content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]
        case _:
            content = mutate_bytes(rng, content, other)
    path = place / f"a{Path(name).suffix}"
    path.write_bytes(content)
    try:
        probe_image(content)
        whole = True
    except ImageError as error:
        whole = error.reason == "one_colour"
        decode = rng.random() < 0.3
        if not whole and not decode:
            raise
    try:
        found = decode_image(content)
    except ImageError:
        assert not whole, "a picture that was found whole cannot be read"
        raise
    assert whole, "a picture that was found damaged can be read"
    assert found.dtype == np.uint8 and found.shape[2] == 3
    return "read"


_NAMES = (
    *(
        "a",
        "=1+1",
        "x\ry",
        "x\ny",
        "a|b^c&d~e\\f",
        "\x1b[31mred",
        "<b>",
        "é",
        "nul",
        "-",
        "$(id)",
        " ",
    ),
    *("\udcff", "a" * 200, "\u202etxt", "'", '"', "[red]", "index"),
)


def try_field(rng: random.Random, place: Path, samples: Samples) -> str:
    """Smear fields through `cells` and `differential`."""
    from leukoscope import pipelines

    fields = samples.list_fields()
    folder = place / rng.choice(_NAMES).strip(" ")
    folder.mkdir(exist_ok=True)
    for k in range(rng.choice((1, 1, 3))):
        other = samples.images[rng.choice(list(samples.images))]
        content = rng.choice((rng.choice(fields), other))
        if rng.random() < 0.7:
            content = mutate_bytes(rng, content, other)
        ending = rng.choice((".jpg", ".png", ".tif", ".svs"))
        (folder / f"{rng.choice(_NAMES)}{k}{ending}").write_bytes(content)
    if rng.random() < 0.2:
        os.mkfifo(folder / rng.choice(("p.png", "p.svs")))
    scale = rng.choice((None, 4.0, rng.uniform(0.5, 200)))
    wanted = len(list_images([folder], more_suffixes=frozenset({".svs"})).paths)
    found = pipelines.find_cells([folder], place / "found", scale_px_per_um=scale, threads=1)
    assert len(found.fields) == wanted, "a field was lost"
    for name, n in (("fields.csv", wanted), ("cells.csv", sum(len(f.cells) for f in found.fields))):
        text = (place / "found" / name).read_text("utf-8", "surrogateescape")
        assert len(list(csv.reader(io.StringIO(text, newline="")))) == n + 1, f"{name}: rows"
    counted = pipelines.count_differentials(
        [folder], samples.bundle, place / "counts", images=rng.choice(("auto", "fields", "crops")),
        scale_px_per_um=scale, messages=("oru", "oul", "fhir"),
    )  # fmt: skip
    text = (place / "counts/cells.csv").read_text("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    read = {row["image"].removeprefix("'") for row in rows}
    assert counted.records[0].totals.files == wanted >= len(read)
    return "counted"


def try_sample(rng: random.Random, place: Path, samples: Samples) -> str:
    """Tables of samples, white counts, reference intervals, and the messages made of them."""
    from leukoscope import pipelines
    from leukoscope.report.differential_page import describe_differential
    from leukoscope.report.frame import render_html
    from leukoscope.report.page import render_text
    from leukoscope.smear.differential_tables import render_classes
    from leukoscope.smear.reference import load_reference

    path = place / "s.csv"
    counts = (
        "7.2",
        "7,2",
        "",
        "nan",
        "inf",
        "-1",
        "1e3",
        "9" * 5000,
        "=1",
        "0x1",
        "NA",
        "1,2,3",
        "٣",
    )
    text = io.StringIO()
    writer = csv.writer(text, delimiter=rng.choice(",;\t"))
    writer.writerow(rng.sample(("id", "white_count", "notes", "x"), 4)[: rng.randint(1, 4)])
    for _ in range(rng.choice((1, 3, 300))):
        name = rng.choice((*_NAMES, "a", "a")).encode("utf-8", "replace").decode()
        writer.writerow([name, rng.choice(counts), rng.choice((*counts, name)), name])
    content = text.getvalue().encode()
    path.write_bytes(mutate_bytes(rng, content, content) if rng.random() < 0.5 else content)
    folder = place / rng.choice(_NAMES)
    given = [f"{rng.choice((*_NAMES, ''))}={rng.choice(counts)}" for _ in range(rng.choice((0, 1)))]
    with contextlib.suppress(LeukoscopeError):
        pipelines.collect_sample_infos([folder], given, path)
    whole = resources.files("leukoscope.smear").joinpath("adults.toml").read_bytes()
    reference = place / "r.toml"
    lines = whole.splitlines()
    k = rng.randrange(len(lines))
    odd = (
        b"[1e308, 1.7e308]",
        b"[0, 1e-320]",
        b"'\\u0000'",
        b"nan",
        b'"\\u0000|^~\\\\&\\r"',
        b"[-0.0, 1]",
    )
    if b"=" in lines[k] and rng.random() < 0.6:
        lines[k] = lines[k].split(b"=")[0] + b"= " + rng.choice(odd)
        reference.write_bytes(b"\n".join(lines))
    else:
        reference.write_bytes(mutate_bytes(rng, whole, whole))
    record = samples.count_once()
    name = rng.choice(_NAMES)
    record = replace(record, sample=name, remark=rng.choice((*_NAMES, "x" * 9999)))
    try:
        limits = list(load_reference(reference).absolutes.values())
        classes = tuple(replace(one, limits=rng.choice(limits)) for one in record.classes)
        record = replace(record, classes=classes)
    except (LeukoscopeError, IndexError):
        if rng.random() < 0.5:
            raise
    header = MessageHeader(
        datetime.fromisoformat("2026-11-28T12:00:00+00:00"),
        rng.choice(("leukoscope", name)), rng.choice(("", name)), signed=rng.random() < 0.5,
    )  # fmt: skip
    for ending, message in render_messages(record, MESSAGE_KINDS, header).items():
        message.encode("utf-8")
        if ending.endswith(".hl7"):
            starts = {line[:4] for line in message.split("\r")}
            assert starts <= {"MSH|", "OBR|", "OBX|", "NTE|", "SPM|", ""}, "a segment of another's"
            assert "\n" not in message
        else:
            json.loads(message)
    page = describe_differential(record, ())
    assert name != "<b>" or "<b>" not in render_html(page)
    render_text(page)
    text = render_classes([record])
    n = 1 + len(record.classes) + len(record.sums) + len(record.others)
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == n
    return "sent"


KINDS: dict[str, Callable[[random.Random, Path, Samples], str]] = {
    "recipe": try_recipe,
    "bundle JSON": try_bundle_json,
    "bundle arrays": try_bundle_arrays,
    "bundle graph": try_bundle_graph,
    "table": try_table,
    "own table": try_own_table,
    "annotations": try_annotations,
    "list": try_list,
    "image": try_image,
    "field": try_field,
    "sample": try_sample,
}
COUNTS = {"image": 5000, "table": 3000, "field": 500}
"""How many of a kind are tried, where it is not 2,000."""


def try_input(kind: str, seed: int, samples: Samples) -> str:
    """Try one input. Return what came of it; raises whatever the package should not raise, and
    `AssertionError` where something is lost, or a user's file was changed."""
    rng = random.Random(f"{kind} {seed}")
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        place = Path(folder) / "in"
        place.mkdir()
        before = {path: path.read_bytes() for path in samples.pictures}
        try:
            return KINDS[kind](rng, place, samples)
        except LeukoscopeError as error:
            text = str(error)
            assert len(text) < 20_000, "an error must be short"
            if re.search(r"memory|alloc", text):
                return "memory"
            return type(error).__name__
        finally:
            assert before == {path: path.read_bytes() for path in samples.pictures}


# -- child processes -------------------------------------------------------------------------------


def _read_status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", text)[1])  # type: ignore[index]


def work(kind: str, first: int, count: int, folder: Path) -> None:
    """Try inputs one after the other, and write a line before and one after each."""
    samples = open_samples(folder)
    with_bundle = kind.startswith("bundle") or kind in ("list", "field", "sample")
    if with_bundle:  # what is imported late is no part of an input's memory
        _open_shared(samples.bundle)
    if kind in ("field", "sample"):
        for seed in (10**9, 10**9 + 1):
            with contextlib.suppress(LeukoscopeError):
                try_input(kind, seed, samples)
    limit = _read_status("VmSize") + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {MAX_CPU_S} s")

    signal.signal(signal.SIGPROF, stop)
    for seed in range(first, first + count):
        print(f"{seed}", flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.process_time()
        # A library that does not come back is ended by the system a little later.
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S + 5)
        try:
            what = try_input(kind, seed, samples)
        except BaseException as error:
            what = f"FAILED {type(error).__name__}"
            print(f"{kind} {seed}: {traceback.format_exc()}", file=sys.stderr, flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        seconds, peak = time.process_time() - start, _read_status("VmHWM")
        print(json.dumps([seed, what, peak, round(seconds, 3)]), flush=True)


@dataclass
class Found:
    """What came of all inputs of a kind."""

    came: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)
    peak: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def add(self, seed: int, what: str, peak: int, seconds: float) -> None:
        if seconds > MAX_CPU_S and not what.startswith("FAILED"):
            what = "FAILED time"
        if peak > MAX_BYTES and not what.startswith("FAILED"):
            what = "FAILED memory"
        self.came[what] += 1
        if what.startswith("FAILED"):
            self.failed[seed] = what
        self.peak, self.slowest = max(self.peak, peak), max(self.slowest, seconds)
        self.seconds += seconds


def run_kind(kind: str, first: int, count: int, folder: Path, found: Found) -> None:
    """Try inputs in child processes; one that dies or waits is started again behind the input."""
    end, seed = first + count, first
    while seed < end:
        part = min(500, end - seed)
        command = [sys.executable, "-m", "benchmarks.fuzz_inputs", "--child", kind, str(seed)]
        command += [str(part), str(folder)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert child.stdout is not None
        begun, done = None, seed
        while True:
            ready, _, _ = select.select([child.stdout], [], [], MAX_WAIT_S)
            if not ready:
                child.kill()
                break
            line = child.stdout.readline()
            if not line:
                break
            if line.startswith("["):
                found.add(*json.loads(line))
                begun, done = None, done + 1
            elif line.strip().isdigit():
                begun = int(line)
        status = child.wait()
        if begun is not None:
            found.add(begun, f"FAILED child ended by {status}", 0, 0.0)
            done += 1
        elif status or done == seed:
            raise RuntimeError(f"the child of {kind} ended with {status}")
        seed = done


def make_bundle(folder: Path) -> None:
    """A real bundle: painted cells, a few steps of training, calibrated, exported."""
    from leukoscope import pipelines
    from leukoscope.painted.cells import save_painted

    catalog = pipelines.scan_images(save_painted(folder / "painted", 160, copies=1, size_px=48))
    settings = ("input.image_size=32", "train.epochs=1", "train.precision=fp32")
    run = pipelines.train_run(
        pipelines.split_catalog(catalog, "grouped"), load_recipe("quick", settings), folder / "run"
    )
    pipelines.calibrate_run(run.folder.path, overrides=["trust.alpha=0.2"])
    pipelines.export_run(run.folder.path, folder / "bundle", variants=("fp32",))


def main() -> None:
    """Run the campaign and print what came."""
    if sys.argv[1:2] == ["--child"]:
        kind, first, count, folder = sys.argv[2:]
        work(kind, int(first), int(count), Path(folder))
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=float, default=1.0, help="share of the usual number")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="folder with samples of an earlier call")
    given = parser.parse_args()
    folder = given.samples or Path(tempfile.mkdtemp(prefix="fuzz"))
    folder.mkdir(exist_ok=True)
    if not (folder / "bundle").is_dir():
        make_bundle(folder)
    open_samples(folder)
    for kind in given.kind or KINDS:
        count = max(1, round(given.inputs * COUNTS.get(kind, 2000)))
        found, was_stopped = Found(), False
        try:
            run_kind(kind, given.first, count, folder, found)
        except KeyboardInterrupt:  # what was found so far is said
            was_stopped = True
        count = sum(found.came.values())
        came = ", ".join(f"{what} {n:,}" for what, n in found.came.most_common())
        print(
            f"{kind}: {count:,} inputs, {len(found.failed)} failed;"
            f" peak {found.peak / 1e6:,.0f} MB, slowest {found.slowest:.1f} s,"
            f" in all {found.seconds:,.0f} s; {came}",
            flush=True,
        )
        for seed, what in list(found.failed.items())[:40]:
            print(f"  seed {seed}: {what}", flush=True)
        if was_stopped:
            break


if __name__ == "__main__":
    main()
