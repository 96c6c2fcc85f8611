"""What a leak is worth: one recipe trained under two splits, and the report on both.

What this file does not do: it words nothing (`evaluation.leak_report`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import Recipe
from leukoscope.data.catalog import Catalog
from leukoscope.data.groups import found_in_pixels, group_sources, sources_known
from leukoscope.pipelines.data import name_data, save_findings, split_catalog, trace_sources
from leukoscope.pipelines.evaluation import (
    Evaluation,
    OtherData,
    evaluate_folder,
    safe_name,
    select_other,
)
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import train_run
from leukoscope.progress import Progress, silent
from leukoscope.runfolder import collect_provenance

if TYPE_CHECKING:
    from leukoscope.report.leak_page import LeakProtocol, LeakReport, LeakRow
    from leukoscope.training.loop import TrainingReporter


def report_leak(
    catalog: Catalog,
    recipe: Recipe,
    out: str | Path,
    *,
    external: Sequence[str | Path] = (),
    seed: int = 42,
    cache: str | Path | None = None,
    replicates: int = 1000,
    progress: Progress = silent,
    reporter: "TrainingReporter | None" = None,
) -> "LeakReport":
    """Train one recipe under `random` and under `grouped`, and report what the leak is worth.

    Where the catalog lacks sources they are found in the pixels, those of `external` data in the
    same search, and written to `out/sources.csv`; `cache` is that of `trace_sources`. The runs are
    `out/random` and `out/grouped`; each network is judged on its own test images and on all
    external data. Images that the data themselves name as test part are left aside by both splits.
    A second call goes on where the first one stopped; what is trained is not trained again. `seed`
    draws both splits; the recipe has its own for training.

    Raises what `split_catalog`, `train_run`, `evaluate_run` and `trace_sources` raise.
    """
    require_extra("train")
    import shlex

    from leukoscope.report.leak_page import LeakReport, LeakRow, write_leak_report

    out = Path(out)
    others = _select_externals(external, progress)
    warnings = tuple(f"{other.name}: {text}" for other in others for text in other.warnings)
    home = Catalog(tuple(r for r in catalog.records if r.split != "test"), catalog.rejected)
    aside = len(catalog) - len(home)
    if aside:
        warnings += (
            f"{aside:,} images that the data name as test part are left aside; give them by"
            " `--external`.",
        )
    origin, settings = "are those of the catalog", ""
    # Names found in one data set say nothing of another: then both are searched together.
    if not sources_known(home) or (others and found_in_pixels(r.source for r in home.records)):
        home, others, settings = _find_joint_sources(home, others, out, cache, progress)
        origin = "were found in the pixels (sources.csv)"
    counts: dict[LeakProtocol, dict[str, int]] = {}
    rows: list[LeakRow] = []
    data_name = ""
    protocols: tuple[LeakProtocol, ...] = ("random", "grouped")
    for protocol in protocols:

        def tell(what: str, done: int, total: int, protocol: str = protocol) -> None:
            progress(f"{protocol.capitalize()} split: {what[0].lower()}{what[1:]}", done, total)

        split = split_catalog(home, protocol, seed=seed)
        data_name = name_data(split)
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
            progress=tell,
            reporter=reporter,
        )
        found = evaluate_folder(run.folder, None, "test", replicates, tell)
        rows += _list_leak_rows(protocol, found)
        for other in others:
            found = evaluate_folder(run.folder, other, "test", replicates, tell)
            rows += _list_leak_rows(protocol, found, external=True)
    origin_of = collect_provenance()
    report = LeakReport(
        folder=out,
        data_name=data_name,
        n_images=len(home),
        n_sources=len(set(group_sources(home))),
        origin=origin,
        counts=counts,
        # The splits' own test images first: these are compared.
        rows=tuple(sorted(rows, key=lambda row: row.subject == "external")),
        reproduce={
            "Command": shlex.join(origin_of["command"]),
            "Seed of both splits": str(seed),
            "Seed of training": str(recipe.train.seed),
            "Recipe": f"{recipe.name} ({recipe.hash()})",
        },
        provenance={
            "leukoscope": origin_of["leukoscope"],
            "Python": f"{origin_of['python']}, {origin_of['platform']}",
            "Packages": ", ".join(f"{k} {v}" for k, v in origin_of["packages"].items()),
            "Written": origin_of["started"],
            **({"Search for sources": settings} if settings else {}),
        },
        warnings=warnings,
    )
    write_leak_report(report)
    return report


def _select_externals(external: Sequence[str | Path], progress: Progress) -> tuple[OtherData, ...]:
    """Read external data; each gets a name, and a folder name, of its own."""
    others: list[OtherData] = []
    for data in external:
        path = Path(data)
        records, warnings = select_other(path, "test", progress)
        folder_name = safe_name(path)
        shown = path.resolve().name
        if shown in {other.name for other in others}:
            shown = f"{path.resolve().parent.name}/{shown}"
        if folder_name in {other.folder_name for other in others}:
            folder_name = f"{folder_name}_{len(others) + 1}"
        others.append(OtherData(shown, folder_name, records, warnings))
    return tuple(others)


def _find_joint_sources(
    home: Catalog,
    others: tuple[OtherData, ...],
    out: Path,
    cache: str | Path | None,
    progress: Progress,
) -> tuple[Catalog, tuple[OtherData, ...], str]:
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
    union = Catalog((*home.records, *(r for records in renamed for r in records)), home.rejected)
    findings = trace_sources(union, cache=cache, progress=progress)
    found = {record.id: record for record in findings.catalog.records}
    catalog = Catalog(tuple(found[r.id] for r in home.records), home.rejected)
    ids, files = {r.id for r in home.records}, {r.sha256 for r in home.records}
    own = replace(
        findings,
        catalog=catalog,
        links=tuple(x for x in findings.links if {x.first, x.second} <= files),
        featureless=tuple(name for name in findings.featureless if name in ids),
    )
    save_findings(own, out / "sources.csv", progress)
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
    return catalog, joined, ", ".join(f"{key} {value}" for key, value in findings.settings.items())


def _list_leak_rows(
    protocol: "LeakProtocol", found: Evaluation, *, external: bool = False
) -> "list[LeakRow]":
    """The row of an evaluation, and one of its images without a copy where some have one."""
    from leukoscope.report.leak_page import LeakRow

    rows = [
        LeakRow(
            protocol=protocol,
            subject="external" if external else "test",
            data=found.data_name,
            leakage_status=found.leakage_status,
            n_images=found.n_images,
            n_sources=found.n_sources if found.source_known else None,
            n_with_copy=found.leak.n_with_copy if found.leak else 0,
            accuracy=found.intervals["accuracy"],
            baselines=found.baselines,
        )
    ]
    if found.leak and found.leak.accuracy:
        rows.append(
            LeakRow(
                protocol=protocol,
                subject="external" if external else "without_copies",
                data=f"{found.data_name}, without copies" if external else found.data_name,
                leakage_status="disjoint" if found.source_known else "unproven",
                n_images=found.leak.n_images,
                n_sources=found.leak.n_sources if found.source_known else None,
                n_with_copy=0,
                accuracy=found.leak.accuracy,
                baselines=found.leak.baselines,
            )
        )
    return rows
