"""Sentences about a network on other data, on corrupted images and explained, made from records.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it says nothing of
the network on its own test images (`card_facts`).
"""

from leukoscope.data.splits import ROLES
from leukoscope.interval import Interval
from leukoscope.report.card_facts import word_figure
from leukoscope.report.card_records import (
    Reader,
    count_things,
    format_percents,
    read_leakage_status,
)
from leukoscope.report.card_trust_facts import find_local, word_local_figure
from leukoscope.report.evaluation_page import LEAKAGE_TITLES, format_number, format_range
from leukoscope.report.markdown import escape_sentence, escape_text, render_table
from leukoscope.report.robustness_page import CORRUPTION_NAMES
from leukoscope.report.validation_words import describe_acceptance, describe_shared_sources
from leukoscope.text import join_words

_NAMES: dict[str, str] = {
    **{str(key): name for key, name in CORRUPTION_NAMES.items()},
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "attention": "Attention rollout",
}


def tabulate_evaluations(reader: Reader) -> str:
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
    if reader.find("validation", "data") is not None:
        rows.append(["Validation", _word_validation(reader)])
    if not rows:
        return "None on record."
    return render_table(["Data, role", "Figure and what it is worth"], rows, words=(0, 1))


def word_external(reader: Reader) -> str:
    """Figures on data other than those of training."""
    told = [
        f"{escape_text(reader.find_text('evaluations', name, 'data') or name)}:"
        f" {word_figure(reader, ('evaluations', name))}"
        for name in reader.find_keys("evaluations")
        if name not in ROLES
    ]
    if reader.find("validation", "data") is not None:
        told.append(_word_validation(reader))
    if find_local(reader) is not None:
        told.append(word_local_figure(reader))
    if not told:
        reader.give_up("evaluations")
    return " ".join(told)


def has_other_data(reader: Reader) -> bool:
    """Tell whether any figure on other data than those of training is on record."""
    return (
        any(name not in ROLES for name in reader.find_keys("evaluations"))
        or reader.find("validation", "data") is not None
        or find_local(reader) is not None
    )


def _word_validation(reader: Reader) -> str:
    """Accuracy on the cells of an external site, against the reference, and the acceptance."""
    at = "validation"
    cells = count_things(reader.read_count(at, "n_images"), "labelled cell")
    sources = (
        f"from {count_things(reader.read_count(at, 'n_sources'), 'source')}"
        if reader.read_flag(at, "source_known")
        else "from unknown sources"
    )
    accuracy = format_range(reader.read_interval(at, "figures", "accuracy"))
    data = escape_text(reader.read_text(at, "data"))
    told = f"Accuracy {accuracy} on {cells} {sources} ({data})"
    difference = reader.find_interval(at, "comparison", "accuracy", "difference")
    if difference is not None:
        value, low, high = (
            format_number(100 * x, 1, "+")
            for x in (difference.value, difference.low, difference.high)
        )
        told += f"; {value} points against the internal test set (95 % interval {low} to {high})"
    outcomes = [
        reader.read_text(at, "criteria", i, "outcome") for i in _count(reader, at, "criteria")
    ]
    return (
        f"{told}. {describe_acceptance(reader.read_text(at, 'acceptance'), outcomes)} Whether"
        " training has seen some of these cells, a validation cannot know."
    )


def word_clusters(reader: Reader) -> str:
    """Accuracy, and the share accepted, of each group of the validated cells."""
    tables = []
    for i in range(reader.find_length("validation", "subgroups")):
        at = ("validation", "subgroups", i)
        groups = [_word_group(reader, (*at, "groups", k)) for k in _count(reader, *at, "groups")]
        if groups:
            column = escape_text(reader.read_text(*at, "column"))
            shared = reader.find_count(*at, "n_shared_sources")
            note = f" {describe_shared_sources(shared)}" if shared else ""
            tables.append(f"By {column}: {'; '.join(groups)}.{note}")
    if not tables:
        reader.give_up("validation")
    return (
        f"On the validated cells ({escape_text(reader.read_text('validation', 'data'))}), share"
        f" correct with its 95 % interval. {' '.join(tables)}"
    )


def _count(reader: Reader, *path: str | int) -> range:
    return range(reader.find_length(*path))


def _word_group(reader: Reader, at: tuple[str | int, ...]) -> str:
    name = escape_text(reader.read_text(*at, "value"))
    told = (
        f"{name} {format_percents(reader.read_interval(*at, 'accuracy'))} of"
        f" {count_things(reader.read_count(*at, 'n_images'), 'cell')}"
    )
    told += _mark_beyond_chance(reader.find_interval(*at, "difference"))
    accepted = reader.find_interval(*at, "accepted")
    if accepted is not None:
        told += f", accepted {format_percents(accepted)}"
        told += _mark_beyond_chance(reader.find_interval(*at, "accepted_difference"))
    return told


def _mark_beyond_chance(difference: Interval | None) -> str:
    apart = difference is not None and (difference.low > 0 or difference.high < 0)
    return " (stands out)" * apart


def word_robustness(reader: Reader) -> str:
    """Accuracy on images as they are, and what each corruption costs."""
    levels = [("robustness", "levels", i) for i in _count(reader, "robustness", "levels")]
    corrupted = [at for at in levels if reader.read_count(*at, "severity")]
    clean = [at for at in levels if not reader.read_count(*at, "severity")]
    if not corrupted or not clean:
        reader.give_up("robustness")
    worst = min(corrupted, key=lambda at: reader.read_interval(*at, "accuracy").value)
    names = list(dict.fromkeys(reader.read_text(*at, "corruption") for at in corrupted))
    lost = {name: reader.read_number("robustness", "mean_loss", name) for name in names}
    losses = [f"{_name(name)} {format_number(100 * x, 1)}" for name, x in lost.items()]
    told = (
        f"{count_things(reader.read_count('robustness', 'n_images'), 'image')}"
        f" ({escape_text(reader.read_text('robustness', 'data'))}{_mark_own(reader)}) under"
        f" {count_things(len(names), 'controlled corruption')}. Named right as they are:"
        f" {format_range(reader.read_interval(*clean[0], 'accuracy'))}. Points lost on average over"
        f" severities: {', '.join(losses)}. Worst: {_name_level(reader, worst)},"
        f" {format_range(reader.read_interval(*worst, 'accuracy'))} named right."
    )
    wrong = {
        at: share
        for at in corrupted
        if (share := reader.find_number(*at, "accepted_wrong")) is not None
    }
    if wrong:
        most = max(wrong, key=lambda at: wrong[at])
        told += (
            f" Accepted under a wrong name: at most {100 * wrong[most]:.1f} % of all cells"
            f" ({_name_level(reader, most)})."
        )
    return told


def _name_level(reader: Reader, at: tuple[str | int, ...]) -> str:
    name = _name(reader.read_text(*at, "corruption"))
    return f"{name} at severity {reader.read_count(*at, 'severity')}"


def word_explanation(reader: Reader) -> str:
    """How answers were explained, and which tests the maps do not pass."""
    methods = [_name(name) for name in reader.read_names("explained", "methods")]
    told = [f"Maps of what the network looked at: {join_words(methods)}."]
    for i in _count(reader, "explained", "results"):
        at = ("explained", "results", i)
        words = reader.find_names(*at, "warnings") or ("No test that was made speaks against it.",)
        words += reader.find_names(*at, "notes")
        sentences = " ".join(f"{escape_sentence(word).rstrip('.')}." for word in words)
        judged = count_things(reader.read_count(*at, "deletion", "n"), "image")
        told.append(f"{_name(reader.read_text(*at, 'method'))}, {judged}: {sentences}")
    return " ".join([*told, *map(escape_sentence, reader.find_names("explained", "notes"))])


def _mark_own(reader: Reader) -> str:
    """What the split makes of figures under corruptions, where of the run's own test images."""
    data = reader.read_text("robustness", "data")
    for at in (("metrics",), ("trust", "reference")):
        if reader.find_text(*at, "leakage_status") and reader.find_text(*at, "data") == data:
            leakage_status = read_leakage_status(reader, *at, "leakage_status")
            if leakage_status == "disjoint":
                return ""
            mark = "LEAKED: " * (leakage_status == "leaking")
            return f"; {mark}{LEAKAGE_TITLES[leakage_status].lower()}"
    return ""


def _name(key: str) -> str:
    """A corruption or a method of explanation as a reader knows it."""
    return escape_text(_NAMES.get(key, key))


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
        " reviewed or rejected otherwise."
    )
    basis = reader.find_text("bundle", "reference_set")
    told += f" Compared on {escape_text(basis)}." if basis else ""
    header = ["Variant", "Size", "Largest difference", "Other name", "Decided otherwise"]
    header.append("SHA-256 begins")
    return f"{told}\n\n{render_table(header, rows)}"
