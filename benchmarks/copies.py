"""How well copies are found in the pixels, against perceptual hashes (docs/experiments/010).

Run `python benchmarks/copies.py [made train pbc] --work FOLDER`; needs the extra `bench` and the
images of `../shared/data`. One table per truth:

made   copies that we make ourselves (`copy_making`): of N PBC images, of as many TEST_SIMPLE
       images and of 3/8 as many BCCD fields, one copy of each kind; 5 N PBC images without a copy.
       The finder starts without a cache.
train  dataset2-master's TRAIN against the BCCD fields it was made from, matched by ORB features
       and RANSAC (OpenCV), which the finder does not use; images that this witness cannot place
       are left out of the scores and counted.
pbc    PBC as it is. There is no outside truth but byte identity: groups are counted and listed.

`false %`: images in a group with an image of another source; `unrelated %`: the same, where
pictures of one field of BCCD or TEST_SIMPLE, taken twice, count as one source: which these are says
the same witness. `missed %`: images separated from a copy. `alone %`: images in no group.

FOLDER keeps made images, the truth of `train` and the finder's cache. `seconds` are wall time from
files to groups. Hashes are ImageHash's, 64 bits; pairs within the Hamming threshold are joined.
`usual` marks the threshold 10 (the default of imagededup), `best` the highest adjusted Rand index
of each family: chosen by the truth, so more than a user could have.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import faiss
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score

from copy_making import KINDS, make_copy, read_pixels
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.images import probe_image
from leukoscope.sources.search import SourceFindings, find_sources

THRESHOLDS = (0, 4, 8, 10, 12)
USUAL = 10
TRANSPOSES = (None, *Image.Transpose)
HASHES = {"dHash": imagehash.dhash, "pHash": imagehash.phash}

Groups = NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Files, and for each what the truth says: its source (None: unknown), how it was made and
    of what ("" for an image that was not made). `views` names sources that are known to show
    parts of one field."""

    paths: list[Path]
    sources: list[str | None]
    kinds: list[str]
    origins: list[str]
    views: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One method's answer: a group number per image."""

    family: str
    setting: str
    groups: Groups
    seconds: float


# -- methods --------------------------------------------------------------------------------------


def number(names: Sequence[str]) -> Groups:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def hash_bytes(paths: Sequence[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def group_by_names(paths: Sequence[Path], folder: bool) -> Groups:
    """By what precedes the last number: `_12` of `_12_3456.jpeg`."""
    stems = [re.sub(r"[_-]?\d+$", "", path.stem) for path in paths]
    return number(
        [f"{path.parent.name if folder else ''}/{s}" for path, s in zip(paths, stems, strict=True)]
    )


def run_finder(paths: Sequence[Path], cache: Path) -> tuple[SourceFindings, float]:
    """Sources are blank and labels all alike: the finder has nothing but pixels. The records are
    made before the clock starts, as the other methods need none."""
    records = []
    for path in paths:
        facts = probe_image(path.read_bytes(), path.name)
        size = (facts.width, facts.height, facts.bytes)
        records.append(ImageRecord(str(path), path, "cell", *size, facts.sha256))
    start = time.perf_counter()
    findings = find_sources(
        Catalog(tuple(sorted(records, key=lambda r: r.id))), cache=cache, on_progress=show
    )
    return findings, time.perf_counter() - start


def show(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} {done:,} of {total:,}   ", end="", file=sys.stderr, flush=True)


def group_by_finder(paths: Sequence[Path], cache: Path, cold: bool) -> tuple[Row, SourceFindings]:
    if cold:
        for file in cache.parent.glob(f"{cache.name}*"):
            file.unlink()
    setting = "cached" if cache.exists() else ""
    findings, seconds = run_finder(paths, cache)
    source_of = {record.path: record.source for record in findings.catalog.records}
    return Row("ours", setting, number([source_of[path] for path in paths]), seconds), findings


def compute_hashes(path: Path, compute: Callable[..., imagehash.ImageHash], n: int) -> Groups:
    """uint8 `(n, 8)`: the hash of the image in the first n of its 8 flips and quarter turns."""
    with Image.open(path) as image:
        grey = image.convert("L")
    turned = [grey if how is None else grey.transpose(how) for how in TRANSPOSES[:n]]
    return np.packbits([compute(one).hash.reshape(-1) for one in turned], axis=1)


def join_near(hashes_NK8: NDArray[np.uint8], threshold: int) -> Groups:
    """Connected components of pairs within the threshold; of K orientations, each against the
    first. Batches keep the memory down: each leaves a forest of at most N edges."""
    n, k, size = hashes_NK8.shape
    index = faiss.IndexBinaryFlat(8 * size)
    index.add(np.ascontiguousarray(hashes_NK8[:, 0]))
    groups = np.arange(n)
    for start in range(0, n, 512):
        part = np.ascontiguousarray(hashes_NK8[start : start + 512]).reshape(-1, size)
        # faiss takes what is strictly below the radius.
        limits, _, found = index.range_search(part, threshold + 1)
        rows = start + np.repeat(np.arange(len(part)) // k, np.diff(limits.astype(np.int64)))
        a, b = np.concatenate([rows, np.arange(n)]), np.concatenate([found, groups])
        graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(n, n))
        parts = connected_components(graph, directed=False)[1]
        groups = np.unique(parts, return_index=True)[1][parts]
    return groups


def group_by_hashes(paths: Sequence[Path]) -> Iterator[Row]:
    for name, compute in HASHES.items():
        for n, note in ((1, ""), (8, ", 8 turns")):
            start = time.perf_counter()
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = pool.map(lambda p: compute_hashes(p, compute, n), paths)  # noqa: B023
                hashes_NK8 = np.stack(list(found))
            hashing = time.perf_counter() - start
            for threshold in THRESHOLDS:
                start = time.perf_counter()
                groups = join_near(hashes_NK8, threshold)
                seconds = hashing + time.perf_counter() - start
                yield Row(f"{name}{note}", f"<= {threshold}", groups, seconds)


# -- scores ---------------------------------------------------------------------------------------


def find_mixed(inner: Sequence[object], outer: Sequence[object]) -> NDArray[np.bool_]:
    """For each image whether its group of `outer` holds more than one group of `inner`."""
    held = defaultdict(set)
    for a, b in zip(inner, outer, strict=True):
        held[b].add(a)
    return np.array([len(held[b]) > 1 for b in outer])


def name_rows(rows: Sequence[Row], rand: Sequence[float]) -> list[str]:
    names = []
    for row, index in zip(rows, rand, strict=True):
        family = [r for one, r in zip(rows, rand, strict=True) if one.family == row.family]
        notes = ["usual"] if row.setting == f"<= {USUAL}" else []
        if len(family) > 1 and index == max(family):
            notes.append("best")
        name = f"{row.family} {row.setting}".strip()
        names.append(f"{name} ({', '.join(notes)})" if notes else name)
    return names


def print_scores(images: ImageSet, rows: Sequence[Row]) -> None:
    known = np.array([source is not None for source in images.sources])
    truth = [source for source in images.sources if source is not None]
    rand = [adjusted_rand_score(truth, row.groups[known]) for row in rows]
    names = name_rows(rows, rand)
    fields = [images.views.get(source, source) for source in truth]
    titles = ("adj. Rand", "groups", "alone %", "false %", "unrelated %", "missed %", "seconds")
    print(f"\n{'method':34}" + "".join(f"{title:>12}" for title in titles))
    for name, row, index in zip(names, rows, rand, strict=True):
        sizes = Counter(row.groups.tolist())
        groups = row.groups[known].tolist()
        values = (
            f"{index:.4f}",
            f"{sum(size > 1 for size in sizes.values()):,}",
            f"{100 * sum(size == 1 for size in sizes.values()) / len(row.groups):.2f}",
            f"{100 * find_mixed(truth, groups).mean():.2f}",
            f"{100 * find_mixed(fields, groups).mean():.2f}",
            f"{100 * find_mixed(groups, truth).mean():.2f}",
            f"{row.seconds:.1f}",
        )
        print(f"{name:34}" + "".join(f"{value:>12}" for value in values))
    if any(images.kinds):
        print_recall(images, rows, names)


def print_recall(images: ImageSet, rows: Sequence[Row], names: Sequence[str]) -> None:
    """The share of copies that are in their original's group, by kind; ours also by origin."""
    kinds, origins = np.array(images.kinds), np.array(images.origins)
    original = {s: i for i, (s, k) in enumerate(zip(images.sources, kinds, strict=True)) if not k}
    of_which = np.array([original[source] for source in images.sources])
    print("\ncopies in their original's group, %")
    print(f"{'method':34}" + "".join(f"{kind:>11}" for kind in KINDS))
    for name, row in zip(names, rows, strict=True):
        together = row.groups == row.groups[of_which]
        shares = [100 * together[kinds == kind].mean() for kind in KINDS]
        print(f"{name:34}" + "".join(f"{share:11.2f}" for share in shares))
        for origin in sorted(set(images.origins) - {""}) if row.family == "ours" else ():
            shares = [100 * together[(kinds == k) & (origins == origin)].mean() for k in KINDS]
            print(f"{'  of ' + origin:34}" + "".join(f"{share:11.2f}" for share in shares))


# -- truths ---------------------------------------------------------------------------------------


def make_images(data: Path, n: int, seed: int, folder: Path) -> ImageSet:
    """Originals and distractors are drawn among files of different bytes, by chance alone: the
    finder's own findings would flatter it. A BCCD field of which TEST_SIMPLE holds the reduced
    picture is no original. What the sets hold of cells and fields photographed twice stays, and
    counts as a false merge where a method joins it; `views` tells those of BCCD and TEST_SIMPLE."""
    generator = np.random.default_rng(seed)
    pbc = draw(list_images(data / "pbc"), generator)
    test = draw(list_images(data / "dataset2-master/images/TEST_SIMPLE"), generator)
    bccd = draw(list_images(data / "bccd/JPEGImages"), generator)
    reduced = np.array([shrink(path) for path in test])
    bccd = [path for path in bccd if (reduced @ shrink(path)).max() < 0.9]
    origin_of = dict.fromkeys(pbc[:n], "PBC") | dict.fromkeys(test[:n], "TEST_SIMPLE")
    origin_of |= dict.fromkeys(bccd[: 3 * n // 8], "BCCD")
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(path, kind) for path in origin_of for kind in KINDS]
    # Names in an order drawn by lot say nothing.
    names = [folder / f"{k:06}.jpg" for k in generator.permutation(len(jobs))]

    def make(job: tuple[Path, str], name: Path, own: np.random.Generator) -> None:
        name.write_bytes(make_copy(read_pixels(job[0]), job[1], own))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, jobs, names, generator.spawn(len(jobs))))
    bare = [*origin_of, *pbc[n : 6 * n]]
    print(
        f"{len(jobs):,} copies of {len(origin_of):,} originals "
        f"({', '.join(f'{c} {o}' for o, c in Counter(origin_of.values()).items())}), "
        f"{len(bare) - len(origin_of):,} PBC images without a copy, seed {seed}"
    )
    return ImageSet(
        paths=[*bare, *names],
        sources=[*map(str, bare), *(str(path) for path, _ in jobs)],
        kinds=[*([""] * len(bare)), *(kind for _, kind in jobs)],
        origins=[*([""] * len(bare)), *(origin_of[path] for path, _ in jobs)],
        views=relate([path for path, origin in origin_of.items() if origin != "PBC"]),
    )


def list_images(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".jpeg"))
    if not found:
        sys.exit(f"{folder} holds no images; name the folder of the data by --data")
    return found


def draw(paths: Sequence[Path], generator: np.random.Generator) -> list[Path]:
    """In an order drawn by lot, of identical files one."""
    distinct = list(dict(zip(hash_bytes(paths), paths, strict=True)).values())
    return [distinct[i] for i in generator.permutation(len(distinct))]


def shrink(path: Path) -> NDArray[np.float32]:
    """32 x 24 greys, mean 0 and length 1. TEST_SIMPLE images correlate with their own field by
    more than 0.999, with the next by less than 0.67."""
    grey_HW = cv2.cvtColor(read_pixels(path), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey_HW, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    values = small.reshape(-1) - small.mean()
    return values / np.linalg.norm(values)


# -- the witness for `train` ----------------------------------------------------------------------

WITNESS_SIZE = (320, 240)
MIN_INLIERS = 15
MIN_RATIO = 1.5
MAX_DISTANCE = 64
MAX_STRETCH = 1.6
MAX_CHANGE = 1.1
ROUNDS = ((120, 250, 4), (500, 500, 12))
"""How many features of the image and of its mirror image, the strongest first, vote for how many
features of each field, and how many fields are then compared. The second round is for what the
first leaves unplaced: the strongest features may lie along the edge of the fill."""


class Witness:
    """Places an image on one of the original fields by ORB features."""

    def __init__(self, fields: Sequence[Path]) -> None:
        cv2.setNumThreads(1)
        faiss.omp_set_num_threads(1)
        self.orb = cv2.ORB_create(nfeatures=500, fastThreshold=8, edgeThreshold=16)
        self.fields = [self.describe(self.read(path)) for path in fields]
        self.rounds = [(voters, *self.index(n), compared) for voters, n, compared in ROUNDS]

    def index(self, n: int) -> tuple[Any, Groups]:
        strongest = [descriptors[:n] for _, descriptors in self.fields]
        index = faiss.IndexBinaryFlat(256)
        index.add(np.concatenate(strongest))
        return index, np.repeat(np.arange(len(strongest)), [len(some) for some in strongest])

    def read(self, path: Path) -> NDArray[np.uint8]:
        grey_HW = cv2.cvtColor(read_pixels(path), cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey_HW, WITNESS_SIZE, interpolation=cv2.INTER_AREA))

    def describe(self, grey_HW: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Groups]:
        points, descriptors = self.orb.detectAndCompute(grey_HW, None)
        order = np.argsort([-p.response for p in points], kind="stable")
        return np.array([p.pt for p in points], np.float32)[order], descriptors[order]

    def place(self, path: Path) -> list[tuple[int, int]]:
        """The fields with most inliers and their numbers, the best first."""
        grey_HW = self.read(path)
        states = [self.describe(np.ascontiguousarray(g)) for g in (grey_HW, grey_HW[:, ::-1])]
        inliers: dict[int, int] = {}
        for voters, index, field_of, compared in self.rounds:
            votes: Counter[int] = Counter()
            for _, descriptors in states:
                distance, found = index.search(descriptors[:voters], 1)
                votes.update(field_of[found[distance < MAX_DISTANCE]].tolist())
            for field, _ in votes.most_common(compared):
                counts = [self.count(state, self.fields[field], MAX_STRETCH) for state in states]
                inliers[field] = max(counts)
            if max(inliers.values(), default=0) >= MIN_INLIERS:
                break
        return sorted(inliers.items(), key=lambda item: -item[1])

    def find_views(self, field: int) -> list[int]:
        """Other pictures of a field: moved, but by the same microscope and camera."""
        _, index, field_of, _ = self.rounds[0]
        # A feature's own picture is nearest; those of other pictures come next.
        distance, found = index.search(self.fields[field][1][:250], 6)
        votes = Counter(field_of[found[distance < MAX_DISTANCE]].tolist())
        return [
            other
            for other, _ in votes.most_common(12)
            if self.count(self.fields[field], self.fields[other], MAX_CHANGE) >= MIN_INLIERS
        ]

    def count(self, first: tuple, second: tuple, stretch: float) -> int:
        """Matches (each other's nearest) that obey one affine map, if it stretches no more."""
        bits_a, bits_b = (np.unpackbits(d, axis=1).astype(np.float32) for _, d in (first, second))
        distance = bits_a.sum(axis=1)[:, None] + bits_b.sum(axis=1) - 2 * bits_a @ bits_b.T
        to_b, to_a = distance.argmin(axis=1), distance.argmin(axis=0)
        good = (to_a[to_b] == np.arange(len(to_b))) & (distance.min(axis=1) < MAX_DISTANCE)
        if good.sum() < MIN_INLIERS:
            return 0
        cv2.setRNGSeed(0)
        found, inside = cv2.estimateAffine2D(
            first[0][good], second[0][to_b[good]], ransacReprojThreshold=3
        )
        if found is None:
            return 0
        large, small = np.linalg.svd(found[:, :2], compute_uv=False)
        # Few points of repeated structure can always be thrown onto each other.
        return int(inside.sum()) if large < stretch and small > 1 / stretch else 0


_witness: Witness


def _start(fields: Sequence[Path]) -> None:
    global _witness
    _witness = Witness(fields)


def _place(path: Path) -> list[tuple[int, int]]:
    return _witness.place(path)


def _find_views(field: int) -> list[int]:
    return _witness.find_views(field)


def ask_witness(fields: Sequence[Path], ask: Callable, items: Iterable[object]) -> Iterator[Any]:
    with ProcessPoolExecutor(2, get_context("spawn"), _start, (fields,)) as pool:
        yield from pool.map(ask, items, chunksize=16)


def relate(fields: Sequence[Path]) -> dict[str, str]:
    """One name, the smallest, for all fields that the witness sees parts of each other in."""
    names = [str(path) for path in fields]
    n = len(names)
    linked = np.zeros((n, n), bool)
    for i, others in enumerate(ask_witness(fields, _find_views, range(n))):
        linked[i, others] = True
    parts = connected_components(linked, directed=False)[1]
    views = {names[i]: min(np.array(names)[parts == parts[i]].tolist()) for i in range(n)}
    several = Counter(views.values())
    print(
        f"{n} fields: the witness sees {sum(m for m in several.values() if m > 1)} in "
        f"{sum(m > 1 for m in several.values())} fields photographed more than once"
    )
    return views


def place_images(paths: Sequence[Path], data: Path, place: Path) -> ImageSet:
    """The BCCD field of each image where one wins clearly; kept in a file by content hash."""
    fields = list_images(data / "bccd/JPEGImages")
    fields = list(dict(zip(hash_bytes(fields), fields, strict=True)).values())
    hashes = hash_bytes(paths)
    known = json.loads(place.read_text()) if place.exists() else {}
    missing = [(h, p) for h, p in zip(hashes, paths, strict=True) if h not in known]
    start = time.perf_counter()
    found = ask_witness(fields, _place, [path for _, path in missing])
    for done, ((name, _), ranked) in enumerate(zip(missing, found, strict=True), start=1):
        known[name] = [[fields[field].name, n] for field, n in ranked[:2]]
        if done % 512 == 0 or done == len(missing):
            show("Placing images", done, len(missing))
            place.write_text(json.dumps(known))
    if missing:
        print(f"{len(missing):,} images placed in {time.perf_counter() - start:.0f} s")
    path_of = {field.name: str(field) for field in fields}
    sources: list[str | None] = []
    reasons: Counter[str] = Counter()
    for name in hashes:
        (field, n), (_, second) = (*known[name], ["", 0], ["", 0])[:2]
        weak, torn = n < MIN_INLIERS, n < MIN_RATIO * second
        reasons["on none" if weak else "on two alike" if torn else "placed"] += 1
        sources.append(None if weak or torn else path_of[field])
    print(
        f"{len(paths):,} images: {reasons['placed']:,} placed on "
        f"{len(set(sources) - {None})} fields; left out: {reasons['on none']:,} on none, "
        f"{reasons['on two alike']:,} on two alike"
    )
    blank = [""] * len(paths)
    return ImageSet(list(paths), sources, blank, blank, views=relate(fields))


# -- tables ---------------------------------------------------------------------------------------


def take_time(family: str, group: Callable[[], Groups]) -> Row:
    start = time.perf_counter()
    groups = group()
    return Row(family, "", groups, time.perf_counter() - start)


def group_by_bytes(paths: Sequence[Path]) -> Groups:
    return number(hash_bytes(paths))


def show_made(data: Path, work: Path, n: int, seed: int) -> None:
    images = make_images(data, n, seed, work / f"made-{seed}-{n}")
    ours, _ = group_by_finder(images.paths, work / "made.sqlite", cold=True)
    same = take_time("byte identity", lambda: group_by_bytes(images.paths))
    print_scores(images, [ours, same, *group_by_hashes(images.paths)])
    list_differences(images, ours)


def show_train(data: Path, work: Path, limit: int | None, seed: int) -> None:
    paths = choose(list_images(data / "dataset2-master/images/TRAIN"), limit, seed)
    images = place_images(paths, data, work / "placed.json")
    ours, _ = group_by_finder(paths, work / "train.sqlite", cold=False)
    rows = [
        ours,
        take_time("byte identity", lambda: group_by_bytes(paths)),
        take_time("file-name prefix", lambda: group_by_names(paths, folder=False)),
        take_time("folder and file-name prefix", lambda: group_by_names(paths, folder=True)),
    ]
    print_scores(images, [*rows, *group_by_hashes(paths)])
    list_differences(images, ours)


def list_differences(images: ImageSet, ours: Row) -> None:
    """Sources that our groups join, and sources that they take apart, with counts of images.

    The sets hold cells and fields photographed twice: to be looked at, before they count against a
    method. Of two pictures of one field the witness, too, can name the wrong one.
    """
    sources_of: dict[int, Counter[str]] = defaultdict(Counter)
    groups_of: dict[str, Counter[int]] = defaultdict(Counter)
    for source, group in zip(images.sources, ours.groups.tolist(), strict=True):
        if source is not None:
            sources_of[group][source] += 1
            groups_of[source][group] += 1
    print("\nsources in one group of ours (images):")
    for sources in sorted(sources_of.values(), key=lambda c: -c.total()):
        if len(sources) > 1:
            told = (f"{'/'.join(Path(name).parts[-2:])} ({n})" for name, n in sources.most_common())
            alone = len({images.views.get(name, name) for name in sources}) > 1
            print(f"  {', '.join(told)}: {'unrelated to the witness' if alone else 'one field'}")
    print("sources in several groups of ours (images in each):")
    for source, groups in sorted(groups_of.items()):
        if len(groups) > 1:
            counts = ", ".join(str(n) for _, n in groups.most_common())
            print(f"  {'/'.join(Path(source).parts[-2:])}: {counts}", flush=True)


def show_pbc(data: Path, work: Path, limit: int | None, seed: int) -> None:
    paths = choose(list_images(data / "pbc"), limit, seed)
    ours, findings = group_by_finder(paths, work / "pbc.sqlite", cold=False)
    same = take_time("byte identity", lambda: group_by_bytes(paths))
    print(f"{len(paths):,} images\n")
    titles = ("groups", "in groups", "largest", "seconds")
    print(f"{'method':34}" + "".join(f"{title:>11}" for title in titles))
    for row in (ours, same, *group_by_hashes(paths)):
        sizes = [n for n in Counter(row.groups.tolist()).values() if n > 1]
        values = (len(sizes), sum(sizes), max(sizes, default=1))
        name = f"{row.family} {row.setting}".strip()
        print(f"{name:34}" + "".join(f"{v:11,}" for v in values) + f"{row.seconds:11.1f}")
    list_groups(findings, data / "pbc")


def list_groups(findings: SourceFindings, folder: Path) -> None:
    """Ours by kind: the kind of the group's links that departs most from identity."""
    source_of = {record.sha256: record.source for record in findings.catalog.records}
    kinds: dict[str, set[str]] = defaultdict(set)
    for link in findings.links:
        if link.accepted and link.kind != "overlap":
            kinds[source_of[link.first]].add(link.kind)
    by_kind = defaultdict(list)
    for source, group in findings.groups.items():
        kind = max(kinds[source], default="identical", key=("near", "geometric").index)
        by_kind[kind].append((source, group))
    overlaps = sum(link.kind == "overlap" for link in findings.links)
    print(
        f"\nour groups: {', '.join(f'{len(by_kind[k])} {k}' for k in sorted(by_kind)) or 'none'}; "
        f"{overlaps} overlaps of different pictures join none; groups not of identical bytes:"
    )
    for kind in ("near", "geometric"):
        for source, group in by_kind[kind]:
            ids = ", ".join(str(record.path.relative_to(folder)) for record in group)
            print(f"  {kind:9} {source}: {ids}")


def choose(paths: list[Path], limit: int | None, seed: int) -> list[Path]:
    if limit is None or limit >= len(paths):
        return paths
    order = np.random.default_rng(seed).permutation(len(paths))[:limit]
    return [paths[i] for i in sorted(order)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truths", nargs="*", metavar="made|train|pbc", help="default: all three")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=400, help="N of `made`")
    parser.add_argument("--limit", type=int, help="so many images, drawn by lot, of train and pbc")
    parser.add_argument("--work", type=Path, help="default: a folder removed at the end")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    truths = given.truths or ["made", "train", "pbc"]
    if unknown := set(truths) - {"made", "train", "pbc"}:
        parser.error(f"unknown truth: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        data, work = given.data.resolve(), (given.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        for truth in truths:
            print(f"\n== {truth} ==", flush=True)
            if truth == "made":
                show_made(data, work, given.images, given.seed)
            elif truth == "train":
                show_train(data, work, given.limit, given.seed)
            else:
                show_pbc(data, work, given.limit, given.seed)


if __name__ == "__main__":
    main()
