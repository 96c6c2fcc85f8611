"""The one glossary: numbers that it names are those of the code, which it must not import."""

from leukoscope.evaluation.acceptance import EXACT_BELOW
from leukoscope.report.glossary import MEANINGS


def test_numbers_are_those_of_the_code():
    assert f"below {EXACT_BELOW}" in MEANINGS["criterion"][1]


def test_every_term_has_a_name_and_a_meaning():
    assert all(name and meaning.endswith(".") for name, meaning in MEANINGS.values())
