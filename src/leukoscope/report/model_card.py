"""The model card of a run or a bundle: what it is, how good, on whose blood, and what nobody knows.

After Mitchell et al., Model Cards for Model Reporting (2019, doi 10.1145/3287560.3287596): model
details, intended use, factors, metrics, data, analyses, ethical considerations, caveats. The
figure and its limits come first here, and whatever no record holds is a blank for a person, never
a guess. What this file does not do: it reads and writes no files (`pipelines.card`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from leukoscope.report import card_facts as facts
from leukoscope.report import card_limit_facts as limit_facts
from leukoscope.report import card_other_facts as other_facts
from leukoscope.report import card_trust_facts as trust_facts
from leukoscope.report.card_records import (
    Answer,
    CardRecords,
    Question,
    Reader,
    answer_question,
    escape_text,
)
from leukoscope.report.evaluation_page import GLOSSARY

NOTICE = "Research use only. Not a medical device. No claim of clinical performance."

_NOT = (
    "Nothing here is validated for diagnosis, and no figure says how patients would fare. The"
    " network sees one image of one cell; it knows no patient, no blood count and no history. It"
    " must not decide alone about anybody's treatment."
)

_OUT_OF_SCOPE = (
    "Diagnosis, screening or monitoring of patients; counting cells in whole fields; cells of kinds"
    " that it was not trained on; images of another stain, scanner or magnification without a test"
    " on labelled cells from there."
)


def _write_what(reader: Reader) -> str:
    return f"{facts.word_network(reader)} It looks at the image of one blood cell and names it."


def _write_use(reader: Reader) -> str:
    return (
        "Research on naming single blood cells in images of the kind it was trained on:"
        f" {facts.word_classes(reader)}"
    )


SECTIONS: tuple[tuple[str, tuple[Question, ...]], ...] = (
    (
        "What it is, and what it is not",
        (
            Question("what", "What it is", _write_what),
            Question("classes", "What it can name", facts.word_classes),
            Question("not", "What it is not", lambda _: _NOT),
        ),
    ),
    (
        "How good is it?",
        (
            Question("figure", "Main figure", facts.word_main_figure),
            Question("rejection_short", "When does it reject?", trust_facts.word_rejection),
        ),
    ),
    (
        "On whose blood?",
        (
            Question("data", "Data", facts.word_data),
            Question("counts", "Counts", facts.tabulate_data, is_block=True),
            Question(
                "origin",
                "Where it comes from",
                ask="laboratory, dates, who was included, healthy or ill, how many patients",
            ),
            Question(
                "acquisition",
                "How the images were made",
                facts.word_pixels,
                "stain, microscope or scanner, camera, magnification",
            ),
            Question(
                "labels",
                "Who named the cells",
                ask="who set the labels, with what training, how many readers, how they agreed",
            ),
            Question("data_licence", "Licence of the data", ask="the licence and its link"),
        ),
    ),
    (
        "What it is for, and where it ends",
        (
            Question("use", "Intended use", _write_use, "who shall use it, where and for what"),
            Question("out_of_scope", "Out of scope", lambda _: _OUT_OF_SCOPE),
            Question("limits", "Known limits", limit_facts.list_limits, is_block=True),
        ),
    ),
    (
        "How it was trained",
        (
            Question("preprocessing", "From file to network", facts.word_preprocessing),
            Question("augmentation", "Variation", facts.word_augmentation),
            Question("training", "Training", facts.word_training),
            Question("balance", "Rare classes", facts.word_balance),
            Question("selection", "Which epoch", facts.word_selection),
            Question("ensemble", "Several networks", facts.word_ensemble),
            Question("cost", "Cost", facts.word_cost),
            Question("software", "Software", facts.word_software),
        ),
    ),
    (
        "Evaluation",
        (
            Question("split", "The split", facts.word_partition),
            Question("apart", "Are test and training apart?", facts.word_disjoint),
            Question("per_class", "Each kind of cell", facts.tabulate_classes, is_block=True),
            Question("mistakes", "Mistakes", facts.word_failures),
            Question("overall", "Over all kinds", facts.word_overall),
            Question("baselines", "Baselines", facts.tabulate_baselines, is_block=True),
            Question("intervals", "Intervals", facts.word_uncertainty),
        ),
    ),
    (
        "How sure, and when it rejects",
        (
            Question("calibration", "Stated confidence", trust_facts.word_calibration),
            Question("sets", "Sets of names", trust_facts.word_sets),
            Question("output", "From answer to decision", trust_facts.word_output),
        ),
    ),
    (
        "On other data",
        (Question("others", "Evaluations", other_facts.tabulate_evaluations, is_block=True),),
    ),
    (
        "Ethics and subgroups",
        (
            Question(
                "subgroups",
                "Subgroups",
                facts.word_columns,
                "figures by age, sex, disease, site and scanner, or why there are none; the records"
                " of this network name no patients, so they cannot show whether it serves all"
                " groups alike",
            ),
            Question(
                "ethics",
                "Approval and consent",
                ask="ethics committee, consent or waiver, how the data were de-identified",
            ),
            Question("harm", "What can go wrong", ask="foreseeable harm and what is done about it"),
        ),
    ),
    (
        "How to reproduce it",
        (
            Question("command", "Command", facts.word_command, is_block=True),
            Question("hashes", "Hashes", facts.word_hashes, is_block=True),
        ),
    ),
    (
        "Terms, citation, contact",
        (
            Question("licence", "Licence of the network", ask="the licence of the weights"),
            Question("citation", "Citation", ask="how to cite this network"),
            Question("authors", "Authors", ask="who made it, and when"),
            Question("contact", "Contact", ask="whom to ask and where to report faults"),
        ),
    ),
)
"""The card: sections in the order of reading, each with its questions."""

BUNDLE_SECTION: tuple[str, tuple[Question, ...]] = (
    "The bundle",
    (Question("parity", "Parity", other_facts.tabulate_parity, is_block=True),),
)
"""Told before ethics where a bundle is given."""


@dataclass(frozen=True)
class ModelCard:
    """A card: its Markdown, and the answers it was made of, section by section."""

    markdown: str
    sections: tuple[tuple[str, tuple[Answer, ...]], ...]

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers in order."""
        return tuple(answer for _, answers in self.sections for answer in answers)

    @property
    def n_blanks(self) -> int:
        """How many items need a person."""
        return sum(answer.status != "filled" for answer in self.answers)


def build_model_card(records: CardRecords) -> ModelCard:
    """Return the model card of what is on record.

    Every figure traces to a record (`Answer.records`); what is missing, or of another kind than
    expected, is a blank `[to be filled in: ...]`. Text from records is escaped. Raises nothing.
    """
    sections = list(SECTIONS)
    if records.bundle:
        place = [title for title, _ in sections].index("Ethics and subgroups")
        sections.insert(place, BUNDLE_SECTION)
    answered = tuple(
        (title, tuple(answer_question(question, records) for question in questions))
        for title, questions in sections
    )
    card = ModelCard("", answered)
    return ModelCard(_render(card, records), answered)


def _render(card: ModelCard, records: CardRecords) -> str:
    parts = [f"# {_write_title(Reader(records))}", f"> **{NOTICE}**"]
    for title, answers in card.sections:
        parts.append(f"## {title}")
        parts += [render_answer(answer) for answer in answers]
    parts += ["## Words", _render_glossary()]
    total = len(card.answers)
    parts += [
        "---",
        f"{card.n_blanks} of {total} items need a person: search this page for “to be filled in”."
        " All else was written by leukoscope from the records of the run.",
    ]
    return "\n\n".join(parts) + "\n"


def _write_title(reader: Reader) -> str:
    network = reader.find_text("model", "spec", "name") or reader.find_text("bundle", "network")
    data = reader.find_text("data", "name")
    if data is None and trust_facts.find_local(reader) is None:
        data = reader.find_text("trust", "reference", "data")
    title = f"Model card: {escape_text(network or 'a network without a name')}"
    return f"{title}, trained on “{escape_text(data)}”" if data else title


def render_answer(answer: Answer) -> str:
    """Return one answer as Markdown: a paragraph, or a title above a table, list or command."""
    between = "\n\n" if answer.is_block else " "
    return f"**{answer.title}.**{between}{answer.shown}".replace("?.**", "?**")


def _render_glossary() -> str:
    return "\n".join(f"- **{word}**: {meaning}" for word, meaning in GLOSSARY)


def count_blanks(answers: Sequence[Answer]) -> dict[str, int]:
    """Return how many items are filled, filled in part, and blank."""
    return {
        status: sum(answer.status == status for answer in answers)
        for status in ("filled", "part", "blank")
    }
