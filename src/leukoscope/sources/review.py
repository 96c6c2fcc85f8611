"""What of a search a person should look at, and in which order.

Duplicates under different labels come first, then rejected links, groups that rest on thin
evidence, overlaps, and the largest groups. Each member of a group has the map from its reference.
What this file does not do: it finds nothing (`search`), and it neither draws nor says anything.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leukoscope.data.catalog import ImageRecord
from leukoscope.errors import DataError
from leukoscope.sources.evidence import IDENTITY, Affine, Link, compose_maps, invert_map
from leukoscope.sources.search import SourceFindings, SourceSummary, summarise_sources

ChapterCode = Literal["conflicts", "rejected", "weakest", "overlaps", "largest"]
"""What is shown: groups with different labels; rejected links; groups on the weakest evidence;
pictures that overlap; the largest of the other groups."""


@dataclass(frozen=True)
class File:
    """One file content. `record` is its first row by id; `ids` are those of its files, one each;
    `labels` counts its rows; `n_boxes` are rows that cut a cell out of it."""

    record: ImageRecord
    ids: tuple[str, ...]
    labels: Counter[str]
    n_boxes: int

    @property
    def sha256(self) -> str:
        """The content hash."""
        return self.record.sha256

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.record.width, self.record.height

    @property
    def whole_labels(self) -> frozenset[str]:
        """Labels of the whole picture; boxes of one picture may well differ."""
        return frozenset() if self.n_boxes else frozenset(self.labels)


@dataclass(frozen=True)
class Group:
    """A source of two or more files. `links` are the accepted ones between its members, strongest
    first; without `weakest` the group would fall apart; `conflict` are the labels of duplicates
    that differ."""

    name: str
    files: tuple[File, ...]
    links: tuple[Link, ...]
    weakest: Link | None
    conflict: tuple[str, ...]

    @property
    def n_files(self) -> int:
        """Files, identical ones counted each."""
        return sum(len(file.ids) for file in self.files)

    @property
    def n_duplicates(self) -> int:
        """Files that a link or identical bytes join to another."""
        linked = {sha256 for link in self.links for sha256 in (link.first, link.second)}
        return sum(
            len(file.ids) for file in self.files if file.sha256 in linked or len(file.ids) > 1
        )

    @property
    def labels(self) -> Counter[str]:
        """Rows by label."""
        return sum((file.labels for file in self.files), Counter())


@dataclass(frozen=True)
class Member:
    """One file beside its reference: the map from the reference to it, over which links. Without a
    map it is in the group because the table says so."""

    file: File
    matrix: Affine | None
    path: tuple[Link, ...]
    differs: bool = False


@dataclass(frozen=True)
class Sheet:
    """Files to compare with `reference`, in order. Of a group: `group`, and `n_hidden` members that
    are left out. Of a pair: the strongest of the `n_links` between two sources."""

    reference: File
    members: tuple[Member, ...]
    group: Group | None = None
    n_hidden: int = 0
    link: Link | None = None
    n_links: int = 0


@dataclass(frozen=True)
class Chapter:
    """Some sheets of one kind, and how many there are in all."""

    code: ChapterCode
    sheets: tuple[Sheet, ...]
    total: int


@dataclass(frozen=True)
class Review:
    """The findings for a person. `groups` are the largest first; `n_files` are different paths,
    boxed cells or not; `classes` are rows and sources by label."""

    summary: SourceSummary
    groups: tuple[Group, ...]
    chapters: tuple[Chapter, ...]
    n_files: int
    n_boxes: int
    classes: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class View:
    """One picture to draw: a file as stored; or moved onto a reference, to which `matrix` maps
    back."""

    file: str
    onto: str = ""
    matrix: Affine | None = None


def review_sources(
    findings: SourceFindings, *, max_sheets: int = 60, max_members: int = 12
) -> Review:
    """Return what to look at: at most `max_sheets` sheets, shared evenly between the chapters, with
    at most `max_members` files each.

    The result does not depend on the order of rows and links. Raises `DataError` if a link names
    an image that is not in the catalog, or its map cannot be undone.
    """
    files = _list_files(findings)
    _check_links(findings.links, files)
    groups = _list_groups(findings, files)
    rows: dict[str, list[str]] = defaultdict(list)
    for record in findings.catalog.records:
        rows[record.label].append(record.source)
    return Review(
        summary=summarise_sources(findings),
        groups=tuple(groups),
        chapters=_choose_chapters(findings, files, groups, max_sheets, max_members),
        n_files=sum(len(file.ids) for file in files.values()),
        n_boxes=sum(file.n_boxes for file in files.values()),
        classes={label: (len(rows[label]), len(set(rows[label]))) for label in sorted(rows)},
    )


def list_views(review: Review) -> dict[View, tuple[File, File]]:
    """Return the pictures that the sheets need: each with its file and its reference."""
    views = {}
    for sheet in (sheet for chapter in review.chapters for sheet in chapter.sheets):
        for member in sheet.members:
            views[View(member.file.sha256)] = (member.file, sheet.reference)
            if member.file is not sheet.reference and member.matrix is not None:
                view = View(member.file.sha256, sheet.reference.sha256, member.matrix)
                views[view] = (member.file, sheet.reference)
    return views


# -- files, groups and links ----------------------------------------------------------------------


def _list_files(findings: SourceFindings) -> dict[str, File]:
    """One entry per file content, in the order of content hashes."""
    rows: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in sorted(findings.catalog.records, key=lambda r: r.id):
        rows[record.sha256].append(record)
    files = {}
    for sha256 in sorted(rows):
        ids: dict[object, str] = {}
        for record in rows[sha256]:
            # A located image has a box, but is the only one of its file.
            own = record.id if record.box is None else record.id.rpartition("#")[0] or record.id
            ids.setdefault(record.path, own)
        files[sha256] = File(
            record=rows[sha256][0],
            ids=tuple(ids.values()),
            labels=Counter(record.label for record in rows[sha256]),
            n_boxes=sum(record.box is not None for record in rows[sha256]),
        )
    return files


def _check_links(links: Iterable[Link], files: Mapping[str, File]) -> None:
    for link in links:
        for sha256 in (link.first, link.second):
            if sha256 not in files:
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


def is_duplicate(link: Link) -> bool:
    """Tell whether a link joins two duplicates."""
    return link.accepted and link.kind != "overlap"


def _within(link: Link, files: Mapping[str, File]) -> bool:
    return files[link.first].record.source == files[link.second].record.source


def _list_groups(findings: SourceFindings, files: Mapping[str, File]) -> list[Group]:
    """Sources of two or more files, the largest first, then by name."""
    members: dict[str, list[File]] = defaultdict(list)
    for file in files.values():
        members[file.record.source].append(file)
    links: dict[str, list[Link]] = defaultdict(list)
    for link in sorted(filter(is_duplicate, findings.links), key=_rank):
        if _within(link, files):
            links[files[link.first].record.source].append(link)
    groups = [
        _build_group(name, found, links[name])
        for name, found in members.items()
        if sum(len(file.ids) for file in found) > 1
    ]
    return sorted(groups, key=lambda group: (-group.n_files, group.name))


def _build_group(name: str, files: Sequence[File], links: Sequence[Link]) -> Group:
    # Kruskal: taken from the strongest on, the last link that joins two parts is the weakest that
    # the group needs.
    part = {file.sha256: {file.sha256} for file in files}
    weakest = None
    for link in links:
        if part[link.first] is not part[link.second]:
            part[link.first] |= part[link.second]
            for sha256 in part[link.second]:
                part[sha256] = part[link.first]
            weakest = link
    # Two labels are a conflict between duplicates, not between cells of one patient.
    labels: dict[int, set[str]] = defaultdict(set)
    for file in files:
        labels[id(part[file.sha256])] |= file.whole_labels
    conflict = set().union(*(found for found in labels.values() if len(found) > 1))
    return Group(name, tuple(files), tuple(links), weakest, tuple(sorted(conflict)))


def _choose_reference(group: Group) -> File:
    degree = Counter(sha256 for link in group.links for sha256 in (link.first, link.second))
    return min(group.files, key=lambda file: (-degree[file.sha256], file.sha256))


Place = tuple[Affine, tuple[Link, ...]]
"""A map from the reference, and the links that it is composed of."""


def place_members(reference: str, links: Sequence[Link]) -> dict[str, Place]:
    """Return the map from the reference to every member that links reach, and the path: over the
    fewest links, for errors add up, and of such paths over the one whose weakest link is the
    strongest."""
    steps: dict[str, list[tuple[str, Link, Affine]]] = defaultdict(list)
    for link in links:
        steps[link.first].append((link.second, link, link.matrix))
        steps[link.second].append((link.first, link, invert_map(link.matrix)))
    places: dict[str, Place] = {reference: (IDENTITY, ())}
    level = [reference]
    while level:
        offers: dict[str, Place] = {}
        for near in level:
            for far, link, matrix in steps[near]:
                path = (*places[near][1], link)
                rival = offers.get(far)
                if far not in places and (rival is None or _weigh(path) < _weigh(rival[1])):
                    offers[far] = (compose_maps(matrix, places[near][0]), path)
        places |= offers
        level = sorted(offers)
    return places


def _weigh(path: Sequence[Link]) -> list[tuple[int, int, str, str]]:
    """Sort key: the path first whose weakest link is the strongest."""
    return sorted(map(_rank, path), reverse=True)


# -- chapters -------------------------------------------------------------------------------------


def _choose_chapters(
    findings: SourceFindings,
    files: Mapping[str, File],
    groups: Sequence[Group],
    max_sheets: int,
    max_members: int,
) -> tuple[Chapter, ...]:
    """Chapters that have something to show, the most important first."""
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
            if not link.accepted or (is_duplicate(link) and not _within(link, files))
        ],
        files,
    )
    overlaps = _pair_up(
        [link for link in findings.links if link.accepted and link.kind == "overlap"], files
    )
    # Strong links that were rejected may be true; weak overlaps that were accepted may be false.
    overlaps.reverse()
    weak = min(len(linked), math.ceil(len(rest) / 2))
    n_conflicts, n_rejected, n_weak, n_overlaps, n_large = _share_evenly(
        max_sheets, [len(conflicts), len(rejected), weak, len(overlaps), len(rest) - weak]
    )
    weakest = [group for _, group in linked[:n_weak]]
    largest = [group for group in rest if group not in weakest]

    def show_groups(found: Sequence[Group]) -> tuple[Sheet, ...]:
        return tuple(_show_group(group, max_members) for group in found)

    def show_pairs(found: Sequence[tuple[Link, int]]) -> tuple[Sheet, ...]:
        return tuple(_show_pair(link, n, files) for link, n in found)

    chapters = (
        Chapter("conflicts", show_groups(conflicts[:n_conflicts]), len(conflicts)),
        Chapter("rejected", show_pairs(rejected[:n_rejected]), len(rejected)),
        Chapter("weakest", show_groups(weakest), len(linked)),
        Chapter("overlaps", show_pairs(overlaps[:n_overlaps]), len(overlaps)),
        Chapter("largest", show_groups(largest[:n_large]), len(largest)),
    )
    return tuple(chapter for chapter in chapters if chapter.sheets)


def _share_evenly(limit: int, wanted: Sequence[int]) -> list[int]:
    """Give `limit` sheets out one by one, so that no chapter starves another."""
    given = [0] * len(wanted)
    while sum(given) < min(limit, sum(wanted)):
        for i in range(len(wanted)):
            if given[i] < wanted[i] and sum(given) < limit:
                given[i] += 1
    return given


def _pair_up(links: Sequence[Link], files: Mapping[str, File]) -> list[tuple[Link, int]]:
    """The strongest link between each two sources, with their number, the strongest first."""
    between: dict[tuple[str, ...], list[Link]] = defaultdict(list)
    for link in sorted(links, key=_rank):
        ends = sorted(files[sha256].record.source for sha256 in (link.first, link.second))
        between[tuple(ends)].append(link)
    return sorted(
        ((found[0], len(found)) for found in between.values()), key=lambda pair: _rank(pair[0])
    )


def _show_group(group: Group, max_members: int) -> Sheet:
    """The reference, members of another label, the ends of the weakest link, then the others: the
    weakest evidence first, and last what no link reaches."""
    reference = _choose_reference(group)
    places = place_members(reference.sha256, group.links)
    ends = {group.weakest.first, group.weakest.second} if group.weakest else set()
    members = []
    for file in group.files:
        matrix, path = places.get(file.sha256, (None, ()))
        differs = bool(group.conflict) and file.whole_labels != reference.whole_labels
        members.append(Member(file, matrix, path, differs))

    def order(member: Member) -> tuple[object, ...]:
        weakness = _weigh(member.path)[0][:2] if member.path else (0, 0)
        return (
            member.file is not reference,
            not member.differs,
            member.file.sha256 not in ends,
            not member.path,
            tuple(-x for x in weakness),
            member.file.sha256,
        )

    shown = tuple(sorted(members, key=order)[:max_members])
    return Sheet(reference, shown, group, len(members) - len(shown))


def _show_pair(link: Link, n_links: int, files: Mapping[str, File]) -> Sheet:
    first, second = files[link.first], files[link.second]
    members = (Member(first, IDENTITY, ()), Member(second, link.matrix, (link,)))
    return Sheet(first, members, link=link, n_links=n_links)
