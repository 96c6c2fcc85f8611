import hashlib
import io
import os
import random
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from tests.builders.images import encode, reason_of, write_png

from leukoscope.data import images
from leukoscope.data.images import check_box, decode_image, load_pixels, probe_image, resize_image
from leukoscope.errors import ImageError

W, H = 40, 24


def paint(width=W, height=H):
    """A smooth picture: red grows to the right, green downwards, blue is constant."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(10, 240, width)[None, :]
    pixels[..., 1] = np.linspace(20, 200, height)[:, None]
    pixels[..., 2] = 90
    return pixels


def rotated(kind, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(paint(), kind, exif=exif, **options)


ENCODED = {
    "JPEG": encode(paint(), "JPEG", quality=95),
    "progressive": encode(paint(), "JPEG", quality=95, progressive=True),
    "PNG": encode(paint()),
    "TIFF": encode(paint(), "TIFF"),
    "LZW": encode(paint(), "TIFF", compression="tiff_lzw"),
    "BMP": encode(paint(), "BMP"),
    "WEBP": encode(paint(), "WEBP", lossless=True),
    "GIF": encode(paint(), "GIF"),
}
LOSSLESS = ("PNG", "TIFF", "LZW", "BMP", "WEBP")


# -- probing and decoding -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENCODED)
def test_every_format_is_probed_and_decoded(kind):
    content = ENCODED[kind]
    facts = probe_image(content, "cell")
    assert (facts.width, facts.height, facts.bytes) == (W, H, len(content))
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    pixels = decode_image(content)
    assert pixels.shape == (H, W, 3)
    assert pixels.dtype == np.uint8
    tolerance = 0 if kind in LOSSLESS else 25
    assert np.abs(pixels.astype(int) - paint()).max() <= tolerance


def test_content_decides_not_the_name():
    assert probe_image(ENCODED["PNG"], "cell.jpg").width == W
    assert reason_of(probe_image, b"path,label\n" * 50, "cell.jpg") == "not_an_image"


@pytest.mark.parametrize("read", [probe_image, decode_image])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 400, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 9, "not_an_image"),
        (b"%PDF-1.7\n" + b"x" * 400, "not_an_image"),
        (ENCODED["PNG"][:6], "not_an_image"),
        (ENCODED["PNG"][:20], "truncated"),
        (encode(paint(W, 7)), "too_small"),
        (encode(paint(7, H)), "too_small"),
    ],
)
def test_what_is_no_cell_image_is_rejected(read, content, reason):
    assert reason_of(read, content) == reason


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\n<html>404</html>", "HTML"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", "SVG"),
        (b"<?xml version='1.0'?><annotation/>", "XML"),
        (bytes(4) + b"ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"PK\x03\x04", "ZIP"),
        (b"cells/a.jpg\ncells/b.jpg\n", "BUNDLE - <"),
        (b"path,label\r\ncells/a.jpg,eosinophil\r\n", "BUNDLE - <"),
        (b"nothing of the kind", "JPEG, PNG, TIFF, BMP, WebP, GIF"),
    ],
)
def test_what_a_file_is_instead_is_said(content, named):
    with pytest.raises(ImageError) as caught:
        decode_image(content)
    assert caught.value.reason == "not_an_image"
    assert named in caught.value.found


def test_formats_that_pillow_knows_but_we_do_not_are_rejected():
    assert reason_of(probe_image, encode(paint(), "PPM")) == "not_an_image"
    assert reason_of(probe_image, encode(paint(), "PDF")) == "not_an_image"


@pytest.mark.parametrize("kind", ENCODED)
def test_a_file_cut_anywhere_is_never_half_read(kind):
    content = ENCODED[kind]
    whole = decode_image(content)
    for length in range(1, len(content), max(1, len(content) // 40)):
        cut = content[:length]
        try:
            probe_image(cut)
        except ImageError as error:
            assert error.reason in ("truncated", "unreadable", "not_an_image")
            with pytest.raises(ImageError):
                decode_image(cut)
        else:
            # Only a trailer was lost: the pixels are all there.
            assert np.array_equal(decode_image(cut), whole)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_a_file_cut_in_the_middle_is_told_truncated(kind):
    content = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), kind)
    assert reason_of(probe_image, content[: len(content) * 2 // 3]) == "truncated"


def test_mutated_bytes_end_in_pixels_or_in_our_own_error():
    generator = random.Random(7)
    samples = [ENCODED[kind] for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")]
    samples.append(rotated("JPEG", 6))
    outcomes = set()
    for _ in range(300):
        content = bytearray(generator.choice(samples))
        for _ in range(generator.choice((1, 3, 12))):
            reach = min(len(content), generator.choice((60, 10**6)))
            content[generator.randrange(reach)] = generator.randrange(256)
        for read in (probe_image, decode_image):
            try:
                read(bytes(content))
                outcomes.add("read")
            except ImageError as error:
                outcomes.add(error.reason)
    assert {"read", "unreadable"} <= outcomes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        struct.error("bad"),
        ZeroDivisionError("x"),
        KeyError("tile"),
        OverflowError("x"),
        IndexError("x"),
        TypeError("x"),
    ],
)
def test_whatever_a_decoder_throws_becomes_one_error(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError) as caught:
        probe_image(b"x")
    assert caught.value.reason == "unreadable"
    assert caught.value.__cause__ is error
    # A message is never blank.
    assert caught.value.found


# -- bombs ----------------------------------------------------------------------------------------


def write_png_header(width, height):
    def chunk(kind, body):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [(10_001, 10_000), (12_000, 12_000), (50_000, 50_000)])
@pytest.mark.parametrize("read", [probe_image, decode_image])
def test_a_small_file_that_claims_to_be_huge_is_rejected_unread(read, side):
    content = write_png_header(*side)
    assert len(content) < 200
    assert reason_of(read, content) == "too_large"


def test_the_pixel_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", W * H)
    assert probe_image(ENCODED["PNG"]).width == W
    monkeypatch.setattr(images, "MAX_PIXELS", W * H - 1)
    assert reason_of(probe_image, ENCODED["PNG"]) == "too_large"


# -- rotation -------------------------------------------------------------------------------------

TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_exif_rotation_is_applied_and_facts_agree(kind, options, orientation):
    content = rotated(kind, orientation, **options)
    pixels = decode_image(content)
    assert np.array_equal(pixels, TURNS[orientation](paint()))
    facts = probe_image(content)
    assert (facts.height, facts.width) == pixels.shape[:2]


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_rotation_of_jpeg(orientation):
    content = rotated("JPEG", orientation, quality=95)
    pixels = decode_image(content)
    expected = TURNS[orientation](decode_image(ENCODED["JPEG"]))
    assert np.abs(pixels.astype(int) - expected).max() <= 25
    facts = probe_image(content)
    assert (facts.height, facts.width) == pixels.shape[:2]


def test_an_unknown_orientation_is_passed_over():
    facts = probe_image(rotated("JPEG", 99))
    assert (facts.width, facts.height) == (W, H)
    assert decode_image(rotated("JPEG", 99)).shape == (H, W, 3)


def test_a_two_picture_camera_file_gives_its_first():
    second = Image.fromarray(np.zeros((H, W, 3), np.uint8))
    content = encode(paint(), "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert probe_image(content).width == W
    assert np.abs(decode_image(content).astype(int) - paint()).max() <= 25


# -- modes ----------------------------------------------------------------------------------------


def test_cmyk_jpeg_becomes_rgb():
    content = encode(Image.fromarray(paint()).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    assert np.abs(decode_image(content).astype(int) - paint()).max() <= 30
    assert probe_image(content).width == W


def test_grey_and_one_bit_images_have_three_equal_channels():
    grey = np.linspace(0, 255, W * H).astype(np.uint8).reshape(H, W)
    assert np.array_equal(decode_image(encode(grey)), np.repeat(grey[..., None], 3, axis=2))
    bits = Image.fromarray(grey).convert("1")
    pixels = decode_image(encode(bits))
    assert np.array_equal(pixels[..., 1], np.asarray(bits.convert("L")))


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(paint()).quantize(16)
    assert np.array_equal(decode_image(encode(palette)), np.asarray(palette.convert("RGB")))
    clear = int(np.asarray(palette)[0, 0])
    pixels = decode_image(encode(palette, transparency=clear))
    is_clear = np.asarray(palette) == clear
    assert (pixels[is_clear] == 255).all()
    assert np.array_equal(pixels[~is_clear], np.asarray(palette.convert("RGB"))[~is_clear])


def test_alpha_is_laid_on_white():
    rgba = np.dstack([paint(), np.full((H, W), 255, np.uint8)])
    rgba[:, :10, 3] = 0
    rgba[:, 10:20, 3] = 128
    pixels = decode_image(encode(rgba))
    assert (pixels[:, :10] == 255).all()
    half = paint()[:, 10:20] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(pixels[:, 10:20] - half).max() <= 1
    assert np.array_equal(pixels[:, 20:], paint()[:, 20:])


def test_grey_with_alpha_and_single_transparent_colour():
    grey = np.full((H, W), 80, np.uint8)
    alpha = np.zeros((H, W), np.uint8)
    alpha[:, 20:] = 255
    pixels = decode_image(encode(np.dstack([grey, alpha])))
    assert (pixels[:, :20] == 255).all()
    assert (pixels[:, 20:] == 80).all()
    flat = np.full((H, W, 3), 60, np.uint8)
    flat[:, :20] = (1, 2, 3)
    pixels = decode_image(encode(flat, transparency=(1, 2, 3)))
    assert (pixels[:, :20] == 255).all()
    assert (pixels[:, 20:] == 60).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_under_which_nothing_is_seen_is_ignored(kind):
    """Programs leave it zero by oversight; on white, all such images would be alike."""
    image = Image.fromarray(paint()).convert("RGBA")
    image.putalpha(0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encode(image, kind, **options)
    assert np.array_equal(decode_image(content), paint())
    assert probe_image(content).width == W


@pytest.mark.parametrize("kind", ENCODED)
def test_a_picture_of_one_colour_is_rejected_by_a_scan(kind):
    flat = np.full((H, W, 3), (200, 140, 90), np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(
        flat, kind if kind in ("PNG", "TIFF", "BMP", "WEBP", "GIF") else "JPEG", **options
    )
    assert reason_of(probe_image, content) == "one_colour"
    assert decode_image(content).shape == (H, W, 3)  # a white field may be asked about


def test_nearly_one_colour_too_and_a_faint_cell_is_seen():
    nearly = np.full((90, 90, 3), 240, np.uint8)
    nearly[::2, ::3] = 242
    assert reason_of(probe_image, encode(nearly)) == "one_colour"
    nearly[40, 40] = 255  # a hot pixel
    assert reason_of(probe_image, encode(nearly)) == "one_colour"
    nearly[30:60, 30:60, 1] = 225
    assert probe_image(encode(nearly)).width == 90
    assert probe_image(encode(nearly, "JPEG")).width == 90


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [65535, 20000])
def test_sixteen_bit_greys_are_scaled_not_clipped(kind, top):
    grey = np.linspace(0, top, W * H).astype(np.uint16).reshape(H, W)
    pixels = decode_image(encode(grey, kind))
    assert np.abs(pixels[..., 0] - grey / 257).max() <= 1


@pytest.mark.parametrize(("top", "divisor"), [(255, 1), (65535, 257)])
def test_thirty_two_bit_greys_by_their_peak(top, divisor):
    grey = np.linspace(0, top, W * H).astype(np.int32).reshape(H, W)
    content = encode(grey, "TIFF")
    assert Image.open(io.BytesIO(content)).mode == "I"
    assert np.abs(decode_image(content)[..., 2] - grey / divisor).max() <= 1


@pytest.mark.parametrize(("top", "scale"), [(1.0, 255), (255.0, 1), (65535.0, 1 / 257)])
def test_floating_point_greys_by_their_peak(top, scale):
    grey = np.linspace(-top / 10, top, W * H).astype(np.float32).reshape(H, W)
    expected = np.clip(grey * scale, 0, 255)
    assert np.abs(decode_image(encode(grey, "TIFF"))[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (H - 1, W - 1)])
@pytest.mark.parametrize("read", [probe_image, decode_image])
def test_what_is_no_number_is_rejected(read, place, value):
    grey = np.linspace(0, 1, W * H, dtype=np.float32).reshape(H, W)
    grey[place] = value
    assert reason_of(read, encode(grey, "TIFF")) == "unreadable"


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("read", [probe_image, decode_image])
def test_a_camera_of_fewer_bits_in_sixteen_is_told(read, kind, bits):
    """Read as it is the picture would be nearly black: 14 levels of 255 are left of 12 bits."""
    grey = np.linspace(0, 2**bits - 1, W * H).astype(np.uint16).reshape(H, W)
    assert reason_of(read, encode(grey, kind)) == "narrow_range"


def test_colours_of_fewer_bits_in_sixteen_are_told_too():
    def write(scale):
        rows = b"\0" + struct.pack(">3H", 1200 * scale, 4000 * scale, 900 * scale) * W
        return write_png(W, H, 16, 2, rows * (H - 1) + b"\0" + struct.pack(">3H", 9, 9, 9) * W)

    assert reason_of(probe_image, write(1)) == "narrow_range"
    assert decode_image(write(16))[0, 0].tolist() == [75, 250, 56]


def test_the_first_frame_of_an_animation_counts():
    black = Image.new("RGB", (W, H))
    content = encode(paint(), "GIF", save_all=True, append_images=[black], duration=50)
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.abs(decode_image(content).astype(int) - paint()).max() <= 25


def stack(*pages, **options):
    first, *rest = (Image.fromarray(page) for page in pages)
    return encode(first, "TIFF", save_all=True, append_images=rest, **options)


@pytest.mark.parametrize("read", [probe_image, decode_image])
@pytest.mark.parametrize("n", [2, 3, 6])
def test_pages_of_one_size_are_rejected(read, n):
    """The first of a focus series is blurred, of a series of channels it is one colour."""
    assert reason_of(read, stack(*[paint()] * n)) == "several_pages"
    assert reason_of(read, stack(*[paint()[..., 0]] * n)) == "several_pages"


def test_a_thumbnail_first_is_rejected_a_pyramid_is_read():
    small = paint(W // 2, H // 2)
    assert reason_of(decode_image, stack(small, paint())) == "several_pages"
    assert np.array_equal(decode_image(stack(paint(), small)), paint())


@pytest.mark.parametrize(
    "text",
    [
        '<OME><Image><Pixels DimensionOrder="XYCZT" SizeC="3" SizeT="1" SizeZ="1"/></Image></OME>',
        "ImageJ=1.54f\nimages=3\nchannels=3\nmode=composite\n",
    ],
)
def test_a_page_per_channel_is_a_picture_in_colour(text):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = text
    content = stack(*np.moveaxis(paint(), 2, 0), tiffinfo=info)
    assert np.array_equal(decode_image(content), paint())
    assert probe_image(content).width == W
    wide = [channel.astype(np.uint16) * 257 for channel in np.moveaxis(paint(), 2, 0)]
    assert np.array_equal(decode_image(stack(*wide, tiffinfo=info)), paint())
    dark = [channel // 257 for channel in wide]
    assert reason_of(decode_image, stack(*dark, tiffinfo=info)) == "narrow_range"


def test_advice_of_the_decoder_is_no_warning():
    # Pillow warns of a TIFF whose directory is odd; the suite turns warnings into errors.
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = "a cell"
    content = encode(paint(), "TIFF", tiffinfo=info)
    where = content.index(struct.pack("<HHI", 270, 2, 7))
    odd = content[:where] + struct.pack("<HHI", 270, 2, 10**6) + content[where + 8 :]
    with pytest.warns(UserWarning):
        Image.open(io.BytesIO(odd)).size  # noqa: B018
    assert probe_image(odd).width == W


# -- boxes ----------------------------------------------------------------------------------------


def test_a_box_is_cut_after_rotation():
    pixels = decode_image(rotated("PNG", 6), (2, 3, 12, 30))
    assert np.array_equal(pixels, np.rot90(paint(), -1)[3:30, 2:12])


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, W + 1, H),
        (0, 0, W, H + 1),
        (-1, 0, 5, 5),
        (0, -1, 5, 5),
        (5, 0, 5, 5),
        (0, 5, 5, 5),
        (9, 0, 5, 5),
    ],
)
def test_boxes_outside_or_empty_are_rejected(box):
    assert reason_of(decode_image, ENCODED["PNG"], box) == "bad_box"
    assert reason_of(check_box, box, W, H) == "bad_box"


def test_the_whole_image_and_one_pixel_are_boxes():
    check_box((0, 0, W, H), W, H)
    check_box((W - 1, H - 1, W, H), W, H)
    assert decode_image(ENCODED["PNG"], (W - 1, H - 1, W, H)).shape == (1, 1, 3)


# -- resizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_stretch_equals_pillow(interpolation):
    filters = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
        "nearest": Image.Resampling.NEAREST,
    }
    ours = resize_image(paint(), 16, "stretch", interpolation)
    witness = Image.fromarray(paint()).resize((16, 16), filters[interpolation])
    assert np.array_equal(ours, np.asarray(witness))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (33, 33), (9, 300)])
def test_pad_keeps_the_shape_and_fills_with_the_border(shape):
    pixels = np.full((*shape, 3), 50, np.uint8)
    pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1] = 230, 230, 230, 230
    out = resize_image(pixels, 32, "pad", "nearest")
    assert out.shape == (32, 32, 3)
    assert out.dtype == np.uint8
    height, width = (max(1, round(side * 32 / max(shape))) for side in shape)
    y, x = (32 - height) // 2, (32 - width) // 2
    inner = np.zeros((32, 32), bool)
    inner[y : y + height, x : x + width] = True
    assert (out[~inner] == 230).all()
    witness = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    assert np.array_equal(out[inner].reshape(height, width, 3), np.asarray(witness))


def test_pad_of_a_square_is_stretch():
    square = paint(30, 30)
    assert np.array_equal(resize_image(square, 16, "pad"), resize_image(square, 16))


def test_load_pixels(tmp_path):
    path = tmp_path / "cell \u00e9 1.png"
    path.write_bytes(ENCODED["PNG"])
    assert np.array_equal(load_pixels(path, 20), resize_image(paint(), 20))
    box = (1, 2, 21, 12)
    assert np.array_equal(
        load_pixels(path, 20, box, "pad", "bicubic"),
        resize_image(paint()[2:12, 1:21], 20, "pad", "bicubic"),
    )
    assert reason_of(load_pixels, tmp_path / "gone.png", 20) == "missing_file"
    assert reason_of(load_pixels, tmp_path, 20) == "not_regular"
    (tmp_path / "zero.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"zero\.jpg") as caught:
        load_pixels(tmp_path / "zero.jpg", 20)
    assert caught.value.reason == "empty"


def test_threads_share_the_memory_for_decoding(monkeypatch):
    """Pictures that together would take more wait for one another; one alone is always read."""
    running, most, lock = 0, 0, threading.Lock()
    load = images.ImageOps.exif_transpose

    def count(image, **options):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return load(image, **options)

    monkeypatch.setattr(images.ImageOps, "exif_transpose", count)
    for budget, expected in ((1, 1), (2 * 12 * W * H, 2)):
        monkeypatch.setattr(images._budget, "total", budget)
        most = 0
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(decode_image, [ENCODED["PNG"]] * 12))
        assert all(np.array_equal(one, paint()) for one in found)
        assert most <= expected
    assert images._budget.used == 0


def test_threads_share_the_memory_for_what_they_read(tmp_path, monkeypatch):
    """Files that together are larger wait for one another, whoever reads them."""
    paths = [tmp_path / f"{k}.png" for k in range(12)]
    for path in paths:
        path.write_bytes(ENCODED["PNG"])
    size, held, most, lock = len(ENCODED["PNG"]), 0, 0, threading.Lock()
    decode = images._load

    def count(*args, **options):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        time.sleep(0.02)
        with lock:
            held -= 1
        return decode(*args, **options)

    monkeypatch.setattr(images, "_load", count)
    for budget, expected in ((1, 1), (2 * size, 2)):
        monkeypatch.setattr(images._content_budget, "total", budget)
        for read in (images.decode_file, images.probe_file, lambda path: load_pixels(path, 16)):
            most = 0
            with ThreadPoolExecutor(6) as pool:
                list(pool.map(read, paths))
            assert most <= expected
    assert images._content_budget.used == 0
    assert reason_of(images.decode_file, tmp_path / "none.png") == "missing_file"
    assert images._content_budget.used == 0


def test_threads_share_the_memory_of_fields_for_as_long_as_they_work(tmp_path, monkeypatch):
    path = tmp_path / "field.png"
    path.write_bytes(ENCODED["PNG"])
    held, most, lock = 0, 0, threading.Lock()

    def work(_):
        nonlocal held, most
        with images.hold_picture(path) as (pixels_HWC, sha256):
            with lock:
                held += 1
                most = max(most, held)
            time.sleep(0.02)
            with lock:
                held -= 1
            return np.array_equal(pixels_HWC, paint()) and sha256 == images.probe_file(path).sha256

    for budget, expected in ((1, 1), (2 * 3 * W * H, 2)):
        monkeypatch.setattr(images._held_budget, "total", budget)
        most = 0
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(12)))
        assert most <= expected
    assert images._held_budget.used == images._content_budget.used == images._budget.used == 0
    with pytest.raises(ImageError), images.hold_picture(tmp_path / "none.png"):
        pass
    assert images._held_budget.used == 0


def test_the_size_is_read_from_the_header_behind_the_guard(tmp_path):
    for kind in ("PNG", "JPEG"):  # a TIFF may have its header at its end
        content = ENCODED[kind]
        (tmp_path / kind).write_bytes(content[: len(content) - 9])  # its end is not asked for
        assert images.read_size(tmp_path / kind) == (W, H)
    (tmp_path / "text").write_text("no image")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("text", "pipe", "device", "none", "x" * 5000):
        assert images.read_size(tmp_path / name) is None
