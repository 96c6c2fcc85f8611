"""The page beside the table of sources: groups as contact sheets, for a person to judge.

What is worth judging comes first: one cell under two names, rejected links, groups that hang on
thin evidence. Each member is shown twice, as stored and moved onto the reference by the estimated
map; if the two places look the same, the pictures are copies. What this file does not do: it finds
nothing and decides nothing (`data.sources`), it draws no picture itself (`pairs`), and it needs
neither OpenCV nor scikit-learn.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from leukoscope.data.catalog import ImageRecord
from leukoscope.errors import ConfigError, DataError
from leukoscope.labels import display_label
from leukoscope.report.pages import render_page
from leukoscope.report.pairs import (
    IDENTITY,
    NBSP,
    compose,
    describe_map,
    draw_thumbnail,
    embed_image,
    fit_size,
    invert,
    load_picture,
    move_back,
)
from leukoscope.sources.evidence import Affine, Link
from leukoscope.sources.search import SourceFindings

MAX_TABLE_ROWS = 2000
"""Rows of the table of groups; the CSV has them all."""

_MAX_NAMES = 4
_MAX_IDS = 200
_OPEN_CARDS = 3

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "Source",
        "The picture that images were copied from. Images of one source are one observation,"
        " however often it was copied, and belong on one side of a split.",
    ),
    (
        "Reference",
        "The member of a group with the most links. The maps of the other members are told from"
        " the reference to them. Turns are clockwise as seen on the screen.",
    ),
    (
        "Moved onto the reference",
        "The member after the map has been undone. It should show the reference's picture in the"
        " reference's place; grey is where the member shows nothing.",
    ),
    (
        "Inliers",
        "Matched local features that obey one map. Chance gives few; copies give dozens.",
    ),
    (
        "Overlap",
        "The area that two pictures share, of the smaller one's content.",
    ),
    (
        "Agreement",
        "The part of the shared area where the two look alike once one is moved onto the other.",
    ),
    (
        "Contradiction",
        "The area where one picture shows something and the other's fill says that its picture"
        " had ended there. Copies of one picture have none.",
    ),
    (
        "Rejected link",
        "Two pictures that look like copies while the rest of their groups does not support it."
        " Such a link joins nothing.",
    ),
    (
        "Overlap of a field",
        "Two pictures of one microscope field that share a part of it. They are no copies, so each"
        " keeps its source; a split keeps them on one side all the same.",
    ),
)


# -- what the page shows --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picture:
    """One file content. `record` is its first row by id; `names` are the ids of its files, one
    each; `labels` counts its rows; `n_boxes` are rows that cut a cell out of it."""

    record: ImageRecord
    names: tuple[str, ...]
    labels: Counter[str]
    n_boxes: int

    @property
    def sha256(self) -> str:
        return self.record.sha256

    @property
    def whole_labels(self) -> frozenset[str]:
        """Names of the whole picture; boxes of one picture may well differ."""
        return frozenset() if self.n_boxes else frozenset(self.labels)


@dataclass(frozen=True)
class _Group:
    """A source of two or more files. `links` are the accepted ones between its members, strongest
    first; without `weakest` the group would fall apart; `conflict` are the labels of a cell that
    has several."""

    name: str
    pictures: tuple[_Picture, ...]
    links: tuple[Link, ...]
    weakest: Link | None
    conflict: tuple[str, ...]

    @property
    def n_files(self) -> int:
        return sum(len(picture.names) for picture in self.pictures)


@dataclass(frozen=True)
class _Place:
    """Where a member lies: the map from the reference to it, over which links."""

    matrix: Affine
    path: tuple[Link, ...]


@dataclass(frozen=True)
class _Tile:
    """One member on a sheet. `shown` and `moved` are data URIs; `problem` says why there is
    none."""

    name: str
    label: str
    lines: tuple[str, ...]
    shown: str | None
    moved: str | None
    problem: str
    size: tuple[int, int]
    tag: str = ""


@dataclass(frozen=True)
class _Card:
    title: str
    summary: str
    remarks: tuple[str, ...]
    tiles: tuple[_Tile, ...]
    more: str = ""
    alarming: bool = False


@dataclass(frozen=True)
class _Section:
    key: str
    heading: str
    text: str
    cards: tuple[_Card, ...]
    total: int
    pairs: bool = False


@dataclass
class _Sheet:
    """Draws tiles, and counts the pictures that could not be shown."""

    thumbnail_px: int
    unreadable: set[str] = field(default_factory=set)

    def draw(
        self,
        picture: _Picture,
        place: _Place | None,
        reference: _Picture,
        lines: tuple[str, ...],
        tag: str = "",
    ) -> _Tile:
        """Build one tile; `place` None stands for a member without a map."""
        loaded = load_picture(picture.record)
        shown = moved = None
        if isinstance(loaded, str):
            self.unreadable.add(picture.sha256)
        else:
            shown = embed_image(draw_thumbnail(loaded, self.thumbnail_px))
            if place is not None and picture is not reference:
                frame = (reference.record.width, reference.record.height)
                moved = embed_image(move_back(loaded, place.matrix, frame, self.thumbnail_px))
        return _Tile(
            name=picture.names[0],
            label=_word_labels(picture.labels),
            shown=shown,
            moved=moved,
            problem=loaded if isinstance(loaded, str) else "",
            size=fit_size((picture.record.width, picture.record.height), self.thumbnail_px),
            lines=lines,
            tag=tag,
        )


def render_source_page(
    findings: SourceFindings,
    *,
    max_groups: int = 60,
    max_tiles: int = 12,
    thumbnail_px: int = 120,
) -> str:
    """Render the findings as one HTML page that needs no other file, no network and no script.

    At most `max_groups` sheets are shown, shared evenly between the sections; a sheet has at most
    `max_tiles` members, whose longer side is `thumbnail_px`. What is left out is counted. The same
    findings and files give the same bytes. A file that cannot be read, or has changed since it was
    compared, gets a tile that says so.

    Raises `ConfigError` for limits that leave nothing to see, `DataError` if a link names an image
    that is not in the catalog, or its map cannot be undone.
    """
    if max_groups < 1 or max_tiles < 2 or thumbnail_px < 16:
        raise ConfigError(
            "a page needs at least 1 sheet, 2 tiles on it, and 16 px for each",
            f"max_groups {max_groups}, max_tiles {max_tiles}, thumbnail_px {thumbnail_px}",
            "raise the limit",
        )
    pictures = _list_pictures(findings)
    _check_links(findings.links, pictures)
    groups = _list_groups(findings, pictures)
    sheet = _Sheet(thumbnail_px)
    sections = _build_sections(findings, pictures, groups, sheet, max_groups, max_tiles)
    return render_page(
        "sources.html.j2",
        n_sources=_count_sources(pictures),
        sentences=_word_findings(pictures, groups),
        clean=not groups and not findings.links,
        sections=sections,
        open_cards=_OPEN_CARDS,
        unreadable=len(sheet.unreadable),
        rows=[(*_word_row(group), bool(group.conflict)) for group in groups[:MAX_TABLE_ROWS]],
        n_groups=len(groups),
        featureless=findings.featureless[:_MAX_IDS],
        n_featureless=len(findings.featureless),
        glossary=GLOSSARY,
        settings=findings.settings,
        thumbnail_px=thumbnail_px,
    )


# -- files, groups and links ----------------------------------------------------------------------


def _list_pictures(findings: SourceFindings) -> dict[str, _Picture]:
    """One entry per file content, in the order of content hashes."""
    rows: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in sorted(findings.catalog.records, key=lambda r: r.id):
        rows[record.sha256].append(record)
    pictures = {}
    for sha256 in sorted(rows):
        names: dict[object, str] = {}
        for record in rows[sha256]:
            name = record.id if record.box is None else record.id.rpartition("#")[0]
            names.setdefault(record.path, name)
        pictures[sha256] = _Picture(
            record=rows[sha256][0],
            names=tuple(names.values()),
            labels=Counter(record.label for record in rows[sha256]),
            n_boxes=sum(record.box is not None for record in rows[sha256]),
        )
    return pictures


def _check_links(links: Iterable[Link], pictures: dict[str, _Picture]) -> None:
    for link in links:
        for sha256 in (link.first, link.second):
            if sha256 not in pictures:
                raise DataError(
                    "every link must join two images of the catalog",
                    f"a link with {sha256[:16]}, which is not in the catalog",
                    "find the sources again from this catalog",
                )
        a, b, _, d, e, _ = link.matrix
        if not all(map(math.isfinite, link.matrix)) or abs(a * e - b * d) < 1e-9:
            raise DataError(
                "the map of every link must be one that can be undone",
                f"{link.matrix} between {link.first[:16]} and {link.second[:16]}",
                "find the sources again",
            )


def _rank(link: Link) -> tuple[int, int, str, str]:
    """Sort key: the strongest link first, by agreement, inliers and content hash."""
    # In steps of 5 %: true copies agree to nearly 100 %, and there the inliers tell more.
    return (-math.floor(20 * link.agreement_frac + 1e-9), -link.inliers, link.first, link.second)


def _is_copy(link: Link) -> bool:
    return link.accepted and link.kind != "overlap"


def _within(link: Link, pictures: dict[str, _Picture]) -> bool:
    return pictures[link.first].record.source == pictures[link.second].record.source


def _list_groups(findings: SourceFindings, pictures: dict[str, _Picture]) -> list[_Group]:
    """Sources of two or more files, the largest first, then by name."""
    members: dict[str, list[_Picture]] = defaultdict(list)
    for picture in pictures.values():
        members[picture.record.source].append(picture)
    links: dict[str, list[Link]] = defaultdict(list)
    for link in sorted(filter(_is_copy, findings.links), key=_rank):
        if _within(link, pictures):
            links[pictures[link.first].record.source].append(link)
    groups = [
        _build_group(name, found, links[name])
        for name, found in members.items()
        if sum(len(picture.names) for picture in found) > 1
    ]
    return sorted(groups, key=lambda group: (-group.n_files, group.name))


def _build_group(name: str, pictures: Sequence[_Picture], links: Sequence[Link]) -> _Group:
    # Kruskal: taken from the strongest on, the last link that joins two parts is the weakest that
    # the group needs.
    part = {picture.sha256: {picture.sha256} for picture in pictures}
    weakest = None
    for link in links:
        if part[link.first] is not part[link.second]:
            part[link.first] |= part[link.second]
            for sha256 in part[link.second]:
                part[sha256] = part[link.first]
            weakest = link
    # Two labels are a conflict between copies, not between cells of one patient.
    labels: dict[int, set[str]] = defaultdict(set)
    for picture in pictures:
        labels[id(part[picture.sha256])] |= picture.whole_labels
    conflict = set().union(*(found for found in labels.values() if len(found) > 1))
    return _Group(name, tuple(pictures), tuple(links), weakest, tuple(sorted(conflict)))


def _choose_reference(group: _Group) -> _Picture:
    degree = Counter(sha256 for link in group.links for sha256 in (link.first, link.second))
    return min(group.pictures, key=lambda picture: (-degree[picture.sha256], picture.sha256))


def _place_members(reference: str, links: Sequence[Link]) -> dict[str, _Place]:
    """Compose maps from the reference to every member that links reach: over the fewest links, for
    errors add up, and of such paths over the one whose weakest link is the strongest."""
    steps: dict[str, list[tuple[str, Link, Affine]]] = defaultdict(list)
    for link in links:
        steps[link.first].append((link.second, link, link.matrix))
        steps[link.second].append((link.first, link, invert(link.matrix)))
    places = {reference: _Place(IDENTITY, ())}
    level = [reference]
    while level:
        offers: dict[str, _Place] = {}
        for here in level:
            for there, link, matrix in steps[here]:
                path = (*places[here].path, link)
                rival = offers.get(there)
                if there not in places and (rival is None or _weigh(path) < _weigh(rival.path)):
                    offers[there] = _Place(compose(matrix, places[here].matrix), path)
        places |= offers
        level = sorted(offers)
    return places


def _weigh(path: Sequence[Link]) -> list[tuple[int, int, str, str]]:
    """Sort key: the path first whose weakest link is the strongest."""
    return sorted(map(_rank, path), reverse=True)


# -- sections -------------------------------------------------------------------------------------


def _build_sections(
    findings: SourceFindings,
    pictures: dict[str, _Picture],
    groups: Sequence[_Group],
    sheet: _Sheet,
    max_groups: int,
    max_tiles: int,
) -> list[_Section]:
    """Sections that have something to show, the most worth judging first."""
    conflicts = [group for group in groups if group.conflict]
    rest = [group for group in groups if not group.conflict]
    linked = sorted(
        ((_rank(group.weakest), group) for group in rest if group.weakest),
        key=lambda pair: pair[0],
        reverse=True,
    )
    rejected = _pair_up(
        [
            link
            for link in findings.links
            if not link.accepted or (_is_copy(link) and not _within(link, pictures))
        ],
        pictures,
    )
    overlaps = _pair_up(
        [link for link in findings.links if link.accepted and link.kind == "overlap"], pictures
    )
    # Strong links that were rejected may be true; weak overlaps that were accepted may be false.
    overlaps.reverse()
    weak = min(len(linked), math.ceil(len(rest) / 2))
    n_conflicts, n_rejected, n_weak, n_overlaps, n_large = _share(
        max_groups, [len(conflicts), len(rejected), weak, len(overlaps), len(rest) - weak]
    )
    weakest = [group for _, group in linked[:n_weak]]
    largest = [group for group in rest if group not in weakest]

    def build_groups(found: Sequence[_Group]) -> tuple[_Card, ...]:
        return tuple(_build_group_card(group, sheet, max_tiles) for group in found)

    def build_pairs(found: Sequence[tuple[Link, int]]) -> tuple[_Card, ...]:
        return tuple(_build_pair_card(link, n, pictures, sheet) for link, n in found)

    sections = [
        _Section(
            "conflicts",
            "One picture, two names",
            "Copies of one picture that bear different labels. At least one of the labels is"
            " wrong, or these are no copies.",
            build_groups(conflicts[:n_conflicts]),
            len(conflicts),
        ),
        _Section(
            "rejected",
            "Links that were rejected",
            "Two pictures that look like copies, while the rest of their groups does not support"
            " it. The strongest stand first. If they are copies, two sources should be one.",
            build_pairs(rejected[:n_rejected]),
            len(rejected),
            pairs=True,
        ),
        _Section(
            "weakest",
            "Groups that hang on the weakest evidence",
            "Without its weakest link each of these would fall apart. Those with the lowest"
            " agreement stand first, then those with the fewest inliers; on each sheet likewise.",
            build_groups(weakest),
            len(linked),
        ),
        _Section(
            "overlaps",
            "Pictures that overlap",
            "Two pictures that share a part of one microscope field, the weakest evidence first."
            " They are no copies; a split keeps them together all the same.",
            build_pairs(overlaps[:n_overlaps]),
            len(overlaps),
            pairs=True,
        ),
        _Section(
            "largest",
            "The largest groups",
            "Of the groups that are not shown above.",
            build_groups(largest[:n_large]),
            len(largest),
        ),
    ]
    return [section for section in sections if section.cards]


def _share(limit: int, wanted: Sequence[int]) -> list[int]:
    """Deal `limit` sheets out one by one, so that no section starves another."""
    given = [0] * len(wanted)
    while sum(given) < min(limit, sum(wanted)):
        for i in range(len(wanted)):
            if given[i] < wanted[i] and sum(given) < limit:
                given[i] += 1
    return given


def _pair_up(links: Sequence[Link], pictures: dict[str, _Picture]) -> list[tuple[Link, int]]:
    """The strongest link between each two sources, with their number, the strongest first."""
    between: dict[tuple[str, ...], list[Link]] = defaultdict(list)
    for link in sorted(links, key=_rank):
        ends = sorted(pictures[sha256].record.source for sha256 in (link.first, link.second))
        between[tuple(ends)].append(link)
    return sorted(
        ((found[0], len(found)) for found in between.values()), key=lambda pair: _rank(pair[0])
    )


def _build_group_card(group: _Group, sheet: _Sheet, max_tiles: int) -> _Card:
    reference = _choose_reference(group)
    places = _place_members(reference.sha256, group.links)
    by_hash = {picture.sha256: picture for picture in group.pictures}
    ends = {group.weakest.first, group.weakest.second} if group.weakest else set()

    def differs(picture: _Picture) -> bool:
        return bool(group.conflict) and picture.whole_labels != reference.whole_labels

    def order(picture: _Picture) -> tuple[object, ...]:
        path = places[picture.sha256].path if picture.sha256 in places else ()
        weakness = _weigh(path)[0][:2] if path else (0, 0)
        return (
            picture is not reference,
            not differs(picture),
            picture.sha256 not in ends,
            not path,
            tuple(-x for x in weakness),
            picture.sha256,
        )

    tiles = []
    for picture in sorted(group.pictures, key=order)[:max_tiles]:
        place = places.get(picture.sha256)
        tag = "reference" if picture is reference else "other label" if differs(picture) else ""
        lines = _word_place(picture, place, reference, by_hash)
        tiles.append(sheet.draw(picture, place, reference, lines, tag))
    remarks = []
    if group.conflict:
        names = _join([display_label(name) for name in group.conflict])
        remarks.append(f"Copies of one picture are called {names}.")
    if group.weakest:
        first, second = (by_hash[x].names[0] for x in (group.weakest.first, group.weakest.second))
        remarks.append(
            f"Weakest link that holds it: {first} with {second}, {_word_link(group.weakest)}."
        )
    hidden = len(group.pictures) - len(tiles)
    return _Card(
        title=group.name,
        summary=f"{_plural(group.n_files, 'image')}; {_word_labels(_count_labels(group))};"
        f" {'weakest link: ' if group.weakest else ''}{_word_weakest(group)}",
        remarks=tuple(remarks),
        tiles=tuple(tiles),
        more=f"{_plural(hidden, 'more member')} not shown; the weakest evidence stands first."
        if hidden
        else "",
        alarming=bool(group.conflict),
    )


def _build_pair_card(
    link: Link, n_links: int, pictures: dict[str, _Picture], sheet: _Sheet
) -> _Card:
    first, second = pictures[link.first], pictures[link.second]
    place = _Place(link.matrix, (link,))
    sizes = [(p.record.width, p.record.height) for p in (first, second)]
    tiles = (
        sheet.draw(first, None, first, _word_twins(first), "reference"),
        sheet.draw(second, place, first, (describe_map(link.matrix, *sizes), *_word_twins(second))),
    )
    sources = [first.record.source, second.record.source]
    summary = _word_link(link)
    if link.contradiction_frac:
        summary += f", contradiction {_percent(link.contradiction_frac)}"
    remarks = []
    if sources[0] == sources[1]:
        remarks.append(f"Both are in the group {sources[0]} all the same, by other links.")
    elif _is_copy(link):
        remarks.append("Copies by their pixels, but the table names two sources.")
    if n_links > 1:
        remarks.append(f"The strongest of {n_links:,} such links between these two sources.")
    return _Card(
        title=" and ".join(dict.fromkeys(sources)),
        summary=summary,
        remarks=tuple(remarks),
        tiles=tiles,
    )


# -- words ----------------------------------------------------------------------------------------


def _count_sources(pictures: dict[str, _Picture]) -> int:
    return len({picture.record.source for picture in pictures.values()})


def _word_findings(pictures: dict[str, _Picture], groups: Sequence[_Group]) -> list[str]:
    """The main message, in two to four sentences."""
    n_files = sum(len(picture.names) for picture in pictures.values())
    grouped = sum(group.n_files for group in groups)
    copies = sum(_count_copies(group) for group in groups)
    n_sources = _count_sources(pictures)
    sentences = [f"{_plural(n_files, 'image')} {_are(n_files)} {_plural(n_sources, 'source')}."]
    if groups:
        sentences.append(
            f"{_plural(copies, 'image')} {'has' if copies == 1 else 'have'} copies; the largest"
            f" group holds {groups[0].n_files:,}; {_plural(n_files - grouped, 'image')}"
            f" {'stands' if n_files - grouped == 1 else 'stand'} alone."
        )
    else:
        sentences.append("No image has a copy here.")
    if grouped > copies:
        sentences.append(
            f"{_plural(grouped - copies, 'image')} share{'s' * (grouped - copies == 1)} a source"
            " because the table says so, not by pixels."
        )
    boxes = sum(picture.n_boxes for picture in pictures.values())
    if boxes:
        sentences.append(
            f"The table cuts {_plural(boxes, 'boxed cell')} out of these images; all cells of an"
            " image have its source."
        )
    return sentences


def _count_copies(group: _Group) -> int:
    """Number of files that a link or identical bytes join to another."""
    linked = {sha256 for link in group.links for sha256 in (link.first, link.second)}
    return sum(
        len(picture.names)
        for picture in group.pictures
        if picture.sha256 in linked or len(picture.names) > 1
    )


def _count_labels(group: _Group) -> Counter[str]:
    return sum((picture.labels for picture in group.pictures), Counter())


def _word_labels(labels: Counter[str]) -> str:
    """Name the labels, the most frequent first, with counts where there is more than one row."""
    ordered = sorted(labels, key=lambda name: (-labels[name], name))
    if sum(labels.values()) == 1:
        return display_label(ordered[0])
    shown = [f"{display_label(name)} {labels[name]:,}" for name in ordered[:_MAX_NAMES]]
    if len(ordered) > _MAX_NAMES:
        shown.append(f"{len(ordered) - _MAX_NAMES:,} more")
    return ", ".join(shown)


def _word_link(link: Link) -> str:
    return (
        f"{_plural(link.inliers, 'inlier')}, overlap {_percent(link.overlap_frac)},"
        f" agreement {_percent(link.agreement_frac)}"
    )


def _word_twins(picture: _Picture) -> tuple[str, ...]:
    lines = []
    if picture.n_boxes:
        lines.append(_plural(picture.n_boxes, "boxed cell"))
    if len(picture.names) > 1:
        others = list(picture.names[1 : 1 + _MAX_NAMES])
        if len(picture.names) > 1 + _MAX_NAMES:
            others.append(f"{len(picture.names) - 1 - _MAX_NAMES:,} more")
        lines.append(f"same bytes: {', '.join(others)}")
    return tuple(lines)


def _word_place(
    picture: _Picture, place: _Place | None, reference: _Picture, by_hash: dict[str, _Picture]
) -> tuple[str, ...]:
    twins = _word_twins(picture)
    if place is None:
        return ("not linked by pixels; the table names its source", *twins)
    if not place.path:
        return twins
    sizes = [(p.record.width, p.record.height) for p in (reference, picture)]
    last = place.path[-1]
    evidence = _word_link(last)
    if len(place.path) > 1:
        neighbour = last.first if last.second == picture.sha256 else last.second
        evidence += f" with {by_hash[neighbour].names[0]}; {len(place.path)} links to the reference"
    return (describe_map(place.matrix, *sizes), evidence, *twins)


def _word_row(group: _Group) -> tuple[str, ...]:
    """One row of the table: name, images, labels, links, weakest link."""
    return (
        group.name,
        f"{group.n_files:,}",
        _word_labels(_count_labels(group)),
        f"{len(group.links):,}",
        _word_weakest(group),
    )


def _word_weakest(group: _Group) -> str:
    if group.weakest:
        agreement = _percent(group.weakest.agreement_frac)
        return f"agreement {agreement}, {_plural(group.weakest.inliers, 'inlier')}"
    return "same bytes" if _count_copies(group) else "named in the table"


def _percent(share: float) -> str:
    """Per cent without decimals; 100 and 0 only where they are exact."""
    if 0 < share < 1:
        return f"{min(99, max(1, round(100 * share)))}{NBSP}%"
    return f"{100 * share:.0f}{NBSP}%"


def _plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _join(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
