"""How a run or a bundle holds up under controlled faults of its images.

What this file does not do: it makes no fault (`data.corrupt`) and computes no figure
(`evaluation.robustness`).
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import InputConfig
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.sources import group_sources, sources_known
from leukoscope.data.splits import load_split
from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.data import name_data
from leukoscope.pipelines.evaluation import select_other
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.progress import Progress, silent
from leukoscope.runfolder import RunFolder, create_folder, write_json, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.deploy.predictor import Outputs
    from leukoscope.evaluation.robustness import Robustness
    from leukoscope.trust.record import Trust

Score = Callable[["NDArray[np.uint8]"], "Outputs"]
"""Images as the network is given them, uint8 `(N, S, S, 3)` -> what it says of them."""


@dataclass(frozen=True)
class RobustnessRun:
    """What was found, and where page, figures and tables lie."""

    found: "Robustness"
    out: Path

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.out / "robustness.html"


@dataclass(frozen=True)
class _Subject:
    name: str
    classes: tuple[str, ...]
    input: InputConfig
    score: Score
    trust: "Trust | None"


def measure_robustness(
    model: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    images: int = 500,
    seed: int = 0,
    progress: Progress = silent,
) -> RobustnessRun:
    """Measure a run or a bundle on images with controlled faults, and write a page about it.

    A run is judged on the test images of its own split, or on `data`; a bundle, which carries no
    images, on `data`. At most `images` of them count, drawn by `seed` with all classes alike in
    share (0: all). Writes `robustness.html`, `robustness.json`, `robustness.csv` and `figures/`.

    Raises `ConfigError` for a bundle without `data`, `DataError` where no image is of a class that
    the network knows, `MissingExtraError` without the extra `train` (a run) or `sources`.
    """
    import numpy as np

    require_extra("report")
    require_extra("sources")
    from leukoscope.data.corrupt import AMOUNTS, SEVERITIES, corrupt_image
    from leukoscope.data.images import load_input
    from leukoscope.evaluation.figures import save_figure
    from leukoscope.evaluation.robustness import (
        Robustness,
        list_figures,
        measure_level,
        render_robustness,
    )
    from leukoscope.scores import ScoreTable
    from leukoscope.trust.quality import QUALITY_NAMES, measure_quality

    path, folder = Path(model), Path(out)
    subject = _open_run(path) if (path / "model.json").is_file() else _open_bundle(path, data)
    records, data_name = _select_records(path, data, progress)
    records = [record for record in records if record.label in subject.classes]
    if not records:
        raise DataError(
            f"robustness is measured on images of {', '.join(subject.classes)}",
            "none of these",
            "check the labels of the data",
        )
    records = _draw_sample(records, images, seed)
    pixels = []
    for done, record in enumerate(records, start=1):
        pixels.append(load_input(record.path, subject.input, record.box))
        progress("Decoding images", done, len(records))
    catalog = Catalog(tuple(records))
    index = {name: k for k, name in enumerate(subject.classes)}
    levels = []
    total = 1 + len(AMOUNTS) * len(SEVERITIES)

    def measure(images_NSSC: "NDArray[np.uint8]") -> ScoreTable:
        logits_NK, embeddings_ND, disagreement_N = subject.score(images_NSSC)
        return ScoreTable(
            classes=subject.classes,
            ids=tuple(record.id for record in records),
            paths=tuple(str(record.path) for record in records),
            sources=group_sources(catalog),
            roles=("test",) * len(records),
            labels_N=np.array([index[record.label] for record in records], dtype=np.int64),
            logits_NK=logits_NK,
            embeddings_ND=embeddings_ND,
            source_known=sources_known(catalog),
            quality_names=QUALITY_NAMES,
            quality_NQ=measure_quality(images_NSSC),
            disagreement_N=np.zeros(0, np.float32) if disagreement_N is None else disagreement_N,
        )

    clean = measure(np.stack(pixels))
    progress("Measuring under faults", 1, total)
    for fault in AMOUNTS:
        levels.append(measure_level(clean, fault, 0, subject.trust))
        for severity in SEVERITIES:
            spoilt = [corrupt_image(p, fault, severity, seed + i) for i, p in enumerate(pixels)]
            table = measure(np.stack(spoilt))
            levels.append(measure_level(table, fault, severity, subject.trust))
            progress("Measuring under faults", 1 + len(levels) - len(levels) // 6, total)
    progress("Measuring under faults", total, total)
    found = Robustness(
        subject.name, data_name, len(records), tuple(levels), decides=subject.trust is not None
    )
    create_folder(folder / "figures")
    drawn = {}
    for name, (figure, alt) in list_figures(found, pixels[0]).items():
        png, svg = save_figure(figure, folder / "figures", name)
        drawn[name] = (png.read_bytes() if name == "faults" else svg.read_text("utf-8"), alt)
    write_text(folder / "robustness.html", render_robustness(found, drawn))
    write_json(
        folder / "robustness.json",
        {
            "model": found.name,
            "data": found.data_name,
            "n_images": found.n_images,
            "levels": [level.to_dict() for level in found.levels],
            "mean_loss": {fault: found.compute_loss(fault) for fault in found.faults},
        },
    )
    write_text(folder / "robustness.csv", _write_table(found))
    return RobustnessRun(found, folder)


def _open_run(path: Path) -> _Subject:
    require_extra("train")
    import numpy as np

    from leukoscope.deploy.predictor import Outputs
    from leukoscope.training.scoring import score_rows
    from leukoscope.training.trained import load_trained
    from leukoscope.trust.record import load_trust

    folder = RunFolder(path)
    trained = load_trained(folder)

    def score(images_NSSC: "NDArray[np.uint8]") -> Outputs:
        found = score_rows(trained.network, images_NSSC, np.arange(len(images_NSSC)))
        apart = found.disagreement_N if len(found.disagreement_N) else None
        return Outputs(found.logits_NK, found.embeddings_ND, apart)

    return _Subject(path.resolve().name, trained.classes, trained.input, score, load_trust(folder))


def _open_bundle(path: Path, data: str | Path | None) -> _Subject:
    import numpy as np

    from leukoscope.deploy.predictor import Outputs, Predictor

    predictor = Predictor(path)
    if data is None:
        raise ConfigError(
            "a bundle carries no images to be judged on",
            "no --data",
            "give labelled images by --data, or the run folder instead of the bundle",
        )

    def score(images_NSSC: "NDArray[np.uint8]") -> Outputs:
        parts = [
            predictor.predict_outputs(images_NSSC[start : start + 16])
            for start in range(0, len(images_NSSC), 16)
        ]
        apart = [part.disagreement_B for part in parts if part.disagreement_B is not None]
        return Outputs(
            np.concatenate([part.logits_BK for part in parts]),
            np.concatenate([part.embedding_BD for part in parts]),
            np.concatenate(apart) if apart else None,
        )

    info = predictor.bundle.info
    name = path.resolve().name
    return _Subject(name, predictor.classes, info.preprocessing, score, predictor.trust)


def _select_records(
    path: Path, data: str | Path | None, progress: Progress
) -> tuple[list[ImageRecord], str]:
    if data is not None:
        return list(select_other(Path(data), "test", progress)[0]), Path(data).resolve().name
    folder = RunFolder(path)
    home = load_split(folder.require(folder.split, "leukoscope train"))
    pairs = zip(home.catalog.records, home.roles, strict=True)
    return [record for record, role in pairs if role == "test"], name_data(home)


def _draw_sample(records: list[ImageRecord], images: int, seed: int) -> list[ImageRecord]:
    """Some records, each class in its share, one at least; in their order."""
    import numpy as np

    if not images or len(records) <= images:
        return records
    rng = np.random.default_rng(seed)
    labels = np.array([record.label for record in records])
    kept: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        share = max(1, round(images * len(own) / len(records)))
        kept += rng.permutation(own)[:share].tolist()
    return [records[i] for i in sorted(kept)]


def _write_table(found: "Robustness") -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "confidence")
    writer.writerow(
        ["fault", "severity", *columns, "ece", "accepted", "accepted_accuracy", "noticed"]
    )
    for level in found.levels:
        figures = (
            *(level.accuracy.value, level.accuracy.low, level.accuracy.high),
            *(level.balanced_accuracy, level.confidence, level.ece),
            *(level.accepted.value, level.accepted_accuracy.value),
        )
        cells = ["" if x != x else f"{x:.6f}" for x in figures]
        writer.writerow([level.fault, level.severity, *cells, int(level.noticed)])
    return out.getvalue()
