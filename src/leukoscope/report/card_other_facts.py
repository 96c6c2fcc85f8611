"""Sentences about a network on other data, made from records.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it says nothing of
the network on its own test images (`card_facts`).
"""

from leukoscope.data.splits import ROLES
from leukoscope.evaluation.validation import Validation
from leukoscope.report.card_facts import word_figure
from leukoscope.report.card_figure_facts import find_local, write_reference, write_validation
from leukoscope.report.card_records import (
    Reader,
)
from leukoscope.report.markdown import escape_sentence, escape_text, render_table
from leukoscope.trust.record import TrustInfo


def describe_evaluation_table(reader: Reader, validation: Validation | None = None) -> str:
    """Other evaluations of the same network, each with what its figure is worth."""
    names = reader.find_keys("evaluations")
    rows = []
    for name in names:
        at = ("evaluations", name)
        data = escape_text(reader.find_text(*at, "data") or name)
        role = escape_text(reader.find_text(*at, "role") or "")
        notes = [escape_sentence(x) for x in reader.find_names(*at, "leakage_sentences")]
        figure = " ".join([word_figure(reader, at), *notes])
        rows.append([f"{data}, {role}" if role else data, figure])
    if validation is not None:
        rows.append(["Validation", write_validation(validation)])
    if not rows:
        return "None on record."
    return render_table(["Data, role", "Figure and what it is worth"], rows, words=(0, 1))


def describe_external_figures(
    reader: Reader, validation: Validation | None = None, trust: TrustInfo | None = None
) -> str | None:
    """Figures on data other than those of training."""
    told = [
        f"{escape_text(reader.find_text('evaluations', name, 'data') or name)}:"
        f" {word_figure(reader, ('evaluations', name))}"
        for name in reader.find_keys("evaluations")
        if name not in ROLES
    ]
    if validation is not None:
        told.append(write_validation(validation))
    local = find_local(trust)
    if local:
        told.append(write_reference(local))
    return " ".join(told) or None


def has_external_evaluation(reader: Reader) -> bool:
    """Tell whether an evaluation on other data than those of training is on record."""
    return any(name not in ROLES for name in reader.find_keys("evaluations"))
