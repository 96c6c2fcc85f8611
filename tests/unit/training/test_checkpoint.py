import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from safetensors import SafetensorError

from leukoscope.errors import StorageError, WeightsError
from leukoscope.storage import hash_file
from leukoscope.training import checkpoint
from leukoscope.training.checkpoint import (
    add_prefix,
    check_hash,
    load_tensors,
    load_weights,
    pack_optimizer,
    save_tensors,
    take_prefix,
    unpack_optimizer,
)


@dataclass(frozen=True)
class State:
    """What stands beside tensors."""

    step: int = 0
    best: tuple[float, float] = (0.0, 0.0)
    x: float = 0.0


def test_tensors_and_state_come_back_bitwise(tmp_path):
    last = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    tensors = {"a": last, "b": torch.tensor(7), "c": torch.randn(3).double()}
    state = State(3, (-float("inf"), 0.1), 0.1 + 0.2)
    save_tensors(tmp_path / "x.safetensors", tensors, state)
    loaded, found = load_tensors(tmp_path / "x.safetensors", State)
    assert found == state
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[k], tensors[k]) for k in tensors)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing", "foreign"])
def test_damaged_files_are_rejected(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(100)}, State())
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "garbage":
        path.write_bytes(b"\x80\x04not a pickle either")
    elif damage == "missing":
        path.unlink()
    else:
        checkpoint.save_file({"a": torch.zeros(1)}, path)  # without our state
    with pytest.raises(WeightsError, match="must be a whole safetensors file"):
        load_tensors(path, State)


def test_a_flipped_bit_is_rejected(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(100)}, State())
    recorded = hash_file(path)
    check_hash(path, recorded)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    load_tensors(path, State)  # still a whole file: only the hash can tell
    with pytest.raises(WeightsError, match="SHA-256"):
        check_hash(path, recorded)


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(2)}, State(0))
    real, calls = checkpoint._read, []

    def read(given):
        calls.append(given)
        old = real(given)
        if len(calls) == 1:
            save_tensors(path, {"x": torch.ones(2)}, State(1))
            if fails:  # as PyTorch does where header and numbers differ in length
                raise RuntimeError("size <1> is smaller than the required mapping size <2>")
        return old

    monkeypatch.setattr(checkpoint, "_read", read)
    tensors, state = load_tensors(path, State)
    assert state == State(1) and tensors["x"].tolist() == [1, 1] and len(calls) == 2


def test_a_file_too_short_for_its_header_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(2)}, State(0))

    def read(_):
        raise RuntimeError("size <1> is smaller than the required mapping size <2>")

    monkeypatch.setattr(checkpoint, "_read", read)
    with pytest.raises(WeightsError, match="whole safetensors file"):
        load_tensors(path, State)


def test_weights_must_fit(tmp_path):
    with pytest.raises(WeightsError, match="must fit the network"):
        load_weights(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 2)}, tmp_path / "x")


def test_full_disk_leaves_the_old_file(tmp_path):
    """A real limit: the process may not write files beyond 200 kB."""
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(10)}, State(1))
    script = f"""
import resource, signal, sys, torch
from pathlib import Path
from leukoscope.errors import StorageError
from leukoscope.training.checkpoint import WeightsState, save_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save_tensors(Path({str(path)!r}), {{"a": torch.ones(1_000_000)}}, WeightsState(1))
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "must be writable" in done.stdout and "the disk is full" in done.stdout
    tensors, state = load_tensors(path, State)
    assert state == State(1) and len(tensors["a"]) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_other_write_errors_are_translated(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise SafetensorError("something else")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(StorageError, match="something else"):
        save_tensors(tmp_path / "x.safetensors", {}, State())


def test_no_pickle_is_ever_read(tmp_path):
    """A pickle that would run code is rejected before it can."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "x.safetensors"
    torch.save(Bomb(), path)
    with pytest.raises(WeightsError):
        load_tensors(path, State)
    assert not (tmp_path / "ran").exists()


def test_optimizer_moments_come_back_strided_as_the_weights():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    packed = {k: v.contiguous() for k, v in pack_optimizer(optimizer).items()}
    other = torch.optim.AdamW(network.parameters(), fused=True)
    unpack_optimizer(other, packed)
    for parameter in network.parameters():
        mine, theirs = optimizer.state[parameter], other.state[parameter]
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name])
        assert theirs["exp_avg"].stride() == parameter.stride()


def test_prefixes_are_inverse():
    tensors = {"a": torch.zeros(1), "b.c": torch.ones(1)}
    mixed = add_prefix(tensors, "x.") | add_prefix(tensors, "y.")
    assert take_prefix(mixed, "x.").keys() == tensors.keys()
    assert json.dumps(sorted(mixed)) == '["x.a", "x.b.c", "y.a", "y.b.c"]'
