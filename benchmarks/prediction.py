"""Prediction of ours against what people would use (LAB_NOTES, "Prediction").

Run `python benchmarks/prediction.py [--preset coatnet-hematology] [--size 224] [--batch 16]
[--run RUN] [--images FOLDER]`. All candidates take turns in one process, round after round; `ratio`
is to ONNX Runtime fp32 of a plain rewrite of the reference network (for other presets, to PyTorch).
Without `--run` weights are drawn: rates do not depend on them, parity
does. With `--images` the whole command `leukoscope predict` is timed too, from process start to
exit, for one image and for all, with its peak memory.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Predict = Callable[[], object]


def build_network(given: argparse.Namespace) -> Any:
    import torch

    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.models.presets import build_spec
    from leukoscope.runfolder import RunFolder
    from leukoscope.training.trained import load_trained

    if given.run is not None:
        return load_trained(RunFolder(given.run), torch.device("cpu")).network
    torch.manual_seed(0)
    return CoAtNet(build_spec(given.preset, 4, given.size)).eval()


def export_plain(given: argparse.Namespace) -> bytes:
    """The reference network, plainly rewritten and exported as its authors would."""
    import warnings

    import torch

    from peers import build_plain

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            build_plain().eval(),
            (torch.zeros(given.batch, 3, given.size, given.size),),
            input_names=["images"],
            output_names=["logits"],
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    content: bytes = program.model_proto.SerializeToString()
    return content


def list_candidates(given: argparse.Namespace, images: Any, place: Path) -> dict[str, Predict]:
    import onnxruntime
    import torch

    from leukoscope.data.batches import normalise
    from leukoscope.deploy import export, predictor
    from leukoscope.errors import MissingExtraError

    network = build_network(given)
    graph = export.build_graph(network)
    graphs = {
        "fp32": graph,
        "fp16": export.convert_to_half(graph),
        "int8": export.quantise(graph, images, place),
    }
    found: dict[str, Predict] = {}
    if network.spec.name == "coatnet-hematology":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = predictor.count_cores()
        session = onnxruntime.InferenceSession(export_plain(given), options)
        real = normalise(torch.from_numpy(images)).contiguous().numpy()
        found["plain rewrite, ONNX Runtime fp32"] = lambda: session.run(None, {"images": real})
    batch = torch.from_numpy(images)
    eager = network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run_torch() -> object:
        return eager(normalise(batch))

    found["ours, PyTorch fp32, channels last"] = run_torch
    for name, content in graphs.items():
        run = predictor.start_onnxruntime(content, predictor.count_cores())
        found[f"ours, ONNX Runtime {name}"] = lambda run=run: run(images)  # type: ignore[misc]
    try:
        for name in ("fp32", "int8"):
            run = predictor.start_openvino(graphs[name], predictor.count_cores())
            found[f"ours, OpenVINO {name}"] = lambda run=run: run(images)  # type: ignore[misc]
    except MissingExtraError as error:
        print(f"OpenVINO left out: {error}")
    return found


def print_rates(given: argparse.Namespace, place: Path) -> None:
    generator = np.random.default_rng(0)
    shape = (given.batch, given.size, given.size, 3)
    images = np.clip(generator.normal(170, 40, shape), 0, 255).astype(np.uint8)
    candidates = list_candidates(given, images, place)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(given.rounds + 1):
        for name, predict in candidates.items():
            start = time.perf_counter()
            predict()
            if repeat:  # the first one allocates
                times[name].append(time.perf_counter() - start)
    base = next(iter(times))
    print(f"\n{given.preset}, {given.size} px, batch {given.batch}")
    print(f"{'candidate':40}{'images/s':>9}{'ratio':>7}")
    for name, own in times.items():
        ratios = [b / o for b, o in zip(times[base], own, strict=True)]
        print(
            f"{name:40}{given.batch / statistics.median(own):9.1f}{statistics.median(ratios):7.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def time_command(bundle: Path, images: list[str], out: Path, variant: str) -> tuple[float, float]:
    """Wall seconds from process start to exit, and peak memory in MB."""
    command = [sys.executable, "-m", "leukoscope", "predict", str(bundle), *images]
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


def print_command(given: argparse.Namespace, place: Path) -> None:
    from leukoscope import pipelines
    from leukoscope.deploy.files import list_images

    if given.run is None:
        raise SystemExit("--images needs --run: a bundle is made of a trained run")
    bundle = place / "bundle"
    pipelines.export_run(given.run, bundle)
    paths = [str(path) for path in list_images([given.images])]
    print(f"\nleukoscope predict, process start to exit, {len(paths):,} files")
    print(f"{'variant':8}{'one image, s':>14}{'MB':>8}{'all, images/s':>15}{'MB':>8}")
    for variant in ("fp32", "int8"):
        single = [
            time_command(bundle, paths[:1], place / "p.csv", variant) for _ in range(given.rounds)
        ]
        whole, memory = time_command(bundle, [str(given.images)], place / "p.csv", variant)
        print(
            f"{variant:8}{statistics.median(s for s, _ in single):14.2f}"
            f"{max(m for _, m in single):8.0f}{len(paths) / whole:15.0f}{memory:8.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="coatnet-hematology")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if given.images is not None:
            print_command(given, Path(temporary))
        else:
            print_rates(given, Path(temporary))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB here")


if __name__ == "__main__":
    main()
