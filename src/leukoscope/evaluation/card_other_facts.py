"""Sentences about a network on other data and in other settings, each made from its records.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it says nothing of
the network on its own test images (`card_facts`).
"""

from leukoscope.data.splits import ROLES
from leukoscope.evaluation.card_facts import word_figure
from leukoscope.evaluation.card_records import (
    Reader,
    escape_sentence,
    escape_text,
    render_table,
)


def tabulate_evaluations(reader: Reader) -> str:
    """Other evaluations of the same network, each with what its figure is worth."""
    names = reader.find_keys("evaluations")
    if not names:
        return "None on record."
    rows = []
    for name in names:
        at = ("evaluations", name)
        data = escape_text(reader.find_text(*at, "data") or name)
        role = escape_text(reader.find_text(*at, "role") or "")
        notes = [escape_sentence(x) for x in reader.find_names(*at, "verdict_sentences")]
        figure = " ".join([word_figure(reader, at), *notes])
        rows.append([f"{data}, {role}" if role else data, figure])
    return render_table(["Data, role", "Figure and what it is worth"], rows, words=(0, 1))


def word_external(reader: Reader) -> str:
    """Figures on data other than those of training."""
    others = [name for name in reader.find_keys("evaluations") if name not in ROLES]
    if not others:
        reader.give_up("evaluations")
    return " ".join(
        f"{escape_text(reader.find_text('evaluations', name, 'data') or name)}:"
        f" {word_figure(reader, ('evaluations', name))}"
        for name in others
    )


def tabulate_parity(reader: Reader) -> str:
    """What each graph of a bundle does, against the network it was made from."""
    rows = []
    for name in reader.read_keys("bundle", "variants"):
        at = ("bundle", "variants", name)
        size = reader.find_number(*at, "bytes")
        largest = reader.find_number(*at, "parity", "max_logit_difference")
        changed = reader.find_count(*at, "parity", "decisions_changed")
        images = reader.find_count(*at, "parity", "images")
        outcomes = reader.find_count(*at, "parity", "outcomes_changed")
        rows.append(
            [
                escape_text(name) + " (default)" * (reader.find_text("bundle", "default") == name),
                "–" if size is None else f"{size / 1e6:.1f} MB",
                "–" if largest is None else f"{largest:.2g}",
                "–" if changed is None or images is None else f"{changed:,} of {images:,}",
                "–" if outcomes is None else f"{outcomes:,}",
                escape_text((reader.find_text(*at, "sha256") or "–")[:16]),
            ]
        )
    told = (
        "A bundle holds the network in several precisions. Each was compared with the trained"
        " network on the same images: the largest difference of a class's score before it becomes a"
        " probability (a logit), how many images got another name, and how many are accepted,"
        " reviewed or refused otherwise."
    )
    basis = reader.find_text("bundle", "reference_set")
    told += f" Compared on {escape_text(basis)}." if basis else ""
    header = ["Variant", "Size", "Largest difference", "Other name", "Decided otherwise"]
    header.append("SHA-256 begins")
    return f"{told}\n\n{render_table(header, rows)}"
