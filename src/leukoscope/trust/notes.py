"""A fact as a code with its values; `report.note_words` has the sentence of each.

What this file does not do: it finds no fact and words none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Value = int | float | str | tuple[str, ...]
Values = Mapping[str, Value]
"""Figures and labels by name; where a figure has a unit, the name ends with it."""

NoteCode = Literal[
    # of a fit
    "few_sources_for_label",
    "alpha_chosen",
    "sets_range",
    "sets_without_range",
    "sets_of_one_label",
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
    # of the images that figures are measured on
    "training_images",
    "epoch_chosen_here",
    "thresholds_fitted_here",
    "images_in_training",
    "duplicates_in_sample",
    "training_unknown",
    "duplicates_not_excluded",
    "baseline_as_good",
    "shortcut_as_good",
    "baseline_not_beaten",
    "classes_never_found",
    "persons_not_recorded",
    "unknown_classes",
    "other_parts_left_out",
    "files_rejected",
    "cells_located",
    "test_part_left_aside",
    "costs_change_labels",
    "large_source",
    "large_source_of_labels",
    "trust_fitted_here",
    "trust_without_duplicates",
    "trust_leaked",
    "trust_shifted",
    # of a validation
    "cells_seen_before",
    # of a differential
    "critical_cells",
    "nothing_counted",
    "few_white_cells",
    "appearance_differs",
    "many_unidentified",
    "nucleated_red_not_known",
    "white_count_corrected",
    "no_correction",
    "few_calibration_cells",
    "precision_out_of_reach",
]
NOTE_CODES: tuple[NoteCode, ...] = get_args(NoteCode)


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader has to know besides the figures: a code, and its values by name.

    Of a fit:

    - `few_sources_for_label`: `label` has `n_sources` where `n_needed` are needed for the coverage
      `nominal` (0 to 1); it shares a threshold.
    - `alpha_chosen`: the level of the sets; of `n_wrong` misclassified calibration images
      `n_several` get two labels or more.
    - `sets_range`: the coverage `nominal` (0 to 1) is that of the average over calibration sets;
      with this one that of `label` ("" for all), on `n_sources`, lies between `low` and `high` in
      95 of 100 cases. `sets_without_range`: no class has a threshold of its own.
    - `sets_of_one_label`: no set of `n_images` holds two labels; `n_wrong` are misclassified.
    - `few_sources_for_bias`: `labels` have fewer than `n_needed` sources; no bias was fitted.
    - `few_sources_for_rejection`: `n_sources` cannot show the share `nominal` of each of the two
      checks; each may reject `reject_frac`.
    - `every_label_reviewed`: the recipe sends all cells to a person.
    - `calibration_accepts`: of `n_images`, `n_accepted` are accepted, `n_wrong` of them
      misclassified, with 95 % confidence at most `wrong_bound`; the accuracy `target` was wanted,
      with the `confidence` of a guarantee or on average (0).
    - `no_confidence_suffices`: none reaches `target` on `n_images` of `n_sources`, where about
      `n_needed` would be needed (0: no number would do); `confidence` as before.
    - `sets_not_refitted`: `n_sources` where `n_needed` are needed, of `label` ("" for all).
    - `confidence_not_refitted`: `n_sources` do not show `target`; `n_needed` as before.
    - `labels_absent`: no cell of `labels` was fitted to.
    - `recalibrated`: on `n_images` of `n_sources` of `data`; the reference is `n_reference` others.
    - `calibration_leaks`, `calibration_unproven`: duplicates of calibration images in training are
      there, or cannot be excluded.

    Of the images that figures are measured on:

    - `training_images`, `epoch_chosen_here`, `thresholds_fitted_here`: what else they served for.
    - `images_in_training`: `n` also lie in training. `duplicates_in_sample`: `n` of `n_images` have
      a duplicate there. `training_unknown`: a bundle carries no training images.
      `duplicates_not_excluded`: of those of `data` only identical pictures would have been found.
    - `baseline_as_good`, `shortcut_as_good`: `baseline` reaches `accuracy` where the network
      reaches `network`; a sign of duplicates, or of images that can be told apart without looking
      at cells.
    - `baseline_not_beaten`: the network is not shown to be better than `baseline`, image by image;
      `gap` is the difference of the accuracies (`network`, `accuracy`), from `low` to `high` where
      there are bounds; `is_worse` is 1 where it is shown to be worse.
    - `classes_never_found`: of the `n` images of `labels` none was recognised.
    - `persons_not_recorded`: pictures were compared, persons are not known.
    - Left out are `n` images: of classes (`labels`) that the network does not know, of other parts
      than `role`, rejected files, the data's own test part.
    - `cells_located`: of `n_images` small fields the square around the white cell was cut out; it
      lies around the only whole cell (`n_cell`), one of several (`n_several`), one that the edge
      cuts (`n_cut`), an annotated one (`n_given`), the largest nucleus where no cell was found
      (`n_nucleus`), or is the whole field where nothing is stained so (`n_field`).
    - `large_source`: one source has the `share` of all images. `large_source_of_labels`: of the
      images of each of `labels` one source has more than `limit`, up to `share`.
    - `costs_change_labels`: of `n` of `n_images`; of all labels the share `accuracy` is correct.
    - Figures of trust are measured on the images that calibration was fitted on
      (`trust_fitted_here`); on `n` of `n_images` without a duplicate in training or calibration;
      although `n` of `n_images` have one (`trust_leaked`); on images that differ from those of
      calibration by `gap` of cumulative shares, `p_value` (`trust_shifted`).

    Of a validation: `cells_seen_before`, `n` of `n_images` cells were in the one that lay in the
    same folder, and it was not said that this is a further look.

    Of a differential:

    - `critical_cells`: `n` cells were given one of `labels`, which are not to be overlooked.
    - `nothing_counted`: none of `n_cells` is an identified white cell. `few_white_cells`: there are
      `n`, fewer than the `n_needed` of a differential at the bench.
    - `appearance_differs`: the `share` of cells that are accepted is below what is `expected` of
      these classes. `many_unidentified`: `n` of `n_cells` are unlike the cells of training.
    - `nucleated_red_not_known`: the network knows no such class, so the white count stays.
      `white_count_corrected`: from `given` to `corrected` (10^9/L), as there are `per_100`
      nucleated red cells per 100 white ones.
    - `no_correction`: the bundle does not say how its network calls known cells; `is_calibrated` is
      1 where it was calibrated before that was kept.
    - `few_calibration_cells`: of `labels` there are fewer than `n_needed` independent ones.
    - `precision_out_of_reach`: no number of cells brings the intervals of `labels` to half a length
      of `precision` (a share).
    """

    code: NoteCode
    values: Values = field(default_factory=dict)
