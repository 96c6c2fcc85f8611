"""Audits of planted cases: each fault alone, and what must not count as one."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.data import audit as module
from leukoscope.data.audit import (
    FEW_SOURCES,
    DataAudit,
    RelatedCounts,
    audit_against,
    audit_catalog,
    join_catalogs,
    join_roles,
)
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.findings import SEVERITIES, Count
from leukoscope.data.groups import FIELD_COLUMN
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import Split, audit_split
from leukoscope.errors import SplitError
from leukoscope.records import dump_record, load_record, save_record

LABELS = ("eosinophil", "monocyte")


def make_record(name, label="monocyte", source="", content=None, box=None, field=""):
    content = name if content is None else content
    return ImageRecord(
        id=name,
        path=Path(f"/cells/{name}"),
        label=label,
        width=96,
        height=96,
        bytes=9,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        source=source,
        box=box,
        extra={FIELD_COLUMN: field} if field else {},
    )


def make_clean(per_class=4 * 35):
    """Every image is a source of its own, found in the pixels; roles by fours."""
    records = tuple(
        make_record(f"{label}/{i:03d}.png", label, f"px-{k}{i:011d}")
        for k, label in enumerate(LABELS)
        for i in range(per_class)
    )
    roles = tuple(("train", "val", "calib", "test")[i % 4] for i in range(len(records)))
    return Split(Catalog(records), roles, "grouped", 42)


def change(split, **changes):
    """The split with some records changed: `{position: {field: value}}` as `at_<position>`."""
    records = list(split.catalog.records)
    for key, values in changes.items():
        row = int(key.removeprefix("at_"))
        records[row] = replace(records[row], **values)
    return replace(split, catalog=Catalog(tuple(records)))


def audit(split, **options):
    return audit_catalog(split.catalog, split=split, **options)


def codes(found, severity):
    return [f.code for f in found.findings if f.severity == severity]


def by_code(found):
    return {f.code: f for f in found.findings}


# -- roles ----------------------------------------------------------------------------------------


def test_a_clean_set_is_called_clean():
    found = audit(make_clean(), name="cells.csv")
    assert found.result == "clean" and not found.failed
    assert list(by_code(found)) == ["sources_from_pixels"]
    assert found.leak == RelatedCounts(70)
    assert (found.n_images, found.n_sources, found.sources_from) == (280, 280, "pixels")
    assert found.split.leakage_status == "images_disjoint"


def test_a_catalog_without_roles_is_not_judged_by_them():
    found = audit_catalog(make_clean().catalog)
    assert found.findings == ()
    assert found.leak is None and found.split is None and found.shared is None


def test_copies_across_roles_are_told_by_kind():
    split = make_clean()
    first = split.catalog.records
    leaking = change(
        split,
        # 3, 7 and 11 are test images; 0, 4 and 1 are training images.
        at_3={"sha256": first[0].sha256},
        at_7={"source": first[4].source},
        at_11={"extra": {FIELD_COLUMN: "field-x"}},
        at_1={"extra": {FIELD_COLUMN: "field-x"}},
    )
    found = audit(leaking)
    assert found.result == "leaking" and found.failed
    assert found.leak == RelatedCounts(70, exact=1, source=1, field=1)
    assert found.leak.n_related == found.split.test_with_copy_in_training == 3
    (error,) = [f for f in found.findings if f.severity == "error"]
    assert error.code == "test_duplicates"
    assert error.values == {"n_related": 2, "n_images": 70}
    assert error.counts == (Count(("train", "test"), 2), Count(("val", "test"), 1))
    assert [(e.relation, e.first.id, e.second.id) for e in error.examples] == [
        ("exact", "eosinophil/003.png", "eosinophil/000.png"),
        ("source", "eosinophil/007.png", "eosinophil/004.png"),
        ("field", "eosinophil/011.png", "eosinophil/001.png"),
    ]
    assert {(e.first.role, e.second.role) for e in error.examples} == {
        ("test", "train"),
        ("test", "val"),
    }


@pytest.mark.parametrize("rows", [(3,), (3, 7)])
def test_overlap_alone_is_a_leak_but_no_copy(rows):
    extra = {FIELD_COLUMN: "field-x"}
    split = change(
        make_clean(), at_0={"extra": extra}, **{f"at_{r}": {"extra": extra} for r in rows}
    )
    found = audit(split)
    assert found.result == "leaking" and found.leak.field == len(rows)
    assert found.leak.n_duplicates == 0 and codes(found, "error") == ["test_same_field"]
    assert found.findings[0].values == {"n_related": len(rows), "n_images": 70}
    assert found.n_conflicts == 0


def test_a_link_through_a_third_image_is_no_closer_than_a_field():
    # 3 (test) has the bytes of 2 (calib), whose source 0 (train) bears.
    split = make_clean()
    first = split.catalog.records
    split = change(split, at_3={"sha256": first[2].sha256}, at_0={"source": first[2].source})
    assert audit(split).leak == RelatedCounts(70, field=1)


def test_sources_that_cross_other_roles_are_an_error_too():
    split = make_clean()
    split = change(split, at_2={"source": split.catalog.records[0].source})
    found = audit(split)
    assert found.leak.n_related == 0 and found.result == "leaking"
    assert codes(found, "error") == ["sources_shared"]
    assert found.findings[0].counts == (Count(("train", "calib"), 1),)


def test_two_cells_of_one_picture_are_not_the_same_file():
    split = make_clean()
    source, sha256 = split.catalog.records[0].source, split.catalog.records[0].sha256
    split = change(
        split,
        at_0={"box": (0, 0, 9, 9)},
        at_3={"box": (9, 9, 30, 30), "sha256": sha256, "source": source},
    )
    found = audit(split)
    assert found.leak == RelatedCounts(70, source=1)
    # Pictures are compared whole, and so they are shown.
    (example,) = found.findings[0].examples
    assert example.first.box is example.second.box is None
    twins = change(split, at_3={"box": (0, 0, 9, 9), "sha256": sha256, "source": source})
    (example,) = audit(twins).findings[0].examples
    assert example.relation == "exact" and example.second.box == (0, 0, 9, 9)


def test_examples_are_few_and_show_every_kind():
    split = make_clean()
    changes = {}
    for k in range(10):
        changes[f"at_{8 * k + 3}"] = {"source": f"px-pair{k}"}
        changes[f"at_{8 * k}"] = {"source": f"px-pair{k}"}
    changes["at_83"] = {"sha256": split.catalog.records[80].sha256}
    error = audit(change(split, **changes)).findings[0]
    assert [e.relation for e in error.examples] == ["exact", "source", "source", "source", "source"]


def test_one_source_gives_one_example():
    changes = {f"at_{row}": {"source": "px-one"} for row in (0, 3, 7, 11)}
    assert len(audit(change(make_clean(), **changes)).findings[0].examples) == 1


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_empty_roles_are_a_warning(empty):
    split = make_clean()
    split = replace(split, roles=tuple("" if r == empty else r for r in split.roles))
    found = audit(split)
    assert found.result == "warnings" and not found.failed
    assert by_code(found)["role_empty"].counts == (Count((empty,), 0),)
    assert by_code(found)["without_role"].values == {"n_images": 70}


def test_an_empty_calib_is_a_note_and_all_empty_is_one_warning():
    split = make_clean()
    calibless = replace(split, roles=tuple("train" if r == "calib" else r for r in split.roles))
    found = audit(calibless)
    assert found.result == "clean" and "calib_empty" in codes(found, "note")
    nobody = audit(replace(split, roles=("",) * 280))
    assert codes(nobody, "warning") == ["role_empty"]
    assert [c.names for c in nobody.findings[0].counts] == [("train",), ("val",), ("test",)]
    assert nobody.leak == RelatedCounts(0)


def test_missing_and_rare_classes_are_warnings():
    split = make_clean()
    roles = [
        "train" if r.label == "monocyte" and role == "test" else role
        for r, role in zip(split.catalog.records, split.roles, strict=True)
    ]
    roles[3 + 4] = "train"
    for row in range(11, 35, 4):
        roles[row] = "val"
    found = audit(replace(split, roles=tuple(roles)))
    assert by_code(found)["class_missing"].counts == (Count(("test", "monocyte"), 0),)
    assert by_code(found)["few_test_images"].counts == (Count(("eosinophil",), 28),)


# -- roles from another file ----------------------------------------------------------------------


def test_roles_follow_the_ids_whatever_the_order():
    split = make_clean()
    turned = Catalog(tuple(reversed(split.catalog.records)))
    joined = join_roles(split, turned)
    assert joined.catalog is turned and joined.roles == tuple(reversed(split.roles))
    assert (joined.protocol, joined.seed) == ("grouped", 42)
    # The catalog's sources count, not those of the split.
    found = change(split, at_3={"source": split.catalog.records[0].source}).catalog
    assert audit_catalog(found, split=split).leak.source == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"at_0": {"id": "new"}}, r"1 id only in the catalog.*'new'; 1 id only in the split"),
        ({"at_0": {"sha256": "0" * 64}}, r"1 id with another content, box or label.*000\.png"),
        ({"at_0": {"box": (0, 0, 5, 5)}}, "1 id with another content"),
        ({"at_0": {"label": "blast"}, "at_1": {"label": "blast"}}, "2 ids with another content"),
    ],
)
def test_roles_of_other_images_are_rejected(changed, told):
    split = make_clean()
    with pytest.raises(SplitError, match=told):
        audit_catalog(change(split, **changed).catalog, split=split)


# -- conflicts ------------------------------------------------------------------------------------


def test_one_cell_under_two_names_is_an_error():
    split = make_clean()
    source = split.catalog.records[0].source
    split = change(split, at_140={"source": source}, at_4={"source": source})
    found = audit_catalog(split.catalog)
    assert found.result == "conflicts" and found.failed and found.n_conflicts == 1
    (error,) = [f for f in found.findings if f.severity == "error"]
    assert error.code == "label_conflict" and error.counts == (Count(LABELS, 1),)
    (example,) = error.examples
    assert (example.relation, example.first.label, example.second.label) == ("source", *LABELS)


def test_identical_bytes_under_two_names_conflict_whoever_named_the_source():
    for source in ("", "slide 1", "px-1"):
        records = (
            make_record("a", "eosinophil", source, content="x"),
            make_record("b", "monocyte", source, content="x"),
        )
        found = audit_catalog(Catalog(records))
        assert found.result == "conflicts" and found.n_conflicts == 1
        assert found.findings[0].examples[0].relation == "exact"


def test_patients_and_boxes_and_fields_hold_several_classes_without_conflict():
    patients = tuple(make_record(f"{i:03d}", LABELS[i % 2], f"patient {i // 4}") for i in range(8))
    found = audit_catalog(Catalog(patients))
    assert found.n_conflicts == 0 and not found.failed
    assert by_code(found)["several_classes"].counts[0] == Count(("patient 0",), 2)
    boxes = tuple(
        make_record(f"f#{i}", LABELS[i % 2], "px-1", "f", (i, 0, i + 9, 9)) for i in range(4)
    )
    assert audit_catalog(Catalog(boxes)).n_conflicts == 0
    fields = tuple(make_record(f"{i}", LABELS[i % 2], f"px-{i}", field="field-1") for i in range(2))
    found = audit_catalog(Catalog(fields))
    assert found.n_conflicts == 0
    assert codes(found, "note") == ["same_field"]


def reject(*images, content="c"):
    return [
        Rejected(f"/cells/{name}", "label_conflict", name, label, content=content)
        for name, label in images
    ]


def test_what_the_scan_rejected_counts_once():
    rejected = reject(
        ("x (1), y/a.png", "Blast (L1)"), ("b.png", "Blast (L1)"), ("c.png", "monocyte")
    )
    split = make_clean()
    catalog = Catalog(split.catalog.records, tuple(rejected))
    found = audit_catalog(catalog, rejected=[*rejected, Rejected("/cells/z", "truncated")])
    assert found.result == "conflicts" and found.n_conflicts == 1
    (finding,) = found.findings
    assert finding.code == "files_in_conflict"
    assert finding.values == {"n_cells": 1, "n_files": 3}
    assert finding.counts == (Count(("Blast (L1)", "monocyte"), 1),)
    (example,) = finding.examples
    assert {example.first.label, example.second.label} == {"Blast (L1)", "monocyte"}
    assert example.first.path == "/cells/b.png" and example.first.id == "b.png"


def test_files_of_another_content_are_another_conflict():
    entries = [
        *reject(("a", "blast"), ("b", "monocyte"), content="c"),
        *reject(("d", "blast"), ("e", "monocyte"), content="f 1 2 3 4"),
    ]
    found = audit_catalog(make_clean().catalog, rejected=[*entries, *entries])
    assert found.n_conflicts == 2
    assert [(e.first.id, e.second.id) for e in found.findings[0].examples] == [
        ("a", "b"),
        ("d", "e"),
    ]
    lone = audit_catalog(make_clean().catalog, rejected=entries[:1]).findings[0]
    assert lone.examples == () and lone.values == {"n_cells": 1, "n_files": 1}


# -- sources of a class ---------------------------------------------------------------------------


def test_many_images_of_few_sources_are_a_warning():
    records = [make_record(f"m{i:04d}", "monocyte", f"px-m{i % 16}") for i in range(2478)] + [
        make_record(f"e{i}", "eosinophil", f"px-e{i}") for i in range(FEW_SOURCES - 1)
    ]
    found = audit_catalog(Catalog(tuple(records)))
    assert found.result == "warnings" and not found.failed
    assert codes(found, "warning") == ["few_sources"]
    assert found.findings[0].counts == (Count(("monocyte",), 16), Count(("eosinophil",), 29))
    eosinophil, monocyte = found.classes
    assert (monocyte.n_images, monocyte.n_sources, monocyte.largest) == (2478, 16, 155)
    assert monocyte.median == 155 and 15.9 < monocyte.effective < 16
    assert (eosinophil.median, eosinophil.effective) == (1, 29)


def test_the_effective_number_falls_where_one_source_has_nearly_all():
    sizes = [97, 1, 1, 1]
    names = [f"px-{k}" for k, n in enumerate(sizes) for _ in range(n)]
    records = tuple(make_record(f"{i:03d}", source=name) for i, name in enumerate(names))
    (monocyte,) = audit_catalog(Catalog(records)).classes
    assert monocyte.effective == pytest.approx(100**2 / (97**2 + 3))


# -- copies within --------------------------------------------------------------------------------


def test_repetition_is_counted_by_kind():
    split = make_clean()
    first = split.catalog.records
    field = {FIELD_COLUMN: "field-x"}
    catalog = change(
        split,
        at_1={"sha256": first[0].sha256, "source": first[0].source},
        at_5={"source": first[4].source},
        at_9={"extra": field},
        at_8={"extra": field, "source": "px-y"},
        at_7={"extra": field, "source": "px-y"},
    ).catalog
    found = audit_catalog(catalog)
    assert found.repetition == module.Repetition(1, 2, 3, 6, 1, 3)
    notes = [f for f in found.findings if f.severity == "note"]
    assert [(f.code, f.values["n_images"], f.values["n_groups"]) for f in notes] == [
        ("exact_duplicates", 2, 1),
        ("same_source", 4, 2),
        ("same_field", 3, 1),
    ]
    assert [[e.first.id[-7:-4] + e.second.id[-7:-4] for e in f.examples] for f in notes] == [
        ["000001"],
        ["004005", "007008"],
        ["007009"],
    ]
    assert found.result == "clean"


def test_at_most_four_groups_are_shown():
    changes = {f"at_{2 * k}": {"source": f"px-{k}"} for k in range(6)}
    changes |= {f"at_{2 * k + 1}": {"source": f"px-{k}"} for k in range(6)}
    (note,) = audit_catalog(change(make_clean(), **changes).catalog).findings
    assert len(note.examples) == 4


# -- who named the sources ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "basis", "code"),
    [
        (("px-1", "px-2"), "pixels", None),
        (("a", "b"), "table", "sources_from_table"),
        (("a", "px-2"), "both", "sources_from_both"),
        (("", "px-2"), "unknown", "sources_unknown"),
    ],
)
def test_the_origin_of_sources_is_found(sources, basis, code):
    records = tuple(make_record(f"{i}", source=name) for i, name in enumerate(sources))
    found = audit_catalog(Catalog(records))
    assert found.sources_from == basis
    assert {c for c in by_code(found) if c.startswith("sources_")} == ({code} if code else set())


def test_unknown_sources_are_a_warning_and_claims_are_careful():
    split = make_clean()
    blank = Catalog(tuple(replace(r, source="") for r in split.catalog.records))
    found = audit_catalog(blank, split=split)
    assert found.result == "warnings" and found.split.leakage_status == "unproven"
    assert [f.values for f in found.findings] == [{"n_images": 280}]
    # Few sources cannot be claimed of sources that nobody knows.
    few = audit_catalog(Catalog(blank.records[:3]))
    assert codes(few, "warning") == ["sources_unknown"]


# -- another data set -----------------------------------------------------------------------------


def test_equal_names_of_two_data_sets_mean_nothing():
    ours = Catalog(tuple(make_record(f"{i}", source=f"{i}") for i in range(3)))
    theirs = Catalog(
        tuple(
            make_record(f"{i}", source=f"{i}", content=f"other {i}", field="field-1")
            for i in range(3)
        )
    )
    union = join_catalogs(ours, theirs)
    assert [r.id for r in union.records] == ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]
    assert len({r.source for r in union.records}) == 6
    assert not any(r.extra for r in union.records)
    shared = audit_against(union, other="theirs.csv")
    assert (shared.n_sources, shared.ours, shared.theirs) == (0, RelatedCounts(3), RelatedCounts(3))
    found = audit_catalog(ours, against=shared)
    assert "nothing_shared" in codes(found, "note") and not found.failed


def test_names_found_in_the_pixels_are_to_be_found_again():
    one = Catalog((make_record("x", source="px-1"),))
    assert {r.source for r in join_catalogs(one, one).records} == {""}


def with_sources(union, **sources):
    """What `find_sources` might return: sources and fields by id."""
    records = []
    for record in union.records:
        name = sources.get(record.id.replace("/", "_"), f"px-{record.sha256[:12]}")
        field = {FIELD_COLUMN: "field-1"} if name == "field" else {}
        source = f"px-{record.sha256[:12]}" if name == "field" else name
        records.append(replace(record, source=source, extra=field))
    return Catalog(tuple(records))


def test_shared_images_are_told_from_both_sides():
    split = make_clean(4)
    theirs = Catalog(
        (
            make_record("p", content=split.catalog.records[0].id),  # its bytes
            make_record("q"),
            make_record("r"),
            make_record("s"),
        )
    )
    union = with_sources(
        join_catalogs(split.catalog, theirs),
        b_q="px-c",
        **{"a_eosinophil_001.png": "px-c", "a_eosinophil_002.png": "px-c"},
        b_r="field",
        **{"a_monocyte_003.png": "field"},
    )
    shared = audit_against(union, name="ours.csv", other="theirs.csv")
    assert shared.theirs == RelatedCounts(4, 1, 1, 1) and shared.ours == RelatedCounts(8, 1, 2, 1)
    assert shared.n_sources == 3
    assert [(e.relation, e.first.id, e.second.id) for e in shared.examples] == [
        ("exact", "eosinophil/000.png", "p"),
        ("source", "eosinophil/001.png", "q"),
        ("field", "monocyte/003.png", "r"),
    ]
    found = audit(split, against=shared)
    assert found.result == "shared" and found.failed
    assert found.findings[0].code == "data_shared"
    assert found.findings[0].values == {
        "n_related": 2, "n_images": 4, "n_ours": 4, "n_our_images": 8, "n_sources": 3,
    }  # fmt: skip
    assert [e.first.role for e in found.findings[0].examples] == ["train", "val", "test"]
    assert found.shared.examples == found.findings[0].examples


def test_fields_alone_are_shared_too():
    ours = Catalog((make_record("x"), make_record("y")))
    for names in ("p", "pq"):
        theirs = Catalog(tuple(make_record(n) for n in names))
        fields = {f"b_{n}": "field" for n in names}
        union = with_sources(join_catalogs(ours, theirs), a_x="field", **fields)
        found = audit_catalog(ours, against=audit_against(union))
        assert found.findings[0].code == "data_share_field" and found.result == "shared"
        assert found.findings[0].values["n_related"] == len(names)


def test_the_same_set_is_shared_whole():
    catalog = make_clean(2).catalog
    shared = audit_against(with_sources(join_catalogs(catalog, catalog)))
    assert shared.ours == shared.theirs == RelatedCounts(4, exact=4)
    one = Catalog(catalog.records[:1])
    found = audit_catalog(catalog, against=audit_against(join_catalogs(catalog, one)))
    assert found.findings[0].values["n_related"] == found.findings[0].values["n_images"] == 1


# -- the whole ------------------------------------------------------------------------------------


def everything():
    split = make_clean(20)
    source = split.catalog.records[0].source
    field = {FIELD_COLUMN: "field-1"}
    split = change(
        split,
        at_3={"source": source},
        at_20={"source": source},
        at_5={"extra": field, "box": (0, 0, 5, 5)},
        at_6={"extra": field},
    )
    theirs = Catalog((make_record("p", content=split.catalog.records[0].id),))
    shared = audit_against(with_sources(join_catalogs(split.catalog, theirs)))
    return audit(split, against=shared, rejected=reject(("b.png", "a"), ("c.png", "b")))


def test_the_gravest_comes_first_in_findings_and_result():
    found = everything()
    order = [SEVERITIES.index(f.severity) for f in found.findings]
    assert order == sorted(order) and set(order) == {0, 1, 2}
    assert found.result == "leaking"


def test_an_audit_is_json_and_comes_back(tmp_path):
    found = everything()
    text = json.loads(json.dumps(dump_record(found), allow_nan=False))
    assert text["failed"] is True and text["result"] == "leaking"
    assert text["split"]["test_with_copy_in_training"] == text["leak"]["source"] == 1
    assert text["findings"][0]["examples"][0]["first"]["id"] == "eosinophil/003.png"
    assert text["shared"]["theirs"]["exact"] == 1
    save_record(found, tmp_path / "audit.json")
    assert load_record(DataAudit, tmp_path / "audit.json", "data audit") == found


def test_an_empty_catalog_is_audited():
    found = audit_catalog(Catalog(()))
    assert found.n_images == 0 and found.classes == () and found.result == "clean"


# -- properties -----------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(
        st.sampled_from(LABELS),
        st.integers(0, 8),  # source; 0 for none
        st.integers(0, 30),  # content; above 5 its own
        st.sampled_from(("", "", "field-1", "field-2", "someone's")),
        st.sampled_from(("train", "val", "calib", "test", "")),
    ),
    min_size=1,
    max_size=25,
)


def build(rows, prefix="px-"):
    records = tuple(
        make_record(
            f"{i:02d}",
            label,
            f"{prefix}{source}" if source else "",
            f"{content}" if content < 6 else f"own {i}",
            field=field,
        )
        for i, (label, source, content, field, _) in enumerate(rows)
    )
    return Split(Catalog(records), tuple(row[-1] for row in rows), "random", 0)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.randoms())
def test_audits_agree_with_the_split_audit_and_ignore_row_order(rows, chance):
    split = build(rows)
    found = audit(split)
    plain = audit_split(split)
    assert found.leak.n_related == plain.test_with_copy_in_training
    assert (found.result == "leaking") == (plain.leakage_status == "leaking")
    assert found.failed == (plain.leakage_status == "leaking" or found.n_conflicts > 0)
    assert found.split == plain
    for finding in found.findings:
        for example in finding.examples:
            assert example.first.id != example.second.id
    mixed = list(range(len(rows)))
    chance.shuffle(mixed)
    turned = Catalog(tuple(split.catalog.records[i] for i in mixed))
    again = audit_catalog(turned, split=split)
    assert replace(again, split=None) == replace(found, split=None)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_sharing_has_two_sides(ours, theirs):
    union = join_catalogs(build(ours, "x").catalog, build(theirs, "y").catalog)
    shared = audit_against(union)
    turned = audit_against(join_catalogs(build(theirs, "y").catalog, build(ours, "x").catalog))
    assert (shared.ours, shared.theirs) == (turned.theirs, turned.ours)
    assert (shared.ours.n_related > 0) == (shared.theirs.n_related > 0) == (shared.n_sources > 0)
    same = {r.sha256 for r in union.records if r.id.startswith("a/")} & {
        r.sha256 for r in union.records if r.id.startswith("b/")
    }
    assert (shared.ours.exact > 0) == bool(same)
