"""The score table, the interface of the science: one row per image, written once by the network.

Metrics, intervals, figures, calibration and reports are functions of this table and never touch
the network. Axes: N images, K classes, D embedding width, Q quality features. This file
knows nothing of metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError, RunError

SCHEMA_VERSION = "1"

LeakageStatus = Literal["disjoint", "images_disjoint", "unproven", "suspect", "leaking"]
"""Can the number be trusted? `disjoint`: no source of the test set was seen in training, and the
data name sources that hold several images. `images_disjoint`: no picture of the test set was, as
far as pixels tell; whose blood it shows nobody knows. `unproven`: nobody knows. `suspect`: there
are signs of copies. `leaking`: test and training share sources or pictures."""


class Outputs(NamedTuple):
    """What a network says of N images: logits `(N, K)`, embeddings `(N, D)` and, of an ensemble,
    the mutual information between its members in nats `(N,)`; None for one network."""

    logits_NK: NDArray[np.float32]
    embeddings_ND: NDArray[np.float32]
    disagreement_N: NDArray[np.float32] | None = None


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several batches as one; empty arrays without batches."""
    if not parts:
        return Outputs(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    disagreement = [part.disagreement_N for part in parts if part.disagreement_N is not None]
    return Outputs(
        np.concatenate([part.logits_NK for part in parts]),
        np.concatenate([part.embeddings_ND for part in parts]),
        np.concatenate(disagreement) if disagreement else None,
    )


@dataclass(frozen=True)
class ScoreTable:
    """Scores of N images.

    `labels_N` indexes `classes`; -1 marks an image whose true class the network does not know.
    `sources` holds one name per image: images that are copies of one source, or cells of one
    field, share it. `source_known` is False for images whose source is only their own bytes.
    `paths` are for the eye only (sample sheets).

    `quality_NQ` holds what `trust.quality` measures of the pixels, one column per name in
    `quality_names`. `disagreement_N` is the mutual information between the members of an ensemble
    in nats; None for one network.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    sources: tuple[str, ...]
    roles: tuple[str, ...]
    labels_N: NDArray[np.int64]
    logits_NK: NDArray[np.float32]
    embeddings_ND: NDArray[np.float32]
    source_known: bool
    quality_names: tuple[str, ...] = ()
    quality_NQ: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    disagreement_N: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if not self.quality_names:
            object.__setattr__(self, "quality_NQ", np.zeros((n, 0), np.float32))
        lengths = {
            len(self.paths),
            len(self.sources),
            len(self.roles),
            len(self.labels_N),
            len(self.logits_NK),
            len(self.embeddings_ND),
            len(self.quality_NQ),
            n if self.disagreement_N is None else len(self.disagreement_N),
        }
        shapes = self.logits_NK.shape[1:], self.quality_NQ.shape[1:]
        if lengths != {n} or shapes != ((len(self.classes),), (len(self.quality_names),)):
            raise DataError(
                "every column of a score table must have one entry per image and class",
                f"{n} ids, columns of {sorted(lengths)}, logits {self.logits_NK.shape},"
                f" {len(self.classes)} classes, quality {self.quality_NQ.shape}",
                "build the table from one scoring pass",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def probabilities_NK(self) -> NDArray[np.float64]:
        """Softmax of the logits: float64 `(N, K)`, rows sum to 1."""
        return compute_probabilities(self.logits_NK)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "ScoreTable":
        """Return the table of some rows, given by index or mask `(N,)`."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            paths=tuple(self.paths[i] for i in index),
            sources=tuple(self.sources[i] for i in index),
            roles=tuple(self.roles[i] for i in index),
            labels_N=self.labels_N[index],
            logits_NK=self.logits_NK[index],
            embeddings_ND=self.embeddings_ND[index],
            quality_NQ=self.quality_NQ[index],
            disagreement_N=None if self.disagreement_N is None else self.disagreement_N[index],
        )

    def of_role(self, role: str) -> "ScoreTable":
        """Return the rows of one role; an empty table where there is none."""
        return self.take(np.array([r == role for r in self.roles], dtype=np.bool_))

    def draw_sources(self, most: int, seed: int) -> NDArray[np.intp]:
        """Return one row, drawn by `seed`, of each of at most `most` sources, in order: what a test
        that takes images for independent may be given."""
        order = np.random.default_rng(seed).permutation(len(self))
        first = {self.sources[i]: i for i in order[::-1].tolist()}
        kept = [i for i in order.tolist() if first[self.sources[i]] == i][:most]
        return np.sort(np.array(kept, dtype=np.intp))


def compute_probabilities(logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax of logits: float64 `(N, K)`, rows sum to 1."""
    z_NK = logits_NK.astype(np.float64)
    z_NK -= z_NK.max(axis=1, keepdims=True)
    e_NK = np.exp(z_NK)
    return np.asarray(e_NK / e_NK.sum(axis=1, keepdims=True))


def save_scores(table: ScoreTable, path: Path) -> None:
    """Write the table as Parquet: `id`, `path`, `source`, `role`, `label`, one `logit:<class>`
    column per class, `embedding` (a list of D float32), and where they were measured one
    `quality:<name>` column per feature and `disagreement`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, object] = {
        "id": pa.array(table.ids, pa.string()),
        "path": pa.array(table.paths, pa.string()),
        "source": pa.array(table.sources, pa.string()),
        "role": pa.array(table.roles, pa.string()),
        "label": pa.array(
            [table.classes[k] if k >= 0 else None for k in table.labels_N], pa.string()
        ),
    }
    for k, name in enumerate(table.classes):
        columns[f"logit:{name}"] = pa.array(table.logits_NK[:, k], pa.float32())
    width = table.embeddings_ND.shape[1]
    flat = pa.array(np.ascontiguousarray(table.embeddings_ND).reshape(-1), pa.float32())
    columns["embedding"] = (
        pa.FixedSizeListArray.from_arrays(flat, max(width, 1))
        if width
        else (pa.array([[] for _ in table.ids], pa.list_(pa.float32())))
    )
    for q, name in enumerate(table.quality_names):
        columns[f"quality:{name}"] = pa.array(table.quality_NQ[:, q], pa.float32())
    if table.disagreement_N is not None:
        columns["disagreement"] = pa.array(table.disagreement_N, pa.float32())
    arrow = pa.table(columns).replace_schema_metadata(
        {"leukoscope_scores": SCHEMA_VERSION, "source_known": str(table.source_known)}
    )
    pq.write_table(arrow, path, compression="zstd")


def load_scores(path: Path) -> ScoreTable:
    """Read a table that `save_scores` wrote. Raises `RunError` for any other file.

    That the table is the one that a run's weights gave is checked by `pipelines.runs`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{path} must be a score table in Parquet",
            str(error).splitlines()[0],
            "run `leukoscope evaluate` again",
        ) from error
    metadata = {k.decode(): v.decode() for k, v in (arrow.schema.metadata or {}).items()}
    if metadata.get("leukoscope_scores") != SCHEMA_VERSION:
        raise RunError(
            f"{path} must be a score table of version {SCHEMA_VERSION}",
            f"version {metadata.get('leukoscope_scores', 'none')}",
            "score the run again with this version of leukoscope",
        )
    try:
        return _read_columns(arrow, metadata["source_known"] == "True")
    except (KeyError, ValueError, TypeError, AttributeError, DataError, pa.ArrowException) as error:
        raise RunError(
            f"{path} must have the columns of a score table, each of its type",
            str(error).splitlines()[0],
            "score the run again",
        ) from error


def _read_columns(arrow: Any, source_known: bool) -> ScoreTable:
    for name in ("id", "path", "source", "role", "label"):
        if str(arrow[name].type) != "string":
            raise ValueError(f"{name} is of type {arrow[name].type}")
    classes = tuple(
        name.removeprefix("logit:") for name in arrow.column_names if name.startswith("logit:")
    )
    index = {name: k for k, name in enumerate(classes)}
    n = arrow.num_rows
    logits = [arrow[f"logit:{name}"].to_numpy() for name in classes]
    quality = [name for name in arrow.column_names if name.startswith("quality:")]
    embeddings = arrow["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return ScoreTable(
        classes=classes,
        ids=tuple(arrow["id"].to_pylist()),
        paths=tuple(arrow["path"].to_pylist()),
        sources=tuple(arrow["source"].to_pylist()),
        roles=tuple(arrow["role"].to_pylist()),
        labels_N=np.array([index.get(x, -1) for x in arrow["label"].to_pylist()], dtype=np.int64),
        logits_NK=np.stack(logits, axis=1).astype(np.float32),
        embeddings_ND=np.asarray(embeddings, dtype=np.float32).reshape(n, -1)
        if n
        else np.zeros((0, 0), dtype=np.float32),
        source_known=source_known,
        quality_names=tuple(name.removeprefix("quality:") for name in quality),
        quality_NQ=np.stack([arrow[name].to_numpy() for name in quality], axis=1)
        if quality
        else np.zeros((n, 0), np.float32),
        disagreement_N=arrow["disagreement"].to_numpy()
        if "disagreement" in arrow.column_names
        else None,
    )
