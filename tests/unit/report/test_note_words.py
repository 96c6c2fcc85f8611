"""Every code has its sentence; whatever a label holds, it comes through."""

import pytest
from tests.builders.trust import NOTES

from leukoscope.errors import RunError
from leukoscope.report.note_words import describe_note
from leukoscope.trust.notes import NOTE_CODES, Note

VALUES = {
    "n": 2,
    "n_images": 40,
    "n_sources": 5,
    "n_needed": 19,
    "n_accepted": 30,
    "n_wrong": 1,
    "n_reference": 20,
    "n_several": 1,
    "alpha": 0.05,
    "low": 0.9,
    "high": 0.99,
    "wrong_bound": 0.002,
    "confidence": 0.95,
    "nominal": 0.95,
    "target": 0.995,
    "reject_frac": 0.05,
    "data": "far; {lab}",
    "baseline": "colour_histogram",
    "accuracy": 0.999,
    "network": 0.994,
    "label": "{n} <script>",
    "labels": ("Blast; L1", "a/b", "{labels!r}"),
    "role": "test",
    "gap": 0.4,
    "share": 0.6,
    "limit": 0.25,
    "p_value": 1e-9,
    "is_worse": 0,
    "n_cells": 40,
    "expected": 0.9,
    "given": 12.0,
    "corrected": 10.0,
    "per_100": 20.0,
    "is_calibrated": 1,
    "precision": 0.05,
}


@pytest.mark.parametrize("code", NOTE_CODES)
def test_every_note_is_a_sentence(code):
    said = describe_note(Note(code, VALUES))
    assert said[0].isupper() or said[0].isdigit() or said.startswith(("trust.", "{n}"))
    assert said.endswith(".")


def test_one_cell_that_was_missed_is_not_one_of_one():
    said = describe_note(Note("classes_never_found", {"n": 1, "labels": ("basophil",)}))
    assert said == "The only image of Basophil was not recognised."


def test_every_note_of_a_fit_is_a_sentence():
    assert all(describe_note(one).endswith(".") for one in NOTES)


def test_one_and_several_and_labels_as_they_are():
    one = Note("unknown_classes", {"n": 1, "labels": ("Blast; L1",)})
    assert describe_note(one).startswith("1 image is of classes")
    said = describe_note(Note("unknown_classes", VALUES))
    assert said.startswith("2 images are of classes")
    assert said.endswith("Blast; L1, A/b and {labels!r}.")


def test_a_tiny_chance_is_never_none():
    assert "p below 0.0001" in describe_note(Note("trust_shifted", VALUES))


@pytest.mark.parametrize("code", NOTE_CODES)
@pytest.mark.parametrize("value", [None, "x", -1, (), 1e308])
def test_a_note_of_a_forged_record_is_a_sentence_or_an_error(code, value):
    names = ("n", "n_needed", "labels", "label", "alpha", "baseline", "p_value", "n_sources")
    for values in ({}, dict.fromkeys(names, value)):
        try:
            assert describe_note(Note(code, values))
        except RunError as error:
            assert code in str(error)
