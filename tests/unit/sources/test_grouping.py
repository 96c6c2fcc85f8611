import hashlib
import importlib.util

import cv2
import numpy as np
import pytest
from PIL import Image

from leukoscope.errors import ImageError, MissingExtraError, StorageError
from leukoscope.sources import grouping as links
from leukoscope.sources.grouping import build_groups, find_links, find_neighbours
from leukoscope.sources.matching import Match

silent = lambda *_: None  # noqa: E731


def turn(image, angle, flip=False):
    height, width = image.shape[:2]
    map_23 = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return cv2.warpAffine(image[:, ::-1] if flip else image, map_23, (width, height))


def save(folder, pictures):
    """Write pictures; return the files by content hash, and hashes by name."""
    folder.mkdir(exist_ok=True)
    files, hashes = {}, {}
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        cv2.imwrite(str(path), picture)
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        files[hashes[name]] = path
    return files, hashes


@pytest.fixture(scope="module")
def pictures(draw_field):
    """Three fields, four copies each, a constant image and a lonely field."""
    found = {"blank": np.full((240, 320, 3), 210, np.uint8), "alone": draw_field(50)}
    for k in range(3):
        field = draw_field(60 + k)
        for copy, (angle, flip) in enumerate(((0, False), (12, True), (-15, False), (90, True))):
            found[f"field{k}_{copy}"] = turn(field, angle, flip)
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("links")
    files, hashes = save(folder / "images", pictures)
    found = find_links(files, folder / "cache.sqlite", silent)
    return folder, files, hashes, found


def join(found, hashes):
    """The groups that accepted copies make, as sets of names."""
    groups = {name: {name} for name in hashes}
    names = {value: key for key, value in hashes.items()}
    for link in found.links:
        if link.accepted and link.kind != "overlap":
            both = groups[names[link.first]] | groups[names[link.second]]
            for name in both:
                groups[name] = both
    return {frozenset(group) for group in groups.values()}


def test_copies_are_linked_and_nothing_else_is(searched):
    _, _, hashes, found = searched
    wanted = {frozenset(f"field{k}_{c}" for c in range(4)) for k in range(3)}
    assert join(found, hashes) == wanted | {frozenset({"alone"}), frozenset({"blank"})}
    assert found.featureless == (hashes["blank"],)
    assert all(link.first < link.second for link in found.links)
    assert found.settings["min_inliers"] == 8


def test_pictures_without_features_are_linked_where_every_pixel_is_the_same(tmp_path):
    """White ones, forty of them, were forty sources; saved in other formats none was found."""
    files, hashes = {}, {}
    ramp = np.tile(np.linspace(90, 220, 64).astype(np.uint8), (64, 1))
    smooth = {"a": np.stack([ramp, ramp, 255 - ramp], 2), "b": np.full((64, 64, 3), 255, np.uint8)}
    for name, pixels in smooth.items():
        for kind in ("png", "bmp", "tiff"):
            path = tmp_path / f"{name}.{kind}"
            Image.fromarray(pixels).save(path)
            hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            files[hashes[path.name]] = path
    found = find_links(files, None, silent)
    assert sorted(found.featureless) == sorted(files)
    assert join(found, hashes) == {
        frozenset(f"{name}.{kind}" for kind in ("png", "bmp", "tiff")) for name in "ab"
    }


def test_names_and_order_of_files_do_not_matter(searched, tmp_path):
    _, files, _, found = searched
    moved = {}
    for k, (sha256, path) in enumerate(reversed(files.items())):
        moved[sha256] = tmp_path / f"{k}.bin"
        moved[sha256].write_bytes(path.read_bytes())
    assert find_links(moved, None, silent) == found


@pytest.mark.parametrize("threads", [1, 5])
def test_the_number_of_threads_does_not_matter(searched, threads, monkeypatch):
    _, files, _, found = searched
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    assert find_links(files, None, silent) == found


def test_a_second_search_computes_nothing(searched, monkeypatch):
    folder, files, _, found = searched
    fail = pytest.fail
    monkeypatch.setattr(
        "leukoscope.sources.fingerprints.build_fingerprint", lambda *_: fail("again")
    )
    monkeypatch.setattr("leukoscope.sources.matching.match_pair", lambda *_: fail("again"))
    assert find_links(files, folder / "cache.sqlite", silent) == found


@pytest.mark.parametrize("where", ["Describing images", "Comparing pairs"])
def test_an_interrupted_search_goes_on(searched, tmp_path, where, monkeypatch):
    _, files, _, found = searched
    monkeypatch.setattr(links, "_BATCH", 4)
    monkeypatch.setattr(links, "_PAIR_BATCH", 4)
    seen = []

    def interrupt(what, done, total):
        if what == where and done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_links(files, tmp_path / "cache.sqlite", interrupt)
    again = find_links(files, tmp_path / "cache.sqlite", lambda *step: seen.append(step))
    assert again == found
    assert seen[0][1] >= 4


def test_nothing_and_one_file_have_no_links(searched):
    _, files, _, _ = searched
    assert find_links({}, None, silent).links == ()
    assert find_links(dict(list(files.items())[:1]), None, silent).links == ()


def test_a_missing_a_changed_and_a_broken_file_are_told(searched, tmp_path):
    _, files, _, _ = searched
    sha256, path = max(files.items(), key=lambda item: item[1].stat().st_size)
    with pytest.raises(ImageError, match="restore"):
        find_links({sha256: tmp_path / "gone.png"}, None, silent)
    changed = tmp_path / "changed.png"
    changed.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ImageError, match="changed since the scan"):
        find_links({sha256: changed}, None, silent)
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:2000])
    own = hashlib.sha256(broken.read_bytes()).hexdigest()
    with pytest.raises(ImageError, match="last pixel"):
        find_links({own: broken}, None, silent)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(links, "find_spec", lambda n: None if n == "faiss" else real(n))
    with pytest.raises(MissingExtraError, match=r"leukoscope\[sources\]"):
        find_links({}, None, silent)


# -- candidates -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    found = rng.standard_normal((600, 32)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_exact_index_agrees_with_a_full_sort(vectors):
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    truth = np.argsort(-similar, axis=1)[:, :7]
    assert find_neighbours(vectors, 7) == truth.tolist()


def test_the_inexact_index_finds_close_neighbours(vectors):
    rng = np.random.default_rng(1)
    near = vectors + 0.05 * rng.standard_normal(vectors.shape).astype(np.float32)
    both = np.concatenate([vectors, near / np.linalg.norm(near, axis=1, keepdims=True)])
    found = find_neighbours(both, 5, exact=False)
    assert np.mean([row[0] == (i + 600) % 1200 for i, row in enumerate(found)]) > 0.97
    assert found == find_neighbours(both, 5, exact=False)


def test_few_images_have_few_neighbours(vectors):
    assert find_neighbours(vectors[:0]) == []
    assert find_neighbours(vectors[:1]) == [[]]
    assert find_neighbours(vectors[:2]) == [[1], [0]]


# -- groups ---------------------------------------------------------------------------------------

COPY = Match("geometric", 60, 0.9, 0.95, 0.0, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
WEAK = Match("geometric", 20, 0.9, 0.95, 0.0, COPY.matrix)
AGAINST = Match("overlap", 50, 0.8, 0.95, 0.05, COPY.matrix)
NEIGHBOUR = Match("overlap", 50, 0.8, 0.95, 0.0, COPY.matrix)


class FakeMatcher:
    """Knows what a test says, and answers what it is asked by `truth`; None for the rest."""

    def __init__(self, n, known, truth=None):
        self.hashes = [f"{i:03d}" for i in range(n)]
        self.known, self.truth, self.asked = dict(known), truth or {}, []

    def match_all(self, pairs, report=None):
        self.asked += pairs
        self.known |= {pair: self.truth.get(pair) for pair in pairs}


def ring(*rows):
    return {tuple(sorted(pair)): COPY for pair in zip(rows, (*rows[1:], rows[0]), strict=True)}


def split(groups):
    return {frozenset(i for i, g in enumerate(groups) if g == own) for own in groups}


FOURS = {frozenset({0, 1, 2, 3}), frozenset({4, 5, 6, 7})}


def test_one_false_link_chains_nothing():
    matcher = FakeMatcher(8, ring(0, 1, 2, 3) | ring(4, 5, 6, 7) | {(3, 4): COPY})
    assert split(build_groups(matcher)) == FOURS
    assert len(matcher.asked) >= 5


def test_one_false_link_chains_nothing_even_if_it_is_the_strongest():
    strong = Match("near", 200, 1.0, 1.0, 0.0, COPY.matrix)
    inside = {(i, j): COPY for own in FOURS for i in own for j in own if i < j}
    matcher = FakeMatcher(8, ring(0, 1, 2, 3) | ring(4, 5, 6, 7) | {(3, 4): strong}, inside)
    found = split(build_groups(matcher))
    # The two falsely linked images stay together, and stand apart from both groups.
    assert found == {frozenset({0, 1, 2}), frozenset({3, 4}), frozenset({5, 6, 7})}


def test_an_image_linked_to_two_groups_does_not_chain_them():
    known = ring(0, 1, 2, 3) | ring(4, 5, 6, 7)
    known |= {(0, 8): COPY, (1, 8): COPY, (4, 8): WEAK, (5, 8): WEAK, (6, 8): WEAK}
    found = split(build_groups(FakeMatcher(9, known)))
    assert found == {frozenset({0, 1, 2, 3, 8}), frozenset({4, 5, 6, 7})}


def test_a_last_image_joins_by_a_single_link():
    assert len(set(build_groups(FakeMatcher(5, ring(0, 1, 2, 3) | {(1, 4): WEAK})))) == 1


def test_a_true_link_is_supported_and_joins():
    truth = {(i, j): COPY for i in range(4) for j in range(4, 8)}
    matcher = FakeMatcher(8, ring(0, 1, 2, 3) | ring(4, 5, 6, 7) | {(3, 4): WEAK}, truth)
    assert len(set(build_groups(matcher))) == 1


def test_contradictions_outweigh_as_many_copies():
    known = ring(0, 1, 2, 3) | ring(4, 5, 6, 7) | {(0, 4): WEAK, (1, 5): WEAK, (2, 6): WEAK}
    truth = {(i, j): AGAINST for i in range(4) for j in range(4, 8)}
    assert split(build_groups(FakeMatcher(8, known, truth))) == FOURS


def test_neighbours_neither_join_nor_contradict():
    matcher = FakeMatcher(3, {(0, 1): COPY, (1, 2): NEIGHBOUR, (0, 2): NEIGHBOUR})
    assert split(build_groups(matcher)) == {frozenset({0, 1}), frozenset({2})}
    supported = FakeMatcher(4, {(0, 1): COPY, (0, 2): COPY, (1, 2): NEIGHBOUR, (0, 3): COPY})
    assert len(set(build_groups(supported))) == 1


def test_a_single_image_is_kept_out_by_contradictions():
    known = ring(0, 1, 2, 3) | {(3, 4): WEAK}
    truth = {(i, 4): AGAINST for i in range(3)}
    assert split(build_groups(FakeMatcher(5, known, truth))) == {
        frozenset({0, 1, 2, 3}),
        frozenset({4}),
    }


def test_pairs_need_no_support():
    assert len(set(build_groups(FakeMatcher(2, {(0, 1): WEAK})))) == 1
    assert build_groups(FakeMatcher(2, {(0, 1): None})) == [0, 1]


# -- around the search ----------------------------------------------------------------------------


def test_the_size_of_batches_does_not_matter(searched, monkeypatch):
    _, files, _, found = searched
    monkeypatch.setattr(links, "_BATCH", 3)
    monkeypatch.setattr(links, "_PAIR_BATCH", 1)
    assert find_links(files, None, silent) == found


def test_a_cache_that_is_none_is_told_and_kept(searched, tmp_path):
    _, files, _, _ = searched
    notes = tmp_path / "notes.txt"
    notes.write_text("these are my notes, not a database " * 40)
    with pytest.raises(StorageError, match="cache"):
        find_links(files, notes, silent)
    assert notes.read_text().startswith("these are my notes")


@pytest.mark.parametrize("fails", [False, True])
def test_threads_of_opencv_are_as_they_were(searched, tmp_path, fails):
    _, files, _, _ = searched
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        if fails:
            with pytest.raises(ImageError):
                find_links({"00": tmp_path / "gone.png"}, None, silent)
        else:
            find_links(dict(list(files.items())[:2]), None, silent)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_progress_is_told_to_the_end(searched):
    _, files, _, _ = searched
    steps = []
    find_links(files, None, lambda *step: steps.append(step))
    for what in ("Describing images", "Comparing pairs"):
        told = [step[1:] for step in steps if step[0] == what]
        assert told
        assert all(done <= total for done, total in told)
        assert told[-1][0] == told[-1][1]


def test_the_map_is_that_of_the_picture_as_it_is_shown(draw_field, tmp_path):
    """A file that is turned by its EXIF tag has the size and the map of the upright picture."""
    upright = draw_field(70)[:, :, ::-1]
    Image.fromarray(upright).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(
        tmp_path / "b.jpg", exif=exif, quality=95
    )
    files = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in tmp_path.iterdir()}
    (link,) = find_links(files, None, silent).links
    assert link.kind == "near"
    assert link.matrix == pytest.approx((1, 0, 0, 0, 1, 0), abs=0.5)


def test_support_pairs_differ_and_cross_the_groups():
    a, b = list(range(0, 40, 2)), list(range(1, 30, 2))
    chosen = links._choose_support(a, b, 6)
    assert len(set(chosen)) == 6
    assert all(i < j and (i in a) != (j in a) for i, j in chosen)
    # The choice is of the groups, whatever the order in which they grew.
    assert chosen == links._choose_support(a[::-1], b[::-1], 6)
    # Small groups have no more pairs than there are.
    assert sorted(links._choose_support([0, 1], [2], 6)) == [(0, 2), (1, 2)]
