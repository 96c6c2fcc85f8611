"""The page of explanations: do the maps hold, then the pictures, then how to read them.

What this file does not do: it measures nothing (`explain.study`) and draws nothing
(`explain_figures`, `overlays`).
"""

from collections.abc import Sequence
from pathlib import Path

from leukoscope.explain.faithfulness import ENOUGH, MAX_RANK_CORRELATION, MIN_LOCALISATION
from leukoscope.explain.methods import METHOD_NAMES, Method, name_method
from leukoscope.explain.record import (
    MAX_MISSED,
    Baseline,
    CurveKind,
    Explanation,
    FaithfulnessResult,
    Outcome,
)
from leukoscope.interval import Interval
from leukoscope.labels import display_label
from leukoscope.report.glossary import build_terms
from leukoscope.report.page import (
    Banner,
    Block,
    Box,
    Bullets,
    Cell,
    Drawings,
    Figure,
    Level,
    Mark,
    Page,
    Section,
    Table,
    Text,
    build_figures,
    build_table,
)
from leukoscope.text import format_count, format_number, join_bounds, join_words

BASELINE_NAMES: dict[Baseline, str] = {"random": "Random places", "centre": "Centre of the image"}

_OUTCOMES: dict[Outcome, tuple[str, Mark]] = {
    "passed": ("passed", "good"),
    "failed": ("failed", "bad"),
    "unclear": ("unclear", "caution"),
    "too_few_images": (f"fewer than {ENOUGH} images", ""),
    "not_measured": ("not measured", ""),
    "not_applicable": ("knows no class", ""),
    "unattainable": ("boxes too large", ""),
}

_TESTS = {
    "deletion": "deletion",
    "insertion": "insertion",
    "randomisation": "random weights",
    "localisation": "lying in the cell",
}


def describe_explanation(
    record: Explanation, drawn: Drawings | None = None, trailer: tuple[str, ...] = ()
) -> Page:
    """Describe the page. `drawn`: "curves", "relative_bias" and "attention", and each image that is
    to be shown under its `picture`."""
    drawn = drawn or {}
    level, headline = describe_headline(record)
    failures = [
        f"{name_method(one.method, record.stage)}: {' '.join(describe_failures(one))}"
        for one in record.results
        if one.failures
    ]
    lead: list[Block] = [
        Banner(level, headline, (Bullets(tuple(failures)),) if failures else ()),
        Text(
            f"{format_count(len(record.images), 'image')} explained, {record.n_evaluated:,} of them"
            " evaluated for faithfulness. A map shows where a score came from; it does not say that"
            " the answer is right.",
            muted=True,
        ),
    ]
    notes = describe_notes(record)
    if notes:
        lead.append(Bullets(notes))
    return Page(
        f"Explanations by {Path(record.model).name}",
        tuple(lead),
        (
            *_describe_faithfulness(record, drawn),
            _describe_images(record, drawn),
            *_describe_attention(drawn),
            build_terms(
                "gradcam",
                "integrated_gradients",
                "occlusion",
                "attention",
                "deletion",
                "insertion",
                "controls",
                "random_weights",
                "localisation",
            ),
        ),
        trailer,
    )


def describe_headline(record: Explanation) -> tuple[Level, str]:
    """Return the level of the banner and one sentence: which maps hold."""
    results = record.results
    if not results:
        return "caution", "Whether these maps are faithful was not measured."
    held = [name_method(one.method, record.stage) for one in results if one.holds]
    failed = [name_method(one.method, record.stage) for one in results if one.failures]
    if failed:
        rest = f" {join_words(held)} passed." if held else ""
        if len(failed) == len(results) > 2:
            who = f"None of {len(results)} methods passes"
        else:
            who = f"{join_words(failed)} {'does' if len(failed) == 1 else 'do'} not pass"
        return "bad", f"{who} every test: read the reason before relying on such a map.{rest}"
    if len(held) < len(results):
        return "caution", "Too few images to say whether these maps are faithful."
    return "good", f"{join_words(held)} passed every test that was made."


# -- results in words -----------------------------------------------------------------------------

_DONE: dict[CurveKind, tuple[str, str, str]] = {
    "deletion": ("removing what it marks", "costs the network", "removing"),
    "insertion": ("inserting what it marks", "gives the network", "inserting"),
}
_PLACES: dict[Baseline, str] = {"random": "random places", "centre": "the centre of the image"}


def describe_failures(result: FaithfulnessResult) -> tuple[str, ...]:
    """Say which tests a method does not pass: what was shown to fail, and what was not shown to
    hold."""
    found = []
    for kind, (own, effect, theirs) in _DONE.items():
        failed = _join_baselines(result, kind, "failed")
        if failed:
            text = f"{own} {effect} no more than {theirs} {failed}."
            found.append(text[0].upper() + text[1:])
        unclear = _join_baselines(result, kind, "unclear")
        if unclear:
            found.append(
                f"It is not shown that {own} {effect} more than {theirs} {unclear}: too few images"
                " to say."
            )
    outcomes = {one.test: one.outcome for one in result.tests}
    if outcomes["randomisation"] in ("failed", "unclear"):
        last = list(result.correlation.values())[-1]
        figures = f"rank correlation {_format_note(last)}"
        found.append(
            "It looks much the same when every weight of the network is random"
            f" ({figures}): it may show the image, not the network."
            if outcomes["randomisation"] == "failed"
            else "It is not shown to change when every weight of the network is random"
            f" ({figures}; required: below {MAX_RANK_CORRELATION:g}): too few images to say."
        )
    if outcomes["localisation"] in ("failed", "unclear"):
        text = f"The cell has {_format(result.localisation, 1)} times the mass of its area"
        found.append(
            f"{text}, less than {MIN_LOCALISATION:g}."
            if outcomes["localisation"] == "failed"
            else f"{text}, not shown to be at least {MIN_LOCALISATION:g}: too few images to say."
        )
    return tuple(found)


def _join_baselines(result: FaithfulnessResult, kind: CurveKind, outcome: Outcome) -> str:
    tests = (one for one in result.tests if one.test == kind and one.outcome == outcome)
    return " or ".join(_PLACES[one.baseline] for one in tests if one.baseline is not None)


def describe_untested(result: FaithfulnessResult) -> str:
    """Say which tests of a method were not made, and why; "" where all were."""
    made = ("passed", "failed", "unclear")
    outcomes = {one.test: one.outcome for one in result.tests if one.outcome not in made}
    parts = [f"{_TESTS[test]} ({_OUTCOMES[outcome][0]})" for test, outcome in outcomes.items()]
    return f"Not tested: {join_words(parts)}." if parts else ""


def describe_notes(record: Explanation) -> tuple[str, ...]:
    """Say what was left out or not done."""
    notes = []
    if record.is_bundle:
        notes.append(
            "A bundle can be explained by occlusion only, and its weights cannot be randomised:"
            " explain the run folder for the rest."
        )
    if record.n_members > 1:
        notes.append(
            f"Predictions are those of an ensemble of {record.n_members} networks; the maps, and"
            " what was measured of them, are of its first member."
        )
    if record.unreadable:
        first = record.unreadable[0]
        notes.append(
            f"Left out, since it cannot be read: {_count_images(len(record.unreadable))}; first:"
            f" {first.path} ({first.reason}: {first.found})."
        )
    if record.n_without_box:
        notes.append(f"Evaluated without a box: {_count_images(record.n_without_box)}.")
    if record.n_same_name:
        notes.append(
            "With the name of an annotated image, but of another size or with other pixels, so that"
            f" its box was not used: {_count_images(record.n_same_name)}."
        )
    missed = [one.missed for one in record.images if (one.missed or 0) > MAX_MISSED]
    if missed:
        notes.append(
            f"Integrated gradients are rough on {_count_images(len(missed))}: up to"
            f" {100 * max(x for x in missed if x is not None):.0f} % of what they should add up to"
            " is missing."
        )
    if "attention" in record.methods:
        notes.append(
            "Attention says which places a token was mixed from, whatever the class; it is no"
            " evidence for one."
        )
    return tuple(notes)


def _count_images(n: int) -> str:
    return format_count(n, "image")


# -- sections -------------------------------------------------------------------------------------


def _describe_faithfulness(record: Explanation, drawn: Drawings) -> tuple[Section, ...]:
    if not record.results:
        return ()
    blocks: list[Block] = [Box((_tabulate_tests(record),)), Box((_tabulate_baselines(record),))]
    blocks += [Box((figure,)) for figure in build_figures(drawn, "curves")]
    cascade = [one for one in record.results if len(one.correlation) > 1]
    if cascade:
        blocks.append(Box((_tabulate_cascade(cascade, record.stage),)))
    brief, *rest = blocks
    return (
        Section("Are the maps faithful?", (brief,), brief=True),
        Section("Against baselines and random weights", tuple(rest)),
    )


def _tabulate_tests(record: Explanation) -> Table:
    rows = []
    for one in record.results:
        last = list(one.correlation.values())[-1:]
        rows.append(
            [
                Cell(name_method(one.method, record.stage)),
                _show_outcome(one, "deletion", _format_note(one.deletion)),
                _show_outcome(one, "insertion", _format_note(one.insertion)),
                _show_outcome(one, "randomisation", _format_note(last[0]) if last else ""),
                _show_outcome(one, "localisation", _format_note(one.localisation, 1)),
            ]
        )
    caption = (
        f"Tests on {_count_images(record.n_evaluated)} of"
        f" {format_count(record.n_sources, 'source')}; means with 95 % intervals over sources."
    )
    if record.n_sources == record.n_evaluated:
        caption += (
            " Each image counts as a source of its own: where several are of one person, the"
            " intervals are too narrow."
        )
    ceiling = record.results[0].ceiling.value
    if ceiling == ceiling:
        caption += f" In the cell: at most {ceiling:.1f} is possible here."
    heads = ["", "Deletion (low)", "Insertion (high)", "Random weights (near 0)", "In the cell"]
    return build_table(heads, rows, caption)


def _show_outcome(result: FaithfulnessResult, test: str, figure: str) -> Cell:
    """The worst outcome of one test, with its figure."""
    order: tuple[Outcome, ...] = ("failed", "unclear")
    outcomes = [one.outcome for one in result.tests if one.test == test]
    worst = next((one for one in order if one in outcomes), outcomes[0])
    word, mark = _OUTCOMES[worst]
    return Cell(word, figure, mark=mark)


def _tabulate_baselines(record: Explanation) -> Table:
    rows = [
        [
            Cell(name_method(one.method, record.stage)),
            *(_show_difference(kinds[kind]) for kind in _DONE for kinds in one.against.values()),
        ]
        for one in record.results
    ]
    heads = [
        f"{kind.capitalize()}, less {baseline}"
        for kind in _DONE
        for baseline in record.results[0].against
    ]
    caption = (
        "Difference of the areas to those of random places and of the centre, paired by image:"
        " deletion should be below 0, insertion above"
    )
    return build_table(["", *heads], rows, caption)


def _show_difference(found: Interval) -> Cell:
    return Cell(format_number(found.value, 2, "+"), join_bounds(found.low, found.high, 2))


def _tabulate_cascade(results: Sequence[FaithfulnessResult], stage: str) -> Table:
    rows = [
        [
            name_method(one.method, stage),
            *(format_number(found.value, 2) for found in one.correlation.values()),
        ]
        for one in results
    ]
    caption = (
        "Rank correlation with the map after weights were randomised, from the head down to the"
        " level named"
    )
    return build_table(["", *results[0].correlation], rows, caption)


def _describe_images(record: Explanation, drawn: Drawings) -> Section:
    shown = [drawn[one.picture] for one in record.images if one.picture in drawn]
    blocks: list[Block] = [
        Text(
            "Left the image as the network got it; a dashed frame is the cell's box. Yellow is"
            " where a map is highest; white lines run at half of its peak, black ones at eight"
            " tenths. Only what speaks for the class is shown."
        ),
        *(Box((Figure(picture),)) for picture in shown),
    ]
    hidden = len(record.images) - len(shown)
    if hidden:
        more = format_count(hidden, "more image", "more images")
        blocks.append(Text(f"{more} in the folder `overlays`.", muted=True))
    return Section("Images", tuple(blocks))


def _describe_attention(drawn: Drawings) -> tuple[Section, ...]:
    figures = build_figures(drawn, "attention", "relative_bias")
    return (Section("Attention", tuple(Box((one,)) for one in figures)),) if figures else ()


def describe_image(label: str, path: str, methods: Sequence[Method]) -> str:
    """Say what the picture of an image shows."""
    maps = join_words(METHOD_NAMES[method] for method in methods)
    return f"{Path(path).name}: {display_label(label)}, with {maps}"


def _format(found: Interval, digits: int = 2) -> str:
    """Return a figure with its bounds in brackets."""
    return f"{format_number(found.value, digits)} ({join_bounds(found.low, found.high, digits)})"


def _format_note(found: Interval, digits: int = 2) -> str:
    """Return a figure with its bounds for a place between brackets, "" where it is undefined.

    >>> _format_note(Interval(0.5, 0.4, 0.6)), _format_note(Interval(-0.5, float("nan"), 0.0))
    ('0.50, 0.40–0.60', '−0.50, no interval: too few sources')
    """
    if found.value != found.value:
        return ""
    value = format_number(found.value, digits)
    return f"{value}, {join_bounds(found.low, found.high, digits)}"
