"""From a trained run to a bundle, and from a bundle to predictions.

What this file does not do: it builds no graph and runs none (`leukoscope.deploy`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.data.splits import load_split
from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.data import used_rows
from leukoscope.pipelines.extras import require_train_extra
from leukoscope.pipelines.progress import Progress, silent
from leukoscope.pipelines.runs import find_packs
from leukoscope.runfolder import RunFolder, collect_provenance, hash_file, read_json

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from leukoscope.deploy.bundle import Bundle, VariantName
    from leukoscope.deploy.predictor import Engine


REFERENCE_IMAGES = 2000
"""Parity is measured on at most so many images."""


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    variants: "Sequence[VariantName]" = ("fp32", "fp16", "int8"),
    default: "VariantName | None" = None,
    progress: Progress = silent,
) -> "Bundle":
    """Write a trained run as a bundle that predicts without PyTorch, and return it, opened.

    Every variant is run over a reference set (images that did not train the network, at most
    `REFERENCE_IMAGES`) and compared with the network in float32 PyTorch; the figures go into the
    bundle. The int8 variant takes its ranges from images of the role `calib`, or of `val` where
    there is none. Nothing is written unless every variant passes.

    Raises `MissingStepError` before training has ended, `ParityError` when a variant departs too
    far, `BundleError` when `out` holds something else, `MissingExtraError` without the extra
    `export`.
    """
    require_train_extra()
    import tempfile

    import numpy as np

    from leukoscope.data.pack import build_pack
    from leukoscope.deploy import export
    from leukoscope.deploy.bundle import (
        BundleInfo,
        VariantInfo,
        check_target,
        load_bundle,
        save_bundle,
    )
    from leukoscope.deploy.predictor import count_cores, start_onnxruntime
    from leukoscope.training.scoring import score_rows
    from leukoscope.training.trained import load_trained

    folder, target = RunFolder(Path(run)), Path(out)
    wanted = list(dict.fromkeys(variants))
    if not wanted or (default or wanted[0]) not in wanted:
        raise ConfigError(
            "the default variant must be one of the exported ones",
            f"default {default}, variants {', '.join(wanted) or 'none'}",
            "add it to --variants",
        )
    check_target(target)
    trained = load_trained(folder, _cpu())
    split = load_split(folder.require(folder.split, "leukoscope train"))
    records, roles = used_rows(split)
    pack = build_pack(
        records, trained.input, find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    rows = export.choose_rows(np.flatnonzero(roles != "train"), REFERENCE_IMAGES, 0)
    fit_role = "calib" if (roles == "calib").any() else "val"
    fit_rows = export.choose_rows(np.flatnonzero(roles == fit_role), export.CALIBRATION_IMAGES, 0)
    logits_NK, _ = score_rows(
        trained.network,
        pack,
        rows,
        on_progress=lambda d, t: progress("Reference in float32 PyTorch", d, t),
    )
    reference = export.Reference(
        pack[rows], tuple(records[i].id for i in rows), logits_NK, trained.classes
    )
    progress("Building the graph", 0, 1)
    graphs: dict[VariantName, bytes] = {"fp32": export.build_graph(trained.network)}
    progress("Building the graph", 1, 1)
    if "fp16" in wanted:
        graphs["fp16"] = export.convert_to_half(graphs["fp32"])
    if "int8" in wanted:
        progress("Quantising", 0, 1)
        with tempfile.TemporaryDirectory() as place:
            graphs["int8"] = export.quantise(graphs["fp32"], pack[fit_rows], Path(place))
        progress("Quantising", 1, 1)
    infos: dict[VariantName, VariantInfo] = {}
    for name in wanted:
        parity = export.measure_parity(
            start_onnxruntime(graphs[name], count_cores()),
            reference,
            name,
            lambda d, t, name=name: progress(f"Parity of {name}", d, t),  # type: ignore[misc]
        )
        export.check_parity(parity, name)
        infos[name] = VariantInfo(
            file=f"model.{name}.onnx",
            sha256=hashlib.sha256(graphs[name]).hexdigest(),
            bytes=len(graphs[name]),
            parity=parity,
        )
    used = ", ".join(f"{n} {role}" for role, n in _count_roles(roles[rows]).items())
    info = BundleInfo(
        network=trained.network.spec.name,
        classes=trained.classes,
        preprocessing=trained.input,
        preprocessing_text=export.PREPROCESSING_TEXT,
        opset=export.OPSET,
        default=default or wanted[0],
        variants=infos,
        reference_set=f"{len(rows):,} images that did not train the network ({used})"
        + (f"; int8 ranges from {len(fit_rows)} images of {fit_role}" if "int8" in wanted else ""),
        provenance={
            "exported": collect_provenance(),
            "trained": read_json(folder.provenance) if folder.provenance.is_file() else {},
            "recipe": read_json(folder.recipe) if folder.recipe.is_file() else {},
            "weights_sha256": hash_file(folder.weights),
        },
    )
    save_bundle(info, {name: graphs[name] for name in wanted}, target)
    return load_bundle(target)


def _count_roles(roles: "NDArray[np.str_]") -> dict[str, int]:
    import numpy as np

    names, counts = np.unique(roles, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _cpu() -> "torch.device":
    import torch

    return torch.device("cpu")


@dataclass(frozen=True)
class PredictedFiles:
    """What `predict_images` did: how many images, how many of them could not be read."""

    out: Path
    images: int
    errors: int
    seconds: float


def predict_images(
    bundle: str | Path,
    images: "Sequence[str | Path]",
    out: str | Path,
    *,
    variant: "VariantName | None" = None,
    engine: "Engine" = "onnxruntime",
    progress: Progress = silent,
) -> PredictedFiles:
    """Predict files, folders and patterns, and write a table (CSV, Parquet or JSON lines).

    One row per image in the order given; an image that cannot be read is a row with an error.

    Raises `BundleError` for a bundle that cannot be used, `DataError` where there is no image,
    `ConfigError` for another ending of `out`, `StorageError` when the disk is full.
    """
    import time

    from leukoscope.deploy.files import list_images
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.deploy.tables import check_table_path, save_predictions

    start = time.perf_counter()
    check_table_path(Path(out))
    paths = list_images(images)
    predictor = Predictor(bundle, variant=variant, engine=engine)
    rows = predictor.predict_files(
        paths, on_progress=lambda done: progress("Predicting", done, len(paths))
    )
    n, errors = save_predictions(rows, predictor.classes, Path(out))
    return PredictedFiles(Path(out), n, errors, time.perf_counter() - start)


def check_nothing_unreadable(done: PredictedFiles) -> None:
    """Raise `DataError` if an image could not be read; the table is complete all the same."""
    if done.errors:
        raise DataError(
            "with --strict every image must be readable",
            f"{done.errors:,} of {done.images:,} images with an error",
            f"look at the column `error` of {done.out}",
        )
