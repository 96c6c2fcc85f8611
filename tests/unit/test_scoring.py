"""Scorers and score tables: whatever scores, one function makes the table."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from leukoscope.config import InputConfig
from leukoscope.data.catalog import ImageRecord
from leukoscope.data.images import load_input
from leukoscope.errors import DataError
from leukoscope.scores import Outputs, join_outputs
from leukoscope.scoring import BATCH_SIZE, score_files, score_records
from leukoscope.trust.quality import QUALITY_NAMES, measure_quality

CONFIG = InputConfig(image_size=32)


@dataclass
class Means:
    """Logits and embedding are the mean colour; every call is remembered."""

    name: str = "means"
    classes: tuple[str, ...] = ("red", "green", "blue")
    input: InputConfig = CONFIG
    weights_sha256: str = ""
    trust: None = None
    ensemble: bool = False

    def __post_init__(self):
        self.sizes = []

    def score(self, images_NSSC, on_progress=None):
        self.sizes.append(len(images_NSSC))
        if on_progress is not None:
            on_progress(len(images_NSSC), len(images_NSSC))
        means = images_NSSC.mean(axis=(1, 2)).astype(np.float32)
        return Outputs(means, 2 * means, means[:, 0] if self.ensemble else None)


@pytest.fixture
def records(tmp_path):
    """Eighteen readable images, one of them a box of another one's file, and two broken files."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(20):
        path = tmp_path / f"{i}.png"
        if i in (3, 17):
            path.write_bytes(b"no image")
        else:
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(path)
        label = ("red", "green", "blue", "martian")[i % 4]
        found.append(ImageRecord(f"{i}", path, label, 48, 40, 9, f"{i:064x}", "", f"s{i // 2}"))
    return found


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_table_of_images_at_hand_keeps_their_order(ensemble):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (70, 32, 32, 3), np.uint8)
    labels = ["green", "martian"] * 35
    records = [
        ImageRecord(f"{i}", f"/x/{i}", label, 32, 32, 9, "", "", "")
        for i, label in enumerate(labels)
    ]
    told = []
    table = score_records(
        Means(ensemble=ensemble), records, images, ["test"] * 70, ["s"] * 70, True,
        lambda *where: told.append(where),
    )  # fmt: skip
    means = images.mean(axis=(1, 2))
    np.testing.assert_allclose(table.logits_NK, means, rtol=1e-6)
    np.testing.assert_allclose(table.embeddings_ND, 2 * means, rtol=1e-6)
    assert table.labels_N.tolist() == [1, -1] * 35 and table.source_known
    assert table.ids == tuple(map(str, range(70))) and set(table.roles) == {"test"}
    np.testing.assert_array_equal(table.quality_NQ, measure_quality(images))
    assert (table.disagreement_N is not None) == ensemble
    assert told == [
        ("Scoring images", 70, 70),
        ("Measuring image quality", 64, 70),
        ("Measuring image quality", 70, 70),
    ]


def test_files_that_cannot_be_read_are_listed_and_the_others_scored(records):
    scorer = Means()
    found = score_files(scorer, records, "local")
    assert [one.path for one in found.unreadable] == [str(records[i].path) for i in (3, 17)]
    assert all(one.code and one.found for one in found.unreadable)
    used = [record for i, record in enumerate(records) if i not in (3, 17)]
    assert list(found.records) == used and found.table.ids == tuple(r.id for r in used)
    images = np.stack([load_input(record.path, CONFIG) for record in used])
    np.testing.assert_allclose(found.table.logits_NK, images.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(found.table.quality_NQ, measure_quality(images))
    assert found.table.quality_names == QUALITY_NAMES
    assert found.table.sources == tuple(record.source for record in used)
    assert found.table.source_known and set(found.table.roles) == {"local"}
    assert scorer.sizes == [BATCH_SIZE - 1, 3]


@pytest.mark.parametrize("given", [[3, 17], []])
def test_nothing_readable_is_an_error(records, given):
    with pytest.raises(DataError, match="at least one image must be readable"):
        score_files(Means(), [records[i] for i in given], "local")


def test_outputs_of_batches_are_joined():
    one = Outputs(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    both = join_outputs([one, one._replace(logits_NK=np.zeros((1, 3), np.float32))])
    assert both.logits_NK[:, 0].tolist() == [1, 1, 0] and both.disagreement_N is None
    apart = one._replace(disagreement_N=np.ones(2, np.float32))
    assert join_outputs([apart, apart]).disagreement_N.shape == (4,)
    nothing = join_outputs([])
    assert nothing.logits_NK.shape == nothing.embeddings_ND.shape == (0, 0)
