"""How much longer training takes beside another process on the same cores (docs/experiments/040).

Run `python benchmarks/busy_machine.py WORK` on a machine that does nothing else. Trains on painted
cells alone and beside processes that each keep one core busy, of equal and of the lowest priority,
in the same session and in one of their own; each with PyTorch's threads as they come and with those
that others leave free. Prints seconds of the last of two epochs.

Linux groups processes by session (`sched_autogroup_enabled`): a priority counts within a session
only, and sessions share the cores equally.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

BUSY = "while True: pass"
OTHERS = {
    "alone": (0, 0, False),
    "one of lowest priority": (1, 19, False),
    "one of lowest priority, in another session": (1, 19, True),
    "one of equal priority": (1, 0, False),
    "three of equal priority": (3, 0, False),
    "three of lowest priority, in other sessions": (3, 19, True),
}
EPOCHS = 2


def call(*words: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "leukoscope", *words],
        check=True,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def train(split: Path, out: Path, **environment: str) -> float:
    settings = ("--set", f"train.epochs={EPOCHS}", "--set", "train.precision=fp32")
    call("train", str(split), "--recipe", "quick", *settings, "--out", str(out), **environment)
    with (out / "training_history.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["Seconds"])


def main(work: Path) -> None:
    cores = os.cpu_count() or 1
    call("data", "paint", str(work / "painted"), "--sources", "36", "--copies", "16")
    catalog, split = work / "catalog.csv", work / "split.csv"
    call("data", "scan", str(work / "painted" / "images"), "--out", str(catalog))
    call("data", "split", str(catalog), "--protocol", "random", "--out", str(split))
    print("| beside | all threads, s | threads left free, s |\n|---|---|---|", flush=True)
    for number, (name, (count, nice, apart)) in enumerate(OTHERS.items()):
        command = ["nice", "-n", str(nice), sys.executable, "-c", BUSY]
        others = [subprocess.Popen(command, start_new_session=apart) for _ in range(count)]
        try:
            kept = train(split, work / f"kept-{number}", OMP_NUM_THREADS=str(cores))
            free = train(split, work / f"free-{number}")
        finally:
            for other in others:
                other.kill()
        print(f"| {name} | {kept:.1f} | {free:.1f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
