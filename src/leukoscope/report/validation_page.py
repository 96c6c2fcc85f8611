"""A validation as HTML page and plain text: may this network be used on this blood.

Both say the same facts, the answer and the next step first. What this file does not do: it computes
nothing and words nothing but titles and terms (`validate_words`).
"""

from collections.abc import Mapping

from leukoscope.evaluation.acceptance import EXACT_BELOW, Acceptance
from leukoscope.evaluation.shift import word_effect
from leukoscope.evaluation.subgroups import SubgroupTable
from leukoscope.evaluation.validation import Validation
from leukoscope.labels import display_label
from leukoscope.report.evaluation_page import (
    align_columns,
    embed_image,
    format_figure,
    format_percent,
    head_lines,
    list_filters,
)
from leukoscope.report.pages import DISCLAIMER, render_page
from leukoscope.report.validation_words import (
    FIGURE_NAMES,
    OUTCOME_WORDS,
    format_named,
    format_short,
    format_signed,
    format_wanted,
    list_advice,
    list_gains,
    word_accuracy,
    word_calibration,
    word_coverage,
    word_decisions,
    word_gain,
    word_headline,
    word_here,
    word_home,
    word_mix,
    word_needed,
    word_recalibration,
    word_shift,
)

LEVELS: dict[Acceptance, str] = {
    "pass": "good",
    "fail": "bad",
    "undecided": "caution",
    "no_limits": "caution",
}

WORDS: tuple[tuple[str, str], ...] = (
    (
        "Limit",
        "What the laboratory asks for. It is kept only if the whole 95 % interval keeps it: a good"
        " figure from few cells is undecided, not kept. A share from fewer than"
        f" {EXACT_BELOW} sources is judged by its exact interval, which is wider.",
    ),
    ("Sensitivity", "Of all cells of this kind, the share that was found."),
    ("Specificity", "Of all other cells, the share that was not called by this name."),
    (
        "Kappa",
        "Agreement with the label beyond what chance alone would give: 0 is chance, 1 is perfect."
        " Weights make a confusion of distant stages count more than one of neighbours.",
    ),
    (
        "Calibration error",
        "How far stated confidence and success lie apart, less what chance alone would make of it:"
        " 0 is no more than chance.",
    ),
    (
        "Home",
        "The test images of the data that the network was made from. They are other cells, so only"
        " shares can be compared, not cell by cell.",
    ),
    (
        "Prediction set, coverage",
        "The names that fit a cell, chosen so that the true one is among them as often as promised."
        " The promise holds for cells like those at home; coverage tells whether it holds here.",
    ),
    (
        "Accepted, review, rejected",
        "What the bundle decides on each cell: it stands by the name, a person should look, or"
        " the cell is unlike those it knows.",
    ),
    (
        "Energy coefficient",
        "How far apart two clouds of images lie: 0 is one cloud, 1 the most. Its p-value says only"
        " whether that may be chance.",
    ),
    (
        "Told apart",
        "How often a simple method can tell an image here from one of home: 50 % is a coin.",
    ),
    (
        "Design effect",
        "How many cells of a shared source count as one independent cell.",
    ),
)


def render_validation(
    v: Validation, images: Mapping[str, tuple[bytes | str, str]] | None = None
) -> str:
    """Render a validation as one HTML page that needs no other file, no network and no script.

    `images` are figures as `report.ReportContent.figures`: `classes`, `reliability`, `mistakes`.
    """
    return render_page(
        "validate.html.j2",
        {**list_filters(), "signed": format_signed, "named": format_named, "needed": word_needed},
        v=v,
        title=f"Validation of {v.bundle_name} on {v.data_name}",
        headline=word_headline(v),
        accuracy=word_accuracy(v),
        here=word_here(v),
        at_home=word_home(v),
        mix=word_mix(v),
        advice=list_advice(v),
        level=LEVELS[v.acceptance],
        outcome_words=OUTCOME_WORDS,
        figure_names={k: name for k, name in FIGURE_NAMES.items() if k in v.figures},
        format_wanted=format_wanted,
        calibration=word_calibration(v),
        decisions=word_decisions(v),
        coverage=word_coverage(v),
        shift=word_shift(v),
        word_effect=word_effect,
        images={k: (embed_image(image), alt) for k, (image, alt) in (images or {}).items()},
        words=WORDS,
        recalibrated=list_gains(v.recalibration),
        gain=word_gain(v.recalibration) if v.recalibration else "",
    )


def render_validation_text(v: Validation) -> str:
    """Render the same facts as aligned plain text."""
    title = f"Validation of {v.bundle_name} on {v.data_name}"
    lines = [title, "=" * len(title), DISCLAIMER, "", word_headline(v).upper(), word_accuracy(v)]
    lines += [word_mix(v)] if word_mix(v) else []
    lines += ["", f"Here: {word_here(v)}", f"Home: {word_home(v)}"]
    lines += [word_calibration(v), word_decisions(v)]
    lines += head_lines("What to do next") + [f"- {one}" for one in list_advice(v)]
    if v.judged:
        lines += head_lines("Limits")
        lines += align_columns(
            [
                [
                    one.limit.name,
                    format_wanted(one),
                    format_named(one.limit.figure, one.figure) if one.figure else "–",
                    OUTCOME_WORDS[one.outcome],
                ]
                for one in v.judged
            ],
            ["", "asked", "found", "outcome"],
        )
    if v.missing or v.warnings:
        lines += head_lines("Mind this") + [f"- {text}" for text in (*v.missing, *v.warnings)]
    lines += head_lines("All cells")
    lines += align_columns(
        [
            [name, format_named(key, v.figures[key])]
            for key, name in FIGURE_NAMES.items()
            if key in v.figures
        ],
        ["", "value (interval)"],
    )
    lines += ["", v.kappa_note]
    lines += [word_coverage(v)] if word_coverage(v) else []
    lines += head_lines("Each kind of cell")
    lines += align_columns(
        [
            [
                display_label(one.name),
                f"{one.n_images:,}",
                format_short(one.sensitivity.here),
                format_short(one.sensitivity.there),
                format_signed(one.sensitivity.difference),
                format_short(one.specificity.here),
                format_short(one.specificity.there),
            ]
            for one in v.per_class
        ],
        ["", "cells", "sensitivity", "at home", "difference", "specificity", "at home"],
    )
    if v.foreign:
        lines += head_lines("Cells of kinds that the network has no name for")
        for one in v.foreign:
            called = ", ".join(f"{display_label(k)} {n:,}" for k, n in one.called)
            accepted = "" if one.accepted is None else f"; {one.accepted:,} accepted"
            lines.append(
                f"- {display_label(one.name)} ({one.n_images:,}): called {called}{accepted}"
            )
    for reader in v.readers:
        test = reader.test
        lines += head_lines(f"Network and {reader.name} on the same {reader.n_images:,} cells")
        lines += [
            f"Right: network {format_short(reader.network)}, {reader.name}"
            f" {format_short(reader.reader)}, difference {format_signed(test.difference)} points.",
            f"Only the network right {test.first_only:,}, only {reader.name} {test.second_only:,},"
            f" both {test.both:,}, neither {test.neither:,}; exact McNemar p = {test.p_value:.3g}.",
            f"Kappa between the two: {format_figure(reader.kappa)}.",
        ]
    lines += [*head_lines("Do the images look different?"), word_shift(v)]
    if v.shift.features:
        lines += align_columns(
            [
                [
                    one.name.replace("_", " "),
                    f"{one.home_median:.3g}",
                    f"{one.here_median:.3g}",
                    f"{one.effect:+.2f}",
                    word_effect(one.effect),
                    format_percent(one.outside.value),
                ]
                for one in v.shift.features
            ],
            ["", "home", "here", "d", "size", "outside"],
        )
    for table in v.subgroups:
        lines += head_lines(f"By {table.column}") + ([table.note] if table.note else [])
        lines += _tabulate_groups(table)
    lines += head_lines(
        f"Cells for a sensitivity known to {100 * v.half_width:g} points either way"
    )
    lines += align_columns(
        [
            [display_label(one.name), f"{one.n_images:,}", f"{one.needed:,}", f"{one.more:,}"]
            for one in v.sizes
        ],
        ["", "here", "needed", "missing"],
    )
    if v.recalibration is not None:
        lines += head_lines("Recalibration") + list(word_recalibration(v.recalibration))
        rows = [[name, before, after] for name, before, after in list_gains(v.recalibration)]
        lines += align_columns(rows, ["", "before", "after"]) if rows else []
    if v.unreadable:
        lines += head_lines("What is in no figure")
        lines += [f"- {path}: {reason} ({detail})" for path, reason, detail in v.unreadable]
    if v.provenance:
        lines += head_lines("Provenance")
        lines += align_columns([list(item) for item in v.provenance.items()], None)
    # File names need not be valid Unicode.
    text = "\n".join(line.rstrip() for line in [*lines, "", DISCLAIMER]) + "\n"
    return text.encode("utf-8", "replace").decode()


def _tabulate_groups(table: SubgroupTable) -> list[str]:
    if not table.groups:
        return []
    return align_columns(
        [
            [
                one.value,
                f"{one.n_images:,}",
                f"{one.n_sources:,}",
                format_short(one.accuracy),
                format_percent(one.expected),
                format_signed(one.difference) + (" *" if one.stands_out else ""),
                format_short(one.accepted),
                format_signed(one.accepted_difference) + (" *" if one.accepted_stands_out else ""),
            ]
            for one in table.groups
        ],
        [
            *["", "cells", "sources", "accuracy", "by mixture", "against the rest"],
            *["accepted", "against the rest"],
        ],
    )
