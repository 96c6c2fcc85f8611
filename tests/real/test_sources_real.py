"""Copies in real images: against the originals of BCCD, which the search never asks for."""

import hashlib
from collections import defaultdict
from dataclasses import replace

import pytest

from leukoscope import pipelines
from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.groups import group_sources
from leukoscope.sources.search import find_sources


def record(path, name):
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return ImageRecord(name, path, "cell", 320, 240, len(content), sha256)


def thin_out(folder, every):
    """One file in so many, by content: a sample that names have no say in."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [p for p in files if int(hashlib.md5(p.read_bytes()).hexdigest(), 16) % every == 0]


def test_copies_of_train_find_their_originals(real_data):
    copies = thin_out(real_data / "dataset2-master" / "images" / "TRAIN", 150)
    originals = sorted((real_data / "bccd" / "JPEGImages").iterdir())
    records = [record(p, f"copy {p.parent.name}/{p.name}") for p in copies]
    records += [record(p, f"original {p.name}") for p in originals]
    found = find_sources(Catalog(tuple(records)))
    originals_of = defaultdict(set)
    for r in found.catalog.records:
        if r.id.startswith("original"):
            originals_of[r.source].add(r.id)
    # BCCD holds some twenty fields twice. Photographed within a few pixels, and with no fill to
    # tell where a picture ends, five of them count as one.
    assert sum(len(names) > 1 for names in originals_of.values()) <= 6
    own = [r for r in found.catalog.records if r.id.startswith("copy")]
    assert len(own) > 40
    without = [r.id for r in own if not originals_of[r.source]]
    assert len(without) <= 0.02 * len(own)


def test_pbc_identical_files_are_found_and_different_cells_are_not_joined(real_data):
    by_content = defaultdict(list)
    for path in sorted((real_data / "pbc").rglob("*.jpg")):
        by_content[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    twins = [paths for paths in by_content.values() if len(paths) > 1]
    assert len(twins) == 10
    # One cell photographed twice: other colours, turned by 30 degrees (looked at by eye).
    twice = [
        real_data / "pbc" / name
        for name in ("basophil/BA_49100.jpg", "basophil/BA_949913.jpg", "monocyte/MO_771055.jpg")
    ]
    # Two cells side by side, each in the middle of its own crop.
    neighbours = [real_data / "pbc/erythroblast" / f"ERB_{n}.jpg" for n in (174098, 279050)]
    others = [p for p in thin_out(real_data / "pbc", 90) if p not in {*twice, *neighbours}]
    paths = {p for pair in twins for p in pair} | {*twice, *neighbours, *others}
    found = find_sources(Catalog(tuple(record(p, str(p)) for p in sorted(paths))))
    groups = {frozenset(r.id for r in group) for group in found.groups.values()}
    assert groups == {frozenset(map(str, pair)) for pair in twins} | {
        frozenset(map(str, twice[:2]))
    }
    joined = dict(zip(map(str, sorted(paths)), group_sources(found.catalog), strict=True))
    assert joined[str(neighbours[0])] == joined[str(neighbours[1])]


@pytest.fixture(scope="module")
def test_simple(real_data, tmp_path_factory):
    folder = real_data / "dataset2-master" / "images" / "TEST_SIMPLE"
    return pipelines.scan_images(folder, tmp_path_factory.mktemp("real") / "catalog.csv")


def test_fields_of_test_simple_are_distinct_but_for_two_pairs(test_simple, tmp_path):
    found = pipelines.trace_sources(test_simple, tmp_path / "sources.csv")
    assert found.n_sources == 69
    assert {len(group) for group in found.groups.values()} == {2}
    assert (tmp_path / "sources.html").stat().st_size > 20_000
    audit = pipelines.audit_data(tmp_path / "sources.csv")
    assert not audit.failed
    unnamed = Catalog(tuple(replace(r, source="") for r in found.catalog.records))
    assert pipelines.split_catalog(unnamed).sources
