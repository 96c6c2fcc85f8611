"""Which image plays which role: random, grouped, given, k-fold; and the audit of a split.

Each datum is spent once: `train` fits, `val` chooses the epoch, `calib` is for temperature and
thresholds, `test` is reported once. What this file does not do: it finds no duplicates (`sources`).
"""

import hashlib
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.catalog import (
    BOX_COLUMNS,
    COLUMNS,
    PIXEL_COLUMN,
    Catalog,
    ImageRecord,
    is_whole_number,
    list_alike_sources,
    list_columns,
    read_rows,
    record_to_row,
    row_to_record,
    write_rows,
)
from leukoscope.data.findings import SEVERITIES, Count, Example, ExampleImage, Finding
from leukoscope.data.groups import SourceKind, find_source_kind, group_sources
from leukoscope.errors import LeukoscopeError, SplitError
from leukoscope.records import load_record, save_record
from leukoscope.scores import LeakageStatus
from leukoscope.storage import replacing_together

Role = Literal["train", "val", "calib", "test"]
ROLES: tuple[Role, ...] = get_args(Role)

Protocol = Literal["random", "grouped", "given", "kfold"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

GROUPED_FRACTIONS: dict[Role, float] = {"train": 0.68, "test": 0.15, "val": 0.09, "calib": 0.08}
"""The reference's 68 % and 15 %; its 17 % of validation are shared with calibration. The order
is the order in which roles are served when a class has few sources."""

HELD_OUT_FRACTION = 0.1
"""Share of a given training part that becomes `val`, and as much `calib`, where none is given."""

FEW_IMAGES = 30
"""A class with fewer test images has an interval too wide to say much; the audit warns."""

MAX_COPIES_SHOWN = 4
"""Copies that a finding names at most."""

_OWN_COLUMNS = ("role", "protocol", "seed")
"""What a table of a split has beside the catalog's columns."""

RoleName = TypeVar("RoleName", bound=str)


@dataclass(frozen=True, slots=True)
class PixelCheck:
    """What a comparison of test images with training images, by their pixels, found.

    `n_test` of `n_all_test` images of `test` were compared with `n_training` of `n_all_training`
    of `train` and `val`; of `n_smooth` of them nothing can be said (they show too little, or match
    too weakly). `copies` are ids of test images, each with the id of an image of training that
    shows the same picture. `digest` names the split that this holds for (`hash_split`).
    """

    digest: str
    n_test: int
    n_all_test: int
    n_training: int
    n_all_training: int
    n_smooth: int
    copies: tuple[tuple[str, str], ...]

    @property
    def is_whole(self) -> bool:
        """Whether all test images were compared with all of training."""
        return (self.n_test, self.n_training) == (self.n_all_test, self.n_all_training)

    @property
    def excludes_copies(self) -> bool:
        """Whether no test image can have a copy in training, as far as pixels tell."""
        return self.is_whole and not self.n_smooth and not self.copies


@dataclass(frozen=True)
class Split:
    """A catalog and one role per record; "" for records left aside. `check`: what comparing pixels
    found, None where nobody did."""

    catalog: Catalog
    roles: tuple[str, ...]
    protocol: Protocol
    seed: int
    check: PixelCheck | None = None

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """One source name per record; see `group_sources`."""
        return group_sources(self.catalog)


# -- making ---------------------------------------------------------------------------------------


def build_split(catalog: Catalog, protocol: Protocol, *, seed: int = 42) -> Split:
    """Give every record a role.

    `random` is the reference's protocol: single images, 15 % test, 20 % of the rest validation,
    no stratification, no calibration role; the same images as scikit-learn's `train_test_split`
    called twice with this seed. Records whose own split says test are left aside, since the
    published protocol never opens them. `grouped` keeps the images of a source together and the
    classes as balanced as the sources allow. `given` follows the catalog's split column, and
    holds out `val` and `calib` out of the training part where they are not given.

    The result depends on the records and the seed, not on their order.

    Raises `SplitError` when the catalog cannot fill training and test, has fewer than two
    classes, or (`given`) names no or unknown parts.
    """
    if len(catalog.classes) < 2:
        raise SplitError(
            "a classifier needs at least 2 classes",
            f"{len(catalog.classes)}: {', '.join(catalog.classes)}",
            "check how the folder was read: one folder per class is expected",
        )
    catalog = replace(catalog, records=tuple(sorted(catalog.records, key=lambda r: r.id)))
    if protocol == "random":
        roles = _draw_random(catalog, seed)
    elif protocol == "grouped":
        rows = range(len(catalog))
        roles = [""] * len(catalog)
        for row, role in _assign_groups(catalog, rows, GROUPED_FRACTIONS, seed).items():
            roles[row] = role
    elif protocol == "given":
        roles = _read_given(catalog, seed)
    else:
        raise SplitError(
            "protocol must be random, grouped or given",
            repr(protocol),
            "use `build_kfold` for folds",
        )
    _check_roles(catalog, roles, "add images, or sources")
    if protocol != "random":
        _check_spellings(catalog, roles)
    return Split(catalog, tuple(roles), protocol, seed)


def _check_roles(catalog: Catalog, roles: Sequence[str], remedy: str) -> None:
    for role in ("train", "val", "test"):
        if role not in roles:
            raise SplitError(
                f"the role {role} needs at least one image",
                f"{len(catalog):,} images of {len(set(group_sources(catalog))):,} sources",
                remedy,
            )


def _check_spellings(catalog: Catalog, roles: Sequence[str]) -> None:
    """Raise `SplitError` where one patient, spelled in two ways, would lie in two roles."""
    roles_of: dict[str, set[str]] = defaultdict(set)
    for record, role in zip(catalog.records, roles, strict=True):
        if role:
            roles_of[record.source].add(role)
    torn = [
        names
        for names in list_alike_sources(catalog.records)
        if len(set().union(*(roles_of[name] for name in names))) > 1
    ]
    if torn:
        first = "; ".join(" and ".join(names[:3]) for names in torn[:3])
        raise SplitError(
            "one patient or slide must be spelled in one way, for it may not lie in two roles",
            f"{len(torn):,} names in several spellings, for example {first}",
            "spell it in one way; or give two patients names that differ by more than case, spaces"
            " or leading zeros",
        )


def _draw_random(catalog: Catalog, seed: int) -> list[str]:
    rows = np.array([i for i, r in enumerate(catalog.records) if r.split != "test"], dtype=np.int64)
    roles = [""] * len(catalog)
    if len(rows) < 3:
        return roles
    rest, test = _draw_part(rows, 0.15, seed)
    train, val = _draw_part(rest, 0.2, seed)
    for role, part in (("train", train), ("val", val), ("test", test)):
        for row in part:
            roles[row] = role
    return roles


def _draw_part(
    rows: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut off a share as scikit-learn's ShuffleSplit does: rounded up, first in a permutation."""
    n = math.ceil(fraction * len(rows))
    order = np.random.RandomState(seed).permutation(len(rows))
    return rows[order[n:]], rows[order[:n]]


def _read_given(catalog: Catalog, seed: int) -> list[str]:
    roles = [record.split for record in catalog.records]
    strange = [r for r in catalog.records if r.split not in ROLES]
    if strange:
        first = ", ".join(f"{r.id} ({r.split or 'none'})" for r in strange[:3])
        raise SplitError(
            "protocol given needs a part (train, val, calib, test) for every image",
            f"{len(strange):,} without, for example {first}",
            "name the folders TRAIN and TEST, fill the split column, or use protocol grouped",
        )
    for role in ("train", "test"):
        if role not in roles:
            raise SplitError(
                "protocol given needs a train and a test part",
                f"no {role}; parts {', '.join(sorted(set(roles)))}",
                "scan the folder above both parts, or use protocol grouped",
            )
    held_out: dict[Role, float] = {
        role: HELD_OUT_FRACTION for role in ("val", "calib") if role not in roles
    }
    if held_out:
        rows = [i for i, role in enumerate(roles) if role == "train"]
        fractions: dict[Role, float] = {"train": 1 - sum(held_out.values()), **held_out}
        for row, role in _assign_groups(catalog, rows, fractions, seed).items():
            roles[row] = role
    return roles


def build_kfold(catalog: Catalog, folds: int = 5, *, seed: int = 42) -> tuple[Split, ...]:
    """Return one split per fold: its test role is the fold, the rest is train, val and calib.

    Sources stay together throughout, and every record is tested exactly once.

    Raises `SplitError` for fewer than two folds or classes, fewer sources than folds, or sources
    so few that training or validation beside a fold would be empty.
    """
    sources = set(group_sources(catalog))
    if folds < 2 or len(sources) < folds or len(catalog.classes) < 2:
        raise SplitError(
            "k-fold needs at least 2 folds and classes, and a source for each fold",
            f"{folds} folds, {len(sources):,} sources, {len(catalog.classes)} classes",
            "use fewer folds, or add sources",
        )
    catalog = replace(catalog, records=tuple(sorted(catalog.records, key=lambda r: r.id)))
    rows = range(len(catalog))
    shares = {str(fold): 1 / folds for fold in range(folds)}
    fold_of = _assign_groups(catalog, rows, shares, seed)
    rest = {role: share for role, share in GROUPED_FRACTIONS.items() if role != "test"}
    splits = []
    for fold in shares:
        roles = ["test"] * len(catalog)
        others = [row for row in rows if fold_of[row] != fold]
        for row, role in _assign_groups(catalog, others, rest, seed).items():
            roles[row] = role
        _check_roles(catalog, roles, "use fewer folds, or add sources")
        _check_spellings(catalog, roles)
        splits.append(Split(catalog, tuple(roles), "kfold", seed))
    return tuple(splits)


def join_splits(splits: Sequence[Split]) -> Split:
    """Return one split of all images, whose roles hold for several networks together.

    What any network was fitted or chosen on is new to none of them together: an image is `train`
    where any split says so, else `val` likewise, then `calib`, then `test`. Of an image that a
    split leaves out, that split says what it says of other images of its source. Over k folds,
    whose test parts are the training images of the other folds, next to nothing is left, and
    rightly so. Sources that cross roles within one of the splits still do; the audit finds them.

    Protocol and seed are those of the first split, the protocol `random` where any is. Raises
    `SplitError` where one id names different images.
    """
    records: dict[str, ImageRecord] = {}
    for record in (record for split in splits for record in split.catalog.records):
        known = records.setdefault(record.id, record)
        contents = [(r.sha256, r.box, r.label) for r in (known, record)]
        if contents[0] != contents[1]:
            raise SplitError(
                "one id must name one image with one label in all splits",
                " and ".join(f"{record.id}: {label} ({sha[:12]}...)" for sha, _, label in contents),
                "train all members on splits of one catalog",
            )
        if not known.source:
            records[record.id] = record
    catalog = Catalog(tuple(records[name] for name in sorted(records)))
    names = [record.id for record in catalog.records]
    sources = dict(zip(names, group_sources(catalog), strict=True))
    roles_of: dict[str, set[str]] = {name: set() for name in names}
    for split in splits:
        pairs = zip(split.catalog.records, split.roles, strict=True)
        own = {record.id: role for record, role in pairs if role}
        of_source: dict[str, set[str]] = defaultdict(set)
        for name, role in own.items():
            of_source[sources[name]].add(role)
        for name in names:
            roles_of[name] |= {own[name]} if name in own else of_source[sources[name]]
    roles = tuple(next((r for r in ROLES if r in roles_of[name]), "") for name in names)
    protocols = {split.protocol for split in splits}
    protocol: Protocol = "random" if "random" in protocols else splits[0].protocol
    joint = Split(catalog, roles, protocol, splits[0].seed)
    return replace(joint, check=_join_checks(joint, [split.check for split in splits]))


def _join_checks(joint: Split, checks: Sequence[PixelCheck | None]) -> PixelCheck | None:
    """What the checks of several splits say of their union: the copies among its own test images;
    and that none was missed only if all were checks of this very split."""
    digest = hash_split(joint)
    known = [check for check in checks if check is not None]
    if known and len(known) == len(checks) and {check.digest for check in known} == {digest}:
        return known[0]
    role_of = dict(zip((r.id for r in joint.catalog.records), joint.roles, strict=True))
    pairs = {
        (first, second)
        for check in known
        for first, second in check.copies
        if role_of.get(first) == "test" and role_of.get(second) in ("train", "val")
    }
    copies = {first: (first, second) for first, second in sorted(pairs, reverse=True)}
    if not copies:
        return None
    roles = list(role_of.values())
    return PixelCheck(
        digest=digest,
        n_test=len(copies),
        n_all_test=roles.count("test"),
        n_training=len({second for _, second in copies.values()}),
        n_all_training=roles.count("train") + roles.count("val"),
        n_smooth=0,
        copies=tuple(copies[name] for name in sorted(copies)),
    )


def _assign_groups(
    catalog: Catalog, rows: Sequence[int], fractions: Mapping[RoleName, float], seed: int
) -> dict[int, RoleName]:
    """Share whole sources out among roles, classes balanced: greedy, the largest first.

    Each source goes where the squared distance of the class counts from their targets, relative
    to the class's size, falls most; among equals, to the emptiest. Before that, where the shares
    are unequal, the sources of each class, the rarest first, are allocated one to each role in the
    order of `fractions`, so that no small role goes without a class that can be spared.
    """
    names = group_sources(catalog)
    classes = {label: k for k, label in enumerate(catalog.classes)}
    members: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        members[names[row]].append(row)
    groups = sorted(members)
    counts_GK = np.zeros((len(groups), len(classes)))
    for g, name in enumerate(groups):
        for row in members[name]:
            counts_GK[g, classes[catalog.records[row].label]] += 1
    total_K = np.maximum(counts_GK.sum(axis=0), 1)
    shares_R = np.array(list(fractions.values())) / sum(fractions.values())
    target_RK = shares_R[:, None] * total_K
    have_RK = np.zeros_like(target_RK)
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-counts_GK[order].sum(axis=1), kind="stable")]
    chosen = np.full(len(groups), -1)
    sources_K = (counts_GK > 0).sum(axis=0)
    # Equal shares (folds) spread a class without that, and more evenly.
    ordered = np.argsort(sources_K, kind="stable") if np.ptp(shares_R) > 0 else ()
    for k in ordered:
        needy = [r for r in range(len(shares_R)) if have_RK[r, k] == 0]
        free = [g for g in order[::-1] if chosen[g] < 0 and counts_GK[g, k] > 0]
        # The smallest will do: the largest are needed to meet the targets. Of the smallest the
        # role that is served first gets the largest, lest training starve where there are few.
        for r, g in zip(needy, reversed(free[: len(needy)]), strict=False):
            chosen[g] = r
            have_RK[r] += counts_GK[g]
    for g in order:
        if chosen[g] >= 0:
            continue
        gap_RK = (have_RK - target_RK) / total_K
        step_K = counts_GK[g] / total_K
        gain_R = ((gap_RK + step_K) ** 2 - gap_RK**2).sum(axis=1)
        r = int(np.lexsort((have_RK.sum(axis=1), gain_R.round(12)))[0])
        chosen[g] = r
        have_RK[r] += counts_GK[g]
    roles = list(fractions)
    return {row: roles[chosen[g]] for g, name in enumerate(groups) for row in members[name]}


# -- files ----------------------------------------------------------------------------------------


def save_split(split: Split, path: Path, staged: Path | None = None) -> None:
    """Write the catalog's columns with `role`, `protocol` and `seed`, and the audit beside it as
    `<stem>.audit.json`; both or none. In the folder `staged`, if given, they wait to be moved to
    their places (`storage.replacing_together`). Raises `StorageError`."""
    if staged is None:
        with replacing_together(path.parent, last=path.name) as staged:
            save_split(split, path, staged)
        return
    rows = [
        record_to_row(record, path)
        | {"role": role, "protocol": split.protocol, "seed": str(split.seed)}
        for record, role in zip(split.catalog.records, split.roles, strict=True)
    ]
    columns = list_columns(split.catalog.records)
    further = (name for name in columns[len(COLUMNS) :] if name not in _OWN_COLUMNS)
    columns = (*COLUMNS, *_OWN_COLUMNS, *further)
    write_rows(rows, columns, staged / path.name)
    save_record(audit_split(split), _find_audit(staged / path.name))


def _find_audit(path: Path) -> Path:
    return path.with_name(f"{path.stem}.audit.json")


def list_folds(path: Path, folds: int) -> tuple[Path, ...]:
    """Return where the splits of k folds lie, for a split at `path`."""
    return tuple(path.with_name(f"{path.stem}.fold{k}{path.suffix}") for k in range(folds))


def load_split(path: Path) -> Split:
    """Read what `save_split` wrote; what a comparison of pixels found is taken from the audit
    beside it, if that is of these very images and roles.

    Raises `CatalogError` for a table that is not one of ours, `SplitError` for unknown roles.
    """
    rows = read_rows(path, (*COLUMNS, *_OWN_COLUMNS))
    wrong = sorted({row["role"] for row in rows} - {*ROLES, ""})
    protocols = {row["protocol"] for row in rows}
    seeds = {row["seed"] for row in rows}
    protocol = next((p for p in PROTOCOLS if protocols == {p}), None)
    if wrong or protocol is None or len(seeds) != 1 or not is_whole_number(*seeds):
        raise SplitError(
            f"{path} must hold roles {', '.join(ROLES)}, and one protocol and seed throughout",
            f"roles {', '.join(wrong) or 'fine'}; protocols {', '.join(sorted(protocols))};"
            f" seeds {', '.join(sorted(seeds))}",
            "make the split with `leukoscope data split`",
        )
    rows.sort(key=lambda row: row["id"])
    roles = tuple(row["role"] for row in rows)
    seed = int(next(iter(seeds)))
    records = tuple(
        row_to_record({k: v for k, v in row.items() if k not in _OWN_COLUMNS}, path) for row in rows
    )
    split = Split(Catalog(records), roles, protocol, seed)
    return replace(split, check=_load_check(_find_audit(path), hash_split(split)))


def _load_check(audit: Path, digest: str) -> PixelCheck | None:
    try:
        check = load_record(SplitAudit, audit, "leukoscope data split", SplitError).check
    except LeukoscopeError:
        # The table is the split; what is missing beside it is compared again by whoever needs it.
        return None
    return check if check is not None and check.digest == digest else None


def hash_split(split: Split) -> str:
    """Return the SHA-256, in hexadecimal digits, of all that a split says: protocol, seed, and of
    every image its id, content and pixels, box, label, part, source, further columns and role.

    Neither the order of the rows counts nor where the files lie, so that a split keeps its hash
    through `save_split` and `load_split` and wherever run or images are moved.
    """
    written = (*COLUMNS, PIXEL_COLUMN, *BOX_COLUMNS, *_OWN_COLUMNS)
    rows = sorted(zip(split.catalog.records, split.roles, strict=True), key=lambda x: x[0].id)
    digest = hashlib.sha256(f"{split.protocol} {split.seed}\n".encode())
    for one, role in rows:
        further = sorted((k, v) for k, v in one.extra.items() if v and k not in written)
        further += [(PIXEL_COLUMN, one.pixels)] if one.pixels else []
        content = (one.sha256, one.bytes, one.width, one.height, one.box)
        row = (one.id, *content, one.label, one.split, one.source, further, role)
        digest.update(f"{json.dumps(row)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class SplitDifference:
    """In how many images two splits differ, by what: `new` and `gone` ids; and of the ids in both
    those with another content, label, source (or further columns) or role."""

    new: int
    gone: int
    content: int
    label: int
    source: int
    role: int


def compare_splits(before: Split, after: Split) -> SplitDifference:
    """Return in what `after` differs from `before`; all zero where only protocol or seed do."""
    old, new = (
        {r.id: (r, role) for r, role in zip(x.catalog.records, x.roles, strict=True)}
        for x in (before, after)
    )
    pairs = [(old[name], new[name]) for name in old.keys() & new.keys()]
    return SplitDifference(
        new=len(new.keys() - old.keys()),
        gone=len(old.keys() - new.keys()),
        content=sum((a.sha256, a.box) != (b.sha256, b.box) for (a, _), (b, _) in pairs),
        label=sum(a.label != b.label for (a, _), (b, _) in pairs),
        source=sum(a.source != b.source for (a, _), (b, _) in pairs),
        role=sum(a != b for (_, a), (_, b) in pairs),
    )


# -- audit ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SharedSources:
    """Sources that occur in two roles: how many, the first names, and how many files of the two
    roles are identical."""

    roles: tuple[str, str]
    n_sources: int
    examples: tuple[str, ...]
    n_identical_files: int


@dataclass(frozen=True)
class SplitAudit:
    """What a reader must know before believing a number measured on a split.

    `counts` are images by role and class. `test_with_copy_in_training` counts test images whose
    source or bytes also occur in `train` or `val`, or that `check` found there. `leakage_status`
    is that of `choose_status`, where a source that crosses any roles counts.
    """

    protocol: Protocol
    seed: int
    counts: dict[str, dict[str, int]]
    n_sources: dict[str, int]
    n_left_aside: int
    sources_known: bool
    source_kind: SourceKind
    shared: tuple[SharedSources, ...]
    test_with_copy_in_training: int
    leakage_status: LeakageStatus
    findings: tuple[Finding, ...]
    check: PixelCheck | None = None


def choose_status(shared: bool, kind: SourceKind, check: PixelCheck | None) -> LeakageStatus:
    """Return how far figures can be trusted: whether sources are shared, what the sources say, and
    what comparing pixels found (None where it does not concern these images).

    Copies count as a leak where all images were compared, and as a sign of one where a sample was.
    Images that show pictures of their own may still be of one person: only sources that the data
    themselves name make a split `disjoint`.
    """
    copies = check is not None and bool(check.copies)
    if shared or (copies and check is not None and check.is_whole):
        return "leaking"
    if copies:
        return "suspect"
    if kind == "declared":
        return "disjoint"
    if kind == "pixels" or (check is not None and check.excludes_copies):
        return "images_disjoint"
    return "unproven"


def audit_split(split: Split) -> SplitAudit:
    """Return what crosses the roles of a split, and what else limits a number measured on it."""
    records, sources = split.catalog.records, split.sources
    counts: dict[str, dict[str, int]] = {role: {} for role in ROLES}
    sources_of: dict[str, set[str]] = {role: set() for role in ROLES}
    files_of: dict[str, set[str]] = {role: set() for role in ROLES}
    for record, role, source in zip(records, split.roles, sources, strict=True):
        if role:
            counts[role][record.label] = counts[role].get(record.label, 0) + 1
            sources_of[role].add(source)
            files_of[role].add(record.content)
    shared = []
    for first, second in itertools.combinations(ROLES, 2):
        common = sources_of[first] & sources_of[second]
        if common:
            identical = len(files_of[first] & files_of[second])
            examples = tuple(sorted(common)[:3])
            shared.append(SharedSources((first, second), len(common), examples, identical))
    seen = sources_of["train"] | sources_of["val"]
    copies = {
        record.id
        for record, role, source in zip(records, split.roles, sources, strict=True)
        if role == "test" and source in seen
    }
    kind = find_source_kind(split.catalog)
    check = split.check
    found = [
        *_find_shared(shared, counts, len(copies)),
        *_find_sources(split, kind),
        *_find_copies(split),
        *_find_alike(split),
        *_find_parts(split),
        *_find_gaps(split, counts),
    ]
    return SplitAudit(
        protocol=split.protocol,
        seed=split.seed,
        counts=counts,
        n_sources={role: len(names) for role, names in sources_of.items()},
        n_left_aside=sum(not role for role in split.roles),
        sources_known=kind in ("declared", "pixels"),
        source_kind=kind,
        shared=tuple(shared),
        test_with_copy_in_training=len(copies | {first for first, _ in check.copies})
        if check
        else len(copies),
        leakage_status=choose_status(bool(shared), kind, check),
        findings=tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity))),
        check=check,
    )


def _find_shared(
    shared: Sequence[SharedSources], counts: Mapping[str, Mapping[str, int]], copies: int
) -> list[Finding]:
    if not shared:
        return []
    values = {"n_related": copies, "n_images": sum(counts["test"].values())}
    pairs = tuple(Count(entry.roles, entry.n_sources) for entry in shared)
    return [Finding("sources_shared", "error", values, pairs)]


def _find_sources(split: Split, kind: SourceKind) -> list[Finding]:
    match kind:
        case "unknown":
            unknown = sum(not record.source for record in split.catalog.records)
            return [Finding("sources_unknown", "warning", {"n_images": unknown})]
        case "files":
            n_files = len({record.sha256 for record in split.catalog.records})
            values = {"n_images": n_files, "n_sources": len(set(split.sources))}
            return [Finding("sources_name_files", "warning", values)]
        case "pixels":
            return [Finding("sources_from_pixels", "note")]
        case "declared":
            return [] if split.check else [Finding("sources_from_table", "note")]


def _find_copies(split: Split) -> list[Finding]:
    """What the comparison of pixels found, if there was one."""
    check = split.check
    if check is None:
        return []
    values = {
        "n_related": len(check.copies),
        "n_images": check.n_test,
        "n_all_images": check.n_all_test,
        "n_training": check.n_training,
        "n_all_training": check.n_all_training,
        "n_smooth": check.n_smooth,
    }
    if not check.copies:
        return [Finding("pixels_compared", "note", values)]
    rows = zip(split.catalog.records, split.roles, strict=True)
    shown = {r.id: ExampleImage(r.id, str(r.path), r.label, role) for r, role in rows}
    examples = tuple(
        Example("source", shown[first], shown[second])
        for first, second in check.copies[:MAX_COPIES_SHOWN]
        if first in shown and second in shown
    )
    return [Finding("copies_found", "error", values, examples=examples)]


def _find_alike(split: Split) -> list[Finding]:
    alike = list_alike_sources(split.catalog.records)
    if not alike:
        return []
    counts = tuple(Count(names, len(names)) for names in alike[:3])
    return [Finding("sources_alike", "warning", {"n_groups": len(alike)}, counts)]


def _find_parts(split: Split) -> list[Finding]:
    """What the data say of parts and the roles do not follow."""
    pairs = list(zip(split.catalog.records, split.roles, strict=True))
    findings = []
    trained_on = sum(r.split == "test" and role in ("train", "val") for r, role in pairs)
    if trained_on:
        findings.append(Finding("test_part_trained_on", "warning", {"n_images": trained_on}))
    elsewhere = sum(r.split in ROLES and role not in ("", r.split) for r, role in pairs)
    if elsewhere and split.protocol != "given" and not trained_on:
        parts = sorted({r.split for r, _ in pairs if r.split in ROLES})
        counts = tuple(Count((part,), sum(r.split == part for r, _ in pairs)) for part in parts)
        findings.append(Finding("parts_not_followed", "note", {"n_images": elsewhere}, counts))
    strange = Counter(r.split for r, _ in pairs if r.split and r.split not in ROLES)
    if strange:
        counts = tuple(Count((name,), n) for name, n in sorted(strange.items()))
        findings.append(Finding("parts_unknown", "warning", {"n_images": strange.total()}, counts))
    return findings


def _find_gaps(split: Split, counts: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    findings = []
    absent = tuple(
        Count((role, label), 0)
        for role in ROLES
        for label in split.catalog.classes
        if counts[role] and not counts[role].get(label)
    )
    if absent:
        findings.append(Finding("class_missing", "warning", counts=absent))
    few = tuple(Count((c,), n) for c, n in sorted(counts["test"].items()) if n < FEW_IMAGES)
    if few:
        findings.append(Finding("few_test_images", "warning", {"limit": FEW_IMAGES}, few))
    aside = sum(not role for role in split.roles)
    if aside:
        findings.append(Finding("without_role", "note", {"n_images": aside}))
    return findings
