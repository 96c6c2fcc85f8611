import copy

import pytest
import torch
from torch import nn

from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec
from leukoscope.training.statistics import reestimate_statistics


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 8, 8, generator=generator) * 2 + k for k in range(3)]


def test_mean_and_variance_are_those_of_the_images(batches):
    norm = nn.BatchNorm2d(3, momentum=0.3)
    norm.running_mean.fill_(7.0)
    reestimate_statistics(norm, batches)
    means = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variances = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.momentum == 0.3 and not norm.training


def test_a_later_norm_sees_what_comes_through_in_use(batches):
    """Dropout in front is off: with it the variance of the second norm would be twice as large."""
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm2d(3))
    reestimate_statistics(network.train(), batches)
    # What leaves the first norm has mean 0 and variance 1 in every batch.
    torch.testing.assert_close(network[2].running_mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(network[2].running_var, torch.ones(3), atol=0.01, rtol=0)


def test_weights_stay_and_nothing_is_left_in_training_mode(batches):
    network = CoAtNet(build_spec("coatnet-pico", 3, 32, stochastic_depth=0.5)).train()
    images = [torch.nn.functional.interpolate(b, 32) for b in batches]
    before = copy.deepcopy(network.state_dict())
    reestimate_statistics(network, images)
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        assert moved == ("running" in name or name.endswith("num_batches_tracked")), name
    again = copy.deepcopy(network)
    reestimate_statistics(again, images)  # the same images, the same statistics, to the last bit
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


def test_without_images_or_without_norms_nothing_changes(batches):
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(7.0)
    reestimate_statistics(norm, [])
    assert norm.running_mean.tolist() == [7, 7, 7] and norm.momentum == 0.1
    reestimate_statistics(nn.Conv2d(3, 1, 1), batches)


def test_an_error_leaves_the_momentum(batches):
    norm = nn.BatchNorm2d(3, momentum=0.2)
    with pytest.raises(RuntimeError):
        reestimate_statistics(norm, [batches[0], torch.zeros(4, 5, 8, 8)])
    assert norm.momentum == 0.2 and not norm.training
