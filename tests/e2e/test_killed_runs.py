"""Runs that are really killed, locked or spread over processes, as a user would meet them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from leukoscope.training.checkpoint import load_tensors
from leukoscope.training.loop import LoopState

SETTINGS = [
    "--set", "input.image_size=32",
    "--set", "train.epochs=4",
    "--set", "train.batch_size=8",
    "--set", "train.precision=fp32",
    "--set", "train.checkpoint_minutes=0",
]  # fmt: skip


def command(split, out, *options, launcher=("-m", "leukoscope")):
    return [sys.executable, *launcher, "train", str(split), "--out", str(out), *SETTINGS, *options]


def environment(threads="1"):
    return {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}


def run(arguments, **options):
    return subprocess.run(
        arguments, capture_output=True, text=True, env=environment(), timeout=300, **options
    )


@pytest.fixture(scope="module")
def split(disc_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    for step in (
        ["data", "scan", str(disc_folder), "--out", "catalog.csv"],
        ["data", "split", "catalog.csv", "--out", "split.csv"],
    ):
        done = run([sys.executable, "-m", "leukoscope", *step], cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "split.csv"


@pytest.fixture(scope="module")
def whole(split, tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(command(split, out))
    assert done.returncode == 0, done.stderr
    return out


def wait_for_step(process, out, epoch, step):
    """Wait until the checkpoint stands at or behind a place; a checkpoint is always whole."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        if (out / "checkpoint.safetensors").is_file():
            state = load_tensors(out / "checkpoint.safetensors", LoopState)[1]
            if (state.epoch, state.step) >= (epoch, step):
                return
        time.sleep(0.01)
    raise AssertionError("the run did not get there")


def start(arguments):
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def test_killed_twice_is_bitwise_the_undisturbed_run(split, whole, tmp_path):
    out = tmp_path / "run"
    for options, place in (((), (0, 2)), (("--resume",), (2, 1))):
        process = start(command(split, out, *options))
        wait_for_step(process, out, *place)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "model.safetensors").exists()
    done = run(command(split, out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    def figures(folder):  # all but the seconds
        lines = (folder / "training_history.csv").read_text().splitlines()
        return [line.rsplit(",", 1)[0] for line in lines]

    assert figures(out) == figures(whole)
    assert "resumed in epoch" in (out / "train.log").read_text()


def test_ctrl_c_says_how_to_go_on(split, tmp_path):
    out = tmp_path / "run"
    process = start(command(split, out, "--set", "train.epochs=400"))
    wait_for_step(process, out, 0, 1)
    # A second process on the same folder is rejected while this one works.
    other = run(command(split, out, "--resume"))
    assert other.returncode == 4 and "one process at a time" in other.stderr.replace("\n", " ")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in told
    assert (out / "checkpoint.safetensors").is_file()


def test_a_folder_with_a_run_is_not_overwritten(split, whole):
    before = (whole / "model.safetensors").read_bytes()
    done = run(command(split, whole))
    assert done.returncode == 4 and "must not hold a run yet" in done.stderr.replace("\n", " ")
    assert (whole / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_processes_train_one_network(split, tmp_path, launcher):
    out = tmp_path / "run"
    launchers = {
        "torchrun": ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29611"),
        "accelerate": (
            "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2",
            "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no",
            "--main_process_port=29612",
        ),
    }  # fmt: skip
    done = run(command(split, out, launcher=(*launchers[launcher], "-m", "leukoscope")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained:") == 1  # only the main process speaks
    lines = (out / "training_history.csv").read_text().splitlines()
    assert len(lines) == 5
    _, state = load_tensors(out / "checkpoint.safetensors", LoopState)
    assert state.finished and len(state.history) == 4
    evaluated = run([sys.executable, "-m", "leukoscope", "evaluate", str(out)])
    assert evaluated.returncode == 0, evaluated.stderr
