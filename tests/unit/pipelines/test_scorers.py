"""What scores images is opened whatever it is: a run, a bundle, or an error."""

import numpy as np
import pytest
from tests.builders import bundles as means

from leukoscope.deploy.bundle import save_bundle
from leukoscope.deploy.predictor import Predictor
from leukoscope.errors import RunError
from leukoscope.pipelines.scorers import open_run, open_scorer
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.scoring import score_records


def test_a_run_and_a_bundle_are_scorers(run, tmp_path):
    graph = means.build_mean_graph()
    save_bundle(means.describe(graph), {"fp32": graph}, tmp_path / "bundle")
    bundle, trained = open_scorer(tmp_path / "bundle"), open_scorer(str(run))
    assert isinstance(bundle, Predictor) and bundle.classes == means.CLASSES
    assert (bundle.name, bundle.input.image_size) == ("bundle", means.SIDE)
    assert (trained.name, trained.input.image_size) == ("run", 32)
    for scorer in (bundle, trained):
        images = np.random.default_rng(0).integers(0, 256, (18, 32, 32, 3), dtype=np.uint8)
        assert scorer.score(images).logits_NK.shape == (18, len(scorer.classes))
        assert len(scorer.weights_sha256) == 64 and scorer.trust is None
        assert scorer.score(images[:0]).logits_NK.shape[0] == 0


def test_what_is_neither_is_rejected(tmp_path):
    for place, text in ((tmp_path, "neither model.json"), (tmp_path / "x", "no such folder")):
        with pytest.raises(RunError, match=text):
            open_scorer(place)
    with pytest.raises(RunError, match="or a bundle"):
        open_run(tmp_path)


def test_a_run_scores_its_images_as_it_did(run):
    from leukoscope.data.pack import build_pack
    from leukoscope.data.splits import load_split
    from leukoscope.pipelines.data import used_rows

    scorer = open_scorer(run)
    records, roles = used_rows(load_split(run / "split.csv"))
    pack = build_pack(records, scorer.input, RunFolder(run).pack)
    table = load_scores(run / "scores.parquet")
    again = score_records(scorer, records, pack, roles.tolist(), table.sources, False)
    for name in ("logits_NK", "embeddings_ND", "quality_NQ"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
