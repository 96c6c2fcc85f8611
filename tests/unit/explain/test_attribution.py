import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leukoscope.errors import ConfigError
from leukoscope.explain.attribution import (
    MAX_MISSED,
    borrow_network,
    build_randomised,
    build_score,
    choose_stage,
    compute_cam,
    compute_integrated_gradients,
    list_stages,
)
from leukoscope.models.coatnet import CoAtNet


def compute_by_hand(network, images, targets, stage, kind):
    """From the intermediates that the network names, by autograd alone: no captum, no hooks."""
    logits, inner = network(images)
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), inner[stage])
    weights = gradient.mean((2, 3), keepdim=True) if kind == "gradcam" else gradient
    small = (weights * inner[stage]).sum(1, keepdim=True).detach()
    return F.interpolate(small, images.shape[2:], mode="bilinear")[:, 0].numpy()


@pytest.mark.parametrize("kind", ["gradcam", "hirescam"])
def test_class_activation_maps_agree_with_autograd(tiny, images, kind):
    targets = torch.tensor([0, 2, 1])
    for stage in list_stages(tiny):
        found = compute_cam(tiny, images, targets, kind=kind, stage=stage)
        wanted = compute_by_hand(tiny, images, targets, stage, kind)
        assert found.shape == (3, 64, 64) and found.dtype == np.float32
        assert np.abs(wanted).max() > 1e-6
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert not np.allclose(compute_cam(tiny, images, torch.tensor([1, 2, 1]), kind=kind)[0],
                           compute_cam(tiny, images, targets, kind=kind)[0])  # fmt: skip


def test_the_default_stage_is_the_last_of_convolutions(tiny, images):
    assert list_stages(tiny) == ("stem", "stage_1", "stage_2", "stage_3", "stage_4")
    assert choose_stage(tiny) == "stage_2"
    targets = torch.tensor([0, 1, 2])
    np.testing.assert_array_equal(
        compute_cam(tiny, images, targets), compute_cam(tiny, images, targets, stage="stage_2")
    )
    with pytest.raises(ConfigError, match="stem, stage_1"):
        compute_cam(tiny, images, targets, stage="stage_9")


def test_integrated_gradients_are_complete(tiny, images):
    """They sum to the difference of the logits (Sundararajan et al. 2017, proposition 1)."""
    baselines = images * 0.6 + 0.1  # near: max-pooling makes a long way rough
    targets = torch.tensor([2, 0, 1])
    found, missed = compute_integrated_gradients(tiny, images, targets, baselines, most_steps=96)
    with torch.no_grad():
        both = [tiny(x)[0].gather(1, targets[:, None])[:, 0] for x in (images, baselines)]
    wanted = (both[0] - both[1]).numpy()
    np.testing.assert_allclose(found.sum((1, 2)), wanted, atol=0.06 * np.abs(wanted).max())
    share = np.abs(found.sum((1, 2)) - wanted) / np.maximum(np.abs(wanted), 0.5)
    np.testing.assert_allclose(share, missed, atol=2e-3)


class Kink(torch.nn.Module):
    """One logit: how far the brightest pixel is above a threshold, steeply; rough on any path."""

    def forward(self, images_BCHW):
        return torch.relu(60 * (images_BCHW.amax((1, 2, 3)) - 0.4903))[:, None], {}


def test_steps_are_doubled_until_nothing_is_missed():
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, 2, 3] = 0.5
    given = (Kink(), image, torch.tensor([0]), torch.zeros_like(image))
    few = compute_integrated_gradients(*given, most_steps=32)[1]
    map_SS, missed = compute_integrated_gradients(*given)
    assert few[0] > MAX_MISSED and missed[0] < few[0] / 2
    assert map_SS.sum() == pytest.approx(60 * (0.5 - 0.4903), abs=0.05)


def look_at(network):
    return (
        [module.training for module in network.modules()],
        [parameter.requires_grad for parameter in network.parameters()],
        [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        [
            len(hooks)
            for module in network.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        {name: value.clone() for name, value in network.state_dict().items()},
    )


def check_same(before, after):
    assert before[0] == after[0] and before[1] == after[1] and before[3] == after[3]
    for one, other in zip(before[2], after[2], strict=True):
        assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
    assert all(torch.equal(before[4][name], after[4][name]) for name in before[4])


def test_networks_are_left_as_they_were_found(tiny, images):
    tiny.train()
    tiny.stages[0].eval()
    tiny.head.bias.requires_grad_(False)
    tiny.norm.eval()
    tiny.head.weight.grad = torch.ones_like(tiny.head.weight)
    before, drawn = look_at(tiny), torch.random.get_rng_state()
    targets = torch.tensor([0, 1, 2])
    given = images.clone()
    with torch.no_grad():  # a caller's setting changes nothing
        compute_cam(tiny, images, targets)
        compute_cam(tiny, images, targets, kind="hirescam", stage="stem")
        compute_integrated_gradients(tiny, images, targets, torch.ones_like(images), most_steps=4)
        build_score(tiny)(np.zeros((2, 64, 64, 3), np.uint8))
        list(build_randomised(tiny))
        assert not torch.is_grad_enabled()
    check_same(before, look_at(tiny))
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert torch.equal(given, images) and not images.requires_grad


def test_networks_are_given_back_after_an_error(tiny):
    tiny.train()
    before = look_at(tiny)
    with pytest.raises(ConfigError), borrow_network(tiny) as lent:
        assert not lent.training and not lent.stem.training
        raise ConfigError("a", "b", "c")
    check_same(before, look_at(tiny))


def test_training_mode_does_not_change_a_map(tiny, images):
    targets = torch.tensor([0, 1, 2])
    quiet = compute_cam(tiny, images, targets)
    np.testing.assert_array_equal(compute_cam(tiny.train(), images, targets), quiet)


def test_weights_are_lost_from_the_head_down(tiny, images):
    untouched = copy.deepcopy(tiny.state_dict())
    seen = []
    for level, network in build_randomised(tiny, seed=5):
        state = network.state_dict()
        changed = {k.split(".")[0] + k.split(".")[1] if k.startswith("stages") else k.split(".")[0]
                   for k in state if not torch.equal(state[k], untouched[k])}  # fmt: skip
        seen.append((level, len(changed)))
        assert not network.training
        if level == "head":
            assert changed <= {"head", "norm"}
            inner = network(images)[1]
            assert torch.equal(inner["stage_4"], tiny(images)[1]["stage_4"])
            assert not torch.equal(inner["logits"], tiny(images)[0])
    assert [level for level, _ in seen] == [
        "head",
        "stage_4",
        "stage_3",
        "stage_2",
        "stage_1",
        "stem",
    ]
    assert [n for _, n in seen] == sorted(n for _, n in seen)
    # At the end nothing of the trained network is left: it is the one that this seed builds.
    torch.manual_seed(5)
    fresh = CoAtNet(tiny.spec).eval()
    assert torch.equal(network(images)[0], fresh(images)[0])
    assert all(torch.equal(tiny.state_dict()[k], v) for k, v in untouched.items())


def test_the_score_is_the_network(tiny):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    found = build_score(tiny)(pixels)
    wanted = tiny(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)[0]
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32
