"""Fixtures that many tests share: a folder of tiny coloured images, and the real data."""

from pathlib import Path

import pytest
from tests.builders.images import paint_field, save_discs

REAL_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Tests leave the user's cache of fingerprints alone."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache") / "fingerprints.sqlite"
        patch.setenv("LEUKOSCOPE_CACHE", str(place))
        yield


@pytest.fixture(scope="session")
def disc_folder(tmp_path_factory):
    """Four classes of twelve discs each; read only."""
    return save_discs(tmp_path_factory.mktemp("discs") / "cells")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images, or a skip."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real images are not here: {REAL_DATA} does not exist")
    return REAL_DATA


@pytest.fixture(scope="session")
def draw_field():
    """Paint a field of cells that no other seed shares a pixel with; needs OpenCV."""
    return paint_field
