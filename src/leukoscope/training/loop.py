"""The training loop: one readable pass from a network and a pack to the best weights.

Everything random in a step is a function of (seed, epoch, step, process), so a run that was killed
and resumed is, on a CPU in fp32, bitwise the run that was not. What this file does not do: it
reads no images and no recipe files, writes no reports, and prints nothing.
"""

import contextlib
import csv
import io
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType
from typing import Protocol, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leukoscope.config import AugmentConfig, Recipe
from leukoscope.data.augment import augment_pixels, mix_images
from leukoscope.data.images import Pixels
from leukoscope.data.loader import EpochOrder, PixelFeed, prepare_input, split_rows
from leukoscope.errors import NonFiniteError, RunError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.runfolder import RunFolder
from leukoscope.storage import storage_errors, write_text
from leukoscope.training.checkpoint import (
    WeightsState,
    add_prefix,
    load_tensors,
    load_weights,
    pack_optimizer,
    save_tensors,
    take_prefix,
    unpack_optimizer,
)
from leukoscope.training.device import keeping_freed_memory
from leukoscope.training.optim import (
    Plateau,
    PlateauState,
    build_average,
    build_optimizer,
    compute_class_weights,
    compute_distillation_loss,
    compute_loss,
    compute_lr,
)
from leukoscope.training.record import HISTORY_COLUMNS
from leukoscope.training.statistics import BATCH, IMAGES, reestimate_statistics
from leukoscope.training.threads import ThreadControl

FINITE_CHECK_STEPS = 10
"""Looking at the loss makes a GPU wait; so it is looked at this often."""


@dataclass(frozen=True)
class TrainingData:
    """A pack `(N, S, S, 3)`, one class number per pack row, and the rows of two roles."""

    pack_NHWC: Pixels
    labels_N: NDArray[np.int64]
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]
    n_classes: int


@dataclass(frozen=True)
class EpochResult:
    """One line of the history. Losses are means over images; accuracies are 0 to 1. The training
    figures are running ones, on augmented images and without the moving average."""

    epoch: int
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float
    lr: float
    seconds: float


class TrainingReporter(Protocol):
    """What a front end hears of a training run."""

    def on_step(self, epoch: int, step: int, steps: int, images: int) -> None:
        """A step of an epoch is done; `images` were trained on since the last call."""

    def on_epoch(self, result: EpochResult, epochs: int, best: bool) -> None:
        """An epoch is done; `best` if its weights are the ones to keep so far."""


@dataclass
class LoopState:
    """Where the loop stands; everything here goes into the checkpoint as JSON."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    best: tuple[float, float] = (-math.inf, -math.inf)
    best_epoch: int = 0
    plateau: PlateauState | None = None
    averaged: int = 0
    scaler: dict[str, int | float] = field(default_factory=dict)
    history: list[EpochResult] = field(default_factory=list)
    finished: bool = False
    identity: str = ""


def train_network(
    network: CoAtNet,
    data: TrainingData,
    recipe: Recipe,
    run: RunFolder,
    accelerator: Accelerator,
    *,
    identity: str,
    resume: bool = False,
    reporter: TrainingReporter | None = None,
    teacher: nn.Module | None = None,
) -> list[EpochResult]:
    """Train, and leave the best weights in `run.best`; return the history.

    With a `teacher`, a network in evaluation mode that returns `(logits_BK, out)`, the loss is that
    of `recipe.distill`: the teacher is asked about each augmented, mixed image that the student
    sees, in every epoch anew (Beyer et al. 2022: a good teacher is consistent).

    `identity` names recipe and data; a checkpoint of another identity is rejected. With `resume`
    the run goes on from `run.checkpoint` if there is one. On SIGINT or SIGTERM the step is
    finished, a checkpoint written, and KeyboardInterrupt raised.

    Raises `NonFiniteError` when a loss is not finite, `StorageError` when the disk is full (the
    last checkpoint stays intact), `WeightsError` or `RunError` for a checkpoint that does not fit.
    """
    loop = _Loop(network, data, recipe, run, accelerator, identity, reporter, teacher)
    if resume and run.checkpoint.is_file():
        loop.restore()
    loop.write_history()
    with keeping_freed_memory(accelerator.device), _deferred_interrupt() as interrupted:
        try:
            while not loop.state.finished:
                loop.train_epoch(interrupted)
                loop.close_epoch()
        finally:
            loop.threads.release()
    return loop.state.history


class _Loop:
    """The moving parts of one run, and the four things done with them."""

    def __init__(
        self,
        network: CoAtNet,
        data: TrainingData,
        recipe: Recipe,
        run: RunFolder,
        accelerator: Accelerator,
        identity: str,
        reporter: TrainingReporter | None,
        teacher: nn.Module | None = None,
    ) -> None:
        self.data, self.recipe, self.run = data, recipe, run
        self.accelerator, self.reporter = accelerator, reporter
        self.teacher = None if teacher is None else teacher.to(accelerator.device).eval()
        self.state = LoopState(identity=identity)
        self.plateau = Plateau(recipe.optim)
        # Sums over an epoch want all the digits there are; Apple's GPUs have no float64.
        self.real = torch.float32 if accelerator.device.type == "mps" else torch.float64
        train = recipe.train
        self.network = network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.recompute = train.recompute
        self.average = build_average(self.network, train.ema_decay) if train.ema_decay else None
        forward = torch.compile(self.network) if train.compile else self.network
        optimizer = build_optimizer(self.network, recipe.optim)
        # `forward` and `optimizer` carry the wrappers for processes and precision; `network` is
        # the plain module on the same weights.
        self.forward, self.optimizer = accelerator.prepare(forward, optimizer)
        self.feed = PixelFeed(data.pack_NHWC, accelerator.device)
        self.order = EpochOrder(data.train_rows, train.batch_size, train.seed)
        self.steps = self.order.steps(accelerator.num_processes)
        counts = np.bincount(data.labels_N[data.train_rows], minlength=data.n_classes)
        # Running statistics of batch norm are wrong for changed images and for averaged weights.
        self.reestimates = recipe.augment != AugmentConfig() or self.average is not None
        weights = compute_class_weights(counts.tolist(), recipe.optim)
        self.class_weights = None if weights is None else weights.to(accelerator.device)
        self.last_saved = time.monotonic()
        self.threads = ThreadControl()

    # -- one epoch of steps -------------------------------------------------------------------

    def train_epoch(self, interrupted: threading.Event) -> None:
        """Take the steps of the current epoch that are still to be taken."""
        state, train = self.state, self.recipe.train
        device = self.accelerator.device
        loss_sum = torch.tensor(state.loss_sum, device=device, dtype=self.real)
        correct = torch.tensor(state.correct, device=device)
        started, seconds = time.monotonic(), state.seconds
        self.forward.train()
        order = self.order.batches(
            state.epoch,
            start=state.step,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        for rows, pixels in self.feed.stream(order):
            if device.type == "cpu" and (threads := self.threads.update()) is not None:
                self.log(f"threads {threads} of {self.threads.most}")
            loss, hits = self._train_step(rows, pixels)
            loss_sum += loss.to(self.real) * len(rows)
            correct += hits
            state.step += 1
            state.seen += len(rows)
            state.seconds = seconds + time.monotonic() - started
            last = state.step == self.steps
            if state.step % FINITE_CHECK_STEPS == 0 or last:
                self._check_finite(float(loss_sum), "training loss")
            if self.reporter is not None:
                images = len(rows) * self.accelerator.num_processes
                self.reporter.on_step(state.epoch + 1, state.step, self.steps, images)
            stop = self._agree(interrupted.is_set())
            due = time.monotonic() - self.last_saved >= 60 * train.checkpoint_minutes
            if stop or (self._agree(due) and not last):
                state.loss_sum, state.correct = float(loss_sum), int(correct)
                self._check_finite(state.loss_sum, "training loss")
                self.save_checkpoint()
            if stop:
                self.log(f"interrupted in epoch {state.epoch + 1} at step {state.step}")
                raise KeyboardInterrupt
        state.loss_sum, state.correct = float(loss_sum), int(correct)

    def _agree(self, wish: bool) -> bool:
        """Tell whether any process wishes to pause. Processes do not see a signal or a clock at
        the same step, and a collective entered by one alone never ends; so they ask each other."""
        if self.accelerator.num_processes == 1:
            return wish
        if self.state.step % FINITE_CHECK_STEPS:
            return False
        votes = torch.tensor(float(wish), device=self.accelerator.device)
        return bool(self.accelerator.reduce(votes) > 0)

    def _train_step(self, rows: NDArray[np.int64], pixels_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimiser step; return the mean loss and the number of right answers."""
        state, recipe = self.state, self.recipe
        place = [recipe.train.seed, state.epoch, state.step, self.accelerator.process_index]
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        torch.manual_seed(seed)  # dropout and stochastic depth
        generator = torch.Generator().manual_seed(seed)
        lr = self.plateau.state.lr
        if recipe.optim.schedule != "plateau":
            done = state.epoch * self.steps + state.step
            lr = compute_lr(recipe.optim, done, recipe.train.epochs * self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        device = self.accelerator.device
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        # A short last batch is cut into fewer pieces: batch norm needs two images in each.
        labels_B = torch.from_numpy(self.data.labels_N[rows]).to(device)
        n_pieces = min(recipe.train.accumulate, max(1, len(rows) // 2))
        pieces = list(
            zip(pixels_BHWC.tensor_split(n_pieces), labels_B.tensor_split(n_pieces), strict=True)
        )
        for number, (pixels, labels) in enumerate(pieces, start=1):
            images = augment_pixels(pixels, recipe.augment, generator)
            targets = F.one_hot(labels, self.data.n_classes).float()
            images, targets = mix_images(images, targets, recipe.augment, generator)
            images = images.contiguous(memory_format=torch.channels_last)
            hold = number < len(pieces)  # gradients travel between processes once per step
            with self.accelerator.no_sync(self.forward) if hold else contextlib.nullcontext():
                logits, _ = self.forward(images)
                loss = compute_loss(logits, targets, recipe.optim, self.class_weights)
                if self.teacher is not None:
                    with torch.no_grad(), self.accelerator.autocast():
                        teacher_logits, _ = self.teacher(images)
                    loss = compute_distillation_loss(logits, teacher_logits, loss, recipe.distill)
                loss = loss * (len(labels) / len(rows))
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
            correct += (logits.detach().argmax(1) == labels).sum()
        if recipe.optim.grad_clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), recipe.optim.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return loss_sum, correct

    # -- the end of an epoch ------------------------------------------------------------------

    def close_epoch(self) -> None:
        """Validate, keep the best weights, adjust the rate, write history and checkpoint."""
        state, train = self.state, self.recipe.train
        started = time.monotonic()
        loss_sum, correct, seen = self._add_up()
        val_loss, val_accuracy = self._validate()
        lr = float(self.optimizer.param_groups[0]["lr"])
        result = EpochResult(
            epoch=state.epoch + 1,
            train_loss=loss_sum / seen,
            val_loss=val_loss,
            train_accuracy=correct / seen,
            val_accuracy=val_accuracy,
            lr=lr,
            seconds=state.seconds + time.monotonic() - started,
        )
        score = (val_accuracy, -val_loss)
        if train.select == "loss":
            score = score[::-1]
        best = score > state.best
        if best:
            state.best, state.best_epoch = score, result.epoch
            if self.accelerator.is_main_process:
                save_tensors(
                    self.run.best, self._evaluated().state_dict(), WeightsState(result.epoch)
                )
        if self.recipe.optim.schedule == "plateau":
            self.plateau.update(val_loss)
        state.history.append(result)
        stop_early = 0 < train.early_stop_epochs <= result.epoch - state.best_epoch
        state.epoch, state.step, state.loss_sum, state.correct = state.epoch + 1, 0, 0.0, 0
        state.seen, state.seconds = 0, 0.0
        state.finished = stop_early or state.epoch >= train.epochs
        self.save_checkpoint()
        self.append_history(result)
        why = " (stopped early)" if stop_early and state.epoch < train.epochs else ""
        self.log(
            f"epoch {result.epoch}/{train.epochs} loss {result.train_loss:.4f}"
            f" val_loss {val_loss:.4f} accuracy {result.train_accuracy:.4f}"
            f" val_accuracy {val_accuracy:.4f} lr {lr:.2e} {result.seconds:.1f} s{why}"
        )
        if self.reporter is not None:
            self.reporter.on_epoch(result, train.epochs, best)

    def _add_up(self) -> list[float]:
        """The epoch's sum of losses, right answers and images so far, over all processes."""
        state, device = self.state, self.accelerator.device
        sums = (state.loss_sum, state.correct, state.seen)
        totals = torch.tensor(sums, dtype=self.real, device=device)
        return self.accelerator.reduce(totals).tolist()  # type: ignore[no-any-return]

    def _evaluated(self) -> CoAtNet:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.average is None else cast(CoAtNet, self.average.module)

    @torch.inference_mode()
    def _validate(self) -> tuple[float, float]:
        network = self._evaluated()
        accelerator = self.accelerator
        if self.reestimates:
            reestimate_statistics(network, self._draw_plain_images())
        if accelerator.num_processes > 1:
            # Batch-norm statistics of this process's images only; agree on the main one's.
            for buffer in network.buffers():
                buffer.copy_(broadcast(buffer))
        network.eval()
        share = self.data.val_rows[accelerator.process_index :: accelerator.num_processes]
        totals = torch.zeros(2, dtype=self.real, device=accelerator.device)
        for rows, pixels in self.feed.stream(split_rows(share, 64)):
            labels = torch.from_numpy(self.data.labels_N[rows]).to(accelerator.device)
            with accelerator.autocast():
                logits, _ = network(prepare_input(pixels))
            logits = logits.float()
            totals[0] += F.cross_entropy(logits, labels, reduction="sum")
            totals[1] += (logits.argmax(1) == labels).sum()
        loss, accuracy = (accelerator.reduce(totals) / len(self.data.val_rows)).tolist()
        self._check_finite(loss, "validation loss")
        return loss, accuracy

    def _draw_plain_images(self) -> Iterator[Tensor]:
        """Training images as the network will meet images in use, in batches of one size; the same
        in every process."""
        rows = self.data.train_rows
        order = np.random.default_rng([self.recipe.train.seed, self.state.epoch]).permutation(rows)
        n = min(len(order), IMAGES)
        batches = order[: max(1, n // BATCH) * BATCH]
        for _, pixels in self.feed.stream(split_rows(batches, BATCH)):
            yield prepare_input(pixels).contiguous(memory_format=torch.channels_last)

    def _check_finite(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            place = f"epoch {self.state.epoch + 1}, step {self.state.step} of {self.steps}"
            self.log(f"{name} is {value} in {place}")
            raise NonFiniteError(
                f"the {name} must be finite",
                f"{value} in {place}",
                "lower optim.lr, set optim.grad_clip=1, or use train.precision=fp32; checkpoint"
                " and best weights from before are intact",
            )

    # -- what is written ----------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write the whole state of training at once (main process only)."""
        self.last_saved = time.monotonic()
        loss_sum, correct, seen = self._add_up()
        if not self.accelerator.is_main_process:
            return
        tensors = add_prefix(self.network.state_dict(), "network.")
        tensors |= add_prefix(pack_optimizer(self.optimizer), "optim.")
        if self.average is not None:
            tensors |= add_prefix(self.average.module.state_dict(), "average.")
            self.state.averaged = int(self.average.n_averaged)
        self.state.plateau = self.plateau.state
        if self.accelerator.scaler is not None:  # fp16 only
            self.state.scaler = self.accelerator.scaler.state_dict()
        state = replace(self.state, loss_sum=loss_sum, correct=int(correct), seen=int(seen))
        save_tensors(self.run.checkpoint, tensors, state)

    def restore(self) -> None:
        """Go back to where the checkpoint was written."""
        path = self.run.checkpoint
        tensors, state = load_tensors(path, LoopState)
        if state.identity != self.state.identity:
            raise RunError(
                "a run is resumed with the recipe and data it was started with",
                f"{path} was written with another recipe or other data",
                "restore the checkpoint of this run, or choose another --out",
            )
        if not self.accelerator.is_main_process:
            # The sums are of all processes; the main one carries them on.
            state.loss_sum, state.correct, state.seen = 0.0, 0, 0
        load_weights(self.network, take_prefix(tensors, "network."), path)
        unpack_optimizer(self.optimizer, take_prefix(tensors, "optim."))
        if self.average is not None:
            load_weights(self.average.module, take_prefix(tensors, "average."), path)
            self.average.n_averaged.fill_(state.averaged)
        if self.accelerator.scaler is not None and state.scaler:
            self.accelerator.scaler.load_state_dict(state.scaler)
        if state.plateau is not None:
            self.plateau.state = state.plateau
        self.state = state
        self.log(f"resumed in epoch {state.epoch + 1} at step {state.step}")

    def write_history(self) -> None:
        """Bring the history file in line with the state; lines after a checkpoint are redone."""
        if self.accelerator.is_main_process:
            write_text(self.run.history, _history_lines(self.state.history, header=True))

    def append_history(self, result: EpochResult) -> None:
        """Add the line of an epoch."""
        if self.accelerator.is_main_process:
            with (
                storage_errors(self.run.history),
                self.run.history.open("a", encoding="utf-8", newline="") as file,
            ):
                file.write(_history_lines([result], header=False))

    def log(self, text: str) -> None:
        """Add a line to the log, with the local time."""
        if self.accelerator.is_main_process:
            with storage_errors(self.run.log), self.run.log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")


def _history_lines(rows: list[EpochResult], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HISTORY_COLUMNS)
    for row in rows:
        figures = (row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy)
        writer.writerow(
            [row.epoch, *(f"{x:.6f}" for x in figures), f"{row.lr:.3e}", f"{row.seconds:.1f}"]
        )
    return text.getvalue()


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event, so that a step is never cut in half. A second signal
    interrupts at once. Outside the main thread signals cannot be caught and are left alone."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
