"""Which layer of folders is the class: trees of every kind, as reports of users have them."""

from pathlib import Path

import pytest
from PIL import Image
from tests.builders.trees import touch_tree

from leukoscope.data.layouts import Layer, name_part, resolve_parts
from leukoscope.data.readers import Candidate, Levels, Rejected, find_candidates
from leukoscope.errors import CatalogError
from leukoscope.report.data_words import describe_reading, describe_reading_remarks


def read(root, levels=None):
    """What is found as {id: (label, split, source, extra)}, {place: code}, and the reading."""
    found = find_candidates(root, levels)
    places = {
        c.id: (c.label, c.split, c.source, dict(c.extra))
        for c in found.entries
        if isinstance(c, Candidate)
    }
    passed = {
        r.path.removeprefix(f"{root}/"): r.code for r in found.entries if isinstance(r, Rejected)
    }
    assert len(places) + len(passed) == len(found.entries)
    return places, passed, found.reading


def label_of(root, levels=None):
    return {name: place[0] for name, place in read(root, levels)[0].items()}


# -- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Train", "train"),
        ("TRAIN", "train"),
        ("train2017", "train"),
        ("Training Images", "train"),
        ("C-NMC_training_data", "train"),
        ("TestA", "test"),
        ("testB", "test"),
        ("test_b", "test"),
        ("TEST_SIMPLE", "test"),
        ("Test-Set", "test"),
        ("C-NMC_test_final_phase_data", "test"),
        ("hold-out", "test"),
        ("held_out", "test"),
        ("external", "test"),
        ("External validation", "test"),
        ("valid", "val"),
        ("Validation", "val"),
        ("val_1", "val"),
        ("dev", "val"),
        ("calib", "calib"),
        ("eval", "eval"),
        ("Evaluation set", "eval"),
        ("EOS", ""),
        ("Testis", ""),
        ("trained", ""),
        ("train_test", ""),
        ("neutrophil_test", ""),
        ("developer", ""),
        ("dev of hell", ""),
        ("", ""),
    ],
)
def test_names_of_parts(name, role):
    assert name_part(name) == role


def test_what_eval_means_depends_on_its_siblings():
    assert resolve_parts(["train", "eval"]) == {"train": "train", "eval": "test"}
    assert resolve_parts(["train", "val", "eval"])["eval"] == "test"
    assert resolve_parts(["train", "eval", "TestA"])["eval"] == "val"
    assert resolve_parts(["more"]) == {"more": ""}


def test_parts_above_classes_and_the_name_of_the_part_where_several_mean_one(tmp_path):
    touch_tree(
        tmp_path,
        ["Train/BAS/1.jpg", "TestA/BAS/2.jpg", "test_b/EOS/3.jpg", "holdout/EOS/4.jpg"],
    )
    places, passed, reading = read(tmp_path)
    assert places == {
        "Train/BAS/1.jpg": ("BAS", "train", "", {}),
        "TestA/BAS/2.jpg": ("BAS", "test", "", {"part": "TestA"}),
        "test_b/EOS/3.jpg": ("EOS", "test", "", {"part": "test_b"}),
        "holdout/EOS/4.jpg": ("EOS", "test", "", {"part": "holdout"}),
    }
    assert passed == {}
    assert reading.layers == (
        Layer("part", 1, ("TestA", "Train", "holdout", "test_b")),
        Layer("class", 2, ("BAS", "EOS")),
    )
    assert describe_reading_remarks(reading) == ()


@pytest.mark.parametrize(
    "names",
    [
        ("train_EOS", "train_LYM", "test_EOS", "test_LYM"),
        ("EOS_train", "LYM train", "EOS-Test", "LYM_test"),
        ("train_EOS", "test_EOS", "LYM"),
        ("data/train_odd", "data/test_odd", "data/train_strange", "data/test_strange"),
    ],
)
def test_part_and_class_in_one_name(tmp_path, names):
    touch_tree(tmp_path, [f"{name}/patient_1/{k}.png" for k, name in enumerate(names)])
    if "odd" in names[0]:
        for folder in tmp_path.rglob("patient_1"):
            next(folder.iterdir()).rename(folder.parent / f"{folder.parent.name}.png")
            folder.rmdir()
    places, passed, reading = read(tmp_path)
    assert not passed
    found = {(label, split) for label, split, _, _ in places.values()}
    assert found >= {("odd" if "odd" in names[0] else "EOS", part) for part in ("train", "test")}
    assert len({label for label, _ in found}) == 2
    assert dict(reading.parts).keys() <= {"train", "test", "Test"}
    assert "part = layer" in describe_reading(reading)


@pytest.mark.parametrize(
    "names",
    [
        ("train_data/EOS", "test_data/EOS"),
        ("lab1_train/EOS", "lab1_test/EOS", "lab1_train/LYM"),
        ("train_1/EOS", "train_2/LYM", "test_1/EOS"),
    ],
)
def test_parts_with_more_in_their_names_are_parts(tmp_path, names):
    touch_tree(tmp_path, [f"{name}/{k}.png" for k, name in enumerate(names)])
    assert set(label_of(tmp_path).values()) <= {"EOS", "LYM"}


@pytest.mark.parametrize("names", [("train_EOS", "train_LYM"), ("EOS_train", "LYM_test", "odd")])
def test_names_that_hold_no_part_stay_whole(tmp_path, names):
    touch_tree(tmp_path, [f"{name}/{k}.png" for k, name in enumerate(names)])
    assert set(label_of(tmp_path).values()) == set(names)


def test_parts_in_lists_of_images(tmp_path):
    touch_tree(tmp_path, [f"{name}/{k}.jpg" for name in ("EOS", "LYM") for k in range(4)])
    texts = {
        "train.txt": "EOS/0\nLYM/0.jpg\nEOS\\1.jpg\n\n",
        "Val.txt": "EOS/2\nLYM/2\nLYM/3\n",
        "test.txt": "EOS/3\nLYM/3\n",
        "notes.txt": "EOS/3\n",
        "valid.txt": "nothing here\n",
        "dev.txt": b"\xff",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    places, passed, reading = read(tmp_path)
    splits = {name: place[1] for name, place in places.items() if place[1]}
    assert splits == {
        "EOS/0.jpg": "train", "EOS/1.jpg": "train", "LYM/0.jpg": "train",
        "EOS/2.jpg": "val", "LYM/2.jpg": "val", "EOS/3.jpg": "test",
    }  # fmt: skip
    assert set(passed) == {"notes.txt", "valid.txt", "dev.txt"}
    assert "part = lists of images (Val, test, train)" in describe_reading(reading)


def test_a_table_among_images_that_have_no_class(tmp_path):
    touch_tree(tmp_path, ["images/a.png", "images/b.png"])
    table = tmp_path / "labels.csv"
    table.write_text("filename,label\na.png,EOS\nb.png,LYM\n")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CatalogError, match=r"name no classes, and \S+labels.csv"):
        read(tmp_path)
    assert len(find_candidates(table).entries) == 2


def test_a_table_that_names_other_cells_than_the_folders(tmp_path):
    touch_tree(tmp_path, [f"{name}/{name}{k}.png" for name in ("Mueller", "Meier") for k in "ab"])
    rows = "".join(f"{name}{k}.png,EOS\n" for name in ("Mueller", "Meier") for k in "ab")
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{rows}")
    with pytest.raises(CatalogError, match="folders of other names"):
        read(tmp_path)
    assert set(label_of(tmp_path, Levels(class_level=1)).values()) == {"Mueller", "Meier"}


def test_a_table_that_knows_more_is_named(tmp_path):
    touch_tree(tmp_path, [f"{name}/{name}{k}.png" for name in ("EOS", "LYM") for k in "ab"])
    rows = "".join(f"{c}/{c}{k}.png,{c},P1\n" for c in ("EOS", "LYM") for k in "ab")
    (tmp_path / "cells.csv").write_text(f"path,label,patient\n{rows}")
    (tmp_path / "boxes.csv").write_text("path,label,x1,y1,x2,y2\nEOS/EOSa.png,RBC,1,2,3,4\n")
    (tmp_path / "few.csv").write_text("path,label\nEOS/EOSa.png,LYM\n")
    places, passed, reading = read(tmp_path)
    assert len(places) == 4
    assert set(passed) == {"cells.csv", "boxes.csv", "few.csv"}
    assert reading.tables == (str(tmp_path / "cells.csv"),)
    assert any("was not read" in remark for remark in describe_reading_remarks(reading))


def test_parts_below_classes(tmp_path):
    touch_tree(tmp_path, ["EOS/train/1.jpg", "EOS/test/2.jpg", "LYM/train/3.jpg"])
    assert read(tmp_path)[0] == {
        "EOS/train/1.jpg": ("EOS", "train", "", {}),
        "EOS/test/2.jpg": ("EOS", "test", "", {}),
        "LYM/train/3.jpg": ("LYM", "train", "", {}),
    }


@pytest.mark.parametrize(
    "names",
    [
        ["train/EOS/1.jpg", "test/EOS/2.jpg", "more/EOS/3.jpg"],
        ["EOS/train/1.jpg", "EOS/more/2.jpg", "LYM/train/3.jpg"],
        ["fold_0/train/EOS/1.jpg", "fold_0/test/EOS/2.jpg", "fold_0/more/EOS/3.jpg"],
    ],
)
def test_unknown_siblings_of_parts_are_parts_that_are_named(tmp_path, names):
    places, _, reading = read(touch_tree(tmp_path, names))
    assert {place[0] for place in places.values()} <= {"EOS", "LYM"}
    assert [place[1] for name, place in places.items() if "/more/" in f"/{name}"] == ["more"]
    assert dict(reading.parts)["more"] == ""
    assert "more = not understood" in describe_reading(reading)
    assert any("more" in remark for remark in describe_reading_remarks(reading))


def test_a_test_folder_among_the_classes_is_a_part_and_the_classes_stay(tmp_path):
    touch_tree(
        tmp_path, ["EOS/1.jpg", "LYM/2.jpg", "odd/2.jpg", "test/EOS/3.jpg", "test/LYM/4.jpg"]
    )
    assert read(tmp_path)[0] == {
        "EOS/1.jpg": ("EOS", "", "", {}),
        "LYM/2.jpg": ("LYM", "", "", {}),
        "odd/2.jpg": ("odd", "", "", {}),
        "test/EOS/3.jpg": ("EOS", "test", "", {}),
        "test/LYM/4.jpg": ("LYM", "test", "", {}),
    }


# -- patients, slides, folds, sites ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("patient_1", "patient_2"),
        ("Patient Mueller", "Patient Schmidt"),
        ("PT-001", "PT-002"),
        ("subject01", "subject02"),
        ("donor A", "donor B"),
        ("slide 7", "slide 8"),
        ("Case_12", "Case_13"),
        ("smear-3a", "smear-3b"),
        ("P01", "P02"),
        ("S1", "S2"),
        ("101", "102"),
        ("ID 5", "ID 6"),
        ("sub-01", "sub-02"),
        ("patientA", "patientB"),
        ("H19-1234", "H20-77"),
    ],
)
@pytest.mark.parametrize("above", [True, False])
def test_patients_and_slides_above_or_below_classes_are_the_source(tmp_path, one, other, above):
    pairs = [(one, "EOS"), (one, "LYM"), (other, "EOS"), (other, "LYM")]
    names = [f"{a}/{b}/1.jpg" if above else f"{b}/{a}/1.jpg" for a, b in pairs]
    places, _, reading = read(touch_tree(tmp_path, names))
    assert {(label, source) for label, _, source, _ in places.values()} == {
        (label, source) for source, label in pairs
    }
    assert Layer("source", 1 if above else 2, tuple(sorted([one, other]))) in reading.layers


@pytest.mark.parametrize("names", [("unknown", "words"), ("x", "y")])
def test_patients_above_classes_that_are_no_known_cells(tmp_path, names):
    for source in ("P1", "P02"):
        touch_tree(tmp_path, [f"{source}/{name}/1.jpg" for name in names])
    places = read(tmp_path)[0]
    assert {place[0] for place in places.values()} == set(names)


def test_of_patient_and_slide_the_patient_is_the_source(tmp_path):
    touch_tree(
        tmp_path,
        ["patient_1/slide_1/EOS/1.jpg", "patient_1/slide_2/LYM/2.jpg", "slide_3/EOS/3.jpg"],
    )
    assert read(tmp_path)[0] == {
        "patient_1/slide_1/EOS/1.jpg": ("EOS", "", "patient_1", {"slide": "slide_1"}),
        "patient_1/slide_2/LYM/2.jpg": ("LYM", "", "patient_1", {"slide": "slide_2"}),
        "slide_3/EOS/3.jpg": ("EOS", "", "slide_3", {}),
    }


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (("fold_0", "fold_1"), "fold"),
        (("cv1", "cv2"), "fold"),
        (("site_A", "site_B"), "site"),
        (("scanner 1", "scanner 2"), "scanner"),
        (("40x", "100x"), "magnification"),
        (("2020-01-05", "2021"), "date"),
    ],
)
@pytest.mark.parametrize("classes", [("all", "hem"), ("foo", "bar")])
@pytest.mark.parametrize("above", [True, False])
def test_folds_and_sites_are_columns_and_never_a_class(tmp_path, names, column, classes, above):
    for name in names:
        for label in classes:
            touch_tree(tmp_path, [f"{name}/{label}/1.jpg" if above else f"{label}/{name}/1.jpg"])
    found = set()
    for label, split, source, extra in read(tmp_path)[0].values():
        assert (split, source) == ("", "")
        found.add((label, extra[column]))
    assert found == {(label, name) for label in classes for name in names}


def test_unknown_names_above_or_below_known_cells_are_a_column_with_a_remark(tmp_path):
    touch_tree(tmp_path, ["Mueller/neutrophil/1.jpg", "Schmidt/blast/2.jpg"])
    places, _, reading = read(tmp_path)
    assert places["Schmidt/blast/2.jpg"] == ("blast", "", "", {"folder_1": "Schmidt"})
    (remark,) = describe_reading_remarks(reading)
    assert "--source-level 1" in remark
    assert read(tmp_path, Levels(source_level=1))[0]["Schmidt/blast/2.jpg"][2] == "Schmidt"


def test_names_of_cells_that_resemble_other_words(tmp_path):
    names = ["platelet", "stained", "smear_cell", "dayak", "labelled", "patients", "sample"]
    touch_tree(tmp_path, [f"{name}/1.jpg" for name in names])
    assert set(label_of(tmp_path).values()) == set(names)


# -- questions ------------------------------------------------------------------------------------

OPEN = [
    ["a/x/1.jpg", "a/y/2.jpg", "b/x/3.jpg", "b/y/4.jpg"],
    ["0/x/1.jpg", "0/y/2.jpg", "1/x/3.jpg", "1/y/4.jpg"],
    ["EOS/blast/1.jpg", "EOS/LYM/2.jpg", "LYM/blast/3.jpg", "LYM/LYM/4.jpg"],
    ["P1/S1/1.jpg", "P2/S1/2.jpg", "P2/S2/3.jpg"],
    ["train/a/x/1.jpg", "train/b/x/3.jpg", "test/a/y/1.jpg", "test/b/y/2.jpg"],
]


@pytest.mark.parametrize("names", OPEN)
def test_where_two_layers_may_be_the_class_the_user_is_asked(tmp_path, names):
    touch_tree(tmp_path, names)
    with pytest.raises(CatalogError, match="which layer of folders is the class") as caught:
        find_candidates(tmp_path)
    levels = [int(word) for word in caught.value.remedy.replace(",", "").split() if word.isdigit()]
    assert len(levels) == 2
    for level in levels:
        expected = {name: name.split("/")[level - 1] for name in names}
        assert label_of(tmp_path, Levels(class_level=level)) == expected


@pytest.mark.parametrize("name", ["patient_{}", "fold_{}", "slide {}", "P0{}"])
def test_folders_that_can_hardly_be_classes_are_asked_about(tmp_path, name):
    touch_tree(tmp_path, [f"{name.format(k)}/1.jpg" for k in (1, 2)])
    with pytest.raises(CatalogError, match="--class-level 1"):
        find_candidates(tmp_path)
    assert len(label_of(tmp_path, Levels(class_level=1))) == 2


def test_what_the_user_says_goes_first_and_the_other_layer_stays(tmp_path):
    touch_tree(tmp_path, ["a/x/1.jpg", "b/x/3.jpg", "b/y/4.jpg", "loose.jpg"])
    places, passed, _ = read(tmp_path, Levels(2, 1))
    assert places == {
        "a/x/1.jpg": ("x", "", "a", {}),
        "b/x/3.jpg": ("x", "", "b", {}),
        "b/y/4.jpg": ("y", "", "b", {}),
    }
    assert passed == {"loose.jpg": "no_label"}
    assert read(tmp_path, Levels(2))[0]["a/x/1.jpg"] == ("x", "", "", {"folder_1": "a"})
    assert label_of(tmp_path, Levels(9)) == {}


def test_a_branch_that_is_deeper_than_the_others(tmp_path):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg", "odd/EOS/3.jpg", "other/4.jpg"])
    places = read(tmp_path)[0]
    assert places["odd/EOS/3.jpg"] == ("EOS", "", "", {"folder_1": "odd"})
    assert places["other/4.jpg"][0] == "other"


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        # Lower names that do not repeat: finer kinds.
        (["ig/MY/1.jpg", "ig/PMY/2.jpg", "neutrophil/SNE/3.jpg"], {"ig", "neutrophil"}),
        (["a/x/1.jpg", "a/y/2.jpg", "b/z/3.jpg"], {"a", "b"}),
        # The same lower name everywhere tells nothing apart.
        (["a/raw/1.jpg", "b/raw/2.jpg"], {"a", "b"}),
        (["a/keep/1.jpg", "b/keep/2.jpg"], {"a", "b"}),
        (["all/EOS/1.jpg", "all/LYM/2.jpg"], {"EOS", "LYM"}),
        (["EOS/1.jpg", "EOS/odd/2.jpg", "EOS/even/2.jpg"], {"EOS"}),
        (["EOS/odd/2.jpg", "EOS/even/2.jpg"], {"EOS"}),
        (["set/odd/2.jpg", "set/even/2.jpg"], {"odd", "even"}),
        (["cells/1.jpg", "debris/2.jpg"], {"cells", "debris"}),
        (["cells/EOS/1.jpg", "cells/LYM/2.jpg"], {"EOS", "LYM"}),
        # Few images lie deeper.
        ([*(f"a/{k}.jpg" for k in range(5)), *(f"b/{k}.jpg" for k in range(5)), "a/x/1.jpg",
          "b/x/1.jpg", "b/y/1.jpg"], {"a", "b"}),
    ],
)  # fmt: skip
def test_where_one_layer_stands_out_nobody_is_asked(tmp_path, names, labels):
    assert set(label_of(touch_tree(tmp_path, names)).values()) == labels


def test_a_wrapper_with_nothing_below_is_no_class(tmp_path):
    touch_tree(tmp_path, ["images/1.jpg", "EOS/2.jpg"])
    places, passed, _ = read(tmp_path)
    assert list(places) == ["EOS/2.jpg"]
    assert passed == {"images/1.jpg": "no_label"}


def test_a_stray_image_beside_a_wrapper_does_not_make_it_a_class(tmp_path):
    names = [f"set/{c}/{k}.jpg" for c in "ab" for k in range(10)]
    places, passed, _ = read(touch_tree(tmp_path, [*names, "set/loose.jpg"]))
    assert {place[0] for place in places.values()} == {"a", "b"}
    assert passed == {"set/loose.jpg": "no_label"}


# -- empty folders, images of images --------------------------------------------------------------


def test_empty_class_folders_are_named(tmp_path):
    touch_tree(
        tmp_path,
        ["EOS/1.jpg", "LYM/2.jpg", "odd/", "BAS/notes.txt", "papers/one.pdf", "MON/deep/er/"],
    )
    (tmp_path / "unread").symlink_to(tmp_path / "LYM", target_is_directory=True)
    _, passed, reading = read(tmp_path)
    assert reading.empty == ("BAS", "MON", "odd")
    assert passed == {
        "unread": "already_read",
        "BAS/notes.txt": "not_an_image",
        "papers/one.pdf": "not_an_image",
        "BAS": "empty_folder",
        "MON": "empty_folder",
        "odd": "empty_folder",
    }
    assert any("BAS, MON, odd" in remark for remark in describe_reading_remarks(reading))


def test_a_folder_that_cannot_be_listed_again_names_no_empty_ones(tmp_path, monkeypatch):
    touch_tree(tmp_path, ["EOS/1.jpg", "BAS/"])

    def reject(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", reject)
    assert read(tmp_path)[2].empty == ()


def test_empty_class_folders_of_a_part_are_named(tmp_path):
    touch_tree(tmp_path, ["train/EOS/1.jpg", "train/LYM/2.jpg", "test/EOS/3.jpg", "test/LYM/"])
    assert read(tmp_path)[1] == {"test/LYM": "empty_folder"}


@pytest.mark.parametrize(
    "companion",
    [
        "EOS/1_mask.png",
        "EOS/1_masks.tif",
        "EOS/1_cp_masks.png",
        "EOS/1-seg.png",
        "EOS/1_flows.tif",
        "EOS/1_outlines.png",
        "EOS/1.thumb.jpg",
        "EOS/1_thumbnail.jpg",
        "EOS/thumb_1.jpg",
        "EOS/1_mask_01.png",
        "masks/1.png",
        "EOS/masks/1.png",
        "EOS/Segmentation/1_seg.png",
        "labels/EOS/1.png",
    ],
)
def test_masks_flows_and_thumbnails_are_left_out_by_name(tmp_path, companion):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg", companion])
    places, passed, _ = read(tmp_path)
    assert set(places) == {"EOS/1.jpg", "LYM/2.jpg"}
    assert passed == {companion: "companion"}


def test_of_one_stem_the_image_without_colours_is_the_mask(tmp_path):
    colour = Image.new("RGB", (16, 16), (200, 100, 90))
    for name, image in {
        "EOS/1.jpg": colour,
        "EOS/1.png": colour.convert("L"),
        "EOS/2.bmp": colour,
        "EOS/2.gif": colour.convert("P"),
        "EOS/3.jpg": colour,
        "EOS/3.png": colour,
        "LYM/4.jpg": colour.convert("L"),
        "LYM/4.png": colour.convert("1"),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image.save(tmp_path / name)
    touch_tree(tmp_path, ["LYM/5.jpg", "LYM/5.png"])
    places, passed, _ = read(tmp_path)
    assert passed == {"EOS/1.png": "companion", "EOS/2.gif": "companion"}
    assert len(places) == 8


def test_the_layout_of_lisc(tmp_path):
    touch_tree(
        tmp_path,
        [
            "Main Dataset/Baso/1.bmp",
            "Main Dataset/neut/2.bmp",
            "Ground Truth Segmentation/Baso/areaforexpert1/1_expert.bmp",
            "Ground Truth Segmentation/neut/areaforexpert1/2_expert.bmp",
        ],
    )
    places, passed, _ = read(tmp_path)
    assert [place[0] for place in places.values()] == ["Baso", "neut"]
    assert set(passed.values()) == {"companion"}


@pytest.mark.parametrize("name", ["EOS/3_mask.png", "EOS/mask.png", "EOS/1_2.png", "thumbs/9.png"])
def test_a_picture_of_no_other_is_an_image(tmp_path, name):
    touch_tree(tmp_path, ["EOS/1.jpg", "LYM/2.jpg", name])
    assert name in read(tmp_path)[0]
