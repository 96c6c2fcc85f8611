"""Weights and checkpoints in safetensors: written at once or not at all, checked when read.

No pickle is ever read. A checkpoint is one file: tensors of the network, its moving average and
the optimiser under the prefixes `network.`, `average.`, `optim.`, and the loop's own state as
JSON in the file's metadata. Random-number states need no place in it: all randomness of a step is
a function of (seed, epoch, step).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from leukoscope.errors import StorageError, WeightsError
from leukoscope.records import dump_record, parse_record
from leukoscope.storage import hash_file, replacing

State = TypeVar("State")


@dataclass(frozen=True)
class WeightsState:
    """What stands beside a network's weights: the epoch they are of; None for an ensemble."""

    epoch: int | None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: object) -> None:
    """Write tensors and a record (`records`) into one file. Raises `StorageError`; what stood at
    `path` before stays until the new file is complete."""
    # Written contiguous (channels-last weights are strided); storage shared by two names is copied.
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(packed, temporary, metadata={"state": json.dumps(dump_record(state))})
        except SafetensorError as error:
            # The library words the system's error: no space, file too large, quota.
            full = re.search(r"os error (27|28|122)\b|StorageFull", str(error)) is not None
            raise StorageError(
                f"{path} must be writable",
                "the disk is full" if full else str(error),
                "free some space and go on with --resume; the last good checkpoint is intact",
            ) from error


def load_tensors(path: Path, kind: type[State]) -> tuple[dict[str, Tensor], State]:
    """Read what `save_tensors` wrote with a record of this kind. Raises `WeightsError` for a file
    that is not whole.

    Another process may write the file again meanwhile: what is returned is of one file.
    """
    try:
        while True:
            before = _identify(path)
            try:
                found = _read(path)
            except (SafetensorError, RuntimeError):
                if _identify(path) == before:
                    raise
                continue
            if _identify(path) == before:
                tensors, content = found
                return tensors, parse_record(
                    kind, content, str(path), "leukoscope train", WeightsError
                )
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path} must be a whole safetensors file that leukoscope wrote",
            str(error),
            "restore the file, or train again without --resume",
        ) from error


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _read(path: Path) -> tuple[dict[str, Tensor], object]:
    # The library opens the path twice, for the header and for the numbers.
    with safe_open(path, framework="pt") as file:
        state = json.loads((file.metadata() or {})["state"])
        return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a network. Raises `WeightsError` unless names and shapes all agree."""
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights in {path} must fit the network",
            " ".join(str(error).split())[:300],
            "use the recipe and data that the weights were trained with",
        ) from error


def check_hash(path: Path, sha256: str) -> None:
    """Raise `WeightsError` unless a file has the hash that was recorded when it was written."""
    found = hash_file(path)
    if found != sha256:
        raise WeightsError(
            f"{path} must have the SHA-256 that its record gives ({sha256[:12]}...)",
            f"{found[:12]}...",
            "restore the file, or train again; the file is damaged or was exchanged",
        )


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments as named tensors, `<parameter number>.<name>`."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took out."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # The fused optimiser walks memory in order: moments must be strided as weights are.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def take_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def add_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with a prefix before each name."""
    return {prefix + k: v for k, v in tensors.items()}
