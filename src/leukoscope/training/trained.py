"""A trained network in its run folder: weights, and the JSON that says what they are.

What this file does not do: a deployable model is a bundle, not this (see the export).
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from leukoscope.config import InputConfig
from leukoscope.errors import WeightsError
from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, StageSpec
from leukoscope.runfolder import RunFolder, hash_file, read_json, write_json
from leukoscope.training.checkpoint import check_hash, load_tensors, load_weights, save_tensors
from leukoscope.training.device import pick_device


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode, its classes in the order of its logits, and its input."""

    network: CoAtNet
    classes: tuple[str, ...]
    input: InputConfig


def save_trained(
    run: RunFolder, spec: CoAtNetSpec, classes: tuple[str, ...], config: InputConfig
) -> None:
    """Make the best epoch's weights the run's trained network."""
    tensors, state = load_tensors(run.best)
    save_tensors(run.weights, tensors, state)
    write_json(
        run.model,
        {
            "classes": list(classes),
            "input": config.model_dump(mode="json") | {"normalise": "x / 127.5 - 1, RGB"},
            "spec": asdict(spec),
            "best_epoch": state["epoch"],
            "weights": run.weights.name,
            "sha256": hash_file(run.weights),
        },
    )


def load_trained(run: RunFolder, device: torch.device | None = None) -> TrainedNetwork:
    """Load the trained network of a run.

    Raises `MissingStepError` before training has ended, `WeightsError` when weights do not have
    the recorded hash or do not fit.
    """
    record = read_json(run.require(run.model, "leukoscope train"))
    check_hash(run.require(run.weights, "leukoscope train"), str(record.get("sha256", "")))
    try:
        network = CoAtNet(_parse_spec(dict(record["spec"])))
        settings = {k: v for k, v in record["input"].items() if k != "normalise"}
        classes, config = tuple(record["classes"]), InputConfig.model_validate(settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{run.model} must describe a trained network",
            f"{type(error).__name__}: {error}",
            "restore the file, or train again",
        ) from error
    tensors, _ = load_tensors(run.weights)
    load_weights(network, tensors, run.weights)
    device = device or pick_device()
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return TrainedNetwork(network, classes, config)


def _parse_spec(content: dict[str, Any]) -> CoAtNetSpec:
    stages = tuple(StageSpec(**stage) for stage in content.pop("stages"))
    return CoAtNetSpec(stages=stages, **content)
