"""From labelled cells of a laboratory to a new bundle that is fitted to half of them.

The new bundle remembers which files it was fitted to and which it was measured on, so that the same
cells are not spent again. What this file does not do: it fits nothing and computes no figure
(`trust.local`, `evaluation.recalibration`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    data_name: str,
    seed: int,
    replicates: int,
) -> "Recalibration":
    """Fit on half of the cells, measure on the other, and write the new bundle if it was fitted.

    `records` are the rows of `table`. Raises `BundleError` for a bundle that was never calibrated.
    """
    from leukoscope.deploy.bundle import save_bundle
    from leukoscope.evaluation.decisions import compute_reference
    from leukoscope.evaluation.recalibration import measure_recalibration, split_halves
    from leukoscope.trust.record import REFERENCE_IMAGES, pack_arrays

    if trust is None:
        raise BundleError(
            "only a calibrated bundle can be calibrated again",
            f"{bundle.path} was exported from a run that was not",
            "run `leukoscope calibrate` on the run, export it again, and validate that bundle",
        )
    found, local = measure_recalibration(table, trust, seed, replicates)
    if local is None:
        return found
    fit, judge = split_halves(table, seed)
    held = replace(table.take(judge), roles=("test",) * len(judge))
    lent = fit[table.take(fit).draw_sources(REFERENCE_IMAGES, seed)]
    arrays = pack_arrays(trust.novelty, table.embeddings_ND[lent], table.quality_NQ[lent])
    note = (
        f"Calibrated again on {found.n_fit:,} cells of {data_name} ({found.n_fit_sources:,}"
        f" sources); home is now {found.n_judged:,} other cells of it."
    )
    info = trust.info.model_copy(
        update={
            "policy": local.policy,
            "n_calib": found.n_fit,
            "n_calib_sources": found.n_fit_sources,
            "choice": {**trust.info.choice, "again": "temperature on local cells"},
            "notes": (note, *local.notes),
            "arrays_sha256": hashlib.sha256(arrays).hexdigest(),
            "reference": compute_reference(
                # Whether training has seen these cells, nobody can tell.
                held, local.policy, trust.novelty, "local", frozenset(), data_name
            ),
        }
    )  # fmt: skip
    recalibrated = {
        "data": data_name,
        "seed": seed,
        "n_fit": found.n_fit,
        "n_fit_sources": found.n_fit_sources,
        "fitted_files": _list_files([records[i] for i in fit]),
        "judged_files": _list_files([records[i] for i in judge]),
        "from_arrays_sha256": trust.info.arrays_sha256,
        "by": collect_provenance(),
    }
    earlier = bundle.info.provenance.get("recalibrated", [])
    provenance = {**bundle.info.provenance, "recalibrated": [*earlier, recalibrated]}
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


def _list_files(records: Sequence[ImageRecord]) -> list[str]:
    return sorted({record.sha256[:_DIGITS] for record in records})


@dataclass(frozen=True)
class SpentCells:
    """What an earlier recalibration of a bundle had of some cells.

    `fresh` are the records whose sources were not fitted to, `n_judged` how many of these are of
    sources that home was measured on. `warnings` say what was left out, or cannot be known.
    """

    fresh: tuple[ImageRecord, ...]
    n_judged: int = 0
    warnings: tuple[str, ...] = ()


def find_spent(info: "BundleInfo", records: Sequence[ImageRecord]) -> SpentCells:
    """Return which cells a bundle may still be judged on. Files are known by their bytes, and what
    shares a source with one of them shares its fate.

    Raises `DataError` where no cell is left.
    """
    entries: list[dict[str, Any]] = list(info.provenance.get("recalibrated", []))
    if not entries:
        return SpentCells(tuple(records))
    fitted = {file for entry in entries for file in entry.get("fitted_files", ())}
    judged = set(entries[-1].get("judged_files", ()))  # home is of the last time
    sources = group_sources(Catalog(tuple(records)))

    def list_sources(files: set[str]) -> set[str]:
        pairs = zip(records, sources, strict=True)
        return {source for record, source in pairs if record.sha256[:_DIGITS] in files}

    out, known = list_sources(fitted), list_sources(judged)
    rows = [i for i, source in enumerate(sources) if source not in out]
    n_out = len(records) - len(rows)
    if not rows:
        raise DataError(
            "a bundle is judged on cells that it was not fitted to",
            f"it was fitted to all {n_out:,} of these, or to others of their sources",
            "label cells of other patients or slides",
        )
    warnings = []
    if n_out:
        warnings.append(
            f"{n_out:,} of {len(records):,} cells are left out: this bundle was fitted to them, or"
            " to others of their sources."
        )
    silent = [str(entry.get("data")) for entry in entries if "fitted_files" not in entry]
    if silent:
        warnings.append(
            f"This bundle was fitted to cells of {', '.join(silent)} that it does not list: if some"
            " of these are among them, the figures are too good."
        )
    return SpentCells(
        tuple(records[i] for i in rows), sum(sources[i] in known for i in rows), tuple(warnings)
    )
