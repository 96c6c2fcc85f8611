import csv
import hashlib
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders.images import records_of

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.findings import Count
from leukoscope.data.groups import SOURCE_PREFIX, find_source_kind
from leukoscope.data.splits import (
    GROUPED_FRACTIONS,
    PROTOCOLS,
    ROLES,
    PixelCheck,
    Split,
    SplitAudit,
    SplitDifference,
    audit_split,
    build_kfold,
    build_split,
    compare_splits,
    hash_split,
    join_splits,
    load_split,
    save_split,
)
from leukoscope.errors import CatalogError, SplitError, StorageError
from leukoscope.records import dump_record, load_record


def make_catalog(sizes, known=True):
    """`sizes`: per class, the number of images of each of its sources."""
    records = []
    for label, sources in sizes.items():
        for s, n in enumerate(sources):
            for i in range(n):
                name = f"{label}/{s:03d}/{i:03d}.png"
                records.append(
                    ImageRecord(
                        id=name,
                        path=Path("/cells") / name,
                        label=label,
                        width=32,
                        height=32,
                        bytes=9,
                        sha256=hashlib.sha256(name.encode()).hexdigest(),
                        source=f"{label}-{s}" if known else "",
                    )
                )
    return Catalog(tuple(sorted(records, key=lambda r: r.id)))


def with_parts(catalog, choose):
    """The catalog with `choose(place, record)` as its split column."""
    records = (replace(r, split=choose(i, r)) for i, r in enumerate(catalog.records))
    return Catalog(tuple(records))


def count(split):
    return Counter(split.roles)


PLAIN = make_catalog({"eosinophil": [1] * 60, "monocyte": [1] * 40}, known=False)
GROUPED = make_catalog({"eosinophil": [10] * 20, "monocyte": [5] * 12})


# -- random ---------------------------------------------------------------------------------------


def test_random_rounds_as_the_reference_does():
    split = build_split(PLAIN, "random")
    assert count(split) == {"test": 15, "val": 17, "train": 68}
    assert (split.protocol, split.seed) == ("random", 42)


def test_random_leaves_the_given_test_part_aside():
    catalog = with_parts(PLAIN, lambda i, r: "test" if i % 10 == 0 else "train")
    split = build_split(catalog, "random")
    assert all((r.split == "test") == (role == "") for r, role in pairs(split))
    assert count(split)["test"] == math.ceil(0.15 * 90)


def pairs(split):
    return list(zip(split.catalog.records, split.roles, strict=True))


def test_another_seed_is_another_draw_the_same_seed_the_same():
    for protocol in ("random", "grouped"):
        assert build_split(PLAIN, protocol, seed=1) == build_split(PLAIN, protocol, seed=1)
        assert build_split(PLAIN, protocol, seed=1).roles != build_split(PLAIN, protocol).roles


def test_three_images_are_the_least():
    three = make_catalog({"a": [1, 1], "b": [1]})
    assert sorted(build_split(three, "random").roles) == ["test", "train", "val"]
    two = make_catalog({"a": [1], "b": [1]})
    with pytest.raises(SplitError, match="the role train needs at least one image"):
        build_split(two, "random")


# -- grouped --------------------------------------------------------------------------------------


def test_grouped_meets_its_fractions_in_every_class():
    split = build_split(GROUPED, "grouped")
    for label, total, step in (("eosinophil", 200, 10), ("monocyte", 60, 5)):
        for role, fraction in GROUPED_FRACTIONS.items():
            n = sum(r.label == label for r in records_of(split, role))
            assert abs(n - fraction * total) <= step


def test_grouped_keeps_a_source_and_its_copies_in_one_role():
    catalog = Catalog(
        tuple(
            # The first image of a source is the first of its neighbour too, byte for byte.
            replace(r, sha256=f"{int(r.id[-11:-8]) // 2:064x}") if r.id.endswith("000.png") else r
            for r in GROUPED.records
        )
    )
    split = build_split(catalog, "grouped")
    roles = {}
    for (record, role), source in zip(pairs(split), split.sources, strict=True):
        for key in (source, record.source, record.sha256):
            assert roles.setdefault(key, role) == role
    assert len(set(split.sources)) < len({r.source for r in catalog.records})


@pytest.mark.parametrize(
    ("n_sources", "served"),
    [
        (1, {"train"}),
        (2, {"train", "test"}),
        (3, {"train", "test", "val"}),
        (4, {"train", "test", "val", "calib"}),
    ],
)
def test_a_tiny_class_serves_training_then_test_then_validation(n_sources, served):
    catalog = make_catalog({"common": [5] * 40, "rare": list(range(2, 2 + n_sources))})
    split = build_split(catalog, "grouped")
    assert {role for r, role in pairs(split) if r.label == "rare"} == served


def test_the_largest_source_of_a_tiny_class_trains():
    catalog = make_catalog({"common": [10] * 20, "rare": [2, 100, 3, 5]})
    counts = audit_split(build_split(catalog, "grouped")).counts
    assert {role: counts[role]["rare"] for role in ROLES} == {
        "train": 100,
        "test": 5,
        "val": 3,
        "calib": 2,
    }


def test_one_giant_source_does_not_leave_the_other_roles_bare():
    catalog = make_catalog({"a": [500, 2, 2, 2, 2, 2], "b": [10] * 10})
    counts = audit_split(build_split(catalog, "grouped")).counts
    assert counts["train"]["a"] >= 500
    assert all(counts[role]["a"] >= 2 for role in ROLES)


def test_grouped_without_enough_sources():
    with pytest.raises(SplitError, match="the role val needs at least one image") as caught:
        build_split(make_catalog({"a": [50], "b": [50]}), "grouped")
    assert "100 images of 2 sources" in caught.value.found


@pytest.mark.parametrize("protocol", ["random", "grouped", "given"])
def test_one_class_is_no_classifier(protocol):
    with pytest.raises(SplitError, match="at least 2 classes"):
        build_split(make_catalog({"a": [1] * 50}), protocol)
    with pytest.raises(SplitError, match="at least 2 classes"):
        build_split(Catalog(()), protocol)


@pytest.mark.parametrize("protocol", ["kfold", "stratified", ""])
def test_other_protocols_are_rejected(protocol):
    with pytest.raises(SplitError, match="random, grouped or given"):
        build_split(PLAIN, protocol)


# -- given ----------------------------------------------------------------------------------------


def test_given_follows_the_split_column():
    catalog = with_parts(PLAIN, lambda i, r: ROLES[i % 4])
    split = build_split(catalog, "given")
    assert [role for _, role in pairs(split)] == [r.split for r in split.catalog.records]


@pytest.mark.parametrize(
    ("parts", "carved"),
    [
        (("train", "test"), {"val", "calib"}),
        (("train", "val", "test"), {"calib"}),
        (("train", "calib", "test"), {"val"}),
    ],
)
def test_given_carves_what_is_missing_out_of_training(parts, carved):
    catalog = with_parts(GROUPED, lambda i, r: parts[int(r.source[-1]) % len(parts)])
    split = build_split(catalog, "given")
    n_train = sum(r.split == "train" for r in catalog.records)
    for record, role in pairs(split):
        assert role == record.split or (record.split == "train" and role in carved)
    for role in carved:
        assert abs(count(split)[role] - 0.1 * n_train) <= 10
    trained = {source for s, source in zip(split.roles, split.sources, strict=True) if s == "train"}
    for (_, role), source in zip(pairs(split), split.sources, strict=True):
        assert role not in carved or source not in trained


def test_given_names_what_lacks_a_part():
    catalog = with_parts(PLAIN, lambda i, r: ("train", "test", "", "fold3")[min(i % 50, 3)])
    with pytest.raises(SplitError) as caught:
        build_split(catalog, "given")
    assert "96 without" in caught.value.found
    assert "(none)" in caught.value.found
    assert "(fold3)" in caught.value.found


@pytest.mark.parametrize("part", ["train", "test"])
def test_given_needs_both_ends(part):
    other = "test" if part == "train" else "train"
    with pytest.raises(SplitError, match=f"no {other}; parts {part}"):
        build_split(with_parts(PLAIN, lambda i, r: part), "given")


def test_given_with_a_training_part_too_small_to_carve():
    catalog = make_catalog({"a": [5, 5], "b": [5]})
    catalog = with_parts(catalog, lambda i, r: "train" if r.source == "a-0" else "test")
    with pytest.raises(SplitError, match="the role val"):
        build_split(catalog, "given")


# -- several together -----------------------------------------------------------------------------


def test_a_split_joined_with_itself_is_itself():
    split = build_split(GROUPED, "grouped")
    assert join_splits([split, split]) == split == join_splits([split])


@pytest.mark.parametrize("catalog", [PLAIN, GROUPED])
def test_what_any_network_was_fitted_on_is_new_to_none(catalog):
    splits = [build_split(catalog, "grouped", seed=seed) for seed in range(2)]
    joined = join_splits(splits)
    names = [r.id for r in joined.catalog.records]
    assert names == sorted(r.id for r in catalog.records)
    told = {name: [] for name in names}
    for split in splits:
        for record, role in zip(split.catalog.records, split.roles, strict=True):
            told[record.id].append(role)
    for name, role in zip(names, joined.roles, strict=True):
        assert role == min(told[name], key=ROLES.index)  # train, val, calib, test
    assert {"train", "val", "calib"} <= set(joined.roles)  # else nothing was looked at
    assert audit_split(joined).shared == ()


def test_of_an_image_left_out_its_copies_decide():
    """One network never saw these files, but was trained on copies of them."""
    first = build_split(GROUPED, "grouped")
    kept = [i for i, r in enumerate(first.catalog.records) if not r.id.endswith("/000.png")]
    second = build_split(GROUPED, "grouped", seed=1)
    part = replace(
        second,
        catalog=Catalog(tuple(second.catalog.records[i] for i in kept)),
        roles=tuple(second.roles[i] for i in kept),
    )
    aside = replace(second, roles=tuple(
        role if i in kept else "" for i, role in enumerate(second.roles)
    ))  # fmt: skip
    whole = join_splits([first, second])
    assert join_splits([first, part]).roles == whole.roles
    assert join_splits([part, first]).roles == whole.roles
    assert join_splits([first, aside]).roles == whole.roles
    assert join_splits([first, first]).roles != whole.roles


def test_images_that_nobody_used_stay_aside():
    catalog = with_parts(PLAIN, lambda i, r: "test" if i % 10 == 0 else "train")
    split = build_split(catalog, "random")
    assert join_splits([split, split]).roles == split.roles


def test_folds_leave_hardly_anything():
    joined = join_splits(build_kfold(PLAIN, 5))
    assert "test" not in joined.roles and joined.protocol == "kfold"
    assert count(joined)["train"] > 90
    assert join_splits([build_split(PLAIN, p) for p in ("grouped", "random")]).protocol == "random"


def test_one_id_for_two_images_or_labels_is_rejected():
    split = build_split(GROUPED, "grouped")
    for changes in ({"sha256": "0" * 64}, {"label": "monocyte"}, {"box": (0, 0, 5, 5)}):
        first = replace(split.catalog.records[0], **changes)
        other = replace(split, catalog=Catalog((first, *split.catalog.records[1:])))
        with pytest.raises(SplitError, match="one image with one label"):
            join_splits([split, other])


# -- k-fold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_every_record_is_tested_once_and_sources_stay_together(folds):
    splits = build_kfold(GROUPED, folds)
    assert len(splits) == folds
    tested = Counter(r.id for split in splits for r in records_of(split, "test"))
    assert tested == Counter(r.id for r in GROUPED.records)
    for split in splits:
        assert (split.protocol, split.seed) == ("kfold", 42)
        assert audit_split(split).leakage_status == "disjoint"
        assert set(split.roles) == set(ROLES)
        n_test = count(split)["test"]
        assert abs(n_test - 260 / folds) <= 15


def test_folds_depend_on_the_seed():
    assert build_kfold(GROUPED, 3) == build_kfold(GROUPED, 3)
    assert build_kfold(GROUPED, 3)[0].roles != build_kfold(GROUPED, 3, seed=1)[0].roles


@pytest.mark.parametrize(
    ("catalog", "folds"),
    [
        (GROUPED, 1),
        (GROUPED, 0),
        (make_catalog({"a": [5, 5], "b": [5, 5]}), 5),
        (make_catalog({"a": [5] * 9}), 3),
    ],
)
def test_kfold_needs_folds_classes_and_sources(catalog, folds):
    with pytest.raises(SplitError, match="k-fold needs at least"):
        build_kfold(catalog, folds)


def test_as_many_sources_as_folds_leave_no_fold_empty():
    splits = build_kfold(make_catalog({"a": [3, 3], "b": [2, 2, 2]}), 5)
    assert sorted(count(split)["test"] for split in splits) == [2, 2, 2, 3, 3]


def test_a_rare_class_is_in_as_many_folds_as_it_has_sources():
    catalog = make_catalog({"common": [5] * 40, "rare": [1, 4, 2]})
    splits = build_kfold(catalog, 5)
    with_rare = [any(r.label == "rare" for r in records_of(s, "test")) for s in splits]
    assert sum(with_rare) == 3


def test_kfold_rejects_to_leave_validation_empty():
    with pytest.raises(SplitError, match="the role val") as caught:
        build_kfold(make_catalog({"a": [3], "b": [3]}), 2)
    assert caught.value.remedy == "use fewer folds, or add sources"


# -- the split itself -----------------------------------------------------------------------------


def test_rejected_files_stay_with_the_catalog():
    catalog = Catalog(GROUPED.records[::-1], ("rejected",))
    for split in (build_split(catalog, "grouped"), *build_kfold(catalog, 2)):
        assert split.catalog == Catalog(GROUPED.records, ("rejected",))


# -- files ----------------------------------------------------------------------------------------


def test_a_saved_split_is_loaded_as_it_was(tmp_path):
    catalog = with_parts(GROUPED, lambda i, r: "test" if i < 20 else "train")
    catalog = Catalog(
        tuple(
            # Columns of the user's own may bear our names.
            replace(r, extra={"role": "mine", "stain": "MGG"}, box=(1, 2, 3, 4))
            for r in catalog.records
        )
    )
    for protocol in ("random", "grouped"):
        split = build_split(catalog, protocol, seed=7)
        path = tmp_path / f"{protocol}.csv"
        save_split(split, path)
        loaded = load_split(path)
        records = tuple(replace(r, extra={"stain": "MGG"}) for r in catalog.records)
        assert loaded == replace(split, catalog=Catalog(records))
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        assert header[9:] == [
            "role",
            "protocol",
            "seed",
            "x_min",
            "y_min",
            "x_max",
            "y_max",
            "stain",
        ]
        place = tmp_path / f"{protocol}.audit.json"
        assert load_record(SplitAudit, place, "data split") == audit_split(split)


def test_a_split_keeps_its_hash_through_its_file(tmp_path):
    """Labels with commas, boxes on some rows, columns on others, names that are no Unicode."""
    changes = [
        {"label": 'a,_"b";_c', "source": "p 1"},
        {"extra": {"stain": "MGG", "role": "hidden by the split's own"}, "box": (0, 0, 9, 9)},
        {"id": "caf\udce9.png", "extra": {"ward": "a\rb"}},
    ]
    head = [replace(r, **c) for r, c in zip(GROUPED.records[:3], changes, strict=True)]
    split = replace(build_split(GROUPED, "grouped"), catalog=Catalog((*head, *GROUPED.records[3:])))
    save_split(split, tmp_path / "a.csv")
    loaded = load_split(tmp_path / "a.csv")
    assert hash_split(loaded) == hash_split(split)
    moved = tuple(replace(r, path=Path("/elsewhere") / r.path.name) for r in loaded.catalog.records)
    assert hash_split(replace(loaded, catalog=Catalog(moved))) == hash_split(split)
    for other in (replace(split, seed=7), replace(split, protocol="given")):
        assert hash_split(other) != hash_split(split)
        assert set(vars(compare_splits(split, other)).values()) == {0}


def test_splits_are_compared_by_what_differs():
    split = build_split(GROUPED, "grouped")
    first, second, third, *rest = split.catalog.records
    changed = (
        replace(first, sha256="f" * 64, label="x"),
        replace(second, source="elsewhere"),
        replace(third, id="new"),
        *rest,
    )
    roles = [*split.roles[:-1], "" if split.roles[-1] else "test"]
    other = replace(split, catalog=Catalog(changed), roles=tuple(roles))
    assert compare_splits(split, other) == SplitDifference(1, 1, 1, 1, 1, 1)
    assert compare_splits(split, split) == SplitDifference(0, 0, 0, 0, 0, 0)


def test_every_protocol_is_loaded(tmp_path):
    for protocol in PROTOCOLS:
        split = replace(build_split(GROUPED, "grouped"), protocol=protocol)
        save_split(split, tmp_path / "s.csv")
        assert load_split(tmp_path / "s.csv") == split


def test_rows_out_of_order_are_put_in_order(tmp_path):
    split = build_split(GROUPED, "grouped")
    save_split(split, tmp_path / "s.csv")
    head, *rows = (tmp_path / "s.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join([head, *reversed(rows)]))
    assert load_split(tmp_path / "s.csv") == split


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (",train,", ",Train,", "roles Train;"),
        (",grouped,42", ",magic,42", "protocols magic"),
        (",grouped,42", ",grouped,-1", "seeds -1"),
        (",grouped,42", ",grouped,\u00b2", "seeds \u00b2"),
        (",grouped,42", ",grouped,", "seeds $"),
    ],
)
def test_loading_a_split_is_strict(tmp_path, old, new, found):
    path = tmp_path / "s.csv"
    save_split(build_split(GROUPED, "grouped"), path)
    path.write_text(path.read_text().replace(old, new), encoding="utf-8")
    with pytest.raises(SplitError) as caught:
        load_split(path)
    assert found.rstrip("$") in caught.value.found


@pytest.mark.parametrize(
    ("new", "found"), [(",random,42", "protocols grouped, random"), (",grouped,43", "seeds 42, 43")]
)
def test_one_protocol_and_seed_throughout(tmp_path, new, found):
    path = tmp_path / "s.csv"
    save_split(build_split(GROUPED, "grouped"), path)
    path.write_text(path.read_text().replace(",grouped,42", new, 1))
    with pytest.raises(SplitError, match=found):
        load_split(path)


def test_a_catalog_is_no_split(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("id,path,label,split,source,width,height,bytes,sha256\n")
    with pytest.raises(CatalogError, match="no role, protocol, seed"):
        load_split(path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        save_split(build_split(GROUPED, "grouped"), tmp_path / "file" / "s.csv")


# -- audit ----------------------------------------------------------------------------------------


def by_code(audit):
    return {found.code: found for found in audit.findings}


def assign(catalog, roles, protocol="given"):
    return Split(catalog, tuple(roles), protocol, 42)


def test_known_sources_that_stay_together_are_disjoint():
    split = build_split(GROUPED, "grouped")
    audit = audit_split(split)
    assert audit.leakage_status == "disjoint"
    assert audit.sources_known
    assert audit.shared == ()
    assert audit.test_with_copy_in_training == 0
    assert audit.n_left_aside == 0
    assert (audit.protocol, audit.seed) == ("grouped", 42)
    assert sum(n for role in audit.counts.values() for n in role.values()) == 260
    assert sum(audit.n_sources.values()) == 32


def test_unknown_sources_prove_nothing():
    audit = audit_split(build_split(PLAIN, "random"))
    assert audit.leakage_status == "unproven"
    assert audit.shared == ()
    assert not audit.sources_known
    assert by_code(audit)["sources_unknown"].values == {"n_images": 100}
    assert audit.n_sources == {"train": 68, "val": 17, "calib": 0, "test": 15}
    # A role that is meant to be empty is no reason to warn.
    assert "class_missing" not in by_code(audit)


@pytest.mark.parametrize("first", ROLES)
@pytest.mark.parametrize("second", ROLES)
def test_a_planted_source_across_two_roles_is_found(first, second):
    clean = build_split(GROUPED, "grouped")
    places = {role: clean.roles.index(role) for role in ROLES}
    records = list(GROUPED.records)
    planted = replace(records[places[first]], source=records[places[second]].source)
    if first == second:
        assert audit_split(clean).leakage_status == "disjoint"
        return
    # The planted image alone moves to the other one's source; its role stays.
    records[places[first]] = planted
    audit = audit_split(assign(Catalog(tuple(records)), clean.roles))
    assert audit.leakage_status == "leaking"
    (shared,) = audit.shared
    assert set(shared.roles) == {first, second}
    assert (shared.n_sources, shared.examples) == (1, (planted.source,))
    assert shared.n_identical_files == 0
    expected = 0
    if {first, second} & {"test"} and {first, second} & {"train", "val"}:
        in_test = [s == "test" for s in clean.roles]
        expected = sum(
            t and r.source == planted.source for t, r in zip(in_test, records, strict=True)
        )
    assert audit.test_with_copy_in_training == expected
    found = by_code(audit)["sources_shared"]
    assert found.severity == "error" and found.values["n_related"] == expected
    assert found.counts == (Count(shared.roles, 1),)


def test_a_planted_byte_identical_copy_is_found_though_sources_are_unknown():
    roles = ["train"] * 50 + ["val"] * 20 + ["test"] * 30
    records = list(PLAIN.records)
    records[99] = replace(records[99], sha256=records[0].sha256)
    records[98] = replace(records[98], sha256=records[0].sha256)
    audit = audit_split(assign(Catalog(tuple(records)), roles))
    assert audit.leakage_status == "leaking"
    (shared,) = audit.shared
    assert shared.roles == ("train", "test")
    assert shared.n_identical_files == 1
    assert shared.examples[0].startswith("sha256:")
    assert audit.test_with_copy_in_training == 2
    assert by_code(audit)["sources_shared"].values == {"n_related": 2, "n_images": 30}


def test_examples_are_three_at_most():
    records = tuple(replace(r, source=f"p{i % 10}") for i, r in enumerate(PLAIN.records))
    audit = audit_split(assign(Catalog(records), ["train"] * 50 + ["test"] * 50))
    (shared,) = audit.shared
    assert (shared.n_sources, shared.examples) == (10, ("p0", "p1", "p2"))
    assert audit.test_with_copy_in_training == 50


def test_left_aside_images_count_nowhere():
    records = list(PLAIN.records)
    records[99] = replace(records[99], sha256=records[0].sha256)
    roles = ["train"] * 50 + ["val"] * 20 + ["test"] * 29 + [""]
    audit = audit_split(assign(Catalog(tuple(records)), roles, "random"))
    assert audit.leakage_status == "unproven"
    assert audit.n_left_aside == 1
    assert by_code(audit)["without_role"].values == {"n_images": 1}
    assert sum(n for role in audit.counts.values() for n in role.values()) == 99


def test_absent_and_scarce_classes_are_told():
    catalog = make_catalog({"a": [1] * 100, "b": [1] * 40, "c": [1] * 40})
    roles = [
        {"a": "test", "b": "test", "c": "train"}[r.label] if r.label != "b" or i % 2 else "train"
        for i, r in enumerate(catalog.records)
    ]
    found = by_code(audit_split(assign(catalog, roles)))
    assert list(found) == ["sources_name_files", "class_missing", "few_test_images"]
    assert found["class_missing"].counts == (Count(("train", "a"), 0), Count(("test", "c"), 0))
    assert found["few_test_images"].counts == (Count(("b",), 20),)


def test_thirty_test_images_are_not_few():
    for n, told in ((30, False), (29, True)):
        catalog = make_catalog({"a": [1] * (n + 9), "b": [1] * (n + 9)})
        roles = ["train" if int(r.source.split("-")[1]) < 9 else "test" for r in catalog.records]
        assert ("few_test_images" in by_code(audit_split(assign(catalog, roles)))) == told


@pytest.mark.parametrize(
    ("prefix", "per_source", "status", "code"),
    [
        (SOURCE_PREFIX, 1, "images_disjoint", "sources_from_pixels"),
        (SOURCE_PREFIX, 2, "images_disjoint", "sources_from_pixels"),
        ("slide-", 2, "disjoint", "sources_from_table"),
        # Names of files, or patients with one cell each: no two images are kept together.
        ("file-", 1, "unproven", "sources_name_files"),
    ],
)
def test_what_the_names_of_sources_are_worth(prefix, per_source, status, code):
    sizes = {"a": [per_source] * 60, "b": [per_source] * 60}
    records = [replace(r, source=prefix + r.source) for r in make_catalog(sizes).records]
    audit = audit_split(build_split(Catalog(tuple(records)), "grouped"))
    assert (audit.leakage_status, audit.shared) == (status, ())
    assert code in by_code(audit)
    assert audit.sources_known == (status != "unproven")


@pytest.mark.parametrize(("n_pairs", "kind"), [(0, "files"), (5, "files"), (6, "declared")])
def test_nearly_a_name_for_each_file_is_as_little(n_pairs, kind):
    """Of 100 files 90 or more alone in their source."""
    sizes = [2] * n_pairs + [1] * (100 - 2 * n_pairs)
    assert find_source_kind(make_catalog({"a": sizes})) == kind


def check_of(split, copies, n_test=None, n_smooth=0):
    """What comparing the pixels of a split might have found."""
    n_all, n_training = split.roles.count("test"), split.roles.count("train")
    n_training += split.roles.count("val")
    n_test = n_all if n_test is None else n_test
    return PixelCheck(hash_split(split), n_test, n_all, n_training, n_training, n_smooth, copies)


@pytest.mark.parametrize(
    ("per_source", "n_copies", "sampled", "n_smooth", "status"),
    [
        (1, 0, False, 0, "images_disjoint"),
        (1, 0, True, 0, "unproven"),
        (1, 0, False, 1, "unproven"),
        (1, 2, False, 0, "leaking"),
        (1, 2, True, 0, "suspect"),
        (2, 0, True, 0, "disjoint"),
        (2, 2, False, 1, "leaking"),
        (2, 2, True, 0, "suspect"),
    ],
)
def test_pixels_say_more_than_names(per_source, n_copies, sampled, n_smooth, status):
    split = build_split(make_catalog({"a": [per_source] * 60, "b": [per_source] * 60}), "grouped")
    rows = list(zip((r.id for r in split.catalog.records), split.roles, strict=True))
    test, train = ([name for name, role in rows if role == part] for part in ("test", "train"))
    copies = tuple((name, train[0]) for name in test[:n_copies])
    check = check_of(split, copies, len(test) - 1 if sampled else None, n_smooth)
    audit = audit_split(replace(split, check=check))
    assert audit.leakage_status == status
    found = by_code(audit)
    assert ("copies_found" in found) == bool(n_copies) != ("pixels_compared" in found)
    assert audit.test_with_copy_in_training == n_copies
    if n_copies:
        pair = found["copies_found"].examples[0]
        assert (pair.first.id, pair.second.id) == copies[0]
        assert (pair.first.role, pair.second.role) == ("test", "train")


def test_what_pixels_said_stays_with_these_images_and_roles(tmp_path):
    split = build_split(make_catalog({"a": [1] * 60, "b": [1] * 60}), "grouped")
    split = replace(split, check=check_of(split, ()))
    save_split(split, tmp_path / "split.csv")
    assert load_split(tmp_path / "split.csv").check == split.check
    # Another draw under the same name, beside the audit of the first.
    other = build_split(split.catalog, "grouped", seed=1)
    audit = (tmp_path / "split.audit.json").read_bytes()
    save_split(other, tmp_path / "split.csv")
    (tmp_path / "split.audit.json").write_bytes(audit)
    assert load_split(tmp_path / "split.csv").check is None
    (tmp_path / "split.audit.json").write_text("{}")
    assert load_split(tmp_path / "split.csv").check is None
    (tmp_path / "split.audit.json").unlink()
    assert load_split(tmp_path / "split.csv").check is None


def test_joined_splits_keep_the_copies_that_cross_their_roles():
    catalog = make_catalog({"a": [1] * 60, "b": [1] * 60})
    first = build_split(catalog, "grouped")
    names = [r.id for r in first.catalog.records]
    test, train = (
        [n for n, role in zip(names, first.roles, strict=True) if role == part]
        for part in ("test", "train")
    )
    checked = replace(first, check=check_of(first, ((test[0], train[0]), (test[1], train[1]))))
    assert join_splits([checked, checked]).check == checked.check
    # In the other split the first of them was trained on, so it is no test image of both.
    pairs = zip(names, first.roles, strict=True)
    roles = tuple("train" if name == test[0] else role for name, role in pairs)
    joint = join_splits([checked, replace(first, roles=roles)])
    assert joint.check.copies == ((test[1], train[1]),) and not joint.check.is_whole
    assert audit_split(joint).leakage_status == "suspect"
    assert join_splits([first, replace(first, roles=roles)]).check is None


def test_parts_of_the_data_that_the_roles_do_not_follow_are_found():
    catalog = with_parts(
        make_catalog({"a": [2] * 20, "b": [2] * 20}), lambda k, _: ("test", "odd", "")[k % 3]
    )
    split = build_split(catalog, "grouped")
    found = by_code(audit_split(split))
    trained_on = sum(
        r.split == "test" and role in ("train", "val")
        for r, role in zip(split.catalog.records, split.roles, strict=True)
    )
    assert trained_on
    assert found["test_part_trained_on"].values == {"n_images": trained_on}
    odd = sum(r.split == "odd" for r in catalog.records)
    assert found["parts_unknown"].values == {"n_images": odd}
    assert found["parts_unknown"].counts == (Count(("odd",), odd),)


def test_parts_without_a_test_part_are_not_followed_and_it_is_said():
    catalog = with_parts(
        make_catalog({"a": [2] * 20, "b": [2] * 20}), lambda k, _: ("train", "val")[k % 2]
    )
    split = build_split(catalog, "grouped")
    elsewhere = sum(
        r.split != role for r, role in zip(split.catalog.records, split.roles, strict=True)
    )
    found = by_code(audit_split(split))
    assert found["parts_not_followed"].values == {"n_images": elsewhere}
    assert [count.names for count in found["parts_not_followed"].counts] == [("train",), ("val",)]


def test_a_split_that_follows_the_parts_has_no_such_finding():
    catalog = with_parts(
        make_catalog({"a": [2] * 20, "b": [2] * 20}), lambda k, _: ("test", "train")[k % 2]
    )
    for protocol in ("given", "random"):
        found = by_code(audit_split(build_split(catalog, protocol)))
        assert not {"test_part_trained_on", "parts_unknown"} & set(found)
        assert ("parts_not_followed" in found) == (protocol == "random")


def test_an_audit_is_json():
    audit = audit_split(build_split(PLAIN, "random"))
    text = json.loads(json.dumps(dump_record(audit), allow_nan=False))
    assert text["counts"]["train"] == audit.counts["train"]
    assert set(text) == {
        "protocol",
        "seed",
        "counts",
        "n_sources",
        "n_left_aside",
        "sources_known",
        "source_kind",
        "shared",
        "test_with_copy_in_training",
        "leakage_status",
        "findings",
        "check",
    }
