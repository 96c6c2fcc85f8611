"""A bundle whose answers can be worked out by hand: logits are mean colours."""

import pytest
from tests.builders.bundles import build_mean_graph, describe

from leukoscope.deploy.bundle import load_bundle, save_bundle


@pytest.fixture(scope="session")
def mean_graph():
    return build_mean_graph()


@pytest.fixture
def mean_bundle(tmp_path, mean_graph):
    """A bundle folder of its own for each test."""
    place = tmp_path / "bundle"
    save_bundle(describe(mean_graph), {"fp32": mean_graph}, place)
    return load_bundle(place)
