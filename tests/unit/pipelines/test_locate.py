"""Runs and bundles of located cells: squares in the split, and nobody feeds them whole fields."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.builders import bundles as means
from tests.builders.fields import paint_one
from tests.builders.runs import SETTINGS
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli.app import app
from leukoscope.config import InputConfig, load_recipe
from leukoscope.data.catalog import Catalog, load_catalog, save_catalog
from leukoscope.data.images import decode_file, load_input, prepare_image
from leukoscope.data.pack import build_pack
from leukoscope.data.splits import PixelCheck, hash_split, load_split
from leukoscope.deploy.bundle import save_bundle
from leukoscope.deploy.predictor import Predictor
from leukoscope.errors import ConfigError, DataError
from leukoscope.pipelines.differential import _Reader
from leukoscope.pipelines.evaluation import load_evaluation
from leukoscope.pipelines.locate import (
    count_located,
    locate_images,
    locate_split,
    note_located,
    resolve_finder,
)
from leukoscope.progress import silent
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder
from leukoscope.smear.locate import locate_cell, place_square
from leukoscope.smear.network import GRAPH_SHA256

LOCATED = InputConfig(image_size=32, cells="located", crop_um=20, finder="nuclei")


def save_fields(folder, per_class=6):
    """Small fields with one cell each: the painted one, mirrored and shifted, in two classes."""
    pixels_HWC = paint_one().pixels_HWC
    for k, name in enumerate(("lymphocyte", "monocyte")):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            one = np.roll(pixels_HWC, 3 * i, axis=1)[:: 1 - 2 * k]
            tinted = one if k else np.minimum(one, 235)
            Image.fromarray(np.ascontiguousarray(tinted)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_fields(tmp_path_factory.mktemp("small") / "fields")


@pytest.fixture(scope="module")
def catalog(folder):
    return pipelines.scan_images(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of located cells that gives the mean colour of what it is shown."""
    place = tmp_path_factory.mktemp("located") / "bundle"
    graph = means.build_mean_graph()
    save_bundle(means.describe(graph, preprocessing=LOCATED), {"fp32": graph}, place)
    return place


def cut(path):
    pixels_HWC = decode_file(path)
    x_min, y_min, x_max, y_max = locate_cell(pixels_HWC, Finder("nuclei"), 20.0).box
    return prepare_image(pixels_HWC[y_min:y_max, x_min:x_max], LOCATED)


def test_images_that_are_taken_whole_stay_as_they_are(catalog):
    assert locate_images(catalog.records, InputConfig()) == catalog.records


def test_every_record_gets_a_square_and_says_how(catalog):
    found = locate_images(catalog.records, LOCATED)
    assert [one.id for one in found] == [one.id for one in catalog.records]
    assert {one.extra["located_by"] for one in found} == {"nuclei 20 um"}
    assert count_located(found) == {"cell": len(catalog)}
    assert note_located(found)[0].values == {"n_images": len(catalog), "n_cell": len(catalog)}
    pack = build_pack(found, LOCATED, catalog.records[0].path.parents[2] / "packs")
    assert (pack[0] == cut(found[0].path)).all()
    # What was located so is not located again.
    assert locate_images(found, LOCATED) == found


def test_another_side_locates_anew_unless_a_person_framed_the_cell(catalog):
    wide = LOCATED.model_copy(update={"crop_um": 30.0})
    found = locate_images(catalog.records[:1], LOCATED)
    again = locate_images(found, wide)
    assert again == locate_images(catalog.records[:1], wide)
    framed = locate_images([replace(catalog.records[0], box=(10, 10, 40, 40))], LOCATED)
    assert framed[0].extra["located"] == "given"
    with pytest.raises(DataError):
        locate_images(framed, wide)


def test_a_catalog_is_located_once_for_several_trainings(folder, catalog, tmp_path):
    save_catalog(catalog, tmp_path / "catalog.csv")
    out = tmp_path / "located.csv"
    options = ["--out", str(out), "--set", "input.crop_um=20"]
    done = CliRunner().invoke(app, ["data", "locate", str(tmp_path / "catalog.csv"), *options])
    assert done.exit_code == 0, done.output
    assert "12 around the only whole cell" in done.output
    found = load_catalog(out)
    assert found.records == locate_images(catalog.records, LOCATED)
    split = pipelines.split_catalog(found, "random")
    assert locate_split(split, LOCATED) is split


def test_a_file_that_cannot_be_read_is_left_to_whoever_reads_it(catalog, tmp_path):
    one = replace(catalog.records[0], path=tmp_path / "gone.png")
    found = locate_images([one], LOCATED)[0]
    assert found.box == (0, 0, one.width, one.height)


def test_a_finder_of_another_version_is_rejected(catalog):
    with pytest.raises(ConfigError):
        locate_images(catalog.records, LOCATED.model_copy(update={"finder": "a" * 64}))


def test_the_finder_is_written_down():
    assert resolve_finder(InputConfig(finder="network")).finder == "network"
    assert resolve_finder(LOCATED).finder == "nuclei"
    assert resolve_finder(LOCATED.model_copy(update={"finder": "network"})).finder == GRAPH_SHA256


def test_what_was_compared_by_pixels_stays_compared(catalog):
    split = pipelines.split_catalog(catalog, "random")
    check = PixelCheck(hash_split(split), 1, 1, 1, 1, 0, ())
    found = locate_split(replace(split, check=check), LOCATED)
    assert found.check is not None and found.check.digest == hash_split(found) != check.digest


def test_nothing_reads_whole_fields_for_a_network_of_located_cells(catalog, bundle, tmp_path):
    path = catalog.records[0].path
    with pytest.raises(DataError):
        load_input(path, LOCATED)
    with pytest.raises(DataError):
        build_pack(catalog.records, LOCATED, tmp_path)
    with pytest.raises(DataError):
        list(Predictor(bundle).predict_files([path]))


def test_a_bundle_predicts_the_square_of_each_field(folder, bundle, tmp_path):
    done = pipelines.predict_images(bundle, [folder], tmp_path / "table.csv")
    assert done.located == {"cell": 12}
    with (tmp_path / "table.csv").open(encoding="utf-8-sig") as file:
        first = next(csv.DictReader(file))
    logits = cut(Path(first["path"])).mean(axis=(0, 1)) / 25.5
    p = np.exp(logits - logits.max())
    assert float(first["p:red"]) == pytest.approx((p / p.sum())[0], abs=1e-3)


def test_validation_and_robustness_locate_too(folder, bundle, tmp_path):
    labels = means.CLASSES
    records = [replace(one, label=labels[i % 2]) for i, one in
               enumerate(pipelines.scan_images(folder).records)]  # fmt: skip
    table = tmp_path / "cells.csv"
    save_catalog(Catalog(tuple(records)), table)
    found = pipelines.validate_bundle(bundle, table, tmp_path / "validation").record
    assert [note.values["n_cell"] for note in found.warnings if note.code == "cells_located"] == [
        12
    ]


def test_a_differential_cuts_cells_as_the_bundle_was_trained(bundle):
    from leukoscope.pipelines.scorers import open_predictor

    predictor, _ = open_predictor(bundle)
    field = PictureField(paint_one().pixels_HWC)
    found = Finder("nuclei").find(field, "")
    cell = found.record.cells[0]
    reader = _Reader(predictor, "nuclei", None, None, silent)
    box = place_square(cell.box, cell.scale_px_per_um, (field.width, field.height), 20.0)
    assert (reader._cut_one(field, cell, found.ground_C) == field.read_region(box)).all()
    wider = replace(reader, crop_um=25.0)._cut_one(field, cell, found.ground_C)
    assert len(wider) > box[3] - box[1]


def test_a_run_of_located_cells_trains_and_evaluates(catalog, folder, tmp_path):
    settings = [*SETTINGS, "train.epochs=1", "input.cells=located", "input.finder=nuclei"]
    split = pipelines.split_catalog(catalog, "random")
    done = pipelines.train_run(split, load_recipe("quick", settings), tmp_path / "run")
    assert done.located == {"cell": len(catalog)}
    saved = load_split(tmp_path / "run" / "split.csv")
    assert all(record.extra["located"] == "cell" for record in saved.catalog.records)
    model = json.loads((tmp_path / "run" / "model.json").read_text())
    assert (model["input"]["cells"], model["input"]["crop_um"]) == ("located", 24.0)
    assert model["input"]["finder"] == "nuclei"
    found = pipelines.evaluate_run(tmp_path / "run", data=folder, name="again").record
    note = next(one for one in found.warnings if one.code == "cells_located")
    assert note.values["n_cell"] == len(catalog)
    own = load_evaluation(pipelines.evaluate_run(tmp_path / "run").folder / "metrics.json")
    assert "cells_located" in {one.code for one in own.warnings}
