"""Sentences for the reasons of a decision: why a cell is not accepted.

Light: pages, tables and terminal all word decisions here. What this file does not do: it decides
nothing (`trust.decision`) and counts nothing (`evaluation.decisions`).
"""

import math
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from leukoscope.labels import display_label
from leukoscope.text import NO_INTERVAL, format_count, format_percent
from leukoscope.trust.confidence import AcceptedErrors
from leukoscope.trust.conformal import DeliveredSets
from leukoscope.trust.decision import Reason, ReasonCode

if TYPE_CHECKING:
    from leukoscope.evaluation.decisions import ReasonCount

REASON_NAMES: Mapping[ReasonCode, str] = {
    "not_finite": "no finite scores",
    "unlike_training": "unlike any cell in training",
    "poor_quality": "unusual image",
    "several_labels": "several labels fit",
    "no_threshold": "no confidence suffices",
    "low_confidence": "confidence too low",
    "always_review": "class that is always reviewed",
    "members_disagree": "the networks disagree",
    "costly_mistake": "a mistake would cost more than a review",
}
"""What a reason is called where images are counted by it."""

_SMALLER = "cells smaller than in training (other magnification?)"
_LARGER = "cells larger than in training (other magnification?)"

FEATURE_WORDS: Mapping[str, tuple[str, str, str]] = {
    "sharpness": ("sharpness", "out of focus", "grainy or too sharp"),
    "noise": ("noise", "too smooth", "noisy"),
    "brightness": ("brightness of the background", "too dark", "too bright"),
    "black_frac": ("black pixels", "no black pixels", "black areas"),
    "saturated_frac": ("saturated pixels", "less light", "over-exposed"),
    "ground_red": ("its red to green", "background less red", "background redder"),
    "ground_blue": ("its blue to green", "background yellower", "background bluer"),
    "contrast": ("contrast", "too little contrast", "too much contrast"),
    "stain_depth": ("optical density", "stain paler", "stain deeper"),
    "nucleus_red_frac": ("red absorbed", "nuclei redder", "nuclei bluer"),
    "nucleus_blue_frac": ("blue absorbed", "nuclei more violet", "nuclei browner"),
    "cell_red_frac": ("red absorbed", "cells redder", "cells bluer"),
    "cell_blue_frac": ("blue absorbed", "cells more violet", "cells browner"),
    "colour_spread": ("colour spread", "colours poorer", "colours richer"),
    "cell_frac": ("area covered by cells", "field emptier", "field more crowded"),
    "nucleus_size_frac": ("width of the nucleus", _SMALLER, _LARGER),
    "cell_chord_frac": ("chord of the cells", _SMALLER, _LARGER),
    "nucleus_chord_frac": ("chord of the nucleus", "nuclei finer", "nuclei coarser"),
    "off_centre_frac": ("nucleus off by", "cell more central", "cell not in the middle"),
}
"""What a feature of quality is called, and what it means to lie below or above training."""

_FEATURE_TITLES = {
    "ground_red": "red of the background",
    "ground_blue": "blue of the background",
    "stain_depth": "depth of the stain",
    "nucleus_red_frac": "red in the nucleus",
    "nucleus_blue_frac": "blue in the nucleus",
    "cell_red_frac": "red in the cells",
    "cell_blue_frac": "blue in the cells",
    "off_centre_frac": "distance of the nucleus from the centre",
}
"""Names that can stand alone, where the name beside a value cannot."""

_COMBINATION = "unusual combination"

_Words = Mapping[str, Any]


def name_feature(feature: str) -> str:
    """Return what a feature of quality is called where it stands alone.

    >>> name_feature("nucleus_red_frac"), name_feature("sharpness"), name_feature("hue_shift")
    ('red in the nucleus', 'sharpness', 'hue shift')
    """
    known = FEATURE_WORDS.get(feature, (feature.replace("_", " "),))
    return _FEATURE_TITLES.get(feature, known[0])


def describe_reasons(reasons: Sequence[Reason]) -> str:
    """Return why a cell is not accepted, in one line; "" where there is no reason.

    >>> describe_reasons([Reason("low_confidence", {"confidence": 0.9, "min_confidence": 0.95}),
    ...                   Reason("several_labels", {"labels": ("band_neutrophil", "a; b")})])
    'confidence 90.0 % below 95.0 %; could be Band neutrophil or A; b'
    """
    return "; ".join(describe_reason(one) for one in reasons)


def describe_reason(reason: Reason) -> str:
    """Return one reason in words, without a full stop."""
    v: _Words = reason.values
    match reason.code:
        case "not_finite":
            return "the network gave no finite scores"
        case "unlike_training":
            return (
                f"unlike any cell in training (distance {v['distance']:.3g}, threshold"
                f" {v['max_distance']:.3g})"
            )
        case "poor_quality":
            return _describe_quality(v)
        case "several_labels":
            *most, last = (display_label(label) for label in v["labels"])
            return f"could be {', '.join(most)} or {last}"
        case "no_threshold":
            return "no confidence reaches the target accuracy"
        case "low_confidence":
            # Rounded so that the two never read alike.
            found, least = floor(1000 * v["confidence"]), ceil(1000 * v["min_confidence"])
            return f"confidence {found / 10:.1f} % below {least / 10:.1f} %"
        case "always_review":
            return f"{display_label(v['label'])} is always reviewed"
        case "members_disagree":
            return (
                f"the networks disagree ({v['disagreement_nats']:.2g} nats, threshold"
                f" {v['max_disagreement_nats']:.2g})"
            )
        case "costly_mistake":
            return "a mistake would cost more than a review"


def describe_errors(errors: AcceptedErrors) -> str:
    """Say how many of the accepted images are misclassified, and how many it may be; "" where none
    is accepted.

    >>> describe_errors(AcceptedErrors(1050, 2, 0.006))
    '2 of 1,050 accepted are misclassified: with 95 % confidence at most 0.6 %'
    >>> describe_errors(AcceptedErrors(90, 1, math.nan))
    '1 of 90 accepted is misclassified (no interval: too few sources)'
    """
    if not errors.n_accepted:
        return ""
    are = "is" if errors.n_wrong == 1 else "are"
    counts = f"{errors.n_wrong:,} of {errors.n_accepted:,} accepted {are} misclassified"
    if math.isnan(errors.bound):
        return f"{counts} ({NO_INTERVAL})"
    return f"{counts}: with 95 % confidence at most {format_percent(errors.bound)}"


def describe_sets(sets: DeliveredSets, nominal: float) -> str:
    """Say how often the sets that users get hold the right label, what is guaranteed, and how many
    name a choice.

    >>> describe_sets(DeliveredSets(0.99, 0.98, 1.1, 0.08, 20, 0.75), 0.98)[:61]
    'The prediction set holds the right label for 99.0 % of cells '
    """
    raw = ""
    if sets.coverage_raw != sets.coverage:
        raw = f" ({format_percent(sets.coverage_raw)} without the given label added)"
    text = (
        f"The prediction set holds the right label for {format_percent(sets.coverage)} of cells"
        f"{raw}; the guarantee is {100 * nominal:.4g} % on average over calibration sets. "
    )
    if not sets.several_frac:
        return f"{text}Every set is the one label: the sets say no more than it does."
    several = f"{format_percent(sets.several_frac)} of sets name two labels or more"
    if sets.n_wrong:
        wrong = format_count(sets.n_wrong, "misclassified cell")
        several += f", of the {wrong} {format_percent(sets.wrong_several_frac)}"
    return f"{text}{several}."


def name_reason(count: "ReasonCount") -> str:
    """Return what images of a count have in common.

    >>> from leukoscope.evaluation.decisions import ReasonCount
    >>> name_reason(ReasonCount("poor_quality", 3, "sharpness", "low"))
    'out of focus'
    """
    if count.code != "poor_quality":
        return REASON_NAMES[count.code]
    return _name_side(count.feature, count.side)


def _name_side(feature: str, side: str) -> str:
    if side == "combination":
        return _COMBINATION
    _, low, high = FEATURE_WORDS[feature]
    return low if side == "low" else high


def _describe_quality(v: _Words) -> str:
    unit = " %" if v["feature"].endswith("_frac") else ""
    scale = 100 if unit else 1
    value, low, high = (f"{scale * v[k]:.3g}" for k in ("value", "usual_low", "usual_high"))
    return (
        f"{_name_side(v['feature'], v['side'])}: {FEATURE_WORDS[v['feature']][0]} {value}{unit},"
        f" in training {low} to {high}{unit}"
    )
