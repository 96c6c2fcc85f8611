"""What a leak is worth: one recipe trained under two splits, and the report on both.

What this file does not do: it says nothing (`report.leak_page`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import Recipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.groups import found_in_pixels, group_sources, sources_known
from leukoscope.pipelines.data import name_data, save_findings, split_catalog, trace_sources
from leukoscope.pipelines.evaluation import OtherData, evaluate_folder, select_images
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.locate import locate_images
from leukoscope.pipelines.runs import train_run
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import collect_provenance
from leukoscope.storage import build_name, replacing_together, write_text

if TYPE_CHECKING:
    from leukoscope.evaluation.leakage import LeakProtocol, LeakReport
    from leukoscope.training.loop import TrainingReporter


@dataclass(frozen=True)
class LeakRun:
    """A leak report, and the folder that holds it and both runs."""

    report: "LeakReport"
    folder: Path

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "leak_report.html"


def report_leak(
    catalog: Catalog,
    recipe: Recipe,
    out: str | Path,
    *,
    external: Sequence[str | Path] = (),
    class_level: int | None = None,
    seed: int = 42,
    cache: str | Path | None = None,
    progress: Progress = silent,
    reporter: "TrainingReporter | None" = None,
) -> LeakRun:
    """Train one recipe under `random` and under `grouped`, and report what the leak is worth.

    Where the catalog lacks sources they are found in the pixels, those of `external` data in the
    same search, and written to `out/sources.csv`; `cache` is that of `trace_sources`. The runs are
    `out/random` and `out/grouped`; each network is evaluated on its own test images and on all
    external data. Images that the data themselves name as test part are left aside by both splits.
    A second call goes on where the first one stopped; what is trained is not trained again.
    `class_level` is that of `scan_images`, for folders of external data. `seed` draws both splits;
    the recipe has its own for training.

    Raises what `split_catalog`, `train_run`, `evaluate_run` and `trace_sources` raise.
    """
    require_extra("train")
    from leukoscope.evaluation.leakage import (
        PROTOCOLS,
        LeakProvenance,
        LeakReport,
        LeakRow,
        LeakWarning,
        compute_difference,
        find_test_row,
        list_leak_rows,
    )
    from leukoscope.trust.notes import Note

    out = Path(out)
    others = _select_externals(external, out, progress, class_level)
    warnings = [LeakWarning(other.name, remark) for other in others for remark in other.warnings]
    own = Catalog(tuple(r for r in catalog.records if r.split != "test"), catalog.rejected)
    aside = len(catalog) - len(own)
    if aside:
        warnings.append(LeakWarning("", Note("test_part_left_aside", {"n": aside})))
    search: dict[str, str] | None = None
    # Names found in one data set say nothing of another: then both are searched together.
    if not sources_known(own) or (others and found_in_pixels(r.source for r in own.records)):
        own, others, search = _find_joint_sources(own, others, out, cache, progress)
    # Once for both networks. Sources are those of whole pictures.
    own = Catalog(locate_images(own.records, recipe.input, progress), own.rejected)
    others = tuple(
        replace(other, records=locate_images(other.records, recipe.input, progress))
        for other in others
    )
    counts: dict[LeakProtocol, dict[str, int]] = {}
    rows: list[LeakRow] = []
    data = ""
    for protocol in PROTOCOLS:

        def report_split(what: str, done: int, total: int, protocol: str = protocol) -> None:
            progress(f"{protocol.capitalize()} split: {what[0].lower()}{what[1:]}", done, total)

        split = split_catalog(own, protocol, seed=seed)
        data = name_data(split)
        counts[protocol] = {
            role: split.roles.count(role)
            for role in ("train", "val", "calib", "test")
            if role in split.roles
        }
        run = train_run(
            split,
            recipe,
            out / protocol,
            resume=True,
            packs=out / "packs",
            progress=report_split,
            reporter=reporter,
        )
        found = evaluate_folder(run.folder, None, "test", report_split)
        rows += list_leak_rows(protocol, found.record)
        for other in others:
            found = evaluate_folder(run.folder, other, "test", report_split)
            rows += list_leak_rows(protocol, found.record, external=True)
    origin = collect_provenance()
    report = LeakReport(
        data=data,
        n_images=len(own),
        n_sources=len(set(group_sources(own))),
        pixels=search is not None,
        difference=compute_difference(
            *(find_test_row(rows, protocol).accuracy for protocol in PROTOCOLS)
        ),
        counts=counts,
        # The splits' own test images first: these are compared.
        rows=tuple(sorted(rows, key=lambda row: row.subject.startswith("external"))),
        provenance=LeakProvenance(
            command=tuple(origin.command),
            split_seed=seed,
            seed=recipe.train.seed,
            recipe=recipe.name,
            recipe_hash=recipe.compute_hash(),
            leukoscope=origin.leukoscope,
            python=origin.python,
            platform=origin.platform,
            packages=origin.packages,
            started=origin.started,
            search=search or {},
        ),
        warnings=tuple(warnings),
    )
    return write_leak_report(report, out)


def write_leak_report(report: "LeakReport", out: Path) -> LeakRun:
    """Write `leak_report.json`, `leak_report.txt` and `leak_report.html` into a folder.

    Raises `StorageError`.
    """
    from leukoscope.report.evaluation_figures import draw_leak_report, render_drawings
    from leukoscope.report.frame import render_html
    from leukoscope.report.leak_page import describe_leak_report
    from leukoscope.report.page import render_text

    run = LeakRun(report, out)
    page = describe_leak_report(report, render_drawings(draw_leak_report(report)))
    with replacing_together(out, last="leak_report.json") as staged:
        write_text(staged / "leak_report.txt", render_text(page))
        write_text(staged / run.page.name, render_html(page))
        save_record(report, staged / "leak_report.json")
    return run


def _select_externals(
    external: Sequence[str | Path], out: Path, progress: Progress, class_level: int | None
) -> tuple[OtherData, ...]:
    """Read external data; each gets a name, and a folder name, of its own. Where no image is left
    of one, what was rejected is listed in `out`."""
    from leukoscope.trust.notes import Note

    others: list[OtherData] = []
    for data in external:
        path = Path(data)
        folder_name = build_name(path.resolve().stem)
        shown = path.resolve().name
        if shown in {other.name for other in others}:
            shown = f"{path.resolve().parent.name}/{shown}"
        if folder_name in {other.folder_name for other in others}:
            folder_name = f"{folder_name}_{len(others) + 1}"
        records, warnings, rejected = select_images(
            path, "test", progress, class_level, out / f"{folder_name}.rejected.csv", at_once=False
        )
        if rejected:
            warnings += (Note("files_rejected", {"n": len(rejected)}),)
        others.append(OtherData(shown, folder_name, records, warnings, rejected=rejected))
    return tuple(others)


def _find_joint_sources(
    own: Catalog,
    others: tuple[OtherData, ...],
    out: Path,
    cache: str | Path | None,
    progress: Progress,
) -> tuple[Catalog, tuple[OtherData, ...], dict[str, str]]:
    """Find the sources of a catalog and of other data in one search; write the catalog's.

    What two data sets call by one name has nothing in common, nor has a name that was found in
    the pixels of one of them.
    """
    renamed = []
    for k, other in enumerate(others):
        renamed.append(
            tuple(
                replace(
                    r,
                    id=f"external {k}: {r.id}",
                    source=f"{other.folder_name}: {r.source}"
                    if r.source and not found_in_pixels([r.source])
                    else "",
                )
                for r in other.records
            )
        )
    union = Catalog((*own.records, *(r for records in renamed for r in records)), own.rejected)
    findings = trace_sources(union, cache=cache, progress=progress)
    found = {record.id: record for record in findings.catalog.records}
    catalog = Catalog(tuple(found[r.id] for r in own.records), own.rejected)
    ids, files = {r.id for r in own.records}, {r.sha256 for r in own.records}
    searched = replace(
        findings,
        catalog=catalog,
        links=tuple(x for x in findings.links if {x.first, x.second} <= files),
        featureless=tuple(name for name in findings.featureless if name in ids),
    )
    save_findings(searched, out / "sources.csv", progress)
    joined = tuple(
        replace(
            other,
            records=tuple(
                replace(found[new.id], id=old.id)
                for new, old in zip(records, other.records, strict=True)
            ),
            joint=True,
        )
        for other, records in zip(others, renamed, strict=True)
    )
    return catalog, joined, {key: str(value) for key, value in findings.settings.items()}
