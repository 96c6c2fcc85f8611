"""Which files are linked: candidates from an index, matched pairs, and groups that hold.

Every image proposes the images of most similar global vector (faiss); proposed pairs are matched
(`matching`); confirmed copies join groups. A group grows only where the pairs between its parts
support that, so one false link chains nothing: before two groups of several images become one,
some more pairs between them are matched, and copies must outnumber contradictions.

Files are taken in the order of their content hashes, and every choice depends on contents alone:
neither names, nor the order of rows, nor the number of threads matter. Axes: N images, in the
order of hashes; D vector dimension. What this file does not do: it knows nothing of catalogs,
labels or source names (`search`).
"""

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.images import decode_file
from leukoscope.errors import MissingExtraError
from leukoscope.progress import Progress
from leukoscope.sources.evidence import IDENTITY, Link

if TYPE_CHECKING:
    from leukoscope.sources.cache import FingerprintCache
    from leukoscope.sources.fingerprints import Fingerprint
    from leukoscope.sources.matching import Match

Rows = tuple[int, int]

NEIGHBOURS = 32
"""How many most similar images are looked up for each."""

FIRST_CHECKS = 3
"""Pairs that every image proposes: more than one, for groups need support."""

CHECKS = 8
"""Most pairs that an image proposes; pairs inside a group are not looked at again."""

SUPPORT_PAIRS = 6
"""Pairs between two groups that are matched before the groups become one."""

EXACT_LIMIT = 50_000
"""Up to so many images the index is exact; above, it looks into the nearest lists only."""

_BATCH = 64
_PAIR_BATCH = 512


@dataclass(frozen=True)
class FoundLinks:
    """Links between content hashes, sorted; the hashes of images with too few features to be
    compared; the settings that the result depends on."""

    links: tuple[Link, ...]
    featureless: tuple[str, ...]
    settings: Mapping[str, float | int | str]


def find_links(files: Mapping[str, Path], cache: Path | None, on_progress: Progress) -> FoundLinks:
    """Return the links between some image files, given by content hash (SHA-256).

    Raises `ImageError` for a file that cannot be read as an image or has other content than its
    hash says, `StorageError` if the cache cannot be written, `MissingExtraError` without the
    extra `sources`.
    """
    with open_search(cache) as store:
        from threadpoolctl import threadpool_limits

        hashes = sorted(files)
        with threadpool_limits(1):
            prints = describe_all(hashes, files, store, on_progress)
        able = [i for i, one in enumerate(prints) if is_comparable(one)]
        neighbours = find_neighbours(np.array([prints[i].vector_D for i in able]))
        with threadpool_limits(1):
            matcher = Matcher([hashes[i] for i in able], [prints[i] for i in able], store)
            links = _link_all(matcher, neighbours, on_progress)
    bare = [hashes[i] for i in sorted(set(range(len(hashes))) - set(able))]
    links = tuple(
        sorted((*links, *_link_identical(bare, files)), key=lambda link: (link.first, link.second))
    )
    return FoundLinks(links, tuple(bare), list_settings())


@contextmanager
def open_search(cache: Path | None) -> "Iterator[FingerprintCache]":
    """Yield the store of a search; OpenCV uses one thread meanwhile. Raises as `find_links`."""
    missing = [n for n in ("cv2", "faiss", "threadpoolctl") if find_spec(n) is None]
    if missing:
        raise MissingExtraError(
            "finding duplicates in the pixels needs the extra `sources`",
            f"{', '.join(missing)} not installed",
            "pip install 'leukoscope[sources]'",
        )
    import cv2

    from leukoscope.sources.cache import FingerprintCache
    from leukoscope.sources.fingerprints import FORMAT
    from leukoscope.sources.matching import RULES

    threads = cv2.getNumThreads()
    # One image or pair per thread is the parallelism that gains; threads inside it starve it.
    cv2.setNumThreads(1)
    try:
        with FingerprintCache(cache, f"{FORMAT}", f"{FORMAT}.{RULES}") as store:
            yield store
    finally:
        cv2.setNumThreads(threads)


def _link_identical(hashes: Sequence[str], files: Mapping[str, Path]) -> Iterator[Link]:
    """Yield links between pictures without features whose pixels are the same to the last: saved
    in another format, or with other remarks in the file. They are few, so they are read again."""
    seen: dict[tuple[tuple[int, ...], bytes], str] = {}
    for name in hashes:
        pixels_HWC = decode_file(files[name], sha256=name)
        key = (pixels_HWC.shape, hashlib.sha256(pixels_HWC.tobytes()).digest())
        first = seen.setdefault(key, name)
        if first != name:
            yield Link(first, name, "near", 0, 1.0, 1.0, 0.0, IDENTITY)


def is_comparable(one: "Fingerprint") -> bool:
    """Tell whether an image shows enough to be compared by anything but its bytes."""
    from leukoscope.sources.matching import MIN_INLIERS

    return len(one.points_K4) >= MIN_INLIERS


def list_settings() -> dict[str, float | int | str]:
    """Return the thresholds and versions that the result depends on."""
    import cv2
    import faiss

    from leukoscope.sources import fingerprints, matching

    return {
        "fingerprint_format": fingerprints.FORMAT,
        "rules": matching.RULES,
        "neighbours": NEIGHBOURS,
        "checks": CHECKS,
        "support_pairs": SUPPORT_PAIRS,
        "min_inliers": matching.MIN_INLIERS,
        "min_agreement": matching.MIN_AGREEMENT,
        "min_copy_overlap": matching.MIN_COPY_OVERLAP,
        "max_contradiction": matching.MAX_CONTRADICTION,
        "window_overlap": matching.WINDOW_OVERLAP,
        "opencv": cv2.__version__,
        "faiss": faiss.__version__,
    }


# -- describing -----------------------------------------------------------------------------------


def describe_all(
    hashes: Sequence[str], files: Mapping[str, Path], store: "FingerprintCache", report: Progress
) -> "list[Fingerprint]":
    """Fingerprints in the order of `hashes`, from the cache where it has them."""
    from leukoscope.sources.fingerprints import build_fingerprint

    def describe(sha256: str) -> "Fingerprint":
        path = files[sha256]
        return build_fingerprint(decode_file(path, sha256=sha256))

    known = {name: one for name in hashes if (one := store.load_fingerprint(name)) is not None}
    missing = [name for name in hashes if name not in known]
    report("Describing images", len(known), len(hashes))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in _batches(missing, _BATCH):
            new = dict(zip(part, pool.map(describe, part), strict=True))
            store.save_fingerprints(new)
            known |= new
            report("Describing images", len(known), len(hashes))
    return [known[name] for name in hashes]


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


# -- candidates -----------------------------------------------------------------------------------


def find_neighbours(
    vectors_ND: NDArray[np.float32], n_neighbours: int = NEIGHBOURS, *, exact: bool | None = None
) -> list[list[int]]:
    """Return for each image the rows of the most similar others, the nearest first.

    `vectors_ND` are float32 of length 1. `exact=None` decides by `EXACT_LIMIT`; the inexact index
    (inverted lists around k-means of a fixed sample) looks at about a tenth of the images.
    """
    import faiss

    n = len(vectors_ND)
    if n < 2:
        return [[] for _ in range(n)]
    wanted = min(n_neighbours + 1, n)
    dimension = vectors_ND.shape[1]
    if exact if exact is not None else n <= EXACT_LIMIT:
        index: Any = faiss.IndexFlatIP(dimension)
    else:
        lists = max(1, int(2 * np.sqrt(n)))
        coarse = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFFlat(coarse, dimension, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(8, lists // 10)
        index.cp.seed = 1
        # Rows lie in the order of hashes, so every k-th row is a fair sample.
        index.train(np.ascontiguousarray(vectors_ND[:: max(1, n // (64 * lists))]))
    index.add(vectors_ND)
    _, found_NK = index.search(vectors_ND, wanted)
    return [[int(j) for j in row if j >= 0 and j != i] for i, row in enumerate(found_NK)]


# -- matching -------------------------------------------------------------------------------------


class Matcher:
    """Matches pairs of rows once each; remembers, in memory and in the cache."""

    def __init__(
        self, hashes: Sequence[str], prints: "Sequence[Fingerprint]", store: "FingerprintCache"
    ) -> None:
        self.hashes, self.prints, self.store = hashes, prints, store
        self.known: dict[Rows, Match | None] = {}
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def match_all(self, pairs: Sequence[Rows], report: Progress | None = None) -> None:
        """Match what is not known yet. Rows of a pair ascend."""
        from leukoscope.sources.matching import match_pair

        wanted = sorted({pair for pair in pairs if pair not in self.known})
        for start in range(0, len(wanted), _PAIR_BATCH):
            part = wanted[start : start + _PAIR_BATCH]
            names = {(self.hashes[i], self.hashes[j]): (i, j) for i, j in part}
            stored = self.store.load_matches(list(names))
            self.known |= {names[name]: found for name, found in stored.items()}
            rest = [pair for pair in part if pair not in self.known]
            found = self.pool.map(
                lambda pair: match_pair(self.prints[pair[0]], self.prints[pair[1]]),
                rest,
                chunksize=16,
            )
            new = dict(zip(rest, found, strict=True))
            self.known |= new
            self.store.save_matches(
                {(self.hashes[i], self.hashes[j]): one for (i, j), one in new.items()}
            )
            if report is not None:
                report("Comparing pairs", start + len(part), len(wanted))


def _link_all(matcher: Matcher, neighbours: list[list[int]], report: Progress) -> tuple[Link, ...]:
    """Match candidates, group, match the candidates outside each group, group again."""
    first = [_sort(i, j) for i, row in enumerate(neighbours) for j in row[:FIRST_CHECKS]]
    matcher.match_all(first, report)
    group_of = build_groups(matcher)
    more = []
    for i, row in enumerate(neighbours):
        outside = [j for j in row[FIRST_CHECKS:] if group_of[j] != group_of[i]]
        more += [_sort(i, j) for j in outside[: CHECKS - FIRST_CHECKS]]
    matcher.match_all(more, report)
    group_of = build_groups(matcher)
    links = [
        Link(
            first=matcher.hashes[i],
            second=matcher.hashes[j],
            **asdict(found),
            accepted=found.kind == "overlap" or group_of[i] == group_of[j],
        )
        for (i, j), found in matcher.known.items()
        if found is not None
    ]
    return tuple(sorted(links, key=lambda link: (link.first, link.second)))


# -- grouping -------------------------------------------------------------------------------------


def build_groups(matcher: Matcher) -> list[int]:
    """Return a group number per row: single linkage over confirmed copies, strongest first, where
    every merger needs support.

    Two images join by their link. Where a side has several, further pairs between the sides are
    matched until `SUPPORT_PAIRS` say something (half of that where one side is a single image).
    Copies must then outnumber contradictions and involve two images of every side that has
    several: neither a false link nor a single image that was linked falsely chains two groups. At
    the end an image that is still alone joins by a single link that nothing contradicts.
    """
    groups = _Groups(matcher)
    order = sorted(
        (found.kind != "near", -found.inliers, pair)
        for pair, found in matcher.known.items()
        if found is not None and found.kind != "overlap"
    )
    copies = [pair for _, _, pair in order]
    # A rejected merger may find support once its sides have grown.
    while sum([groups.merge(i, j, rows_needed=2) for i, j in copies]):
        pass
    for i, j in copies:
        if groups.is_single(i) or groups.is_single(j):
            groups.merge(i, j, rows_needed=1)
    return groups.group_of


@dataclass
class _Between:
    """What is known of the pairs between two groups."""

    copies: list[Rows] = field(default_factory=list)
    contradictions: int = 0


class _Groups:
    """Groups of rows while they grow."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.group_of = list(range(len(matcher.hashes)))
        self.members = {i: [i] for i in self.group_of}
        # The same object stands in both directions.
        self.between: dict[int, dict[int, _Between]] = defaultdict(dict)
        for pair in list(matcher.known):
            self._note(pair)

    def is_single(self, row: int) -> bool:
        """Tell whether a row is alone in its group."""
        return len(self.members[self.group_of[row]]) == 1

    def merge(self, i: int, j: int, *, rows_needed: int) -> bool:
        """Join the groups of two linked rows if they have support; tell whether that was done."""
        a, b = self.group_of[i], self.group_of[j]
        if a == b or not self._have_support(a, b, rows_needed):
            return False
        if len(self.members[a]) < len(self.members[b]):
            a, b = b, a
        for row in self.members[b]:
            self.group_of[row] = a
        self.members[a] += self.members.pop(b)
        for other, known in self.between.pop(b).items():
            del self.between[other][b]
            if other != a:
                joint = self.between[a].setdefault(other, _Between())
                self.between[other][a] = joint
                joint.copies += known.copies
                joint.contradictions += known.contradictions
        return True

    def _note(self, pair: Rows) -> None:
        from leukoscope.sources.matching import MAX_CONTRADICTION

        found = self.matcher.known[pair]
        a, b = (self.group_of[row] for row in pair)
        if found is None or a == b:
            return
        known = self.between[a].setdefault(b, _Between())
        self.between[b][a] = known
        if found.kind != "overlap":
            known.copies.append(pair)
        elif found.contradiction_frac > MAX_CONTRADICTION:
            known.contradictions += 1

    def _have_support(self, a: int, b: int, rows_needed: int) -> bool:
        sizes = len(self.members[a]), len(self.members[b])
        known = self.between[a][b]
        if max(sizes) > 1:
            wanted = SUPPORT_PAIRS if min(sizes) > 1 else min(max(sizes), SUPPORT_PAIRS // 2)
            if len(known.copies) + known.contradictions < wanted:
                asked = _choose_support(self.members[a], self.members[b], wanted)
                new = [pair for pair in asked if pair not in self.matcher.known]
                self.matcher.match_all(new)
                for pair in new:
                    self._note(pair)
        rows: dict[int, set[int]] = {a: set(), b: set()}
        for row in itertools.chain.from_iterable(known.copies):
            rows[self.group_of[row]].add(row)
        return len(known.copies) > known.contradictions and all(
            len(rows[group]) >= min(rows_needed, size)
            for group, size in zip((a, b), sizes, strict=True)
        )


def _choose_support(a: Sequence[int], b: Sequence[int], wanted: int) -> list[Rows]:
    """So many pairs, or all, between two groups, spread evenly over both (R2 sequence):
    a choice that depends on the groups alone."""
    a, b = sorted(a), sorted(b)
    chosen: dict[Rows, None] = {}
    for k in range(1, 8 * wanted):
        i, j = a[int(k * 0.7548776662 % 1 * len(a))], b[int(k * 0.5698402910 % 1 * len(b))]
        chosen[_sort(i, j)] = None
        if len(chosen) == wanted:
            break
    return list(chosen)


def _sort(i: int, j: int) -> Rows:
    return (i, j) if i < j else (j, i)
