"""Rejected files, findings of an audit and relations between images, in words.

What this file does not do: it lays out no page (`audit_page`, `source_page`) and needs no library
that draws.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leukoscope.data.audit import AuditResult, DataAudit, SharedData
from leukoscope.data.findings import Count, Finding, FindingCode, Relation
from leukoscope.data.layouts import Use
from leukoscope.data.readers import Reading, ReadingKind, Rejected
from leukoscope.data.splits import ROLES, SplitAudit
from leukoscope.errors import RejectCode
from leukoscope.labels import AMBIGUOUS, display_label
from leukoscope.smear.record import FieldRecord
from leukoscope.text import format_count, format_share, join_words

# -- rejected files -------------------------------------------------------------------------------

REJECT_TITLES: dict[RejectCode, str] = {
    "empty": "the file is empty",
    "not_an_image": "not an image in a format that is read",
    "truncated": "the image ends early",
    "too_large": "the image is too large",
    "too_small": "the image is too small",
    "one_colour": "the image is of one colour",
    "narrow_range": "16 bits hold low values only, and read as they are, the image is nearly black",
    "several_pages": "more than one page, and it is open which is meant",
    "unreadable": "the file cannot be read",
    "not_regular": "not a regular file",
    "hidden": "hidden files and folders are not read",
    "already_read": "a link to a folder that was read already",
    "bad_annotation": "not an annotation that can be read",
    "unused_annotation": "an annotation of few images, among class folders; the folders count",
    "companion": "a mask, flow, outline or thumbnail of another image",
    "empty_folder": "a class folder without images",
    "bad_row": "more or fewer cells than the header",
    "no_label": "no label",
    "several_labels": "several cells on one image, which has one label",
    "label_conflict": "the same content stands under different labels",
    "bad_box": "the box is not four numbers inside the image",
    "missing_file": "no such file",
}


def describe_rejected(entry: Rejected) -> str:
    """Return why a file, box or row stayed out.

    >>> describe_rejected(Rejected("a.png", "too_small", row=3, found="4 x 4 pixels"))
    'row 3: the image is too small: 4 x 4 pixels'
    """
    row = f"row {entry.row}: " if entry.row else ""
    return f"{row}{REJECT_TITLES[entry.code]}{f': {entry.found}' if entry.found else ''}"


def describe_field(entry: FieldRecord) -> str:
    """Return why a field could not be read; "" for one that was."""
    if not entry.reason:
        return ""
    return f"{REJECT_TITLES[entry.reason]}{f': {entry.found}' if entry.found else ''}"


# -- how folders and tables were read ------------------------------------------------------------

_USE_NAMES: dict[Use, str] = {
    "class": "class",
    "part": "part",
    "source": "source",
    "fold": "fold",
    "column": "column",
    "wrapper": "wrapper",
}

_KIND_NAMES: dict[ReadingKind, str] = {
    "folders": "class folders",
    "voc": "a Pascal-VOC detection set",
    "yolo": "a YOLO detection set",
    "coco": "a COCO detection set",
    "table": "a table",
}


def describe_reading(reading: Reading) -> str:
    """Return in one line how a folder or table was read.

    >>> from leukoscope.data.layouts import Layer
    >>> describe_reading(Reading("folders", (Layer("class", 1, ("EOS", "LYM")),)))
    'Read as class folders: class = layer 1 (EOS, LYM).'
    """
    kind = _KIND_NAMES[reading.kind]
    if reading.files:
        because = f"{reading.files[0]}{_count_more(len(reading.files) - 1)}"
        kind += f", because of {because}"
    parts = dict(reading.parts)
    facts = []
    for layer in reading.layers:
        names: Sequence[str] = layer.names
        if layer.use == "part":
            names = [_describe_part(name, parts[name]) for name in names]
        place = f"layer {layer.level}" if layer.level else "several layers"
        use = f"{_USE_NAMES[layer.use]}{f' {layer.column}' if layer.use == 'column' else ''}"
        facts.append(f"{use} = {place} ({_list_names(names)})")
    if parts and reading.kind != "table" and all(layer.use != "part" for layer in reading.layers):
        listed = _list_names([_describe_part(name, role) for name, role in reading.parts])
        facts.append(f"part = lists of images ({listed})")
    facts += [f"{meaning} = {name}" for meaning, name in reading.columns]
    text = f"Read as {': '.join([kind, *filter(None, ['; '.join(facts)])])}."
    if not reading.has_names:
        text += " No file names the classes: their numbers stand for them."
    return text


def describe_reading_remarks(reading: Reading) -> tuple[str, ...]:
    """Return what a reader should check of how it was read, one sentence each."""
    remarks = []
    strange = [name for name, role in reading.parts if not role]
    if strange:
        remarks.append(
            f"It is not known what part of the data is meant by {_list_names(strange)}:"
            " `data split` follows given parts only where all are known (train, val, calib, test)."
        )
    columns = [layer for layer in reading.layers if layer.column.startswith("folder_")]
    remarks += [
        f"Layer {layer.level} ({_list_names(layer.names, 3)}) is kept as a column: where it names"
        f" patients or slides, `data scan --source-level {layer.level}` makes it the source."
        for layer in columns
    ]
    remarks += [
        f"{name} names these images, too, and was not read: give it instead of the folder where it"
        " knows more of them, such as patients or slides."
        for name in reading.tables
    ]
    if reading.depth is not None:
        depth = reading.depth
        remarks.append(
            f"The {format_count(depth.n_images, 'image')} of 16 bits hold values up to"
            f" {depth.peak:,}, as of a camera of {depth.bits} bits, and were rejected: multiply the"
            f" values of all of them by {depth.factor}, or save them in 8 bits."
        )
    if reading.empty:
        remarks.append(f"Class folders without images: {_list_names(reading.empty)}.")
    remarks += [
        f"Read as one class, {display_label(label)}: {_list_names(names)}."
        for label, names in reading.merged
    ]
    remarks += [
        f"{label.upper()} means {' or '.join(map(display_label, AMBIGUOUS[label]))}, as data sets"
        " and programs differ: it stays a class of its own. Name it after the cell that it is."
        for label in reading.ambiguous
    ]
    remarks += [
        f"{join_words(names)}: one patient or slide, or {len(names)}? `data split` stops where they"
        " would lie in several roles."
        for names in reading.alike[:3]
    ]
    if len(reading.alike) > 3:
        remarks.append(f"There are {len(reading.alike) - 3:,} more such names.")
    return tuple(remarks)


def _describe_part(name: str, role: str) -> str:
    return name if name.casefold() == role else f"{name} = {role or 'not understood'}"


def _list_names(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + _count_more(len(names) - most)


def _count_more(n: int) -> str:
    return f" and {n:,} more" if n > 0 else ""


def describe_numbers(classes: Sequence[str]) -> str:
    """Say which classes figures give numbers; "" where fonts have all signs."""
    from leukoscope.report.figures import number_classes

    numbered = [
        f"{shown} is {display_label(name)}"
        for name, shown in zip(classes, number_classes(classes), strict=True)
        if shown != name
    ]
    if not numbered:
        return ""
    return f"No font here has the signs of some names, so in figures {join_words(numbered)}."


def describe_passed_over(entries: Sequence[Rejected]) -> str:
    """Return how many files of folders were passed over, by ending or else by reason.

    >>> heic = Rejected("a.heic", "not_an_image", found=".heic")
    >>> describe_passed_over([heic, heic, Rejected("b", "not_an_image"), Rejected(".c", "hidden")])
    '4 files were passed over: .heic 2, hidden 1, no ending 1.'
    """
    counts = Counter(_NOT_READ.get(one.code) or one.found or "no ending" for one in entries)
    ranked = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    parts = [f"{name} {n:,}" for name, n in ranked[:_MAX_ENDINGS]]
    if len(ranked) > _MAX_ENDINGS:
        parts.append(f"others {sum(n for _, n in ranked[_MAX_ENDINGS:]):,}")
    files = format_count(len(entries), "file was", "files were")
    return f"{files} passed over: {', '.join(parts)}."


_NOT_READ: dict[RejectCode, str] = {
    "hidden": "hidden",
    "already_read": "linked twice",
    "unreadable": "unreadable",
    "missing_file": "broken links",
    "not_regular": "not regular files",
}
_MAX_ENDINGS = 8


# -- relations and results ------------------------------------------------------------------------

RELATION_NAMES: dict[Relation, str] = {
    "exact": "exact duplicates",
    "source": "same source",
    "field": "same field only",
}

RESULT_TITLES: dict[AuditResult, str] = {
    "leaking": "Leaking: what is measured on this split is inflated",
    "shared": "Not external: the two data sets share images",
    "conflicts": "Conflicts: one cell has different labels",
    "warnings": "No leak and no conflict found, but mind the warnings",
    "clean": "Clean: no leak and no conflict found",
}


# -- findings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FindingText:
    """A finding in words: a title that can stand alone, and what it means."""

    title: str
    text: str

    @property
    def sentence(self) -> str:
        """Both in one paragraph."""
        return f"{self.title}. {self.text}"


_TEXTS: dict[FindingCode, str] = {
    "data_shared": "The one is no external test of what was trained on the other.",
    "data_share_field": "The one is no external test of what was trained on the other.",
    "label_conflict": "They can serve neither training nor evaluation. Look at them, correct the"
    " label or remove the images.",
    "files_in_conflict": "`data scan` left them out of the catalog. Look at them, correct the label"
    " and scan again.",
    "sources_unknown": "Only identical pictures are kept together, and not turned, cropped or"
    " re-encoded duplicates: `leukoscope data sources` finds these in the pixels.",
    "sources_alike": "Spelled alike, they may be one patient or slide; the split takes them for"
    " several.",
    "test_part_trained_on": "Figures of this split cannot be compared with published ones;"
    " `leukoscope data split --protocol given` follows the data's own parts.",
    "parts_unknown": "They were not followed. `--protocol given` takes train, val, calib and test.",
    "parts_not_followed": "`--protocol given`, or `auto`, follows parts where train and test are"
    " among them.",
    "sources_name_files": "Such names (of files, or of patients with one image each) keep no two"
    " images together and say nothing of copies. `leukoscope data sources` finds these in the"
    " pixels.",
    "role_empty": "Nothing can be trained, chosen or measured where the role is empty, and no leak"
    " into it can be found.",
    "class_missing": "Nothing is learned or measured there of a class that is missing.",
    "few_test_images": "Intervals are wide there.",
    "few_sources": "Duplicates are no further evidence: what is learned and measured rests on so"
    " many different cells.",
    "calib_empty": "Temperature and thresholds need images of their own; without them they cannot"
    " be fitted.",
    "without_role": "The protocol leaves them aside.",
    "nothing_shared": "No file, no picture and no field was found in both.",
    "several_classes": "That is normal where a source is a patient or a slide. Where it is one"
    " cell, a label is wrong.",
    "exact_duplicates": "Splits keep them in one role.",
    "same_field": "They may show neighbouring cells; different labels are no conflict there."
    " Grouped splits keep a field in one role.",
    "sources_from_pixels": "Each source is one picture and its duplicates. The patient is not"
    " recorded, so cells of one patient may lie in training and in test.",
    "sources_from_table": "They are taken as they stand; the pixels were not compared.",
    "sources_from_both": "The others were found in the pixels.",
}

_LEAK_TEXT = (
    "Sources in two roles: {}. A number measured on this split says little about new cells. Make"
    " the split anew from a table with sources: `leukoscope data split --protocol grouped`."
)


def describe_finding(found: Finding, shared: SharedData | None = None) -> FindingText:
    """Return a finding in words; `shared` names the data sets where two are compared."""
    return FindingText(_describe_title(found, shared), _describe_text(found))


def describe_split_findings(audit: SplitAudit) -> tuple[str, ...]:
    """Return what limits a number measured on a split, one paragraph each."""
    return tuple(describe_finding(found).sentence for found in audit.findings)


def describe_summary(audit: DataAudit) -> str:
    """Return the findings of an audit in one sentence."""
    texts = [(one.severity, describe_finding(one, audit.shared).title) for one in audit.findings]
    errors = [title for severity, title in texts if severity == "error"]
    if errors:
        return f"{'; '.join(errors)}."
    known = "known " if audit.sources_from == "unknown" else ""
    claims = [f"no {known}source crosses roles"] if audit.split else []
    claims += [f"no cell has {'known conflicting' if known else 'conflicting'} labels"]
    claims += [f"nothing is shared with {audit.shared.other}"] if audit.shared else []
    text = join_words(claims)
    warnings = [title[:1].lower() + title[1:] for severity, title in texts if severity == "warning"]
    if warnings:
        text += f", but mind: {'; '.join(warnings)}"
    return f"{text[:1].upper()}{text[1:]}."


def _describe_title(found: Finding, shared: SharedData | None) -> str:
    values, counts = found.values, found.counts
    name, other = (shared.name, shared.other) if shared else ("the data", "the other data")

    def count(key: str, one: str, several: str = "") -> str:
        return format_count(values[key], one, several)

    def share(what: str, one: str, several: str) -> str:
        n = values["n_related"]
        return f"{format_share(n, values['n_images'], what)} {one if n == 1 else several}"

    match found.code:
        case "test_duplicates":
            verb = share("test image", "has", "have")
            return f"{verb} a duplicate or the same source in training"
        case "test_same_field":
            verb = share("test image", "shows", "show")
            return f"{verb} part of a field that training shows too"
        case "sources_shared" if not values["n_related"]:
            pairs = "; ".join(" and ".join(count.names) for count in counts)
            return f"Sources lie in two roles: {pairs}"
        case "sources_shared":
            return f"{share('test image', 'shares', 'share')} a source with training"
        case "data_shared":
            verb = share("image", f"of {other} also lies", f"of {other} also lie")
            return f"{verb} in {name}"
        case "data_share_field":
            verb = share("image", f"of {other} shows", f"of {other} show")
            return f"{verb} part of a field that lies in {name}"
        case "label_conflict":
            return f"{count('n_cells', 'cell has', 'cells have')} different labels"
        case "files_in_conflict":
            files = count("n_files", "identical picture stands", "identical pictures stand")
            return f"{files} under different labels"
        case "copies_found":
            verb = "shows a picture" if values["n_related"] == 1 else "show pictures"
            compared = format_share(values["n_related"], values["n_images"], "compared test image")
            return f"{compared} {verb} that training shows too"
        case "sources_name_files":
            return "The column `source` names every file by itself"
        case "pixels_compared":
            return "No test image was found to show a picture of training"
        case "sources_unknown":
            return f"The sources of {count('n_images', 'image')} are not known"
        case "sources_alike":
            groups = count("n_groups", "name of a source stands", "names of sources stand")
            return f"{groups} in several spellings"
        case "test_part_trained_on":
            verb = count("n_images", "image serves", "images serve")
            return f"{verb} for training that the data's own test part holds"
        case "parts_unknown":
            verb = count("n_images", "image lies", "images lie")
            return f"{verb} in parts of unknown meaning"
        case "parts_not_followed":
            verb = count("n_images", "image has", "images have")
            return f"{verb} another role than the part that the data name"
        case "role_empty":
            return f"No image has the role {' or '.join(count.names[0] for count in counts)}"
        case "class_missing":
            return f"No image of {'; '.join(_group_by_role(counts))}"
        case "few_test_images":
            classes = format_count(len(counts), "class")
            return f"{classes} with fewer than {values['limit']} test images"
        case "few_sources":
            classes = format_count(len(counts), "class has", "classes have")
            return f"{classes} fewer than {values['limit']} sources"
        case "calib_empty":
            return "No image has the role calib"
        case "without_role":
            return f"{count('n_images', 'image')} without a role"
        case "nothing_shared":
            return f"Nothing is shared with {other}"
        case "several_classes":
            sources = count("n_sources", "source of the table holds", "sources of the table hold")
            return f"{sources} several classes"
        case "exact_duplicates":
            groups = count("n_groups", "group")
            return f"{count('n_images', 'image')} in {groups} of identical pictures"
        case "same_source":
            return f"{count('n_images', 'image')} in {count('n_groups', 'group')} of one source"
        case "same_field":
            fields = count("n_groups", "microscope field")
            return f"{count('n_images', 'image')} share {fields} with others"
        case "sources_from_pixels":
            return "Sources were found in the pixels"
        case "sources_from_table" | "sources_from_both":
            return "The table names sources itself"


def _describe_text(found: Finding) -> str:
    values, counts = found.values, found.counts
    match found.code:
        case "test_duplicates" | "test_same_field" | "sources_shared":
            return _LEAK_TEXT.format(
                join_words(f"{count.n:,} in {' and '.join(count.names)}" for count in counts)
            )
        case "copies_found":
            pairs = "; ".join(f"{one.first.id} = {one.second.id}" for one in found.examples)
            return (
                f"{_describe_compared(values)} For example {pairs}. Whatever their sources are"
                " called, the network has seen these cells. `leukoscope data sources` finds all"
                " copies; make the split anew from its table."
            )
        case "sources_name_files":
            return (
                f"{format_count(values['n_sources'], 'source')} for"
                f" {format_count(values['n_images'], 'file')}. {_TEXTS[found.code]}"
            )
        case "pixels_compared":
            return _describe_compared(values)
        case "same_source":
            joined = values["n_joined"]
            fields = (
                f"; joined where they share a field, {format_count(joined, 'source')}"
                if joined < values["n_sources"]
                else ""
            )
            return (
                f"There are {format_count(values['n_sources'], 'source')}{fields}; the largest has"
                f" {format_count(values['largest'], 'image')}. Grouped splits keep a source in one"
                " role, and intervals count sources."
            )
        case "data_shared" | "data_share_field":
            share = format_share(values["n_ours"], values["n_our_images"], "image")
            common = format_count(values["n_sources"], "source")
            return f"On the other side it is {share}; {common} in common. {_TEXTS[found.code]}"
        case "label_conflict" | "files_in_conflict" | "few_test_images" | "few_sources":
            return f"{'; '.join(map(_join_labels, counts))}. {_TEXTS[found.code]}"
        case "sources_alike":
            return f"{'; '.join(join_words(c.names) for c in counts)}. {_TEXTS[found.code]}"
        case "parts_unknown" | "parts_not_followed":
            named = ", ".join(f"{c.names[0]} ({c.n:,})" for c in counts[:6])
            return f"{named}. {_TEXTS[found.code]}"
        case "several_classes":
            return f"For example {join_words(c.names[0] for c in counts)}. {_TEXTS[found.code]}"
        case code:
            return _TEXTS[code]


def _describe_compared(values: Mapping[str, int]) -> str:
    """Say how many images were compared, and what that leaves open."""

    def part(n: int, total: int, what: str) -> str:
        return f"all {format_count(n, what)}" if n == total else f"{n:,} of {total:,} {what}s"

    test = part(values["n_images"], values["n_all_images"], "test image")
    training = part(values["n_training"], values["n_all_training"], "image")
    text = f"Compared by their pixels: {test} with {training} of training."
    if values["n_smooth"]:
        n = format_count(values["n_smooth"], "test image shows", "test images show")
        text += f" {n} too little to be sure."
    return text


def _join_labels(count: Count) -> str:
    return f"{' and '.join(map(display_label, count.names))} ({count.n:,})"


def _group_by_role(counts: tuple[Count, ...]) -> list[str]:
    labels = {
        role: [display_label(c.names[1]) for c in counts if c.names[0] == role] for role in ROLES
    }
    return [f"{join_words(found)} in {role}" for role, found in labels.items() if found]


# -- located cells --------------------------------------------------------------------------------

LOCATED_WORDS = {
    "cell": "around the only whole cell",
    "several": "around the whole cell nearest to the middle, of several",
    "cut": "around a cell that the edge cuts",
    "given": "around the cell that an annotation frames",
    "nucleus": "around the largest nucleus",
    "field": "the whole field",
}
"""What squares lie around, by the codes of `smear.locate.LOCATED_AS`."""


def describe_located(counts: Mapping[str, int]) -> str:
    """Return around what squares lie, how many of each.

    >>> describe_located({"cell": 1200, "nucleus": 2})
    '1,200 around the only whole cell and 2 around the largest nucleus'
    """
    return join_words([f"{counts[k]:,} {LOCATED_WORDS[k]}" for k in LOCATED_WORDS if counts.get(k)])
