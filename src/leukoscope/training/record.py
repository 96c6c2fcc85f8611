"""What a run folder says of its trained network: `model.json`, and the epochs of its training.

What this file does not do: it reads no weights (`trained`) and needs no PyTorch.
"""

import csv
import io
from dataclasses import dataclass, replace

from leukoscope.config import InputConfig
from leukoscope.errors import RunError, WeightsError
from leukoscope.models.spec import CoAtNetSpec, EnsembleSpec
from leukoscope.records import load_record, save_record
from leukoscope.runfolder import Bound, RunFolder
from leukoscope.storage import hash_file

HISTORY_COLUMNS = (
    "Epoch",
    "Training Loss",
    "Validation Loss",
    "Training Accuracy",
    "Validation Accuracy",
    "Learning Rate",
    "Seconds",
)


@dataclass(frozen=True)
class ModelRecord(Bound):
    """Content of `model.json`: labels in the order of the logits, preprocessing, the shape of the
    network, the file of weights and its hash, the hash (`data.splits.hash_split`) of the split that
    the weights were trained on, and those of what else was written before. `best_epoch` is None for
    an ensemble. `scores_sha256` is the hash of the score table that these weights made; None until
    it is written."""

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


def load_history(run: RunFolder) -> tuple[dict[str, float], ...]:
    """Return the epochs of a run by column: the only way to read them; none of an ensemble, whose
    members have their own.

    Raises `MissingStepError` before training, `RunError` for the epochs of another run.
    """
    if run.ensemble.is_file():
        return ()
    text = run.read_bound(run.history).decode("utf-8", "replace")
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return tuple({name: float(row[name]) for name in HISTORY_COLUMNS} for row in rows)
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise RunError(
            f"{run.history} must hold one line of numbers per epoch",
            str(error),
            "restore it, or train again",
        ) from error
