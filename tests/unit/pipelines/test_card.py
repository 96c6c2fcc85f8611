"""From run folder and bundle to the files of a card."""

import json
import shutil
from dataclasses import replace

import pytest
from tests.builders.evaluation import build_evaluation
from tests.builders.explanation import build_explanation
from tests.builders.files import load_json, save_json
from tests.builders.robustness import build_robustness
from tests.builders.validation import build_validation
from typer.testing import CliRunner

from leukoscope import pipelines
from leukoscope.cli import app as cli
from leukoscope.data.splits import load_split
from leukoscope.errors import BundleError, MissingStepError, RunError
from leukoscope.interval import Interval
from leukoscope.pipelines.card import load_run_records, summarise_split
from leukoscope.records import dump_record, save_record
from leukoscope.runfolder import collect_provenance


def save_metrics(folder, run=None, origin=None, **changes):
    """Invented figures, of the weights and the split of a run."""
    model = load_json((run or folder) / "model.json")
    bound = {"weights_sha256": model["sha256"], "split_sha256": model["split_sha256"]}
    given = {"leakage_status": "unproven", "source_known": False, "trust": None}
    record = build_evaluation(**(given | changes))
    record = replace(record, provenance=replace(record.provenance, **bound | (origin or {})))
    save_record(record, folder / "metrics.json")
    return record


def test_a_run_gets_its_card(run, tmp_path):
    record = save_metrics(run)
    other = run / "evaluations" / "far"
    other.mkdir(parents=True)
    save_metrics(other, run, data="far_lab")
    written = pipelines.write_card(run)
    assert written.folder == run
    assert [path.name for path in written.files] == [
        "MODEL_CARD.md",
        "CLAIM.md",
        "TRIPOD_AI.md",
        "model_card.json",
    ]
    text = (run / "MODEL_CARD.md").read_text()
    assert "94.0 %" in text and "far_lab" in text and str(tmp_path) not in text
    content = json.loads((run / "model_card.json").read_text())
    by_id = {a["id"]: a for a in content["documents"]["MODEL_CARD.md"]["answers"]}
    assert by_id["figure"]["records"] == ["evaluation"]
    assert by_id["cost"]["records"] == ["epochs_s", "provenance"]
    assert by_id["labels"]["status"] == "blank"
    # Written again from other records: the new figure, without a quarrel.
    save_metrics(run, figures={**record.figures, "accuracy": Interval(0.5, 0.4, 0.6)})
    pipelines.write_card(run)
    text = (run / "MODEL_CARD.md").read_text()
    assert "94.0 %" not in text.split("## Data and test population")[0] and "50.0 %" in text
    # What a person wrote is not lost.
    edited = text.replace("[to be filled in: the licence of the weights]", "MIT")
    (run / "MODEL_CARD.md").write_text(edited)
    with pytest.raises(RunError, match="edited"):
        pipelines.write_card(run)
    assert (run / "MODEL_CARD.md").read_text() == edited
    pipelines.write_card(run, tmp_path / "new")
    assert (tmp_path / "new" / "CLAIM.md").is_file()


@pytest.mark.parametrize(
    ("origin", "found"),
    [
        ({"weights_sha256": "0" * 64}, "weights"),
        ({"split_sha256": "0" * 64}, "split"),
        ({"scores_sha256": "0" * 64}, "scores"),
        ({"trust_sha256": "0" * 64}, "thresholds"),
    ],
)
@pytest.mark.parametrize("place", ["", "evaluations/far"])
def test_an_evaluation_of_what_the_run_no_longer_holds_is_rejected(run, origin, found, place):
    (run / place).mkdir(parents=True, exist_ok=True)
    save_metrics(run / place, run, origin)
    with pytest.raises(RunError, match=f"made with other {found}"):
        pipelines.write_card(run)
    assert not (run / "MODEL_CARD.md").exists()


def test_what_later_commands_left_inside_of_the_run_is_read(run):
    sha = load_json(run / "model.json")["sha256"]
    robustness = build_robustness({"blur": 0.1})
    robustness = replace(robustness, provenance=replace(robustness.provenance, weights_sha256=sha))
    validation = build_validation(unreadable=())
    validation = replace(validation, provenance=replace(validation.provenance, weights_sha256=sha))
    explanation = build_explanation()
    origin = replace(explanation.provenance, weights_sha256=sha)
    explanation = replace(explanation, provenance=origin)
    content = {
        "robustness/robustness.json": dump_record(robustness),
        "validation/validation.json": dump_record(validation),
        "explained/faithfulness.json": dump_record(explanation),
    }
    for name, record in content.items():
        (run / name).parent.mkdir()
        save_json(record, run / name)
    records = load_run_records(run)
    assert records.robustness == robustness
    assert records.validation.figures["accuracy"] == validation.figures["accuracy"]
    assert records.explanation == explanation
    for name, record in content.items():
        save_json(json.loads(json.dumps(record).replace(sha, "0" * 64)), run / name)
        with pytest.raises(RunError, match="it is of other weights"):
            load_run_records(run)
        save_json(record, run / name)


def test_the_split_is_summarised(run):
    found = summarise_split(load_split(run / "split.csv"))
    assert sum(sum(x.values()) for x in found.audit.counts.values()) == 48
    assert found.class_sources["train"] == found.audit.counts["train"]
    assert found.width_px == (32, 32) and not found.audit.sources_known
    assert found.columns == ()


def test_what_does_not_fit_is_rejected(run, tmp_path):
    with pytest.raises(MissingStepError):
        pipelines.write_card(tmp_path / "nothing")
    with pytest.raises(BundleError, match="must be a bundle"):
        pipelines.write_card(run, bundle=tmp_path)
    (run / "training_history.csv").write_text("Epoch,Seconds\n1,long\n")
    with pytest.raises(RunError, match="changed after the training"):
        load_run_records(run)
    (run / "training_history.csv").unlink()
    (run / "split.csv").unlink()
    records = load_run_records(run)
    assert records.epochs_s is None and records.data is None


@pytest.fixture
def bundle(run, tmp_path):
    """A bundle of the run, as far as a card reads it."""
    model = load_json(run / "model.json")
    content = {
        "network": "coatnet-pico",
        "classes": model["classes"],
        "preprocessing": {"image_size": 32},
        "opset": 18,
        "default": "fp32",
        "variants": {
            "fp32": {
                "file": "model.fp32.onnx",
                "sha256": "0" * 64,
                "bytes": 1234567,
                "parity": {
                    "images": 7,
                    "max_logit_difference": 0.00031,
                    "mean_logit_difference": 0.0001,
                    "max_probability_difference": 0.0001,
                    "decisions_changed": 0,
                    "changed": [],
                    "max_changed_frac": 0.0,
                },
            }
        },
        "parity_set": {"roles": {"test": 7}},
        "provenance": {
            "exported": dump_record(collect_provenance()),
            "trained": load_json(run / "provenance.json"),
            "recipe": load_json(run / "recipe.json"),
            "weights_sha256": model["sha256"],
        },
    }
    folder = tmp_path / "bundle"
    folder.mkdir()
    save_json(content, folder / "bundle.json")
    return folder


def test_a_bundle_gets_its_card_and_lends_its_parity(run, bundle, tmp_path):
    pipelines.write_card(bundle)
    text = (bundle / "MODEL_CARD.md").read_text()
    assert "| fp32 (default) | 1.2 MB | 0.00031 | 0 of 7 |" in text
    assert "[to be filled in: main figure; not on record" in text
    assert "Recipe “quick”" in text and str(tmp_path) not in text
    pipelines.write_card(run, tmp_path / "both", bundle=bundle)
    text = (tmp_path / "both" / "MODEL_CARD.md").read_text()
    assert "| fp32 (default) |" in text and "32 pixels wide" in text
    content = load_json(bundle / "bundle.json")
    content["provenance"]["weights_sha256"] = "1" * 64
    save_json(content, bundle / "bundle.json")
    with pytest.raises(BundleError, match="other weights"):
        pipelines.write_card(run, tmp_path / "both", bundle=bundle)


def test_the_command(run):
    done = CliRunner().invoke(cli.app, ["card", str(run)])
    assert done.exit_code == 0, done.output
    assert "items need a person" in done.output and (run / "MODEL_CARD.md").is_file()
    shutil.rmtree(run)
    assert CliRunner().invoke(cli.app, ["card", str(run)]).exit_code == 4
