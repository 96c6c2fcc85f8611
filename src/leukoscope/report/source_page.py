"""The page beside the table of sources: groups as contact sheets, for a person to review.

Each member is shown twice, as stored and moved onto the reference by the estimated map; if the two
places look the same, the pictures are duplicates. What this file does not do: it chooses nothing
(`sources.review`) and draws no picture (`pairs`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from leukoscope.labels import display_label
from leukoscope.report.glossary import build_terms
from leukoscope.report.page import (
    Banner,
    Big,
    Block,
    Box,
    Bullets,
    Cell,
    Column,
    Details,
    Gallery,
    Page,
    Picture,
    Section,
    Text,
    Tile,
    build_provenance,
    build_table,
)
from leukoscope.sources.evidence import Affine, Link, split_map
from leukoscope.sources.review import (
    Chapter,
    ChapterCode,
    File,
    Group,
    Member,
    Review,
    Sheet,
    View,
    is_duplicate,
)
from leukoscope.text import format_count, format_percent, join_words

MAX_TABLE_ROWS = 2000
"""Rows of the table of groups; the CSV has them all."""

_MAX_NAMES = 4
_MAX_IDS = 200
_OPEN_SHEETS = 3
_TILE_PX = 243

NBSP = "\N{NO-BREAK SPACE}"

CHAPTERS: dict[ChapterCode, tuple[str, str]] = {
    "conflicts": (
        "Duplicates with different labels",
        "Duplicates of one picture that bear different labels. At least one of the labels is"
        " wrong, or these are no duplicates.",
    ),
    "rejected": (
        "Links that were rejected",
        "Two pictures that look like duplicates, while the rest of their groups does not support"
        " it. The strongest stand first. If they are duplicates, two sources should be one.",
    ),
    "weakest": (
        "Groups that rest on the weakest evidence",
        "Without its weakest link each of these would fall apart. Those with the lowest"
        " agreement stand first, then those with the fewest inliers; on each sheet likewise.",
    ),
    "overlaps": (
        "Pictures that overlap",
        "Two pictures that share a part of one microscope field, the weakest evidence first."
        " They are no duplicates; a split keeps them together all the same.",
    ),
    "largest": ("The largest groups", "Of the groups that are not shown above."),
}

_NO_DUPLICATES = (
    "Every image stands for itself, as far as pixels show. They do not show which images come from"
    " one patient or slide."
)
_KEEP_TOGETHER = (
    "A random split puts one picture into training and test, and the network has then seen the"
    " answers. `leukoscope data split --protocol grouped` with the table beside this page keeps"
    " duplicates, and pictures that overlap, together."
)

_TERMS = (
    *("source", "relation", "reference", "moved", "inliers", "overlap", "contradiction"),
    "rejected_link",
)


def describe_sources(
    review: Review, drawn: Mapping[View, Picture], trailer: tuple[str, ...] = ()
) -> Page:
    """Describe what was found. `drawn` are pictures of `pairs.draw_views`, or none."""
    sections = [
        _describe_classes(review),
        *(_describe_chapter(chapter, drawn) for chapter in review.chapters),
        *_describe_groups(review),
        *_describe_featureless(review.summary.featureless),
        build_terms(*_TERMS),
        *build_provenance(
            {name: str(value) for name, value in review.summary.settings.items()},
            "What the findings depend on",
        ),
    ]
    return Page(
        "Sources: which images are duplicates of one picture",
        (*_describe_lead(review), *_describe_unreadable(drawn)),
        tuple(sections),
        trailer,
    )


# -- the first screen -----------------------------------------------------------------------------


def _describe_lead(review: Review) -> list[Block]:
    found = review.summary
    among = "source" if found.n_sources == 1 else "sources"
    images = format_count(review.n_files, "image")
    blocks: list[Block] = [Big(f"{found.n_sources:,}", f"{among} among {images}")]
    blocks += [Text(sentence) for sentence in _list_sentences(review)]
    if not review.groups and not review.chapters:
        return [*blocks, Banner("good", "No duplicates found", (Text(_NO_DUPLICATES),))]
    title = "Keep what belongs together on one side of a split"
    blocks.append(Banner("caution", title, (Text(_KEEP_TOGETHER),)))
    items = [
        f"{CHAPTERS[chapter.code][0]}: {chapter.total:,}{_count_shown(chapter)}"
        for chapter in review.chapters
    ]
    if items:
        anchors = tuple(chapter.code for chapter in review.chapters)
        bullets = Bullets(tuple(items), anchors=anchors)
        blocks.append(Box((bullets,), "Worth reviewing, in this order"))
    return blocks


def _count_shown(chapter: Chapter) -> str:
    shown = len(chapter.sheets)
    return f", the first {shown} shown" if chapter.total > shown else ""


def _list_sentences(review: Review) -> list[str]:
    """The main message, in a few sentences."""
    found, groups = review.summary, review.groups
    grouped = sum(group.n_files for group in groups)
    duplicates = sum(group.n_duplicates for group in groups)
    alone = review.n_files - grouped
    sentences = []
    if groups:
        sentences.append(
            f"{format_count(duplicates, 'image has', 'images have')} duplicates; the largest"
            f" group holds {groups[0].n_files:,};"
            f" {format_count(alone, 'image stands', 'images stand')} alone."
        )
    else:
        sentences.append("No image has a duplicate.")
    if grouped > duplicates:
        shared = format_count(grouped - duplicates, "image shares", "images share")
        sentences.append(f"{shared} a source because the table says so, not by pixels.")
    if review.n_boxes:
        sentences.append(
            f"The table cuts {format_count(review.n_boxes, 'boxed cell')} out of these images; all"
            " cells of an image have its source."
        )
    if found.n_fields:
        fields = format_count(found.n_fields, "microscope field is", "microscope fields are")
        sentences.append(f"{fields} shown by several sources; splits keep them together.")
    if found.featureless:
        smooth = format_count(len(found.featureless), "image is", "images are")
        sentences.append(f"{smooth} too smooth to be compared; there, only identical pixels count.")
    return sentences


def _describe_unreadable(drawn: Mapping[View, Picture]) -> tuple[Block, ...]:
    n = sum(bool(picture.problem) for picture in drawn.values())
    if not n:
        return ()
    title = f"{format_count(n, 'image')} could not be shown"
    text = "The tile says why. The evidence is that of the file when the sources were found."
    return (Banner("bad", title, (Text(text),)),)


# -- sections -------------------------------------------------------------------------------------


def _describe_classes(review: Review) -> Section:
    rows = [
        (display_label(label), f"{n_images:,}", f"{n_sources:,}")
        for label, (n_images, n_sources) in review.classes.items()
    ]
    table = build_table(("Class", "Images", "Sources"), rows)
    return Section("Sources of each class", (Box((table,)),), brief=True)


def _describe_chapter(chapter: Chapter, drawn: Mapping[View, Picture]) -> Section:
    title, text = CHAPTERS[chapter.code]
    if chapter.total > len(chapter.sheets):
        text += f" Shown: {len(chapter.sheets)} of {chapter.total:,}."
    if chapter.code in ("conflicts", "weakest"):
        text += (
            " Each member is shown as stored and, framed in blue, moved onto the reference: if that"
            " shows the reference's cells in the reference's places, they are one picture."
        )
    blocks = [_describe_sheet(k, sheet, drawn) for k, sheet in enumerate(chapter.sheets)]
    return Section(title, (Text(text), *blocks), anchor=chapter.code)


def _describe_sheet(number: int, sheet: Sheet, drawn: Mapping[View, Picture]) -> Block:
    by_hash = {member.file.sha256: member.file for member in sheet.members}
    if sheet.group is not None:
        by_hash = {file.sha256: file for file in sheet.group.files}
    tiles = tuple(_build_tile(member, sheet, by_hash, drawn) for member in sheet.members)
    gallery = Gallery(tiles, _TILE_PX)
    if sheet.group is None:
        title, remarks = _describe_pair(sheet)
        return Box((*map(Text, remarks), gallery), title)
    group = sheet.group
    images = format_count(group.n_files, "image")
    weakest = f"{'weakest link: ' if group.weakest else ''}{_describe_weakest(group)}"
    remarks = []
    if group.conflict:
        labels = join_words(map(display_label, group.conflict))
        remarks.append(f"Duplicates of one picture are labelled {labels}.")
    if group.weakest:
        first, second = (by_hash[x].ids[0] for x in (group.weakest.first, group.weakest.second))
        evidence = _describe_link(group.weakest)
        remarks.append(f"Weakest link that holds it: {first} with {second}, {evidence}.")
    blocks: list[Block] = [*map(Text, remarks), gallery]
    if sheet.n_hidden:
        more = format_count(sheet.n_hidden, "more member")
        blocks.append(Text(f"{more} not shown; the weakest evidence stands first.", muted=True))
    details = Details(
        f"{group.name}: {images}; {_list_labels(group.labels)}; {weakest}",
        tuple(blocks),
        is_open=number < _OPEN_SHEETS,
        is_alarm=bool(group.conflict),
    )
    return Box((details,))


def _describe_pair(sheet: Sheet) -> tuple[str, list[str]]:
    """The title of a pair, and what is to be said of it."""
    link = sheet.link
    assert link is not None
    sources = [member.file.record.source for member in sheet.members]
    evidence = _describe_link(link)
    if link.contradiction_frac:
        evidence += f", contradiction {format_percent(link.contradiction_frac)}"
    remarks = [f"{evidence}."]
    if sources[0] == sources[1]:
        remarks.append(f"Both are in the group {sources[0]} all the same, by other links.")
    elif is_duplicate(link):
        remarks.append("Duplicates by their pixels, but the table names two sources.")
    if sheet.n_links > 1:
        remarks.append(f"The strongest of {sheet.n_links:,} such links between these two sources.")
    return " and ".join(dict.fromkeys(sources)), remarks


def _build_tile(
    member: Member, sheet: Sheet, by_hash: Mapping[str, File], drawn: Mapping[View, Picture]
) -> Tile:
    file, reference = member.file, sheet.reference
    views = [View(file.sha256), View(file.sha256, reference.sha256, member.matrix)]
    tag = "other label" if member.differs else ""
    return Tile(
        tuple(drawn[view] for view in views if view in drawn),
        file.ids[0],
        (
            _list_labels(file.labels),
            *_describe_member(member, reference, by_hash),
            *_describe_copies(file),
        ),
        "reference" if file is reference else tag,
        is_alarm=member.differs,
    )


def _describe_groups(review: Review) -> tuple[Section, ...]:
    if not review.groups:
        return ()
    shown = review.groups[:MAX_TABLE_ROWS]
    rows = [
        (
            group.name,
            f"{group.n_files:,}",
            Cell(_list_labels(group.labels), tag="different labels" if group.conflict else ""),
            f"{len(group.links):,}",
            _describe_weakest(group),
        )
        for group in shown
    ]
    caption = f"{format_count(len(review.groups), 'group')}, the largest first."
    if len(review.groups) > len(shown):
        caption += f" Shown: {len(shown):,}; the table beside this page has them all."
    labels = Column("Labels", is_text=True)
    names = ("Group", "Images", labels, "Links", "Weakest link that holds it")
    return (Section("All groups", (Box((build_table(names, rows, caption),)),)),)


def _describe_featureless(ids: tuple[str, ...]) -> tuple[Section, ...]:
    if not ids:
        return ()
    shown = list(ids[:_MAX_IDS])
    if len(ids) > len(shown):
        shown.append(f"and {len(ids) - len(shown):,} more")
    text = (
        f"{format_count(len(ids), 'image')} too smooth to have local features; only identical"
        " pixels would show a duplicate."
    )
    names = Details("Their names", (Bullets(tuple(shown)),))
    return (Section("Images that could not be compared", (Text(text), Box((names,)))),)


# -- evidence in words ----------------------------------------------------------------------------


def describe_map(matrix: Affine, size: tuple[int, int], other: tuple[int, int]) -> str:
    """Describe a map from an image of `size` (width, height) to one of `other` size.

    >>> describe_map((0, -1, 99, 1, 0, 10), (100, 100), (100, 100))
    'turned 90°, moved 10\\xa0px down'
    """
    parts = split_map(matrix)
    words = ["mirrored"] if parts.mirrored else []
    if abs(parts.rotation_deg) >= 0.5:
        words.append(f"turned {parts.rotation_deg:.0f}°")
    if abs(parts.shear) >= 0.015:
        words.append(f"sheared {abs(parts.shear):.2f}")
    if abs(parts.scale - 1) >= 0.015:
        words.append(f"scaled {parts.scale:.2f}")
    a, b, c, d, e, f = matrix
    # Where the middle of the one comes to lie, from the middle of the other.
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    right = a * x + b * y + c - (other[0] - 1) / 2
    down = d * x + e * y + f - (other[1] - 1) / 2
    least = max(1.0, 0.02 * max(other))
    moves = [
        f"{abs(way):.0f}{NBSP}px {after if way > 0 else before}"
        for way, before, after in ((right, "left", "right"), (down, "up", "down"))
        if abs(way) >= least
    ]
    if moves:
        words.append(f"moved {' and '.join(moves)}")
    return ", ".join(words) or "same place"


def _list_labels(labels: Counter[str]) -> str:
    """The labels, the most frequent first, with counts where there is more than one row."""
    ordered = sorted(labels, key=lambda name: (-labels[name], name))
    if sum(labels.values()) == 1:
        return display_label(ordered[0])
    return _cut_short(f"{display_label(name)} {labels[name]:,}" for name in ordered)


def _describe_link(link: Link) -> str:
    return (
        f"{format_count(link.inliers, 'inlier')}, overlap {format_percent(link.overlap_frac)},"
        f" agreement {format_percent(link.agreement_frac)}"
    )


def _describe_member(
    member: Member, reference: File, by_hash: Mapping[str, File]
) -> tuple[str, ...]:
    if member.matrix is None:
        return ("not linked by pixels; the table names its source",)
    if not member.path:
        return ()
    last = member.path[-1]
    evidence = _describe_link(last)
    if len(member.path) > 1:
        neighbour = last.first if last.second == member.file.sha256 else last.second
        n = len(member.path)
        evidence += f" with {by_hash[neighbour].ids[0]}; {n} links to the reference"
    return (describe_map(member.matrix, reference.size, member.file.size), evidence)


def _describe_copies(file: File) -> tuple[str, ...]:
    lines = []
    if file.n_boxes:
        lines.append(format_count(file.n_boxes, "boxed cell"))
    if len(file.ids) > 1:
        lines.append(f"identical files: {_cut_short(file.ids[1:])}")
    return tuple(lines)


def _describe_weakest(group: Group) -> str:
    if group.weakest:
        agreement = format_percent(group.weakest.agreement_frac)
        return f"agreement {agreement}, {format_count(group.weakest.inliers, 'inlier')}"
    return "identical files" if group.n_duplicates else "named in the table"


def _cut_short(names: Iterable[str]) -> str:
    listed = list(names)
    shown = listed[:_MAX_NAMES]
    if len(listed) > len(shown):
        shown.append(f"{len(listed) - len(shown):,} more")
    return ", ".join(shown)
