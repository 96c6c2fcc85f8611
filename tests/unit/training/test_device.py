import pytest
import torch
from torch import nn

from leukoscope.training import device
from leukoscope.training.device import (
    GAIN,
    build_accelerator,
    choose_precision,
    keeping_freed_memory,
    pick_device,
)

CPU = torch.device("cpu")


@pytest.fixture
def stopwatch(monkeypatch):
    """Times that would be measured: how many times faster a layer and a whole step are in bf16."""

    def install(layer, step):
        def time_as(gain):
            return lambda dtype: 1.0 if dtype == torch.float32 else 1 / gain

        monkeypatch.setattr(device, "_time_layer", time_as(layer))
        monkeypatch.setattr(device, "_time_step", time_as(step))

    return install


@pytest.mark.parametrize(
    ("layer", "step", "expected"),
    [
        (3.0, 3.0, "bf16"),
        (0.8, GAIN * 1.001, "bf16"),  # small layers gain nothing, the step does
        (3.0, GAIN * 0.999, "fp32"),
        (0.01, 3.0, "fp32"),  # emulated: nobody waits for a whole step
    ],
)
def test_a_cpu_is_measured(stopwatch, layer, step, expected):
    stopwatch(layer, step)
    assert choose_precision(CPU) == expected


def test_where_bf16_is_emulated_no_step_is_timed(stopwatch, monkeypatch):
    stopwatch(0.01, 3.0)
    monkeypatch.setattr(device, "_time_step", lambda dtype: pytest.fail("timed a step"))
    assert choose_precision(CPU) == "fp32"


def test_a_real_measurement_says_one_of_the_two():
    assert choose_precision(CPU) in ("fp32", "bf16")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_work_is_timed_in_the_precision_asked_for_forward_and_backward(dtype):
    layer, seen = nn.Linear(8, 8), []

    def forward():
        seen.append(layer(torch.randn(4, 8)))
        return seen[-1]

    assert 0 < device._time_best(forward, dtype) < 10
    assert len(seen) > 1 and {out.dtype for out in seen} == {dtype}
    assert layer.weight.grad is not None


@pytest.mark.parametrize("time_work", [device._time_layer, device._time_step])
def test_a_layer_and_a_step_are_timed_for_real(time_work):
    assert 0 < time_work(torch.float32) < 60


def test_the_best_of_the_runs_counts(monkeypatch):
    clock = iter([0, 9, 10, 13, 20, 22, 30, 34])  # 9, 3, 2 and 4 seconds
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(clock))
    layer = nn.Linear(2, 2)
    assert device._time_best(lambda: layer(torch.randn(2, 2)), torch.float32) == 2


@pytest.mark.parametrize(("emulated", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_takes_bf16_where_it_has_it(monkeypatch, emulated, expected):
    def is_supported(including_emulation=True):
        assert not including_emulation  # emulated bf16 gains nothing
        return emulated

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_precision(torch.device("cuda")) == expected


def test_other_devices_take_fp32():
    assert choose_precision(torch.device("mps")) == "fp32"


def test_the_accelerator_at_hand_is_picked_or_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    assert pick_device() == CPU
    found = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
    assert pick_device() is found


def test_one_process_can_train_in_two_precisions(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    for precision, name, dtype in (
        ("bf16", "bf16", torch.bfloat16),
        ("fp32", "no", torch.float32),
        ("bf16", "bf16", torch.bfloat16),
    ):
        accelerator = build_accelerator(precision)
        assert accelerator.mixed_precision == name
        assert accelerator.device == CPU
        with accelerator.autocast():
            assert nn.Linear(2, 2)(torch.randn(2, 2)).dtype == dtype


def count_faults():
    """Pages that the kernel had to fetch while 64 MB were taken and given back ten times."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_kept_while_it_is_wanted():
    with keeping_freed_memory(CPU) as kept:
        if not kept:
            pytest.skip("this system's C library is not glibc")
        count_faults()  # the first round has to ask
        inside = count_faults()
    after = count_faults()
    assert inside < 0.2 * after


def test_freed_memory_is_given_back_after_an_error():
    with pytest.raises(KeyError), keeping_freed_memory(CPU):
        raise KeyError
    with keeping_freed_memory(CPU) as kept:
        count_faults()
    if kept:
        assert count_faults() > 1000


def test_other_devices_and_systems_are_left_alone(monkeypatch):
    with keeping_freed_memory(torch.device("meta")) as kept:
        assert not kept
    monkeypatch.setattr(device.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: pytest.fail("not for this system"))
    with keeping_freed_memory(CPU) as kept:
        assert not kept
