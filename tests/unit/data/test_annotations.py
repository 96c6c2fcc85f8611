"""Detection sets: Pascal-VOC, YOLO and COCO as exports have them, and files that only look so."""

import json

import pytest
from tests.builders.trees import save_noise, touch_tree, write_coco, write_voc, write_yolo

from leukoscope.data import annotations
from leukoscope.data.catalog import build_catalog
from leukoscope.data.readers import Candidate, Levels, Rejected, find_candidates
from leukoscope.errors import CatalogError, DataError
from leukoscope.pipelines.explain_boxes import load_boxes
from leukoscope.report.data_words import describe_reading


def read(root, levels=None):
    """{id: (label, split, source)} of candidates, {place: code} of the rest, the kind."""
    found = find_candidates(root, levels)
    kept = [c for c in found.entries if isinstance(c, Candidate)]
    passed = [r for r in found.entries if isinstance(r, Rejected)]
    return (
        {c.id: (c.label, c.split, c.source) for c in kept},
        {r.id or r.path.removeprefix(f"{root}/"): r.code for r in passed},
        found.reading.kind,
    )


BOX = (1, 1, 9, 9)


# -- what makes a detection set -------------------------------------------------------------------


def test_a_stray_xml_changes_nothing_and_is_named(tmp_path):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg"])
    (tmp_path / "EOS/scan_info.xml").write_text("<ImageInfo><Objective/></ImageInfo>")
    (tmp_path / "EOS/object.xml").write_text("<a><object/></a>")
    places, passed, kind = read(tmp_path)
    assert kind == "folders"
    assert set(places) == {"EOS/1.jpg", "LYM/2.jpg"}
    assert passed == {"EOS/scan_info.xml": "bad_annotation", "EOS/object.xml": "bad_annotation"}


def test_objects_with_boxes_count_whatever_the_root_is_called(tmp_path):
    touch_tree(tmp_path, ["f1.jpg"])
    write_voc(tmp_path / "f1.xml", [("WBC", BOX)])
    text = (tmp_path / "f1.xml").read_text().replace("annotation>", "Image>")
    (tmp_path / "f1.xml").write_text(text)
    assert read(tmp_path)[0] == {"f1.jpg#0": ("WBC", "", "f1.jpg")}


@pytest.mark.parametrize("kind", ["voc", "yolo", "coco"])
def test_annotations_of_few_images_among_class_folders_are_unused_and_named(tmp_path, kind):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg", "LYM/3.jpg"])
    if kind == "voc":
        name = "EOS/1.xml"
        write_voc(tmp_path / name, [("WBC", BOX)], "1.jpg")
    elif kind == "yolo":
        name = "EOS/1.txt"
        write_yolo(tmp_path / name, [(0, 0.5, 0.5, 0.1, 0.1)])
    else:
        name = "EOS/some.json"
        write_coco(tmp_path / name, ["1.jpg"], [(0, 1, BOX)])
    places, passed, read_as = read(tmp_path)
    assert read_as == "folders"
    assert len(places) == 3
    assert passed == {name: "unused_annotation"}


def test_annotations_of_most_images_make_a_detection_set_of_class_folders(tmp_path):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg", "LYM/3.jpg"])
    for name in ("EOS/1", "LYM/2"):
        write_voc(tmp_path / f"{name}.xml", [("WBC", BOX)], f"{name[-1]}.jpg")
    places, passed, kind = read(tmp_path)
    assert kind == "voc"
    assert {place[0] for place in places.values()} == {"WBC"}
    assert passed == {"LYM/3.jpg": "no_label"}


def test_few_annotations_count_where_no_folder_is_a_class(tmp_path):
    touch_tree(tmp_path, [f"JPEGImages/{k}.jpg" for k in range(5)])
    write_voc(tmp_path / "Annotations/0.xml", [("WBC", BOX)], "0.jpg")
    places, passed, kind = read(tmp_path)
    assert (kind, list(places)) == ("voc", ["JPEGImages/0.jpg#0"])
    assert len(passed) == 4


# -- parts and patients ---------------------------------------------------------------------------


def test_parts_of_a_voc_export_are_kept(tmp_path):
    for part in ("train", "valid", "test"):
        touch_tree(tmp_path, [f"{part}/a.jpg"])
        write_voc(tmp_path / f"{part}/a.xml", [("WBC", BOX)], "a.jpg")
    assert read(tmp_path)[0] == {
        "train/a.jpg#0": ("WBC", "train", "train/a.jpg"),
        "valid/a.jpg#0": ("WBC", "val", "valid/a.jpg"),
        "test/a.jpg#0": ("WBC", "test", "test/a.jpg"),
    }


def test_a_patient_above_fields_is_their_source(tmp_path):
    touch_tree(tmp_path, ["patient_1/a.jpg", "here/b.jpg"])
    for name in ("patient_1/a", "here/b"):
        write_voc(tmp_path / f"{name}.xml", [("WBC", BOX)], f"{name[-1]}.jpg")
    assert [place[2] for place in read(tmp_path)[0].values()] == ["here/b.jpg", "patient_1"]
    assert [p[2] for p in read(tmp_path, Levels(source_level=1))[0].values()] == [
        "here",
        "patient_1",
    ]


# -- YOLO -----------------------------------------------------------------------------------------

ROW = (1, 0.5, 0.5, 0.25, 0.5)


@pytest.mark.parametrize("nesting", ["{part}/images/a.png {part}/labels/a.txt",
                                     "images/{part}/a.png labels/{part}/a.txt",
                                     "{part}/a.png {part}/a.txt"])  # fmt: skip
@pytest.mark.parametrize(
    "names",
    [
        "names: [RBC, WBC]",
        "names: ['RBC', \"WBC\"]  # two",
        "nc: 2\nnames:\n- RBC\n- WBC\nroboflow:\n  x: y",
        "names:\n  0: RBC\n  1: 'WBC'",
        "names: {0: RBC, 1: WBC}",
        "names: [\n  RBC,\n  WBC\n]",
    ],
)
def test_yolo_sets_in_each_nesting_with_each_spelling_of_names(tmp_path, nesting, names):
    for part in ("train", "valid"):
        image, label = nesting.format(part=part).split()
        save_noise(tmp_path / image, len(part))
        write_yolo(tmp_path / label, [ROW])
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\n{names}\n")
    catalog = build_catalog(tmp_path)
    assert [(r.label, r.split, r.box) for r in catalog.records] == [
        ("white_cell", "train", (12, 6, 20, 18)),
        ("white_cell", "val", (12, 6, 20, 18)),
    ]
    assert catalog.rejected == ()
    assert catalog.reading.kind == "yolo"
    assert "data.yaml" in describe_reading(catalog.reading)


def test_a_yolo_config_may_name_the_parts(tmp_path):
    save_noise(tmp_path / "images/one/a.png", 1)
    save_noise(tmp_path / "images/two/a.png", 2)
    for part in ("one", "two"):
        write_yolo(tmp_path / f"labels/{part}/a.txt", [ROW])
    (tmp_path / "data.yml").write_text(
        "train: images/one\nval: images/\ntest: 'images/two'\nnames:\n"
    )
    assert [place[1] for place in read(tmp_path)[0].values()] == ["train", "test"]


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "_darknet.labels"])
def test_names_from_a_list(tmp_path, name):
    touch_tree(tmp_path, ["a.jpg"])
    write_yolo(tmp_path / "a.txt", [ROW])
    (tmp_path / name).write_text("RBC\nWBC\n\n")
    (tmp_path / "a.txt").write_text("\n1 0.5 0.5 0.25 0.5\n\n")
    assert read(tmp_path) == ({"a.jpg#0": ("WBC", "", "a.jpg")}, {}, "yolo")


def test_without_names_the_numbers_stand_and_that_is_said(tmp_path):
    touch_tree(tmp_path, ["a.jpg"])
    write_yolo(tmp_path / "a.txt", [ROW, (7, 0.5, 0.5, 0.1, 0.1)])
    assert [place[0] for place in read(tmp_path)[0].values()] == ["1", "7"]
    assert "numbers stand" in describe_reading(find_candidates(tmp_path).reading)
    (tmp_path / "bad.yaml").write_bytes(b"names: \xff")
    (tmp_path / "other.yaml").write_text("names: x\nnames:\n  200000: far\n")
    assert [place[0] for place in read(tmp_path)[0].values()] == ["1", "7"]


def test_polygons_confidences_and_boxes_that_are_none(tmp_path):
    save_noise(tmp_path / "a.png", size=(100, 100))
    write_yolo(
        tmp_path / "a.txt",
        [
            (0, 0.1, 0.2, 0.5, 0.1, 0.3, 0.6),
            (0, 0.5, 0.5, 0.2, 0.2, 0.99),
            (0, 0.0, 0.0, 0.2, 0.2),
            (0, 40, 40, 10, 10),
            (0, "nan", 0.5, 0.1, 0.1),
            (0, 0.5, 0.5, 0, 0),
        ],
    )
    catalog = build_catalog(tmp_path)
    assert [r.box for r in catalog.records] == [(10, 10, 50, 60), (40, 40, 60, 60), (0, 0, 10, 10)]
    assert [(r.id, r.code) for r in catalog.rejected] == [
        ("a.png#3", "bad_box"),
        ("a.png#4", "bad_box"),
        ("a.png#5", "bad_box"),
    ]


def test_texts_that_are_no_label_files_are_left_alone(tmp_path, monkeypatch):
    touch_tree(tmp_path, ["images/a.jpg", "images/b.jpg", "images/c.jpg"])
    write_yolo(tmp_path / "labels/a.txt", [ROW])
    write_yolo(tmp_path / "labels/b.txt", [])
    write_yolo(tmp_path / "labels/lost.txt", [ROW])
    write_yolo(tmp_path / "labels/gone.txt", [])
    for name, text in {
        "README.txt": b"words",
        "numbers.txt": b"1 2 3\n",
        "half.txt": b"0.5 1 2 3 4\n",
        "minus.txt": b"-1 1 2 3 4\n",
        "latin.txt": b"\xe4\n",
        "empty.txt": b"",
        "big.txt": b"0 0.5 0.5 0.1 0.1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
    }.items():
        (tmp_path / name).write_bytes(text)
    monkeypatch.setattr(annotations, "MAX_BYTES", 50)
    places, passed, kind = read(tmp_path)
    assert (kind, list(places)) == ("yolo", ["images/a.jpg#0"])
    assert passed == {
        "images/b.jpg": "no_label",
        "images/c.jpg": "no_label",
        "labels/lost.txt": "missing_file",
        "labels/gone.txt": "not_an_image",
        "README.txt": "not_an_image",
        "numbers.txt": "not_an_image",
        "half.txt": "not_an_image",
        "minus.txt": "not_an_image",
        "latin.txt": "not_an_image",
        "empty.txt": "not_an_image",
        "big.txt": "not_an_image",
    }


def test_boxes_of_yolo_frame_cells_of_explained_images(tmp_path):
    save_noise(tmp_path / "a.png")
    write_yolo(tmp_path / "a.txt", [ROW, (0, 0.5, 0.5, 0.1, 0.1)])
    (tmp_path / "b.png").write_bytes(b"no image")
    write_yolo(tmp_path / "b.txt", [ROW])
    (tmp_path / "classes.txt").write_text("RBC\nWBC\n")
    boxes = load_boxes(tmp_path, "white_cell")
    assert boxes.by_path == {(tmp_path / "a.png").resolve(): [(12, 6, 20, 18)]}
    with pytest.raises(DataError, match="boxes of platelet"):
        load_boxes(tmp_path, "platelet")


# -- COCO -----------------------------------------------------------------------------------------


def test_a_roboflow_export_in_coco(tmp_path):
    for k, part in enumerate(("train", "valid", "test")):
        save_noise(tmp_path / part / "a.png", k)
        write_coco(
            tmp_path / part / "_annotations.coco.json",
            ["a.png"],
            [(0, 1, (1, 2, 10.4, 8)), (0, 2, (20, 12, 40, 40))],
        )
    catalog = build_catalog(tmp_path)
    assert catalog.reading.kind == "coco"
    assert catalog.rejected == ()
    assert [(r.label, r.split, r.box) for r in catalog.records if r.split == "val"] == [
        ("white_cell", "val", (1, 2, 11, 10)),
        ("red_cell", "val", (20, 12, 32, 24)),
    ]
    assert {r.split for r in catalog.records} == {"train", "val", "test"}


def test_half_a_sign_in_a_name_is_replaced(tmp_path):
    """JSON may escape half of a surrogate pair, which no table could hold."""
    save_noise(tmp_path / "a.png", 1)
    names = ("cells", "\ud800", "\ud83d\ude00")
    write_coco(
        tmp_path / "a.json", ["a.png"], [(0, 1, (1, 2, 10, 8)), (0, 2, (20, 12, 9, 9))], names
    )
    labels = [record.label for record in build_catalog(tmp_path).records]
    assert labels == ["\ufffd", "\N{GRINNING FACE}"]


@pytest.mark.parametrize("folder", ["{}2017/", "images/{}/"])
def test_a_set_laid_out_as_coco(tmp_path, folder):
    for part in ("train", "val"):
        touch_tree(tmp_path, [folder.format(part) + "1.jpg"])
        label = 1 if part == "train" else 2
        write_coco(
            tmp_path / f"annotations/instances_{part}2017.json", ["1.jpg"], [(0, label, BOX)]
        )
    assert sorted((p[0], p[1]) for p in read(tmp_path)[0].values()) == [
        ("RBC", "val"),
        ("WBC", "train"),
    ]


def test_the_name_of_the_file_gives_the_part_where_all_images_lie_together(tmp_path):
    touch_tree(tmp_path, ["images/1.jpg", "images/2.jpg"])
    write_coco(tmp_path / "annotations/train.json", ["images/1.jpg"], [(0, 1, BOX)])
    write_coco(tmp_path / "annotations/test.json", ["C:\\x\\2.jpg"], [(0, 1, BOX)])
    assert [place[1] for place in read(tmp_path)[0].values()] == ["train", "test"]


def test_coco_tells_what_does_not_fit(tmp_path, monkeypatch):
    touch_tree(tmp_path, ["a.jpg", "b.jpg", "alone.jpg"])
    write_coco(
        tmp_path / "x.json",
        ["a.jpg", "b.jpg", "gone.jpg"],
        [
            (0, 1, BOX),
            (0, 9, BOX),
            (0, 1, (1, 2, 3)),
            (0, 1, (1, 2, 1e12, 4)),
            (5, 1, BOX),
        ],
    )
    write_coco(tmp_path / "bad.json", [], [], images=[{"id": None, "file_name": 3}])
    write_coco(tmp_path / "crowd.json", ["b.jpg"], [], annotations=[
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1}])  # fmt: skip
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "none.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    places, passed, _ = read(tmp_path)
    assert places == {"a.jpg#0": ("WBC", "", "a.jpg"), "a.jpg#1": ("9", "", "a.jpg")}
    assert passed == {
        "a.jpg#2": "bad_box",
        "a.jpg#3": "bad_box",
        "b.jpg#0": "bad_box",
        "alone.jpg": "no_label",
        "x.json": "missing_file",
        "bad.json": "bad_annotation",
        "list.json": "not_an_image",
        "none.json": "not_an_image",
        "deep.json": "not_an_image",
    }
    monkeypatch.setattr(annotations, "MAX_BYTES", 50)
    with pytest.raises(CatalogError, match="at least one usable image"):
        build_catalog(tmp_path)


@pytest.mark.parametrize(
    ("content", "program"),
    [
        ({"version": "5", "shapes": [], "imagePath": "a.png"}, "LabelMe"),
        ({"_via_settings": {}, "_via_img_metadata": {}}, "VIA"),
        ({"a.png12": {"filename": "a.png", "regions": []}}, "VIA"),
        ({"type": "FeatureCollection", "features": [{"geometry": 1, "properties": 2}]}, "GeoJSON"),
        ([{"image": "a.png", "annotations": []}], "CreateML"),
        ([{"id": 1, "data": {}, "annotations": []}], "Label Studio"),
        ({"settings": 1}, ""),
        ([], ""),
        (7, ""),
    ],
)
def test_annotations_of_other_programs_are_named(tmp_path, content, program):
    save_noise(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(content))
    entries = find_candidates(tmp_path).entries
    found = {r.code: r.found for r in entries if r.path.endswith("a.json")}
    if program:
        assert found["bad_annotation"].startswith(program)
        with pytest.raises(CatalogError, match="as COCO, YOLO or Pascal-VOC"):
            build_catalog(tmp_path)
    else:
        assert found == {"not_an_image": ".json"}


def test_annotations_of_cvat_are_named(tmp_path):
    save_noise(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text('<annotations><image name="a.png"/></annotations>')
    assert [r.found for r in find_candidates(tmp_path).entries if r.code == "bad_annotation"] == [
        "CVAT"
    ]
