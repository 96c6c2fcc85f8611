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
    KINSHIP_NAMES,
    KINSHIPS,
    RESULT_TITLES,
    SEVERITIES,
    KinCounts,
    audit_against,
    audit_catalog,
    join_catalogs,
    join_roles,
)
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import FIELD_COLUMN
from leukoscope.data.readers import Rejected
from leukoscope.data.splits import Split, audit_split
from leukoscope.errors import SplitError

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


def titles(found, severity):
    return [f.title for f in found.findings if f.severity == severity]


# -- roles ----------------------------------------------------------------------------------------


def test_a_clean_set_is_called_clean():
    found = audit(make_clean(), name="cells.csv")
    assert found.result == "clean" and not found.failed and found.findings == ()
    assert found.summary == "No source crosses roles and no cell bears two names."
    assert found.leak == KinCounts(70)
    assert (found.n_images, found.n_sources, found.sources_from) == (280, 280, "pixels")
    assert found.split.leakage_status == "disjoint"


def test_a_catalog_without_roles_is_not_judged_by_them():
    found = audit_catalog(make_clean().catalog)
    assert found.summary == "No cell bears two names."
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
    assert found.leak == KinCounts(70, same_bytes=1, same_source=1, same_field=1)
    assert found.leak.n_kin == found.split.test_with_copy_in_training == 3
    assert found.summary == "2 of 70 test images (2.9 %) have a copy in training."
    (error,) = [f for f in found.findings if f.severity == "error"]
    assert "by the same file (1), by the same picture (1) and only by a" in error.text
    assert "2 in train and test and 1 in val and test" in error.text
    assert [(e.kind, e.first.id, e.second.id) for e in error.examples] == [
        ("bytes", "eosinophil/003.png", "eosinophil/000.png"),
        ("source", "eosinophil/007.png", "eosinophil/004.png"),
        ("field", "eosinophil/011.png", "eosinophil/001.png"),
    ]
    assert {(e.first.role, e.second.role) for e in error.examples} == {
        ("test", "train"),
        ("test", "val"),
    }


@pytest.mark.parametrize(
    ("rows", "told"), [((3,), "1 of 70 test images (1.4 %) shows"), ((3, 7), "2 of 70 test images")]
)
def test_overlap_alone_is_a_leak_but_no_copy(rows, told):
    extra = {FIELD_COLUMN: "field-x"}
    split = change(
        make_clean(), at_0={"extra": extra}, **{f"at_{r}": {"extra": extra} for r in rows}
    )
    found = audit(split)
    assert found.result == "leaking" and found.leak.same_field == len(rows)
    assert found.leak.n_copies == 0 and found.summary.startswith(told)
    assert "part of a field that training shows too" in found.summary
    assert found.n_conflicts == 0


def test_a_link_through_a_third_image_is_no_closer_than_a_field():
    # 3 (test) has the bytes of 2 (calib), whose source 0 (train) bears.
    split = make_clean()
    first = split.catalog.records
    split = change(split, at_3={"sha256": first[2].sha256}, at_0={"source": first[2].source})
    assert audit(split).leak == KinCounts(70, same_field=1)


def test_one_test_image_with_a_copy_has_one():
    split = make_clean()
    split = change(split, at_3={"source": split.catalog.records[0].source})
    assert audit(split).summary == "1 of 70 test images (1.4 %) has a copy in training."


def test_sources_that_cross_other_roles_are_an_error_too():
    split = make_clean()
    split = change(split, at_2={"source": split.catalog.records[0].source})
    found = audit(split)
    assert found.leak.n_kin == 0 and found.result == "leaking"
    assert found.summary == "Sources lie in two roles: train and calib."
    assert "related to training" not in found.findings[0].text


def test_two_cells_of_one_picture_are_not_the_same_file():
    split = make_clean()
    source, sha256 = split.catalog.records[0].source, split.catalog.records[0].sha256
    split = change(
        split,
        at_0={"box": (0, 0, 9, 9)},
        at_3={"box": (9, 9, 30, 30), "sha256": sha256, "source": source},
    )
    found = audit(split)
    assert found.leak == KinCounts(70, same_source=1)
    # Pictures are compared whole, and so they are shown.
    (example,) = found.findings[0].examples
    assert example.first.box is example.second.box is None
    twins = change(split, at_3={"box": (0, 0, 9, 9), "sha256": sha256, "source": source})
    (example,) = audit(twins).findings[0].examples
    assert example.kind == "bytes" and example.second.box == (0, 0, 9, 9)


def test_examples_are_few_and_show_every_kind():
    split = make_clean()
    changes = {}
    for k in range(10):
        changes[f"at_{8 * k + 3}"] = {"source": f"px-pair{k}"}
        changes[f"at_{8 * k}"] = {"source": f"px-pair{k}"}
    changes["at_83"] = {"sha256": split.catalog.records[80].sha256}
    error = audit(change(split, **changes)).findings[0]
    assert [e.kind for e in error.examples] == ["bytes", "source", "source", "source", "source"]


def test_one_source_gives_one_example():
    changes = {f"at_{row}": {"source": "px-one"} for row in (0, 3, 7, 11)}
    assert len(audit(change(make_clean(), **changes)).findings[0].examples) == 1


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_empty_roles_are_a_warning(empty):
    split = make_clean()
    split = replace(split, roles=tuple("" if r == empty else r for r in split.roles))
    found = audit(split)
    assert found.result == "warnings" and not found.failed
    assert f"No image has the role {empty}" in titles(found, "warning")
    assert "70 images without a role" in titles(found, "note")
    assert found.summary == (
        "No source crosses roles and no cell bears two names, but mind:"
        f" no image has the role {empty}."
    )


def test_an_empty_calib_is_a_note_and_all_empty_is_one_warning():
    split = make_clean()
    calibless = replace(split, roles=tuple("train" if r == "calib" else r for r in split.roles))
    found = audit(calibless)
    assert found.result == "clean" and titles(found, "note") == ["No image has the role calib"]
    nobody = audit(replace(split, roles=("",) * 280))
    assert titles(nobody, "warning") == ["No image has the role train or val or test"]
    assert nobody.leak == KinCounts(0)


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
    texts = {f.title: f.text for f in found.findings}
    assert texts["Some classes are missing from a role"] == "No image of Monocyte in test."
    assert texts["1 class with fewer than 30 test images"].startswith("Eosinophil 28:")


# -- roles from another file ----------------------------------------------------------------------


def test_roles_follow_the_ids_whatever_the_order():
    split = make_clean()
    turned = Catalog(tuple(reversed(split.catalog.records)))
    joined = join_roles(split, turned)
    assert joined.catalog is turned and joined.roles == tuple(reversed(split.roles))
    assert (joined.protocol, joined.seed) == ("grouped", 42)
    # The catalog's sources count, not those of the split.
    found = change(split, at_3={"source": split.catalog.records[0].source}).catalog
    assert audit_catalog(found, split=split).leak.same_source == 1


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
    assert found.summary == "1 cell bears two names."
    (error,) = [f for f in found.findings if f.severity == "error"]
    assert "Eosinophil and Monocyte (1)" in error.text
    (example,) = error.examples
    assert (example.kind, example.first.label, example.second.label) == ("source", *LABELS)


def test_identical_bytes_under_two_names_conflict_whoever_named_the_source():
    for source in ("", "slide 1", "px-1"):
        records = (
            make_record("a", "eosinophil", source, content="x"),
            make_record("b", "monocyte", source, content="x"),
        )
        found = audit_catalog(Catalog(records))
        assert found.result == "conflicts" and found.n_conflicts == 1
        assert found.findings[0].examples[0].kind == "bytes"


def test_patients_and_boxes_and_fields_hold_several_classes_without_conflict():
    patients = tuple(make_record(f"{i:03d}", LABELS[i % 2], f"patient {i // 4}") for i in range(8))
    found = audit_catalog(Catalog(patients))
    assert found.n_conflicts == 0 and not found.failed
    assert "2 named sources hold several classes" in titles(found, "note")
    boxes = tuple(
        make_record(f"f#{i}", LABELS[i % 2], "px-1", "f", (i, 0, i + 9, 9)) for i in range(4)
    )
    assert audit_catalog(Catalog(boxes)).n_conflicts == 0
    fields = tuple(make_record(f"{i}", LABELS[i % 2], f"px-{i}", field="field-1") for i in range(2))
    found = audit_catalog(Catalog(fields))
    assert found.n_conflicts == 0
    assert "different labels are no conflict" in found.findings[-1].text


def reject(*images):
    told = ", ".join(sorted(f"{name} ({label})" for name, label in images))
    return [
        Rejected(f"/cells/{name}", "label_conflict", f"the same bytes under two labels: {told}")
        for name, label in images
    ]


def test_what_the_scan_rejected_counts_once():
    rejected = reject(("x (1), y/a.png", "blast"), ("b.png", "blast"), ("c.png", "monocyte"))
    split = make_clean()
    catalog = Catalog(split.catalog.records, tuple(rejected))
    found = audit_catalog(
        catalog, rejected=[*rejected, Rejected("/cells/z", "truncated", "early end")]
    )
    assert found.result == "conflicts" and found.n_conflicts == 1
    (finding,) = found.findings
    assert finding.title == "1 file bears two names" and finding.text.startswith("3 image files")
    (example,) = finding.examples
    assert {example.first.label, example.second.label} == {"blast", "monocyte"}
    assert example.first.path == "/cells/b.png"


def test_rejected_files_whose_story_is_not_told_are_shown_all_the_same():
    odd = [Rejected(f"/cells/{n}.png", "label_conflict", "two labels") for n in "ab"]
    (finding,) = audit_catalog(make_clean().catalog, rejected=odd).findings
    assert finding.examples[0].first == module.ExampleImage("a.png", "/cells/a.png", "")
    (finding,) = audit_catalog(make_clean().catalog, rejected=odd[:1]).findings
    assert finding.examples == () and "1 image file of identical" in finding.text


# -- sources of a class ---------------------------------------------------------------------------


def test_many_images_of_few_sources_are_a_warning():
    records = [make_record(f"m{i:04d}", "monocyte", f"px-m{i % 16}") for i in range(2478)] + [
        make_record(f"e{i}", "eosinophil", f"px-e{i}") for i in range(FEW_SOURCES - 1)
    ]
    found = audit_catalog(Catalog(tuple(records)))
    assert found.result == "warnings" and not found.failed
    assert titles(found, "warning") == ["2 classes have fewer than 30 sources"]
    text = found.findings[0].text
    assert text.startswith("Monocyte: 2,478 images but only 16 sources; Eosinophil: only 29")
    eosinophil, monocyte = found.classes
    assert (monocyte.n_images, monocyte.n_sources, monocyte.largest) == (2478, 16, 155)
    assert monocyte.median == 155 and 15.9 < monocyte.effective < 16
    assert (eosinophil.median, eosinophil.effective) == (1, 29)
    assert found.summary.startswith("No cell bears two names, but mind: 2 classes have")


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
    assert [f.title for f in notes] == [
        "2 images in 1 group of identical files",
        "4 images in 2 groups of one picture",
        "3 images share part of a microscope field with others",
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
    ("sources", "basis", "told"),
    [
        (("px-1", "px-2"), "pixels", None),
        (("a", "b"), "table", "the pixels were not compared"),
        (("a", "px-2"), "both", "found in the pixels"),
        (("", "px-2"), "unknown", "only identical files were seen"),
    ],
)
def test_the_reader_learns_who_named_the_sources(sources, basis, told):
    records = tuple(make_record(f"{i}", source=name) for i, name in enumerate(sources))
    found = audit_catalog(Catalog(records))
    assert found.sources_from == basis
    texts = [f.text for f in found.findings if "cells" not in f.text]
    assert told is None or any(told in text for text in texts)


def test_unknown_sources_are_a_warning_and_claims_are_careful():
    split = make_clean()
    blank = Catalog(tuple(replace(r, source="") for r in split.catalog.records))
    found = audit_catalog(blank, split=split)
    assert found.result == "warnings" and found.split.leakage_status == "unproven"
    assert found.summary == (
        "No known source crosses roles and no cell is known to bear two names, but mind:"
        " the sources of 280 images are not known."
    )
    # Few sources cannot be claimed of sources that nobody knows.
    few = audit_catalog(Catalog(blank.records[:3]))
    assert titles(few, "warning") == ["The sources of 3 images are not known"]


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
    assert (shared.n_sources, shared.ours, shared.theirs) == (0, KinCounts(3), KinCounts(3))
    found = audit_catalog(ours, against=shared)
    assert "Nothing is shared with theirs.csv" in titles(found, "note")
    assert "nothing is shared with theirs.csv" in found.summary and not found.failed


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
    assert shared.theirs == KinCounts(4, 1, 1, 1) and shared.ours == KinCounts(8, 1, 2, 1)
    assert shared.n_sources == 3
    assert [(e.kind, e.first.id, e.second.id) for e in shared.examples] == [
        ("bytes", "eosinophil/000.png", "p"),
        ("source", "eosinophil/001.png", "q"),
        ("field", "monocyte/003.png", "r"),
    ]
    found = audit(split, against=shared)
    assert found.result == "shared" and found.failed
    assert found.summary == "2 of 4 images (50.0 %) of theirs.csv also lie in ours.csv."
    assert "4 of 8 images (50.0 %); both sides have 3 sources" in found.findings[0].text
    assert [e.first.role for e in found.findings[0].examples] == ["train", "val", "test"]
    assert found.shared.examples == found.findings[0].examples


def test_fields_alone_are_shared_too():
    ours = Catalog((make_record("x"), make_record("y")))
    for names, told in (("p", "1 of 1 image (100.0 %) of the other data shows part"),
                        ("pq", "2 of 2 images (100.0 %) of the other data show part")):  # fmt: skip
        theirs = Catalog(tuple(make_record(n) for n in names))
        fields = {f"b_{n}": "field" for n in names}
        union = with_sources(join_catalogs(ours, theirs), a_x="field", **fields)
        found = audit_catalog(ours, against=audit_against(union))
        assert found.summary.startswith(told) and found.result == "shared"


def test_the_same_set_is_shared_whole():
    catalog = make_clean(2).catalog
    shared = audit_against(with_sources(join_catalogs(catalog, catalog)))
    assert shared.ours == shared.theirs == KinCounts(4, same_bytes=4)
    one = Catalog(catalog.records[:1])
    found = audit_catalog(catalog, against=audit_against(join_catalogs(catalog, one)))
    assert found.summary.startswith("1 of 1 image (100.0 %) of the other data also lies in")


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


def test_the_gravest_comes_first_in_findings_verdict_and_summary():
    found = everything()
    order = [SEVERITIES.index(f.severity) for f in found.findings]
    assert order == sorted(order) and set(order) == {0, 1, 2}
    assert found.result == "leaking"
    assert found.summary.count(";") == 3 and "have" not in found.summary.split(";")[2]


def test_an_audit_is_json():
    found = everything()
    text = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert text["failed"] is True and text["result"] == "leaking"
    assert text["split"]["test_with_copy_in_training"] == text["leak"]["same_source"] == 1
    assert text["findings"][0]["examples"][0]["first"]["id"] == "eosinophil/003.png"
    assert text["shared"]["theirs"]["same_bytes"] == 1
    assert list(text)[:4] == ["failed", "name", "summary", "result"]


def test_every_choice_has_a_word():
    assert set(KINSHIP_NAMES) == set(KINSHIPS)
    assert set(RESULT_TITLES) == {"leaking", "shared", "conflicts", "warnings", "clean"}


def test_an_empty_catalog_is_audited():
    found = audit_catalog(Catalog(()))
    assert found.n_images == 0 and found.classes == () and found.result == "clean"


def test_shares_are_whole_only_where_exact():
    assert module._share(9999, 10000, "image").endswith("(>99.9 %)")
    assert module._share(10000, 10000, "image").endswith("(100.0 %)")


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
    assert found.leak.n_kin == plain.test_with_copy_in_training
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
    assert again.to_dict() | {"split": None} == found.to_dict() | {"split": None}


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_sharing_has_two_sides(ours, theirs):
    union = join_catalogs(build(ours, "x").catalog, build(theirs, "y").catalog)
    shared = audit_against(union)
    turned = audit_against(join_catalogs(build(theirs, "y").catalog, build(ours, "x").catalog))
    assert (shared.ours, shared.theirs) == (turned.theirs, turned.ours)
    assert (shared.ours.n_kin > 0) == (shared.theirs.n_kin > 0) == (shared.n_sources > 0)
    same = {r.sha256 for r in union.records if r.id.startswith("a/")} & {
        r.sha256 for r in union.records if r.id.startswith("b/")
    }
    assert (shared.ours.same_bytes > 0) == bool(same)
