import numpy as np
import pytest
import torch

from leukoscope.data import feed
from leukoscope.data.feed import PixelFeed, choose_way

CPU = torch.device("cpu")
ROWS = [np.array([4, 0, 4]), np.array([1]), np.array([], np.int64), np.array([5, 2])]


@pytest.fixture
def pack(tmp_path):
    """A read-only memory-mapped pack of 6 images, as training gets it."""
    path = tmp_path / "pack.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("way", ["direct", "resident", "ahead"])
def test_every_way_brings_the_same_images_in_the_same_order(pack, way, monkeypatch):
    monkeypatch.setattr(feed, "_CHUNK", 4)
    found = list(PixelFeed(pack, CPU, way=way).stream(iter(ROWS)))
    assert [rows.tolist() for rows, _ in found] == [rows.tolist() for rows in ROWS]
    for rows, pixels in found:
        assert pixels.dtype == torch.uint8 and pixels.shape == (len(rows), 4, 4, 3)
        assert (pixels.numpy() == pack[rows]).all()
        pixels.zero_()  # a batch is its taker's own
    assert pack.any()
    again = dict(enumerate(PixelFeed(pack, CPU, way=way).stream(ROWS)))
    assert (again[0][1].numpy() == pack[ROWS[0]]).all()
    assert list(PixelFeed(pack, CPU, way=way).stream([])) == []


def test_a_feed_that_is_left_early_ends_its_thread(pack):
    stream = PixelFeed(pack, CPU, way="ahead").stream(ROWS)
    next(stream)
    stream.close()


def test_what_cannot_be_read_ahead_is_an_error_where_it_is_used(pack):
    stream = PixelFeed(pack, CPU, way="ahead").stream([ROWS[0], np.array([99])])
    next(stream)
    with pytest.raises(IndexError, match="99"):
        next(stream)


def test_the_way_follows_device_and_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert choose_way(10**12, CPU) == "direct"
    assert choose_way(500, torch.device("cuda")) == "resident"
    assert choose_way(501, torch.device("cuda")) == "ahead"
    assert choose_way(1, torch.device("mps")) == "ahead"
