"""What finding copies costs as a set grows (docs/experiments/010).

Run `python benchmarks/copies_scaling.py --work FOLDER [SIZE ...]`; needs the extra `bench` and the
images of `../shared/data`. Every size is measured in a fresh process with a fresh cache: wall time
of reading and describing images, of the index of neighbours, of building groups (which judges the
pairs that support a merger), and of comparing proposed pairs with all the rest; the peak resident
memory of the process; and seconds for each image against the first size. `pairs/image` are proposed
pairs.

Images are TRAIN's in an order drawn by lot; where these end, copies made of TRAIN and PBC images
(`copy_making`), half each, follow. Each size holds the smaller ones.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

SIZES = (1_000, 3_000, 10_000, 25_000)
SEED = 1

# Nothing heavy is imported here: a process inherits its parent's peak memory.


def collect_images(data: Path, folder: Path, n: int) -> list[Path]:
    """So many files, made where there are not enough; what an earlier call made is used."""
    import numpy as np

    from copy_making import KINDS, make_copy, read_pixels

    def draw(place: str, suffix: str) -> list[Path]:
        found = sorted((data / place).rglob(f"*{suffix}"))
        return [found[i] for i in np.random.default_rng(SEED).permutation(len(found))]

    train, pbc = draw("dataset2-master/images/TRAIN", ".jpeg"), draw("pbc", ".jpg")
    if not train or not pbc:
        raise SystemExit(f"{data} lacks TRAIN or PBC; name the folder of the data by --data")
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{k:06}.jpg" for k in range(max(0, n - len(train)))]
    for k, path in enumerate(made):
        if path.exists():
            continue
        origin = (train, pbc)[k % 2][k // 2 % min(len(train), len(pbc))]
        generator = np.random.default_rng((SEED, k))
        content = make_copy(read_pixels(origin), KINDS[k // 2 % len(KINDS)], generator)
        path.write_bytes(content)
    return [*train, *made][:n]


def measure(paths: list[Path], cache: Path) -> dict[str, float]:
    from leukoscope.data.catalog import Catalog, ImageRecord
    from leukoscope.data.images import probe_image
    from leukoscope.sources import grouping as links
    from leukoscope.sources.search import find_sources

    records = []
    for path in paths:
        facts = probe_image(path.read_bytes(), path.name)
        size = (facts.width, facts.height, facts.bytes)
        records.append(ImageRecord(str(path), path, "cell", *size, facts.sha256))
    catalog = Catalog(tuple(sorted(records, key=lambda r: r.id)))
    spent = {"describe": 0.0, "neighbours": 0.0, "group": 0.0}
    pairs: dict[str, int] = {}

    def timed(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object) -> object:
            begun = time.perf_counter()
            found = function(*given)
            spent[name] += time.perf_counter() - begun
            # Each round of comparisons is followed by a building of groups.
            pairs[f"{name} {len(pairs)}"] = 0
            return found

        return call

    def note(what: str, done: int, total: int) -> None:
        if what == "Describing images":
            spent["describe"] = time.perf_counter() - start
        else:
            pairs[list(pairs)[-1]] = done
        if sys.stderr.isatty():
            print(f"\r{what} {done:,} of {total:,}   ", end="", file=sys.stderr, flush=True)

    links.find_neighbours = timed("neighbours", links.find_neighbours)  # type: ignore[assignment]
    links.build_groups = timed("group", links.build_groups)  # type: ignore[assignment]
    start = time.perf_counter()
    findings = find_sources(catalog, cache=cache, on_progress=note)
    total = time.perf_counter() - start
    return spent | {
        "compare": total - sum(spent.values()),
        "total": total,
        "pairs": sum(pairs.values()),
        "groups": len(findings.groups),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_fresh(function: Callable, *given: object) -> object:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", metavar="SIZE", help=f"default: {SIZES}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, help="default: a folder removed at the end")
    given = parser.parse_args()
    columns = ("describe", "neighbours", "compare", "group", "total")
    titles = (*columns, "images/s", "pairs/image", "groups", "peak MiB", "ratio")
    print("seconds by part")
    print(f"{'images':>8}" + "".join(f"{title:>12}" for title in titles), flush=True)
    first = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        data, work = given.data.resolve(), (given.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        for n in given.sizes or SIZES:
            paths = run_fresh(collect_images, data, work / "scaling", n)
            with tempfile.TemporaryDirectory(dir=work) as fresh:
                found = run_fresh(measure, paths, Path(fresh) / "cache.sqlite")
            each = found["total"] / n
            first = first or each
            cells = [f"{found[name]:.1f}" for name in columns]
            cells += [f"{1 / each:.1f}", f"{found['pairs'] / n:.1f}", f"{found['groups']:,}"]
            cells += [f"{found['peak_mib']:,.0f}", f"{each / first:.2f}"]
            print(f"{n:8,}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
