"""Records of a made-up run for its model card, every figure of which can be told apart."""

import copy
from dataclasses import replace

from leukoscope.report.card_records import CardRecords
from leukoscope.report.model_card import build_document, render_card, render_checklist

CLASSES = ["basophil", "immature_granulocyte", "neutrophil"]


def figure(value, **more):
    return {"value": value, "low": value - 0.02, "high": min(1.0, value + 0.01), **more}


def build_records():
    """A made-up run, every figure of which can be told apart."""
    recalls = dict(zip(CLASSES, (0.971, 0.851, 0.961), strict=True))
    metrics = {
        name: figure(0.9 + i / 1000)
        for i, name in enumerate(("balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc"))
    } | {
        "accuracy": figure(0.9432),
        "per_class": {
            name: {
                "recall": figure(recall),
                "precision": figure(recall - 0.1),
                "specificity": figure(recall + 0.005),
                "n_images": 210 + k,
                "n_sources": 31 + k,
            }
            for k, (name, recall) in enumerate(recalls.items())
        },
        "classes": CLASSES,
        "confusion": [[200, 7, 3], [17, 190, 4], [1, 2, 209]],
        "data": "smears",
        "role": "test",
        "n_images": 633,
        "n_sources": 96,
        "source_known": True,
        "leakage_status": "disjoint",
        "leakage_sentences": [],
        "warnings": [],
        "baselines": {
            "majority": {"accuracy": figure(0.334), "description": "Answers one name."},
            "colour_histogram": {"accuracy": figure(0.612), "description": "Sees colours."},
        },
    }
    counts = {name: 1000 + k for k, name in enumerate(CLASSES)}
    few = {"basophil": 12, "immature_granulocyte": 41, "neutrophil": 57}
    return CardRecords(
        recipe={
            "name": "quick",
            "augment": {"flip": True, "rotate_deg": 20.0, "mixup": 0.0},
            "optim": {
                "lr": 0.002,
                "weight_decay": 0.02,
                "schedule": "cosine",
                "class_weights": "none",
            },
            "train": {"epochs": 4, "batch_size": 32, "precision": "fp32", "select": "accuracy"},
        },
        provenance={
            "leukoscope": "0.1.0",
            "python": "3.11.7",
            "cores": 2,
            "packages": {"torch": "2.13.0"},
            "command": ["leukoscope", "train", "/home/ann/split.csv", "--out=/srv/runs/first"],
            "recipe_hash": "eb56bca3e0ead197",
            "split_sha256": "5" * 64,
            "seed": 43,
        },
        model={
            "classes": CLASSES,
            "input": {"image_size": 128, "resize": "stretch", "interpolation": "bilinear"},
            "spec": {
                "name": "coatnet-pico",
                "image_size": 128,
                "stages": [{"kind": "mbconv", "depth": 2}],
            },
            "best_epoch": 3,
            "sha256": "a" * 64,
        },
        data={
            "name": "smears",
            "protocol": "grouped",
            "seed": 44,
            "classes": CLASSES,
            "counts": {
                "train": counts,
                "val": {},
                "calib": {},
                "test": dict.fromkeys(CLASSES, 211),
            },
            "sources": {"train": few, "test": dict.fromkeys(CLASSES, 32)},
            "n_sources": {"train": 110, "val": 0, "calib": 0, "test": 96},
            "sources_known": True,
            "n_left_aside": 5,
            "n_boxed": 0,
            "width_px": [192, 192],
            "height_px": [180, 200],
            "columns": ["scanner"],
            "warnings": ["5 images are left aside by protocol grouped."],
        },
        metrics=metrics,
        evaluations={"other_lab": {**copy.deepcopy(metrics), "data": "elsewhere"}},
        history=[{"Epoch": k, "Seconds": 90.0} for k in (1, 2, 3, 4)],
        trust={
            "asked": {"alpha": 0.05, "target_accuracy": 0.995},
            "policy": {
                "calibration": {"method": "temperature"},
                "sets": {"method": "lac", "class_conditional": True},
                "quality": {"limit": 8.5},
                "max_distance": 418.9,
                "min_confidence": 0.9547,
                "always_review": ["basophil"],
            },
            "n_calib": 777,
            "weights_sha256": "a" * 64,
            "notes": ["A note of calibration."],
            "reference": {
                "data": "smears",
                "leakage_status": "disjoint",
                "n_images": 633,
                "n_sources": 96,
                "source_known": True,
                "accuracy": figure(0.9512),
                "ece": 0.004,
                "ece_raw": 0.031,
                "coverage": 0.9531,
                "mean_set_size": 1.07,
                "accepted": figure(0.7712),
                "accepted_accuracy": figure(0.9932),
                "review_frac": 0.2162,
                "unknown_frac": 0.0126,
            },
        },
        bundle={
            "network": "coatnet-pico",
            "default": "fp32",
            "variants": {
                "fp32": {
                    "bytes": 7544843,
                    "sha256": "f" * 64,
                    "parity": {
                        "images": 2000,
                        "max_logit_difference": 9.5e-6,
                        "decisions_changed": 3,
                        "outcomes_changed": 4,
                    },
                }
            },
            "reference_set": "2,000 images",
        },
        robustness={
            "data": "smears",
            "n_images": 417,
            "levels": [
                {
                    "corruption": fault,
                    "severity": k,
                    "accuracy": figure(right),
                    "accepted_wrong": wrong,
                }
                for fault, k, right, wrong in (
                    ("blur", 0, 0.941, 0.004),
                    ("blur", 5, 0.613, 0.011),
                    ("noise", 0, 0.941, 0.004),
                    ("noise", 5, 0.887, 0.071),
                )
            ],
            "mean_loss": {"blur": 0.152, "noise": 0.023},
        },
        validation={
            "data": "third_lab",
            "acceptance": "fail",
            "criteria": [{"outcome": "not_met"}],
            "n_images": 192,
            "n_sources": 58,
            "source_known": True,
            "figures": {"accuracy": figure(0.881)},
            "comparison": {
                "accuracy": {"difference": {"value": -0.062, "low": -0.091, "high": -0.033}}
            },
            "subgroups": [
                {
                    "column": "instrument",
                    "n_shared_sources": 3,
                    "groups": [
                        {
                            "value": "old",
                            "n_images": 97,
                            "accuracy": figure(0.921),
                            "difference": {"value": 0.01, "low": -0.02, "high": 0.04},
                            "accepted": figure(0.989),
                            "accepted_difference": {"value": 0.1, "low": 0.05, "high": 0.2},
                        },
                        {
                            "value": "new",
                            "n_images": 95,
                            "accuracy": figure(0.842),
                            "difference": {"value": -0.09, "low": -0.14, "high": -0.03},
                        },
                    ],
                }
            ],
        },
        explained={
            "methods": ["gradcam", "occlusion"],
            "results": [
                {
                    "method": "gradcam",
                    "deletion": {"n": 83},
                    "warnings": ["It marks the same with random weights."],
                    "notes": [],
                },
                {"method": "occlusion", "deletion": {"n": 84}, "warnings": [], "notes": ["Slow."]},
            ],
            "notes": ["Two images stay out."],
        },
    )


def recalibrate(records):
    """The card of a bundle that was fitted to cells of a laboratory: no run is left."""
    trust = copy.deepcopy(dict(records.trust)) | {
        "n_calib": 96,
        "n_calib_sources": 47,
        "arrays_sha256": "c" * 64,
    }
    trust["reference"] |= {
        "data": "lab",
        "leakage_status": "local",
        "n_images": 94,
        "n_sources": 48,
    }
    again = [{"data": "older", "n_fit": 5}, {"data": "lab", "n_fit": 96}]
    bundle = {**records.bundle, "trust": trust, "provenance": {"recalibrated": again}}
    model = {key: value for key, value in records.model.items() if key != "spec"}
    return CardRecords(
        recipe=records.recipe, provenance=records.provenance, model=model, trust=trust,
        bundle=bundle,
    )  # fmt: skip


def leak(records, *, rest=True):
    """The same run on a leaking split."""
    metrics = copy.deepcopy(records.metrics)
    metrics["leakage_status"] = "leaking"
    metrics["accuracy"] |= {
        "leaked": True,
        "n_with_copy_in_training": 500,
        "source_disjoint": {
            "accuracy": figure(0.7123),
            "n_images": 133,
            "n_sources": 20,
            "baselines": {"majority": figure(0.31)},
        }
        if rest
        else None,
        "source_disjoint_reason": None if rest else "every image has a copy in training",
    }
    trust = copy.deepcopy(records.trust)
    trust["reference"]["leakage_status"] = "leaking"
    return replace(records, metrics=metrics, trust=trust, evaluations={"other_lab": metrics})


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
