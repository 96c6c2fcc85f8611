"""Images that pass as whole, and whole images that look like them."""

import io
import random
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.builders.images import encode, paint_field, reason_of, write_png

from leukoscope.data.images import decode_image, probe_image

END = b"\xff\xd9"

CODINGS = {
    "baseline": {"quality": 85},
    "full colour": {"quality": 85, "subsampling": 0},
    "optimised": {"quality": 60, "optimize": True},
    "restarts": {"quality": 85, "restart_marker_blocks": 7},
    "progressive": {"quality": 85, "progressive": True},
}


def draw(seed, mode="RGB"):
    return Image.fromarray(paint_field(seed, 96, 136)).convert(mode)


@pytest.mark.parametrize("read", [probe_image, decode_image])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_jpeg_cut_anywhere_with_an_end_marker_is_found(coding, mode, read):
    content = encode(draw(0, mode), "JPEG", **CODINGS[coding])
    read(content)
    first = content.rindex(b"\xff\xda") if coding != "progressive" else content.index(b"\xff\xda")
    for k in range(12):
        # The last block of pixels may lack something: that is less than anybody sees.
        cut = first + 40 + k * (len(content) - first - 120) // 11
        assert reason_of(read, content[:cut] + END) == "truncated"


@pytest.mark.parametrize("read", [probe_image, decode_image])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("strip_rows", [16, 96])
def test_a_jpeg_in_a_tiff_cut_anywhere_is_found(mode, strip_rows, read):
    """In any of its strips; the file is as long as before, and its decoder says nothing."""
    content = encode(draw(0, mode), "TIFF", compression="jpeg", tiffinfo={278: strip_rows})
    read(content)
    tags = Image.open(io.BytesIO(content)).tag_v2
    strips = list(zip(tags[273], tags[279], strict=True))
    assert len(strips) == 96 // strip_rows and tags[259] == 7
    for offset, length in strips:
        for cut in np.linspace(offset + length // 4, offset + length - 60, 3).astype(int):
            filled = END + bytes(offset + length - cut - 2)
            damaged = content[:cut] + filled + content[offset + length :]
            assert len(damaged) == len(content)
            assert reason_of(read, damaged) == "truncated"


def test_a_whole_tiff_that_ends_in_grey_is_none_of_these():
    image = draw(1)
    image.paste((128, 128, 128), (0, 48, 136, 96))
    for options in ({}, {"tiffinfo": {278: 16}}):
        content = encode(image, "TIFF", compression="jpeg", **options)
        assert probe_image(content).height == 96
    # Tables in each strip instead of once.
    jpeg = encode(draw(0), "JPEG", subsampling=0)
    content = encode(draw(0), "TIFF", compression="jpeg")
    start = Image.open(io.BytesIO(content)).tag_v2[273][0]
    place = content.index(start.to_bytes(4, "little"), 8)
    moved = content[:place] + len(content).to_bytes(4, "little") + content[place + 4 :] + jpeg
    length = Image.open(io.BytesIO(content)).tag_v2[279][0]
    place = moved.index(length.to_bytes(4, "little"), 8)
    moved = moved[:place] + len(jpeg).to_bytes(4, "little") + moved[place + 4 :]
    moved = moved.replace((347).to_bytes(2, "little"), (65000).to_bytes(2, "little"), 1)
    assert Image.open(io.BytesIO(moved)).tag_v2[279] == (len(jpeg),)
    assert probe_image(moved).height == 96


@pytest.mark.parametrize("coding", CODINGS)
def test_a_whole_jpeg_that_ends_in_grey_is_none_of_these(coding):
    """The look of a cut one: the exact test, not the look, decides."""
    image = draw(1)
    image.paste((128, 128, 128), (0, 48, 136, 96))
    content = encode(image, "JPEG", **CODINGS[coding])
    assert decode_image(content)[-1, -1].tolist() == [128, 128, 128]
    assert probe_image(content).height == 96
    # Also with something behind its end, and before it.
    assert probe_image(content + bytes(500)).height == 96
    assert probe_image(content[:2] + b"\xff\xfe\0\x06cell" + content[2:]).height == 96


def test_progressive_scans_that_are_not_there_are_missed():
    content = encode(draw(2), "JPEG", quality=85, progressive=True)
    starts = [k for k in range(len(content)) if content[k : k + 2] == b"\xff\xda"]
    tables = [k for k in range(len(content)) if content[k : k + 2] == b"\xff\xc4"]
    assert len(starts) > 4
    for start in starts[2:]:
        cut = max([k for k in tables if starts[1] < k < start] or [start])
        assert reason_of(probe_image, content[: min(cut, start)] + END) == "truncated"


def test_few_bytes_cannot_hold_millions_of_pixels():
    content = bytearray(encode(Image.new("RGB", (64, 64), (120, 90, 60)), "JPEG"))
    size = content.index(b"\xff\xc0") + 5
    content[size : size + 4] = (65500).to_bytes(2, "big") + (900).to_bytes(2, "big")
    for read in (probe_image, decode_image):
        assert reason_of(read, bytes(content)) == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_emptiest_picture_that_an_encoder_makes_is_no_such(mode, progressive):
    image = Image.new(mode, (3000, 3000))
    content = encode(image, "JPEG", quality=1, optimize=True, progressive=progressive)
    assert decode_image(content).shape == (3000, 3000, 3)


@pytest.mark.parametrize("read", [probe_image, decode_image])
@pytest.mark.parametrize(("bits", "colour", "row"), [(8, 2, 120), (8, 0, 40), (16, 4, 160)])
def test_a_png_whose_rows_end_early_is_found(bits, colour, row, read):
    noise = random.Random(0)
    rows = b"".join(b"\0" + noise.randbytes(row) for _ in range(12))
    assert reason_of(read, write_png(40, 24, bits, colour, rows)) == "truncated"
    # Black rows that are there are rows.
    read(write_png(40, 24, bits, colour, rows + bytes(12 * (row + 1))))


@pytest.mark.parametrize("read", [probe_image, decode_image])
def test_a_png_whose_data_are_spoilt_behind_its_rows_is_found(read):
    """The decoder stops where it has all rows; what it does not look at raises another error."""
    noise = random.Random(0)
    rows = b"".join(b"\0" + noise.randbytes(120) for _ in range(23)) + bytes(121)
    content = write_png(40, 24, 8, 2, rows)
    start, data = content.index(b"IDAT") - 4, zlib.compress(rows)

    def join(*parts):
        chunks = [b"IDAT" + part for part in parts]
        sized = [
            (len(one) - 4).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big")
            for one in chunks
        ]
        return content[:start] + b"".join(sized) + content[-12:]

    read(join(data[:-4], data[-4:]))
    spoilt = data[-4:-1] + bytes([data[-1] ^ 1])
    assert reason_of(read, join(data[:-4], spoilt)) == "unreadable"


def test_an_interlaced_png_that_ends_black_is_whole():
    # Pillow writes none: seven passes of a picture of 9 x 10 pixels, one byte each.
    sizes = [(2, 2), (1, 2), (3, 1), (2, 3), (5, 2), (4, 5), (9, 5)]
    rows = b"".join((b"\0" + bytes(range(200, 200 + w))) * h for w, h in sizes[:-1])
    last = (b"\0" + bytes(range(200, 209))) * 4 + b"\0" + bytes(9)
    content = bytearray(write_png(9, 10, 8, 0, rows + last))
    content[28] = 1
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    assert decode_image(bytes(content)).shape == (10, 9, 3)
    assert np.asarray(Image.open(io.BytesIO(bytes(content))))[-1, -1] == 0
