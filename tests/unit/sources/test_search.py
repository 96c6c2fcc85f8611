import csv
import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from leukoscope.data.catalog import Catalog, ImageRecord, Rejected, load_catalog
from leukoscope.data.groups import FIELD_COLUMN, group_sources, sources_known
from leukoscope.errors import CatalogError, ImageError, StorageError
from leukoscope.painted.cells import paint_cells
from leukoscope.pipelines.data import save_findings
from leukoscope.progress import silent
from leukoscope.records import load_record
from leukoscope.sources.evidence import Link
from leukoscope.sources.grouping import FoundLinks
from leukoscope.sources.search import (
    LinkCounts,
    SourceSummary,
    find_sources,
    save_sources,
    summarise_sources,
)


def make_catalog(*rows):
    """Rows of (content, source)."""
    return Catalog(
        tuple(
            ImageRecord(
                id=f"{i:03d}",
                path=Path(f"/cells/{i}.png"),
                label="blast",
                width=32,
                height=32,
                bytes=9,
                sha256=hash_of(content),
                source=source,
            )
            for i, (content, source) in enumerate(rows)
        )
    )


def hash_of(content):
    return hashlib.sha256(content.encode()).hexdigest()


def test_unknown_sources_are_named_by_their_bytes():
    names = group_sources(make_catalog(("a", ""), ("b", ""), ("a", "")))
    assert names == tuple(f"sha256:{hash_of(c)[:16]}" for c in "aba")


def test_the_source_column_groups_different_bytes():
    assert group_sources(make_catalog(("a", "p2"), ("b", "p1"), ("c", "p2"))) == ("p2", "p1", "p2")


def test_groups_join_through_bytes_and_sources_in_turn():
    chain = [("a", "p3"), ("a", "p2"), ("b", "p2"), ("b", ""), ("c", "p9"), ("d", "p3")]
    for rows in itertools.permutations(chain):
        names = dict(zip(rows, group_sources(make_catalog(*rows)), strict=True))
        assert names == dict.fromkeys(chain, "p2") | {("c", "p9"): "p9"}


def test_a_known_name_goes_before_a_hash():
    # "z" sorts behind "sha256:".
    assert group_sources(make_catalog(("a", ""), ("a", "z"))) == ("z", "z")


def test_a_long_chain_does_not_recurse():
    rows = [(str(i), f"p{i + j:05d}") for i in range(3000) for j in (0, 1)]
    assert set(group_sources(make_catalog(*rows))) == {"p00000"}


def test_no_records_no_sources():
    assert group_sources(Catalog(())) == ()
    assert sources_known(Catalog(()))


def test_sources_are_known_only_if_every_one_is():
    assert sources_known(make_catalog(("a", "p1"), ("b", "p1"), ("c", "p2")))
    assert not sources_known(make_catalog(("a", "p1"), ("b", "")))
    # Byte-identical copies prove nothing about the others.
    assert not sources_known(make_catalog(("a", ""), ("a", "")))


def test_pictures_of_one_field_belong_together_without_being_copies():
    catalog = make_catalog(("a", "px-1"), ("b", "px-2"), ("c", "px-3"))
    fields = ("field-9", "field-9", "")
    rows = tuple(
        replace(record, extra={FIELD_COLUMN: value})
        for record, value in zip(catalog.records, fields, strict=True)
    )
    assert group_sources(Catalog(rows)) == ("px-1", "px-1", "px-3")


def test_a_column_of_that_name_with_other_values_joins_nothing():
    catalog = make_catalog(("a", "p1"), ("b", "p2"))
    rows = tuple(replace(record, extra={FIELD_COLUMN: "1"}) for record in catalog.records)
    assert group_sources(Catalog(rows)) == ("p1", "p2")


# -- found in the pixels --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slide(draw_field):
    return draw_field(7, height=480, width=640)


def save(folder, pictures):
    """A catalog of pictures by name; names may carry a source behind an @."""
    records = []
    for name, picture in pictures.items():
        identity, _, source = name.partition("@")
        path = folder / f"{identity}.png"
        cv2.imwrite(str(path), picture)
        content = path.read_bytes()
        records.append(
            ImageRecord(
                id=identity,
                path=path,
                label="blast",
                width=picture.shape[1],
                height=picture.shape[0],
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                source=source,
            )
        )
    return Catalog(tuple(records))


def turn(picture, angle):
    height, width = picture.shape[:2]
    map_23 = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return cv2.warpAffine(picture, map_23, (width, height))


@pytest.fixture(scope="module")
def found(tmp_path_factory, draw_field, slide):
    field = draw_field(8)
    return find_sources(
        save(
            tmp_path_factory.mktemp("sources"),
            {
                "a": field,
                "b": turn(field, 20),
                "c": turn(field, -60)[:, ::-1],
                "same_as_a": field,
                "left": slide[100:292, 100:292],
                "right": slide[100:292, 180:372],
                "alone": draw_field(9),
                "blank": np.full((50, 50, 3), 90, np.uint8),
            },
        )
    )


def test_every_record_gets_a_source_and_copies_share_it(found):
    source = {record.id: record.source for record in found.catalog.records}
    assert len({source[name] for name in ("a", "b", "c", "same_as_a")}) == 1
    assert len(set(source.values())) == found.n_sources == 5
    assert all(name.startswith("px-") for name in source.values())
    assert sources_known(found.catalog)
    assert [len(group) for group in found.groups.values()] == [4]
    assert found.featureless == ("blank",)


def test_overlapping_pictures_share_a_field_and_not_a_source(found):
    record = {r.id: r for r in found.catalog.records}
    assert record["left"].source != record["right"].source
    field = record["left"].extra[FIELD_COLUMN]
    assert field.startswith("field-")
    assert record["right"].extra[FIELD_COLUMN] == field
    assert record["alone"].extra[FIELD_COLUMN] == ""
    names = dict(zip(record, group_sources(found.catalog), strict=True))
    assert names["left"] == names["right"]
    assert len(set(names.values())) == 4


def test_the_summary_counts_what_was_found(found):
    summary = summarise_sources(found)
    assert (summary.n_images, summary.n_sources, summary.n_groups) == (8, 5, 1)
    assert (summary.n_grouped, summary.n_alone, summary.n_exact) == (4, 4, 2)
    assert summary.n_fields == 1
    assert summary.links == LinkCounts(near=0, geometric=3, overlap=1, rejected=0)


def test_names_that_are_known_stay_and_join(tmp_path, draw_field):
    field, other = draw_field(8), draw_field(9)
    catalog = save(
        tmp_path, {"a@p2": field, "b": turn(field, 20), "c@p2": other, "d": turn(other, -30)}
    )
    found = find_sources(catalog)
    assert {record.source for record in found.catalog.records} == {"p2"}
    assert FIELD_COLUMN not in found.catalog.records[0].extra


def test_searching_again_changes_nothing(found):
    again = find_sources(found.catalog)
    assert again.catalog == found.catalog
    assert again.links == found.links


def test_cells_of_one_picture_are_searched_once(tmp_path, draw_field):
    whole = save(tmp_path, {"a": draw_field(8)}).records[0]
    boxes = ((0, 0, 90, 90), (100, 100, 200, 200))
    catalog = Catalog(tuple(replace(whole, id=f"a#{k}", box=box) for k, box in enumerate(boxes)))
    found = find_sources(catalog)
    assert found.n_sources == 1
    assert summarise_sources(found).n_exact == 0


def read_links(path):
    with path.with_name(f"{path.stem}.links.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_sources_and_links_come_back_from_their_files(found, tmp_path):
    path = tmp_path / "sources.csv"
    save_sources(found, path, tmp_path)
    assert load_catalog(path).records == tuple(sorted(found.catalog.records, key=lambda r: r.id))
    rows = read_links(path)
    assert [(x["first"], x["second"], x["kind"]) for x in rows] == [
        (x.first, x.second, x.kind) for x in found.links
    ]
    summary = load_record(SourceSummary, tmp_path / "sources.json", "data sources")
    assert summary == summarise_sources(found)


# -- painted cells, whose sources are known -------------------------------------------------------


@pytest.mark.parametrize("size", [64, 96, 128, 160])
def test_painted_sources_are_recovered(tmp_path, size):
    images = list(paint_cells(16, copies=4, size_px=size, seed=5))
    # Names of files say nothing; they come in the order of the set.
    pictures = {image.name: image.pixels_HWC[:, :, ::-1] for image in images}
    truth = {image.name: image.source for image in images}
    found = {r.id: r.source for r in find_sources(save(tmp_path, pictures)).catalog.records}
    pairs = [
        (found[a] == found[b], truth[a] == truth[b]) for a, b in itertools.combinations(found, 2)
    ]
    # No two cells are taken for one; of the pairs of copies next to none is missed.
    assert not any(together and not same for together, same in pairs)
    recall = sum(together for together, same in pairs if same) / (16 * 6)
    assert recall > 0.93


# -- from links to names, with links as a test says -----------------------------------------------


def tell(monkeypatch, *links, featureless=()):
    """Let the search find these links: pairs of contents, their kind, and whether accepted."""
    found = tuple(
        Link(*sorted((hash_of(a), hash_of(b))), kind, 30, 0.9, 0.95, 0.0, EYE, accepted)
        for a, b, kind, accepted in links
    )
    smooth = tuple(hash_of(content) for content in featureless)
    answer = FoundLinks(found, smooth, {"rules": 1})
    monkeypatch.setattr("leukoscope.sources.grouping.find_links", lambda *_: answer)


EYE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def partition(catalog, names):
    groups = {}
    for record, name in zip(catalog.records, names, strict=True):
        groups.setdefault(name, set()).add(record.id)
    return {frozenset(group) for group in groups.values()}


def test_accepted_copies_share_a_source_and_rejected_ones_do_not(monkeypatch):
    tell(
        monkeypatch,
        ("a", "b", "geometric", True),
        ("b", "c", "near", True),
        ("c", "d", "geometric", False),
        featureless=("e",),
    )
    catalog = make_catalog(*((content, "") for content in "abcde"))
    found = find_sources(catalog)
    sources = [record.source for record in found.catalog.records]
    assert partition(catalog, sources) == {
        frozenset({"000", "001", "002"}),
        frozenset({"003"}),
        frozenset({"004"}),
    }
    assert sources[0] == f"px-{min(map(hash_of, 'abc'))[:12]}"
    assert found.featureless == ("004",)
    summary = summarise_sources(found)
    assert summary.links == LinkCounts(near=1, geometric=2, overlap=0, rejected=1)
    assert summary.settings == {"rules": 1} and summary.featureless == ("004",)


def test_fields_join_sources_in_a_chain_and_only_different_ones(monkeypatch):
    tell(
        monkeypatch,
        ("a", "b", "geometric", True),
        ("a", "c", "overlap", True),
        ("c", "d", "overlap", True),
        ("e", "f", "geometric", True),
        # Copies that also look like neighbours: they are copies already.
        ("e", "f", "overlap", True),
    )
    catalog = make_catalog(*((content, "") for content in "abcdefg"))
    found = find_sources(catalog).catalog
    fields = [record.extra[FIELD_COLUMN] for record in found.records]
    assert fields[:4] == [f"field-{min(map(hash_of, 'abcd'))[:12]}"] * 4
    assert fields[4:] == ["", "", ""]
    assert partition(found, group_sources(found)) == {
        frozenset({"000", "001", "002", "003"}),
        frozenset({"004", "005"}),
        frozenset({"006"}),
    }


def test_without_overlaps_there_is_no_column(monkeypatch):
    tell(monkeypatch, ("a", "b", "near", True))
    found = find_sources(make_catalog(("a", ""), ("b", ""), ("c", "")))
    assert all(FIELD_COLUMN not in record.extra for record in found.catalog.records)


def test_a_known_name_goes_to_its_whole_group_and_no_further(monkeypatch):
    tell(monkeypatch, ("a", "b", "geometric", True), ("b", "c", "geometric", True))
    rows = [("a", ""), ("b", "p7"), ("c", "p3"), ("d", "p7"), ("e", ""), ("f", "p9")]
    found = find_sources(make_catalog(*rows))
    sources = [record.source for record in found.catalog.records]
    assert sources == ["p3", "p3", "p3", "p3", f"px-{hash_of('e')[:12]}", "p9"]


def test_the_order_of_rows_and_links_does_not_matter(monkeypatch):
    links = [("a", "b", "geometric", True), ("c", "b", "near", True), ("c", "d", "overlap", True)]
    rows = [("a", ""), ("b", "p1"), ("c", ""), ("d", "")]
    results = set()
    for order in itertools.permutations(range(4)):
        tell(monkeypatch, *(links if order[0] < 2 else links[::-1]))
        catalog = find_sources(make_catalog(*(rows[k] for k in order))).catalog
        named = [(r.sha256, r.source, r.extra[FIELD_COLUMN]) for r in catalog.records]
        results.add(tuple(sorted(named)))
    assert len(results) == 1


def test_other_columns_and_rejected_images_stay(monkeypatch):
    tell(monkeypatch, ("a", "b", "overlap", True))
    rejected = (Rejected("x.png", "empty", "0 bytes"),)
    rows = tuple(
        replace(record, extra={"stain": "giemsa"})
        for record in make_catalog(("a", ""), ("b", ""), ("c", "")).records
    )
    found = find_sources(Catalog(rows, rejected)).catalog
    assert found.rejected == rejected
    assert [record.extra["stain"] for record in found.records] == ["giemsa"] * 3


def test_a_column_of_that_name_and_another_meaning_is_rejected(monkeypatch):
    tell(monkeypatch)
    (record,) = make_catalog(("a", "")).records
    own = replace(record, extra={FIELD_COLUMN: "slide 7"})
    with pytest.raises(CatalogError, match="slide 7"):
        find_sources(Catalog((own,)))


def test_a_field_of_an_earlier_search_stays_known(monkeypatch):
    """Two ends of a chain whose middle is not in this table."""
    tell(monkeypatch, ("a", "b", "overlap", True), ("b", "c", "overlap", True))
    catalog = find_sources(make_catalog(("a", ""), ("b", ""), ("c", ""), ("d", ""))).catalog
    ends = Catalog(tuple(r for r in catalog.records if r.sha256 != hash_of("b")))
    tell(monkeypatch)
    found = find_sources(ends).catalog
    groups = partition(found, group_sources(found))
    assert groups == {frozenset({"000", "002"}), frozenset({"003"})}
    # Of a whole field one picture is left: it overlaps with nothing here.
    (alone,) = find_sources(Catalog(catalog.records[:1])).catalog.records
    assert FIELD_COLUMN not in alone.extra


def test_a_rejected_link_joins_no_field(monkeypatch):
    tell(
        monkeypatch,
        ("a", "b", "geometric", True),
        ("c", "d", "geometric", True),
        ("b", "c", "geometric", False),
    )
    catalog = find_sources(make_catalog(("a", ""), ("b", ""), ("c", ""), ("d", ""))).catalog
    assert len(set(group_sources(catalog))) == 2


def test_no_images_no_sources():
    found = find_sources(Catalog(()))
    assert (found.n_sources, found.groups, found.links) == (0, {}, ())


def test_an_image_that_is_gone_is_told():
    with pytest.raises(ImageError, match="restore"):
        find_sources(make_catalog(("a", "")))


def test_progress_and_cache_are_passed_on(tmp_path, draw_field):
    steps = []
    catalog = save(tmp_path, {"a": draw_field(8), "b": turn(draw_field(8), 20)})
    cache = tmp_path / "own.sqlite"
    find_sources(catalog, cache=cache, on_progress=lambda *step: steps.append(step))
    assert {"Describing images", "Comparing pairs"} == {what for what, _, _ in steps}
    assert cache.is_file()


# -- files ----------------------------------------------------------------------------------------


def build_findings(monkeypatch):
    tell(monkeypatch, ("a", "b", "geometric", True), ("b", "c", "near", False))
    return find_sources(make_catalog(("a", ""), ("b", ""), ("c", "")))


def test_every_value_of_a_link_is_written(monkeypatch, tmp_path):
    found = build_findings(monkeypatch)
    odd = tuple(
        replace(
            link,
            matrix=(0.1 + 0.2, -1 / 3, 1e-17, 2e5, -0.75, 19.000000000000004),
            overlap_frac=0.123456,
            agreement_frac=1.0,
            contradiction_frac=0.006001,
        )
        for link in found.links
    )
    save_sources(replace(found, links=odd), tmp_path / "t.csv", tmp_path)
    rows = read_links(tmp_path / "t.csv")
    assert [tuple(float(row[name]) for name in "abcdef") for row in rows] == [x.matrix for x in odd]
    assert [row["overlap_frac"] for row in rows] == ["0.123456"] * 2
    assert [row["contradiction_frac"] for row in rows] == ["0.006001"] * 2
    assert [row["accepted"] for row in rows] == ["1", "0"]


def test_a_place_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_findings(build_findings(monkeypatch), tmp_path / "file" / "t.csv", silent)


@pytest.mark.parametrize("name", ["t.json", "t.html", "t"])
def test_the_summary_is_not_written_over_the_table(monkeypatch, tmp_path, name):
    with pytest.raises(CatalogError, match=r"t\.csv"):
        save_findings(build_findings(monkeypatch), tmp_path / name, silent)
    assert not list(tmp_path.iterdir())
