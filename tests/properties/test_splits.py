import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.builders.images import records_of

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources
from leukoscope.data.splits import ROLES, audit_split, build_kfold, build_split
from leukoscope.errors import SplitError

CLASSES = ("blast", "eosinophil", "lymphocyte")


@st.composite
def catalogs(draw):
    """Small tables: classes of any balance, sources that mix classes, copies, blank sources."""
    n = draw(st.integers(3, 60))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(CLASSES), st.integers(-8, 14), st.integers(0, 40)),
            min_size=n,
            max_size=n,
        )
    )
    return Catalog(
        tuple(
            ImageRecord(
                id=f"{i:03d}",
                path=Path(f"/cells/{i}.png"),
                label=label,
                width=32,
                height=32,
                bytes=9,
                sha256=hashlib.sha256(
                    f"{content if content < 6 else i + 100}".encode()
                ).hexdigest(),
                split=("train", "val", "test")[i % 3],
                source=f"p{source}" if source >= 0 else "",
            )
            for i, (label, source, content) in enumerate(rows)
        )
    )


def check_apart(split):
    """Neither sources, as they are told, nor bytes, nor groups of both may cross roles."""
    seen = {}
    for record, role, group in zip(split.catalog.records, split.roles, split.sources, strict=True):
        keys = [("group", group), ("bytes", record.sha256)]
        keys += [("source", record.source)] if record.source else []
        for key in keys:
            assert seen.setdefault(key, role) == role
    audit = audit_split(split)
    assert audit.shared == ()
    assert audit.leakage_status in ("disjoint", "unproven")
    assert audit.test_with_copy_in_training == 0


@settings(max_examples=60, deadline=None)
@given(catalogs(), st.integers(0, 2**31 - 1))
def test_grouped_roles_partition_the_rows_and_no_source_crosses(catalog, seed):
    try:
        split = build_split(catalog, "grouped", seed=seed)
    except SplitError:
        # Only ever for want of classes or sources.
        assert len(catalog.classes) < 2 or len(set(group_sources(catalog))) < 9
        return
    assert len(split.roles) == len(catalog)
    assert set(split.roles) <= set(ROLES)
    check_apart(split)


@settings(max_examples=40, deadline=None)
@given(catalogs(), st.integers(2, 5), st.integers(0, 99))
def test_kfold_tests_every_row_once_and_no_source_crosses(catalog, folds, seed):
    try:
        splits = build_kfold(catalog, folds, seed=seed)
    except SplitError:
        assume(False)
    tested = Counter(record.id for split in splits for record in records_of(split, "test"))
    assert tested == Counter(record.id for record in catalog.records)
    for split in splits:
        check_apart(split)


@settings(max_examples=40, deadline=None)
@given(catalogs(), st.randoms(use_true_random=False))
def test_splits_ignore_the_order_of_rows(catalog, chance):
    rows = list(catalog.records)
    chance.shuffle(rows)
    shuffled = Catalog(tuple(rows))
    for build in (
        lambda c: build_split(c, "random"),
        lambda c: build_split(c, "grouped"),
        lambda c: build_split(c, "given"),
        lambda c: build_kfold(c, 3),
    ):
        try:
            expected = build(catalog)
        except SplitError:
            with pytest.raises(SplitError):
                build(shuffled)
        else:
            assert build(shuffled) == expected


@settings(max_examples=40, deadline=None)
@given(catalogs())
def test_groups_are_the_finest_that_keep_sources_and_bytes_together(catalog):
    names = group_sources(catalog)
    # The witness merges sets until nothing changes.
    groups = [
        ({i}, {("b", r.sha256)} | ({("s", r.source)} if r.source else set()))
        for i, r in enumerate(catalog.records)
    ]
    merged = True
    while merged:
        merged = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if groups[a][1] & groups[b][1]:
                    rows, keys = groups.pop(b)
                    groups[a] = (groups[a][0] | rows, groups[a][1] | keys)
                    merged = True
                    break
            if merged:
                break
    expected = {frozenset(rows) for rows, _ in groups}
    ours = {frozenset(i for i, n in enumerate(names) if n == name) for name in set(names)}
    assert ours == expected


@settings(max_examples=40, deadline=None)
@given(catalogs(), st.integers(0, 99))
def test_the_audit_counts_what_a_random_split_shares(catalog, seed):
    assume(len(catalog.classes) > 1 and sum(r.split != "test" for r in catalog.records) > 2)
    split = build_split(catalog, "random", seed=seed)
    audit = audit_split(split)
    groups = {
        role: {g for g, own in zip(split.sources, split.roles, strict=True) if own == role}
        for role in ROLES
    }
    crossing = {
        (a, b): len(groups[a] & groups[b])
        for i, a in enumerate(ROLES)
        for b in ROLES[i + 1 :]
        if groups[a] & groups[b]
    }
    assert {s.roles: s.n_sources for s in audit.shared} == crossing
    assert (audit.leakage_status == "leaking") == bool(crossing)
    assert audit.test_with_copy_in_training == sum(
        role == "test" and group in groups["train"] | groups["val"]
        for role, group in zip(split.roles, split.sources, strict=True)
    )
