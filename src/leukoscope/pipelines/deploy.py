"""From a trained run to a bundle, and from a bundle to predictions.

What this file does not do: it builds no graph and runs none (`leukoscope.deploy`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.data import used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import find_packs, load_run_split
from leukoscope.pipelines.scorers import open_predictor
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder, collect_provenance
from leukoscope.storage import hash_file, replacing_together

if TYPE_CHECKING:
    from leukoscope.data.images import Pixels
    from leukoscope.deploy.bundle import Bundle, VariantName
    from leukoscope.deploy.predictor import Engine
    from leukoscope.deploy.tables import PredictedFiles
    from leukoscope.scores import Outputs
    from leukoscope.trust.decision import Decisions
    from leukoscope.trust.record import Trust


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    variants: "Sequence[VariantName]" = ("fp32", "fp16", "int8"),
    default: "VariantName | None" = None,
    progress: Progress = silent,
) -> "Bundle":
    """Write a trained run as a bundle that predicts without PyTorch, and return it, opened.

    Every variant is run over a reference set (images that did not train the network) and compared
    with the network in float32 PyTorch; the figures go into the bundle. The int8 variant takes its
    ranges from other images, of the role `calib`, or of `val` where there is none. Nothing is
    written unless every variant passes. A run that was calibrated (`calibrate_run`) takes its
    policy along; one that was not gives a bundle that never rejects. An ensemble
    becomes one graph, members and views inside; where its members (k folds) together trained on
    nearly all images, parity is measured on these, and the bundle says so.

    Raises `MissingStepError` before training has ended, `ParityError` when a variant departs too
    far, `BundleError` when `out` holds something else, `DataError` where nothing is left to check
    it on, `MissingExtraError` without the extra `export`.
    """
    require_extra("export")
    import torch

    from leukoscope.data.pack import build_pack
    from leukoscope.deploy import export
    from leukoscope.deploy.bundle import (
        BundleInfo,
        BundleProvenance,
        ParitySet,
        check_target,
        load_bundle,
        save_bundle,
    )
    from leukoscope.models.ensemble import Ensemble
    from leukoscope.training.trained import load_trained
    from leukoscope.trust.record import load_trust

    folder, target = RunFolder(Path(run)), Path(out)
    wanted = list(dict.fromkeys(variants))
    if not wanted or (default or wanted[0]) not in wanted:
        raise ConfigError(
            "the default variant must be one of the exported ones",
            f"default {default}, variants {', '.join(wanted) or 'none'}",
            "add it to --variants",
        )
    check_target(target)
    trained = load_trained(folder, torch.device("cpu"))
    trust = load_trust(folder)
    records, roles = used_rows(load_run_split(folder))
    joint = isinstance(trained.network, Ensemble)
    seen = joint and int((roles != "train").sum()) < export.FEW_IMAGES
    fit_role, fit_rows, rows = export.choose_rows(roles, any_role=seen)
    pack = build_pack(
        records, trained.input, find_packs(folder), lambda d, t: progress("Decoding images", d, t)
    )
    images_NSSC = pack[rows]
    outputs = trained.score(
        images_NSSC, lambda d, t: progress("Reference in float32 PyTorch", d, t)
    )
    decide = _decide_with(trust, images_NSSC) if trust else None
    reference = export.ParityReference(
        images_NSSC, tuple(records[i].id for i in rows), trained.classes, outputs, decide
    )
    graphs = export.build_variants(trained.network, wanted, pack[fit_rows], progress)
    infos = export.prove_variants(graphs, reference, progress)
    has_int8 = "int8" in wanted
    info = BundleInfo(
        network=trained.network.spec.name,
        classes=trained.classes,
        preprocessing=trained.input,
        opset=export.OPSET,
        default=default or wanted[0],
        variants=infos,
        parity_set=ParitySet(
            roles=dict(sorted(Counter(roles[rows].tolist()).items())),
            in_training=seen,
            n_int8=len(fit_rows) if has_int8 else 0,
            int8_role=fit_role if has_int8 else "",
        ),
        provenance=BundleProvenance(
            exported=collect_provenance(),
            trained=folder.load_provenance(),
            recipe=folder.load_recipe(),
            weights_sha256=trained.weights_sha256,
        ),
        trust=trust.info if trust else None,
    )
    arrays = folder.trust_arrays.read_bytes() if trust else None
    save_bundle(info, graphs, target, arrays)
    return load_bundle(target)


def _decide_with(trust: "Trust", images_NSSC: "Pixels") -> "Callable[[Outputs], Decisions]":
    """How a run decides on these images, given what a network says of them."""
    from leukoscope.trust import decision
    from leukoscope.trust.quality import measure_quality

    quality_NQ = measure_quality(images_NSSC)

    def decide(answer: "Outputs") -> "Decisions":
        return decision.decide(
            trust.info.policy,
            trust.novelty,
            answer.logits_NK,
            answer.embeddings_ND,
            quality_NQ,
            answer.disagreement_N,
        )

    return decide


def predict_images(
    bundle: str | Path,
    images: "Sequence[str | Path]",
    out: "str | Path | IO[str]",
    *,
    variant: "VariantName | None" = None,
    engine: "Engine" = "onnxruntime",
    progress: Progress = silent,
) -> "PredictedFiles":
    """Predict files, folders and patterns, and write a table (CSV, Parquet or JSON lines).

    One row per image in the order given; an image that cannot be read is a row with an error. What
    was passed over in folders is listed beside `out`, in `<stem>.rejected.csv`; the bundle is named
    by its hash in `<stem>.provenance.json`; all of these are written or none. A stream is given CSV
    and nothing is beside it.

    Raises `BundleError` for a bundle that cannot be used, `DataError` where there is no image,
    `ConfigError` for another ending of `out`, `StorageError` when the disk is full.
    """
    import time

    from leukoscope.data.catalog import save_rejected
    from leukoscope.deploy.files import list_images
    from leukoscope.deploy.tables import (
        PredictedFiles,
        PredictionProvenance,
        check_table_path,
        save_predictions,
    )
    from leukoscope.report.data_words import describe_rejected
    from leukoscope.report.decision_words import describe_reasons
    from leukoscope.trust.folder import compare_acceptance

    start = time.perf_counter()
    table = Path(out) if isinstance(out, str | Path) else None
    if table is not None:
        check_table_path(table)
    files = list_images(images)
    paths = files.paths
    predictor, located = open_predictor(bundle, variant=variant, engine=engine)
    rows = predictor.predict_files(
        paths, on_progress=lambda done: progress("Predicting", done, len(paths))
    )
    if table is None:
        counts = save_predictions(rows, predictor.classes, cast("IO[str]", out), describe_reasons)
        done = PredictedFiles(None, counts.images, counts.errors, 0, passed_over=files.passed_over)
    else:
        with replacing_together(table.parent, last=table.name) as staged:
            waiting = staged / table.name
            counts = save_predictions(rows, predictor.classes, waiting, describe_reasons)
            done = PredictedFiles(
                table, counts.images, counts.errors, 0, passed_over=files.passed_over
            )
            assert done.rejected is not None and done.provenance is not None
            # An older list must not speak for this table.
            if done.passed_over or done.rejected.is_file():
                save_rejected(done.passed_over, staged / done.rejected.name, describe_rejected)
            info = predictor.bundle.info
            provenance = PredictionProvenance(
                **vars(collect_provenance()),
                bundle=predictor.name,
                bundle_sha256=predictor.bundle.sha256,
                weights_sha256=info.provenance.weights_sha256,
                variant=variant or info.default,
                engine=engine,
                table_sha256=hash_file(waiting),
            )
            save_record(provenance, staged / done.provenance.name)
    reference = predictor.trust.info.reference if predictor.trust is not None else None
    acceptance = None
    if reference is not None:
        predicted = [counts.labels.get(name, 0) for name in predictor.classes]
        acceptance = compare_acceptance(reference, predicted, counts.decisions.get("accepted", 0))
    return replace(
        done,
        seconds=time.perf_counter() - start,
        decisions=counts.decisions,
        acceptance=acceptance,
        located=dict(located),
    )


def check_predicted(done: "PredictedFiles", *, strict: bool = False) -> None:
    """Raise `DataError` if no image could be read or, with `strict`, if one could not or a file was
    passed over; the table is complete all the same."""
    if done.errors == done.images:
        raise DataError(
            "at least one image must be readable",
            f"none of {done.images:,}",
            "look at the column `error` of the table",
        )
    if strict and (done.errors or done.passed_over):
        place = "the column `error` of the table" if done.errors else "what was passed over"
        raise DataError(
            "with --strict every file must be usable",
            f"{done.errors:,} of {done.images:,} images with an error,"
            f" {len(done.passed_over):,} files passed over",
            f"look at {place}",
        )
