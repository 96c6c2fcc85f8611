"""What a run folder says of its trained network: `model.json`.

What this file does not do: it reads no weights (`trained`) and needs no PyTorch.
"""

from dataclasses import dataclass, replace

from leukoscope.config import InputConfig
from leukoscope.errors import WeightsError
from leukoscope.models.spec import CoAtNetSpec, EnsembleSpec
from leukoscope.records import load_record, save_record
from leukoscope.runfolder import RunFolder
from leukoscope.storage import hash_file


@dataclass(frozen=True)
class ModelRecord:
    """Content of `model.json`: labels in the order of the logits, preprocessing, the shape of the
    network, the file of weights and its hash, and the hash (`data.splits.hash_split`) of the split
    that the weights were trained on. `best_epoch` is None for an ensemble. `scores_sha256` is the
    hash of the score table that these weights made; None until it is written."""

    classes: tuple[str, ...]
    input: InputConfig
    spec: CoAtNetSpec | EnsembleSpec
    best_epoch: int | None
    weights: str
    sha256: str
    split_sha256: str
    scores_sha256: str | None = None


def load_model_record(run: RunFolder) -> ModelRecord:
    """Read what a run says of its network. Raises `MissingStepError` before training has ended,
    `WeightsError` for something else."""
    path = run.require(run.model, "leukoscope train")
    return load_record(ModelRecord, path, "leukoscope train", WeightsError)


def bind_scores(run: RunFolder) -> None:
    """Keep the hash of a run's score table with its weights. Raises as `load_model_record`."""
    record = load_model_record(run)
    save_record(replace(record, scores_sha256=hash_file(run.scores)), run.model)
