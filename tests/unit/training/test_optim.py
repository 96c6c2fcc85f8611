import copy
import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from leukoscope.config import OptimConfig
from leukoscope.models.attention import RelativeAttention
from leukoscope.training.optim import (
    Plateau,
    build_average,
    build_optimizer,
    compute_class_weights,
    compute_loss,
    compute_lr,
)


def test_decay_spares_norms_biases_and_tables():
    layer = torch.nn.Sequential(RelativeAttention(4, 4, 2, (2, 2)), torch.nn.LayerNorm(4))
    decayed, spared = build_optimizer(layer, OptimConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim == 2 for p in decayed["params"]) and len(decayed["params"]) == 2
    assert len(spared["params"]) == 5  # two biases, the table, norm weight and bias
    (everything,) = build_optimizer(layer, OptimConfig(decay_all=True)).param_groups
    assert len(everything["params"]) == 7


def test_cosine_warms_up_and_falls_to_the_floor():
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_frac=0.1, min_lr=0.01)
    rates = [compute_lr(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    # Half-way down the cosine stands the mean of both ends.
    assert compute_lr(config, 10 + 89 // 2, 100) == pytest.approx(0.505, abs=0.01)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules_do_not_follow_the_step(schedule):
    config = OptimConfig(lr=0.5, schedule=schedule)
    assert {compute_lr(config, step, 10) for step in range(10)} == {0.5}


def test_plateau_counts_as_keras_does():
    config = OptimConfig(lr=1.0, schedule="plateau", plateau_patience=2, min_lr=0.1)
    plateau = Plateau(config)
    losses = [1.0, 0.9, 0.89995, 0.95, 0.95, 0.95, 0.95, 0.95]
    # 0.89995 is better by less than 1e-4 and does not count.
    assert [round(plateau.update(x), 6) for x in losses] == [1, 1, 1, 0.2, 0.2, 0.1, 0.1, 0.1]


def test_loss_equals_torch():
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 3), torch.randint(0, 3, (8,))
    config = OptimConfig(label_smoothing=0.1)
    ours = compute_loss(logits, F.one_hot(labels, 3).float(), config, None)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_class_weights_balance_the_classes():
    assert compute_class_weights([3, 1], OptimConfig()) is None
    weights = compute_class_weights([30, 10], OptimConfig(class_weights="balanced"))
    assert weights is not None and weights.tolist() == pytest.approx([2 / 3, 2])
    assert (30 * weights[0] + 10 * weights[1]).item() == pytest.approx(40)
    logits = torch.zeros(1, 2)
    target = torch.tensor([[0.0, 1.0]])
    weighted = compute_loss(logits, target, OptimConfig(), weights)
    assert weighted.item() == pytest.approx(2 * math.log(2))


def test_an_absent_class_does_not_divide_by_zero():
    weights = compute_class_weights([5, 0], OptimConfig(class_weights="balanced"))
    assert weights is not None and weights.isfinite().all()


def test_average_follows_the_formula():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    average = build_average(network, 0.5)
    average.update_parameters(network)  # the first update copies
    expected = 1.0
    for t, value in enumerate((2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0), start=1):
        torch.nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_average_copies_batch_norm_statistics():
    network = torch.nn.BatchNorm1d(2)
    average = build_average(network, 0.9)
    for _ in range(3):
        network(torch.randn(8, 2) + 5)
        average.update_parameters(network)
    torch.testing.assert_close(average.module.running_mean, network.running_mean)


def test_optimizer_steps_like_plain_adamw():
    """The fused optimiser against the same update by hand."""
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2, bias=False)
    twin = copy.deepcopy(network)
    config = OptimConfig(lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(network, config)
    m = v = torch.zeros(2, 3)
    for t in range(1, 4):
        x = torch.randn(5, 3)
        network(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        (g,) = torch.autograd.grad(twin(x).square().mean(), [twin.weight])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        with torch.no_grad():
            twin.weight.mul_(1 - 0.1 * 0.5).sub_(0.1 * step)
        torch.testing.assert_close(network.weight, twin.weight)
