"""Sentences about how sure a network is and when it rejects, each made from its trust record.

Every function takes a `Reader`, as in `card_facts`. What this file does not do: it says nothing of
the network itself (`card_facts`).
"""

from leukoscope.report.card_records import (
    Reader,
    count_things,
    format_points,
    read_classes,
    read_leakage_status,
)
from leukoscope.report.evaluation_page import LEAKAGE_TEXTS, LEAKAGE_TITLES, format_range
from leukoscope.report.markdown import escape_sentence, escape_text, format_class
from leukoscope.report.trust_words import format_share
from leukoscope.text import join_words

_METHODS = {
    "none": "stated confidence is left as the network gives it",
    "temperature": "one number, the temperature, rescales confidence",
    "bias_corrected": "a temperature and one shift per class rescale confidence",
}

NOT_CALIBRATED = (
    "No calibration is on record: stated confidence may be far from real success, and every image"
    " gets the name of a cell, however strange it is. `leukoscope calibrate` sets that right."
)


def find_local(reader: Reader) -> tuple[str | int, ...] | None:
    """Return where the bundle tells that the levels on record were fitted to local cells; None
    where they are those of home."""
    place = ("bundle", "provenance", "recalibrated")
    n = reader.find_length(*place)
    fitted = reader.find_text("bundle", "trust", "arrays_sha256")
    if not n or fitted is None or fitted != reader.find_text("trust", "arrays_sha256"):
        return None
    return (*place, n - 1)


def word_local_figure(reader: Reader) -> str:
    """The accuracy on those local cells that levels were not fitted to."""
    home = ("trust", "reference")
    if find_local(reader) is None:
        reader.give_up("bundle", "provenance", "recalibrated")
    accuracy = format_range(reader.read_interval(*home, "accuracy"))
    return (
        f"Named right: {accuracy} of {_count_local(reader)}. **{_LOCAL}.** Whether training has"
        " seen these cells cannot be known from a bundle."
    )


_LOCAL = "Measured on local cells that its levels were not fitted to"


def _count_local(reader: Reader) -> str:
    home = ("trust", "reference")
    cells = count_things(reader.read_count(*home, "n_images"), "local cell")
    data = escape_text(reader.find_text(*home, "data") or "data without a name")
    if not reader.read_flag(*home, "source_known"):
        return f"{cells} from unknown sources ({data})"
    return f"{cells} from {count_things(reader.read_count(*home, 'n_sources'), 'source')} ({data})"


def _name_judged(reader: Reader) -> str:
    return "test images" if find_local(reader) is None else "the other local cells"


def word_home_figure(reader: Reader) -> str:
    """The accuracy that the record of trust measured at home, with its leakage_status."""
    if find_local(reader) is not None:
        return word_local_figure(reader)
    home = ("trust", "reference")
    leakage_status = read_leakage_status(reader, *home, "leakage_status")
    accuracy = format_range(reader.read_interval(*home, "accuracy"))
    images = count_things(reader.read_count(*home, "n_images"), "test image")
    data = escape_text(reader.find_text(*home, "data") or "data without a name")
    title = f"**{LEAKAGE_TITLES[leakage_status]}.**"
    if leakage_status == "leaking":
        return (
            f"{title} Leaked: {accuracy} of {images} ({data}), copies of training images among"
            f" them. Without copies: no figure is on record. {LEAKAGE_TEXTS[leakage_status]}"
        )
    known = reader.read_flag(*home, "source_known")
    sources = (
        f"from {count_things(reader.read_count(*home, 'n_sources'), 'source')}"
        if known
        else "from unknown sources"
    )
    start = f"Named right: {accuracy} of {images} {sources} ({data}). {title}"
    return f"{start} {LEAKAGE_TEXTS[leakage_status]}"


def is_calibrated(reader: Reader) -> bool:
    """Tell whether a trust record is there."""
    return bool(reader.find_keys("trust", "policy"))


def word_calibration(reader: Reader) -> str:
    """How stated confidence was set right, and by how much."""
    if not is_calibrated(reader):
        return NOT_CALIBRATED
    method = reader.read_text("trust", "policy", "calibration", "method")
    told = f"{_word_fitted(reader)}: {_METHODS.get(method, escape_text(method))}."
    before, after = (reader.find_number("trust", "reference", name) for name in ("ece_raw", "ece"))
    if before is None or after is None:
        return f"{told} No figure on {_name_judged(reader)} is on record."
    right = reader.find_interval("trust", "reference", "accuracy")
    mark = _mark_home(reader)
    named = f" Names given after calibration: {format_range(right)} right{mark}." if right else ""
    return (
        f"{told} On {_name_judged(reader)} stated confidence and real success lie"
        f" {format_points(after)} apart on average; before any calibration,"
        f" {format_points(before)}{mark}.{named}"
    )


def _word_fitted(reader: Reader) -> str:
    n = reader.read_count("trust", "n_calib")
    local = find_local(reader)
    if local is None:
        return f"Fitted on {count_things(n, 'image')} of the role calib"
    data = escape_text(reader.find_text(*local, "data") or "data without a name")
    sources = count_things(reader.read_count("trust", "n_calib_sources"), "source")
    return f"Fitted again on {count_things(n, 'local cell')} of {data} ({sources})"


def word_sets(reader: Reader) -> str:
    """The prediction sets: what was asked, what came."""
    if not is_calibrated(reader):
        return "No prediction sets are on record."
    alpha = reader.read_number("trust", "asked", "alpha")
    each = reader.find_flag("trust", "policy", "sets", "class_conditional")
    told = (
        "Beside the one name, all names that fit (a prediction set, conformal method"
        f" {escape_text(reader.read_text('trust', 'policy', 'sets', 'method'))}). Asked: the right"
        f" name is among them for {format_share(1 - alpha)} of cells"
        f"{' of each kind' if each else ''}."
    )
    coverage = reader.find_number("trust", "reference", "coverage")
    size = reader.find_number("trust", "reference", "mean_set_size")
    if coverage is None or size is None:
        return f"{told} No figure on {_name_judged(reader)} is on record."
    told += f" Found on {_name_judged(reader)}: {format_share(coverage)}, with {size:.2f} names on"
    return (
        f"{told} average{_mark_home(reader)}. The promise holds for cells of the same kind and"
        " origin only."
    )


def word_rejection(reader: Reader) -> str:
    """How many cells are accepted, how often rightly, and when a person looks."""
    if not is_calibrated(reader):
        return "Never: no limits are on record, so every image gets a name."
    home = ("trust", "reference")
    told = "Each cell is accepted, sent to a person for review, or rejected as unknown."
    target = reader.find_number("trust", "asked", "target_accuracy")
    told += f" Aimed at: {format_share(target)} right among accepted." if target else ""
    accepted = reader.find_interval(*home, "accepted")
    right = reader.find_interval(*home, "accepted_accuracy")
    review = reader.find_number(*home, "review_frac")
    unknown = reader.find_number(*home, "unknown_frac")
    if accepted is None or review is None or unknown is None:
        return f"{told} No figure on {_name_judged(reader)} is on record."
    if find_local(reader) is None:
        n_images = reader.find_count(*home, "n_images")
        told += f" On {'' if n_images is None else f'{n_images:,} '}test images:"
    else:
        told += f" On {_count_local(reader)} that its levels were not fitted to:"
    told += f" {format_range(accepted)} accepted"
    told += f", of these {format_range(right)} named right" if right is not None else ""
    return (
        f"{told}; {format_share(review)} to review; {format_share(unknown)} unknown"
        f"{_mark_home(reader)}."
    )


def _mark_home(reader: Reader) -> str:
    """What the split makes of figures at home; nothing of those on local cells, which say it."""
    if find_local(reader) is not None:
        return ""
    leakage_status = read_leakage_status(reader, "trust", "reference", "leakage_status")
    if leakage_status == "disjoint":
        return ""
    return (
        f" ({'LEAKED: ' * (leakage_status == 'leaking')}{LEAKAGE_TITLES[leakage_status].lower()})"
    )


def word_policy(reader: Reader) -> str:
    """The limits in figures."""
    reader.read_keys("trust", "policy")
    confidence = reader.find_number("trust", "policy", "min_confidence")
    parts = [
        f"confidence at least {format_share(confidence)}"
        if confidence is not None
        else "no confidence suffices"
    ]
    distance = reader.find_number("trust", "policy", "max_distance")
    if distance is not None:
        parts.append(f"distance from the cells of training at most {distance:.3g}")
    limit = reader.find_number("trust", "policy", "quality", "limit")
    if limit is not None:
        parts.append("sharpness, exposure, stain and size as in training")
    spread = reader.find_number("trust", "policy", "max_disagreement")
    if spread is not None:
        parts.append(f"disagreement of the networks at most {spread:.2g} nats")
    told = f"Accepted needs one name that fits, {join_words(parts)}."
    always = [format_class(name) for name in reader.find_names("trust", "policy", "always_review")]
    told += f" A person always looks at: {join_words(always)}." if always else ""
    notes = [escape_sentence(note) for note in reader.find_names("trust", "notes")]
    return " ".join([told, *notes])


def word_output(reader: Reader) -> str:
    """What comes out for an image."""
    names = read_classes(reader)
    told = f"One probability for each of the {len(names)} kinds; the name is the most probable one"
    if reader.find("trust", "policy", "cost"):
        told += ", weighed by the costs of mistakes"
    if is_calibrated(reader):
        return f"{told}. The calibrated probability decides: {word_policy(reader)}"
    return f"{told}. No threshold: every image gets a name."
