"""A fact as a code with its values; the sentence is made in `report.decision_words`.

What this file does not do: it finds no fact and words none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = int | float | str | tuple[str, ...]
Values = Mapping[str, Value]
"""Figures and labels by name; where a figure has a unit, the name ends with it."""

NoteCode = Literal[
    "few_sources_for_label",
    "few_sources_for_bias",
    "few_sources_for_rejection",
    "every_label_reviewed",
    "calibration_accepts",
    "no_confidence_suffices",
    "sets_not_refitted",
    "confidence_not_refitted",
    "labels_absent",
    "recalibrated",
    "calibration_leaks",
    "calibration_unproven",
]


@dataclass(frozen=True)
class Note:
    """What a reader has to know of a fit.

    - `few_sources_for_label`: `label` has `n_sources` where `n_needed` are needed for the coverage
      `nominal` (0 to 1); it shares a threshold.
    - `few_sources_for_bias`: `labels` have fewer than `n_needed` sources; no bias was fitted.
    - `few_sources_for_rejection`: `n_sources` cannot show the share `nominal` of each of the two
      checks; each may reject `reject_frac`.
    - `every_label_reviewed`: the recipe sends all cells to a person.
    - `calibration_accepts`: of `n_images`, `n_accepted` are accepted, `n_wrong` of them
      misclassified; the accuracy `target` was wanted.
    - `no_confidence_suffices`: none reaches `target` on `n_images`.
    - `sets_not_refitted`: `n_sources` where `n_needed` are needed, of `label` ("" for all).
    - `confidence_not_refitted`: `n_sources` do not show `target`.
    - `labels_absent`: no cell of `labels` was fitted to.
    - `recalibrated`: on `n_images` of `n_sources` of `data`; the reference is `n_reference` others.
    - `calibration_leaks`, `calibration_unproven`: duplicates of calibration images in training are
      there, or cannot be excluded.
    """

    code: NoteCode
    values: Values = field(default_factory=dict)
