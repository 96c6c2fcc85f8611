"""The model card and the checklists as data: what each item asks, which facts answer it, who adds.

`checklists/*.toml` hold the items. What the records can say is filled in; what a person must add
stays a blank, `[to be filled in: ...]`, never a guess. What this file does not do: it knows no fact
(`card_data_facts` and its neighbours), no layout (`model_card`) and reads no record.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from leukoscope.records import parse_record
from leukoscope.report.markdown import escape_text, render_list

BLANK = "[to be filled in:"
"""How every blank begins, so that a search finds them all."""


@dataclass(frozen=True)
class Item:
    """One thing that a reader wants to know.

    `says` is what holds for every network, `facts` name what the records say after it; `ask` is
    what a person adds, "" where the records say everything. `block`: a table or list, which stands
    alone.
    """

    id: str
    text: str
    says: str = ""
    facts: tuple[str, ...] = ()
    ask: str = ""
    block: bool = False


@dataclass(frozen=True)
class Section:
    """Items under one heading; left out where the record that it `needs` is missing."""

    title: str
    items: tuple[Item, ...]
    needs: str = ""


@dataclass(frozen=True)
class Checklist:
    """Sections in the order of reading."""

    title: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Finding:
    """What the records say to one fact: Markdown, or sentences that can be listed; None where they
    do not suffice, and then `missing` is what would have to be there. `records` were read."""

    text: str | tuple[str, ...] | None
    records: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Answer:
    """An item with what the records say. `text` is Markdown without blanks, "" for nothing on
    record; `to_fill_in` is what a person adds, "" for nothing; `part`: both."""

    id: str
    section: str
    title: str
    status: Literal["filled", "part", "blank"]
    text: str
    to_fill_in: str
    records: tuple[str, ...]
    block: bool

    @property
    def shown(self) -> str:
        """The text with its blank, if it has one."""
        blank = f"{BLANK} {escape_text(self.to_fill_in)}]" if self.to_fill_in else ""
        return ("\n\n" if self.block else " ").join(x for x in (self.text, blank) if x)


@dataclass(frozen=True)
class Document:
    """A filled-in card or checklist: `n_part` and `n_blank` of its answers need a person."""

    title: str
    n_part: int
    n_blank: int
    answers: tuple[Answer, ...]


def load_checklist(name: str) -> Checklist:
    """Return one of the checklists of this package: `model_card`, `claim` or `tripod_ai`."""
    place = resources.files("leukoscope.report").joinpath("checklists", f"{name}.toml")
    return parse_record(
        Checklist, tomllib.loads(place.read_text("utf-8")), str(place), "leukoscope"
    )


def answer_checklist(
    checklist: Checklist, find: Callable[[str], Finding], has: Callable[[str], bool]
) -> tuple[Answer, ...]:
    """Return what the records say to each item, in order.

    `find` returns what they say to a fact of this name; `has` tells whether there is a record of
    this name. An item is blank where any of its facts is unknown.
    """
    return tuple(
        answer_item(item, section.title, [find(fact) for fact in item.facts])
        for section in checklist.sections
        if not section.needs or has(section.needs)
        for item in section.items
    )


def answer_item(item: Item, section: str, found: Sequence[Finding]) -> Answer:
    """Return an item with what its facts found: blank where any of them is unknown."""
    missing = [one.missing for one in found if one.text is None]
    if missing:
        ask = f"{item.ask or item.text.lower()}; {missing[0]}"
        return Answer(item.id, section, item.text, "blank", "", ask, (), False)
    parts = [item.says, *(_join(one.text or "", item.block) for one in found)]
    text = " ".join(part for part in parts if part)
    text = text if item.block else " ".join(text.split())
    return Answer(
        item.id,
        section,
        item.text,
        ("part" if text else "blank") if item.ask else "filled",
        text,
        " ".join(item.ask.split()),
        tuple(dict.fromkeys(name for one in found for name in one.records)),
        item.block,
    )


def _join(text: str | tuple[str, ...], block: bool) -> str:
    if isinstance(text, str):
        return text
    return render_list(text) if block else " ".join(text)
