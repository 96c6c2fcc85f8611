"""The page of a search: pictures as stored and moved, what cannot be shown, and its limits."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from tests.builders.images import paint
from tests.builders.sources import TURN, Album, fill_album

from leukoscope.report import pairs
from leukoscope.report import source_page as room
from leukoscope.report.frame import render_html
from leukoscope.report.page import Banner, Details, Gallery
from leukoscope.report.source_page import describe_map, describe_sources
from leukoscope.sources.evidence import IDENTITY, invert_map
from leukoscope.sources.review import ChapterCode, View, review_sources


@pytest.fixture
def album(tmp_path):
    return Album(tmp_path)


def describe(album, px=120, **limits):
    review = review_sources(album.build(), **limits)
    return describe_sources(review, pairs.draw_views(review, px))


def list_blocks(page, kind):
    def walk(blocks):
        for block in blocks:
            if isinstance(block, kind):
                yield block
            yield from walk(getattr(block, "blocks", ()))

    return [b for s in (page.lead, *(s.blocks for s in page.sections)) for b in walk(s)]


def list_tiles(page):
    return [tile for gallery in list_blocks(page, Gallery) for tile in gallery.tiles]


def read_url(url):
    kind, data = url.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)


def test_every_chapter_has_its_words():
    assert tuple(room.CHAPTERS) == get_args(ChapterCode)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (IDENTITY, "same place"),
        ((1, 0, 1.9, 0, 1, -1.9), "same place"),
        ((1, 0, -30, 0, 1, 0), "moved 30 px left"),
        ((1, 0, 0, 0, 1, 12), "moved 12 px down"),
        ((-1, 0, 99, 0, 1, -4), "mirrored, turned 180°, moved 4 px up"),
        ((0, -1, 99, 1, 0, 0), "turned 90°"),
        ((0.5, 0, -0.25, 0, 0.5, -0.25), "scaled 0.50, moved 25 px left and 25 px up"),
        ((1, 0.2, -9.9, 0, 1, 0), "sheared 0.20"),
    ],
)
def test_maps_are_described(matrix, words):
    found = describe_map(matrix, (100, 100), (100, 100))
    assert found.replace(room.NBSP, " ") == words
    assert " px" not in found  # the number and its unit stay on one line


def test_the_banner_says_what_to_do(album):
    album.add("one", "px-a")
    (banner,) = list_blocks(describe(album), Banner)
    assert banner.level == "good"
    album.add_chain("px-b", 2)
    (banner,) = list_blocks(describe(album), Banner)
    assert banner.level == "caution"


# -- pixels ---------------------------------------------------------------------------------------


def test_the_page_shows_the_member_as_the_reference(album):
    pixels_HWC = paint(7, (120, 120))
    one = album.add("one", "px-a", pixels=pixels_HWC)
    turned = album.add("turned", "px-a", pixels=np.ascontiguousarray(np.rot90(pixels_HWC, -1)))
    half = Image.fromarray(pixels_HWC).resize((60, 60), Image.Resampling.BOX)
    small = album.add("small", "px-a", pixels=np.asarray(half))
    # np.rot90(..., -1) turns clockwise: x' = H - 1 - y, y' = x.
    album.link(turned, one, invert_map((0.0, -1.0, 119.0, 1.0, 0.0, 0.0)))
    album.link(one, small, (0.5, 0.0, -0.25, 0.0, 0.5, -0.25))
    tiles = list_tiles(describe(album))
    assert tiles[0].title == "one" and len(tiles[0].pictures) == 1
    reference = read_url(tiles[0].pictures[0].url)
    for tile in tiles[1:]:
        stored, moved = (read_url(picture.url) for picture in tile.pictures)
        assert np.abs(moved - reference).mean() < 3
        assert tile.pictures[1].framed and tile.pictures[1].alt == f"{tile.title} moved onto one"
        assert tile.title != "turned" or np.abs(stored - reference).mean() > 10
    lines = {tile.title: tile.lines for tile in tiles}
    assert lines["turned"][:2] == ("Eosinophil", "turned 90°")
    assert lines["small"][1] == "scaled 0.50"


def test_a_pair_within_a_group_has_its_own_map(album):
    hub, near, far = (album.add(name, "px-a") for name in ("hub", "near", "far"))
    album.link(hub, near)
    album.link(near, far)
    link = album.link(hub, far, IDENTITY, accepted=False)
    review = review_sources(album.build())
    drawn = pairs.draw_views(review)
    assert View(link.second, link.first, link.matrix) in drawn
    moved = [view for view in drawn if view.matrix is not None]
    assert len(moved) == 3 and len(drawn) == 6


def test_thumbnails_keep_the_shape(album):
    for k in range(2):
        album.add(f"wide/{k}", "px-a", pixels=paint(k, (96, 24)))
    album.link(*album.records, matrix=IDENTITY)
    shapes = {
        read_url(picture.url).shape
        for tile in list_tiles(describe(album, px=64))
        for picture in tile.pictures
    }
    assert shapes == {(16, 64, 3)}


def test_files_that_cannot_be_shown_say_why(album):
    gone, changed, fine = album.add_chain("px-a", 3)
    gone.path.unlink()
    changed.path.write_bytes(b"x")
    broken = album.add("broken", "px-a")
    broken.path.write_bytes(b"y" * 100)
    album.records[-1] = replace(broken, sha256=hashlib.sha256(b"y" * 100).hexdigest())
    page = describe(album)
    problems = {tile.title: [p.problem for p in tile.pictures] for tile in list_tiles(page)}
    assert problems[gone.id][0].endswith("No such file or directory")
    assert "has changed" in problems[changed.id][0]
    assert problems["broken"][0].startswith("cannot be read")
    assert set(problems[fine.id]) == {""}
    assert [b.level for b in list_blocks(page, Banner)] == ["caution", "bad"]


# -- limits ---------------------------------------------------------------------------------------


def test_long_lists_are_cut_short(album, monkeypatch):
    first = album.add("0", "px-a", box=(0, 0, 9, 9))
    for k in range(1, 8):
        copy = album.folder / f"copy{k}.png"
        copy.write_bytes(first.path.read_bytes())
        album.records.append(replace(first, id=f"{k}#0", path=copy, label=f"kind_{k}"))
    (tile,) = list_tiles(describe(album))
    assert tile.lines[0] == "Eosinophil 1, Kind 1 1, Kind 2 1, Kind 3 1, 4 more"
    assert tile.lines[-1] == "identical files: 1, 2, 3, 4, 3 more"
    monkeypatch.setattr(room, "_MAX_IDS", 2)
    review = review_sources(album.build(("grey/1", "grey/2", "grey/3")))
    (names,) = [
        b for b in list_blocks(describe_sources(review, {}), Details) if "names" in b.summary
    ]
    assert names.blocks[0].items == ("grey/1", "grey/2", "and 1 more")


def test_tables_and_sheets_have_limits(album, monkeypatch):
    for k in range(10):
        album.add_chain(f"px-{k}", 2)
    monkeypatch.setattr(room, "MAX_TABLE_ROWS", 4)
    page = describe(album, px=16)
    assert [b.is_open for b in list_blocks(page, Details)] == ([True] * 3 + [False] * 2) * 2
    (section,) = [s for s in page.sections if s.title == "All groups"]
    assert len(section.blocks[0].blocks[0].rows) == 4


def test_the_page_is_html_of_its_own(album):
    html = render_html(describe_sources(review_sources(fill_album(album).build()), {}))
    assert "http://" not in html and "https://" not in html and "url(" not in html
    assert "<script" not in html and "&lt;script&gt;" in html
    links = re.findall(r'href="#(\w+)"', html)
    assert links and all(html.count(f'id="{link}"') == 1 for link in links)


def test_a_page_of_large_groups_stays_small(album, monkeypatch):
    grain = np.random.default_rng(0).normal(0, 6, (240, 320, 3))
    noisy_HWC = np.clip(paint(0, (320, 240)) + grain, 0, 255).astype(np.uint8)
    # Groups as large as those of dataset2-master; one file's pixels stand for all.
    monkeypatch.setattr(pairs, "load_picture", lambda record: Image.fromarray(noisy_HWC))
    record = album.add("x", "px", pixels=noisy_HWC)
    for group in range(24):
        made = [
            replace(
                record,
                id=f"EOSINOPHIL/_{group}_{k}.jpeg",
                path=album.folder / f"{group}_{k}",
                sha256=hashlib.sha256(f"{group} {k}".encode()).hexdigest(),
                source=f"px-{group:012d}",
            )
            for k in range(36)
        ]
        album.records += made
        for other in made[1:]:
            album.link(made[0], other, (1.0, 0.0, 4.0, 0.0, 1.0, 0.0), agreement=0.8)
    html = render_html(describe(album, max_sheets=12))
    # A fifth of the sheets shown otherwise, so a fifth of 15 MB.
    assert len(html.encode()) < 3_000_000
    assert html.count("<img") == 12 * (12 + 11)


def test_a_turn_of_a_small_image_is_a_turn():
    assert describe_map(TURN, (48, 48), (48, 48)) == "turned 90°"
