"""What `validation.json` holds of a validation.

What this file does not do: it computes nothing and writes no file (`pipelines.validate`).
"""

import math

from leukoscope.evaluation.recalibration import Recalibration
from leukoscope.evaluation.validation import Validation
from leukoscope.report.validation_words import list_advice, word_headline


def validation_to_json(v: Validation) -> dict[str, object]:
    """Return what `validation.json` holds: only numbers, strings, lists and None, never NaN."""
    home = v.home
    shift = v.shift
    return {
        "bundle": v.bundle_name,
        "data": v.data_name,
        "acceptance": v.acceptance,
        "headline": word_headline(v),
        "advice": list(list_advice(v)),
        "limits": [
            {
                "limit": one.limit.key,
                "wanted": one.limit.wanted,
                "figure": one.figure.to_dict() if one.figure else None,
                "outcome": one.outcome,
                "reason": one.reason,
                "cells_needed": one.needed,
            }
            for one in v.judged
        ],
        "n_images": v.n_images,
        "n_sources": v.n_sources,
        "source_known": v.source_known,
        "classes": list(v.classes),
        "classes_absent": list(v.absent),
        "figures": {name: figure.to_dict() for name, figure in v.figures.items()},
        "kappa_note": v.kappa_note,
        "overconfidence": v.overconfidence.to_dict(),
        "mean_set_size": _number(v.set_size),
        "promised_coverage": _number(v.promised_coverage),
        "confusion": [list(row) for row in v.confusion],
        "foreign": [
            {
                "class": one.name,
                "n_images": one.n_images,
                "called": dict(one.called),
                "accepted": one.accepted,
            }
            for one in v.foreign
        ],
        "no_home": v.no_home or None,
        "home": None
        if home is None
        else {
            "data": home.data,
            "leakage_status": home.leakage_status,
            "n_images": home.n_images,
            "n_sources": home.n_sources,
            "accuracy": home.accuracy.to_dict(),
            "ece": _number(home.ece),
            "coverage": _number(home.coverage),
            "accepted": home.accepted.to_dict(),
            "accepted_accuracy": home.accepted_accuracy.to_dict(),
        },
        "against_home": {
            "accuracy": v.accuracy_against_home.difference.to_dict()
            if v.accuracy_against_home
            else None,
            "expected_accuracy": v.expected_accuracy.to_dict() if v.expected_accuracy else None,
            "mixture": v.mixture.to_dict() if v.mixture else None,
            "recognition": v.recognition.to_dict() if v.recognition else None,
            "per_class": {
                one.name: {
                    "n_images": one.n_images,
                    "sensitivity_home": one.sensitivity.there.to_dict(),
                    "sensitivity_difference": one.sensitivity.difference.to_dict(),
                    "sensitivity_p_value": _number(one.sensitivity.p_value),
                    "specificity_home": one.specificity.there.to_dict(),
                    "specificity_difference": one.specificity.difference.to_dict(),
                    "specificity_p_value": _number(one.specificity.p_value),
                }
                for one in v.per_class
            },
        },
        "readers": [
            {
                "name": one.name,
                "n_images": one.n_images,
                "network": one.network.to_dict(),
                "reader": one.reader.to_dict(),
                "both": one.test.both,
                "network_only": one.test.first_only,
                "reader_only": one.test.second_only,
                "neither": one.test.neither,
                "difference": one.test.difference.to_dict(),
                "p_value": one.test.p_value,
                "kappa": one.kappa.to_dict(),
            }
            for one in v.readers
        ],
        "shift": {
            "reason": shift.reason or None,
            "classes_matched": shift.matched,
            "separation": shift.separation.to_dict() if shift.separation else None,
            "energy_coefficient": shift.energy.coefficient if shift.energy else None,
            "energy_p_value": shift.energy.p_value if shift.energy else None,
            "features": [
                {
                    "name": one.name,
                    "home_median": one.home_median,
                    "here_median": one.here_median,
                    "effect": one.effect if math.isfinite(one.effect) else None,
                    "outside": one.outside.to_dict(),
                }
                for one in shift.features
            ],
        },
        "subgroups": [
            {
                "column": table.column,
                "note": table.note or None,
                "groups": [
                    {
                        "value": one.value,
                        "n_images": one.n_images,
                        "n_sources": one.n_sources,
                        "accuracy": one.accuracy.to_dict(),
                        "expected_accuracy": one.expected,
                        "difference_to_rest": one.difference.to_dict(),
                        "stands_out": one.stands_out,
                        "accepted": one.accepted.to_dict(),
                        "accepted_difference_to_rest": one.accepted_difference.to_dict(),
                        "accepted_stands_out": one.accepted_stands_out,
                        "rejected": one.rejected.to_dict(),
                    }
                    for one in table.groups
                ],
            }
            for table in v.subgroups
        ],
        "half_width": v.half_width,
        "sizes": [
            {
                "class": one.name,
                "n_images": one.n_images,
                "expected_sensitivity": one.expected,
                "basis": one.basis,
                "design_effect": one.design_effect,
                "needed": one.needed,
            }
            for one in v.sizes
        ],
        "recalibration": _recalibration_to_json(v.recalibration),
        "unreadable": [list(one) for one in v.unreadable],
        "missing": list(v.missing),
        "warnings": list(v.warnings),
        "provenance": dict(v.provenance),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _recalibration_to_json(found: Recalibration | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "bundle": found.bundle or None,
        "reason": found.reason or None,
        "n_fit": found.n_fit,
        "n_fit_sources": found.n_fit_sources,
        "n_judged": found.n_judged,
        "n_judged_sources": found.n_judged_sources,
        "before": {name: figure.to_dict() for name, figure in found.before.items()},
        "after": {name: figure.to_dict() for name, figure in found.after.items()},
        "gain_log_loss": found.gain_log_loss.to_dict(),
        "notes": list(found.notes),
    }
