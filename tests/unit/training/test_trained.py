import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tests.builders.files import load_json, save_json

from leukoscope.config import InputConfig
from leukoscope.errors import MissingStepError, WeightsError
from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, StageSpec
from leukoscope.runfolder import RunFolder
from leukoscope.storage import hash_file
from leukoscope.training import trained
from leukoscope.training.checkpoint import WeightsState, load_tensors, save_tensors
from leukoscope.training.scoring import score_images
from leukoscope.training.trained import load_trained, save_trained

CPU = torch.device("cpu")
CLASSES = ("eosinophil", "lymphocyte", "neutrophil")
CONFIG = InputConfig(image_size=32, resize="pad", interpolation="nearest")
SPEC = CoAtNetSpec(
    name="tiny",
    family="paper",
    stem_width=4,
    stages=(
        StageSpec("mbconv", 1, 4),
        StageSpec("mbconv", 1, 8),
        StageSpec("transformer", 1, 8, 2),
        StageSpec("transformer", 1, 8, 2),
    ),
    activation="silu",
    se_ratio=0.25,
    stride_place="expand",
    norm_eps=1e-5,
    norm_momentum=0.1,
    n_classes=3,
    image_size=32,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = CoAtNet(SPEC)
    with torch.no_grad():  # statistics that are not the fresh ones
        network(torch.randn(8, 3, 32, 32))
    return network


@pytest.fixture
def run(tmp_path, network):
    run = RunFolder(tmp_path / "run")
    save_tensors(run.best, network.state_dict(), WeightsState(7))
    save_trained(run, SPEC, CLASSES, CONFIG, "5" * 64)
    return run


def change_record(run, **changes):
    save_json(load_json(run.model) | changes, run.model)


def test_a_trained_network_comes_back_bitwise(run, network):
    found = load_trained(run, CPU)
    assert found.classes == CLASSES
    assert found.input == CONFIG
    assert found.network.spec == SPEC
    assert not any(module.training for module in found.network.modules())
    ours, theirs = network.state_dict(), found.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    pack = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    network = network.to(memory_format=torch.channels_last)
    for a, b in zip(score_images(network, pack)[:2], found.score(pack)[:2], strict=True):
        assert (a == b).all()


def test_the_record_says_what_the_weights_are(run):
    record = json.loads(run.model.read_text())
    assert record["classes"] == list(CLASSES)
    assert record["input"] == {
        "image_size": 32,
        "resize": "pad",
        "interpolation": "nearest",
        "stain": "none",
        "stain_target": [],
        "cells": "whole",
        "crop_um": 24.0,
        "finder": "nuclei",
    }
    assert record["spec"] == json.loads(json.dumps(asdict(SPEC)))
    assert record["best_epoch"] == 7
    assert record["weights"] == run.weights.name
    assert record["sha256"] == hash_file(run.weights)


def test_the_best_weights_stay_where_they_are(run):
    best, state = load_tensors(run.best, WeightsState)
    kept, _ = load_tensors(run.weights, WeightsState)
    assert state == WeightsState(7)
    assert all(torch.equal(best[name], kept[name]) for name in best)


def test_without_a_device_the_one_at_hand_is_taken(run, monkeypatch):
    monkeypatch.setattr(trained, "pick_device", lambda: CPU)
    assert next(load_trained(run).network.parameters()).device == CPU


def test_before_training_has_ended_the_missing_step_is_named(tmp_path, run):
    with pytest.raises(MissingStepError, match="leukoscope train"):
        load_trained(RunFolder(tmp_path / "none"), CPU)
    run.weights.unlink()
    with pytest.raises(MissingStepError, match=r"model\.safetensors"):
        load_trained(run, CPU)


def test_nothing_is_saved_without_best_weights(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(WeightsError, match=r"best\.safetensors"):
        save_trained(run, SPEC, CLASSES, CONFIG, "5" * 64)
    assert not run.model.exists() and not run.weights.exists()


def test_a_flipped_bit_in_the_weights_is_rejected(run):
    content = bytearray(run.weights.read_bytes())
    content[-1] ^= 1
    run.weights.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_trained(run, CPU)


def test_weights_of_another_network_are_rejected(run):
    change_record(run, spec=asdict(SPEC) | {"n_classes": 4})
    with pytest.raises(WeightsError, match="must fit the network"):
        load_trained(run, CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {}},
        {"spec": 5},
        {"spec": asdict(SPEC) | {"stages": 5}},
        {"spec": asdict(SPEC) | {"stages": [{"kind": "mbconv"}]}},
        {"spec": asdict(SPEC) | {"image_size": 33}},
        {"spec": {"members": [], "views": 1}},
        {"spec": {"members": [asdict(SPEC)], "views": 3}},
        {"classes": 5},
        {"input": {"image_size": 33}},
        {"input": {"size": 32}},
        {"input": [32]},
        {"input": None},
    ],
)
def test_a_record_of_something_else_is_rejected(run, changes):
    change_record(run, **changes)
    with pytest.raises(WeightsError, match=r"model\.json must"):
        load_trained(run, CPU)


def test_a_record_without_its_parts_is_rejected(run):
    for key in ("spec", "input", "classes", "sha256"):
        record = load_json(run.model)
        save_json({k: v for k, v in record.items() if k != key}, run.model)
        with pytest.raises(WeightsError):
            load_trained(run, CPU)
        save_json(record, run.model)
    load_trained(run, CPU)
    run.model.write_text("{")
    with pytest.raises(WeightsError, match="readable JSON"):
        load_trained(run, CPU)
