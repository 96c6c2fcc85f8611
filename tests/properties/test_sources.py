"""What must hold of found sources whatever the images: a partition, by contents alone."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.sources.search import find_sources

N_FIELDS, N_COPIES = 5, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory, draw_field):
    """Copies of five fields, and images that are related to nothing; one cache for all examples."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    records, strangers = [], []
    for k in range(N_FIELDS):
        field = draw_field(200 + k)
        for c in range(N_COPIES):
            map_23 = cv2.getRotationMatrix2D((160, 120), float(rng.uniform(-180, 180)), 1)
            image = field[:, :: rng.choice([-1, 1])]
            records.append(save(folder, f"{k}_{c}", cv2.warpAffine(image, map_23, (320, 240))))
    strangers.append(save(folder, "other", draw_field(300)))
    strangers.append(save(folder, "constant", np.full((64, 64, 3), 128, np.uint8)))
    strangers.append(save(folder, "noise", rng.integers(0, 256, (99, 120, 3), dtype=np.uint8)))
    strangers.append(save(folder, "tiny", rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    return records, strangers, folder / "cache.sqlite"


def save(folder, name, image):
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), image)
    content = path.read_bytes()
    height, width = image.shape[:2]
    return ImageRecord(
        id=name,
        path=path,
        label="blast",
        width=width,
        height=height,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def name_sources(records, cache):
    found = find_sources(Catalog(tuple(records)), cache=cache)
    return {record.sha256: record.source for record in found.catalog.records}


FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_the_planted_copies_are_the_sources(world):
    records, strangers, cache = world
    named = name_sources(records + strangers, cache)
    fields = [{named[r.sha256] for r in records if r.id[0] == str(k)} for k in range(N_FIELDS)]
    assert [len(names) for names in fields] == [1] * N_FIELDS
    assert len(set(named.values())) == N_FIELDS + len(strangers)


@FEW
@given(data=st.data())
def test_any_part_in_any_order_has_the_same_sources(world, data):
    """Order, names of rows, and which other images are there do not matter: a pair of images is
    of one source in a part exactly if it is in the whole. So the relation is an equivalence."""
    records, strangers, cache = world
    whole = name_sources(records + strangers, cache)
    part = data.draw(st.lists(st.sampled_from(records + strangers), unique_by=lambda r: r.id))
    renamed = [replace(r, id=f"{k:03d}", label="other") for k, r in enumerate(part)]
    found = name_sources(renamed, cache)
    for a in part:
        for b in part:
            together = found[a.sha256] == found[b.sha256]
            assert together == (whole[a.sha256] == whole[b.sha256])


@FEW
@given(data=st.data())
def test_an_unrelated_image_changes_no_group_and_no_name(world, data):
    records, strangers, cache = world
    part = data.draw(st.lists(st.sampled_from(records), min_size=1, unique_by=lambda r: r.id))
    more = data.draw(st.lists(st.sampled_from(strangers), min_size=1, unique_by=lambda r: r.id))
    before = name_sources(part, cache)
    after = name_sources(part + more, cache)
    assert {key: after[key] for key in before} == before


def test_links_agree_with_the_names(world):
    records, strangers, cache = world
    found = find_sources(Catalog(tuple(records + strangers)), cache=cache)
    named = {record.sha256: record.source for record in found.catalog.records}
    for link in found.links:
        if link.kind != "overlap":
            assert link.accepted == (named[link.first] == named[link.second])
