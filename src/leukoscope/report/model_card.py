"""The Markdown of a model card and of the checklists that go with it.

The card follows Mitchell et al., Model Cards for Model Reporting (2019, doi
10.1145/3287560.3287596); the main figure and its limitations come first. CLAIM is Tejani et al.,
Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300 (44 items); TRIPOD+AI is Collins et al., BMJ
2024;385:e078378 (27 items, 52 with their parts). Numbers and subjects of the items follow the
papers; the wording is ours and short. What this file does not do: it reads and writes no file
(`pipelines.card`).
"""

from itertools import groupby

from leukoscope.report import card_facts as facts
from leukoscope.report import card_limit_facts as limit_facts
from leukoscope.report import card_other_facts as other_facts
from leukoscope.report import card_trust_facts as trust_facts
from leukoscope.report.card_records import CardRecords, Reader, Writer, answer_fact
from leukoscope.report.checklist import Answer, Document, answer_checklist, load_checklist
from leukoscope.report.evaluation_page import GLOSSARY
from leukoscope.report.markdown import render_table

NOTICE = "Research use only. Not a medical device. No claim of clinical performance."

FACTS: dict[str, Writer] = {
    "augmentation": facts.word_augmentation,
    "baseline_table": facts.tabulate_baselines,
    "calibration": trust_facts.word_calibration,
    "class_counts": facts.word_counts_by_class,
    "class_figures": facts.word_classes_accuracy,
    "class_table": facts.tabulate_classes,
    "class_weights": facts.word_balance,
    "classes": facts.word_classes,
    "columns": facts.word_columns,
    "command": facts.word_command,
    "cost": facts.word_cost,
    "count_table": facts.tabulate_data,
    "crops": facts.word_crops,
    "data": facts.word_data,
    "ensemble": facts.word_ensemble,
    "evaluation_table": other_facts.tabulate_evaluations,
    "explanation": other_facts.word_explanation,
    "external_figures": other_facts.word_external,
    "hashes": facts.list_hashes,
    "image_size": facts.word_pixels,
    "initial_weights": facts.word_initial,
    "internal_figure": facts.word_internal_figure,
    "intervals": facts.word_uncertainty,
    "limitations": limit_facts.list_limits,
    "main_figure": facts.word_main_figure,
    "metrics": facts.word_measures,
    "missing": facts.word_missing,
    "mistakes": facts.word_failures,
    "network": facts.word_network,
    "output": trust_facts.word_output,
    "overall": facts.word_overall,
    "parity_table": other_facts.tabulate_parity,
    "partition": facts.word_partition,
    "prediction_sets": trust_facts.word_sets,
    "predictors": facts.word_predictors,
    "preprocessing": facts.word_preprocessing,
    "rejection": trust_facts.word_rejection,
    "robustness": other_facts.word_robustness,
    "selection": facts.word_selection,
    "separation": facts.word_disjoint,
    "software": facts.word_software,
    "subgroups": other_facts.word_clusters,
    "thresholds": trust_facts.word_policy,
    "training": facts.word_training,
    "updates": facts.word_updates,
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
        lambda fact: answer_fact(FACTS[fact], records),
        lambda record: bool(vars(records)[record]),
    )
    n_part, n_blank = (sum(a.status == status for a in answers) for status in ("part", "blank"))
    title = checklist.title
    if name == "model_card":
        title = f"{title}: {facts.write_title(Reader(records))}"
    return Document(title, n_part, n_blank, answers)


def render_card(card: Document) -> str:
    """Return a model card as Markdown, section by section."""
    parts = [f"# {card.title}", f"> **{NOTICE}**"]
    for title, answers in groupby(card.answers, key=lambda answer: answer.section):
        parts += [f"## {title}", *map(_render_answer, answers)]
    terms = "\n".join(f"- **{term}**: {meaning}" for term, meaning in GLOSSARY)
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
