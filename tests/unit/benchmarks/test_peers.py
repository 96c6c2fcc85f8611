import contextlib
import gc

import pytest
import torch
from benchmarks.rivals import training
from benchmarks.rivals.peers import build_plain
from benchmarks.rivals.setting import Setting

from leukoscope.models.attention import RelativeAttention
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec


def test_the_plain_rewrite_is_the_network_of_the_preset():
    """Equal but for what ours has and the notebook lacks: the relative bias."""
    plain, ours = build_plain(), CoAtNet(build_spec("coatnet-hematology", 4, 224))
    assert plain(torch.zeros(2, 3, 64, 64)).shape == (2, 4)
    bias = sum(m.bias_table.numel() for m in ours.modules() if isinstance(m, RelativeAttention))
    assert bias > 0

    def count(network):
        return sum(p.numel() for p in network.parameters())

    assert count(plain) == count(ours) - bias


def test_operations_are_those_of_the_published_network():
    """CoAtNet-0 at 224 has 4.2 G multiply-adds (Dai et al. 2021, table 4)."""
    setting = Setting("", "", batch=5, preset="coatnet-0")
    multiply_adds = training.count_step_flops(setting) / (2 * 3 * 5)
    assert multiply_adds == pytest.approx(4.2e9, rel=0.06)  # not all of attention is counted


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_of_ours_changes_the_weights(precision, monkeypatch):
    kept = []
    monkeypatch.setattr(training, "CoAtNet", lambda spec: kept.append(CoAtNet(spec)) or kept[-1])
    step = training.prepare_ours(
        Setting("", "", batch=2, size_px=64, preset="coatnet-pico", precision=precision)
    )
    before = kept[0].head.weight.detach().clone()
    step()
    assert not torch.equal(kept[0].head.weight, before)


def test_ours_is_measured_as_it_trains(monkeypatch):
    """Freed memory is kept after the preparation too, not only while it lasts."""
    open_now = []

    @contextlib.contextmanager
    def keeping(device):
        open_now.append(device)
        try:
            yield True
        finally:
            open_now.pop()

    monkeypatch.setattr(training, "keeping_freed_memory", keeping)
    step = training.prepare_ours(Setting("", "", batch=2, size_px=64, preset="coatnet-pico"))
    gc.collect()
    assert len(open_now) == 1
    step()
