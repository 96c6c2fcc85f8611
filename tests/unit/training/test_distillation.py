"""A student follows its teacher: the loss against scipy, and a loop with a planted teacher."""

import os
import signal

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from tests.builders.runs import build_member
from tests.unit.training.test_loop import CLASSES, Stopper, data, make_recipe  # noqa: F401
from torch import nn

from leukoscope.config import DistillConfig
from leukoscope.data.loader import prepare_input
from leukoscope.runfolder import RunFolder
from leukoscope.training.checkpoint import WeightsState, load_tensors
from leukoscope.training.device import build_accelerator
from leukoscope.training.loop import LoopState, train_network
from leukoscope.training.optim import compute_distillation_loss

TEACHER = "0" * 64


@pytest.mark.parametrize(("heat", "share"), [(1.0, 0.0), (2.0, 0.1), (8.0, 0.5), (3.0, 1.0)])
def test_the_loss_is_hintons(heat, share):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 3, (2, 7, 4))
    config = DistillConfig(temperature=heat, label_weight=share)
    loss = compute_distillation_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), torch.tensor(1.7), config
    )
    soft = entropy(softmax(teacher / heat, 1), softmax(student / heat, 1), axis=1).mean() * heat**2
    assert loss.item() == pytest.approx(share * 1.7 + (1 - share) * soft, rel=1e-5)
    # Log-probabilities, which an ensemble gives, mean the same.
    again = compute_distillation_loss(
        torch.from_numpy(student),
        torch.from_numpy(log_softmax(teacher, 1)),
        torch.tensor(1.7),
        config,
    )
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)


class Planted(nn.Module):
    """Names each tint by another's name, and not with certainty: 80 %, and 20 % for the third."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked = []

    def forward(self, images_BCHW):
        assert not self.training and not torch.is_grad_enabled()
        self.asked.append(images_BCHW.clone())
        tint = images_BCHW.mean((2, 3)).argmax(1)
        answer = torch.full((len(tint), CLASSES), 1e-6)
        rows = torch.arange(len(tint))
        answer[rows, (tint + 1) % CLASSES] = 0.8
        answer[rows, (tint + 2) % CLASSES] = 0.2
        return answer.log() + self.weight, {}


def make_student(**train):
    return make_recipe(
        train={"epochs": 8, **train},
        augment={"flip": True},
        distill={"teacher": TEACHER, "temperature": 1.0, "label_weight": 0.0},
    )


def run_student(data, recipe, folder, teacher, *, seed=0, **options):  # noqa: F811
    network = build_member(seed, n_classes=CLASSES)
    folder.mkdir(exist_ok=True)
    run = RunFolder(folder)
    train_network(
        network, data, recipe, run, build_accelerator("fp32"),
        identity="same", teacher=teacher, **options,
    )  # fmt: skip
    return run, network


@torch.inference_mode()
def ask(network, data):  # noqa: F811
    logits, _ = network.eval()(prepare_input(torch.from_numpy(data.pack_NHWC[data.val_rows])))
    return softmax(logits.double().numpy(), axis=1)


def test_the_student_believes_its_teacher_against_the_labels(data, tmp_path):  # noqa: F811
    recipe = make_student(epochs=20)
    _, student = run_student(data, recipe, tmp_path / "taught", Planted().train())
    _, control = run_student(data, recipe, tmp_path / "untaught", None)
    labels = data.labels_N[data.val_rows]
    answers = ask(student, data)
    assert (answers.argmax(1) == (labels + 1) % CLASSES).mean() > 0.9
    # Not the name alone: the doubt too.
    rows = np.arange(len(labels))
    assert answers[rows, (labels + 2) % CLASSES].mean() == pytest.approx(0.2, abs=0.07)
    assert answers[rows, labels].mean() < 0.1
    # The same recipe without a teacher learns the labels.
    assert (ask(control, data).argmax(1) == labels).mean() > 0.9


def test_labels_alone_are_training_without_a_teacher(data, tmp_path):  # noqa: F811
    plain = make_student(epochs=2)
    deaf = plain.model_copy(
        update={"distill": plain.distill.model_copy(update={"label_weight": 1.0})}
    )
    one, _ = run_student(data, deaf, tmp_path / "deaf", Planted())
    two, _ = run_student(data, plain, tmp_path / "alone", None)
    ours, theirs = (load_tensors(run.best, WeightsState)[0] for run in (one, two))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5)


def test_the_teacher_sees_what_the_student_sees(data, tmp_path, monkeypatch):  # noqa: F811
    """The same augmented and mixed view, in both."""
    recipe = make_student(epochs=1)
    augment = recipe.augment.model_copy(update={"mixup": 1.0, "rotate_deg": 30.0})
    teacher, seen = Planted(), []
    network = build_member(0, n_classes=CLASSES)
    network.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].clone()) if module.training else None
    )
    train_network(
        network, data, recipe.model_copy(update={"augment": augment}), RunFolder(tmp_path),
        build_accelerator("fp32"), identity="same", teacher=teacher,
    )  # fmt: skip
    assert len(seen) == len(teacher.asked) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen, teacher.asked, strict=True))
    assert not any(p.grad is not None for p in teacher.parameters())


def test_interrupted_and_resumed_is_bitwise_the_same(data, tmp_path):  # noqa: F811
    recipe = make_student(epochs=2, ema_decay=0.9)
    whole, _ = run_student(data, recipe, tmp_path / "whole", Planted())
    stopper = Stopper(2, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_student(data, recipe, tmp_path / "cut", Planted(), reporter=stopper)
    cut, _ = run_student(data, recipe, tmp_path / "cut", Planted(), seed=9, resume=True)
    for name, kind in (("checkpoint", LoopState), ("best", WeightsState)):
        ours, theirs = (load_tensors(getattr(run, name), kind)[0] for run in (cut, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
