"""Pictures that are equal after decoding are one source; sets of images of 16 bits as a whole."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.builders.images import paint
from tests.builders.trees import write_voc

from leukoscope.data.audit import audit_against, audit_catalog, join_catalogs
from leukoscope.data.catalog import (
    Catalog,
    build_catalog,
    load_catalog,
    read_catalog,
    save_catalog,
)
from leukoscope.data.groups import group_sources
from leukoscope.data.images import hash_pixels, probe_image
from leukoscope.data.splits import audit_split, build_split, hash_split, load_split, save_split
from leukoscope.errors import CatalogError
from leukoscope.evaluation.leakage import assess_other

FORMATS = ("png", "bmp", "tif", "webp")


def save(path, seed, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(paint(seed)).save(path, **lossless, **options)


def save_set(root, n=12, formats=FORMATS):
    """`n` pictures of two classes, each in several formats."""
    for seed in range(n):
        for kind in formats:
            save(root / "AB"[seed % 2] / f"{seed}_{kind}.{kind}", seed)
    return root


def test_files_of_all_formats_show_one_picture(tmp_path):
    save_set(tmp_path, 1)
    Image.fromarray(paint(0)).save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "A/0_of_jpg.png")
    facts = {path.name: probe_image(path.read_bytes()) for path in tmp_path.rglob("0_*.*")}
    facts["a.jpg"] = probe_image((tmp_path / "a.jpg").read_bytes())
    assert len({one.sha256 for one in facts.values()}) == 6
    assert len({facts[f"0_{kind}.{kind}"].pixels for kind in FORMATS}) == 1
    assert facts["a.jpg"].pixels == facts["0_of_jpg.png"].pixels != facts["0_png.png"].pixels


def test_the_shape_counts_and_the_rotation():
    assert hash_pixels(np.zeros((2, 6, 3), np.uint8)) != hash_pixels(np.zeros((3, 4, 3), np.uint8))
    rows = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert hash_pixels(rows[:, ::2]) == hash_pixels(np.ascontiguousarray(rows[:, ::2]))


@pytest.mark.parametrize("protocol", ["grouped", "random"])
def test_they_are_one_source_without_a_search(tmp_path, protocol):
    catalog = build_catalog(save_set(tmp_path))
    assert len(set(group_sources(catalog))) == 12
    split = build_split(catalog, protocol)
    audit = audit_split(split)
    assert audit.leakage_status == ("leaking" if protocol == "random" else "unproven")
    if protocol == "random":
        assert audit.test_with_copy_in_training
        assert any(one.n_identical_files for one in audit.shared)
        assert audit_catalog(catalog, split=split).leak.exact == audit.test_with_copy_in_training
    assert audit_catalog(catalog).repetition.exact_groups == 12
    # Without the hash of the pixels nothing of this is seen.
    blind = Catalog(tuple(replace(record, pixels="") for record in catalog.records))
    assert len(set(group_sources(blind))) == 48
    assert audit_catalog(blind).repetition.exact_groups == 0


def test_other_data_of_another_format_are_no_other_data(tmp_path):
    split = build_split(build_catalog(save_set(tmp_path / "own", 12, ("png",))), "grouped")
    other = build_catalog(save_set(tmp_path / "other", 12, ("bmp",)))
    used = {r.label + r.id[2:4] for r, role in zip(split.catalog.records, split.roles, strict=True)
            if role in ("train", "val")}  # fmt: skip
    found = assess_other(split, other.records, ("a", "b"), "other")
    assert found.status == "leaking"
    assert len(found.leaked) == len(used)
    shared = audit_against(join_catalogs(split.catalog, other))
    assert (shared.ours.exact, shared.theirs.exact) == (12, 12)


def test_one_picture_under_two_labels_is_rejected(tmp_path):
    save(tmp_path / "EOS/1.png", 1)
    save(tmp_path / "LYM/1.tif", 1)
    save(tmp_path / "LYM/2.tif", 2)
    catalog = read_catalog(tmp_path)
    assert [record.id for record in catalog.records] == ["LYM/2.tif"]
    assert [entry.code for entry in catalog.rejected] == ["label_conflict"] * 2
    assert len({entry.content for entry in catalog.rejected}) == 1


def test_cells_of_one_field_are_told_apart_by_their_boxes(tmp_path):
    for kind in ("png", "bmp"):
        save(tmp_path / f"f_{kind}.{kind}", 1)
        boxes = [("EOS", (2, 2, 20, 20)), ("LYM", (22, 22, 40, 40))]
        write_voc(tmp_path / f"f_{kind}.xml", boxes, f"f_{kind}.{kind}")
    catalog = build_catalog(tmp_path)
    assert (len(catalog), len(set(group_sources(catalog)))) == (4, 1)


def test_the_hash_goes_through_files_and_is_bound_to_the_split(tmp_path):
    catalog = build_catalog(save_set(tmp_path / "set", 12, ("png",)))
    save_catalog(catalog, tmp_path / "c.csv")
    assert load_catalog(tmp_path / "c.csv") == catalog
    split = build_split(catalog, "grouped")
    save_split(split, tmp_path / "s.csv")
    assert hash_split(load_split(tmp_path / "s.csv")) == hash_split(split)
    blind = replace(split, catalog=Catalog(tuple(replace(r, pixels="") for r in catalog.records)))
    save_split(blind, tmp_path / "blind.csv")
    assert "pixels" not in (tmp_path / "blind.csv").read_text().partition("\n")[0]
    assert hash_split(load_split(tmp_path / "blind.csv")) == hash_split(blind) != hash_split(split)
    text = (tmp_path / "c.csv").read_text()
    (tmp_path / "c.csv").write_text(text.replace(catalog.records[0].pixels, "x1"))
    with pytest.raises(CatalogError, match="pixels must have 64 hexadecimal digits"):
        load_catalog(tmp_path / "c.csv")


# -- images of 16 bits ----------------------------------------------------------------------------


def save_wide(path, peak, mode=np.uint16):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.linspace(0, peak, 48 * 40).reshape(48, 40).astype(mode)
    Image.fromarray(levels).save(path)


@pytest.mark.parametrize(("bits", "factor"), [(10, 64), (12, 16), (14, 4)])
@pytest.mark.parametrize(("kind", "mode"), [("png", np.uint16), ("tif", np.float32)])
def test_a_set_of_fewer_bits_is_recognised_as_a_whole(tmp_path, bits, factor, kind, mode):
    """A dark image alone has the values of a camera of 10 bits; the brightest decides."""
    for k in range(6):
        save_wide(tmp_path / "AB"[k % 2] / f"{k}.{kind}", (2**bits - 1) if k == 3 else 600, mode)
    catalog = read_catalog(tmp_path)
    depth = catalog.reading.depth
    assert (depth.bits, depth.factor, depth.n_images) == (bits, factor, 6)
    assert depth.peak == 2**bits - 1
    with pytest.raises(CatalogError, match=f"of all of them by {factor}, or save them in 8 bits"):
        build_catalog(tmp_path)


def test_images_of_8_bits_beside_them_stay(tmp_path):
    save_wide(tmp_path / "A/1.png", 4000)
    save(tmp_path / "B/2.png", 2)
    catalog = build_catalog(tmp_path)
    assert [record.id for record in catalog.records] == ["B/2.png"]
    assert catalog.reading.depth.bits == 12


def test_one_image_that_needs_16_bits_says_that_they_are_meant(tmp_path):
    save_wide(tmp_path / "A/1.png", 900)
    save_wide(tmp_path / "B/2.png", 50_000)
    catalog = build_catalog(tmp_path)
    assert [record.id for record in catalog.records] == ["B/2.png"]
    assert catalog.reading.depth is None
    assert [entry.found for entry in catalog.rejected] == ["900 of 65,535 at most"]
