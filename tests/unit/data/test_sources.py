import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from leukoscope.data.catalog import Catalog, ImageRecord, load_catalog
from leukoscope.data.sources import (
    FIELD_COLUMN,
    count_identical,
    find_sources,
    group_sources,
    load_links,
    save_sources,
    sources_known,
)
from leukoscope.errors import CatalogError


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
    assert sources_known(make_catalog(("a", "p1"), ("b", "p2")))
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
    summary = found.to_dict()
    assert summary["images"] == 8
    assert summary["groups"] == 1
    assert summary["images_with_copies"] == 4
    assert summary["images_alone"] == 4
    assert summary["byte_identical_images"] == 2
    assert summary["links"]["overlap"] == 1
    assert summary["links"]["geometric"] == 3
    assert summary["links"]["refused"] == 0
    json.dumps(summary)


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
    assert count_identical(catalog) == 0


def test_sources_and_links_come_back_from_their_files(found, tmp_path):
    path = tmp_path / "sources.csv"
    save_sources(found, path)
    assert load_catalog(path).records == tuple(sorted(found.catalog.records, key=lambda r: r.id))
    again = load_links(path)
    assert [(x.first, x.second, x.kind, x.matrix) for x in again] == [
        (x.first, x.second, x.kind, x.matrix) for x in found.links
    ]
    assert json.loads((tmp_path / "sources.json").read_text()) == found.to_dict()


@pytest.mark.parametrize("damage", ["absent", "not a table", "first,second,kind\na,b,sideways\n"])
def test_links_that_are_not_as_written_are_refused(tmp_path, damage):
    if damage != "absent":
        (tmp_path / "sources.links.csv").write_text(damage + "\nx\n")
    with pytest.raises(CatalogError, match="leukoscope data sources"):
        load_links(tmp_path / "sources.csv")
