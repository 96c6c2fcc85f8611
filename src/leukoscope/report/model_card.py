"""The Markdown of a model card and of the checklists that go with it.

The card follows Mitchell et al., Model Cards for Model Reporting (2019, doi
10.1145/3287560.3287596); the main figure and its limitations come first. CLAIM is Tejani et al.,
Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300 (44 items); TRIPOD+AI is Collins et al., BMJ
2024;385:e078378 (27 items, 52 with their parts). Numbers and subjects of the items follow the
papers; the wording is ours and short. What this file does not do: it reads and writes no file
(`pipelines.card`).
"""

from collections.abc import Mapping
from itertools import groupby

from leukoscope.report import card_data_facts, card_external_facts, card_figure_facts
from leukoscope.report.card_records import CardRecords, Fact, find_fact
from leukoscope.report.checklist import Answer, Document, answer_checklist, load_checklist
from leukoscope.report.glossary import OF_EVALUATIONS, pick_terms
from leukoscope.report.markdown import escape_text, render_table

NOTICE = "Research use only. Not a medical device. No claim of clinical performance."

FACTS: Mapping[str, Fact] = {
    name.removeprefix("describe_"): fact
    for room in (card_data_facts, card_figure_facts, card_external_facts)
    for name, fact in vars(room).items()
    if name.startswith("describe_") and fact.__module__ == room.__name__
}
"""By the names that items use."""

_INTRO = (
    "What the records of this network say to each item. Numbers are those of the checklist, the"
    " wording is ours: read the paper beside it. A checklist that is filled in does not make a"
    " study good."
)


def build_document(name: str, records: CardRecords) -> Document:
    """Return what the records say to `model_card`, `claim` or `tripod_ai`."""
    checklist = load_checklist(name)
    answers = answer_checklist(
        checklist,
        lambda fact: find_fact(FACTS[fact], records),
        lambda record: getattr(records, record) is not None,
    )
    n_part, n_blank = (sum(a.status == status for a in answers) for status in ("part", "blank"))
    title = checklist.title
    if name == "model_card":
        title = f"{title}: {_name_network(records)}"
    return Document(title, n_part, n_blank, answers)


def _name_network(records: CardRecords) -> str:
    """The network and the data that it was trained on."""
    name = escape_text(records.network.name) if records.network else "a network without a name"
    data = records.data.name if records.data is not None else None
    reference = records.trust.reference if records.trust is not None else None
    if data is None and reference is not None and reference.leakage_status != "local":
        data = reference.data
    return f"{name}, trained on “{escape_text(data)}”" if data else name


def render_card(card: Document) -> str:
    """Return a model card as Markdown, section by section."""
    parts = [f"# {card.title}", f"> **{NOTICE}**"]
    for title, answers in groupby(card.answers, key=lambda answer: answer.section):
        parts += [f"## {title}", *map(_render_answer, answers)]
    terms = "\n".join(f"- **{term}**: {meaning}" for term, meaning in pick_terms(*OF_EVALUATIONS))
    parts += ["## Terms", terms, "---", _render_end(card)]
    return "\n\n".join(parts) + "\n"


def render_checklist(document: Document) -> str:
    """Return a checklist as Markdown with one table."""
    header = ["Item", "Section", "Asks for", "From the records"]
    rows = [[a.id, a.section, a.title, a.shown] for a in document.answers]
    table = render_table(header, rows, words=range(4))
    parts = [f"# {document.title}", f"> **{NOTICE}**", _INTRO, table, _render_end(document)]
    return "\n\n".join(parts) + "\n"


def _render_answer(answer: Answer) -> str:
    title = answer.title if answer.title.endswith("?") else f"{answer.title}."
    return f"**{title}**" + ("\n\n" if answer.block else " ") + answer.shown


def _render_end(document: Document) -> str:
    return (
        f"{document.n_part + document.n_blank} of {len(document.answers)} items need a person"
        f" ({document.n_blank} wholly, {document.n_part} in part): search this page for “to be"
        " filled in”. All else was written by leukoscope from the records of the run."
    )
