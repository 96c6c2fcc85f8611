"""Freeze the numbers of the whole painted road, and compare them after a rebuilding.

    PYTHONPATH=src OMP_NUM_THREADS=1 python tests/golden/freeze_numbers.py run OUT
    python tests/golden/freeze_numbers.py compare tests/golden/numbers.json.gz OUT/numbers.json

`run` walks every command once on painted cells, each in a process of its own (`python -m
leukoscope`, so PYTHONPATH decides which checkout is measured), and writes to the empty folder OUT:
all that leukoscope writes, what each command printed (`log/N_NAME.txt`), and `numbers.json`, every
number that was found in JSON, JSON lines, CSV, Parquet, npz and safetensors, as
`{"file:key": number}`. Takes four to five minutes on one core.

`compare` tells numbers that changed from numbers that moved: keys, files and words may change in a
rebuilding, numbers may not. Keys that were renamed on purpose stand in `renames.toml`; what has
another key besides is looked for by its value. Exit code 1 if a number differs or is lost.

What this file does not do: it judges no number, reads no page and no text file, and is no test of
the suite. Numbers repeat on one machine with one set of packages; another processor, or another
version of PyTorch or ONNX Runtime, may round otherwise, and training carries that far. Where the
stored numbers do not repeat on an old checkout, freeze that one first and compare with its numbers.
"""

import argparse
import csv
import gzip
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

# -- the words of the command line: the only table to edit when they are renamed -------------------

COMMANDS: dict[str, tuple[str, ...]] = {
    "paint": ("data", "paint"),
    "scan": ("data", "scan"),
    "sources": ("data", "sources"),
    "split": ("data", "split"),
    "audit": ("data", "audit"),
    "leak": ("data", "leak-report"),
    "train": ("train",),
    "calibrate": ("calibrate",),
    "evaluate": ("evaluate",),
    "ensemble": ("ensemble",),
    "distill": ("distill",),
    "export": ("export",),
    "predict": ("predict",),
    "validate": ("validate",),
    "robustness": ("robustness",),
    "card": ("card",),
    "explain": ("explain",),
}

OPTIONS: dict[str, str] = {
    "against": "--against",
    "bundle": "--bundle",
    "cache": "--cache",
    "copies": "--copies",
    "data": "--data",
    "external": "--external",
    "html": "--html",
    "images": "--images",
    "json": "--json",
    "evaluate": "--evaluate",
    "limits": "--criteria",
    "methods": "--methods",
    "name": "--name",
    "out": "--out",
    "protocol": "--protocol",
    "reader": "--reader",
    "recalibrate": "--recalibrate",
    "recipe": "--recipe",
    "role": "--role",
    "seed": "--seed",
    "set": "--set",
    "sources": "--sources",
    "tta": "--tta",
    "variant": "--variant",
    "variants": "--variants",
}

SETTINGS: dict[str, str] = {
    "size": "input.image_size",
    "epochs": "train.epochs",
    "batch": "train.batch_size",
    "ema": "train.ema_decay",
    "precision": "train.precision",
    "alpha": "trust.alpha",
    "accuracy": "trust.target_accuracy",
}

LIMITS: dict[str, Any] = {
    "min_accuracy": 0.5,
    "min_balanced_accuracy": 0.9,
    "min_kappa": 0.3,
    "min_weighted_kappa": 0.3,
    "min_sensitivity": {"neutrophil": 0.6, "lymphocyte": 0.97},
    "min_specificity": {"monocyte": 0.7},
    "max_ece": 0.2,
    "min_coverage": 0.7,
    "min_accepted": 0.4,
    "max_review": 0.5,
    "max_rejected": 0.3,
    "min_accuracy_accepted": 0.8,
    "max_unknown_accepted": 0.4,
    "max_accuracy_drop": 0.2,
    "half_width": 0.08,
    "order": ["eosinophil", "neutrophil", "monocyte", "lymphocyte"],
    "cost": {"neutrophil": {"lymphocyte": 3.0, "review": 0.2}},
    "labels": {"poly": "neutrophil"},
}
"""The file that `limits` names. `poly` is what the local table calls some neutrophils."""

# -- what varies between runs of the same code, or must be free to change --------------------------

NOT_FROZEN: tuple[str, ...] = (
    # Clocks.
    r"(^|[:._/])(seconds|elapsed|duration|started|finished|created|time|timestamp)($|[._])",
    r"(ms_per_image|per_second|_seconds$|_ms$)",
    # The machine and what is installed on it; a version of leukoscope is no number of its science.
    r"(^|[:._])(cores|cpu_count|threads|packages|platform|python|opencv|faiss)($|[._])",
    r"version",
    # Hashes: some consist of digits, or of digits with an e, and then read as numbers.
    r"sha256|hash|digest|fingerprint$",
    # Sizes of graphs, packs and other files that carry version strings, names and metadata. Those
    # of images, in catalogs, are frozen.
    r"^(?!.*\.csv:).*([._:]bytes|megabytes|_mb)$",
)
"""Regular expressions, upper and lower case alike; a key that one of them finds is left out.
Nothing else had to be: two runs on one machine agree in every other number."""

NOT_READ = ("log/", "cache/", "limits.toml", "numbers.json")
"""Files of OUT that this script wrote, or that are no product."""

Number = int | float | None
Numbers = dict[str, Number]


# -- the road --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One command. `keep`: file that its standard output goes to. 3 says: something is wrong with
    the data, or a limit is broken, which is a finding and no failure."""

    name: str
    command: str
    words: tuple[str, ...] = ()
    keep: str = ""
    codes: tuple[int, ...] = (0, 3)


def build_step(step: str, command: str, *words: str, keep: str = "", **options: Any) -> Step:
    """Return a step; `options` are named as in `OPTIONS`, `settings` as in `SETTINGS`."""
    found = list(words)
    for name, value in options.pop("settings", {}).items():
        found += [OPTIONS["set"], f"{SETTINGS[name]}={value}"]
    for name, value in options.items():
        found += [OPTIONS[name]] if value is True else [OPTIONS[name], str(value)]
    return Step(step, command, tuple(found), keep)


def list_road() -> list[Step]:
    """Return every command in order. All paths are relative, so that no key holds OUT."""
    step, quick, cache = build_step, {"recipe": "quick"}, "cache/fingerprints.sqlite"
    # Small steps and a short memory: after 14 epochs most names are right, but not all, so that
    # figures and intervals lie between 0 and 1, and every decision and outcome occurs.
    # The precision is given, because `auto` takes the one that is faster at the moment: on a CPU
    # with bf16 arithmetic that differs from run to run.
    small = {"size": 64, "batch": 16, "ema": 0.9, "precision": "fp32"}
    trust = {"alpha": 0.3, "accuracy": 0.7}
    return [
        step("paint", "paint", "painted", sources=96, copies=2),
        step("paint_local", "paint", "local", sources=48, copies=2, seed=7),
        step("scan", "scan", "painted/images", out="catalog.csv"),
        step("scan_local", "scan", "local/painted.csv", out="local_catalog.csv"),
        step("sources", "sources", "catalog.csv", out="sources.csv", cache=cache),
        step("split", "split", "sources.csv", protocol="grouped", out="split.csv"),
        step("split_random", "split", "sources.csv", protocol="random", out="random.csv"),
        step("audit", "audit", "split.csv", json=True, cache=cache, keep="audit.json"),
        step("audit_random", "audit", "random.csv", json=True, cache=cache, keep="audit_leak.json"),
        step(
            *("audit_against", "audit", "sources.csv"),
            against="local_catalog.csv",
            json=True,
            html="audit.html",
            cache=cache,
            keep="audit_against.json",
        ),
        step(
            "train",
            "train",
            "split.csv",
            **quick,
            out="runs/first",
            settings=small | {"epochs": 14},
        ),
        step("calibrate", "calibrate", "runs/first", settings=trust),
        step("evaluate", "evaluate", "runs/first"),
        step("evaluate_val", "evaluate", "runs/first", role="val"),
        step("evaluate_other", "evaluate", "runs/first", data="local/painted.csv", name="local"),
        step(
            "train_leak",
            "train",
            "random.csv",
            **quick,
            out="runs/random",
            settings=small | {"epochs": 2},
        ),
        step("evaluate_leak", "evaluate", "runs/random"),
        step("ensemble", "ensemble", "runs/first", tta="flips", out="runs/views"),
        step("calibrate_views", "calibrate", "runs/views", settings=trust),
        step("evaluate_views", "evaluate", "runs/views"),
        step(
            *("distill", "distill", "runs/views"),
            **quick,
            out="runs/student",
            settings=small | {"epochs": 1},
        ),
        step("export", "export", "runs/first", out="bundle", variants="fp32,fp16"),
        # Of so few images one decision too many forbids int8; this run was not calibrated.
        step("export_leak", "export", "runs/random", out="bundle_leak", variants="fp32,int8"),
        step("export_views", "export", "runs/views", out="bundle_views", variants="fp32"),
        step("predict_csv", "predict", "bundle", "local/images", out="predicted.csv"),
        step(
            *("predict_int8", "predict", "bundle_leak", "local/images"),
            variant="int8",
            out="predicted_int8.csv",
        ),
        step("predict_jsonl", "predict", "bundle_views", "local/images", out="predicted.jsonl"),
        step(
            *("validate", "validate", "bundle"),
            data="cells.csv",
            out="validated",
            limits="limits.toml",
            reader="second",
            against="bundle_views",
        ),
        step(
            *("recalibrate", "validate", "bundle"),
            data="cells.csv",
            out="recalibrated",
            limits="limits.toml",
            reader="second",
            recalibrate="bundle_local",
        ),
        step(
            *("robustness", "robustness", "runs/first"),
            data="local/painted.csv",
            out="robust",
            images=60,
        ),
        step(
            *("leak", "leak", "sources.csv"),
            **quick,
            out="runs/leak",
            external="local/painted.csv",
            cache=cache,
            settings=small | {"epochs": 1},
        ),
        step(
            *("explain", "explain", "runs/first", "local/images/*/000[01]?.png"),
            out="explained",
            methods="gradcam,occlusion",
            evaluate=20,
        ),
        # Last, for it tells of all records beside the run.
        step("card", "card", "runs/first", out="card", bundle="bundle"),
    ]


def run_road(out: Path) -> None:
    """Run every step in `out`. Exits if one ends with a code that is none of its own."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        sys.exit(f"{out} must be empty")
    (out / "log").mkdir()
    (out / "cache").mkdir()
    (out / "limits.toml").write_text(_write_toml(LIMITS))
    codes = {}
    for number, step in enumerate(list_road(), 1):
        started = time.monotonic()
        codes[step.name] = _run_step(step, number, out)
        print(f"{number:2} {step.name:18} {time.monotonic() - started:5.1f} s", flush=True)
        if step.name == "paint_local":
            write_cells(out / "local/painted.csv", out / "cells.csv")
    (out / "exit_codes.json").write_text(json.dumps(codes, indent=1) + "\n")


def _run_step(step: Step, number: int, out: Path) -> int:
    words = ["-m", "leukoscope", *COMMANDS[step.command], *step.words]
    one_core = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    done = subprocess.run(
        [sys.executable, *words],
        cwd=out,
        env=os.environ
        | {f"{name}_NUM_THREADS": "1" for name in one_core}
        | {"CUDA_VISIBLE_DEVICES": "", "XDG_CACHE_HOME": str(out.resolve() / "cache")}
        | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": _absolute_path()},
        capture_output=True,
        text=True,
    )
    log = out / "log" / f"{number:02}_{step.name}.txt"
    told = f"$ leukoscope {' '.join(words[2:])}\n\n{done.stdout}"
    log.write_text(f"{told}\n--- standard error, exit code {done.returncode}\n{done.stderr}")
    if step.keep:
        (out / step.keep).write_text(done.stdout)
    if done.returncode not in step.codes:
        sys.exit(f"{step.name} ended with {done.returncode}; see {log}\n{done.stderr[-2000:]}")
    return done.returncode


def _absolute_path() -> str:
    """PYTHONPATH as seen from OUT."""
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(str(Path(part).resolve()) for part in parts if part)


def write_cells(painted: Path, out: Path) -> None:
    """Write the table of a laboratory: two scanners, a second reader who errs at times, a name of
    its own for some neutrophils, and some cells of a class that the network does not know."""
    with painted.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "source", "scanner", "second"])
        for number, row in enumerate(rows):
            source = int(row["source"].rsplit("_", 1)[1])
            label = row["label"]
            if source % 8 == 3:
                label = "basophil"
            elif label == "neutrophil" and source % 2:
                label = "poly"
            second = "monocyte" if number % 9 == 4 else label
            scanner = "north" if source % 3 else "south"
            path = (painted.parent / row["path"]).relative_to(out.parent)
            table.writerow([path.as_posix(), label, row["source"], scanner, second])


def _write_toml(content: Mapping[str, Any], name: str = "") -> str:
    plain = {k: v for k, v in content.items() if not isinstance(v, dict)}
    text = f"[{name}]\n" if name else ""
    # JSON's numbers, strings and lists are TOML as well.
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key in (k for k in content if k not in plain):
        text += "\n" + _write_toml(content[key], f"{name}.{key}" if name else key)
    return text


# -- the numbers -----------------------------------------------------------------------------------


def collect_numbers(out: Path) -> Numbers:
    """Return every number below `out`, but those of `NOT_FROZEN`, in the order of their keys."""
    readers = {
        ".json": _read_json,
        ".jsonl": _read_json_lines,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".npz": _read_npz,
        ".safetensors": _read_safetensors,
    }
    left_out = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_FROZEN), re.IGNORECASE)
    numbers: Numbers = {}
    for path in sorted(out.rglob("*")):
        # Packs are named by a hash of what they hold and of their format.
        name = re.sub(r"[0-9a-f]{32,}", "HASH", path.relative_to(out).as_posix())
        # Files of bundles are named by their content.
        name = re.sub(r"\.[0-9a-f]{8}\.", ".", name)
        if name.startswith(NOT_READ) or path.suffix not in readers:
            continue
        for key, value in readers[path.suffix](path):
            full = f"{name}:{key}"
            if not left_out.search(full):
                numbers[full] = value
    return dict(sorted(numbers.items()))


def _flatten(content: Any, key: str = "") -> Iterator[tuple[str, Number]]:
    """Numeric leaves and nulls; no booleans, no strings."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _flatten(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _flatten(value, f"{key}.{place}" if key else str(place))
    elif content is None:
        yield key, None
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield key, None if isinstance(content, float) and math.isnan(content) else content


def _read_json(path: Path) -> Iterator[tuple[str, Number]]:
    return _flatten(json.loads(path.read_text("utf-8", "surrogateescape")))


def _read_json_lines(path: Path) -> Iterator[tuple[str, Number]]:
    return _flatten([json.loads(line) for line in path.read_text("utf-8").splitlines()])


def _read_csv(path: Path) -> Iterator[tuple[str, Number]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for number, row in enumerate(csv.DictReader(file)):
            for column, cell in row.items():
                for value in _parse(cell):
                    yield f"{number}.{column}", value


def _parse(cell: Any) -> list[Number]:
    """The number in a cell, in a list; an empty list for any other text."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return []
    if math.isnan(value):
        return [None]
    return [int(value) if re.fullmatch(r"-?\d{1,15}", cell) else value]


def _read_parquet(path: Path) -> Iterator[tuple[str, Number]]:
    import numpy as np
    import pyarrow.parquet as pq

    for name, column in pq.read_table(path).to_pydict().items():
        cells = np.array(column, dtype=object)
        if len(cells) and all(isinstance(cell, list) for cell in cells):
            cells = np.array([x for cell in cells for x in cell], dtype=object)
        if all(isinstance(x, int | float) and not isinstance(x, bool) for x in cells):
            yield from _sum_up(name, cells.astype(float))


def _read_npz(path: Path) -> Iterator[tuple[str, Number]]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            if arrays[name].dtype.kind in "iuf":
                yield from _sum_up(name, arrays[name].astype(float).ravel())


def _read_safetensors(path: Path) -> Iterator[tuple[str, Number]]:
    """All weights of a file together: one that moves shows in the sums."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = sorted(file.keys())
        parts = [file.get_tensor(name).double().numpy().ravel() for name in names]
    yield "tensors", len(names)
    yield from _sum_up("weights", np.concatenate(parts))


def _sum_up(name: str, values: Any) -> Iterator[tuple[str, Number]]:
    """Length, sums to ten digits, first three values; NaN counts as none."""
    yield f"{name}.length", len(values)
    known = values[~_is_nan(values)]
    for word, total in (("sum", known.sum()), ("sum_of_squares", (known**2).sum())):
        yield f"{name}.{word}", float(f"{total:.9e}")
    for place, value in enumerate(values[:3].tolist()):
        yield f"{name}.{place}", None if math.isnan(value) else value


def _is_nan(values: Any) -> Any:
    import numpy as np

    return np.isnan(values)


# -- comparison ------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """What became of each old number. `moved`, `copied` and `weak` count by pattern of keys;
    `copied` are values that stand under a key which another old number has already; `pairs` are
    patterns of old and new keys that matched; `reordered` are patterns whose numbers differ in
    their order alone, a difference all the same."""

    same: int = 0
    renamed: int = 0
    deleted: int = 0
    differ: list[tuple[str, str, Number, Number]] = field(default_factory=list)
    lost: list[tuple[str, Number]] = field(default_factory=list)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    copied: Counter[tuple[str, str]] = field(default_factory=Counter)
    weak: Counter[tuple[str, str]] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    reordered: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        """Whether a number changed or is gone."""
        return bool(self.differ or self.lost)


def are_equal(old: Number, new: Number, rel: float) -> bool:
    """Whether two numbers are the same; null equals null alone."""
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, rel_tol=rel, abs_tol=1e-15)


def is_trivial(value: Number) -> bool:
    """Whether a value is so common that finding it elsewhere proves little."""
    return value is None or (float(value).is_integer() and abs(value) <= 100) or value in (0.5, 0.1)


def compare_numbers(
    old: Mapping[str, Number], new: Mapping[str, Number], rules: Mapping[str, Any], rel: float
) -> Comparison:
    """Match every old number: by its key, by the renames, by its value."""
    found = Comparison()
    renames = [(re.compile(pattern), to) for pattern, to in rules.get("renames", ())]
    deleted = [re.compile(pattern) for pattern in rules.get("deleted", ())]
    free = dict(new)
    unmatched: Numbers = {}
    for key, value in old.items():
        target = _rename(key, renames)
        if target not in new:
            target = key
        if target not in new:
            unmatched[key] = value
            continue
        free.pop(target, None)
        if are_equal(value, new[target], rel):
            found.same += target == key
            found.renamed += target != key
        elif any(pattern.search(key) for pattern in deleted):
            found.deleted += 1
        else:
            found.differ.append((key, target, value, new[target]))
    found.reordered = _find_reordered(found, old, new)
    for key in [k for k in unmatched if any(pattern.search(k) for pattern in deleted)]:
        del unmatched[key]
        found.deleted += 1
    _match_by_value(unmatched, free, new, found)
    return found


def _find_reordered(
    found: Comparison, old: Mapping[str, Number], new: Mapping[str, Number]
) -> set[str]:
    """Patterns whose keys differ, but have the same values in another order."""
    values: dict[str, tuple[Counter[str], Counter[str]]] = defaultdict(
        lambda: (Counter(), Counter())
    )
    for side, numbers in enumerate((old, new)):
        for key, value in numbers.items():
            values[_pattern(key)][side][_digits(value)] += 1
    differ = {_pattern(key) for key, target, *_ in found.differ if key == target}
    return {pattern for pattern in differ if values[pattern][0] <= values[pattern][1]}


def _rename(key: str, renames: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, to in renames:
        key = pattern.sub(to, key)
    return key


def _match_by_value(
    unmatched: Mapping[str, Number], free: Numbers, new: Mapping[str, Number], found: Comparison
) -> None:
    """Look unmatched numbers up among the new keys that nothing else took, then among all."""
    shelves: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for key, value in free.items():
        for place in _list_places(key, value):
            shelves[place][key] = None
    everywhere: dict[tuple[str, ...], str] = {}
    for key, value in new.items():
        for place in _list_places(key, value):
            everywhere.setdefault(place, key)
    for key, value in unmatched.items():
        weak = is_trivial(value)
        shelf = next((shelves[p] for p in _list_places(key, value) if shelves[p]), None)
        if shelf:
            seen = found.weak if weak else found.moved
            nearest = itertools.islice(shelf, 100)
            best = max(nearest, key=lambda other: _likeness(key, other, found.pairs))
            for place in _list_places(best, free.pop(best)):
                del shelves[place][best]
            found.pairs[_pattern(key), _pattern(best)] += 1
        elif home := _find_taken(key, value, everywhere):
            seen = found.weak if weak else found.copied
            best = home
        else:
            found.lost.append((key, value))
            continue
        seen[_shorten(_pattern(key), _pattern(best))] += 1
    found.new.update(_pattern(key) for key in free)


def _find_taken(key: str, value: Number, everywhere: Mapping[tuple[str, ...], str]) -> str | None:
    """A key that another old number has already, with this value. In another file a few digits
    agree by chance: a value of fewer than six counts as lost then, unless it is trivial."""
    same_name, same_file, _, anywhere = _list_places(key, value)
    found = everywhere.get(same_name) or everywhere.get(same_file)
    long = value is not None and len(f"{abs(value):.10g}".replace(".", "").strip("0")) >= 6
    return found or (everywhere.get(anywhere) if long or is_trivial(value) else None)


def _list_places(key: str, value: Number) -> list[tuple[str, ...]]:
    """Where a number may be looked for, the likeliest first: by file and last word, by file, by
    last word, by its value alone."""
    file, last, digits = key.partition(":")[0], re.split(r"[.:]", key)[-1], _digits(value)
    return [(digits, file, last), (digits, file), (digits, "", last), (digits,)]


def _digits(value: Number) -> str:
    return "null" if value is None else f"{float(value) + 0.0:.8e}"


def _likeness(key: str, other: str, pairs: Counter[tuple[str, str]]) -> tuple[Any, ...]:
    """Whether such a pair was seen before, and the share of words in common."""
    words, others = (set(re.findall(r"[A-Za-z]+|\d+", text)) for text in (key, other))
    shared = len(words & others) / len(words | others)
    return bool(pairs[_pattern(key), _pattern(other)]), shared


_CLASSES = re.compile(r"(?i)(eosinophil|lymphocyte|monocyte|neutrophil|basophil|poly)s?\b")


@cache
def _pattern(key: str) -> str:
    """A key without what counts up: digits become `*`, classes `CLASS`."""
    return re.sub(r"\d+", "*", _CLASSES.sub("CLASS", key))


def _shorten(old: str, new: str) -> tuple[str, str]:
    """Both patterns without the words that they end on alike: what was renamed shows once, not
    for every number below it."""
    if old == new:
        return old, "the same, at another place"
    olds, news = (re.findall(r"[.:/]?[^.:/]*", text)[:-1] for text in (old, new))
    n = 0
    while n < min(len(olds), len(news)) - 1 and olds[-1 - n] == news[-1 - n]:
        n += 1
    rest = "..." if n else ""
    return "".join(olds[: len(olds) - n]) + rest, "".join(news[: len(news) - n]) + rest


def tell_comparison(found: Comparison, n_old: int, n_new: int, lines: int = 30) -> str:
    """Return the findings, at most `lines` per heading."""
    text = [f"{n_old:,} old numbers, {n_new:,} new ones"]
    text += [f"  {found.same:,} under the same key, {found.renamed:,} renamed, all equal"]
    text += [f"  {found.deleted:,} deleted on purpose"]
    for name, counts in (
        ("moved, same value", found.moved),
        ("the value stands under another key, which has an old number already", found.copied),
        ("moved, but the value is so common that this proves little", found.weak),
    ):
        text += [f"  {counts.total():,} {name}", *_tell_counts(counts, lines)]
    text += [f"  {found.new.total():,} new numbers", *_tell_new(found.new, lines // 2)]
    text += [f"  {len(found.lost):,} LOST", *_tell_lost(found.lost, lines)]
    text += [f"  {len(found.differ):,} DIFFER", *_tell_differ(found, lines)]
    text += ["Numbers changed or are lost." if found.failed else "No number changed, none is lost."]
    return "\n".join(text)


def _cut(rows: list[str], lines: int) -> list[str]:
    return (
        rows
        if len(rows) <= lines
        else [*rows[: lines - 1], f"    ... {len(rows) - lines + 1} more"]
    )


def _tell_counts(counts: Counter[tuple[str, str]], lines: int) -> list[str]:
    rows = [f"    {n:5} {a}  ->  {_short(a, b)}" for (a, b), n in counts.most_common()]
    return _cut(rows, lines)


def _short(old: str, new: str) -> str:
    """The new pattern, without the file where it is the old one's."""
    if ":" not in old:
        return new
    file = old.partition(":")[0] + ":"
    return new.removeprefix(file) if new.startswith(file) else new


def _tell_new(counts: Counter[str], lines: int) -> list[str]:
    return _cut([f"    {n:5} {pattern}" for pattern, n in counts.most_common()], lines)


def _tell_lost(lost: list[tuple[str, Number]], lines: int) -> list[str]:
    groups: dict[str, list[tuple[str, Number]]] = defaultdict(list)
    for key, value in lost:
        groups[_pattern(key)].append((key, value))
    rows = []
    for group in sorted(groups.values(), key=len, reverse=True):
        rows.append(f"    {len(group):5} {group[0][0]} = {group[0][1]}")
    return _cut(rows, lines)


def _tell_differ(found: Comparison, lines: int) -> list[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, target, old, new in found.differ:
        where = key if key == target else f"{key} -> {_short(key, target)}"
        groups[_pattern(key)].append(f"{where}: {old} -> {new}")
    rows = [
        f"    {len(group):5} {group[0]}"
        + ("  (same values in another order)" if pattern in found.reordered else "")
        for pattern, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    return _cut(rows, lines)


# -- command line ----------------------------------------------------------------------------------


def load_numbers(path: Path) -> Numbers:
    """Read numbers from JSON, also where it is compressed."""
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def save_numbers(numbers: Numbers, path: Path) -> None:
    """Write numbers as JSON, one a line; compressed where the name ends so, without a time."""
    text = json.dumps(numbers, indent=0) + "\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def main() -> int:
    """Run or compare, as asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="walk the road in an empty folder, collect the numbers")
    run.add_argument("out", type=Path)
    collect = commands.add_parser("collect", help="collect the numbers of such a folder again")
    collect.add_argument("out", type=Path)
    compare = commands.add_parser("compare", help="tell what changed, moved, or is lost")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    compare.add_argument("--renames", type=Path, default=Path(__file__).with_name("renames.toml"))
    compare.add_argument("--rel", type=float, default=1e-9, help="relative difference allowed")
    compare.add_argument("--lines", type=int, default=30, help="lines per heading")
    asked = parser.parse_args()
    if asked.command == "compare":
        old, new = load_numbers(asked.old), load_numbers(asked.new)
        rules = tomllib.loads(asked.renames.read_text("utf-8"))
        found = compare_numbers(old, new, rules, asked.rel)
        print(tell_comparison(found, len(old), len(new), asked.lines))
        return int(found.failed)
    if asked.command == "run":
        run_road(asked.out)
    numbers = collect_numbers(asked.out)
    save_numbers(numbers, asked.out / "numbers.json")
    print(f"{len(numbers):,} numbers: {asked.out / 'numbers.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
