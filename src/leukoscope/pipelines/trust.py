"""From a trained run to one that knows when to reject: calibration, prediction sets, thresholds.

What this file does not do: it fits nothing itself (`leukoscope.trust`) and writes no report
(`pipelines.evaluation`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import TrustConfig, override_section
from leukoscope.pipelines.data import compare_pixels, name_data
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import load_run_scores, load_run_split
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder
from leukoscope.storage import hash_file, replacing_together

if TYPE_CHECKING:
    from leukoscope.scores import LeakageStatus
    from leukoscope.trust.notes import Note
    from leukoscope.trust.record import TrustInfo


@dataclass(frozen=True)
class CalibratedRun:
    """A calibrated run; `info.reference` says what its policy does on the internal test set."""

    folder: RunFolder
    info: "TrustInfo"


def calibrate_run(
    run: str | Path, *, overrides: Sequence[str] = (), progress: Progress = silent
) -> CalibratedRun:
    """Fit calibration, prediction sets and the decision thresholds of a trained run.

    Statistics come from the role `train`, thresholds from `calib`, and the reference figures from
    `test`. Targets stand in the section `trust` of the run's recipe; `overrides` change them, as
    `["trust.alpha=0.1"]`. Writes `trust.json` and `trust.npz` into the run folder, which
    `evaluate` reports and `export` takes along; calling it again replaces them.

    Raises `MissingStepError` before training has ended, `DataError` where a role is missing or too
    small, `ConfigError` for an unknown key.
    """
    require_extra("train")
    from leukoscope.evaluation.decisions import compute_reference, count_calibration
    from leukoscope.evaluation.leakage import assess_role, list_duplicates
    from leukoscope.trust.fitting import fit_policy
    from leukoscope.trust.record import REFERENCE_IMAGES, TrustInfo, pack_arrays

    folder = RunFolder(Path(run))
    split = compare_pixels(load_run_split(folder), progress=progress)
    recipe = folder.load_recipe()
    config: TrustConfig = override_section(recipe, "trust", overrides).trust
    with folder.lock():
        table = load_run_scores(folder)
        progress("Fitting", 0, 1)
        fitted = fit_policy(table, config)
        progress("Fitting", 1, 1)
        calib = table.of_role("calib")
        sample = calib.draw_sources(REFERENCE_IMAGES, recipe.train.seed)
        arrays = pack_arrays(fitted.novelty, calib.embeddings_ND[sample], calib.quality_NQ[sample])
        info = TrustInfo(
            config=config,
            policy=fitted.policy,
            n_train=fitted.n_train,
            n_calib=fitted.n_calib,
            n_calib_sources=fitted.n_calib_sources,
            choice=fitted.choice,
            notes=(*fitted.notes, *note_leak(assess_role(split, "calib").status)),
            weights_sha256=hash_file(folder.weights),
            scores_sha256=hash_file(folder.scores),
            arrays_sha256=hashlib.sha256(arrays).hexdigest(),
            calibration_counts=count_calibration(calib, fitted.policy, fitted.novelty),
            reference=compute_reference(
                table,
                fitted.policy,
                fitted.novelty,
                assess_role(split, "test").status,
                list_duplicates(split, "test", ("train", "val", "calib")),
                name_data(split),
            ),
        )
        # A process killed in between leaves a record of other arrays, which is rejected.
        with replacing_together(folder.path, last=folder.trust.name) as staged:
            (staged / folder.trust_arrays.name).write_bytes(arrays)
            save_record(info, staged / folder.trust.name)
    return CalibratedRun(folder, info)


def note_leak(leakage_status: "LeakageStatus") -> "tuple[Note, ...]":
    """Return what is to be said of thresholds where the network may know the calibration images
    from training; nothing where duplicates are excluded."""
    from leukoscope.trust.notes import Note

    if leakage_status in ("disjoint", "images_disjoint"):
        return ()
    leaks = leakage_status == "leaking"
    return (Note("calibration_leaks" if leaks else "calibration_unproven"),)
