"""What a person is shown of a search: groups, reference and maps, chapters and their order."""

import math
from dataclasses import replace
from typing import get_args

import pytest
from tests.builders.sources import TURN, Album, fill_album

from leukoscope.errors import DataError
from leukoscope.sources import review as room
from leukoscope.sources.evidence import IDENTITY, Link
from leukoscope.sources.review import ChapterCode, review_sources
from leukoscope.sources.search import SourceFindings


@pytest.fixture
def album():
    return Album()


def by_code(review):
    return {chapter.code: chapter for chapter in review.chapters}


def ids(sheet):
    return [member.file.ids[0] for member in sheet.members]


def names(chapter):
    return [sheet.group.name for sheet in chapter.sheets]


def show(album, code, number=0, **limits):
    return by_code(review_sources(album.build(), **limits))[code].sheets[number]


# -- the whole ------------------------------------------------------------------------------------


def test_groups_and_files_are_counted(album):
    album.add_chain("px-a", 4)
    album.add_chain("px-b", 2)
    album.add("alone", "px-c")
    review = review_sources(album.build())
    assert (review.n_files, review.n_boxes, review.summary.n_sources) == (7, 0, 3)
    assert [(g.name, g.n_files, g.n_duplicates) for g in review.groups] == [
        ("px-a", 4, 4),
        ("px-b", 2, 2),
    ]
    assert review.classes == {"eosinophil": (7, 3)}


def test_nothing_to_review_is_no_chapter(album):
    album.add("one", "px-a")
    review = review_sources(album.build())
    assert review.groups == () and review.chapters == ()


def test_chapters_stand_in_the_order_of_importance(album):
    review = review_sources(fill_album(album).build())
    assert tuple(by_code(review)) == get_args(ChapterCode)


def test_the_order_of_rows_and_links_does_not_matter(album):
    found = fill_album(album).build()
    turned = SourceFindings(
        replace(found.catalog, records=found.catalog.records[::-1]),
        found.links[::-1],
        found.featureless,
        found.settings,
    )
    assert review_sources(turned) == review_sources(found)


# -- groups ---------------------------------------------------------------------------------------


def test_the_reference_has_most_links_and_members_their_map(album):
    hub = album.add("hub", "px-a")
    near, far = album.add("near", "px-a"), album.add("far", "px-a")
    first = album.link(hub, near, TURN, agreement=0.913)
    second = album.link(near, far, TURN, agreement=0.8)
    album.link(hub, album.add("third", "px-a"), (1.0, 0.0, 10.0, 0.0, 1.0, -5.0))
    album.link(hub, album.add("fourth", "px-a"), IDENTITY)
    sheet = show(album, "weakest")
    # The weakest link's two ends come right behind the reference.
    assert ids(sheet)[0] == "hub" and set(ids(sheet)[1:3]) == {"near", "far"}
    member = {m.file.ids[0]: m for m in sheet.members}
    assert member["hub"].path == () and member["hub"].matrix == IDENTITY
    assert member["near"].matrix == TURN
    assert member["far"].path == (first, second)
    assert member["far"].matrix == pytest.approx((-1, 0, 47, 0, -1, 47))
    assert member["third"].matrix == (1.0, 0.0, 10.0, 0.0, 1.0, -5.0)
    assert sheet.group.weakest == second


def test_the_reference_of_equal_members_is_the_smallest_hash(album):
    one, other = album.add_chain("px-a", 2)
    assert ids(show(album, "weakest"))[0] == min(one, other, key=lambda r: r.sha256).id


def test_the_weakest_link_is_one_that_the_group_needs(album):
    a, b, c = (album.add(name, "px-a") for name in "abc")
    album.link(a, b, agreement=0.95)
    needed = album.link(b, c, agreement=0.85)
    album.link(a, c, agreement=0.61)
    assert show(album, "weakest").group.weakest == needed


def test_groups_on_weaker_evidence_come_first(album):
    for source, agreement in (("px-a", 0.9), ("px-b", 0.7), ("px-c", 0.8), ("px-d", 0.95)):
        album.add_chain(source, 2, agreement=agreement)
    found = by_code(review_sources(album.build()))
    assert names(found["weakest"]) == ["px-b", "px-c"] and found["weakest"].total == 4
    assert names(found["largest"]) == ["px-a", "px-d"] and found["largest"].total == 2


def test_inliers_tell_links_of_like_agreement_apart(album):
    a, b, c = (album.add(name, "px-a") for name in "abc")
    weak = album.link(a, b, agreement=0.99, inliers=20)
    album.link(b, c, agreement=0.96, inliers=90)
    assert show(album, "weakest").group.weakest == weak


def test_a_path_takes_the_fewest_links_and_then_the_strongest():
    def link(first, second, agreement, shift):
        matrix = (1.0, 0.0, shift, 0.0, 1.0, 0.0)
        return Link(first, second, "near", 9, 1.0, agreement, 0.0, matrix)

    links = [
        link("a", "b", 0.7, 1),
        link("a", "c", 0.9, 2),
        link("b", "d", 0.99, 100),
        link("c", "d", 0.8, 20),
        link("d", "e", 0.9, 300),
        link("a", "e", 0.6, 4),
    ]
    places = room.place_members("a", links)
    # d: two links either way, 0.8 at least by way of c; e: one weak link beats three.
    shift = {name: matrix[2] for name, (matrix, _) in places.items()}
    assert shift == {"a": 0, "b": 1, "c": 2, "d": 22, "e": 4}
    matrix, path = room.place_members("d", links[::-1])["a"]
    assert matrix[2] == -22 and len(path) == 2


def test_two_labels_of_one_picture_are_a_conflict(album):
    members = album.add_chain("px-a", 5)
    album.records[4] = replace(members[4], label="neutrophil")
    review = review_sources(album.build(), max_members=3)
    assert list(by_code(review)) == ["conflicts"]
    (sheet,) = review.chapters[0].sheets
    assert sheet.group.conflict == ("eosinophil", "neutrophil") and sheet.n_hidden == 2
    # The odd one out is on the sheet however short the sheet is.
    assert [m.file.ids[0] for m in sheet.members if m.differs] == ["px-a/4"]
    assert len(sheet.members) == 3


def test_two_labels_of_the_same_bytes_are_a_conflict(album):
    one = album.add("one", "px-a")
    album.records.append(replace(one, id="two", path="copy.png", label="blast"))
    (group,) = review_sources(album.build()).groups
    assert group.conflict == ("blast", "eosinophil")
    assert group.n_duplicates == 2 and group.files[0].ids == ("one", "two")


def test_labels_of_one_patient_are_no_conflict(album):
    for k, label in enumerate(("eosinophil", "neutrophil", "blast")):
        album.add(f"p/{k}", "patient 7", label)
    (group,) = review_sources(album.build()).groups
    assert (group.conflict, group.n_files, group.n_duplicates) == ((), 3, 0)
    assert [m.matrix for m in show(album, "largest").members] == [IDENTITY, None, None]


def test_duplicates_in_a_patient_are_reviewed_by_themselves(album):
    album.add_chain("patient 7", 2)
    album.add("p/3", "patient 7", "neutrophil")
    (group,) = review_sources(album.build()).groups
    assert (group.conflict, group.n_files, group.n_duplicates) == ((), 3, 2)
    # What no link reaches comes last.
    assert ids(show(album, "weakest"))[-1] == "p/3"


def test_boxes_of_one_file_are_one_member(album):
    field = album.add("f.jpg#0", "px-a", "red_cell", box=(0, 0, 20, 20))
    for k in (1, 2):
        album.records.append(
            replace(field, id=f"f.jpg#{k}", label="white_cell", box=(9, 9, 30, 30))
        )
    other = album.add("g.jpg#0", "px-a", "red_cell", box=(0, 0, 9, 9))
    album.link(field, other)
    alone = album.add("h#1.jpg#0", "px-b", "red_cell", box=(0, 0, 9, 9))
    album.records.append(replace(alone, id="h#1.jpg#1", box=(9, 9, 20, 20)))
    review = review_sources(album.build())
    assert (review.n_files, review.n_boxes) == (3, 6)
    (group,) = review.groups
    assert sorted(f.ids[0] for f in group.files) == ["f.jpg", "g.jpg"] and not group.conflict
    assert group.labels == {"white_cell": 2, "red_cell": 2}


# -- pairs ----------------------------------------------------------------------------------------


def test_rejected_links_are_pairs_of_groups_the_strongest_first(album):
    a, b, c = (album.add_chain(f"px-{name}", 2)[0] for name in "abc")
    weak = album.link(a, b, accepted=False, agreement=0.7, inliers=9)
    strong = album.link(b, c, accepted=False, agreement=0.8)
    for record in album.records[2:4]:
        album.link(album.records[1], record, accepted=False, agreement=0.65)
    sheets = by_code(review_sources(album.build()))["rejected"].sheets
    assert [(s.link, s.n_links) for s in sheets] == [(strong, 1), (weak, 3)]
    assert [m.matrix for m in sheets[0].members] == [IDENTITY, strong.matrix]


def test_duplicates_under_two_sources_join_nothing(album):
    one, other = album.add("one", "patient 1"), album.add("other", "patient 2")
    link = album.link(one, other)
    review = review_sources(album.build())
    assert review.groups == () and by_code(review)["rejected"].sheets[0].link == link


def test_overlaps_are_pairs_the_weakest_first(album):
    a, b, c = (album.add(name, f"px-{name}") for name in "abc")
    strong = album.link(a, b, kind="overlap", agreement=0.9)
    weak = album.link(b, c, kind="overlap", agreement=0.7)
    sheets = by_code(review_sources(album.build()))["overlaps"].sheets
    assert [sheet.link for sheet in sheets] == [weak, strong]


# -- limits ---------------------------------------------------------------------------------------


def test_sheets_are_shared_evenly():
    assert room._share_evenly(10, [1, 0, 100, 2, 100]) == [1, 0, 4, 2, 3]
    assert room._share_evenly(60, [1, 2, 3]) == [1, 2, 3]
    assert room._share_evenly(2, [5, 5, 5]) == [1, 1, 0]


def test_limits_leave_out_and_count(album):
    for k in range(6):
        album.add_chain(f"px-{k}", 3 if k else 5, agreement=0.9 - 0.01 * k)
    found = by_code(review_sources(album.build(), max_sheets=3, max_members=2))
    assert {code: (len(c.sheets), c.total) for code, c in found.items()} == {
        "weakest": (2, 6),
        "largest": (1, 4),
    }
    assert [s.n_hidden for s in found["weakest"].sheets] == [1, 1]


def test_links_that_fit_nothing_are_an_error(album):
    album.add_chain("px-a", 2)
    good = album.links[0]
    album.links = [replace(good, second="f" * 64)]
    with pytest.raises(DataError, match="ffffffffffffffff, which is not in the catalog"):
        review_sources(album.build())
    for matrix in ((1.0, 1.0, 0.0, 1.0, 1.0, 0.0), (math.nan, 0.0, 0.0, 0.0, 1.0, 0.0)):
        album.links = [replace(good, matrix=matrix)]
        with pytest.raises(DataError, match="can be undone"):
            review_sources(album.build())
