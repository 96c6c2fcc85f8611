"""White cells of real smear fields: found where persons have drawn their boxes."""

from xml.etree import ElementTree

import pytest
from tests.builders.fields import measure_overlap

from leukoscope.data.images import decode_image
from leukoscope.smear.fields import PictureField
from leukoscope.smear.finder import Finder

# Of the half of BCCD that the network was not trained on (benchmarks/finder_sets.py).
UNSEEN = ["00001", "00056", "00136", "00210", "00265", "00331", "00402"]


def load(path):
    return PictureField(decode_image(path.read_bytes(), name=path.name))


@pytest.fixture(scope="module")
def finder():
    return Finder("network")


@pytest.mark.parametrize("number", UNSEEN)
def test_cells_lie_where_their_boxes_are(real_data, finder, number):
    name = f"BloodImage_{number}"
    tree = ElementTree.parse(real_data / "bccd" / "Annotations" / f"{name}.xml")
    boxes = {"WBC": [], "RBC": [], "Platelets": []}
    for one in tree.iter("object"):
        sides = [int(one.find(f"bndbox/{side}").text) for side in ("xmin", "ymin", "xmax", "ymax")]
        boxes[one.find("name").text].append(sides)
    found = finder.find(load(real_data / "bccd" / "JPEGImages" / f"{name}.jpg"), name).record
    assert len(found.cells) == len(boxes["WBC"])
    for box in boxes["WBC"]:
        assert max(measure_overlap(box, cell.box) for cell in found.cells) > 0.5
    assert found.scale_source == "red_cells"
    assert found.scale_px_per_um == pytest.approx(13.2, rel=0.15)
    assert found.n_red_cells > 0.7 * len(boxes["RBC"])  # many have no box


def test_red_cells_are_no_white_ones(real_data, finder):
    paths = sorted((real_data / "chula_rbc12" / "images").iterdir())[::20]
    found = [finder.find(load(path), path.name).record for path in paths]
    assert sum(len(one.cells) for one in found) <= 1
    assert min(one.n_red_cells for one in found) >= 5
