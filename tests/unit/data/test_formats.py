"""DICOM, HEIC and TIFF of floating-point colours: read with the extra, named without."""

import contextlib
import importlib.util
import io

import numpy as np
import pytest
from PIL import Image
from tests.builders.images import encode, paint, reason_of

from leukoscope.data import formats, images
from leukoscope.data.images import decode_image, probe_image
from leukoscope.errors import ImageError

CELL = np.asarray(Image.fromarray(paint(3, (48, 32))))


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC"),
        (b"II*\0" + bytes(99), "TIFF"),
        (b"MM\0*" + bytes(99), "TIFF"),
    ],
)
def test_without_the_extra_it_is_named(nothing_installed, content, kind):
    with pytest.raises(ImageError, match=r"leukoscope\[formats\]") as caught:
        decode_image(content)
    assert caught.value.reason == "not_an_image" and kind in caught.value.found
    assert formats.list_suffixes() == frozenset()


def test_endings_follow_what_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: name == "pydicom" or None)
    assert formats.list_suffixes() == {".dcm"}


# -- TIFF -----------------------------------------------------------------------------------------


def write_tiff(pixels, **options):
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("scale", [1 / 255, 1, 257])
def test_colours_in_floats_by_their_peak(scale):
    content = write_tiff((CELL.astype(np.float32) * scale).astype(np.float32), photometric="rgb")
    assert np.abs(decode_image(content).astype(int) - CELL).max() <= 1
    assert probe_image(content).width == 48


def test_planes_of_floats_are_colours():
    planes = np.moveaxis(CELL, 2, 0).astype(np.float32)
    content = write_tiff(planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode_image(content), CELL)


def test_what_is_no_number_or_no_picture_is_rejected(monkeypatch):
    broken = (CELL / 255).astype(np.float32)
    broken[0, 0, 0] = np.nan
    assert reason_of(decode_image, write_tiff(broken, photometric="rgb")) == "unreadable"
    five = np.zeros((32, 48, 5), np.float32)
    pages = np.stack([CELL, CELL]).astype(np.float32)
    for content in (
        write_tiff(np.zeros((5, 32, 48), np.float32), photometric="minisblack", planarconfig=2),
        write_tiff(five.astype(np.complex64)[..., 0]),
    ):
        assert reason_of(decode_image, content) in ("unreadable", "several_pages")
    assert reason_of(decode_image, write_tiff(pages, photometric="rgb")) == "several_pages"
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 32 - 1)
    content = write_tiff(CELL.astype(np.float32), photometric="rgb")
    assert reason_of(decode_image, content) == "too_large"


# -- HEIC -----------------------------------------------------------------------------------------


def test_heic_is_read(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.asarray(
        Image.fromarray(CELL[::16, ::16]).resize((96, 64), Image.Resampling.BICUBIC)
    )
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth)).save(stream, quality=95)
    pixels = decode_image(stream.getvalue())
    assert pixels.shape == (64, 96, 3)
    assert np.abs(pixels.astype(int) - smooth).mean() < 6
    monkeypatch.setattr(images, "MAX_PIXELS", 96 * 64 - 1)
    assert reason_of(decode_image, stream.getvalue()) == "too_large"


# -- DICOM ----------------------------------------------------------------------------------------


def write_dicom(pixels, colours, bits=8, frames=None, **options):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLMicroscopicImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLMicroscopicImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    found.SOPClassUID, found.SOPInstanceUID = VLMicroscopicImageStorage, "1.2.3"
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        found.PlanarConfiguration = 0
    found.PhotometricInterpretation = colours
    found.BitsAllocated, found.BitsStored = 8 * pixels.itemsize, bits
    found.HighBit, found.PixelRepresentation = bits - 1, 0
    data = pixels.tobytes()
    if frames:
        found.NumberOfFrames, data = frames, data * frames
    found.PixelData = data
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, found, enforce_file_format=True)
    return stream.getvalue()


def test_dicom_in_colour_and_grey_is_read():
    assert np.array_equal(decode_image(write_dicom(CELL, "RGB")), CELL)
    assert np.array_equal(decode_image(write_dicom(CELL, "RGB", frames=1)), CELL)
    grey = CELL[..., 0]
    assert np.array_equal(decode_image(write_dicom(grey, "MONOCHROME2"))[..., 2], grey)
    assert np.array_equal(decode_image(write_dicom(grey, "MONOCHROME1"))[..., 1], 255 - grey)
    # The file says how many bits the camera has, so nothing is dark.
    wide = ((grey.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)
    found = decode_image(write_dicom(wide, "MONOCHROME2", bits=12))[..., 0]
    assert np.abs(found.astype(int) - grey).max() <= 1
    ycc = np.asarray(Image.fromarray(CELL).convert("YCbCr"))
    found = decode_image(write_dicom(ycc, "YBR_FULL"))
    assert np.abs(found.astype(int) - CELL).max() <= 4


def test_large_pictures_are_converted_in_bands_and_the_memory_is_reserved(monkeypatch):
    monkeypatch.setattr(formats, "_BAND_ROWS", 5)
    reserved = []

    @contextlib.contextmanager
    def reserve(n):
        reserved.append(n)
        yield

    floats = (CELL / 255).astype(np.float32)
    for content, n_bytes in (
        (write_dicom(CELL, "RGB"), 3),
        (write_dicom(CELL[..., 0].astype(np.uint16), "MONOCHROME2", bits=8), 2),
        (write_dicom(CELL, "YBR_FULL"), 12),  # floats, in the package
        (write_tiff(floats, photometric="rgb"), 12),
        (write_tiff(floats.astype(np.float64)[..., 0], photometric="minisblack"), 8),
    ):
        whole = formats.open_other(content, "x", 10**6, reserve)
        assert reserved.pop() == (2 * n_bytes + 3) * 48 * 32
        read = decode_image(content)
        assert np.array_equal(np.asarray(whole), read if whole.mode == "RGB" else read[..., 0])
        monkeypatch.setattr(formats, "MAX_BYTES", n_bytes * 48 * 32 - 1)
        assert reason_of(decode_image, content) == "too_large"
        monkeypatch.undo()
        monkeypatch.setattr(formats, "_BAND_ROWS", 5)


def test_dicom_that_is_no_single_picture_is_rejected(monkeypatch):
    assert reason_of(decode_image, write_dicom(CELL, "RGB", frames=2)) == "several_pages"
    assert reason_of(decode_image, write_dicom(CELL, "HSV")) == "unreadable"
    assert reason_of(decode_image, write_dicom(CELL, "RGB")[:-900]) in ("truncated", "unreadable")
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 32 - 1)
    assert reason_of(decode_image, write_dicom(CELL, "RGB")) == "too_large"


def test_other_bytes_stay_no_image():
    assert formats.open_other(encode(CELL), "x", 9, contextlib.nullcontext) is None


@pytest.mark.parametrize(
    "error",
    [RuntimeError, NotImplementedError, MemoryError, RecursionError, AssertionError, KeyError],
)
def test_whatever_a_decoder_raises_is_an_error_of_the_image(monkeypatch, error):
    """pillow-heif: RuntimeError beyond its limits; pydicom: NotImplementedError for a coding."""

    def fail(*_):
        raise error

    monkeypatch.setattr(images, "open_other", fail)
    for read in (decode_image, probe_image):
        assert reason_of(read, b"no image") == "unreadable"
