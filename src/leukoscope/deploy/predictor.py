"""From image files to predictions by ONNX Runtime, without PyTorch.

Axes: B batch, S side, K classes, D embedding width. What this file does not do: it writes no
table (`tables`) and finds no files; what is accepted is decided by `trust.decision`.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.config import InputConfig
from leukoscope.data.images import Pixels, load_input
from leukoscope.deploy.bundle import Bundle, VariantName, load_bundle
from leukoscope.errors import BundleError, DataError, ImageError, MissingExtraError
from leukoscope.scores import Outputs, compute_probabilities, join_outputs
from leukoscope.trust.decision import Reason, Status, decide
from leukoscope.trust.quality import measure_quality

Engine = Literal["onnxruntime", "openvino"]


Run = Callable[[Pixels], Outputs]

BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image; where it could not be read, `error` says why and nothing else is
    filled. `probabilities` has one entry per class of the bundle, in its order.

    `decision` is "accepted", "review" or "unknown", `reasons` say why it is not accepted, `labels`
    are the classes that fit; a bundle of a run that was not calibrated leaves them empty.
    `disagreement` of the members of an ensemble is in nats, None for one network.
    """

    path: str
    label: str = ""
    confidence: float | None = None
    probabilities: tuple[float, ...] = ()
    error: str = ""
    decision: Status | Literal[""] = ""
    reasons: tuple[Reason, ...] = ()
    labels: tuple[str, ...] = ()
    disagreement: float | None = None


class Predictor:
    """A bundle, loaded and ready: a scorer (`leukoscope.scoring`); safe to share among threads.

    `variant` is one of the bundle's (None: its default), `engine` what runs the graph, `threads`
    the number of cores to use (None: all).

    Raises `BundleError` as `load_bundle` does, or if the engine rejects the graph;
    `MissingExtraError` if the engine is not installed.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        variant: VariantName | None = None,
        engine: Engine = "onnxruntime",
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle))
        self.trust = self.bundle.read_trust()
        self.threads = threads or count_cores()
        graph = self.bundle.read_graph(variant)
        start = start_onnxruntime if engine == "onnxruntime" else start_openvino
        self._run: Run = start(graph, self.threads)
        self.read_file: Callable[[Path], Pixels] = lambda path: load_input(path, self.input)
        """Reads a file for `predict_files`; of a network of located cells, whoever opens it sets
        one that locates them, as this room finds no cells."""

    @property
    def name(self) -> str:
        """Name of the bundle's folder."""
        return self.bundle.path.resolve().name

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.bundle.info.classes

    @property
    def input(self) -> InputConfig:
        """How a file becomes pixels."""
        return self.bundle.info.preprocessing

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the trained network's file of weights."""
        return self.bundle.info.provenance.weights_sha256

    def score(
        self, images_NSSC: Pixels, on_progress: Callable[[int, int], None] | None = None
    ) -> Outputs:
        """Return what the network says of images as `load_input` returns them, uint8
        `(N, S, S, 3)`, S being the bundle's image size. Raises `DataError` for any others."""
        side, total = self.input.image_size, len(images_NSSC)
        if images_NSSC.dtype != np.uint8 or images_NSSC.shape[1:] != (side, side, 3):
            raise DataError(
                f"images must be uint8 of shape (N, {side}, {side}, 3)",
                f"{images_NSSC.dtype} of shape {images_NSSC.shape}",
                "read them with `leukoscope.data.images.load_input`",
            )
        found = []
        for start in range(0, total, BATCH_SIZE):
            found.append(self._run(images_NSSC[start : start + BATCH_SIZE]))
            if on_progress is not None:
                on_progress(min(start + BATCH_SIZE, total), total)
        outputs = join_outputs(found)
        if total and outputs.logits_NK.shape[1] != len(self.classes):
            raise BundleError(
                f"the bundle's graph must give {len(self.classes)} logits for each image",
                f"{outputs.logits_NK.shape[1]}",
                "export the run again",
            )
        return outputs

    def predict_files(
        self,
        paths: Iterable[str | Path],
        *,
        batch_size: int = BATCH_SIZE,
        on_progress: Callable[[int], None] | None = None,
    ) -> Iterator[Prediction]:
        """Yield one prediction per path, in order, while later files are being decoded.

        A file that cannot be read yields a prediction with an `error`. At most three batches are
        held in memory. `on_progress` is called with the number of images done so far.
        """
        todo = iter(paths)
        waiting: deque[tuple[str, Future[NDArray[np.uint8] | str]]] = deque()
        done = 0
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                while True:
                    for path in islice(todo, 3 * batch_size - len(waiting)):
                        waiting.append((str(path), pool.submit(self._read, Path(path))))
                    if not waiting:
                        return
                    batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                    yield from self._predict_batch([(p, found.result()) for p, found in batch])
                    done += len(batch)
                    if on_progress is not None:
                        on_progress(done)
            finally:
                for _, found in waiting:
                    found.cancel()

    def _read(self, path: Path) -> NDArray[np.uint8] | str:
        try:
            return self.read_file(path)
        except ImageError as error:
            return f"{error.reason}: {error.found}"

    def predict_pixels(self, images_BSSC: NDArray[np.uint8]) -> tuple[Prediction, ...]:
        """Return one prediction, without a path, per image; input and errors as in `score`. No
        image leaves none."""
        if not len(images_BSSC):
            return ()
        logits_BK, embedding_BD, disagreement_B = self.score(images_BSSC)
        apart = [None] * len(images_BSSC) if disagreement_B is None else disagreement_B.tolist()
        if self.trust is None:
            # Without a policy nothing else would notice: its reason `not_finite` does.
            finite_B: NDArray[np.bool_] = np.asarray(np.isfinite(logits_BK).all(axis=1))
            rows = compute_probabilities(np.where(finite_B[:, None], logits_BK, 0)).tolist()
            best = [max(range(len(row)), key=row.__getitem__) for row in rows]
            return tuple(
                Prediction("", self.classes[k], row[k], tuple(row), disagreement=spread)
                if is_finite
                else Prediction("", error="not_finite: logits")
                for k, row, spread, is_finite in zip(best, rows, apart, finite_B, strict=True)
            )
        found = decide(
            self.trust.info.policy,
            self.trust.novelty,
            logits_BK,
            embedding_BD,
            measure_quality(images_BSSC),
            disagreement_B,
        )
        return tuple(
            Prediction(
                "",
                self.classes[found.labels_N[i]],
                float(found.confidence_N[i]),
                tuple(found.probabilities_NK[i].tolist()),
                decision=found.status[i],
                reasons=found.reasons[i],
                labels=tuple(self.classes[k] for k in np.flatnonzero(found.sets_NK[i])),
                disagreement=apart[i],
            )
            for i in range(len(images_BSSC))
        )

    def _predict_batch(
        self, batch: list[tuple[str, NDArray[np.uint8] | str]]
    ) -> Iterator[Prediction]:
        images = [found for _, found in batch if not isinstance(found, str)]
        predictions = iter(self.predict_pixels(np.stack(images)) if images else ())
        for path, found in batch:
            if isinstance(found, str):
                yield Prediction(path, error=found)
            else:
                yield replace(next(predictions), path=path)


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_onnxruntime(graph: bytes, threads: int) -> Run:
    """Load a graph; the result may be called from several threads. Raises `BundleError`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from the decoding threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        raise _rejected("ONNX Runtime", error) from error

    given = {one.name for one in session.get_inputs()}
    names = _list_outputs("ONNX Runtime", given, {one.name for one in session.get_outputs()})

    def run(images_BSSC: NDArray[np.uint8]) -> Outputs:
        try:
            found = session.run(names, {"images": images_BSSC})
        except Exception as error:  # as above
            raise _rejected("ONNX Runtime", error) from error
        return _check_outputs("ONNX Runtime", Outputs(*map(np.asarray, found)), len(images_BSSC))

    return run


def start_openvino(graph: bytes, threads: int) -> Run:
    """The same by OpenVINO. Raises `BundleError`, `MissingExtraError`."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "the engine openvino needs the package openvino",
            "it is not installed",
            "pip install 'leukoscope[openvino]', or leave the engine at onnxruntime",
        ) from error
    try:
        core = openvino.Core()
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    except RuntimeError as error:
        raise _rejected("OpenVINO", error) from error

    given = {name for one in compiled.inputs for name in one.get_names()}
    found = {name for one in compiled.outputs for name in one.get_names()}
    names = _list_outputs("OpenVINO", given, found)

    def run(images_BSSC: NDArray[np.uint8]) -> Outputs:
        # One request per call: a request is not safe to share among threads, a model is.
        try:
            found = compiled.create_infer_request().infer({"images": images_BSSC})
        except RuntimeError as error:
            raise _rejected("OpenVINO", error) from error
        outputs = Outputs(*(np.array(found[name]) for name in names))
        return _check_outputs("OpenVINO", outputs, len(images_BSSC))

    return run


def _list_outputs(engine: str, inputs: set[str], outputs: set[str]) -> list[str]:
    """What to ask a graph for: only an ensemble's gives a disagreement."""
    if inputs != {"images"} or not outputs >= {"logits", "embedding"}:
        names = f"from {', '.join(sorted(inputs))} to {', '.join(sorted(outputs))}"
        raise _rejected(engine, ValueError(names[:200]))
    return ["logits", "embedding", *(["disagreement"] if "disagreement" in outputs else [])]


def _check_outputs(engine: str, found: Outputs, n: int) -> Outputs:
    """Return outputs as they are where they are real numbers, a row or a number for each image."""
    arrays = [one for one in found if one is not None]
    ranks = [2, 2, 1][: len(arrays)]
    shapes = [(one.ndim, len(one) if one.ndim else -1, one.dtype.kind) for one in arrays]
    if shapes != [(rank, n, "f") for rank in ranks]:
        text = ", ".join(f"{one.dtype} {one.shape}" for one in arrays)
        raise _rejected(engine, ValueError(f"{n} images, {text}"))
    return found


def _rejected(engine: str, error: Exception) -> BundleError:
    return BundleError(
        f"{engine} must accept the bundle's graph",
        str(error).splitlines()[0] if str(error) else type(error).__name__,
        "export the run again with this version of leukoscope, or ask for another variant",
    )
