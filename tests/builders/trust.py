"""Invented records of trust; no tests."""

import numpy as np

from leukoscope.evaluation.intervals import wilson
from leukoscope.interval import Interval
from leukoscope.trust.calibration import CalibrationChoice
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import Reason
from leukoscope.trust.notes import Note
from leukoscope.trust.record import Reference

CHOICE = CalibrationChoice("temperature", 0, 400, 400)

REASONS = (
    Reason("not_finite"),
    Reason("unlike_training", {"distance": 4.25, "max_distance": 2.5}),
    Reason(
        "poor_quality",
        {"feature": "sharpness", "side": "low", "value": 0.1, "usual_low": 0.3, "usual_high": 0.9},
    ),
    Reason(
        "poor_quality",
        {
            "feature": "cell_frac",
            "side": "combination",
            "value": 0.4,
            "usual_low": 0.2,
            "usual_high": 0.6,
        },
    ),
    Reason("several_labels", {"labels": ("Blast; L1", "Blast (L1)", "a/b | c")}),
    Reason("no_threshold"),
    Reason("low_confidence", {"confidence": 0.8996, "min_confidence": 0.9001}),
    Reason("always_review", {"label": "confidence 1 % below 2 %"}),
    Reason("members_disagree", {"disagreement_nats": 0.31, "max_disagreement_nats": 0.2}),
    Reason("costly_mistake", {"expected_cost": 0.6, "review_cost": 0.5}),
)
"""One of each code, with labels that look like words of ours."""


NOTES = (
    Note(
        "few_sources_for_label",
        {"label": "Blast; L1", "n_sources": 5, "n_needed": 19, "nominal": 0.95},
    ),
    Note(
        "few_sources_for_label",
        {"label": "<script>", "n_sources": 0, "n_needed": 19, "nominal": 0.95},
    ),
    Note("alpha_chosen", {"alpha": 0.02, "n_wrong": 19, "n_several": 14}),
    Note("alpha_chosen", {"alpha": 0.02, "n_wrong": 19, "n_several": 4}),
    Note("alpha_chosen", {"alpha": 0.01, "n_wrong": 0, "n_several": 0}),
    Note(
        "sets_range",
        {"label": "a/b", "n_sources": 70, "nominal": 0.98, "low": 0.94, "high": 0.999},
    ),
    Note("sets_range", {"label": "", "n_sources": 70, "nominal": 0.98, "low": 0.94, "high": 0.999}),
    Note("sets_without_range", {"nominal": 0.98}),
    Note("sets_of_one_label", {"n_images": 1200, "n_wrong": 19}),
    Note("few_sources_for_bias", {"labels": ("Blast (L1)", "a/b"), "n_needed": 5}),
    Note("few_sources_for_rejection", {"n_sources": 30, "nominal": 0.01, "reject_frac": 1 / 31}),
    Note("every_label_reviewed"),
    Note(
        "calibration_accepts",
        {
            "n_images": 1200,
            "n_accepted": 1000,
            "n_wrong": 4,
            "wrong_bound": 0.0091,
            "target": 0.995,
            "confidence": 0.0,
        },
    ),
    Note(
        "calibration_accepts",
        {
            "n_images": 1200,
            "n_accepted": 700,
            "n_wrong": 0,
            "wrong_bound": 0.0043,
            "target": 0.995,
            "confidence": 0.95,
        },
    ),
    Note(
        "no_confidence_suffices",
        {"n_images": 1200, "n_sources": 60, "n_needed": 140, "target": 0.995, "confidence": 0.95},
    ),
    Note(
        "no_confidence_suffices",
        {"n_images": 1200, "n_sources": 60, "n_needed": 0, "target": 0.995, "confidence": 0.0},
    ),
    Note("sets_not_refitted", {"n_sources": 5, "n_needed": 19, "label": "Blast; L1"}),
    Note("sets_not_refitted", {"n_sources": 12, "n_needed": 19, "label": ""}),
    Note("confidence_not_refitted", {"n_sources": 60, "n_needed": 199, "target": 0.995}),
    Note("labels_absent", {"labels": ("Blast; L1", "a/b")}),
    Note("recalibrated", {"n_images": 94, "n_sources": 40, "data": "lab; a/b", "n_reference": 96}),
    Note("calibration_leaks"),
    Note("calibration_unproven"),
)
"""One of each code, with awkward labels."""


def build_reference(**changes):
    """The reference of three classes, 100 cells each."""
    confusion = np.array([[95, 5, 0], [0, 90, 10], [0, 0, 100]])
    true_K, said_K, hit_K = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    rest_K = confusion.sum() - true_K
    content = {
        "data": "pbc", "role": "test", "leakage_status": "disjoint", "n_images": 300,
        "n_sources": 300, "source_known": True, "confusion": confusion.tolist(),
        "accuracy": Interval(0.95, 0.92, 0.97),
        "recall": tuple(map(wilson, hit_K.tolist(), true_K.tolist())),
        "specificity": tuple(map(wilson, (rest_K - said_K + hit_K).tolist(), rest_K.tolist())),
        "ece": 0.02, "ece_raw": 0.05, "sets": DeliveredSets(0.97, 0.96, 1.1, 0.08, 15, 0.6),
        "accepted": Interval(0.8, 0.75, 0.85), "accepted_accuracy": Interval(0.99, 0.97, 1.0),
        "errors": AcceptedErrors(240, 2, 0.026),
        "class_accepted": tuple(map(wilson, (90, 60, 90), (100, 100, 100))),
        "accepted_correlation": 0.0, "review_frac": 0.15, "unknown_frac": 0.05,
    }  # fmt: skip
    return Reference(**(content | changes))
