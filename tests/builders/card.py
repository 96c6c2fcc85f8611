"""Records of a made-up run for its model card, every figure of which can be told apart."""

from dataclasses import replace

import numpy as np
from tests.builders import evaluation
from tests.builders.evaluation import NO_FIGURE, build_leak, build_paired
from tests.builders.explanation import build_explanation, build_result
from tests.builders.robustness import build_robustness
from tests.builders.scores import build_sets
from tests.builders.validation import build_validation

from leukoscope.config import InputConfig, TrustConfig, load_recipe
from leukoscope.data.findings import Finding
from leukoscope.data.splits import SplitAudit
from leukoscope.deploy.bundle import BundleInfo, Parity, ParitySet, VariantInfo
from leukoscope.evaluation.metrics import OVERALL, PER_CLASS
from leukoscope.evaluation.record import BaselineFigures, ClassFigures
from leukoscope.interval import Interval
from leukoscope.report.card_records import CardRecords, DataSummary, Network
from leukoscope.report.model_card import build_document, render_card, render_checklist
from leukoscope.runfolder import RunProvenance
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import Policy
from leukoscope.trust.notes import Note
from leukoscope.trust.record import Reference, TrustInfo

CLASSES = ("basophil", "immature_granulocyte", "neutrophil")


def bound(value):
    return Interval(value, value - 0.02, min(1.0, value + 0.01))


def build_network(**changes):
    return Network(
        **{
            "name": "coatnet-pico",
            "classes": CLASSES,
            "input": InputConfig(image_size=128),
            "weights_sha256": "a" * 64,
            "stages": (("mbconv", 2), ("transformer", 5)),
            "best_epoch": 3,
        }
        | changes
    )


def build_provenance(**changes):
    return RunProvenance(
        **{
            "leukoscope": "0.1.0",
            "python": "3.11.7",
            "cores": 2,
            "packages": {"torch": "2.13.0"},
            "command": ("leukoscope", "train", "/home/ann/split.csv", "--out=/srv/runs/first"),
            "seeds": (43,),
            "platform": "Linux",
            "started": "2026-01-01T00:00:00+00:00",
            "packs": None,
            "recipe_hash": "eb56bca3e0ead197",
            "split_sha256": "5" * 64,
        }
        | changes
    )


def build_data(name="smears", classes=CLASSES, columns=("scanner",)):
    counts = {
        "train": {label: 1000 + k for k, label in enumerate(classes)},
        "val": {},
        "calib": {},
        "test": dict.fromkeys(classes, 211),
    }
    few = dict(zip(classes, (12, 41, 57), strict=True))
    audit = SplitAudit(
        "grouped", 44, counts, {"train": 110, "val": 0, "calib": 0, "test": 96}, 5, True,
        "declared", (), 0, "disjoint", (Finding("without_role", "note", {"n_images": 5}),),
    )  # fmt: skip
    sources = {"train": few, "val": {}, "calib": {}, "test": dict.fromkeys(classes, 32)}
    return DataSummary(name, classes, audit, sources, 0, (192, 192), (180, 200), columns)


def build_reference(**changes):
    return Reference(
        **{
            "data": "smears",
            "role": "test",
            "leakage_status": "disjoint",
            "n_images": 633,
            "n_sources": 96,
            "source_known": True,
            "confusion": ((200, 7, 3), (17, 190, 4), (1, 2, 209)),
            "accuracy": bound(0.9512),
            "recall": (bound(0.9),) * 3,
            "specificity": (bound(0.9),) * 3,
            "ece": 0.004,
            "ece_raw": 0.031,
            "sets": DeliveredSets(0.9702, 0.9531, 1.07, 0.061, 31, 0.58),
            "accepted": bound(0.7712),
            "class_accepted": (bound(0.7712),) * 3,
            "accepted_correlation": 0.0,
            "accepted_accuracy": bound(0.9932),
            "errors": AcceptedErrors(488, 3, 0.0158),
            "review_frac": 0.2162,
            "unknown_frac": 0.0126,
        }
        | changes
    )


def build_trust(classes=CLASSES, **changes):
    policy = Policy.model_construct(
        classes=classes,
        calibration=Calibration(method="temperature", temperature=1.3),
        sets=build_sets((0.05,) * 3, (99,) * 3),
        max_distance=418.9,
        min_confidence=0.9547,
        max_disagreement=None,
        always_review=classes[:1],
        cost=None,
    )
    return TrustInfo.model_construct(
        **{
            "config": TrustConfig(),
            "policy": policy,
            "n_calib": 777,
            "n_calib_sources": 130,
            "weights_sha256": "a" * 64,
            "notes": (Note("calibration_unproven"),),
            "reference": build_reference(),
        }
        | changes
    )


def build_bundle(trust, **changes):
    parity = Parity(
        images=2000,
        max_logit_difference=9.5e-6,
        mean_logit_difference=1e-6,
        max_probability_difference=1e-6,
        decisions_changed=3,
        changed=(),
        max_changed_frac=0.01,
        outcomes_changed=4,
    )
    variant = VariantInfo(file="model.fp32.onnx", sha256="f" * 64, bytes=7544843, parity=parity)
    return BundleInfo.model_construct(
        network="coatnet-pico",
        default="fp32",
        variants={"fp32": variant},
        parity_set=ParitySet(roles={"test": 2000}),
        trust=trust,
    )


def build_evaluation(classes=CLASSES, **changes):
    """An evaluation without words of its own, every figure of which can be told apart."""
    figures = {name: bound(0.9 + k / 1000) for k, name in enumerate((*OVERALL, "ece"))}
    per_class = tuple(
        ClassFigures(
            label, 210 + k, 31 + k,
            dict.fromkeys(PER_CLASS, bound(0.5))
            | {
                "recall": bound(recall),
                "precision": bound(recall - 0.1),
                "specificity": bound(recall + 0.005),
            },
        )
        for k, (label, recall) in enumerate(zip(classes, (0.971, 0.851, 0.961), strict=True))
    )  # fmt: skip
    given = {
        "data": "smears", "n_images": 633, "n_sources": 96, "split_findings": (), "warnings": (),
        "figures": figures | {"accuracy": bound(0.9432)}, "per_class": per_class,
        "confusion": ((200, 7, 3), (17, 190, 4), (1, 2, 209)),
        "baselines": {
            "majority": BaselineFigures(bound(0.334), 0.25, build_paired(0.6), classes[0]),
            "colour_histogram": BaselineFigures(bound(0.612), 0.5, build_paired(0.32)),
        },
    }  # fmt: skip
    return evaluation.build_evaluation(**(given | changes))


def build_records(classes=CLASSES, names=("smears", "scanner", "elsewhere", "third_lab")):
    """A made-up run, every figure of which can be told apart. `names` are those of the data, of a
    further column, and of two other data sets."""
    smears, column, elsewhere, third_lab = names
    own = build_evaluation(classes, data=smears)
    recipe = load_recipe("quick", ["train.epochs=4", "augment.rotate_deg=20"])
    trust = build_trust(classes, reference=build_reference(data=smears))
    return CardRecords(
        network=build_network(classes=classes),
        recipe=recipe,
        provenance=build_provenance(),
        data=build_data(smears, classes, (column,)),
        epochs_s=(90.0,) * 4,
        trust=trust,
        bundle=build_bundle(trust),
        robustness=build_robustness(
            {"blur": 0.065, "noise": 0.01}, wrong={"noise": 0.02}, data=smears
        ),
        evaluation=own,
        evaluations={"other_lab": replace(own, data=elsewhere)},
        validation=build_validation(data=third_lab),
        explanation=build_explanation(
            (
                build_result(n=83, correlation={"stem": np.full(83, 0.4)}),
                build_result("occlusion", n=84, correlation={}),
            )
        ),
    )


def recalibrate(records):
    """The card of a bundle that was recalibrated on cells of a laboratory: no run is left."""
    reference = build_reference(data="lab", leakage_status="local", n_images=94, n_sources=48)
    trust = build_trust(n_calib=96, n_calib_sources=47, reference=reference)
    return CardRecords(
        network=replace(records.network, stages=(), best_epoch=None), recipe=records.recipe,
        provenance=records.provenance, trust=trust, bundle=build_bundle(trust),
    )  # fmt: skip


def build_ensemble_records():
    """The card of an ensemble on data without sources, whose test images are of no known class."""
    records = build_records()
    audit = replace(
        records.data.audit, protocol="random", sources_known=False, leakage_status="unproven",
        n_left_aside=0, findings=(),
    )  # fmt: skip
    policy = build_trust().policy.model_copy(
        update={"min_confidence": None, "max_disagreement": 0.21, "cost": ((0.0,),)}
    )
    evaluation = build_evaluation(
        source_known=False, leakage_status="unproven", baselines={}, n_sources=633
    )
    return replace(
        records,
        network=build_network(n_members=2, views="flips", stages=(), best_epoch=None),
        provenance=build_provenance(seeds=(1, 2)),
        data=replace(records.data, audit=audit, n_boxed=7, columns=()),
        evaluation=evaluation, evaluations=None, validation=None,
        trust=build_trust(policy=policy, reference=None),
        robustness=build_robustness({"blur": 0.065}, decides=False),
    )  # fmt: skip


def leak(records, *, rest=True):
    """The same run on a leaking split; without `rest` too few images have no duplicate."""
    left = build_leak(
        n_duplicates=500, n_images=133, n_sources=20,
        figures=dict.fromkeys(records.evaluation.figures, bound(0.7123)),
        baselines={"majority": bound(0.31), "colour_histogram": bound(0.32)},
    )  # fmt: skip
    leaking = replace(
        records.evaluation, leakage_status="leaking", leak=left if rest else NO_FIGURE
    )
    trust = build_trust(reference=build_reference(leakage_status="leaking"))
    return replace(
        records, evaluation=leaking, evaluations={"other_lab": leaking}, trust=trust,
        robustness=replace(records.robustness, leakage_status="leaking"),
    )  # fmt: skip


def render_all(records):
    """Card, CLAIM and TRIPOD+AI in Markdown."""
    return [
        render_card(build_document("model_card", records)),
        render_checklist(build_document("claim", records)),
        render_checklist(build_document("tripod_ai", records)),
    ]


def find_answers(records, name="model_card"):
    """The answers of one document by id."""
    return {answer.id: answer for answer in build_document(name, records).answers}
