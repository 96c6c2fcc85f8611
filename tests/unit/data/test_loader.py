from itertools import chain

import numpy as np
import pytest
import torch

from leukoscope.data import loader
from leukoscope.data.loader import (
    EpochOrder,
    PixelFeed,
    choose_way,
    normalise,
    prepare_input,
    split_rows,
)

CPU = torch.device("cpu")
ROWS = [np.array([4, 0, 4]), np.array([1]), np.array([], np.int64), np.array([5, 2])]


def make_order(n=103, batch_size=8, seed=5):
    rows = np.arange(1000, 1000 + n)  # rows of a pack, not 0 to n - 1
    return EpochOrder(rows, batch_size, seed)


def list_batches(order, epoch, **where):
    return [batch.tolist() for batch in order.batches(epoch, **where)]


# -- the network's input ----------------------------------------------------------------------


def test_every_byte_value_becomes_the_reference_input():
    values = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3).contiguous()
    out = normalise(values)
    assert out.shape == (1, 3, 16, 16) and out.dtype == torch.float32
    expected = (np.arange(256) / 127.5 - 1).astype(np.float32)
    assert np.abs(out[0, 0].flatten().numpy() - expected).max() < 1e-7
    assert (out.min(), out.max()) == (-1, 1)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert values[0, 0, 1].tolist() == [1, 1, 1]  # the pixels are left alone


# -- the order --------------------------------------------------------------------------------


def test_the_order_is_a_function_of_seed_and_epoch():
    first = list_batches(make_order(), 0)
    assert list_batches(make_order(), 0) == first
    order = make_order()
    list_batches(order, 7)  # what was asked before does not matter
    assert list_batches(order, 0) == first
    orders = [list_batches(make_order(seed=s), e) for s in (5, 6) for e in (0, 1, 2)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


@pytest.mark.parametrize("n", [96, 98, 103])
def test_each_image_comes_once_per_epoch(n):
    order = make_order(n)
    for epoch in range(3):
        batches = list_batches(order, epoch)
        assert len(batches) == order.steps() == 12 + (n > 96)
        assert sorted(chain(*batches)) == list(range(1000, 1000 + n))


@pytest.mark.parametrize(
    ("n", "processes", "sizes"),
    [
        (17, 1, [8, 8]),
        (18, 1, [8, 8, 2]),
        (19, 2, [8, 8]),
        (20, 2, [8, 8, 4]),
        (23, 4, [8, 8]),
        (24, 4, [8, 8, 8]),
    ],
)
def test_a_tail_of_less_than_two_images_per_process_is_left_out(n, processes, sizes):
    order = make_order(n)
    assert order.steps(processes) == len(sizes)
    shares = [list_batches(order, 0, process=p, processes=processes) for p in range(processes)]
    for step, size in enumerate(sizes):
        assert sum(len(share[step]) for share in shares) == size
    trained = [row for share in shares for batch in share for row in batch]
    assert len(set(trained)) == len(trained) == sum(sizes)


def test_an_image_left_out_gets_its_turn():
    order = make_order(17)
    left_out = {
        row
        for epoch in range(100)
        for row in set(order.rows_N.tolist()) - set(chain(*list_batches(order, epoch)))
    }
    assert left_out == set(order.rows_N.tolist())


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_set_smaller_than_a_batch_is_one_batch(n):
    order = make_order(n)
    assert order.steps() == 1
    assert [sorted(batch) for batch in list_batches(order, 0)] == [list(range(1000, 1000 + n))]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_a_batch_without_overlap(processes):
    order = make_order(100)
    whole = list_batches(order, 3)
    shares = [list_batches(order, 3, process=p, processes=processes) for p in range(processes)]
    for step in range(order.steps(processes)):
        parts = [share[step] for share in shares]
        assert len({len(part) for part in parts}) == 1
        assert sorted(chain(*parts)) == sorted(whole[step])


@pytest.mark.parametrize(("n", "processes"), [(16, 3), (23, 3), (22, 5), (1, 4), (3, 4)])
def test_uneven_batches_are_filled_up_from_their_own_start(n, processes):
    """All processes take equally many steps of equally many images, or they would wait forever."""
    order = make_order(n)
    shuffled = np.random.default_rng([5, 0]).permutation(order.rows_N)
    whole = [rows.tolist() for rows in np.split(shuffled, range(8, n, 8))]
    shares = [list_batches(order, 0, process=p, processes=processes) for p in range(processes)]
    for step in range(order.steps(processes)):
        parts = [share[step] for share in shares]
        assert len({len(part) for part in parts}) == 1
        rows = list(chain(*parts))
        assert set(rows) == set(whole[step])
        assert len(rows) == -(-len(whole[step]) // processes) * processes
    assert all(len(share) == order.steps(processes) for share in shares)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_epoch_is_the_tail_of_the_whole_one(processes):
    order = make_order()
    for process in range(processes):
        where = {"process": process, "processes": processes}
        whole = list_batches(order, 2, **where)
        for start in range(len(whole) + 1):
            assert list_batches(order, 2, start=start, **where) == whole[start:]


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (5, 7, 9, 3), (0, 8, 8, 3)])
def test_looked_up_levels_are_the_computed_ones_bit_for_bit(shape):
    pixels = torch.arange(int(np.prod(shape))).to(torch.uint8).reshape(shape)
    looked_up, computed = prepare_input(pixels), normalise(pixels)
    assert torch.equal(looked_up, computed)
    assert looked_up.dtype == torch.float32 and looked_up.stride() == computed.stride()


def test_rows_are_split_in_their_order():
    assert [x.tolist() for x in split_rows(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(split_rows(np.arange(0), 2)) == []


# -- to the device ---------------------------------------------------------------------------


@pytest.fixture
def pack(tmp_path):
    """A read-only memory-mapped pack of 6 images, as training gets it."""
    path = tmp_path / "pack.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("way", ["direct", "resident", "ahead"])
def test_every_way_brings_the_same_images_in_the_same_order(pack, way, monkeypatch):
    monkeypatch.setattr(loader, "_CHUNK", 4)
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
