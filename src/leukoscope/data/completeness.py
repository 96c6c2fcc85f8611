"""Is an image there to its last pixel, where its decoder does not say so: JPEG, TIFF of it, PNG.

A decoder of JPEG fills what an early end marker cut off with grey, and a decoder of PNG leaves rows
black; neither raises. Here the coded data are asked. What this file does not do: it decodes nothing
itself, and says nothing (`images`).
"""

import itertools
import random
import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import Image

MAX_PIXELS_PER_BYTE = 1000
"""A block of 8 x 8 pixels takes at least one bit in every coding of JPEG: 512 pixels per byte."""

Decode = Callable[[bytes, bool], Image.Image]
"""From bytes to pixels; with True at a reduced size that still reads the whole stream."""

_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Data that no encoder wrote, with all restart markers: what is decoded from them is visible.
_PADDING = b"".join(
    random.Random(k).randbytes(256).replace(b"\xff", b"\x5a") + bytes([0xFF, 0xD0 + k % 8])
    for k in range(17)
)

_BAND_PIXELS = 4_000_000


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def is_jpeg_complete(content: bytes, image: Image.Image, decode: Decode) -> bool:
    """Tell whether a JPEG holds the data of all pixels that it declares.

    `image` is the decoded picture. Where an end marker came early its last pixel is neutral grey,
    or the picture is progressive and lacks detail. Only then the picture is decoded again with
    other data put before the end of each scan: of a complete one no pixel changes, for nobody reads
    them. So no complete picture is ever rejected.
    """
    width, height = image.size
    segments = list(_list_segments(content))
    is_progressive = any(one.marker in (0xC2, 0xC6, 0xCA, 0xCE) for one in segments)
    last = image.getpixel((width - 1, height - 1))
    levels = set(last) if isinstance(last, tuple) else {last}
    if not is_progressive and not levels <= {127, 128}:
        return True
    if is_progressive and not _has_all_scans(content, segments):
        return False
    padded = _pad_scans(content, segments)
    # Detail shows at full size only.
    return _are_same(decode(content, not is_progressive), decode(padded, not is_progressive))


def _list_segments(content: bytes) -> Iterator[_Segment]:
    """Yield the segments of a JPEG up to its end marker; a scan with its coded data."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xD9:
            return
        if marker == 0xFF:
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:
            found = _END_OF_SCAN.search(content, end)
            end = found.start() if found else len(content)
        yield _Segment(marker, place, end)
        place = end


def _pad_scans(content: bytes, segments: list[_Segment]) -> bytes:
    ends = [one.end for one in segments if one.marker == 0xDA]
    parts = [content[a:b] for a, b in itertools.pairwise([0, *ends, len(content)])]
    return _PADDING.join(parts)


def _has_all_scans(content: bytes, segments: list[_Segment]) -> bool:
    """Tell whether every coefficient of every component of a progressive JPEG came to its last bit:
    each scan says which it holds (ITU-T T.81, B.2.3)."""
    missing: dict[tuple[int, int], int] = {}
    for one in segments:
        body = content[one.start + 4 : one.end]
        if one.marker in (0xC2, 0xC6, 0xCA, 0xCE):
            missing = {(body[6 + 3 * k], c): 1 for k in range(body[5]) for c in range(64)}
        elif one.marker == 0xDA and body:
            n = body[0]
            first, last, bits = body[1 + 2 * n], body[2 + 2 * n], body[3 + 2 * n] & 15
            if bits == 0:
                for k in range(n):
                    for c in range(first, last + 1):
                        missing.pop((body[1 + 2 * k], c), None)
    return not missing


def _are_same(first: Image.Image, second: Image.Image) -> bool:
    if first.size != second.size:
        return False
    bands = (list_bands(first), list_bands(second))
    return all(a.tobytes() == b.tobytes() for a, b in zip(*bands, strict=True))


def list_bands(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an image in bands of whole rows, from above, so that work on it takes little memory."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        yield image
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(height, top + rows)))


_COMPRESSION, _TABLES = 259, 347
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of a TIFF: offsets and lengths."""


def is_tiff_complete(content: bytes, image: Image.Image, decode: Decode) -> bool:
    """Tell whether each strip or tile of a TIFF that is coded as JPEG holds the data of all its
    pixels; with other codings the decoder says so.

    Each is a JPEG whose tables stand once, in a tag (TIFF Technical Note 2). `image` is the opened
    picture, `decode` is given these JPEGs.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_COMPRESSION) != 7:
        return True
    tables = bytes(tags.get(_TABLES, b"")).removesuffix(b"\xff\xd9")
    offsets, lengths = (tags[tag] for tag in (_TILES if _TILES[0] in tags else _STRIPS))
    for offset, length in zip(offsets, lengths, strict=True):
        part = content[offset : offset + length]
        whole = tables + part[2:] if tables else part
        if not is_jpeg_complete(whole, decode(whole, False), decode):
            return False
    return True


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def is_png_complete(content: bytes, image: Image.Image) -> bool:
    """Tell whether the compressed data of a PNG are as long as its pixels take.

    `image` is the decoded picture: only where its last pixel is 0, as missing rows are, the data
    are unpacked again and counted.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    if any(last if isinstance(last, tuple) else (last,)):
        return True
    header = content[16:29]
    width, height = (int.from_bytes(header[k : k + 4], "big") for k in (0, 4))
    bits = header[8] * _CHANNELS.get(header[9], 1)
    passes = _ADAM7 if header[12] else ((0, 0, 1, 1),)
    needed = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * bits // 8))
    unpack, found = zlib.decompressobj(), 0
    for data in _list_png_data(content):
        while data:
            found += len(unpack.decompress(data, 1 << 20))
            data = unpack.unconsumed_tail
    return found + len(unpack.flush()) >= needed


_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
"""First column and row of each pass of an interlaced PNG, and its steps (PNG, section 8.2)."""


def _list_png_data(content: bytes) -> Iterator[bytes]:
    place = 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] == b"IDAT":
            yield content[place + 8 : place + 8 + length]
        place += 12 + length
