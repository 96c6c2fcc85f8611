"""Site-specific recalibration: from labelled cells of a site to a bundle fitted to half of them.

The new bundle keeps which files it was fitted to and which its reference was measured on, so that
no cell is used twice. What this file does not do: it fits nothing and computes no figure
(`trust.local`, `evaluation.recalibration`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources
from leukoscope.errors import BundleError, DataError
from leukoscope.runfolder import collect_provenance

if TYPE_CHECKING:
    from leukoscope.deploy.bundle import Bundle, BundleInfo
    from leukoscope.evaluation.recalibration import Recalibration
    from leukoscope.scores import ScoreTable
    from leukoscope.trust.record import Trust

_DIGITS = 16
"""So much of a file's SHA-256 is kept; of a million files two are alike with chance 3e-8."""


def recalibrate_bundle(
    bundle: "Bundle",
    trust: "Trust | None",
    records: Sequence[ImageRecord],
    table: "ScoreTable",
    out: Path,
    data: str,
    seed: int,
) -> "Recalibration":
    """Fit on half of the cells, measure on the other, and write the new bundle if it was fitted.

    `records` are the rows of `table`. Raises `BundleError` for a bundle that was never calibrated.
    """
    from leukoscope.deploy.bundle import RecalibrationOrigin, save_bundle
    from leukoscope.evaluation.decisions import compute_reference, count_calibration
    from leukoscope.evaluation.recalibration import measure_recalibration, split_halves
    from leukoscope.trust.notes import Note
    from leukoscope.trust.record import REFERENCE_IMAGES, pack_arrays

    if trust is None:
        raise BundleError(
            "only a calibrated bundle can be recalibrated",
            f"{bundle.path} was exported from a run that was not",
            "run `leukoscope calibrate` on the run, export it again, and validate that bundle",
        )
    found, local = measure_recalibration(table, trust, seed)
    if local is None:
        return found
    fit, test = split_halves(table, seed)
    held_out = replace(table.take(test), roles=("test",) * len(test))
    sample = fit[table.take(fit).draw_sources(REFERENCE_IMAGES, seed)]
    arrays = pack_arrays(trust.novelty, table.embeddings_ND[sample], table.quality_NQ[sample])
    note = Note(
        "recalibrated",
        {
            "n_images": found.n_fit,
            "n_sources": found.n_fit_sources,
            "data": data,
            "n_reference": found.n_test,
        },
    )
    info = trust.info.model_copy(
        update={
            "policy": local.policy,
            "n_calib": found.n_fit,
            "n_calib_sources": found.n_fit_sources,
            "notes": (note, *local.notes),
            "scores_sha256": None,
            "arrays_sha256": hashlib.sha256(arrays).hexdigest(),
            "calibration_counts": count_calibration(
                table.take(fit), local.policy, trust.novelty
            ),
            "reference": compute_reference(
                # Whether training has seen these cells is not known.
                held_out, local.policy, trust.novelty, "local", frozenset(), data
            ),
        }
    )  # fmt: skip
    origin = RecalibrationOrigin(
        data=data,
        seed=seed,
        n_fit=found.n_fit,
        n_fit_sources=found.n_fit_sources,
        fitted_files=_list_files([records[i] for i in fit]),
        reference_files=_list_files([records[i] for i in test]),
        from_arrays_sha256=trust.info.arrays_sha256,
        by=collect_provenance(),
    )
    provenance = bundle.info.provenance
    provenance = provenance.model_copy(update={"recalibrated": (*provenance.recalibrated, origin)})
    graphs = {name: bundle.read_graph(name) for name in bundle.info.variants}
    new = bundle.info.model_copy(update={"trust": info, "provenance": provenance})
    save_bundle(new, graphs, out, arrays)
    return replace(found, bundle=out.name)


def check_new(out: Path, bundle: Path) -> None:
    """Raise `BundleError` where the new bundle would replace the old one, or something else."""
    from leukoscope.deploy.bundle import check_target

    if out.resolve() == bundle.resolve():
        raise BundleError(
            "the new bundle must lie elsewhere than the one it comes from",
            str(out),
            "give --recalibrate another folder",
        )
    check_target(out)


def _list_files(records: Sequence[ImageRecord]) -> tuple[str, ...]:
    return tuple(sorted({record.sha256[:_DIGITS] for record in records}))


@dataclass(frozen=True)
class UsableCells:
    """The cells that a bundle may still be evaluated on, `n_reference` of them of sources that its
    reference was measured on; and how many were left out, for it was fitted to their sources."""

    records: tuple[ImageRecord, ...]
    n_reference: int = 0
    n_fitted: int = 0


def find_usable(info: "BundleInfo", records: Sequence[ImageRecord]) -> UsableCells:
    """Leave out the cells that a bundle was fitted to, and all that share a source with one of
    these. Files are known by their bytes.

    Raises `DataError` where no cell is left.
    """
    origins = info.provenance.recalibrated
    if not origins:
        return UsableCells(tuple(records))
    fitted = {file for origin in origins for file in origin.fitted_files}
    reference = set(origins[-1].reference_files)
    sources = group_sources(Catalog(tuple(records)))

    def list_sources(files: set[str]) -> set[str]:
        pairs = zip(records, sources, strict=True)
        return {source for record, source in pairs if record.sha256[:_DIGITS] in files}

    out, known = list_sources(fitted), list_sources(reference)
    rows = [i for i, source in enumerate(sources) if source not in out]
    n_fitted = len(records) - len(rows)
    if not rows:
        raise DataError(
            "a bundle is evaluated on cells that it was not fitted to",
            f"it was fitted to all {n_fitted:,} of these, or to others of their sources",
            "label cells of other patients or slides",
        )
    return UsableCells(
        tuple(records[i] for i in rows), sum(sources[i] in known for i in rows), n_fitted
    )
