"""A trained network, or an ensemble of several, in its run folder: weights and what they are.

What this file does not do: a deployable model is a bundle, not this (see the export).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from leukoscope.config import InputConfig
from leukoscope.data.images import Pixels
from leukoscope.errors import ConfigError, WeightsError
from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, StageSpec
from leukoscope.models.ensemble import Ensemble, Network
from leukoscope.records import read_json, write_json
from leukoscope.runfolder import RunFolder
from leukoscope.scores import Outputs
from leukoscope.storage import hash_file
from leukoscope.training.checkpoint import check_hash, load_tensors, load_weights, save_tensors
from leukoscope.training.device import pick_device
from leukoscope.training.scoring import score_images
from leukoscope.trust.record import Trust


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode, its classes in the order of its logits, and its input; a scorer
    (`leukoscope.scoring`)."""

    network: Network
    classes: tuple[str, ...]
    input: InputConfig
    name: str = ""
    weights_sha256: str = ""
    trust: Trust | None = None
    """How its answers become decisions; `load_trained` leaves it out."""

    def score(
        self, images_NSSC: Pixels, on_progress: Callable[[int, int], None] | None = None
    ) -> Outputs:
        """Return what the network says of images, uint8 `(N, S, S, 3)`."""
        return score_images(self.network, images_NSSC, on_progress=on_progress)

    @property
    def first(self) -> CoAtNet:
        """The network itself, or the first member of an ensemble: the one to explain."""
        return self.network.first if isinstance(self.network, Ensemble) else self.network


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


def save_ensemble(
    run: RunFolder,
    network: Ensemble,
    classes: tuple[str, ...],
    config: InputConfig,
    members: Sequence[Mapping[str, Any]],
) -> None:
    """Write an ensemble as a run's trained network. `members` say where each one came from."""
    save_tensors(run.weights, network.state_dict(), {"epoch": None})
    write_json(
        run.model,
        {
            "classes": list(classes),
            "input": config.model_dump(mode="json") | {"normalise": "x / 127.5 - 1, RGB"},
            "spec": asdict(network.spec),
            "best_epoch": None,
            "members": [dict(member) for member in members],
            "weights": run.weights.name,
            "sha256": hash_file(run.weights),
        },
    )


def load_trained(run: RunFolder, device: torch.device | None = None) -> TrainedNetwork:
    """Load the trained network of a run, an `Ensemble` where the run is one.

    Raises `MissingStepError` before training has ended, `WeightsError` when weights do not have
    the recorded hash or do not fit.
    """
    record = read_json(run.require(run.model, "leukoscope train"))
    sha256 = str(record.get("sha256", ""))
    check_hash(run.require(run.weights, "leukoscope train"), sha256)
    try:
        network = _build_network(dict(record["spec"]))
        settings = {k: v for k, v in record["input"].items() if k != "normalise"}
        classes, config = tuple(record["classes"]), InputConfig.model_validate(settings)
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{run.model} must describe a trained network",
            f"{type(error).__name__}: {error}",
            "restore the file, or train again",
        ) from error
    tensors, _ = load_tensors(run.weights)
    load_weights(network, tensors, run.weights)
    device = device or pick_device()
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return TrainedNetwork(network, classes, config, run.path.resolve().name, sha256)


def _build_network(content: dict[str, Any]) -> Network:
    if "members" not in content:
        return CoAtNet(_parse_spec(content))
    members = [CoAtNet(_parse_spec(dict(spec))) for spec in content["members"]]
    return Ensemble(members, content["views"])


def _parse_spec(content: dict[str, Any]) -> CoAtNetSpec:
    stages = tuple(StageSpec(**stage) for stage in content.pop("stages"))
    return CoAtNetSpec(stages=stages, **content)
