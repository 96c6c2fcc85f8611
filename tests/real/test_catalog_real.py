"""Catalogs and splits of the real sets, read in place; skipped where they are absent."""

from collections import Counter
from pathlib import Path

import pytest
from tests.builders.images import records_of

from leukoscope.data.catalog import (
    Catalog,
    build_catalog,
    load_catalog,
    save_catalog,
)
from leukoscope.data.splits import (
    ROLES,
    audit_split,
    build_kfold,
    build_split,
    load_split,
    save_split,
)

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def need(folder):
    if not folder.is_dir():
        pytest.skip(f"real images are not here: {folder} does not exist")
    return folder


@pytest.fixture(scope="module")
def kaggle():
    """The Kaggle set, both parts: 10,028 images, scanned once."""
    return build_catalog(need(DATA / "dataset2-master"))


@pytest.fixture(scope="module")
def bccd():
    return build_catalog(need(DATA / "bccd"))


def test_the_kaggle_set_is_read_whole(kaggle):
    assert kaggle.rejected == ()
    assert Counter((r.split, r.label) for r in kaggle.records) == {
        ("train", "eosinophil"): 2497,
        ("train", "lymphocyte"): 2483,
        ("train", "monocyte"): 2478,
        ("train", "neutrophil"): 2499,
        ("test", "eosinophil"): 13,
        ("test", "lymphocyte"): 6,
        ("test", "monocyte"): 4,
        ("test", "neutrophil"): 48,
    }
    assert {(r.width, r.height) for r in kaggle.records} == {(320, 240)}
    assert all(r.source == "" for r in kaggle.records)


def test_its_table_survives(kaggle, tmp_path):
    save_catalog(kaggle, tmp_path / "catalog.csv")
    assert load_catalog(tmp_path / "catalog.csv") == kaggle


def test_its_byte_identical_copies(kaggle):
    copies = Counter(r.sha256 for r in kaggle.records)
    twice = [r for r in kaggle.records if copies[r.sha256] > 1]
    # Two pairs, all in the test folder; the copies of the training folder are rotated.
    assert Counter((r.split, r.label) for r in twice) == {("test", "eosinophil"): 4}
    assert len({r.sha256 for r in twice}) == 2


def test_random_draws_the_published_counts(kaggle):
    split = build_split(kaggle, "random")
    assert Counter(split.roles) == {"train": 6770, "val": 1693, "test": 1494, "": 71}
    audit = audit_split(split)
    assert audit.n_left_aside == 71
    assert audit.leakage_status == "unproven"
    assert "sources_unknown" in {found.code for found in audit.findings}


def test_random_of_the_training_folder_alone_draws_the_same_images(kaggle):
    records = tuple(r for r in kaggle.records if r.split == "train")
    alone = build_split(Catalog(records), "random")
    whole = build_split(kaggle, "random")
    for role in ROLES:
        assert records_of(alone, role) == records_of(whole, role)


def test_given_keeps_the_test_folder_and_carves_the_training_folder(kaggle, tmp_path):
    split = build_split(kaggle, "given")
    assert {r.id for r in records_of(split, "test")} == {
        r.id for r in kaggle.records if r.split == "test"
    }
    counts = audit_split(split).counts
    for label in kaggle.classes:
        assert abs(counts["val"][label] - 248) <= 5
        assert abs(counts["calib"][label] - 248) <= 5
    save_split(split, tmp_path / "split.csv")
    assert load_split(tmp_path / "split.csv").roles == split.roles


def test_every_cell_of_a_bccd_field_is_a_row(bccd):
    counts = Counter(r.label for r in bccd.records)
    assert counts == {"white_cell": 372, "red_cell": 4155, "platelet": 361}
    assert bccd.rejected == ()
    assert len({r.source for r in bccd.records}) == 364
    for r in bccd.records:
        x_min, y_min, x_max, y_max = r.box
        assert 0 <= x_min < x_max <= r.width == 640
        assert 0 <= y_min < y_max <= r.height == 480
        assert r.id.startswith(f"{r.source}#")


def test_the_cells_of_a_field_stay_in_one_role(bccd):
    for split in (build_split(bccd, "grouped"), *build_kfold(bccd, 5)):
        audit = audit_split(split)
        # A field is one file: its cells stay together, and nothing is said of persons.
        assert audit.leakage_status == "unproven"
        assert audit.shared == ()
        for label in bccd.classes:
            assert all(audit.counts[role][label] > 0 for role in ROLES)
    random = audit_split(build_split(bccd, "random"))
    assert random.leakage_status == "leaking"
    assert random.test_with_copy_in_training > 0.9 * sum(random.counts["test"].values())


def test_a_part_of_the_barcelona_set_by_table(tmp_path):
    root = need(DATA / "pbc")
    table = tmp_path / "part.csv"
    paths = [
        path for label in ("ig", "platelet") for path in sorted((root / label).iterdir())[:200]
    ]
    rows = [f"{path},{path.parent.name},{path.name.split('_')[0]}" for path in paths]
    table.write_text("\n".join(["path,label,subclass", *rows]), encoding="utf-8")
    catalog = build_catalog(table)
    assert catalog.classes == ("immature_granulocyte", "platelet")
    assert len(catalog) + len(catalog.rejected) == 400
    assert {r.code for r in catalog.rejected} <= {"label_conflict"}
    assert all((r.width, r.height) == (192, 192) for r in catalog.records)
    assert all(r.extra["subclass"] in r.path.name for r in catalog.records)
    split = build_split(catalog, "grouped")
    assert audit_split(split).leakage_status == "unproven"
    assert set(split.roles) == set(ROLES)
