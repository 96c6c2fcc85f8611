"""Explanations from a run and from a bundle, as a user calls them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from tests.builders.bundles import save_mean_bundle
from tests.builders.files import full_disk
from tests.builders.runs import write_run

from leukoscope import pipelines
from leukoscope.errors import ConfigError, DataError, MissingExtraError, RunError, StorageError
from leukoscope.explain.explainer import Explainer
from leukoscope.explain.record import Explanation
from leukoscope.pipelines.explain_boxes import load_boxes
from leukoscope.pipelines.explain_model import find_sources, open_model
from leukoscope.pipelines.runs import load_run_split
from leukoscope.records import load_record
from leukoscope.scores import load_scores

ALL = ("gradcam", "hirescam", "gradients", "occlusion", "attention")


@pytest.fixture(scope="module")
def framed(tmp_path_factory, disc_folder):
    """A Pascal-VOC folder: four discs, three of them with a box."""
    folder = tmp_path_factory.mktemp("framed")
    for i, path in enumerate(sorted(disc_folder.rglob("*.png"))[::12]):
        image = Image.open(path)
        image.save(folder / f"field{i}.png")
        if i < 3:
            dark = np.argwhere(np.asarray(image.convert("L")) < 195)
            (y0, x0), (y1, x1) = dark.min(0), dark.max(0)
            tree = ElementTree.Element("annotation")
            ElementTree.SubElement(tree, "filename").text = f"field{i}.png"
            thing = ElementTree.SubElement(tree, "object")
            ElementTree.SubElement(thing, "name").text = "WBC"
            box = ElementTree.SubElement(thing, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True):
                ElementTree.SubElement(box, key).text = str(int(value) + 1)
            ElementTree.ElementTree(tree).write(folder / f"field{i}.xml")
    return folder


@pytest.fixture(scope="module")
def done(trained, framed, tmp_path_factory):
    (framed / "broken.jpg").write_bytes(b"no image")
    given = [*sorted(framed.glob("*.png")), framed / "broken.jpg"]
    out = tmp_path_factory.mktemp("explained") / "out"
    found = pipelines.explain_images(
        trained.folder.path, given, out, methods=ALL, boxes=framed, query=(0.2, 0.8)
    )
    (framed / "broken.jpg").unlink()
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_mean_bundle(tmp_path_factory.mktemp("explained"))


def test_a_run_is_explained_in_full(done):
    found = done.found
    assert not found.is_bundle and found.methods == ALL and found.stage == "stage_2"
    assert len(found.images) == 4 and found.n_evaluated == 4 and found.n_without_box == 1
    assert [Path(one.path).name for one in found.unreadable] == ["broken.jpg"]
    for one in found.images:
        assert one.target == one.label and 0 < one.confidence <= 1
        assert set(one.areas) == set(one.random_areas) == set(ALL)
        areas = [*one.areas.values(), *one.random_areas.values(), one.centre_areas]
        assert all(0 <= area <= 1 for kinds in areas for area in kinds.values())
        assert 0 <= one.missed <= 1 and (done.out / one.picture).is_file()
    assert [one.ceiling is None for one in found.images] == [False, False, False, True]
    assert [set(one.localisation) == set(ALL) for one in found.images] == [True, True, True, False]
    for result in found.results:
        assert result.n_with_box == 3 and result.n_images == 4
        assert {one.outcome for one in result.tests} == {"too_few_images"}
        expensive = result.method in ("gradients", "occlusion")
        levels = 1 + 5 * (not expensive)
        assert list(result.correlation)[-1] == "stem" and len(result.correlation) == levels
    assert load_record(Explanation, done.out / "faithfulness.json", "") == found


def test_arrays_need_no_pickle_and_say_what_was_explained(done):
    files = sorted((done.out / "arrays").glob("*.npz"))
    assert len(files) == 4
    with np.load(files[0], allow_pickle=False) as arrays:
        names = set(arrays.files)
        assert {f"map_{method}_SS" for method in ALL} <= names
        assert arrays["map_gradcam_SS"].shape == arrays["image_SSC"].shape[:2] == (32, 32)
        assert arrays["map_gradcam_SS"].min() < 0  # signed, as computed
        attention = [arrays[name] for name in names if name.startswith("attention_")]
        assert len(attention) == 4  # pico: three blocks, then one
        for weights in attention:
            np.testing.assert_allclose(weights.astype(float).sum(-1), 1, atol=5e-3)
        assert arrays["classes"][arrays["target"]] == done.found.images[0].target
        assert arrays["probabilities_K"].sum() == pytest.approx(1)


def test_the_page_shows_every_picture_and_needs_no_other_file(done):
    page = done.page.read_text()
    assert page.count("data:image/png") == 4 + 3
    assert "<script" not in page and 'src="http' not in page
    names = {path.name for path in done.out.iterdir()}
    assert {"curves.png", "relative_bias.png", "attention", "overlays", "sheets"} <= names
    assert len(list((done.out / "sheets").iterdir())) == 1


def test_a_bundle_is_explained_without_torch(bundle, disc_folder, tmp_path):
    """The light install: everything that trains or draws reports is hidden."""
    script = f"""
import sys
for name in ("torch", "captum", "accelerate", "safetensors", "sklearn", "scipy", "matplotlib",
             "seaborn", "pyarrow", "cv2", "faiss", "onnx", "onnxscript", "jinja2", "filelock"):
    sys.modules[name] = None
from leukoscope.cli.app import app
app(["explain", {str(bundle)!r}, {str(disc_folder / "MONOCYTE")!r}, "--out",
     {str(tmp_path / "out")!r}, "--evaluate", "2"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    for words in ("occlusion only", "No page", "Research use only", "Occlusion"):
        assert words in told
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 12
    assert len(list((tmp_path / "out" / "sheets").glob("*.png"))) == 2
    assert not (tmp_path / "out" / "explain.html").exists()


def test_occlusion_of_a_bundle_is_what_the_graph_says(bundle, tmp_path):
    """The bundle's logits are mean colours, so what hiding a place costs is known exactly."""
    image = np.full((32, 32, 3), (60, 60, 60), np.uint8)
    image[:, 20:] = (64, 64, 64)
    image[8:16, 8:16] = (250, 0, 0)
    Image.fromarray(image).save(tmp_path / "red.png")
    found = pipelines.explain_images(
        bundle, [tmp_path / "red.png"], tmp_path / "out", evaluate=0
    ).found
    assert found.images[0].label == "red" and found.results == ()
    with np.load(next((tmp_path / "out" / "arrays").iterdir())) as arrays:
        map_SS = arrays["map_occlusion_SS"]
    lost_SS = (image[:, :, 0].astype(float) - 64) / 32**2 / 25.5  # 64: the empty field
    starts = [*range(0, 27, 2), 27]  # windows of a sixth of the side, half of it apart
    drops = {(y, x): lost_SS[y : y + 5, x : x + 5].sum() for y in starts for x in starts}
    expected_SS = [
        [
            np.mean([drop for (y, x), drop in drops.items() if 0 <= i - y < 5 and 0 <= j - x < 5])
            for j in range(32)
        ]
        for i in range(32)
    ]
    assert np.abs(map_SS - expected_SS).max() < 1e-6
    assert map_SS[8:16, 8:16].min() > 0.05 and map_SS[24:, 24:].max() < 0.01
    assert found.is_bundle and found.n_evaluated == 0


def test_what_a_bundle_cannot_do_is_said(bundle, disc_folder, tmp_path):
    with pytest.raises(ConfigError, match="no gradients"):
        pipelines.explain_images(bundle, [disc_folder], tmp_path / "o", methods=["gradcam"])
    with pytest.raises(ConfigError, match="stage"):
        pipelines.explain_images(bundle, [disc_folder], tmp_path / "o", stage="stage_1")
    assert not (tmp_path / "o").exists()


def test_wrong_wishes_are_rejected_before_the_work(trained, disc_folder, tmp_path):
    path = trained.folder.path

    def ask(**wish):
        pipelines.explain_images(path, [disc_folder], tmp_path / "o", **wish)

    with pytest.raises(ConfigError, match="a method must be one of"):
        ask(methods=["gradcam", "shap"])
    with pytest.raises(ConfigError, match="the stage must be one of"):
        ask(stage="stage_9")
    with pytest.raises(ConfigError, match="the class must be one of"):
        ask(target="unicorn")
    with pytest.raises(DataError, match="boxes of red_cell"):
        ask(boxes=disc_folder, box_label="red_cell")
    for query in ((-1.0, -1.0), (float("nan"), 0.5), (5.0, 5.0), (0.5, 1.01)):
        with pytest.raises(ConfigError, match="a query must lie in the image"):
            ask(methods=["attention"], query=query)
    assert not (tmp_path / "o").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(RunError, match="must be an empty folder"):
        pipelines.explain_images(path, [disc_folder], tmp_path / "full")
    with pytest.raises(RunError, match="it is no folder"):
        pipelines.explain_images(path, [disc_folder], tmp_path / "full" / "a")
    with pytest.raises(RunError, match="run folder with a trained network, or a bundle"):
        pipelines.explain_images(disc_folder, [disc_folder], tmp_path / "o")
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="at least one image must be readable"):
        pipelines.explain_images(path, [tmp_path / "bad.png"], tmp_path / "o")
    # What was left out is listed, and the same call can be made again.
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["rejected.csv"]
    with pytest.raises(DataError, match="at least one image must be readable"):
        pipelines.explain_images(path, [tmp_path / "bad.png"], tmp_path / "o")


def test_boxes_of_other_images_are_an_error(trained, framed, disc_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Explainer, "build_maps", None)  # before any map is made
    with pytest.raises(DataError, match="frame cells of these images"):
        pipelines.explain_images(
            trained.folder.path, [disc_folder / "MONOCYTE" / "000.png"], tmp_path / "o",
            methods=["gradcam"], boxes=framed,
        )  # fmt: skip
    assert not (tmp_path / "o").exists()


def test_a_box_belongs_to_a_picture_not_to_a_name(bundle, framed, tmp_path):
    """Another file of an annotated image's name has its box only if it shows the same."""
    original = Image.open(framed / "field0.png").convert("RGB")
    for name in ("copy", "resized", "other"):
        (tmp_path / name).mkdir()
    original.save(tmp_path / "copy" / "field0.png", compress_level=1)
    original.resize((48, 48)).save(tmp_path / "resized" / "field0.png")
    original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other" / "field0.png")
    given = [tmp_path / name / "field0.png" for name in ("copy", "resized", "other")]
    found = pipelines.explain_images(bundle, given, tmp_path / "o", boxes=framed).found
    assert [one.ceiling is None for one in found.images] == [False, True, True]
    assert found.n_same_name == 2
    with pytest.raises(DataError, match="2 bear the name of one that has"):
        pipelines.explain_images(bundle, given[1:], tmp_path / "o2", boxes=framed)


def test_of_two_annotated_images_of_one_name_each_has_its_own_box(framed, tmp_path):
    for name, field in (("a", "field0"), ("b", "field1")):
        (tmp_path / "voc" / name).mkdir(parents=True)
        (tmp_path / "voc" / name / "x.png").write_bytes((framed / f"{field}.png").read_bytes())
        text = (framed / f"{field}.xml").read_text().replace(f"{field}.png", "x.png")
        (tmp_path / "voc" / name / "x.xml").write_text(text)
    boxes = load_boxes(tmp_path / "voc", "white_cell")
    for name in ("a", "b"):
        path = tmp_path / "voc" / name / "x.png"
        elsewhere = tmp_path / name / "x.png"
        elsewhere.parent.mkdir()
        elsewhere.write_bytes(path.read_bytes())
        pixels = np.asarray(Image.open(path).convert("RGB"))
        mine, is_same_named = boxes.find(path, pixels)
        assert len(mine) == 1 and not is_same_named
        assert boxes.find(elsewhere, pixels) == (mine, False)


def test_another_class_can_be_explained(trained, disc_folder, tmp_path):
    path = disc_folder / "MONOCYTE" / "000.png"
    maps = {}
    for name in ("Neutrophil", "LYM"):
        found = pipelines.explain_images(
            trained.folder.path,
            [path],
            tmp_path / name,
            target=name,
            methods=["gradcam"],
            evaluate=0,
        )
        with np.load(next((tmp_path / name / "arrays").iterdir())) as arrays:
            maps[found.found.images[0].target] = arrays["map_gradcam_SS"]
    assert set(maps) == {"neutrophil", "lymphocyte"}
    assert not np.allclose(*maps.values())


def test_the_extra_is_asked_for_at_once(trained, disc_folder, tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "captum" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"leukoscope\[explain\]"):
        pipelines.explain_images(trained.folder.path, [disc_folder], tmp_path / "o")


def test_noise_is_as_coarse_as_the_map_it_is_compared_with(trained):
    model = open_model(trained.folder.path)
    side = model.input.image_size
    explainer = Explainer(model.score, model.network, side, "stage_2")
    shapes = model.network(torch.zeros(1, 3, side, side))[1]
    found = {method: explainer.find_grid(method) for method in ALL}
    assert found["gradcam"] == found["hirescam"] == shapes["stage_2"].shape[2]
    assert found["attention"] == shapes["stage_3"].shape[2]
    assert found["gradients"] == 32 and found["occlusion"] == 6
    assert replace(explainer, stage="stem").find_grid("gradcam") == shapes["stem"].shape[2]


def test_of_an_ensemble_the_first_member_is_explained(split, disc_folder, tmp_path):
    (tmp_path / "packs").mkdir()
    runs = [write_run(tmp_path / f"m{seed}", split, seed) for seed in range(2)]
    joint = pipelines.build_ensemble(runs, tmp_path / "joint").folder.path
    images = sorted(disc_folder.rglob("*.png"))[::12]
    found, alone = (
        pipelines.explain_images(
            run, images, tmp_path / name, methods=["gradcam"], target="neutrophil", evaluate=0
        )
        for name, run in (("of all", joint), ("of one", runs[0]))
    )
    assert found.found.n_members == 2 and alone.found.n_members == 1
    table = load_scores(joint / "scores.parquet")
    sure = dict(zip(table.paths, table.probabilities_NK.max(axis=1), strict=True))
    for one, image in zip(found.found.images, images, strict=True):
        assert one.confidence == pytest.approx(sure[str(image)], abs=1e-5)
    places = [sorted((tmp_path / name / "arrays").iterdir()) for name in ("of all", "of one")]
    assert len(places[0]) == len(images)
    for ours, theirs in zip(*places, strict=True):
        with np.load(ours) as one, np.load(theirs) as other:
            np.testing.assert_allclose(one["map_gradcam_SS"], other["map_gradcam_SS"], atol=1e-6)


@pytest.mark.parametrize("limit", [0, 2_000, 20_000])
def test_on_a_full_disk_nothing_is_left(bundle, disc_folder, tmp_path, limit):
    with full_disk(limit), pytest.raises(StorageError, match="out must be writable"):
        pipelines.explain_images(bundle, [disc_folder], tmp_path / "out", evaluate=0)
    assert not (tmp_path / "out").exists()


def test_images_of_a_run_have_the_sources_of_its_split(trained, bundle):
    split = load_run_split(trained.folder)
    found = find_sources(open_model(trained.folder.path))
    assert found == {
        record.path.resolve(): source
        for record, source in zip(split.catalog.records, split.sources, strict=True)
    }
    assert find_sources(open_model(bundle)) == {}
