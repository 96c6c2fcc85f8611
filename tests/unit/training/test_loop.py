import csv
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from leukoscope.config import parse_recipe
from leukoscope.data import loader
from leukoscope.errors import NonFiniteError, RunError, StorageError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec
from leukoscope.runfolder import RunFolder
from leukoscope.training import loop
from leukoscope.training.checkpoint import WeightsState, load_tensors
from leukoscope.training.device import build_accelerator
from leukoscope.training.loop import HISTORY_COLUMNS, LoopState, TrainingData, train_network

CLASSES = 3


@pytest.fixture(scope="module")
def data():
    """60 images of 32 px whose class is their tint; 36 to train, 24 to validate."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % CLASSES
    pixels = generator.integers(0, 120, (60, 32, 32, 3))
    pixels[np.arange(60), :, :, labels] += 100
    rows = np.arange(60)
    return TrainingData(pixels.astype(np.uint8), labels, rows[:36], rows[36:], CLASSES)


def make_recipe(**sections):
    base = {
        "input": {"image_size": 32},
        "train": {"epochs": 2, "batch_size": 12, "precision": "fp32"},
        "optim": {"lr": 2e-3},
    }
    for section, content in sections.items():
        base[section] = {**base.get(section, {}), **content}
    return parse_recipe(base)


def run_loop(data, recipe, folder, *, seed=0, **options):
    torch.manual_seed(seed)
    network = CoAtNet(build_spec("coatnet-pico", CLASSES, 32, stochastic_depth=0.1))
    folder.mkdir(exist_ok=True)
    run = RunFolder(folder)
    accelerator = build_accelerator(recipe.train.precision)
    options.setdefault("identity", "same")
    return run, train_network(network, data, recipe, run, accelerator, **options)


def read_history(run):
    with run.history.open() as file:
        return list(csv.DictReader(file))


class Stopper:
    """A reporter that does something at one step."""

    def __init__(self, epoch, step, act):
        self.place, self.act = (epoch, step), act
        self.images = 0

    def on_step(self, epoch, step, steps, images):
        self.images += images
        if (epoch, step) == self.place:
            self.act()

    def on_epoch(self, result, epochs, best):
        pass


def test_learns_an_easy_task(data, tmp_path):
    recipe = make_recipe(train={"epochs": 12, "ema_decay": 0.9}, augment={"flip": True})
    run, history = run_loop(data, recipe, tmp_path / "a")
    assert max(result.val_accuracy for result in history) >= 0.9  # chance is a third
    assert history[-1].train_loss < history[0].train_loss
    rows = read_history(run)
    assert tuple(rows[0]) == HISTORY_COLUMNS and [r["Epoch"] for r in rows] == [
        str(i) for i in range(1, 13)
    ]
    _, state = load_tensors(run.best, WeightsState)
    best = max(history, key=lambda r: (r.val_accuracy, -r.val_loss))
    assert state.epoch == best.epoch


def test_shuffled_labels_stay_at_chance(data, tmp_path):
    """Negative control: nothing in the loop hands the answers over."""
    generator = np.random.default_rng(1)
    shuffled = TrainingData(
        data.pack_NHWC, generator.permutation(data.labels_N), *(data.train_rows, data.val_rows), 3
    )
    _, history = run_loop(shuffled, make_recipe(train={"epochs": 6}), tmp_path / "a")
    # 24 images at a third: 17 right or more has a chance of 0.04 %.
    assert max(result.val_accuracy for result in history) < 17 / 24


def test_same_seed_same_weights_and_another_seed_others(data, tmp_path):
    recipe = make_recipe(augment={"flip": True, "stain": 0.1, "mixup": 0.2})
    weights = []
    for name, chosen in (
        ("a", recipe),
        ("b", recipe),
        ("c", make_recipe(train={"seed": 7}, augment=recipe.augment.model_dump())),
    ):
        run, _ = run_loop(data, chosen, tmp_path / name)
        weights.append(run.checkpoint.read_bytes())
    tensors = [load_tensors(tmp_path / n / "checkpoint.safetensors", LoopState)[0] for n in "abc"]
    assert all(torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[0])
    assert any(not torch.equal(tensors[0][k], tensors[2][k]) for k in tensors[0])


@pytest.mark.parametrize("place", [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_bitwise_the_same(data, tmp_path, place, number):
    recipe = make_recipe(
        train={"epochs": 3, "ema_decay": 0.9, "accumulate": 2},
        augment={"flip": True, "rotate_deg": 20, "cutmix": 1.0},
        optim={"schedule": "plateau", "plateau_patience": 1, "grad_clip": 1.0},
    )
    whole, expected = run_loop(data, recipe, tmp_path / "whole")
    stopper = Stopper(*place, lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_loop(data, recipe, tmp_path / "cut", reporter=stopper)
    assert signal.getsignal(signal.SIGINT) is before
    # Another start: the weights must come from the checkpoint, not from here.
    cut, history = run_loop(data, recipe, tmp_path / "cut", seed=99, resume=True)
    for name, kind in (("checkpoint", LoopState), ("best", WeightsState)):
        ours, state = load_tensors(getattr(cut, name), kind)
        theirs, other = load_tensors(getattr(whole, name), kind)
        assert ours.keys() == theirs.keys()
        assert [k for k in ours if not torch.equal(ours[k], theirs[k])] == []
    for a, b in zip(history, expected, strict=True):
        assert (a.train_loss, a.val_loss, a.val_accuracy, a.lr) == (
            b.train_loss,
            b.val_loss,
            b.val_accuracy,
            b.lr,
        )
    assert len(read_history(cut)) == 3
    assert "interrupted in epoch" in cut.log.read_text()


@pytest.mark.parametrize("way", ["resident", "ahead"])
def test_the_way_of_feeding_changes_nothing(data, tmp_path, way, monkeypatch):
    recipe = make_recipe(train={"epochs": 1, "accumulate": 2}, augment={"rotate_deg": 20})
    plain, _ = run_loop(data, recipe, tmp_path / "plain")
    monkeypatch.setattr(loader, "choose_way", lambda nbytes, device: way)
    other, _ = run_loop(data, recipe, tmp_path / way)
    expected, found = (
        load_tensors(plain.best, WeightsState)[0],
        load_tensors(other.best, WeightsState)[0],
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    recipe = make_recipe()
    run, history = run_loop(data, recipe, tmp_path / "a")
    content = run.best.read_bytes()
    counter = Stopper(0, 0, None)
    _, again = run_loop(data, recipe, tmp_path / "a", resume=True, reporter=counter)
    assert again == history and counter.images == 0 and run.best.read_bytes() == content


def test_another_identity_is_not_resumed(data, tmp_path):
    run_loop(data, make_recipe(), tmp_path / "a")
    with pytest.raises(RunError, match="with the recipe and data it was started with"):
        run_loop(data, make_recipe(), tmp_path / "a", resume=True, identity="other")


def test_pieces_add_up_to_the_batch(data, tmp_path):
    """Gradients of a batch cut in two are those of the batch (dropout off, batch norm frozen)."""
    gradients = []
    for accumulate in (1, 2):
        recipe = make_recipe(
            train={"accumulate": accumulate}, optim={"lr": 1e-12, "class_weights": "balanced"}
        )
        torch.manual_seed(0)
        network = CoAtNet(build_spec("coatnet-pico", CLASSES, 32))
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        accelerator = build_accelerator("fp32")
        inner = loop._Loop(network, data, recipe, RunFolder(folder), accelerator, "x", None)
        inner.forward.eval()
        seen = []
        inner.optimizer.zero_grad = lambda seen=seen, inner=inner: seen.extend(
            p.grad.clone() for p in inner.network.parameters()
        )
        ((rows, pixels),) = inner.feed.stream([data.train_rows[:12]])
        inner._train_step(rows, pixels)
        gradients.append(seen)
    for whole, pieces in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=1e-6)


def test_not_finite_stops_loudly(data, tmp_path):
    recipe = make_recipe(train={"epochs": 20}, optim={"lr": 1.0, "schedule": "constant"})
    calls = {"n": 0}
    real = loop.compute_loss

    def poisoned(*arguments):
        calls["n"] += 1
        return real(*arguments) * (math.nan if calls["n"] == 5 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compute_loss", poisoned)
        with pytest.raises(NonFiniteError, match=r"nan in epoch 2, step 3 of 3"):
            run_loop(data, recipe, tmp_path / "a")
    run = RunFolder(tmp_path / "a")
    tensors, state = load_tensors(run.checkpoint, LoopState)
    assert state.epoch == 1 and all(t.isfinite().all() for t in tensors.values())
    assert "training loss is nan" in run.log.read_text()


def test_a_validation_loss_that_is_not_finite_stops_too(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.F, "cross_entropy", lambda *_a, **_k: torch.tensor(math.inf))
    with pytest.raises(NonFiniteError, match="validation loss"):
        run_loop(data, make_recipe(), tmp_path / "a")


def test_early_stop_and_selection_by_loss(data, tmp_path, monkeypatch):
    losses = iter([(1.0, 0.5), (0.5, 0.4), (0.6, 0.9), (0.7, 0.9), (0.8, 0.9)])
    monkeypatch.setattr(loop._Loop, "_validate", lambda _self: next(losses))
    recipe = make_recipe(train={"epochs": 9, "select": "loss", "early_stop_epochs": 2})
    run, history = run_loop(data, recipe, tmp_path / "a")
    assert len(history) == 4 and load_tensors(run.best, WeightsState)[1].epoch == 2
    assert "(stopped early)" in run.log.read_text()


def test_ties_in_accuracy_go_to_the_lower_loss(data, tmp_path, monkeypatch):
    losses = iter([(1.0, 0.5), (0.5, 0.5), (0.6, 0.5)])
    monkeypatch.setattr(loop._Loop, "_validate", lambda _self: next(losses))
    run, _ = run_loop(data, make_recipe(train={"epochs": 3}), tmp_path / "a")
    assert load_tensors(run.best, WeightsState)[1].epoch == 2


def test_checkpoints_inside_an_epoch(data, tmp_path):
    """With checkpoint_minutes=0 the state is written after every step."""
    seen = []
    run = RunFolder(tmp_path / "a")

    class Watcher(Stopper):
        def on_step(self, epoch, step, steps, images):
            if run.checkpoint.is_file():
                state = load_tensors(run.checkpoint, LoopState)[1]
                seen.append((state.epoch, state.step))

    recipe = make_recipe(train={"checkpoint_minutes": 0})
    run_loop(data, recipe, tmp_path / "a", reporter=Watcher(0, 0, None))
    # Seen one step later; the last step's place is taken by the epoch's own checkpoint.
    assert seen == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_outside_the_main_thread_signals_are_left_alone(data, tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(run_loop(data, make_recipe(), tmp_path / "a")[1])
    )
    thread.start()
    thread.join()
    assert len(done[0]) == 2


def test_second_signal_interrupts_at_once(data, tmp_path):
    def act():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_loop(data, make_recipe(), tmp_path / "a", reporter=Stopper(1, 2, act))
    assert not RunFolder(tmp_path / "a").checkpoint.exists()


def test_bf16_trains_too(data, tmp_path):
    run, history = run_loop(data, make_recipe(train={"precision": "bf16"}), tmp_path / "a")
    assert all(math.isfinite(result.val_loss) for result in history)
    tensors, _ = load_tensors(run.best, WeightsState)
    assert {t.dtype for t in tensors.values()} == {torch.float32, torch.int64}


def test_compiled_network_keeps_plain_names(data, tmp_path, monkeypatch):
    """What `torch.compile` returns is another module on the same weights."""
    compiled = []

    def fake(module):
        compiled.append(module)
        return torch.nn.Sequential(module)

    monkeypatch.setattr(loop.torch, "compile", fake)
    run, _ = run_loop(data, make_recipe(train={"compile": True, "epochs": 1}), tmp_path / "a")
    assert len(compiled) == 1
    assert "stem.0.weight" in load_tensors(run.best, WeightsState)[0]


def test_an_unwritable_folder_keeps_what_was_there(data, tmp_path, monkeypatch):
    run, _ = run_loop(data, make_recipe(), tmp_path / "a")
    content = run.checkpoint.read_bytes()

    def fail(*_args, **_kwargs):
        raise StorageError("x must be writable", "the disk is full", "free some space")

    monkeypatch.setattr(loop, "save_tensors", fail)
    with pytest.raises(StorageError, match="disk is full"):
        run_loop(data, make_recipe(), tmp_path / "a")
    assert run.checkpoint.read_bytes() == content


def test_a_short_last_batch_is_cut_into_fewer_pieces(data, tmp_path):
    short = TrainingData(data.pack_NHWC, data.labels_N, data.train_rows[:27], data.val_rows, 3)
    recipe = make_recipe(train={"epochs": 1, "accumulate": 6})  # batches of 12, 12 and 3
    _, history = run_loop(short, recipe, tmp_path / "a")
    assert math.isfinite(history[0].train_loss)


def stem_mean(tensors, prefix=""):
    return tensors[f"{prefix}stem.1.running_mean"]


@pytest.mark.parametrize(
    "sections",
    [{"augment": {"brightness": 0.9}}, {"train": {"epochs": 2, "ema_decay": 0.9}}],
    ids=["augmented", "averaged"],
)
def test_statistics_are_those_of_images_as_they_are(data, tmp_path, sections):
    recipe = make_recipe(**sections)
    run, _ = run_loop(data, recipe, tmp_path / "run")
    tensors, _ = load_tensors(run.best, WeightsState)
    network = CoAtNet(build_spec("coatnet-pico", CLASSES, 32))
    network.load_state_dict(tensors)
    pixels = torch.from_numpy(data.pack_NHWC[data.train_rows])
    seen = network.stem[0](pixels.permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(stem_mean(tensors), seen.mean((0, 2, 3)).detach())


def test_the_published_recipe_keeps_the_running_statistics(data, tmp_path, monkeypatch):
    """Neither augmented nor averaged: what Keras keeps, we keep."""
    monkeypatch.setattr(loop, "reestimate_statistics", lambda *_: pytest.fail("estimated again"))
    run_loop(data, make_recipe(train={"epochs": 1}), tmp_path / "run")
