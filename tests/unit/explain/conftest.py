"""Tiny networks, one of each family, with weights large enough that places differ."""

import pytest
import torch

from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, StageSpec


def build_tiny(family, seed=0):
    paper = family == "paper"
    stages = [StageSpec("mbconv", 1, 8), StageSpec("mbconv", 1, 12)]
    stages += [StageSpec("transformer", 2, 16, 2), StageSpec("transformer", 1, 24, 3)]
    torch.manual_seed(seed)
    network = CoAtNet(
        CoAtNetSpec(
            name="tiny",
            family=family,
            stem_width=8,
            stages=tuple(stages),
            activation="silu",
            se_ratio=0.25 if paper else 0.0,
            stride_place="expand" if paper else "depthwise",
            norm_eps=1e-5,
            norm_momentum=0.1,
            dropout=0.1,
            n_classes=3,
            image_size=64,
        )
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return network.eval()


@pytest.fixture(params=["paper", "hematology"])
def tiny(request):
    return build_tiny(request.param)


@pytest.fixture
def images():
    torch.manual_seed(7)
    return torch.rand(3, 3, 64, 64) * 2 - 1
