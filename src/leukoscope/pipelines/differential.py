"""From folders of crops or smear fields, one a sample, to differentials and their reports.

What this file does not do: it finds no cell (`smear.finder`), decides on none (`trust.decision`),
computes no share (`smear.counting`), and words nothing (`report.differential_page`).
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import leukoscope
from leukoscope.errors import ConfigError, DataError, ImageError
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.messages import ENDINGS, parse_message_time, render_messages
from leukoscope.pipelines.outputs import OutputKind, find_replaced
from leukoscope.pipelines.scorers import open_predictor
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.smear.counting import CountSettings, Sample, count_sample
from leukoscope.smear.differential import (
    CountedCell,
    DifferentialProvenance,
    DifferentialRecord,
)
from leukoscope.smear.observations import MessageHeader, MessageKind
from leukoscope.smear.record import SLIDE_SUFFIXES
from leukoscope.smear.reference import ReferenceSet
from leukoscope.storage import build_name, is_folder, replacing_together, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.data.images import Pixels
    from leukoscope.data.readers import Rejected
    from leukoscope.deploy.bundle import VariantName
    from leukoscope.deploy.predictor import Prediction, Predictor
    from leukoscope.smear.fields import Field
    from leukoscope.smear.finder import Finder, Method
    from leukoscope.smear.overlap import FieldView
    from leukoscope.smear.record import FieldRecord, FoundCell

ImagesKind = Literal["auto", "crops", "fields"]
"""What the images of a sample are: one cell each, or fields with any number of cells; `auto` looks
at their sizes."""

IMAGES_KINDS: tuple[ImagesKind, ...] = get_args(ImagesKind)

CROPS_AT_MOST_PX, FIELDS_AT_LEAST_PX = 400, 480
"""Images whose longer side is at most the first are crops; whose shorter side is at least the
second, fields. In between, and where a sample has both, the user is asked."""

RECORD = "differential.json"

_MOST_HELD = 1000
"""Of more cells in one field the crops are not held, but cut when the network takes them."""

_BATCH = 64


@dataclass(frozen=True)
class SampleInfo:
    """What is known of a sample besides its images: the total white count in 10^9/L (NaN: not
    known), and a remark."""

    white_count: float = math.nan
    remark: str = ""


@dataclass(frozen=True)
class DifferentialFile:
    """The content of `differential.json`."""

    samples: tuple[DifferentialRecord, ...]


@dataclass(frozen=True)
class CountedSamples:
    """Differentials that were written to `out`: their records, the page of each sample, and that
    of all (None for one sample). `passed_over` are other files in the folders."""

    out: Path
    records: tuple[DifferentialRecord, ...]
    pages: tuple[Path, ...]
    index: Path | None
    passed_over: "tuple[Rejected, ...]"


def count_differentials(
    samples: "Sequence[str | Path]",
    bundle: str | Path,
    out: str | Path,
    *,
    images: ImagesKind = "auto",
    known: Mapping[str, SampleInfo] | None = None,
    settings: CountSettings | None = None,
    reference: ReferenceSet | None = None,
    method: "Method" = "network",
    scale_px_per_um: float | None = None,
    crop_um: float | None = None,
    variant: "VariantName | None" = None,
    messages: Sequence[MessageKind] = (),
    header: MessageHeader | None = None,
    progress: Progress = silent,
) -> CountedSamples:
    """Count the differential of each sample, a folder of images or one image, and write reports.

    The name of a sample is that of its folder; `known` says more of samples by name. The folder
    `out` holds `differential.json`, `differential.csv`, `cells.csv`, a page for each sample and,
    for several, `index.html`; it is written at once or not at all, other files in it stay. A broken
    image is a row of `cells.csv` with an error. The same images give the same bytes.

    Cells of fields are found by `method` at each field's own scale, unless `scale_px_per_um` is
    given, and cut out as squares of `crop_um` micrometres (None: those that a bundle of located
    cells was trained on, else 28). Figures are compared with `reference` (`smear.reference`), or
    with nothing.

    `messages` of each sample are written beside its page, for the laboratory's system; with the
    same `header` they are the same, without one they bear the present time.

    Raises `BundleError` for a bundle that cannot be used, `DataError` where there is no image or
    not a single one can be read, `ConfigError` for names that clash or settings that cannot be,
    `StorageError` when the disk is full, `MissingExtraError` without the extra that is needed.
    """
    require_extra("report")
    if messages:
        require_extra("messages")
    header = header or MessageHeader(parse_message_time(None))
    header.check()
    from leukoscope.report.differential_figures import draw_differential
    from leukoscope.report.differential_page import describe_differential, describe_samples
    from leukoscope.report.frame import render_html
    from leukoscope.smear.differential_tables import render_cells, render_classes

    settings = settings or CountSettings()
    _check_settings(settings)
    given = _list_samples(samples, known or {})
    target = Path(out)
    predictor, _ = open_predictor(bundle, variant=variant)
    reader = _Reader(predictor, method, scale_px_per_um, crop_um, progress)
    provenance = _collect_provenance(predictor, settings, variant)
    trust = predictor.trust.info if predictor.trust is not None else None
    done: list[tuple[Sample, DifferentialRecord, _Images]] = []
    for one in given:
        cells = reader.read(one, images)
        sample = Sample(
            one.name, tuple(one.files), tuple(cells), one.info.white_count, one.info.remark
        )
        record = count_sample(sample, predictor.classes, trust, provenance, settings, reference)
        done.append((sample, record, one))
    _check_readable(done)
    pages = _name_pages([sample.name for sample, _, _ in done])
    with replacing_together(target, last=RECORD) as staged:
        for k, ((sample, record, one), page) in enumerate(zip(done, pages, strict=True), 1):
            drawn = draw_differential(record, sample.cells, one.files)
            text = render_html(describe_differential(record, sample.cells, drawn))
            write_text(staged / page, text)
            for ending, message in render_messages(record, messages, header).items():
                write_text(staged / f"{Path(page).stem}{ending}", message)
            progress("Writing reports", k, len(done))
        if len(done) > 1:
            records = [record for _, record, _ in done]
            write_text(staged / "index.html", render_html(describe_samples(records, pages)))
        write_text(staged / "differential.csv", render_classes(record for _, record, _ in done))
        rows = [(sample.name, sample.cells) for sample, _, _ in done]
        write_text(staged / "cells.csv", render_cells(rows))
        save_record(DifferentialFile(tuple(record for _, record, _ in done)), staged / RECORD)
    return CountedSamples(
        target,
        tuple(record for _, record, _ in done),
        tuple(target / page for page in pages),
        target / "index.html" if len(done) > 1 else None,
        tuple(rejected for one in given for rejected in one.passed_over),
    )


def load_samples(path: str | Path) -> dict[str, SampleInfo]:
    """Read a table of samples: columns `id`, `white_count` (10^9/L) and `notes`, the last two as
    they are known. Raises `CatalogError` for a file that is no table, `DataError` for rows that
    cannot be."""
    from leukoscope.data.tables import is_missing, read_cells

    table = read_cells(Path(path))
    header = [name.strip().casefold() for name in table.header]
    if "id" not in header:
        raise DataError(
            f"{path} must have the column id, and may have white_count and notes",
            ", ".join(table.header) or "nothing",
            "add a row of column names",
        )
    found: dict[str, SampleInfo] = {}
    for number, row in table.rows:
        cells = dict(zip(header, row, strict=False))
        text = cells.get("white_count", "")
        name = cells.get("id", "")
        if not name or name in found:
            raise DataError(
                f"each row of {path} must name another sample",
                f"line {number}: {name or 'no id'}",
                "give each sample one row",
            )
        count = math.nan if is_missing(text) else parse_white_count(text, f"{path}, line {number}")
        found[name] = SampleInfo(count, cells.get("notes", ""))
    return found


def collect_sample_infos(
    samples: "Sequence[str | Path]", white_counts: Sequence[str], table: str | Path | None
) -> dict[str, SampleInfo]:
    """Join what is said of samples: white counts as `VALUE` (of the only sample) or `NAME=VALUE`,
    which go before those of a table (`load_samples`).

    Raises `ConfigError` for a value without a name where there are several samples, `DataError` as
    `load_samples` and `parse_white_count` do.
    """
    found = load_samples(table) if table is not None else {}
    for text in white_counts:
        name, _, value = text.rpartition("=")
        if not name and len(samples) != 1:
            raise ConfigError(
                "of several samples each white count must name its own",
                text,
                "for example --white-count S-17=7.2",
            )
        name = name or _name_sample(Path(samples[0]))
        count = parse_white_count(value, f"--white-count {text}")
        found[name] = replace(found.get(name, SampleInfo()), white_count=count)
    return found


def find_replaced_differentials(
    out: Path,
    samples: "Sequence[str | Path]",
    messages: Sequence[MessageKind] = (),
    *,
    force: bool = False,
) -> tuple[Path, ...]:
    """Return those of the files that will be written which are there already; errors as in
    `outputs.find_replaced`, and for a folder that is itself a sample."""
    if any(is_folder(Path(one)) and out.resolve() == Path(one).resolve() for one in samples):
        raise ConfigError(
            "reports must not be written among the images of a sample",
            str(out),
            "choose another --out",
        )
    names = [_name_sample(Path(one)) for one in samples]
    own = _name_pages(names)
    pages = [*own, *(["index.html"] if len(names) > 1 else [])]
    beside: dict[str, OutputKind] = dict.fromkeys(pages, "page")
    endings = [ENDINGS[kind] for kind in messages]
    beside |= {f"{Path(page).stem}{end}": "message" for page in own for end in endings}
    return find_replaced([out / RECORD], "record", beside, force=force)


def parse_white_count(text: str, place: str) -> float:
    """Return a white count in 10^9/L. Raises `DataError` for what is none."""
    try:
        value = float(text.replace(",", ".")) if text.count(",") < 2 else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value <= 2000:
        raise DataError(
            "a white count must be a number of 10^9 cells per litre, above 0 and at most 2,000",
            f"{place}: {text[:40]}",
            "for example 7.2; divide cells per microlitre by 1,000",
        )
    return value


# -- what is counted ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Images:
    """A sample as it lies on disk: its files by the names that records give them."""

    name: str
    files: dict[str, Path]
    info: SampleInfo
    passed_over: "tuple[Rejected, ...]"


def _list_samples(
    samples: "Sequence[str | Path]", known: Mapping[str, SampleInfo]
) -> list[_Images]:
    from leukoscope.deploy.files import list_images

    found: dict[str, _Images] = {}
    for one in samples:
        path = Path(one)
        listed = list_images([path], more_suffixes=SLIDE_SUFFIXES)
        root = path if is_folder(path) else path.parent
        name = _name_sample(path)
        if name in found:
            raise ConfigError(
                "samples must have names of their own",
                f"{name} is given twice",
                "rename a folder, or count them in two calls",
            )
        files = {_name_file(file, root): file for file in listed.paths}
        info = known.get(name, SampleInfo())
        found[name] = _Images(name, files, info, listed.passed_over)
    strange = [name for name in known if name not in found]
    if strange:
        raise ConfigError(
            "what is said of samples must be said of those that are counted",
            f"no sample is called {', '.join(strange[:3])}; samples: {', '.join([*found][:5])}",
            "give the names of the folders",
        )
    return list(found.values())


def _name_sample(path: Path) -> str:
    return path.resolve().name if is_folder(path) else path.stem


def _name_file(path: Path, root: Path) -> str:
    """The path below the folder of a sample; of what a list or a pattern found elsewhere, all."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _check_settings(settings: CountSettings) -> None:
    for name, value, low, high in (
        ("the precision", settings.precision, 0.001, 0.5),
        ("the threshold of nucleated red cells", settings.red_threshold, 0.0, 1e6),
        ("the limit of bands", settings.bands_limit, 0.0, 1.0),
        ("the limit of immature granulocytes", settings.immature_limit, 0.0, 1.0),
    ):
        if not low <= value <= high:
            raise ConfigError(
                f"{name} must lie between {low:g} and {high:g}", f"{value:g}", "give another value"
            )


def _check_readable(done: "Sequence[tuple[Sample, DifferentialRecord, _Images]]") -> None:
    n_files = sum(record.totals.files for _, record, _ in done)
    if n_files == sum(record.totals.unreadable for _, record, _ in done):
        first = next(cell for sample, _, _ in done for cell in sample.cells if cell.error)
        raise DataError(
            "at least one image must be readable",
            f"none of {n_files:,}; {first.image}: {first.error}",
            "check the folders",
        )


def _name_pages(names: Sequence[str]) -> list[str]:
    """A file for each sample, on every system, none of them `index.html`."""
    pages: list[str] = []
    taken = {"index"}
    for name in names:
        stem = base = build_name(name)
        k = 1
        while stem.casefold() in taken:
            k += 1
            stem = f"{base}_{k}"
        taken.add(stem.casefold())
        pages.append(f"{stem}.html")
    return pages


def _collect_provenance(
    predictor: "Predictor", settings: CountSettings, variant: "VariantName | None"
) -> DifferentialProvenance:
    info = predictor.bundle.info
    return DifferentialProvenance(
        leukoscope=leukoscope.__version__,
        bundle=predictor.name,
        bundle_sha256=predictor.bundle.sha256,
        weights_sha256=info.provenance.weights_sha256,
        variant=variant or info.default,
        precision=settings.precision,
        red_threshold=settings.red_threshold,
    )


# -- from images to cells -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """What was found in one field: crops of its whole cells, as the network takes them (of very
    many cells None: they are cut when their turn comes), and what is kept to compare it with others
    (None for a slide, or a field that cannot be read)."""

    record: "FieldRecord"
    crops_NSSC: "Pixels | None"
    ground_C: "NDArray[np.float64]"
    view: "FieldView | None" = None


@dataclass(frozen=True)
class _Reader:
    """Reads the cells of samples, one after the other."""

    predictor: "Predictor"
    method: "Method"
    scale_px_per_um: float | None
    crop_um: float | None
    progress: Progress

    def read(self, sample: _Images, images: ImagesKind) -> list[CountedCell]:
        """Return the cells of a sample in the order of its files, errors among them."""
        kind = _find_kind(sample) if images == "auto" else images
        return self._read_fields(sample) if kind == "fields" else self._read_crops(sample)

    def _read_crops(self, sample: _Images) -> list[CountedCell]:
        total = len(sample.files)
        what = f"Counting {sample.name}"
        found = self.predictor.predict_files(
            sample.files.values(), on_progress=lambda done: self.progress(what, done, total)
        )
        return [
            CountedCell(name, error=one.error) if one.error else _join(CountedCell(name), one)
            for name, one in zip(sample.files, found, strict=True)
        ]

    def _read_fields(self, sample: _Images) -> list[CountedCell]:
        require_extra("smear")
        from leukoscope.smear.edges import measure_whole_fracs
        from leukoscope.smear.overlap import CellPlace, find_overlaps, find_same_cells

        fields: list[_Field] = []
        predictions: list[list[Prediction]] = []
        for found in self._find_cells(sample):
            one, said = self._predict(sample, found)
            fields.append(replace(one, crops_NSSC=None))  # no longer needed
            predictions.append(said)
            self.progress(f"Counting {sample.name}", len(fields), len(sample.files))
        # Slides, and fields that cannot be read, are compared with nothing.
        known = [k for k, one in enumerate(fields) if one.view is not None]
        views = [view for one in fields if (view := one.view) is not None]
        overlaps = [
            replace(one, first=known[one.first], second=known[one.second])
            for one in find_overlaps(views)
        ]
        records = [one.record for one in fields]
        same = {one.cell: one.counted for one in find_same_cells(records, overlaps)}
        chances = measure_whole_fracs(records, overlaps)
        cells = []
        for k, (one, said) in enumerate(zip(fields, predictions, strict=True)):
            if one.record.reason:
                error = f"{one.record.reason}: {one.record.found}"
                cells.append(CountedCell(one.record.field, error=error))
            whole = iter(said)
            for cell in one.record.cells:
                place = same.get(CellPlace(k, cell.number))
                counted = f"{fields[place.field].record.field}#{place.number}" if place else ""
                bare = CountedCell(
                    *(cell.field, cell.number, cell.box, cell.score, cell.edge, counted),
                    whole_frac=chances.get(CellPlace(k, cell.number), 1.0),
                )
                cells.append(bare if cell.edge else _join(bare, next(whole)))
        return cells

    def _find_cells(self, sample: _Images) -> Iterator[_Field]:
        """Yield what is in each field, in order, a few of them at a time in memory."""
        from concurrent.futures import ThreadPoolExecutor

        import cv2

        from leukoscope.smear.finder import Finder

        cv2.setNumThreads(1)  # fields are worked on side by side
        finder = Finder(self.method, scale_px_per_um=self.scale_px_per_um)
        threads = self.predictor.threads
        jobs = iter(sample.files.items())
        with ThreadPoolExecutor(threads) as pool:
            waiting = deque(
                pool.submit(self._look_at, finder, *one)
                for _, one in zip(range(2 * threads), jobs, strict=False)
            )
            while waiting:
                yield waiting.popleft().result()
                if (job := next(jobs, None)) is not None:
                    waiting.append(pool.submit(self._look_at, finder, *job))

    def _look_at(self, finder: "Finder", name: str, path: Path) -> _Field:
        from leukoscope.smear.fields import PictureField, open_field
        from leukoscope.smear.overlap import build_view

        try:
            with open_field(path) as opened:
                found = finder.find(opened, name)
                one = _Field(found.record, None, found.ground_C)
                if len(found.record.counted) <= _MOST_HELD:
                    one = replace(one, crops_NSSC=self._cut(opened, one, found.record.counted))
                if isinstance(opened, PictureField):
                    one = replace(one, view=build_view(opened.pixels_HWC))
                return one
        except ImageError as error:
            return self._reject(name, error)

    def _reject(self, name: str, error: ImageError) -> _Field:
        import numpy as np

        from leukoscope.smear.record import FieldRecord

        record = FieldRecord(name, reason=error.reason, found=error.found)
        return _Field(record, self._stack([]), np.zeros(3))

    def _predict(self, sample: _Images, one: _Field) -> "tuple[_Field, list[Prediction]]":
        """Return what the network says of the whole cells of a field."""
        found: list[Prediction] = []
        if one.crops_NSSC is not None:
            for k in range(0, len(one.crops_NSSC), _BATCH):
                found += self.predictor.predict_pixels(one.crops_NSSC[k : k + _BATCH])
            return one, found
        from leukoscope.smear.fields import open_field

        try:
            with open_field(sample.files[one.record.field]) as opened:
                for k in range(0, len(one.record.counted), _BATCH):
                    part = one.record.counted[k : k + _BATCH]
                    found += self.predictor.predict_pixels(self._cut(opened, one, part))
        except ImageError as error:  # it was readable a moment ago
            return self._reject(one.record.field, error), []
        return one, found

    def _cut(self, opened: "Field", one: _Field, cells: "Sequence[FoundCell]") -> "Pixels":
        """Return crops of cells, as the network takes them."""
        from leukoscope.data.images import prepare_image

        trained = self.predictor.input
        return self._stack(
            [prepare_image(self._cut_one(opened, cell, one.ground_C), trained) for cell in cells]
        )

    def _stack(self, crops: "list[Pixels]") -> "Pixels":
        import numpy as np

        side = self.predictor.input.image_size
        return np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)

    def _cut_one(
        self, field: "Field", cell: "FoundCell", ground_C: "NDArray[np.float64]"
    ) -> "Pixels":
        """The cell as the network was trained to see it: a network of located cells, the very
        square of its training."""
        from leukoscope.smear.crops import CropSettings, cut_from_field
        from leukoscope.smear.locate import place_square

        trained = self.predictor.input
        if trained.cells == "whole":
            settings = CropSettings() if self.crop_um is None else CropSettings(self.crop_um)
            return cut_from_field(field, cell, ground_C, settings)
        side_um = trained.crop_um if self.crop_um is None else self.crop_um
        size_px = field.width, field.height
        return field.read_region(place_square(cell.box, cell.scale_px_per_um, size_px, side_um))


def _join(cell: CountedCell, said: "Prediction") -> CountedCell:
    """A cell with what the network says of it."""
    if said.error:
        return replace(cell, error=said.error)
    return replace(
        cell,
        label=said.label,
        confidence=math.nan if said.confidence is None else said.confidence,
        decision=said.decision,
        reasons=said.reasons,
        labels=said.labels,
    )


def _find_kind(sample: _Images) -> ImagesKind:
    """What the images of a sample are, by their sizes. Raises `DataError` where that is not clear.

    Only headers are read; of a file without one `auto` learns nothing.
    """
    from leukoscope.data.images import IMAGE_SUFFIXES, read_size

    kinds: dict[str, str] = {}
    for name, path in sample.files.items():
        found = read_size(path)
        if found is None:
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                kinds.setdefault("fields", name)  # a slide
            continue  # a broken file: said where it is read
        width, height = found
        size = f"{name}, {width} x {height} pixels"
        if max(width, height) <= CROPS_AT_MOST_PX:
            kinds.setdefault("crops", size)
        elif min(width, height) >= FIELDS_AT_LEAST_PX:
            kinds.setdefault("fields", size)
        else:
            kinds.setdefault("either", size)
    if len(kinds) > 1 or "either" in kinds:
        raise DataError(
            f"what the images of {sample.name} are must be clear: one cell each (at most"
            f" {CROPS_AT_MOST_PX} pixels wide and high), or smear fields (at least"
            f" {FIELDS_AT_LEAST_PX})",
            "; ".join(kinds.values()),
            "say it by --images crops or --images fields",
        )
    return "fields" if "fields" in kinds else "crops"
