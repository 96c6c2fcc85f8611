"""The commands: parse, call a use case, render. No thought lives here.

Everything that takes time to import is imported inside a command, so that `--help` answers at
once. Exit codes: those of `leukoscope.errors`; 130 after Ctrl-C.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import leukoscope

if TYPE_CHECKING:
    from leukoscope.pipelines.outputs import OutputKind

    Beside = dict[str, OutputKind]


class _Group(TyperGroup):
    """Turns the package's errors into a panel and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        import errno

        from leukoscope.errors import LeukoscopeError, StorageError

        try:
            return super().invoke(ctx)
        except (LeukoscopeError, OSError) as error:
            from leukoscope.cli.render import print_error

            if isinstance(error, LeukoscopeError):
                known: LeukoscopeError = error
            elif error.errno == errno.EPIPE:  # whoever read the output has gone
                raise
            else:  # a name too long, a folder that vanished: of whatever path
                known = StorageError(
                    "what a command reads and writes must be accessible",
                    str(error),
                    "check the path and your permissions",
                )
            print_error(known)
            raise typer.Exit(known.exit_code) from error
        except KeyboardInterrupt as error:
            from leukoscope.cli.render import print_interrupted

            print_interrupted()
            raise typer.Exit(130) from error


# Plain help: typer's decorated one imports half of rich and doubles the time of `--help`.
app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Classify blood cells with CoAtNet, and know how far to trust the answer. "
    "Research use only; not a medical device.",
)
data_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Catalogs, splits and their audit."
)
app.add_typer(data_app, name="data")


# -- what several commands take; each has its own defaults ----------------------------------------


def _build_set_option(help_text: str) -> Any:
    return typer.Option("--set", metavar="KEY=VALUE", help=help_text)


def _build_seed_option(help_text: str) -> Any:
    return typer.Option(help=help_text, min=0, max=2**31 - 1)


_RECIPES = "quick, reference, robust, or a TOML file"

CatalogArgument = Annotated[Path, typer.Argument(help="Catalog written by `data scan`.")]
ImagesArgument = Annotated[
    Path, typer.Argument(help="Split, catalog, table, or folder of images.", metavar="SPLIT")
]
RunArgument = Annotated[Path, typer.Argument(help="Run folder written by `train`.")]
BundleArgument = Annotated[Path, typer.Argument(help="Bundle folder written by `export`.")]
RecipeOption = Annotated[str, typer.Option(help=f"{_RECIPES}.")]
OverridesOption = Annotated[list[str] | None, _build_set_option("As for train.")]
CellsOption = Annotated[
    Literal["whole", "located"] | None,
    typer.Option(
        help="located: of each image the square around its white cell, at the image's own scale,"
        " for small fields that show one. Short for --set input.cells=located."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
ClassLevelOption = Annotated[
    int | None,
    typer.Option(
        help="Of a folder: the layer below it, counted from 1, whose folders are the classes."
        " Default: told by their names.",
        min=1,
        metavar="N",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace files that leukoscope did not write.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="File that keeps what was learned of images, for the next time."
        " Default: leukoscope/fingerprints.sqlite in the user's cache folder."
    ),
]


# -- commands -------------------------------------------------------------------------------------


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leukoscope {leukoscope.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


@data_app.command("scan")
def scan(
    path: Annotated[
        Path, typer.Argument(help="Folder of images, table (CSV), or VOC, YOLO or COCO set.")
    ],
    out: Annotated[Path, typer.Option(help="Catalog to write.")] = Path("catalog.csv"),
    class_level: ClassLevelOption = None,
    source_level: Annotated[
        int | None,
        typer.Option(
            help="The layer of folders that is the source: patient, slide, field.",
            min=1,
            metavar="N",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Any rejected file is an error.")] = False,
    force: ForceOption = False,
) -> None:
    """Build the image table; say which files stay out and why."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.data_pages import describe_catalog

    beside: Beside = {"rejected.csv": "rejected"}
    replaced = pipelines.find_replaced([out], "catalog", beside, [path], force=force)
    with render.progress(says_scans=False) as progress:
        catalog = pipelines.scan_images(
            path, out, class_level=class_level, source_level=source_level, progress=progress
        )
    render.print_page(describe_catalog(catalog, out))
    render.print_replaced(replaced)
    if strict:
        pipelines.check_nothing_rejected(catalog)


@data_app.command("sources")
def sources(
    catalog: CatalogArgument,
    out: Annotated[
        Path, typer.Option(help="Table to write; links, summary and page lie beside it.")
    ] = Path("sources.csv"),
    cache: CacheOption = None,
    force: ForceOption = False,
) -> None:
    """Find duplicates in the pixels: turned, flipped, sheared, shifted, cropped, re-encoded."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.data.catalog import load_catalog
    from leukoscope.report.source_page import describe_sources
    from leukoscope.sources.review import review_sources

    beside: Beside = {".links.csv": "links", ".json": "record", ".html": "page"}
    replaced = pipelines.find_replaced([out], "catalog", beside, [catalog], force=force)
    records = load_catalog(catalog)
    with render.progress() as progress:
        found = pipelines.trace_sources(records, out, cache=cache, progress=progress)
    files = [f"Table: {out}", f"Look at the groups: {out.with_suffix('.html')}"]
    if found.uncached:
        place = f"{found.uncached} cannot be written; name another by --cache"
        files.append(f"Nothing is kept for the next time: {place}")
    render.print_page(describe_sources(review_sources(found), {}, tuple(files)))
    render.print_replaced(replaced)


@data_app.command("locate")
def locate(
    catalog: CatalogArgument,
    out: Annotated[Path, typer.Option(help="Catalog to write; its boxes are squares.")] = Path(
        "located.csv"
    ),
    recipe: Annotated[str, typer.Option(help=f"{_RECIPES}: its input counts.")] = "quick",
    overrides: Annotated[
        list[str] | None, _build_set_option("As for train, e.g. input.crop_um=20.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Find the white cell of each small field once, for several trainings on located cells."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.config import load_recipe
    from leukoscope.data.catalog import load_catalog
    from leukoscope.report.data_pages import describe_squares

    replaced = pipelines.find_replaced([out], "catalog", {}, [catalog], force=force)
    loaded, records = load_recipe(recipe, overrides or ()), load_catalog(catalog)
    with render.progress() as progress:
        found = pipelines.locate_catalog(records, loaded.input, out, progress)
    render.print_page(describe_squares(pipelines.count_located(found.records), out))
    render.print_replaced(replaced)


@data_app.command("split")
def split(
    catalog: CatalogArgument,
    protocol: Annotated[
        Literal["auto", "random", "grouped", "given", "kfold"],
        typer.Option(
            help="random: row by row, as published. grouped: copies of a source stay together. "
            "given: the folders decide. kfold: one file per fold. "
            "auto: given if the data names a test part, else grouped."
        ),
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Split to write; its audit lies beside it.")] = Path(
        "split.csv"
    ),
    seed: Annotated[int, _build_seed_option("Seed of the draw.")] = 42,
    folds: Annotated[int, typer.Option(help="Number of folds (kfold).", min=2)] = 5,
    force: ForceOption = False,
) -> None:
    """Give every image a role: train, val, calib or test."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.data.catalog import load_catalog
    from leukoscope.data.splits import audit_split, list_folds
    from leukoscope.report.data_pages import describe_folds, describe_split

    files = list_folds(out, folds) if protocol == "kfold" and out.name else (out,)
    beside: Beside = {".audit.json": "record"}
    replaced = pipelines.find_replaced(files, "split", beside, [catalog], force=force)
    records = load_catalog(catalog)
    if protocol == "kfold":
        with render.progress() as progress:
            splits = pipelines.split_kfold(records, out, folds=folds, seed=seed, progress=progress)
        render.print_page(describe_folds(splits, out))
    else:
        with render.progress() as progress:
            found = pipelines.split_catalog(records, protocol, out, seed=seed, progress=progress)
        render.print_page(describe_split(audit_split(found), (f"Split: {out}",)))
    render.print_replaced(replaced)


@data_app.command("audit")
def audit(
    data: Annotated[
        Path,
        typer.Argument(
            help="Catalog, table with sources, split, or folder of images.", metavar="CATALOG"
        ),
    ],
    split: Annotated[
        Path | None, typer.Option(help="Split of the same images; it gives the roles.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Other data: is it really external?", metavar="OTHER")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the audit as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Page to write, with pairs to compare.")] = None,
    cache: CacheOption = None,
    class_level: ClassLevelOption = None,
    force: ForceOption = False,
) -> None:
    """Say what limits a number measured on these images: duplicates across roles, cells with
    different labels, classes of few sources, images shared with other data.

    Where sources are not known they are found in the pixels first, which takes minutes for
    thousands of images.

    Exit codes: 0, no error was found, though perhaps warnings; 3, a source lies in two roles, a
    cell has different labels, or the other data share images; or the tables cannot be read; 2,
    wrong usage; 7, a part of the package is not installed.
    """
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.audit_page import describe_audit

    given = [one for one in (data, split, against) if one is not None]
    pages = [] if html is None else [html]
    replaced = pipelines.find_replaced(pages, "page", {}, given, force=force)
    with render.progress() as progress:
        found = pipelines.audit_data(
            data,
            split=split,
            against=against,
            html=html,
            cache=cache,
            class_level=class_level,
            progress=progress,
        )
    if json:
        render.print_record(found)
    else:
        render.print_page(describe_audit(found, {}, (f"Page: {html}",) if html else ()))
        render.print_replaced(replaced)
    if found.failed:
        raise typer.Exit(3)


@data_app.command("paint")
def paint(
    out: Annotated[Path, typer.Argument(help="Folder to paint into.")],
    sources: Annotated[
        int | None, typer.Option(help="Number of different cells; 160.", min=4)
    ] = None,
    copies: Annotated[int | None, typer.Option(help="Images per cell; 4.", min=1)] = None,
    fields: Annotated[
        int | None,
        typer.Option(help="Paint whole fields with boxes instead: so many a sample.", min=1),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Number of samples; 1.", min=1)] = None,
    overlap: Annotated[
        float | None,
        typer.Option(help="Share of a field that the next one shows again; 0.", min=0, max=0.9),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of a cell's image, 96, or width of a field, 640.", min=32),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Paint smear cells or fields with known truth, for trying things out."""
    from leukoscope.cli import render
    from leukoscope.pipelines.painted import paint_set
    from leukoscope.report.data_pages import describe_painted

    with render.progress() as progress:
        table = paint_set(
            out,
            n_sources=sources,
            copies=copies,
            n_fields=fields,
            n_samples=samples,
            overlap_frac=overlap,
            size_px=size,
            seed=seed,
            progress=progress,
        )
    render.print_page(describe_painted(table))


@data_app.command("leak-report")
def leak_report(
    catalog: CatalogArgument,
    out: Annotated[Path, typer.Option(help="Folder to write into; a second call goes on.")] = Path(
        "runs/leak"
    ),
    recipe: RecipeOption = "quick",
    overrides: OverridesOption = None,
    external: Annotated[
        list[Path] | None,
        typer.Option(help="Other images to judge both networks on; may be given again."),
    ] = None,
    class_level: ClassLevelOption = None,
    seed: Annotated[int, _build_seed_option("Seed of both draws.")] = 42,
    cache: CacheOption = None,
) -> None:
    """Train one recipe under a random and a grouped split: what is the leak worth?"""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.config import load_recipe
    from leukoscope.data.catalog import load_catalog
    from leukoscope.report.leak_page import describe_leak_report

    loaded = load_recipe(recipe, overrides or ())
    records = load_catalog(catalog)
    with render.progress() as progress:
        found = pipelines.report_leak(
            records,
            loaded,
            out,
            external=external or (),
            class_level=class_level,
            seed=seed,
            cache=cache,
            progress=progress,
            reporter=progress,
        )
    render.print_page(describe_leak_report(found.report, trailer=(f"Report: {found.page}",)))


@data_app.command("pack")
def pack(
    source: ImagesArgument,
    recipe: Annotated[str, typer.Option(help=f"{_RECIPES}: its input counts.")] = "quick",
    out: Annotated[Path, typer.Option(help="Folder of packs.")] = Path("packs"),
    overrides: Annotated[
        list[str] | None, _build_set_option("As for train, e.g. input.image_size=96.")
    ] = None,
    class_level: ClassLevelOption = None,
) -> None:
    """Decode and resize the images once; `train --packs` then starts at once."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.config import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    with render.progress() as progress:
        packed = pipelines.pack_images(
            source, loaded, out, class_level=class_level, progress=progress
        )
    render.print_pack(packed)


@app.command("train")
def train(
    source: ImagesArgument,
    recipe: RecipeOption = "quick",
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/run"),
    resume: ResumeOption = False,
    packs: Annotated[
        Path | None, typer.Option(help="Folder of decoded images that runs share (`data pack`).")
    ] = None,
    overrides: Annotated[
        list[str] | None, _build_set_option("Override, e.g. --set train.epochs=5.")
    ] = None,
    cells: CellsOption = None,
    class_level: ClassLevelOption = None,
) -> None:
    """Train a network; `evaluate` then tells how good it is."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.config import load_recipe

    chosen = [f"input.cells={cells}"] if cells else []
    loaded = load_recipe(recipe, [*(overrides or ()), *chosen])
    with render.progress() as progress:
        roles = pipelines.load_split_or_images(
            source,
            class_level=class_level,
            rejected=out / "rejected.csv",
            progress=progress,
        )
        run = pipelines.train_run(
            roles, loaded, out, resume=resume, packs=packs, progress=progress, reporter=progress
        )
    render.print_trained(run)


@app.command("ensemble")
def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run folders written by `train`.")],
    tta: Annotated[
        Literal["none", "flips", "dihedral"],
        typer.Option(help="Views of each image: 1, 4 flips, or 8 with quarter turns."),
    ] = "none",
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/ensemble"),
    packs: Annotated[
        Path | None, typer.Option(help="Folder of decoded images. Default: the first run's.")
    ] = None,
) -> None:
    """Join trained networks into one that averages their answers and says where they disagree."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.run_pages import describe_ensemble

    with render.progress() as progress:
        done = pipelines.build_ensemble(runs, out, tta=tta, packs=packs, progress=progress)
    place = done.folder.path
    following = (f"Next: leukoscope evaluate {place}, export or distill",)
    trailer = (f"Ensemble: {place}", *(following if "test" in done.found.roles else ()))
    render.print_page(describe_ensemble(done.found, trailer))


@app.command("distill")
def distill(
    teacher: Annotated[
        Path, typer.Argument(help="Run folder of `train` or `ensemble`.", metavar="TEACHER")
    ],
    recipe: RecipeOption = "quick",
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/student"),
    resume: ResumeOption = False,
    packs: Annotated[
        Path | None, typer.Option(help="Folder of decoded images. Default: the teacher's.")
    ] = None,
    overrides: Annotated[
        list[str] | None, _build_set_option("As for train, e.g. distill.temperature=2.")
    ] = None,
) -> None:
    """Train one compact network to answer as its teacher does, and say what was lost."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.config import load_recipe
    from leukoscope.report.run_pages import describe_distillation

    loaded = load_recipe(recipe, overrides or ())
    with render.progress() as progress:
        done = pipelines.distill_run(
            teacher, loaded, out, resume=resume, packs=packs, progress=progress, reporter=progress
        )
    place = done.run.folder.path
    trailer = (f"Student: {place}. Next: leukoscope evaluate {place}",)
    render.print_page(describe_distillation(done.found, trailer))


@app.command("evaluate")
def evaluate(
    run: RunArgument,
    data: Annotated[
        Path | None, typer.Option(help="Other images: folder, catalog, table or split.")
    ] = None,
    role: Annotated[str, typer.Option(help="Which role to judge on.")] = "test",
    name: Annotated[str | None, typer.Option(help="Name of the evaluation on other data.")] = None,
    class_level: ClassLevelOption = None,
) -> None:
    """Measure a trained network: every figure with an interval, baselines beside it, a report."""
    from leukoscope import pipelines
    from leukoscope.cli import render

    with render.progress() as progress:
        found = pipelines.evaluate_run(
            run, data=data, role=role, name=name, class_level=class_level, progress=progress
        )
    render.print_evaluation(found)


@app.command("calibrate")
def calibrate(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None,
        _build_set_option("What to aim at, e.g. --set trust.target_accuracy=0.99."),
    ] = None,
) -> None:
    """Fit what makes answers trustworthy: calibrated confidence, prediction sets, when to reject.

    Thresholds come from the role `calib` of the run's split. `evaluate` then reports them, and
    `export` takes them along.
    """
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.calibration_page import describe_calibration

    with render.progress() as progress:
        found = pipelines.calibrate_run(run, overrides=overrides or (), progress=progress)
    render.print_page(describe_calibration(found.info, found.folder.trust))


@app.command("export")
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")] = Path("bundle"),
    variants: Annotated[
        str, typer.Option(help="Comma-separated: fp32, fp16, int8. The first is the default.")
    ] = "fp32,fp16,int8",
) -> None:
    """Make a bundle that predicts without PyTorch, with proof of what each variant does."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.deploy.bundle import parse_variants
    from leukoscope.report.bundle_page import describe_bundle

    with render.progress() as progress:
        bundle = pipelines.export_run(
            run, out, variants=parse_variants(variants), progress=progress
        )
    trailer = (f"Bundle: {bundle.path}. Predict: leukoscope predict BUNDLE IMAGES",)
    render.print_page(describe_bundle(bundle.info, trailer))


@app.command("card")
def card(
    run: Annotated[Path, typer.Argument(help="Run folder, or bundle folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into. Default: beside the records.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle of this run, whose parity the card shows.")
    ] = None,
) -> None:
    """Write the model card and the answers to CLAIM and TRIPOD+AI that the records hold."""
    from leukoscope import pipelines
    from leukoscope.cli import render

    render.print_card(pipelines.write_card(run, out, bundle=bundle))


@app.command("predict")
def predict(
    bundle: BundleArgument,
    images: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns; - reads a list from standard input."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Table to write: .csv, .parquet or .jsonl; - writes CSV to a pipe."
        ),
    ] = Path("predictions.csv"),
    variant: Annotated[
        Literal["fp32", "fp16", "int8"] | None,
        typer.Option(help="Which graph; the bundle names a default."),
    ] = None,
    engine: Annotated[
        Literal["onnxruntime", "openvino"], typer.Option(help="What runs the graph.")
    ] = "onnxruntime",
    strict: Annotated[
        bool, typer.Option(help="Any unreadable image, or file passed over, is an error.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Name the cells on images, one row each; unreadable images become rows with an error."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.prediction_page import describe_predictions

    is_piped = str(out) == "-"
    beside: Beside = {".rejected.csv": "rejected", ".provenance.json": "record"}
    tables = [] if is_piped else [out]
    replaced = pipelines.find_replaced(tables, "predictions", beside, images, force=force)
    with render.progress() as progress, render.open_output(out) as table:
        done = pipelines.predict_images(
            bundle,
            images,
            table,
            variant=variant,
            engine=engine,
            progress=progress,
        )
    render.print_page(describe_predictions(done), stderr=is_piped)
    render.print_replaced(replaced)
    pipelines.check_predicted(done, strict=strict)


@app.command("cells")
def cells(
    fields: Annotated[
        list[str],
        typer.Argument(
            help="Smear fields: files, folders, patterns; slides, too.", metavar="FIELDS"
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="New folder for tables, crops and nucleus masks.")
    ] = Path("cells"),
    method: Annotated[
        Literal["network", "nuclei"],
        typer.Option(help="What finds cells: the network, or nuclei alone (the baseline)."),
    ] = "network",
    scale: Annotated[
        float | None,
        typer.Option(help="Pixels per micrometre; else by the red cells of each field."),
    ] = None,
    edge: Annotated[
        bool, typer.Option("--edge", help="Count cells that the edge of the field cuts, too.")
    ] = False,
    crop_um: Annotated[float, typer.Option(help="Side of the crops in micrometres.")] = 28.0,
    crop_px: Annotated[int, typer.Option(help="Side of the crops in pixels.")] = 224,
    strict: Annotated[
        bool, typer.Option(help="Any unreadable field, or file passed over, is an error.")
    ] = False,
) -> None:
    """Find the white cells in smear fields: boxes, crops at one scale, nucleus masks."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.cells_page import describe_cells

    with render.progress() as progress:
        done = pipelines.find_cells(
            fields,
            out,
            method=method,
            scale_px_per_um=scale,
            include_edge=edge,
            crop_um=crop_um,
            crop_px=crop_px,
            progress=progress,
        )
    page = describe_cells(done.fields, done.passed_over, done.out, done.seconds, include_edge=edge)
    render.print_page(page)
    pipelines.check_found(done, strict=strict)


@app.command("differential")
def differential(
    samples: Annotated[
        list[Path],
        typer.Argument(
            help="Samples: a folder of smear fields or of single cells for each.", metavar="SAMPLE"
        ),
    ],
    model: Annotated[Path, typer.Option(help="Bundle folder written by `export`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pages and tables.")] = Path(
        "differential"
    ),
    images: Annotated[
        Literal["auto", "crops", "fields"],
        typer.Option(help="One cell an image, or whole fields; auto: by their size."),
    ] = "auto",
    white_count: Annotated[
        list[str] | None,
        typer.Option(
            help="Total white count in 10^9/L; of several samples NAME=VALUE, again for each.",
            metavar="VALUE",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--samples", help="Table with the columns id, white_count, notes."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Reference intervals as TOML, or `none`; without it those of adults, as published."
        ),
    ] = None,
    precision: Annotated[
        float, typer.Option(help="Wanted half-length of the intervals, in points.")
    ] = 5.0,
    red_threshold: Annotated[
        float,
        typer.Option(
            "--nrbc-threshold",
            help="Correct the white count from so many nucleated red cells per 100 white cells.",
        ),
    ] = 5.0,
    method: Annotated[
        Literal["network", "nuclei"], typer.Option(help="Of fields: how cells are found.")
    ] = "network",
    scale: Annotated[
        float | None,
        typer.Option(help="Of fields: pixels per micrometre; else by the red cells of each."),
    ] = None,
    crop_um: Annotated[
        float | None,
        typer.Option(
            help="Of fields: side of a cell's crop in micrometres, as in training;"
            " that of the bundle's located cells, else 28."
        ),
    ] = None,
    variant: Annotated[
        Literal["fp32", "fp16", "int8"] | None,
        typer.Option(help="Which graph; the bundle names a default."),
    ] = None,
    message: Annotated[
        list[str] | None,
        typer.Option(
            help="Messages for the laboratory's system, too: oru, oul (HL7 v2.5.1), fhir (R4).",
            metavar="KIND",
        ),
    ] = None,
    message_time: Annotated[
        str | None,
        typer.Option(help="Time of the messages, as ISO 8601 with time zone; else now."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Count differentials: shares of the white cells with intervals, a report for each sample."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.differential_page import describe_counted
    from leukoscope.smear.counting import CountSettings
    from leukoscope.smear.observations import MessageHeader
    from leukoscope.smear.reference import load_reference

    messages = pipelines.parse_message_kinds(message or [])
    header = MessageHeader(pipelines.parse_message_time(message_time))
    replaced = pipelines.find_replaced_differentials(out, samples, messages, force=force)
    known = pipelines.collect_sample_infos(samples, white_count or [], table)
    settings = CountSettings(precision / 100, red_threshold)
    with render.progress() as progress:
        done = pipelines.count_differentials(
            samples,
            model,
            out,
            images=images,
            known=known,
            settings=settings,
            reference=None if str(reference) == "none" else load_reference(reference),
            method=method,
            scale_px_per_um=scale,
            crop_um=crop_um,
            variant=variant,
            messages=messages,
            header=header,
            progress=progress,
        )
    render.print_page(describe_counted(done.records, done.out, done.pages, done.index))
    render.print_replaced(replaced)


@app.command("validate")
def validate(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Option(help="Local cells: folder, catalog, table or split.")],
    out: Annotated[Path, typer.Option(help="Folder for page, text and JSON.")] = Path("validation"),
    criteria: Annotated[
        Path | None, typer.Option(help="TOML file of acceptance criteria, e.g. min_accuracy = 0.9.")
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(help="Column with the labels of another reader; may be given again."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle that classifies the same cells.")
    ] = None,
    recalibrate: Annotated[
        Path | None,
        typer.Option(
            help="New bundle: site-specific recalibration on half of the cells, measured on the"
            " rest."
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            help="Record of the last look at these cells, where the criteria plan several (looks)."
        ),
    ] = None,
    role: Annotated[
        str, typer.Option(help="Which role to evaluate on, if the data have any.")
    ] = "test",
    class_level: ClassLevelOption = None,
    seed: Annotated[int, _build_seed_option("Seed of every draw.")] = 0,
) -> None:
    """Evaluate a bundle on the labelled cells of an external site: may it be used there?

    Exit codes: 0, every criterion is met, or none was set; 3, a criterion is not met or cannot be
    decided with these cells, or the data cannot be used; 2, wrong usage.
    """
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.validation_page import describe_validation

    with render.progress() as progress:
        done = pipelines.validate_bundle(
            bundle,
            data,
            out,
            role=role,
            criteria=criteria,
            readers=reader or (),
            against=against,
            recalibrate=recalibrate,
            previous=previous,
            class_level=class_level,
            seed=seed,
            progress=progress,
        )
    render.print_page(describe_validation(done.record, {}, (f"Page: {done.page}",)))
    if done.record.acceptance not in ("pass", "no_criteria"):
        raise typer.Exit(3)


@app.command("explain")
def explain(
    model: Annotated[Path, typer.Argument(help="Run folder, or bundle (occlusion only).")],
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns, as for predict.")],
    out: Annotated[Path, typer.Option(help="Empty folder to write into.")] = Path("explained"),
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: gradcam, hirescam, gradients, occlusion, attention."
            " Default: gradcam,hirescam,occlusion."
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Where gradcam and hirescam look: stem, stage_1 ...")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--class", help="Class to explain; the predicted one if not given."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Set of boxes (VOC, YOLO, COCO) round the cells of these images."),
    ] = None,
    box_label: Annotated[str, typer.Option(help="Label of the boxes that count.")] = "white_cell",
    query: Annotated[
        tuple[float, float], typer.Option(help="Place whose attention is drawn: down, across.")
    ] = (0.5, 0.5),
    evaluate: Annotated[
        int, typer.Option(help="Images that faithfulness is measured on; 0 for none.", min=0)
    ] = 24,
) -> None:
    """Show why: maps over images, and whether these maps are faithful, measured.

    At least 20 images are needed to test a method.
    """
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.data_words import describe_passed_over
    from leukoscope.report.explain_page import describe_explanation

    with render.progress() as progress:
        done = pipelines.explain_images(
            model,
            images,
            out,
            methods=methods.split(",") if methods else (),
            stage=stage,
            target=target,
            boxes=boxes,
            box_label=box_label,
            query=query,
            evaluate=evaluate,
            progress=progress,
        )
    trailer = [f"Pictures: {done.page or done.out}"]
    if done.passed_over:
        trailer.insert(0, describe_passed_over(done.passed_over))
    if done.page is None:
        trailer.insert(0, "No page and no figures: they need the extra `report`.")
    render.print_page(describe_explanation(done.found, trailer=tuple(trailer)))


@app.command("robustness")
def robustness(
    model: Annotated[Path, typer.Argument(help="Run folder, or bundle (with --data).")],
    data: Annotated[
        Path | None, typer.Option(help="Labelled images; a run has its own test images.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for page, tables and figures.")] = Path(
        "robustness"
    ),
    images: Annotated[int, typer.Option(help="At most so many images; 0 for all.", min=0)] = 500,
    class_level: ClassLevelOption = None,
    seed: Annotated[int, _build_seed_option("Seed of the sample and of the noise.")] = 0,
) -> None:
    """Measure what blur, defocus, compression, light, stain and magnification do, by severity."""
    from leukoscope import pipelines
    from leukoscope.cli import render
    from leukoscope.report.robustness_page import describe_robustness

    with render.progress() as progress:
        done = pipelines.measure_robustness(
            model,
            out,
            data=data,
            class_level=class_level,
            images=images,
            seed=seed,
            progress=progress,
        )
    render.print_page(describe_robustness(done.found, trailer=(f"Page: {done.page}",)))


@app.command("demo")
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder of images; painted cells if not given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("runs/demo"),
    overrides: OverridesOption = None,
    class_level: ClassLevelOption = None,
) -> None:
    """Do the main job once: catalog, split, train, calibrate, evaluate, report."""
    from leukoscope import pipelines
    from leukoscope.cli import render

    with render.progress() as progress:
        found = pipelines.run_demo(
            data,
            out,
            overrides=overrides or (),
            class_level=class_level,
            progress=progress,
            reporter=progress,
        )
    render.print_evaluation(found)


@app.command("recipe")
def recipe(name: Annotated[str, typer.Argument(help=f"{_RECIPES}.")]) -> None:
    """Print a recipe with every key and value, ready to edit."""
    from leukoscope.cli import render
    from leukoscope.config import load_recipe

    render.print_recipe(load_recipe(name))
