"""One short run on tiny discs, which serves most tests of the use cases."""

import shutil

import pytest
from tests.builders.runs import SETTINGS

from leukoscope import pipelines
from leukoscope.config import load_recipe
from leukoscope.report import evaluation_figures


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """Figures take most of an evaluation's time; one test looks at all of them."""
    if "draws" not in request.keywords:
        monkeypatch.setattr(evaluation_figures, "draw_evaluation", lambda *_: {})


@pytest.fixture(scope="session")
def split(disc_folder):
    return pipelines.split_catalog(pipelines.scan_images(disc_folder))


@pytest.fixture(scope="session")
def trained(split, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    return pipelines.train_run(split, load_recipe("quick", SETTINGS), out)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run that a test may spoil."""
    return shutil.copytree(trained.folder.path, tmp_path / "run")
