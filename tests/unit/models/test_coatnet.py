from dataclasses import replace

import pytest
import torch

from leukoscope.errors import ConfigError
from leukoscope.models.blocks import (
    MBConv,
    SqueezeExcite,
    StochasticDepth,
    map_from_tokens,
    tokens_from_map,
)
from leukoscope.models.coatnet import CoAtNet, count_multiply_adds
from leukoscope.models.presets import PRESETS, build_spec


def build_on_meta(spec):
    with torch.device("meta"):
        return CoAtNet(spec)


def count_numbers(network):
    """As Keras counts: parameters and batch-norm statistics, without counters and index tables."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    return sum(p.numel() for p in network.parameters()) + sum(2 * m.num_features for m in norms)


def test_hematology_has_the_published_count():
    """28,171,876 numbers as Keras counts the reference, plus the relative-bias tables."""
    network = build_on_meta(PRESETS["coatnet-hematology"])
    tables = sum(p.numel() for n, p in network.named_parameters() if n.endswith("bias_table"))
    assert count_numbers(network) - tables == 28_171_876
    assert count_numbers(network) == 28_207_310
    assert count_multiply_adds(PRESETS["coatnet-hematology"]) == pytest.approx(6.38e9, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "millions", "giga"),
    [
        ("coatnet-0", 25, 4.2),
        ("coatnet-1", 42, 8.4),
        ("coatnet-2", 75, 15.7),
        ("coatnet-3", 168, 34.7),
        ("coatnet-4", 275, None),
    ],
)
def test_paper_presets_have_the_papers_size(name, millions, giga):
    """Dai et al. 2021, tables 3 and 4; within 3 %, since the paper leaves small things open."""
    spec = PRESETS[name]
    assert count_numbers(build_on_meta(spec)) / 1e6 == pytest.approx(millions, rel=0.03)
    if giga is not None:
        assert count_multiply_adds(spec) / 1e9 == pytest.approx(giga, rel=0.03)


@pytest.mark.parametrize(("name", "limit"), [("coatnet-pico", 0.6e9), ("coatnet-nano", 1.2e9)])
def test_compact_presets_are_compact(name, limit):
    assert count_multiply_adds(PRESETS[name], 160) < limit


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_declares_what_it_builds(name):
    spec = replace(PRESETS[name], n_classes=5, image_size=64)
    network = build_on_meta(spec)
    logits, out = network(torch.empty(2, 3, 64, 64, device="meta"))
    assert logits.shape == (2, 5) and out["logits"] is logits
    stages = [f"stage_{i + 1}" for i in range(len(spec.stages))]
    assert list(out) == ["stem", *stages, "embedding", "logits"]
    assert out["embedding"].shape == (2, spec.stages[-1].width)
    for i, stage in enumerate(spec.stages, start=1):
        assert out[f"stage_{i}"].shape[1] == stage.width
    assert out[f"stage_{len(spec.stages)}"].shape[2:] == (2, 2)


def tiny(**changes):
    return replace(PRESETS["coatnet-pico"], n_classes=3, image_size=64, **changes)


def test_weights_move_between_input_sizes():
    torch.manual_seed(0)
    small, large = CoAtNet(tiny()).eval(), CoAtNet(replace(tiny(), image_size=96)).eval()
    images = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        moved, _ = small(images)
        with pytest.raises(RuntimeError, match="bias_table"):
            large.load_state_dict(small.state_dict())
    assert moved.shape == (1, 3) and moved.isfinite().all()


def test_memory_layout_does_not_change_the_numbers():
    torch.manual_seed(0)
    network = CoAtNet(tiny()).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain, _ = network(images)
        network = network.to(memory_format=torch.channels_last)
        last, _ = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    network = CoAtNet(tiny())
    logits, _ = network(torch.rand(2, 3, 64, 64))
    logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("size", [0, 31, 100])
def test_impossible_sizes_are_rejected(size):
    with pytest.raises(ConfigError, match="multiple of 32"):
        build_spec("coatnet-pico", 4, size)


def test_one_class_is_rejected():
    with pytest.raises(ConfigError, match="at least 2 classes"):
        build_spec("coatnet-pico", 1, 64)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'coatnet-nano'"):
        build_spec("coatnet-nan", 4, 64)
    with pytest.raises(ConfigError, match="choose one of these"):
        build_spec("zzz", 4, 64)


def test_stochastic_depth_overrides_the_preset():
    spec = build_spec("coatnet-hematology", 4, 64, stochastic_depth=0.2)
    assert (spec.dropout, spec.stochastic_depth, spec.head_dropout) == (0.1, 0.2, 0.2)


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = StochasticDepth(0.25)
    out = layer(torch.ones(4000, 2, 1))
    assert ((out == 0) | (out == 1 / 0.75)).all()
    assert (out[:, 0] == out[:, 1]).all()
    # 4,000 draws: the mean of out is 1 with a standard error of 0.0091.
    assert out.mean().item() == pytest.approx(1, abs=0.04)
    assert (layer.eval()(torch.ones(3, 1)) == 1).all()


def test_squeeze_excite_gates_channels():
    torch.manual_seed(0)
    layer, maps = SqueezeExcite(4, 2, "silu"), torch.randn(2, 4, 3, 3)
    gates = layer(maps) / maps
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))


@pytest.mark.parametrize("place", ["expand", "depthwise"])
def test_both_stride_places_halve_the_map(place):
    block = MBConv(
        4, 6, 16, stride=2, activation="gelu", pre_norm=True, se_width=2, stride_place=place,
        norm_eps=1e-5, norm_momentum=0.1,
    )  # fmt: skip
    strides = (block.expand.stride[0], block.depthwise.stride[0])
    assert strides == ((2, 1) if place == "expand" else (1, 2))
    assert block(torch.rand(2, 4, 8, 8)).shape == (2, 6, 4, 4)


def test_tokens_and_maps_are_inverse_views():
    maps = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    tokens = tokens_from_map(maps)
    assert tokens.data_ptr() == maps.data_ptr()
    assert (tokens[:, 7] == maps[:, :, 1, 2]).all()
    assert (map_from_tokens(tokens, (4, 5)) == maps).all()


def test_recomputing_changes_no_number():
    """Same logits, gradients and batch-norm statistics, dropout and stochastic depth included."""
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = CoAtNet(tiny(stochastic_depth=0.3, dropout=0.2))
        network.recompute = recompute
        for step in range(2):
            torch.manual_seed(step)
            logits, _ = network(torch.rand(4, 3, 64, 64))
            logits.square().sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters()}
        statistics = {n: b for n, b in network.named_buffers() if "num_batches" not in n}
        found.append({"logits": logits, **gradients, **statistics})
        momenta = {m.momentum for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        assert momenta == {0.1}
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name]), name


def test_hematology_starts_as_keras_does():
    """Glorot uniform: the limit is sqrt(6 / (fan in + fan out)), and Keras counts 9 C and 9 for the
    depthwise kernel of C channels."""
    torch.manual_seed(0)
    network = CoAtNet(replace(PRESETS["coatnet-hematology"], n_classes=4, image_size=64))
    attention = network.stages[2][1].attention
    drawn = {
        (network.stem[0].weight, 3 * 49, 64 * 49),
        (network.stages[0][0].expand.weight, 64, 256),
        (network.stages[0][0].depthwise.weight, 9 * 256, 9),
        *((third, 192, 192) for third in attention.qkv.weight.chunk(3)),
        (attention.project.weight, 192, 192),
        (network.head.weight, 768, 4),
    }
    for weight, fan_in, fan_out in drawn:
        limit = (6 / (fan_in + fan_out)) ** 0.5
        assert float(weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)
        assert float(weight.detach().std()) == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith(".bias")
                   and "norm" not in name)  # fmt: skip


def test_paper_family_counts_fans_by_group():
    torch.manual_seed(0)
    network = CoAtNet(tiny())
    block = network.stages[0][0]
    assert float(block.depthwise.weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert float(block.expand.weight.detach().std()) == pytest.approx((2 / 128) ** 0.5, rel=0.1)


@pytest.mark.parametrize("name", ["coatnet-pico", "coatnet-nano", "coatnet-hematology"])
def test_the_start_neither_dies_nor_explodes(name):
    """Every stage's maps keep a spread that float16 could hold, and all weights get a gradient."""
    torch.manual_seed(0)
    network = CoAtNet(replace(PRESETS[name], n_classes=4, image_size=64)).train()
    logits, out = network(torch.rand(4, 3, 64, 64) * 2 - 1)
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    assert all(1e-2 < float(out[k].detach().std()) < 1e2 for k in out if k.startswith("stage"))
    assert all(bool(p.grad.abs().sum() > 0) for p in network.parameters())
