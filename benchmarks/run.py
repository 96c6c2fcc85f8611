"""Everything that is measured against others, in one run; writes `benchmarks/RESULTS.md`.

Run `python benchmarks/run.py [--data ../shared/data] [--run RUN]`; RUN is a trained run, for the
whole command `leukoscope predict`. Peers are measured where they are installed: tensorflow-cpu,
pandas, timm with torchvision, openvino. About half an hour on two cores. Copies have their own
scripts (`copies.py`, `copies_scaling.py`).
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = (
    "torch",
    "onnxruntime",
    "openvino",
    "tensorflow-cpu",
    "keras",
    "timm",
    "torchvision",
    "numpy",
    "pillow",
)
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
NOISE = ("warning", "cuda", "tf_", "onednn", "rebuild", "cpu_feature_guard", "registration.py")


def describe_machine() -> list[str]:
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        line = next(x for x in info.read_text().splitlines() if x.startswith("flags"))
        flags = set(line.split())
    has = ", ".join(name for name in FLAGS if name in flags) or "unknown"
    packages = []
    for name in PACKAGES:
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            packages.append(f"{name} not installed")
    return [
        f"- {datetime.date.today().isoformat()}, {platform.system()} {platform.machine()},"
        f" {len(os.sched_getaffinity(0))} cores; of the instruction sets that matter: {has}",
        f"- Python {platform.python_version()}, {', '.join(packages)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    commands: list[tuple[str, list[str]]] = [
        ("Feeding training", ["input_pipeline.py", "--data", str(given.data)]),
        ("Training steps", ["training_step.py", "hematology", "paper", "--batch", "16"]),
        ("Prediction, the reference network", ["prediction.py", "--batch", "8"]),
        (
            "Prediction, the compact network",
            ["prediction.py", "--preset", "coatnet-pico", "--size", "160"],
        ),
    ]
    if given.run is not None:
        images = given.data / "pbc" / "basophil"
        whole = ["prediction.py", "--run", str(given.run), "--images", str(images)]
        commands.append(("Prediction, the whole command", whole))
    text = [
        "# Results",
        "",
        "Written by `python benchmarks/run.py`. Read the ratios: absolute times are those of one",
        "machine on one day, shared with others. Ratios are medians over rounds, in brackets the",
        "smallest and the largest.",
        "",
        *describe_machine(),
    ]
    for title, (script, *options) in commands:
        print(f"{title} ...", flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / script), *options], capture_output=True, text=True
        )
        lines = done.stdout.strip().splitlines()
        lines = [x for x in lines if not any(word in x.casefold() for word in NOISE)]
        if done.returncode:
            lines += ["failed:", *done.stderr.strip().splitlines()[-3:]]
        # Places of this machine are nobody's business.
        names = {str(given.data): "../shared/data", str(given.run): "RUN"}
        shown = [names.get(x, x.replace(str(given.data), "../shared/data")) for x in options]
        text += ["", f"## {title}", "", f"`python benchmarks/{script} {' '.join(shown)}`", ""]
        text += ["```text", *lines, "```"]
        (HERE / "RESULTS.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
