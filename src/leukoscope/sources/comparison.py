"""Do test images show pictures of training? A sample of them, compared by pixels.

Names of sources are what somebody typed; this looks at the pixels, in bounded time. What this file
does not do: it makes no groups (`grouping`, `search`) and draws no conclusion (`data.splits`).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leukoscope.data.catalog import ImageRecord
from leukoscope.data.splits import PixelCheck, Split, hash_split
from leukoscope.progress import Progress, silent
from leukoscope.sources.grouping import (
    CHECKS,
    Matcher,
    Rows,
    describe_all,
    is_comparable,
    open_search,
)

if TYPE_CHECKING:
    from leukoscope.sources.matching import Match

MAX_TEST = 500
MAX_TRAINING = 5_000
"""Images that are compared at most. To describe one of 360 x 363 pixels takes 22 ms of a core, to
match a pair 0.8 ms (experiment 035): two minutes of one core, and next to nothing again."""

MIN_COPY_INLIERS = 12
"""Fewer matched features are no proof: `data sources` has a person look at such pairs, while one of
them here would call a whole split leaking. Discs of 32 pixels reach 10 by chance; copies of real
cells had 35 or more (experiment 035)."""


@dataclass(frozen=True, slots=True)
class FoundCopies:
    """Ids of images, each with the id of another one that shows the same picture; and of how many
    images nothing can be said: they show too little, or match too weakly."""

    pairs: tuple[tuple[str, str], ...]
    n_smooth: int


def compare_roles(
    split: Split, *, cache: Path | None = None, on_progress: Progress = silent
) -> PixelCheck:
    """Compare test images with those of `train` and `val`: at most `MAX_TEST` with at most
    `MAX_TRAINING`, drawn by the split's seed.

    Files that lie on both sides byte by byte are no matter of pixels and left to the audit. Raises
    as `find_copies`.
    """
    rows = sorted(zip(split.catalog.records, split.roles, strict=True), key=lambda row: row[0].id)
    test = [record for record, role in rows if role == "test"]
    training = [record for record, role in rows if role in ("train", "val")]
    chosen = _draw(test, MAX_TEST, split.seed), _draw(training, MAX_TRAINING, split.seed)
    found = find_copies(*chosen, cache=cache, on_progress=on_progress)
    return PixelCheck(
        digest=hash_split(split),
        n_test=len(chosen[0]),
        n_all_test=len(test),
        n_training=len(chosen[1]),
        n_all_training=len(training),
        n_smooth=found.n_smooth,
        copies=found.pairs,
    )


def _draw(records: Sequence[ImageRecord], most: int, seed: int) -> list[ImageRecord]:
    if len(records) <= most:
        return list(records)
    order = np.random.default_rng(seed).permutation(len(records))[:most]
    return [records[i] for i in np.sort(order).tolist()]


def find_copies(
    images: Sequence[ImageRecord],
    others: Sequence[ImageRecord],
    *,
    cache: Path | None = None,
    on_progress: Progress = silent,
) -> FoundCopies:
    """Find which images show the same picture as any of the others, re-encoded, turned, flipped or
    cropped: each is matched with its `CHECKS` most similar ones. Whole pictures are compared, boxes
    or not; pictures that only overlap do not count.

    Raises `ImageError` for a file that cannot be read or has changed, `StorageError`,
    `MissingExtraError` without the extra `sources`.
    """
    ids_of: dict[str, str] = {}
    for record in others:
        ids_of.setdefault(record.sha256, record.id)
    asked = {r.sha256: r.path for r in images if r.sha256 not in ids_of}
    files = {r.sha256: r.path for r in others} | asked
    if not asked or not ids_of:
        return FoundCopies((), 0)
    hashes = sorted(files)
    with open_search(cache) as store:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            prints = describe_all(hashes, files, store, on_progress)
        # Identical files would be named as neighbours of themselves: they are on one side only.
        queries = [i for i, name in enumerate(hashes) if name in asked and is_comparable(prints[i])]
        able = [i for i, name in enumerate(hashes) if name in ids_of and is_comparable(prints[i])]
        vectors = [np.array([prints[i].vector_D for i in rows]) for rows in (queries, able)]
        pairs = [
            (min(i, able[j]), max(i, able[j]))
            for i, near in zip(queries, _find_nearest(*vectors), strict=True)
            for j in near
        ]
        with threadpool_limits(1):
            matcher = Matcher(hashes, prints, store)
            matcher.match_all(pairs, on_progress)
    strongest = _find_strongest(matcher.known, {hashes[i] for i in queries}, hashes)
    copy_of = {name: other for name, (n, other) in strongest.items() if n >= MIN_COPY_INLIERS}
    smooth = set(asked) - {hashes[i] for i in queries} | (strongest.keys() - copy_of.keys())
    return FoundCopies(
        tuple(sorted((r.id, ids_of[copy_of[r.sha256]]) for r in images if r.sha256 in copy_of)),
        sum(record.sha256 in smooth for record in images),
    )


def _find_nearest(queries_ND: Any, others_MD: Any) -> list[list[int]]:
    """The rows of the most similar others, the nearest first, for each query."""
    import faiss

    if not len(queries_ND) or not len(others_MD):
        return [[] for _ in range(len(queries_ND))]
    index: Any = faiss.IndexFlatIP(others_MD.shape[1])
    index.add(others_MD)
    _, found_NK = index.search(queries_ND, min(CHECKS, len(others_MD)))
    return [[int(j) for j in row if j >= 0] for row in found_NK]


def _find_strongest(
    known: "Mapping[Rows, Match | None]", asked: Set[str], hashes: Sequence[str]
) -> dict[str, tuple[int, str]]:
    """The inliers of the best match of each image that has any, and with which other one."""
    best: dict[str, tuple[int, str]] = {}
    for (i, j), found in sorted(known.items()):
        if found is None or found.kind == "overlap":
            continue
        query, other = (hashes[i], hashes[j]) if hashes[i] in asked else (hashes[j], hashes[i])
        if found.inliers > best.get(query, (0, ""))[0]:
            best[query] = found.inliers, other
    return best
