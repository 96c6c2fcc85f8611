"""Sentences about a trained network, each made from its records: shared by card and checklists.

Every function takes a `Reader` and returns Markdown, or gives up where the records do not suffice.
What this file does not do: it decides no order and asks nothing (`model_card`, `reporting_items`).
"""

from leukoscope.data.splits import ROLES
from leukoscope.labels import is_critical
from leukoscope.report.card_records import (
    Reader,
    count_things,
    format_percents,
    read_classes,
    read_leakage_status,
    show_count,
)
from leukoscope.report.card_trust_facts import find_local, word_calibration, word_home_figure
from leukoscope.report.evaluation_page import (
    BASELINE_NAMES,
    LEAKAGE_TEXTS,
    LEAKAGE_TITLES,
    METRIC_NAMES,
    Leak,
    format_figure,
    format_range,
    word_leak,
)
from leukoscope.report.markdown import (
    escape_sentence,
    escape_text,
    format_class,
    format_command,
    render_table,
)
from leukoscope.text import join_words

_LEAKED = "All images, LEAKED: copies of them lie in training"

_MISTAKES = 5
"""So many of the most frequent mistakes are told."""

_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc")

_AUGMENT = {
    "flip": "mirrored",
    "rotate_deg": "turned by up to {}°",
    "shift_frac": "shifted by up to {} of the side",
    "scale_frac": "scaled by up to {}",
    "shear_deg": "sheared by up to {}°",
    "stain": "stain strength varied by up to {}",
    "brightness": "brightness varied by up to {}",
    "blur_px": "blurred by up to {} px",
    "mixup": "pairs of images mixed (mixup {})",
    "cutmix": "patches exchanged (cutmix {})",
}

_ROLE_NAMES = {
    "train": "training",
    "val": "choice of the epoch",
    "calib": "calibration",
    "test": "test",
}


# -- how good --------------------------------------------------------------------------------------


def word_main_figure(reader: Reader) -> str:
    """The accuracy, its interval and what the split makes of it: never one without the other.

    Of a leaking split both figures are told, as everywhere (`report.word_leak`). A bundle without
    an evaluation tells what its own record of trust measured at home.
    """
    if reader.find("metrics", "accuracy") is None and reader.find("trust", "reference") is not None:
        return word_home_figure(reader)
    return word_figure(reader)


def word_figure(reader: Reader, at: tuple[str, ...] = ("metrics",)) -> str:
    """Accuracy of one evaluation with its leakage_status; `at` is where its `metrics.json` lies."""
    leakage_status = read_leakage_status(reader, *at, "leakage_status")
    accuracy = reader.read_interval(*at, "accuracy")
    n_images = reader.read_count(*at, "n_images")
    known = reader.read_flag(*at, "source_known")
    title = f"**{LEAKAGE_TITLES[leakage_status]}.**"
    if leakage_status == "leaking":
        lines = word_leak(_read_leak(reader, at), accuracy, n_images, known)
        return f"{title} {' '.join(lines)} {LEAKAGE_TEXTS[leakage_status]}"
    # A figure that says it counts copies, under a leakage_status that does not: no figure.
    if reader.find_flag(*at, "accuracy", "leaked"):
        reader.give_up(*at, "leakage_status")
    n_sources = reader.read_count(*at, "n_sources")
    sources = f"from {count_things(n_sources, 'source')}" if known else "from unknown sources"
    data = escape_text(reader.find_text(*at, "data") or "data without a name")
    return (
        f"Named right: {format_range(accuracy)} of {count_things(n_images, 'test image')} {sources}"
        f" ({data}). {title} {LEAKAGE_TEXTS[leakage_status]}"
    )


def _read_leak(reader: Reader, at: tuple[str, ...]) -> Leak:
    n_with_copy = reader.read_count(*at, "accuracy", "n_with_copy_in_training")
    rest = (*at, "accuracy", "source_disjoint")
    accuracy = reader.find_interval(*rest, "accuracy")
    if accuracy is None:
        reason = reader.find_text(*at, "accuracy", "source_disjoint_reason")
        return Leak(n_with_copy, 0, 0, reason=escape_sentence(reason or "none is on record"))
    return Leak(
        n_with_copy,
        reader.read_count(*rest, "n_images"),
        reader.read_count(*rest, "n_sources"),
        {"accuracy": accuracy},
    )


def _is_leaking(reader: Reader) -> bool:
    return read_leakage_status(reader, "metrics", "leakage_status") == "leaking"


def mark_leak(reader: Reader) -> str:
    """Return what a figure of a leaking split is marked with; "" for others."""
    return f" ({_LEAKED})" * _is_leaking(reader)


def word_overall(reader: Reader) -> str:
    """Other figures over all classes, with intervals, marked where they are leaked."""
    mark = f"{_LEAKED}: " * _is_leaking(reader)
    found = [
        f"{METRIC_NAMES[name]} {format_figure(interval)}"
        for name in _OVERALL
        if (interval := reader.find_interval("metrics", name)) is not None
    ]
    return f"{mark}{'; '.join(found)}." if found else reader.give_up("metrics")


def tabulate_classes(reader: Reader) -> str:
    """Each kind of cell: images, sources, sensitivity, PPV and specificity with intervals."""
    leaking = _is_leaking(reader)
    known = reader.find_flag("metrics", "source_known")
    rows = []
    for name in reader.read_names("metrics", "classes"):
        at = ("metrics", "per_class", name)
        sources = reader.find_count(*at, "n_sources") if known else None
        rows.append(
            [
                format_class(name) + " (critical)" * is_critical(name),
                show_count(reader.find_count(*at, "n_images")),
                "unknown" if sources is None else f"{sources:,}",
                *(
                    format_percents(reader.find_interval(*at, metric))
                    for metric in ("recall", "precision", "specificity")
                ),
            ]
        )
    header = ["Kind of cell", "Images", "Sources", "Sensitivity", "PPV", "Specificity"]
    told = (
        "Sensitivity: of all cells of this kind, how many were found. PPV: of all cells called by"
        " this name, how many really were. Specificity: of all other cells, how many were not"
        " called by this name. In brackets: 95 % interval. Critical: overlooking such a cell can"
        " harm a patient."
    )
    if leaking:
        told = f"**{_LEAKED}.** {told}"
    return f"{told}\n\n{render_table(header, rows)}"


def word_classes_accuracy(reader: Reader) -> str:
    """Sensitivity and specificity of each kind in one line."""
    mark = mark_leak(reader)
    parts = []
    for name in reader.read_names("metrics", "classes"):
        at = ("metrics", "per_class", name)
        found = [
            format_percents(reader.find_interval(*at, metric))
            for metric in ("recall", "specificity")
        ]
        parts.append(f"{format_class(name)} {found[0]}, {found[1]}")
    return (
        f"Sensitivity and specificity, with 95 % intervals{mark}: {'; '.join(parts)}. PPV and"
        " negative predictive values depend on how common each kind is in the test set."
    )


def tabulate_baselines(reader: Reader) -> str:
    """What methods reach that know nothing of cells, beside the network."""
    leaking = _is_leaking(reader)
    rest = ("metrics", "accuracy", "source_disjoint")
    without = leaking and reader.find(*rest, "accuracy") is not None
    header = ["Method", "All images, LEAKED" if leaking else "Accuracy"]
    header += ["Without copies"] * without + ["What it does"]
    network = [format_percents(reader.read_interval("metrics", "accuracy"))]
    network += [format_percents(reader.find_interval(*rest, "accuracy"))] * without
    rows = [["This network", *network, ""]]
    for name in reader.read_keys("metrics", "baselines"):
        at = ("metrics", "baselines", name)
        figures = [format_percents(reader.find_interval(*at, "accuracy"))]
        figures += [format_percents(reader.find_interval(*rest, "baselines", name))] * without
        told = escape_sentence(reader.find_text(*at, "description") or "")
        rows.append([escape_text(BASELINE_NAMES.get(name, name)), *figures, told])
    told = (
        "A baseline is what a method reaches that knows nothing of cells. A network has to be"
        " clearly better to have shown anything."
    )
    return f"{told}\n\n{render_table(header, rows, words=(0, len(header) - 1))}"


def word_failures(reader: Reader) -> str:
    """The most frequent mistakes, with counts."""
    mark = mark_leak(reader)
    names = reader.read_names("metrics", "classes")
    found = []
    total = wrong = 0
    for i, true in enumerate(names):
        row = [reader.read_count("metrics", "confusion", i, k) for k in range(len(names))]
        total, wrong = total + sum(row), wrong + sum(row) - row[i]
        found += [(row[k], sum(row), true, names[k]) for k in range(len(names)) if k != i]
    worst = [x for x in sorted(found, key=lambda x: -x[0])[:_MISTAKES] if x[0]]
    told = "; ".join(
        f"{format_class(true)} called {format_class(called)}: {n:,} of {of:,}"
        for n, of, true, called in worst
    )
    lead = f"{wrong:,} of {total:,} test images got a wrong name{mark}."
    return f"{lead} Most frequent: {told}." if told else lead


def word_measures(reader: Reader) -> str:
    """Which measures the evaluation reports."""
    shown = [METRIC_NAMES[name] for name in METRIC_NAMES if reader.find("metrics", name)]
    if not shown:
        reader.give_up("metrics")
    return (
        f"Over all classes: {'; '.join(shown)}. For each class: sensitivity, PPV, specificity, F1,"
        " areas under the ROC and the precision-recall curve. Baselines: the same accuracy for"
        " methods that know nothing of cells."
    )


def word_uncertainty(reader: Reader) -> str:
    """How intervals were made."""
    reader.read_interval("metrics", "accuracy")
    known = reader.read_flag("metrics", "source_known")
    basis = (
        f"over {count_things(reader.read_count('metrics', 'n_sources'), 'source')}, so that images"
        " of one source are not counted as independent"
        if known
        else "over single images, since sources are unknown; if images share sources, the true"
        " intervals are wider"
    )
    return (
        f"95 % intervals {basis}. They cover chance in the draw of test images, not another"
        " laboratory, stain or seed."
    )


# -- on whose blood --------------------------------------------------------------------------------


def word_classes(reader: Reader) -> str:
    """The kinds of cell that the network can name."""
    names = read_classes(reader)
    return f"{len(names)} kinds: {join_words([format_class(name) for name in names])}."


def word_data(reader: Reader) -> str:
    """The name of the data and how many images and sources it holds."""
    name = escape_text(reader.read_text("data", "name"))
    roles = [role for role in ROLES if reader.find_keys("data", "counts", role)]
    if not roles:
        reader.give_up("data", "counts")
    total = sum(_count_role(reader, role) for role in roles)
    parts = [f"{_count_role(reader, role):,} for {_ROLE_NAMES[role]}" for role in roles]
    return f"“{name}”: {total:,} images ({', '.join(parts)}). {word_sources(reader)}"


def _count_role(reader: Reader, role: str) -> int:
    keys = reader.find_keys("data", "counts", role)
    return sum(reader.find_count("data", "counts", role, name) or 0 for name in keys)


def word_sources(reader: Reader) -> str:
    """Whether it is known which images come from one patient, slide, field or picture."""
    if not reader.read_flag("data", "sources_known"):
        return (
            "Which images share a source (patient, slide, field or original picture) is not known."
        )
    parts = [
        f"{n:,} for {_ROLE_NAMES[role]}"
        for role in ROLES
        if (n := reader.find_count("data", "n_sources", role))
    ]
    return (
        "Sources (patients, slides, fields or original pictures: what images come from together)"
        f" are known: {', '.join(parts)}."
    )


def tabulate_data(reader: Reader) -> str:
    """Images of each class in each role, with their sources where these are known."""
    known = reader.read_flag("data", "sources_known")
    roles = [role for role in ROLES if reader.find_keys("data", "counts", role)]
    if not roles:
        reader.give_up("data", "counts")
    rows = []
    for name in reader.read_names("data", "classes"):
        cells = []
        for role in roles:
            images = reader.find_count("data", "counts", role, name) or 0
            sources = reader.find_count("data", "sources", role, name) if known else None
            cells.append(f"{images:,}" + (f" ({sources:,})" if sources is not None else ""))
        rows.append([format_class(name), *cells])
    header = ["Kind of cell", *(_ROLE_NAMES[role].capitalize() for role in roles)]
    told = "Images of each kind" + (", in brackets their sources." if known else ".")
    return f"{told}\n\n{render_table(header, rows)}"


def word_partition(reader: Reader) -> str:
    """How images came to their roles."""
    protocol = reader.read_text("data", "protocol")
    told = {
        "random": "Single images were drawn at random",
        "grouped": "All images of a source were kept in one role"
        if reader.find_flag("data", "sources_known")
        else "Sources were to be kept together, but none are known, so single images were drawn",
        "given": "The parts are those that came with the data",
        "kfold": "One fold of a k-fold split",
    }.get(protocol, "Another protocol")
    counts = [
        f"{_count_role(reader, r):,} {_ROLE_NAMES[r]}" for r in ROLES if _count_role(reader, r)
    ]
    seed = reader.read_count("data", "seed")
    return f"{told} (protocol {escape_text(protocol)}, seed {seed}): {', '.join(counts)}."


def word_disjoint(reader: Reader) -> str:
    """At what level test and training are apart."""
    leakage_status = read_leakage_status(reader, "metrics", "leakage_status")
    found = [escape_sentence(x) for x in reader.find_names("metrics", "leakage_sentences")]
    level = {
        "disjoint": "Sources: no source of a test image lies in training.",
        "unproven": "Images only; hidden copies cannot be excluded.",
        "suspect": "Images only, and there are signs of copies of test images in training.",
        "leaking": "Not apart: test images share sources or bytes with training.",
    }[leakage_status]
    return " ".join([level, *found])


def word_missing(reader: Reader) -> str:
    """What is missing in the table of images."""
    known = reader.read_flag("data", "sources_known")
    aside = reader.find_count("data", "n_left_aside")
    told = "Every image has a label; unreadable files never enter the table of images."
    told += " The source is known for all." if known else " The source is not known for all."
    return told + (f" {count_things(aside, 'image')} left aside by the split." if aside else "")


def word_crops(reader: Reader) -> str:
    """Whether whole images or boxes in fields were used."""
    boxed = reader.read_count("data", "n_boxed")
    if not boxed:
        return "Whole image files were used, one label each."
    return f"{count_things(boxed, 'cell')} were cut out of larger fields by given boxes."


def word_pixels(reader: Reader) -> str:
    """The size of the image files."""
    sides = [
        (reader.read_count("data", name, 0), reader.read_count("data", name, 1))
        for name in ("width_px", "height_px")
    ]
    shown = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in sides]
    return f"Image files are {shown[0]} pixels wide and {shown[1]} high."


def word_columns(reader: Reader) -> str:
    """Which further columns the table of images has, by which subgroups could be formed; "" where
    there are none."""
    names = reader.find_names("data", "columns")
    if not names:
        return ""
    return (
        f"The table of images has further columns: {join_words([escape_text(x) for x in names])}."
        " No figure in this card is broken down by them."
    )


def word_counts_by_class(reader: Reader) -> str:
    """Images of each class in training and test, in one line."""
    parts = []
    for role in ("train", "test"):
        keys = reader.read_keys("data", "counts", role)
        each = [
            f"{format_class(name)} {show_count(reader.find_count('data', 'counts', role, name))}"
            for name in keys
        ]
        parts.append(f"{_ROLE_NAMES[role].capitalize()}: {', '.join(each)}.")
    return " ".join(parts)


# -- how it was made -------------------------------------------------------------------------------


def word_network(reader: Reader) -> str:
    """The network in words."""
    name = reader.find_text("model", "spec", "name") or reader.read_text("bundle", "network")
    side = reader.find_count("model", "spec", "image_size") or _read_side(reader)
    stages = [
        f"{kind} x {depth}"
        for i in range(reader.find_length("model", "spec", "stages"))
        if (kind := reader.find_text("model", "spec", "stages", i, "kind"))
        and (depth := reader.find_count("model", "spec", "stages", i, "depth"))
    ]
    told = (
        f"{escape_text(name)}: a CoAtNet, a neural network whose first layers compare neighbouring"
        " pixels (convolution) and whose last ones relate all parts of the image to each other"
        f" (attention). Input: {side} x {side} pixels."
    )
    return told + (f" Stages: {escape_text(', '.join(stages))}." if stages else "")


def _read_side(reader: Reader) -> int:
    found = reader.find_count("bundle", "preprocessing", "image_size")
    return found or reader.read_count("recipe", "input", "image_size")


def word_preprocessing(reader: Reader) -> str:
    """What happens to an image before the network sees it."""
    at = ("model", "input") if reader.find("model", "input") else ("bundle", "preprocessing")
    side = reader.read_count(*at, "image_size")
    resize = reader.read_text(*at, "resize")
    how = {
        "stretch": "stretched, without regard to its shape, to a square",
        "pad": "fitted, its shape kept, into a square",
    }.get(resize, escape_text(resize))
    filter_name = escape_text(reader.find_text(*at, "interpolation") or "unknown")
    others = [
        f"{escape_text(key)} {escape_text(str(value))}"
        for key in reader.find_keys(*at)
        if key not in ("image_size", "resize", "interpolation", "normalise")
        and isinstance(value := reader.find(*at, key), str | int | float)
    ]
    return (
        f"Each image is decoded to 8-bit RGB, {how} of {side} x {side} pixels (interpolation"
        f" {filter_name}) and scaled to the range -1 to 1."
        + (f" Further settings: {', '.join(others)}." if others else "")
    )


def word_augmentation(reader: Reader) -> str:
    """How training images were varied."""
    found = []
    for key in reader.read_keys("recipe", "augment"):
        value = reader.find("recipe", "augment", key)
        if value:
            told = _AUGMENT.get(key, f"{escape_text(key)} {{}}")
            found.append(told.format(escape_text(f"{value:g}" if value is not True else "")))
    return (
        f"Training images were {', '.join(found)}." if found else "Training images were not varied."
    )


def word_training(reader: Reader) -> str:
    """Recipe, optimiser, batch, epochs and seed."""
    optim, train = ("recipe", "optim"), ("recipe", "train")
    name = escape_text(reader.find_text("recipe", "name") or "without a name")
    told = (
        f"Recipe “{name}”: AdamW, learning rate {reader.read_number(*optim, 'lr'):g}"
        f" ({escape_text(reader.read_text(*optim, 'schedule'))}), weight decay"
        f" {reader.read_number(*optim, 'weight_decay'):g}, batches of"
        f" {reader.read_count(*train, 'batch_size')},"
        f" {count_things(reader.read_count(*train, 'epochs'), 'epoch')}, seed {word_seed(reader)},"
        f" precision {escape_text(reader.read_text(*train, 'precision'))}."
    )
    extras = [
        f"{label} {value:g}"
        for label, path in (
            ("label smoothing", (*optim, "label_smoothing")),
            ("gradients clipped at", (*optim, "grad_clip")),
            ("moving average of weights", (*train, "ema_decay")),
        )
        if (value := reader.find_number(*path))
    ]
    return told + (f" Also: {', '.join(extras)}." if extras else "")


def word_seed(reader: Reader) -> str:
    """The seed of training; several for an ensemble."""
    found = reader.find("provenance", "seed")
    if isinstance(found, int | str) and not isinstance(found, bool):
        return escape_text(str(found))
    return str(reader.read_count("recipe", "train", "seed"))


def word_balance(reader: Reader) -> str:
    """What was done about rare classes."""
    weights = reader.read_text("recipe", "optim", "class_weights")
    if weights == "balanced":
        return "Rare classes weigh more in the loss, by the inverse of their share in training."
    if weights == "none":
        return "Nothing: every training image counts alike, so that common classes weigh more."
    return f"Class weights: {escape_text(weights)}."


def word_initial(reader: Reader) -> str:
    """Where the weights began."""
    reader.read_keys("recipe", "train")
    return f"Random numbers (truncated normal), seed {word_seed(reader)}; no pretrained weights."


def word_selection(reader: Reader) -> str:
    """Which epoch was kept, and why."""
    best = reader.read_count("model", "best_epoch")
    by = escape_text(reader.read_text("recipe", "train", "select"))
    n = reader.find_length("history")
    return f"The epoch with the best {by} on the role val was kept: epoch {best}" + (
        f" of {n}." if n else "."
    )


def word_cost(reader: Reader) -> str:
    """What training cost."""
    n = reader.find_length("history")
    seconds = [reader.find_number("history", i, "Seconds") for i in range(n)]
    known = [x for x in seconds if x is not None]
    if not n or len(known) != n:
        reader.give_up("history")
    total = sum(known) / 60
    cores = reader.find_count("provenance", "cores")
    told = (
        f"{count_things(n, 'epoch')} in {total:,.0f} minutes"
        if total >= 1
        else (f"{count_things(n, 'epoch')} in {sum(known):.0f} seconds")
    )
    return told + (f" on a machine with {count_things(cores, 'processor core')}." if cores else ".")


def word_software(reader: Reader) -> str:
    """Versions of leukoscope, Python and the packages that matter."""
    own = escape_text(reader.read_text("provenance", "leukoscope"))
    told = [f"leukoscope {own}"]
    python = reader.find_text("provenance", "python")
    told += [f"Python {escape_text(python)}"] if python else []
    for name in reader.find_keys("provenance", "packages"):
        version = reader.find_text("provenance", "packages", name)
        told += [f"{escape_text(name)} {escape_text(version)}"] if version else []
    return f"{', '.join(told)}."


def word_ensemble(reader: Reader) -> str:
    """Of how many networks it is made, or from which one it learned."""
    reader.read_text("provenance", "leukoscope")
    members = count_members(reader)
    if members:
        told = f"The mean of {count_things(members, 'network')}"
        views = reader.find_text("ensemble", "tta")
        if views and views != "none":
            told += f", each of which sees every image in several views ({escape_text(views)})"
        return f"{told}."
    teacher = reader.find_text("distillation", "teacher", "network")
    if teacher:
        return f"One network, taught by another one ({escape_text(teacher)})."
    return "None: one network."


def count_members(reader: Reader) -> int:
    """Return how many networks an ensemble has, a bundle's by its provenance; 0 for one network."""
    return reader.find_length("ensemble", "members") or reader.find_length("provenance", "members")


def list_hashes(reader: Reader) -> tuple[str, ...]:
    """SHA-256 of weights and split, and the name of the recipe's content."""
    weights = reader.find_text("model", "sha256") or reader.read_text(
        "bundle", "provenance", "weights_sha256"
    )
    lines = [f"Weights SHA-256: {escape_text(weights)}."]
    for label, key in (("Split SHA-256", "split_sha256"), ("Recipe", "recipe_hash")):
        found = reader.find_text("provenance", key)
        lines += [f"{label}: {escape_text(found)}."] if found else []
    return tuple(lines)


def word_command(reader: Reader) -> str:
    """The command that trained it, absolute paths as names."""
    return format_command(reader.read_names("provenance", "command"))


def word_predictors(reader: Reader) -> str:
    """What the network sees."""
    side = reader.read_count("model", "input", "image_size")
    return f"The pixels of one image, {side} x {side} in colour; nothing about the patient."


def write_title(reader: Reader) -> str:
    """The network and the data that it was trained on."""
    network = reader.find_text("model", "spec", "name") or reader.find_text("bundle", "network")
    data = reader.find_text("data", "name")
    if data is None and find_local(reader) is None:
        data = reader.find_text("trust", "reference", "data")
    title = escape_text(network or "a network without a name")
    return f"{title}, trained on “{escape_text(data)}”" if data else title


def word_updates(reader: Reader) -> str:
    """Calibration is the only thing that changes after training; without it, a person tells."""
    if reader.read_text("trust", "weights_sha256") != reader.find_text("model", "sha256"):
        reader.give_up("trust", "weights_sha256")
    return f"Weights were not changed after training. {word_calibration(reader)}"


def word_internal_figure(reader: Reader) -> str:
    """The main figure; cells of a laboratory that levels were fitted to are no internal test."""
    if find_local(reader) is not None:
        reader.read_interval("metrics", "accuracy")
    return word_main_figure(reader)
