"""A trained network, or an ensemble of several, in its run folder: weights and what they are.

What this file does not do: a deployable model is a bundle, not this (see the export).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from leukoscope.config import InputConfig
from leukoscope.data.images import Pixels
from leukoscope.errors import ConfigError, WeightsError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.ensemble import Ensemble, Network
from leukoscope.models.spec import CoAtNetSpec, EnsembleSpec
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder
from leukoscope.scores import Outputs
from leukoscope.storage import hash_file
from leukoscope.training.checkpoint import (
    WeightsState,
    check_hash,
    load_tensors,
    load_weights,
    save_tensors,
)
from leukoscope.training.device import pick_device
from leukoscope.training.record import ModelRecord, load_model_record
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
    run: RunFolder,
    spec: CoAtNetSpec,
    classes: tuple[str, ...],
    config: InputConfig,
    split_sha256: str,
) -> None:
    """Make the best epoch's weights the run's trained network, bound to the split that trained
    them and to all that was written before."""
    tensors, state = load_tensors(run.best, WeightsState)
    save_tensors(run.weights, tensors, state)
    _save_record(run, spec, classes, config, state.epoch, split_sha256)


def save_ensemble(
    run: RunFolder,
    network: Ensemble,
    classes: tuple[str, ...],
    config: InputConfig,
    split_sha256: str,
) -> None:
    """Write an ensemble as a run's trained network, bound to its split and to the score table that
    is there already."""
    save_tensors(run.weights, network.state_dict(), WeightsState(None))
    scores = hash_file(run.scores)
    _save_record(run, network.spec, classes, config, None, split_sha256, scores)


def _save_record(
    run: RunFolder,
    spec: CoAtNetSpec | EnsembleSpec,
    classes: tuple[str, ...],
    config: InputConfig,
    best_epoch: int | None,
    split_sha256: str,
    scores_sha256: str | None = None,
) -> None:
    name, sha256 = run.weights.name, hash_file(run.weights)
    record = ModelRecord(
        classes,
        config,
        spec,
        best_epoch,
        name,
        sha256,
        split_sha256,
        scores_sha256,
        bound=run.bind_files(),
    )
    save_record(record, run.model)


def load_trained(run: RunFolder, device: torch.device | None = None) -> TrainedNetwork:
    """Load the trained network of a run, an `Ensemble` where the run is one.

    Raises `MissingStepError` before training has ended, `WeightsError` when weights do not have
    the recorded hash or do not fit.
    """
    record = load_model_record(run)
    check_hash(run.require(run.weights, "leukoscope train"), record.sha256)
    try:
        network = _build_network(record.spec)
    except ConfigError as error:
        raise WeightsError(
            f"{run.model} must describe a network that can be built",
            str(error),
            "restore the file, or train again",
        ) from error
    tensors, _ = load_tensors(run.weights, WeightsState)
    load_weights(network, tensors, run.weights)
    device = device or pick_device()
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    name = run.path.resolve().name
    return TrainedNetwork(network, record.classes, record.input, name, record.sha256)


def _build_network(spec: CoAtNetSpec | EnsembleSpec) -> Network:
    if isinstance(spec, CoAtNetSpec):
        return CoAtNet(spec)
    return Ensemble([CoAtNet(member) for member in spec.members], spec.views)
