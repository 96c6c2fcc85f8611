"""Planted copies of test images, under names of their own: what a comparison of pixels finds."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.builders.images import save_discs

from leukoscope import pipelines
from leukoscope.data.catalog import Catalog
from leukoscope.data.splits import Split, audit_split, load_split, save_split
from leukoscope.painted.cells import save_painted
from leukoscope.pipelines.data import compare_pixels
from leukoscope.sources import comparison
from leukoscope.sources.comparison import FoundCopies, compare_roles, find_copies

WAYS = {
    "turned": lambda image: image.rotate(90),
    "askew": lambda image: image.rotate(
        31, Image.Resampling.BICUBIC, fillcolor=image.getpixel((1, 1))
    ),
    "flipped": ImageOps.mirror,
    "smaller": lambda image: image.resize((72, 72), Image.Resampling.LANCZOS),
    "encoded": lambda image: image,
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """40 painted cells, each once."""
    place = tmp_path_factory.mktemp("painted")
    return pipelines.scan_images(save_painted(place, 40, copies=1, size_px=96))


def plant(records, folder, way):
    """Copies of some images in files of their own, as records with sources of their own."""
    (folder / way / "x").mkdir(parents=True)
    for i, record in enumerate(records):
        with Image.open(record.path) as image:
            copy = WAYS[way](image.convert("RGB"))
        copy.save(folder / way / "x" / f"{i:03d}.jpg", quality=70)
    found = pipelines.scan_images(folder / way).records
    return tuple(
        replace(copy, id=f"{way} {i}", label=record.label, source=f"{way} {i}.jpg")
        for i, (copy, record) in enumerate(zip(found, records, strict=True))
    )


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_found_in_whatever_way_they_were_made(cells, tmp_path, way):
    originals = cells.records
    copies = plant(originals[:20], tmp_path, way)
    found = dict(find_copies(copies, originals[:30]).pairs)
    truth = {copy.id: original.id for copy, original in zip(copies, originals, strict=False)}
    assert len(found) >= 19
    assert all(truth[name] == other for name, other in found.items())
    assert find_copies(copies, originals[20:]).pairs == ()


@pytest.fixture
def planted(cells, tmp_path):
    """Every file its own source; 10 of 20 test images are turned copies of training images."""
    train = [replace(r, source=r.id) for r in cells.records]
    copies = plant(train[:10], tmp_path, "turned")
    roles = ["train"] * 24 + ["val"] * 6 + ["test"] * 10
    return Split(Catalog((*train, *copies)), (*roles, *["test"] * 10), "grouped", 42)


def test_names_of_files_as_sources_hide_no_copy(planted, tmp_path):
    assert audit_split(planted).leakage_status == "unproven"
    found = compare_pixels(planted)
    audit = audit_split(found)
    assert audit.leakage_status == "leaking" and audit.shared == ()
    assert audit.test_with_copy_in_training == len(found.check.copies) >= 9
    example = next(one for one in audit.findings if one.code == "copies_found").examples[0]
    assert example.first.id.startswith("turned") and example.second.role == "train"
    # It stays with the split, and is not done again.
    save_split(found, tmp_path / "split.csv")
    assert compare_pixels(load_split(tmp_path / "split.csv")).check == found.check
    assert pipelines.audit_data(tmp_path / "split.csv").failed


def test_sources_that_repeat_hide_no_copy_either(planted):
    """Pairs of images under made-up names of patients."""
    rows = tuple(
        replace(r, source=f"patient {i // 2}") for i, r in enumerate(planted.catalog.records)
    )
    split = replace(planted, catalog=Catalog(rows))
    assert audit_split(split).leakage_status == "disjoint"
    assert audit_split(compare_pixels(split)).leakage_status == "leaking"


def test_a_sample_makes_a_suspicion(planted, monkeypatch):
    monkeypatch.setattr(comparison, "MAX_TEST", 12)
    check = compare_roles(planted)
    assert (check.n_test, check.n_all_test) == (12, 20) and check.copies
    assert audit_split(replace(planted, check=check)).leakage_status == "suspect"
    monkeypatch.setattr(comparison, "MAX_TRAINING", 8)
    check = compare_roles(planted)
    assert (check.n_training, check.n_all_training) == (8, 30) and not check.is_whole


def test_where_nothing_is_copied_images_are_disjoint(cells):
    rows = tuple(replace(r, source=r.id) for r in cells.records)
    split = Split(Catalog(rows), ("train",) * 25 + ("val",) * 5 + ("test",) * 10, "grouped", 42)
    found = compare_pixels(split)
    assert found.check.is_whole and found.check.copies == ()
    status = "unproven" if found.check.n_smooth else "images_disjoint"
    assert audit_split(found).leakage_status == status


def test_chance_likeness_of_plain_images_is_no_copy_and_no_proof(tmp_path):
    catalog = pipelines.scan_images(save_discs(tmp_path / "cells"))
    found = find_copies(catalog.records[::2], catalog.records[1::2])
    assert found.pairs == () and found.n_smooth > 0


def test_identical_files_are_left_to_the_audit_and_empty_roles_to_others(cells, tmp_path):
    assert find_copies(cells.records[:5], cells.records).pairs == ()
    assert find_copies((), cells.records).pairs == find_copies(cells.records, ()).pairs == ()
    for k, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        slope_HWC = np.zeros((64, 64, 3)) + np.linspace(100, 160 + k, 64)[:, None]
        Image.fromarray(slope_HWC.astype(np.uint8)).save(tmp_path / name / "1.png")
    flat = pipelines.scan_images(tmp_path).records
    assert find_copies(flat[:1], (*flat[1:], *cells.records)).n_smooth == 1
    assert find_copies(cells.records[:5], flat) == FoundCopies((), 0)


def test_what_cannot_be_compared_stays_as_it_was(cells, tmp_path):
    folder = shutil.copytree(cells.records[0].path.parents[1], tmp_path / "cells")
    split = pipelines.split_catalog(pipelines.scan_images(folder), "random")
    shutil.rmtree(folder)
    assert compare_pixels(split, cache=tmp_path / "new.sqlite") == split
    pixels = tuple(replace(r, source=f"px-{r.sha256[:12]}") for r in split.catalog.records)
    traced = replace(split, catalog=Catalog(pixels))
    assert compare_pixels(traced) == traced


def test_a_cache_that_cannot_be_written_costs_time_only(planted, tmp_path):
    (tmp_path / "file").write_text("")
    found = compare_pixels(planted, cache=tmp_path / "file" / "cache.sqlite")
    assert found.check is not None and found.check.copies
