"""How fast cells are found, on two cores (docs/experiments/043).

    PYTHONPATH=. python benchmarks/finder_speed.py DATA [--fields 120] [--rounds 3]

Fields per second of BCCD's JPEG files, 640 x 480, from file to crops and nucleus masks; the same
with naming, the crops through a `coatnet-pico` of 128 px in fp32 (random weights: their values
cost no time); and, in the same run, from file through a graph of the size of YOLOX-Nano at 416 px
(0.91 M weights, 1.08 G operations, a multiplication and its addition counted as 2), which names no
cell and cuts none. Then one field from the start of the process to its tables: seconds, megabytes,
and whether PyTorch was loaded. Rounds alternate; medians count.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from leukoscope.data.images import decode_image
from leukoscope.smear.crops import CropSettings, cut_from_field, mark_nucleus
from leukoscope.smear.fields import open_field
from leukoscope.smear.finder import Finder

CORES = 2
NAMED_PX = 128


def start_session(graph: bytes):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def build_naming() -> bytes:
    from leukoscope.deploy.export import build_graph
    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec

    return build_graph(CoAtNet(build_spec("coatnet-pico", 8, NAMED_PX)).eval())


def build_detector() -> tuple[bytes, float, float]:
    """Return a graph of depthwise blocks with YOLOX-Nano's input, strides, weights and operations,
    its millions of weights, and its thousand million operations."""
    import torch
    from torch import nn

    def block(width: int, out: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, stride, 1, groups=width),
            nn.SiLU(),
            nn.Conv2d(width, out, 1),
            nn.SiLU(),
        )

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU())
            self.two = nn.Sequential(block(16, 32, 2), *(block(32, 32) for _ in range(7)))
            self.three = nn.Sequential(block(32, 64, 2), *(block(64, 64) for _ in range(7)))
            self.four = nn.Sequential(block(64, 128, 2), *(block(128, 128) for _ in range(10)))
            self.five = nn.Sequential(block(128, 256, 2), *(block(256, 256) for _ in range(8)))
            self.heads = nn.ModuleList(
                nn.Sequential(nn.Conv2d(w, 64, 1), nn.SiLU(), *(block(64, 64) for _ in range(4)))
                for w in (64, 128, 256)
            )
            self.out = nn.ModuleList(nn.Conv2d(64, 85, 1) for _ in range(3))

        def forward(self, images):
            three = self.three(self.two(self.stem(images)))
            four = self.four(three)
            maps = (three, four, self.five(four))
            return tuple(
                out(head(one)) for one, head, out in zip(maps, self.heads, self.out, strict=True)
            )

    network = Detector().eval()
    operations = 0

    def count(module, _, out) -> None:
        nonlocal operations
        operations += 2 * module.weight[0].numel() * out.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    example = torch.zeros(1, 3, 416, 416)
    with torch.no_grad():
        network(example)
    for module in network.modules():
        module._forward_hooks.clear()
    weights = sum(one.numel() for one in network.parameters())
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            network, (example,), opset_version=18, dynamo=True, external_data=False, verbose=False
        )
    return program.model_proto.SerializeToString(), weights / 1e6, operations / 1e9


def measure_rate(work: Callable[[Path], int], paths: list[Path]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, paths))
    return len(paths) / (time.perf_counter() - start)


def build_works() -> dict[str, Callable[[Path], int]]:
    settings = CropSettings()
    finders = {method: Finder(method) for method in ("network", "nuclei")}
    naming = start_session(build_naming())
    graph, weights, operations = build_detector()
    print(f"the detector's graph: {weights:.2f} M weights, {operations:.2f} G operations")
    detector = start_session(graph)
    name = detector.get_inputs()[0].name

    def cut(method: str, path: Path) -> list[np.ndarray]:
        crops = []
        with open_field(path) as field:
            found = finders[method].find(field, path.name)
            for cell in found.record.counted:
                crop = cut_from_field(field, cell, found.ground_C, settings)
                zoom = settings.px_per_um / cell.scale_px_per_um
                box = cell.box
                mark_nucleus(
                    crop, ((box[2] - box[0]) * zoom, (box[3] - box[1]) * zoom), found.ground_C
                )
                crops.append(crop)
        return crops

    def find(path: Path) -> int:
        return len(cut("network", path))

    def find_by_nuclei(path: Path) -> int:
        return len(cut("nuclei", path))

    def find_and_name(path: Path) -> int:
        crops = cut("network", path)
        if crops:
            size = (NAMED_PX, NAMED_PX)
            small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in crops]
            naming.run(None, {"images": np.stack(small)})
        return len(crops)

    def detect(path: Path) -> int:
        pixels = decode_image(path.read_bytes(), name=path.name)
        height, width = pixels.shape[:2]
        factor = 416 / max(height, width)
        canvas = np.full((416, 416, 3), 114, np.uint8)
        small = cv2.resize(pixels, (round(width * factor), round(height * factor)))
        canvas[: small.shape[0], : small.shape[1]] = small
        image = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32)
        return len(detector.run(None, {name: image}))

    return {
        "finding and crops, network": find,
        "finding and crops, nuclei": find_by_nuclei,
        "the same by the network, with naming": find_and_name,
        "graph of the size of YOLOX-Nano": detect,
    }


_ONE = """
import sys
from pathlib import Path
from leukoscope.__main__ import main
sys.argv = ["leukoscope", "cells", sys.argv[1], "-o", sys.argv[2]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
status = Path("/proc/self/status").read_text()  # of this process alone, unlike ru_maxrss
print(status.split("VmHWM:")[1].split()[0], "torch" in sys.modules)
"""


def measure_one(path: Path) -> tuple[float, float, bool]:
    """Return seconds, megabytes (peak of the process) and whether PyTorch was loaded."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-c", _ONE, str(path), f"{folder}/cells"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said, _ = child.communicate()
        seconds = time.perf_counter() - start
        if child.returncode:
            raise RuntimeError(said)
        kilobytes, loaded = said.split()[-2:]
    return seconds, int(kilobytes) / 1024, loaded == "True"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fields", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted((args.data / "bccd" / "JPEGImages").glob("*.jpg"))[: args.fields]
    load = os.getloadavg()[0]
    print(
        f"load before: {load:.2f}" + (" (others compute: only ratios count)" if load > 0.5 else "")
    )
    works = build_works()
    rates: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        measure_rate(work, paths[:8])
    for _ in range(args.rounds):
        for name, work in works.items():
            rates[name].append(measure_rate(work, paths))
    for name, values in rates.items():
        print(
            f"{name}: {statistics.median(values):.1f} fields/s"
            f" ({min(values):.1f} to {max(values):.1f})"
        )
    ones = [measure_one(paths[k]) for k in range(5)]
    seconds = [one[0] for one in ones[1:]]
    print(
        f"one field from start to tables: {statistics.median(seconds):.2f} s"
        f" ({min(seconds):.2f} to {max(seconds):.2f}), {max(one[1] for one in ones):.0f} MB,"
        f" PyTorch loaded: {any(one[2] for one in ones)}"
    )


if __name__ == "__main__":
    main()
