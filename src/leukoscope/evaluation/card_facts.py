"""Sentences about a trained network, each made from its records: shared by card and checklists.

Every function takes a `Reader` and returns Markdown, or gives up where the records do not suffice.
What this file does not do: it decides no order and asks nothing (`model_card`, `reporting_items`).
"""

from leukoscope.data.audit import FEW_SOURCES
from leukoscope.data.splits import FEW_IMAGES, ROLES
from leukoscope.evaluation.card_records import (
    Reader,
    escape_sentence,
    escape_text,
    format_class,
    format_command,
    join_names,
    render_list,
    render_table,
)
from leukoscope.evaluation.intervals import Interval
from leukoscope.evaluation.report import (
    FLOOR_NAMES,
    METRIC_NAMES,
    VERDICT_TEXTS,
    VERDICT_TITLES,
    Leak,
    Verdict,
    format_percent,
    format_range,
    word_leak,
)
from leukoscope.evaluation.trust_report import format_share
from leukoscope.labels import CELL_TYPES, is_critical

LOW_SENSITIVITY = 0.9
"""A kind of cell of which fewer than nine in ten are found is named among the limits."""

_LEAKED = "All images, LEAKED: copies of them lie in training"

_MISTAKES = 5
"""So many of the most frequent mistakes are told."""

_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc")

_GRANULOCYTES = ("promyelocyte", "myelocyte", "metamyelocyte")

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

_METHODS = {
    "none": "stated confidence is left as the network gives it",
    "temperature": "one number, the temperature, rescales confidence",
    "bias_corrected": "a temperature and one shift per class rescale confidence",
}


# -- how good --------------------------------------------------------------------------------------


def word_main_figure(reader: Reader) -> str:
    """The accuracy, its interval and what the split makes of it: never one without the other.

    Of a leaking split both figures are told, as everywhere (`report.word_leak`). A bundle without
    an evaluation tells what its own record of trust measured at home.
    """
    if reader.find("metrics", "accuracy") is None and reader.find("trust", "home") is not None:
        return _word_home_figure(reader)
    return _word_figure(reader, ("metrics",))


def _read_verdict(reader: Reader, *path: str | int) -> Verdict:
    found = reader.read_text(*path)
    for verdict in VERDICT_TITLES:
        if found == verdict:
            return verdict
    reader.give_up(*path)


def _word_figure(reader: Reader, at: tuple[str, ...]) -> str:
    """Accuracy of one evaluation with its verdict; `at` is where its `metrics.json` lies."""
    verdict = _read_verdict(reader, *at, "verdict")
    accuracy = reader.read_interval(*at, "accuracy")
    n_images = reader.read_count(*at, "n_images")
    known = reader.read_flag(*at, "source_known")
    title = f"**{VERDICT_TITLES[verdict]}.**"
    if verdict == "leaking":
        lines = word_leak(_read_leak(reader, at), accuracy, n_images, known)
        return f"{title} {' '.join(lines)} {VERDICT_TEXTS[verdict]}"
    # A figure that says it counts copies, under a verdict that does not: no figure.
    if reader.find_flag(*at, "accuracy", "leaked"):
        reader.give_up(*at, "verdict")
    n_sources = reader.read_count(*at, "n_sources")
    sources = f"from {_count(n_sources, 'source')}" if known else "from unknown sources"
    data = escape_text(reader.find_text(*at, "data") or "data without a name")
    return (
        f"Named right: {format_range(accuracy)} of {_count(n_images, 'test image')} {sources}"
        f" ({data}). {title} {VERDICT_TEXTS[verdict]}"
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


def _word_home_figure(reader: Reader) -> str:
    home = ("trust", "home")
    verdict = _read_verdict(reader, *home, "verdict")
    accuracy = format_range(reader.read_interval(*home, "accuracy"))
    images = _count(reader.read_count(*home, "n_images"), "test image")
    data = escape_text(reader.find_text(*home, "data") or "data without a name")
    title = f"**{VERDICT_TITLES[verdict]}.**"
    if verdict == "leaking":
        return (
            f"{title} Leaked: {accuracy} of {images} ({data}), copies of training images among"
            f" them. Without copies: no figure is on record. {VERDICT_TEXTS[verdict]}"
        )
    known = reader.read_flag(*home, "source_known")
    sources = (
        f"from {_count(reader.read_count(*home, 'n_sources'), 'source')}"
        if known
        else "from unknown sources"
    )
    return (
        f"Named right: {accuracy} of {images} {sources} ({data}). {title} {VERDICT_TEXTS[verdict]}"
    )


def _is_leaking(reader: Reader) -> bool:
    return _read_verdict(reader, "metrics", "verdict") == "leaking"


def _mark(reader: Reader) -> str:
    return f" ({_LEAKED})" * _is_leaking(reader)


def word_overall(reader: Reader) -> str:
    """Other figures over all classes, with intervals, marked where they are leaked."""
    mark = f"{_LEAKED}: " * _is_leaking(reader)
    found = [
        f"{METRIC_NAMES[name]} {_format_three(interval)}"
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
                _show_count(reader.find_count(*at, "n_images")),
                "unknown" if sources is None else f"{sources:,}",
                *(
                    _format_percents(reader.find_interval(*at, metric))
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
    mark = _mark(reader)
    parts = []
    for name in reader.read_names("metrics", "classes"):
        at = ("metrics", "per_class", name)
        found = [
            _format_percents(reader.find_interval(*at, metric))
            for metric in ("recall", "specificity")
        ]
        parts.append(f"{format_class(name)} {found[0]}, {found[1]}")
    return (
        f"Sensitivity and specificity, with 95 % intervals{mark}: {'; '.join(parts)}. PPV and"
        " negative predictive values depend on how common each kind is in the test set."
    )


def tabulate_floors(reader: Reader) -> str:
    """What methods reach that know nothing of cells, beside the network."""
    leaking = _is_leaking(reader)
    rest = ("metrics", "accuracy", "source_disjoint")
    without = leaking and reader.find(*rest, "accuracy") is not None
    header = ["Method", "All images, LEAKED" if leaking else "Accuracy"]
    header += ["Without copies"] * without + ["What it does"]
    network = [_format_percents(reader.read_interval("metrics", "accuracy"))]
    network += [_format_percents(reader.find_interval(*rest, "accuracy"))] * without
    rows = [["This network", *network, ""]]
    for name in reader.read_keys("metrics", "floors"):
        at = ("metrics", "floors", name)
        figures = [_format_percents(reader.find_interval(*at, "accuracy"))]
        figures += [_format_percents(reader.find_interval(*rest, "floors", name))] * without
        told = escape_sentence(reader.find_text(*at, "description") or "")
        rows.append([escape_text(FLOOR_NAMES.get(name, name)), *figures, told])
    told = (
        "A floor is what a method reaches that knows nothing of cells. A network has to be clearly"
        " better to have shown anything."
    )
    return f"{told}\n\n{render_table(header, rows, words=(0, len(header) - 1))}"


def word_failures(reader: Reader) -> str:
    """The most frequent mistakes, with counts."""
    mark = _mark(reader)
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
        " areas under the ROC and the precision-recall curve. Floors: the same accuracy for"
        " methods that know nothing of cells."
    )


def word_uncertainty(reader: Reader) -> str:
    """How intervals were made."""
    reader.read_interval("metrics", "accuracy")
    known = reader.read_flag("metrics", "source_known")
    basis = (
        f"over {_count(reader.read_count('metrics', 'n_sources'), 'source')}, so that images of one"
        " source are not counted as independent"
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
    names = _read_classes(reader)
    return f"{len(names)} kinds: {join_names([format_class(name) for name in names])}."


def _read_classes(reader: Reader) -> tuple[str, ...]:
    return reader.find_names("model", "classes") or reader.read_names("bundle", "classes")


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
    verdict = _read_verdict(reader, "metrics", "verdict")
    found = [escape_sentence(x) for x in reader.find_names("metrics", "verdict_sentences")]
    level = {
        "disjoint": "Sources: no source of a test image lies in training.",
        "unproven": "Images only; hidden copies cannot be excluded.",
        "suspect": "Images only, and there are signs of copies of test images in training.",
        "leaking": "Not apart: test images share sources or bytes with training.",
    }[verdict]
    return " ".join([level, *found])


def word_missing(reader: Reader) -> str:
    """What is missing in the table of images."""
    known = reader.read_flag("data", "sources_known")
    aside = reader.find_count("data", "n_left_aside")
    told = "Every image has a label; unreadable files never enter the table of images."
    told += " The source is known for all." if known else " The source is not known for all."
    return told + (f" {_count(aside, 'image')} left aside by the split." if aside else "")


def word_crops(reader: Reader) -> str:
    """Whether whole images or boxes in fields were used."""
    boxed = reader.read_count("data", "n_boxed")
    if not boxed:
        return "Whole image files were used, one label each."
    return f"{_count(boxed, 'cell')} were cut out of larger fields by given boxes."


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
        f"The table of images has further columns: {join_names([escape_text(x) for x in names])}."
        " No figure in this card is broken down by them."
    )


def word_counts_by_class(reader: Reader) -> str:
    """Images of each class in training and test, in one line."""
    parts = []
    for role in ("train", "test"):
        keys = reader.read_keys("data", "counts", role)
        each = [
            f"{format_class(name)} {_show_count(reader.find_count('data', 'counts', role, name))}"
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
        f" {_count(reader.read_count(*train, 'epochs'), 'epoch')}, seed {word_seed(reader)},"
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
        f"{_count(n, 'epoch')} in {total:,.0f} minutes"
        if total >= 1
        else (f"{_count(n, 'epoch')} in {sum(known):.0f} seconds")
    )
    return told + (f" on a machine with {_count(cores, 'processor core')}." if cores else ".")


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
    members = _count_members(reader)
    if members:
        told = f"The mean of {_count(members, 'network')}"
        views = reader.find_text("ensemble", "tta")
        if views and views != "none":
            told += f", each of which sees every image in several views ({escape_text(views)})"
        return f"{told}."
    teacher = reader.find_text("distillation", "teacher", "network")
    if teacher:
        return f"One network, taught by another one ({escape_text(teacher)})."
    return "None: one network."


def _count_members(reader: Reader) -> int:
    """Networks of an ensemble; a bundle knows them from the provenance. 0 for a single network."""
    return reader.find_length("ensemble", "members") or reader.find_length("provenance", "members")


def word_hashes(reader: Reader) -> str:
    """SHA-256 of weights and split, and the name of the recipe's content."""
    weights = reader.find_text("model", "sha256") or reader.read_text(
        "bundle", "provenance", "weights_sha256"
    )
    lines = [f"Weights SHA-256: {escape_text(weights)}"]
    for label, key in (("Split SHA-256", "split_sha256"), ("Recipe", "recipe_hash")):
        found = reader.find_text("provenance", key)
        lines += [f"{label}: {escape_text(found)}"] if found else []
    return render_list(lines)


def word_command(reader: Reader) -> str:
    """The command that trained it, absolute paths as names."""
    return format_command(reader.read_names("provenance", "command"))


# -- when it refuses -------------------------------------------------------------------------------

NOT_CALIBRATED = (
    "No calibration is on record: stated confidence may be far from real success, and every image"
    " gets the name of a cell, however strange it is. `leukoscope calibrate` sets that right."
)


def is_calibrated(reader: Reader) -> bool:
    """Tell whether a trust record is there."""
    return bool(reader.find_keys("trust", "policy"))


def word_calibration(reader: Reader) -> str:
    """How stated confidence was set right, and by how much."""
    if not is_calibrated(reader):
        return NOT_CALIBRATED
    method = reader.read_text("trust", "policy", "calibration", "method")
    told = f"Fitted on {_count(reader.read_count('trust', 'n_calib'), 'image')} of the role calib:"
    told += f" {_METHODS.get(method, escape_text(method))}."
    before, after = (reader.find_number("trust", "home", name) for name in ("ece_raw", "ece"))
    if before is None or after is None:
        return f"{told} No figure on test images is on record."
    right = reader.find_interval("trust", "home", "accuracy")
    mark = _mark_home(reader)
    named = f" Names given after calibration: {format_range(right)} right{mark}." if right else ""
    return (
        f"{told} On test images stated confidence and real success lie {_format_points(after)}"
        f" apart on average; before calibration, {_format_points(before)}{mark}."
        f"{named}"
    )


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
    coverage = reader.find_number("trust", "home", "coverage")
    size = reader.find_number("trust", "home", "mean_set_size")
    if coverage is None or size is None:
        return f"{told} No figure on test images is on record."
    return (
        f"{told} Found on test images: {format_share(coverage)}, with {size:.2f} names on average"
        f"{_mark_home(reader)}. The promise holds for cells of the same kind and origin only."
    )


def word_refusal(reader: Reader) -> str:
    """How many cells are accepted, how often rightly, and when a person looks."""
    if not is_calibrated(reader):
        return "Never: no limits are on record, so every image gets a name."
    home = ("trust", "home")
    told = "Each cell is accepted, sent to a person for review, or refused as unknown."
    target = reader.find_number("trust", "asked", "target_accuracy")
    told += f" Aimed at: {format_share(target)} right among accepted." if target else ""
    accepted = reader.find_interval(*home, "accepted")
    right = reader.find_interval(*home, "accepted_accuracy")
    review = reader.find_number(*home, "review_frac")
    unknown = reader.find_number(*home, "unknown_frac")
    if accepted is None or review is None or unknown is None:
        return f"{told} No figure on test images is on record."
    n_images = reader.find_count(*home, "n_images")
    told += f" On {'' if n_images is None else f'{n_images:,} '}test images:"
    told += f" {format_range(accepted)} accepted"
    told += f", of these {format_range(right)} named right" if right is not None else ""
    return (
        f"{told}; {format_share(review)} to review; {format_share(unknown)} unknown"
        f"{_mark_home(reader)}."
    )


def _mark_home(reader: Reader) -> str:
    """What the split makes of figures at home."""
    verdict = _read_verdict(reader, "trust", "home", "verdict")
    if verdict == "disjoint":
        return ""
    return f" ({'LEAKED: ' * (verdict == 'leaking')}{VERDICT_TITLES[verdict].lower()})"


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
    told = f"Accepted needs one name that fits, {join_names(parts)}."
    always = [format_class(name) for name in reader.find_names("trust", "policy", "always_review")]
    told += f" A person always looks at: {join_names(always)}." if always else ""
    notes = [escape_sentence(note) for note in reader.find_names("trust", "notes")]
    return " ".join([told, *notes])


def word_output(reader: Reader) -> str:
    """What comes out for an image."""
    names = _read_classes(reader)
    told = f"One probability for each of the {len(names)} kinds; the name is the most probable one"
    if reader.find("trust", "policy", "cost"):
        told += ", weighed by the costs of mistakes"
    if is_calibrated(reader):
        return f"{told}. The calibrated probability decides: {word_policy(reader)}"
    return f"{told}. No threshold: every image gets a name."


# -- limits, other data, bundle --------------------------------------------------------------------


def list_limits(reader: Reader) -> str:
    """What the records say against believing too much, as a list."""
    names = _read_classes(reader)
    found = [
        *_limit_split(reader),
        *_limit_classes(reader, names),
        *_limit_sensitivity(reader, names),
        *_limit_scope(reader),
    ]
    if not is_calibrated(reader):
        found.append("It never refuses: no calibration is on record.")
    for note in reader.find_names("data", "warnings"):
        found.append(f"Audit of the split: {escape_sentence(note)}")
    for note in reader.find_names("metrics", "warnings"):
        found.append(f"Evaluation: {escape_sentence(note)}")
    return render_list(found)


def word_limits(reader: Reader) -> str:
    """The same in one line."""
    return " ".join(line.removeprefix("- ") for line in list_limits(reader).splitlines())


def _limit_split(reader: Reader) -> list[str]:
    if reader.find_text("metrics", "verdict") is None:
        return []
    verdict = _read_verdict(reader, "metrics", "verdict")
    if verdict == "disjoint":
        return []
    return [f"{VERDICT_TITLES[verdict]}. {VERDICT_TEXTS[verdict]}"]


def _limit_classes(reader: Reader, names: tuple[str, ...]) -> list[str]:
    found = []
    if reader.find_flag("data", "sources_known"):
        few = [
            f"{format_class(name)} {n:,}"
            for name in names
            if (n := reader.find_count("data", "sources", "train", name)) is not None
            and n < FEW_SOURCES
        ]
        if few:
            found.append(
                f"Few independent examples, whatever the number of images: fewer than {FEW_SOURCES}"
                f" sources in training for {', '.join(few)}."
            )
    few = [
        f"{format_class(name)} {n:,}"
        for name in names
        if (n := reader.find_count("metrics", "per_class", name, "n_images")) is not None
        and n < FEW_IMAGES
    ]
    if few:
        found.append(f"Few test images (below {FEW_IMAGES}), so wide intervals: {', '.join(few)}.")
    absent = [
        cell.display
        for cell in CELL_TYPES
        if cell.critical
        and cell.name not in names
        and not (cell.name == "immature_granulocyte" and set(_GRANULOCYTES) & set(names))
        and not (cell.name in _GRANULOCYTES and "immature_granulocyte" in names)
    ]
    if absent:
        found.append(
            "It knows no class for these critical cells, and can only call them something else or"
            f" refuse them: {join_names(absent)}."
        )
    return found


def _limit_sensitivity(reader: Reader, names: tuple[str, ...]) -> list[str]:
    if reader.find_text("metrics", "verdict") is None:
        return []
    mark = _mark(reader)
    recalls = {
        name: interval
        for name in names
        if (interval := reader.find_interval("metrics", "per_class", name, "recall")) is not None
    }
    low = [
        f"{format_class(name)} {_format_percents(interval)}"
        for name, interval in recalls.items()
        if interval.value < LOW_SENSITIVITY
    ]
    critical = [
        f"{format_class(name)} {_format_percents(interval)}"
        for name, interval in recalls.items()
        if is_critical(name)
    ]
    found = []
    if low:
        found.append(
            f"Fewer than {100 * LOW_SENSITIVITY:.0f} in 100 found{mark}: {', '.join(low)}."
        )
    if critical:
        found.append(
            "Critical cells, whose oversight can harm a patient, and how many of them are found"
            f"{mark}: {', '.join(critical)}."
        )
    return found


def _limit_scope(reader: Reader) -> list[str]:
    found = []
    if reader.find_names("provenance", "command") or reader.find("provenance", "seed"):
        n = _count_members(reader)
        networks = f"{n} networks" if n else f"one training (seed {word_seed(reader)})"
        found.append(
            f"One split and {networks}: how far figures move with another split or seed was not"
            " measured here."
        )
    others = [name for name in reader.find_keys("evaluations") if name not in ROLES]
    if not others:
        found.append(
            "No evaluation on other data is on record: how it does on another stain, scanner or"
            " laboratory is unknown."
        )
    return found


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
        figure = " ".join([_word_figure(reader, at), *notes])
        rows.append([f"{data}, {role}" if role else data, figure])
    return render_table(["Data, role", "Figure and what it is worth"], rows, words=(0, 1))


def word_external(reader: Reader) -> str:
    """Figures on data other than those of training."""
    others = [name for name in reader.find_keys("evaluations") if name not in ROLES]
    if not others:
        reader.give_up("evaluations")
    return " ".join(
        f"{escape_text(reader.find_text('evaluations', name, 'data') or name)}:"
        f" {_word_figure(reader, ('evaluations', name))}"
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


# -- figures in words ------------------------------------------------------------------------------


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _show_count(n: int | None) -> str:
    return "–" if n is None else f"{n:,}"


def _format_percents(interval: Interval | None) -> str:
    """`93.1 % (86.0–97.0)`."""
    if interval is None:
        return "–"
    if interval.low != interval.low or interval.high != interval.high:
        return f"{format_percent(interval.value)} (–)"
    return f"{format_percent(interval.value)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def _format_points(value: float) -> str:
    points = 100 * value
    return f"{points:.1f} points" if points >= 0.1 else "less than 0.1 points"


def _format_three(interval: Interval) -> str:
    if interval.low != interval.low or interval.high != interval.high:
        return f"{interval.value:.3f} (–)"
    return f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"
