"""Facts of a model card on network, data and training.

A fact is a function `describe_<fact>`. Its parameters name the records that it needs
(`card_records.CardRecords`); those with a default may be missing. It returns Markdown, sentences
that can be listed, or None where the records leave it open. What this file does not do: it says
nothing of figures (`card_figure_facts`, `card_external_facts`).
"""

from collections.abc import Mapping, Sequence

from leukoscope.config import AugmentConfig, Recipe
from leukoscope.data.splits import ROLES, Protocol, SplitAudit
from leukoscope.report.card_records import DataSummary, Network
from leukoscope.report.markdown import escape_text, format_class, format_command, render_table
from leukoscope.runfolder import RunProvenance
from leukoscope.text import format_count, join_words

ROLE_NAMES = {
    "train": "training",
    "val": "choice of the epoch",
    "calib": "calibration",
    "test": "test",
}

_PROTOCOLS: Mapping[Protocol, str] = {
    "random": "Single images were drawn at random",
    "grouped": "All images of a source were kept in one role",
    "given": "The parts are those that came with the data",
    "kfold": "One fold of a k-fold split",
}

# -- the network ----------------------------------------------------------------------------------


def describe_network(network: Network) -> str:
    """The network in words."""
    side = network.input.image_size
    stages = ", ".join(f"{kind} x {depth}" for kind, depth in network.stages)
    return (
        f"{escape_text(network.name)}: a CoAtNet, a neural network whose first layers compare"
        " neighbouring pixels (convolution) and whose last ones relate all parts of the image to"
        f" each other (attention). Input: {side} x {side} pixels."
        + (f" Stages: {escape_text(stages)}." if stages else "")
    )


def describe_classes(network: Network) -> str:
    """The classes that the network can predict."""
    labels = [format_class(label) for label in network.classes]
    return f"{format_count(len(labels), 'class')}: {join_words(labels)}."


def describe_predictors(network: Network) -> str:
    """What the network sees."""
    side = network.input.image_size
    return f"The pixels of one image, {side} x {side} in colour; nothing about the patient."


def describe_preprocessing(network: Network) -> str:
    """What happens to an image before the network sees it."""
    one = network.input
    shape = {
        "stretch": "stretched, whatever its aspect, to a square",
        "pad": "fitted, its aspect kept, into a square",
    }[one.resize]
    stain = f", its colours standardised ({one.stain})" if one.stain != "none" else ""
    cells = (
        f"the square of {one.crop_um:g} micrometres around its white cell cut out, "
        if one.cells == "located"
        else ""
    )
    return (
        f"Each image is decoded to 8-bit RGB, {cells}{shape}"
        f" of {one.image_size} x {one.image_size} pixels"
        f" (interpolation {one.interpolation}){stain} and scaled to the range -1 to 1."
    )


def describe_ensemble(network: Network) -> str:
    """Of how many networks it is made, or from which one it learned."""
    if network.n_members > 1 or network.views != "none":
        views = f"with test-time augmentation ({network.views})"
        if network.n_members == 1:
            return f"One network, {views}."
        mean = f"The mean of {network.n_members} networks"
        return f"{mean}, {views}." if network.views != "none" else f"{mean}."
    if network.teacher:
        return f"One network, distilled from another one ({escape_text(network.teacher)})."
    return "None: one network."


# -- data -----------------------------------------------------------------------------------------


def describe_data(data: DataSummary) -> str | None:
    """The name of the data, and how many images and sources it holds."""
    totals = _count_roles(data.audit)
    if not totals:
        return None
    parts = ", ".join(f"{n:,} for {ROLE_NAMES[role]}" for role, n in totals.items())
    start = f"“{escape_text(data.name)}”: {sum(totals.values()):,} images ({parts})."
    if not data.audit.sources_known:
        return (
            f"{start} Which images share a source (patient, slide, field or original image) is not"
            " known."
        )
    n_sources = data.audit.n_sources
    sources = ", ".join(f"{n_sources[role]:,} for {ROLE_NAMES[role]}" for role in totals)
    return (
        f"{start} Sources (patients, slides, fields or original images: what images come from"
        f" together) are known: {sources}."
    )


def _count_roles(audit: SplitAudit) -> dict[str, int]:
    """Images of each role that has any."""
    totals = {role: sum(audit.counts[role].values()) for role in ROLES}
    return {role: n for role, n in totals.items() if n}


def describe_count_table(data: DataSummary) -> str | None:
    """Images of each class in each role, with their sources where these are known."""
    known, roles = data.audit.sources_known, [*_count_roles(data.audit)]
    if not roles:
        return None
    rows = []
    for label in data.classes:
        cells = []
        for role in roles:
            sources = f" ({data.class_sources[role].get(label, 0):,})" if known else ""
            cells.append(f"{data.audit.counts[role].get(label, 0):,}{sources}")
        rows.append([format_class(label), *cells])
    header = ["Class", *(ROLE_NAMES[role].capitalize() for role in roles)]
    brackets = ", in brackets their sources" if known else ""
    return f"Images of each class{brackets}.\n\n{render_table(header, rows)}"


def describe_class_counts(data: DataSummary) -> str | None:
    """Images of each class in training and test, in one line."""
    parts = []
    for role in ("train", "test"):
        counts = data.audit.counts[role]
        if not counts:
            return None
        each = ", ".join(f"{format_class(label)} {n:,}" for label, n in counts.items())
        parts.append(f"{ROLE_NAMES[role].capitalize()}: {each}.")
    return " ".join(parts)


def describe_partition(data: DataSummary) -> str:
    """How images were assigned to their roles."""
    audit = data.audit
    how = _PROTOCOLS[audit.protocol]
    if audit.protocol == "grouped" and not audit.sources_known:
        how = "Sources were to be kept together, but none are known, so single images were drawn"
    counts = ", ".join(f"{n:,} {ROLE_NAMES[role]}" for role, n in _count_roles(audit).items())
    return f"{how} (protocol {audit.protocol}, seed {audit.seed}): {counts}."


def describe_missing(data: DataSummary) -> str:
    """What is missing in the table of images."""
    audit = data.audit
    text = (
        "Every image has a label; unreadable files never enter the table of images. The source is"
        f" {'' if audit.sources_known else 'not '}known for all."
    )
    aside = format_count(audit.n_left_aside, "image")
    return text + (f" {aside} left aside by the split." if audit.n_left_aside else "")


def describe_crops(data: DataSummary) -> str:
    """Whether whole images or boxes in fields were used."""
    if not data.n_boxed:
        return "Whole image files were used, one label each."
    return f"{format_count(data.n_boxed, 'cell')} were cut out of larger fields by given boxes."


def describe_image_size(data: DataSummary) -> str:
    """The size of the image files."""
    width, height = (
        f"{low:,}" if low == high else f"{low:,} to {high:,}"
        for low, high in (data.width_px, data.height_px)
    )
    return f"Image files are {width} pixels wide and {height} high."


def describe_columns(data: DataSummary | None = None) -> str:
    """Which further columns the table of images has, by which subgroups could be formed; "" where
    there are none."""
    if data is None or not data.columns:
        return ""
    return (
        f"The table of images has further columns: {join_words(map(escape_text, data.columns))}. No"
        " figure in this card is broken down by them."
    )


# -- training -------------------------------------------------------------------------------------

_AUGMENT: Mapping[str, str] = {
    "flip": "mirrored",
    "rotate_deg": "rotated by up to {:g}°",
    "shift_frac": "shifted by up to {:g} of the side",
    "scale_frac": "scaled by up to {:g}",
    "shear_deg": "sheared by up to {:g}°",
    "stain": "stain strength varied by up to {:g}",
    "brightness": "brightness varied by up to {:g}",
    "blur_px": "blurred by up to {:g} px",
    "mixup": "pairs of images mixed (mixup {:g})",
    "cutmix": "patches exchanged (cutmix {:g})",
}


def describe_augmentation(recipe: Recipe) -> str:
    """How training images were varied."""
    used = {name: getattr(recipe.augment, name) for name in AugmentConfig.model_fields}
    found = [_AUGMENT[name].format(value) for name, value in used.items() if value]
    return f"Training images were {', '.join(found) if found else 'not varied'}."


def describe_training(recipe: Recipe, provenance: RunProvenance | None = None) -> str:
    """Recipe, optimiser, batch, epochs and seed."""
    optim, train = recipe.optim, recipe.train
    seeds = provenance.seeds if provenance is not None else (train.seed,)
    smoothing = f" Label smoothing {optim.label_smoothing:g}." if optim.label_smoothing else ""
    decay = f" Moving average of weights {train.ema_decay:g}." if train.ema_decay else ""
    return (
        f"Recipe “{escape_text(recipe.name)}”: AdamW, learning rate {optim.lr:g}"
        f" ({optim.schedule}), weight decay {optim.weight_decay:g}, batches of {train.batch_size},"
        f" {format_count(train.epochs, 'epoch')}, seed {format_seeds(seeds)}, precision"
        f" {train.precision}.{smoothing}{decay}"
    )


def format_seeds(seeds: Sequence[int]) -> str:
    """The seed of training; several for an ensemble."""
    return ", ".join(str(seed) for seed in dict.fromkeys(seeds))


def describe_class_weights(recipe: Recipe) -> str:
    """What was done about rare classes."""
    if recipe.optim.class_weights == "balanced":
        return "Rare classes weigh more in the loss, by the inverse of their share in training."
    return "Nothing: every training image counts alike, so that common classes weigh more."


def describe_initial_weights(recipe: Recipe, provenance: RunProvenance | None = None) -> str:
    """Where the weights began."""
    seeds = provenance.seeds if provenance is not None else (recipe.train.seed,)
    return f"Random numbers (truncated normal), seed {format_seeds(seeds)}; no pretrained weights."


def describe_selection(
    network: Network, recipe: Recipe, epochs_s: Sequence[float] | None = None
) -> str | None:
    """Which epoch was kept, and why."""
    if network.best_epoch is None:
        return None
    of = f" of {len(epochs_s)}" if epochs_s else ""
    return (
        f"The epoch with the best {recipe.train.select} on the role val was kept: epoch"
        f" {network.best_epoch}{of}."
    )


def describe_cost(epochs_s: Sequence[float], provenance: RunProvenance | None = None) -> str:
    """What training cost."""
    seconds = sum(epochs_s)
    time = f"{seconds / 60:,.0f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    cores = provenance.cores if provenance is not None else None
    machine = f" on a machine with {format_count(cores, 'processor core')}" if cores else ""
    return f"{format_count(len(epochs_s), 'epoch')} in {time}{machine}."


def describe_software(provenance: RunProvenance) -> str:
    """Versions of leukoscope, Python and the packages that matter."""
    versions = {"leukoscope": provenance.leukoscope, "Python": provenance.python}
    versions |= provenance.packages
    found = (f"{escape_text(name)} {escape_text(one)}" for name, one in versions.items())
    return f"{', '.join(found)}."


def describe_hashes(network: Network, provenance: RunProvenance | None = None) -> tuple[str, ...]:
    """SHA-256 of weights and split, and the hash of the recipe."""
    hashes = {"Weights SHA-256": network.weights_sha256}
    if provenance is not None:
        hashes |= {"Split SHA-256": provenance.split_sha256, "Recipe": provenance.recipe_hash}
    return tuple(f"{name}: {escape_text(value)}." for name, value in hashes.items())


def describe_command(provenance: RunProvenance) -> str:
    """The command that trained it, absolute paths as names."""
    return format_command(provenance.command)
