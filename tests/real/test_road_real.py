"""The road on real images, shortened: the 71 untouched ones of TEST_SIMPLE and a few of PBC."""

import csv

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.data.splits import audit_split

SETTINGS = ["input.image_size=64", "train.epochs=2"]


def test_test_simple_from_folder_to_report(real_data, tmp_path):
    folder = real_data / "dataset2-master" / "images" / "TEST_SIMPLE"
    split = pipelines.split_catalog(pipelines.scan_images(folder, tmp_path / "catalog.csv"))
    assert len(split.catalog) == 71
    # Two pairs of byte-identical eosinophils: a pair is one source and shares a role.
    assert len(set(split.sources)) == 69
    pipelines.train_run(split, load_recipe("quick", SETTINGS), tmp_path / "run")
    found = pipelines.evaluate_run(tmp_path / "run")
    accuracy = found.record.figures["accuracy"]
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
    assert accuracy.high - accuracy.low > 0.2  # so few images decide little, and it says so
    assert found.record.leakage_status == "images_disjoint"  # all were compared by pixels
    assert "person" in found.report.read_text()


def test_eight_classes_of_pbc_work_unchanged(real_data, tmp_path):
    table = tmp_path / "few.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "subclass"])
        for folder in sorted((real_data / "pbc").iterdir()):
            for path in sorted(folder.iterdir())[:12]:
                writer.writerow([path, folder.name, path.name.split("_")[0]])
    split = pipelines.load_split_or_images(table)
    assert len(split.catalog.classes) == 8
    assert split.catalog.records[0].extra["subclass"]
    pipelines.train_run(split, load_recipe("quick", SETTINGS), tmp_path / "run")
    found = pipelines.evaluate_run(tmp_path / "run")
    assert found.report.is_file()
    assert "Immature granulocyte" in found.report.read_text()


def test_cells_cut_from_bccd_fields_share_their_source(real_data, tmp_path):
    folder = tmp_path / "few"
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    for path in sorted((real_data / "bccd" / "Annotations").iterdir())[:12]:
        image = real_data / "bccd" / "JPEGImages" / f"{path.stem}.jpg"
        (folder / "Annotations" / path.name).symlink_to(path)
        (folder / "JPEGImages" / image.name).symlink_to(image)
    split = pipelines.split_catalog(pipelines.scan_images(folder))
    assert len(set(split.sources)) == 12
    assert audit_split(split).shared == ()
    recipe = load_recipe("quick", ["input.image_size=32", "train.epochs=1"])
    run = pipelines.train_run(split, recipe, tmp_path / "run")
    assert run.audit.counts["train"]["red_cell"] > 20
    assert run.audit.leakage_status == "images_disjoint"  # compared by pixels; nobody names persons
