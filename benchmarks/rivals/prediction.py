"""Prediction: the graphs of a bundle against a plain rewrite, and the whole command.

What this file does not do: parity (`deploy.export`); weights are drawn here, and rates do not
depend on them.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.rivals.peers import build_plain
from benchmarks.rivals.setting import Setting, Work
from numpy.typing import NDArray

from leukoscope.data.loader import normalise, prepare_input
from leukoscope.deploy import export
from leukoscope.deploy.predictor import Run, count_cores, start_onnxruntime, start_openvino
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import build_spec

PLAIN = "plain rewrite, ONNX Runtime fp32"
TORCH = "ours, PyTorch fp32, channels last"
INT8 = "ours, ONNX Runtime int8"


def _draw_images(setting: Setting) -> NDArray[np.uint8]:
    shape = (setting.batch, setting.size_px, setting.size_px, 3)
    drawn = np.random.default_rng(0).normal(170, 40, shape)
    return np.clip(drawn, 0, 255).astype(np.uint8)


def _build_ours(setting: Setting) -> CoAtNet:
    torch.manual_seed(0)
    return CoAtNet(build_spec(setting.preset, 4, setting.size_px)).eval()


def write_graphs(setting: Setting) -> None:
    """Write the graphs of all candidates into the setting's folder, once for all processes."""
    graphs = export.build_variants(
        _build_ours(setting), ("fp32", "fp16", "int8"), _draw_images(setting), lambda *_: None
    )
    for name, content in graphs.items():
        _place_of(setting, name).write_bytes(content)
    if setting.preset != "coatnet-hematology":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            build_plain().eval(),
            (torch.zeros(setting.batch, 3, setting.size_px, setting.size_px),),
            input_names=["images"],
            output_names=["logits"],
            opset_version=export.OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # None is for the older exporter
    _place_of(setting, "plain").write_bytes(program.model_proto.SerializeToString())


def _place_of(setting: Setting, name: str) -> Path:
    return setting.folder / f"{setting.preset}.{setting.size_px}.{name}.onnx"


def prepare_plain(setting: Setting) -> Work:
    """The reference network, rewritten and exported as its users would."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()
    session = onnxruntime.InferenceSession(
        _place_of(setting, "plain").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    real = normalise(torch.from_numpy(_draw_images(setting))).contiguous().numpy()
    return lambda: session.run(None, {"images": real})


def prepare_torch(setting: Setting) -> Work:
    """Ours without a bundle."""
    network = _build_ours(setting)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.from_numpy(_draw_images(setting))

    @torch.inference_mode()
    def run() -> object:
        return network(prepare_input(images))

    return run


def _prepare_graph(start: Callable[[bytes, int], Run], name: str, setting: Setting) -> Work:
    run = start(_place_of(setting, name).read_bytes(), count_cores())
    images = _draw_images(setting)
    return lambda: run(images)


_GRAPHS: dict[str, Callable[[Setting], Work]] = {
    TORCH: prepare_torch,
    "ours, ONNX Runtime fp32": partial(_prepare_graph, start_onnxruntime, "fp32"),
    "ours, ONNX Runtime fp16": partial(_prepare_graph, start_onnxruntime, "fp16"),
    INT8: partial(_prepare_graph, start_onnxruntime, "int8"),
    "ours, OpenVINO fp32": partial(_prepare_graph, start_openvino, "fp32"),
    "ours, OpenVINO int8": partial(_prepare_graph, start_openvino, "int8"),
}
HEMATOLOGY: dict[str, Callable[[Setting], Work]] = {PLAIN: prepare_plain, **_GRAPHS}
PICO = _GRAPHS


def time_command(bundle: Path, images: list[Path], out: Path, variant: str) -> tuple[float, float]:
    """Seconds of a whole `leukoscope predict` from process start to exit, and its peak in MB."""
    command = [sys.executable, "-m", "leukoscope", "predict", str(bundle), *map(str, images)]
    command += ["-o", str(out), "--variant", variant]
    script = (
        "import resource, subprocess, sys, time; t = time.perf_counter();"
        " subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        " print(time.perf_counter() - t,"
        " resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes
