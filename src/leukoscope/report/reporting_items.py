"""Two checklists for papers as data: CLAIM (2024 update) and TRIPOD+AI, with what a run can answer.

CLAIM: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update,
Radiology: Artificial Intelligence 2024;6(4):e240300 (44 items). TRIPOD+AI: Collins et al., BMJ
2024;385:e078378 (27 items, 52 with their parts). Numbers and subjects of the items follow the
papers; the wording is ours and short, so that authors consult the papers beside it. What a run
cannot know is a blank for a person. What this file does not do: it reads no files.
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
    Writer,
    answer_question,
    render_table,
)
from leukoscope.report.model_card import NOTICE, count_blanks


@dataclass(frozen=True)
class ReportingItem:
    """One item of a checklist. `text` says what it asks for, in our words; `fill` makes what the
    records say to it, None where they cannot; `ask` is what a person adds, "" for nothing."""

    id: str
    section: str
    text: str
    fill: Writer | None = None
    ask: str = ""


def _write_kind(reader: Reader) -> str:
    return f"Deep learning. {facts.word_network(reader)}"


def _write_predictors(reader: Reader) -> str:
    side = reader.read_count("model", "input", "image_size")
    return f"The pixels of one image, {side} x {side} in colour; nothing about the patient."


def _write_outcome(reader: Reader) -> str:
    return f"The kind of cell, as the labels of the data say. {facts.word_classes(reader)}"


def _write_handling(reader: Reader) -> str:
    return f"{facts.word_preprocessing(reader)} {facts.word_augmentation(reader)}"


def _write_building(reader: Reader) -> str:
    return " ".join(
        (facts.word_network(reader), facts.word_training(reader), facts.word_selection(reader))
    )


def _write_training(reader: Reader) -> str:
    return f"{facts.word_training(reader)} {facts.word_augmentation(reader)}"


def _write_results(reader: Reader) -> str:
    return f"{facts.word_main_figure(reader)} {facts.word_overall(reader)}"


def _write_all_results(reader: Reader) -> str:
    return f"{facts.word_main_figure(reader)} {facts.word_classes_accuracy(reader)}"


def _write_updated(reader: Reader) -> str:
    """Calibration is the only thing that changes after training; without it, a person tells."""
    if reader.read_text("trust", "weights_sha256") != reader.find_text("model", "sha256"):
        reader.give_up("trust", "weights_sha256")
    return f"Weights were not changed after training. {trust_facts.word_calibration(reader)}"


def _write_internal(reader: Reader) -> str:
    """Cells of a laboratory that levels were fitted to are not of the origin of training."""
    if trust_facts.find_local(reader) is not None:
        reader.read_interval("metrics", "accuracy")
    return facts.word_main_figure(reader)


def _write_poor_input(reader: Reader) -> str:
    reader.read_keys("trust", "policy")
    return trust_facts.word_policy(reader)


def _write_availability(reader: Reader) -> str:
    hashes = " ".join(f"{x.removeprefix('- ')}." for x in facts.word_hashes(reader).splitlines())
    return f"{facts.word_software(reader)} {hashes}"


_TITLE = "Title and abstract"

CLAIM: tuple[ReportingItem, ...] = (
    ReportingItem("1", _TITLE, "AI named as the method, and which kind", _write_kind, "the title"),
    ReportingItem("2", _TITLE, "Structured abstract", None, "the abstract"),
    ReportingItem(
        "3",
        "Introduction",
        "Background; intended use and clinical role",
        None,
        "the background, and what role the method shall play",
    ),
    ReportingItem("4", "Introduction", "Aims and hypotheses", None, "aims and hypotheses"),
    ReportingItem(
        "5",
        "Study design",
        "Prospective or retrospective",
        None,
        "whether data were collected for this study or before it",
    ),
    ReportingItem(
        "6",
        "Study design",
        "Goal of the study",
        None,
        "the goal: a new method, feasibility, comparison",
    ),
    ReportingItem(
        "7", "Data", "Where the data come from", facts.word_data, "laboratories, dates, links"
    ),
    ReportingItem(
        "8",
        "Data",
        "Who and what was included and excluded",
        facts.word_missing,
        "criteria, places and dates of inclusion",
    ),
    ReportingItem(
        "9",
        "Data",
        "Preprocessing",
        facts.word_preprocessing,
        "what was done to the images before leukoscope read them",
    ),
    ReportingItem("10", "Data", "Choice of parts of the data", facts.word_crops),
    ReportingItem("11", "Data", "De-identification", None, "how data were de-identified"),
    ReportingItem(
        "12", "Data", "Missing data", facts.word_missing, "what was missing and how it was handled"
    ),
    ReportingItem(
        "13",
        "Data",
        "How images were acquired",
        facts.word_pixels,
        "stain, microscope or scanner, camera, magnification",
    ),
    ReportingItem(
        "14",
        "Reference standard",
        "What the truth is",
        _write_outcome,
        "how the true kind of a cell was defined",
    ),
    ReportingItem(
        "15", "Reference standard", "Why this truth", None, "why this definition was chosen"
    ),
    ReportingItem(
        "16",
        "Reference standard",
        "Who annotated",
        None,
        "number, training and instructions of the readers",
    ),
    ReportingItem(
        "17",
        "Reference standard",
        "How the test set was annotated",
        None,
        "whether the test set was annotated otherwise or more carefully",
    ),
    ReportingItem(
        "18",
        "Reference standard",
        "Agreement of readers",
        None,
        "agreement between and within readers, and what was done about disagreement",
    ),
    ReportingItem("19", "Data partitions", "How images came to their roles", facts.word_partition),
    ReportingItem("20", "Data partitions", "Level at which roles are apart", facts.word_disjoint),
    ReportingItem(
        "21", "Test data", "Sample size", facts.word_counts_by_class, "how the size was chosen"
    ),
    ReportingItem("22", "Model", "The model in detail", facts.word_network),
    ReportingItem("23", "Model", "Software and versions", facts.word_software),
    ReportingItem("24", "Model", "Initial weights", facts.word_initial),
    ReportingItem("25", "Training", "How it was trained", _write_training),
    ReportingItem("26", "Training", "How the final model was chosen", facts.word_selection),
    ReportingItem("27", "Training", "Ensembles", facts.word_ensemble),
    ReportingItem("28", "Evaluation", "Measures", facts.word_measures),
    ReportingItem("29", "Evaluation", "Uncertainty and significance", facts.word_uncertainty),
    ReportingItem(
        "30",
        "Evaluation",
        "Robustness or sensitivity analysis",
        other_facts.word_robustness,
    ),
    ReportingItem(
        "31",
        "Evaluation",
        "Explanation",
        other_facts.word_explanation,
    ),
    ReportingItem("32", "Evaluation", "Evaluation on data of the same origin", _write_internal),
    ReportingItem(
        "33",
        "Evaluation",
        "Testing on data from elsewhere",
        other_facts.word_external,
        "whether these data come from other laboratories",
    ),
    ReportingItem("34", "Evaluation", "Registration of a trial", None, "the number, or none"),
    ReportingItem(
        "35",
        "Results: data",
        "Flow of patients and images",
        facts.word_data,
        "patients or examinations, included and excluded",
    ),
    ReportingItem(
        "36",
        "Results: data",
        "Who is in each part",
        facts.word_counts_by_class,
        "age, sex and disease in each part",
    ),
    ReportingItem("37", "Results: performance", "Performance with uncertainty", _write_results),
    ReportingItem(
        "38",
        "Results: performance",
        "Diagnostic accuracy with precision",
        _write_all_results,
    ),
    ReportingItem(
        "39",
        "Results: performance",
        "Failures looked at",
        facts.word_failures,
        "what a haematologist sees in the wrongly named cells",
    ),
    ReportingItem(
        "40",
        "Discussion",
        "Limitations",
        limit_facts.word_limits,
        "limitations that no record shows",
    ),
    ReportingItem(
        "41", "Discussion", "Meaning for practice", None, "what follows for practice and for whom"
    ),
    ReportingItem("42", "Other", "Protocol or technical details", None, "where they can be read"),
    ReportingItem(
        "43",
        "Other",
        "Availability of software, model, data",
        _write_availability,
        "where software, weights and data can be had",
    ),
    ReportingItem("44", "Other", "Funding", None, "who paid, and what they decided"),
)
"""CLAIM, 2024 update."""

TRIPOD_AI: tuple[ReportingItem, ...] = (
    ReportingItem(
        "1", _TITLE, "Title: model made or tested, for whom, predicting what", None, "the title"
    ),
    ReportingItem("2", _TITLE, "Abstract (own checklist)", None, "the abstract"),
    ReportingItem(
        "3a", "Introduction", "Medical context, reasons, models that exist", None, "the background"
    ),
    ReportingItem(
        "3b",
        "Introduction",
        "For which people and which decision, used by whom",
        None,
        "target population, purpose and users",
    ),
    ReportingItem(
        "3c", "Introduction", "Known health inequalities", None, "inequalities between groups"
    ),
    ReportingItem("4", "Introduction", "Objectives: making, testing or both", None, "objectives"),
    ReportingItem(
        "5a",
        "Data",
        "Where the data come from, and whom they stand for",
        facts.word_data,
        "laboratories, why these data, whom they represent",
    ),
    ReportingItem("5b", "Data", "Dates of collection", None, "first and last date"),
    ReportingItem("6a", "Participants", "Setting and centres", None, "setting, number of centres"),
    ReportingItem("6b", "Participants", "Who was eligible", None, "criteria of inclusion"),
    ReportingItem("6c", "Participants", "Treatments received", None, "treatments, or not relevant"),
    ReportingItem(
        "7",
        "Data preparation",
        "Preparation and checks of the data",
        facts.word_preprocessing,
        "what was done before, and whether alike for all groups",
    ),
    ReportingItem(
        "8a",
        "Outcome",
        "What is predicted and how it was found out",
        _write_outcome,
        "how the true kind was established, and when",
    ),
    ReportingItem(
        "8b",
        "Outcome",
        "Who judged it, where judgement is needed",
        None,
        "training and number of the readers",
    ),
    ReportingItem(
        "8c", "Outcome", "Were readers kept from knowing more", None, "what readers knew"
    ),
    ReportingItem("9a", "Predictors", "Which predictors, and why these", _write_predictors),
    ReportingItem(
        "9b",
        "Predictors",
        "Definition and measurement",
        facts.word_pixels,
        "stain, microscope or scanner, camera, magnification",
    ),
    ReportingItem(
        "9c",
        "Predictors",
        "Who took them, where judgement is needed",
        None,
        "who chose and cut out the cells",
    ),
    ReportingItem(
        "10",
        "Sample size",
        "How the size came about, for making and testing",
        facts.word_data,
        "why this size, and whether it suffices",
    ),
    ReportingItem(
        "11",
        "Missing data",
        "How missing data were handled",
        facts.word_missing,
        "what was missing and why",
    ),
    ReportingItem("12a", "Analysis", "Which data for what, and how divided", facts.word_partition),
    ReportingItem("12b", "Analysis", "How predictors entered the model", _write_handling),
    ReportingItem(
        "12c",
        "Analysis",
        "Type of model, how built, tuned, checked inside",
        _write_building,
        "which settings were tried before these",
    ),
    ReportingItem(
        "12d",
        "Analysis",
        "Differences between clusters, such as centres",
        facts.word_uncertainty,
        "how centres differ, if there are several",
    ),
    ReportingItem("12e", "Analysis", "Measures of performance and plots", facts.word_measures),
    ReportingItem(
        "12f",
        "Analysis",
        "Changes to the model after testing",
        _write_updated,
        "whether the model was changed after testing",
    ),
    ReportingItem(
        "12g", "Analysis", "How predictions are computed for testing", trust_facts.word_output
    ),
    ReportingItem("13", "Class imbalance", "What was done about rare classes", facts.word_balance),
    ReportingItem(
        "14",
        "Fairness",
        "What was done for fairness, and why",
        None,
        "how groups were compared, or why not",
    ),
    ReportingItem(
        "15", "Model output", "Form of the output and thresholds", trust_facts.word_output
    ),
    ReportingItem(
        "16",
        "Training versus evaluation",
        "Differences between the data of both",
        facts.word_disjoint,
        "differences in setting, inclusion, outcome and predictors",
    ),
    ReportingItem(
        "17", "Ethical approval", "Committee and consent", None, "approval, consent or waiver"
    ),
    ReportingItem("18a", "Open science", "Funding", None, "who paid, and what they decided"),
    ReportingItem("18b", "Open science", "Conflicts of interest", None, "of all authors"),
    ReportingItem("18c", "Open science", "Protocol", None, "where it can be read, or none"),
    ReportingItem("18d", "Open science", "Registration", None, "the number, or none"),
    ReportingItem("18e", "Open science", "Availability of data", None, "where data can be had"),
    ReportingItem(
        "18f", "Open science", "Availability of code", _write_availability, "where it can be had"
    ),
    ReportingItem(
        "19", "Patients and public", "Their part in the study", None, "their part, or none"
    ),
    ReportingItem(
        "20a",
        "Participants",
        "Flow, with numbers with and without the outcome",
        facts.word_data,
        "patients, and a diagram",
    ),
    ReportingItem(
        "20b",
        "Participants",
        "Characteristics, by centre and group",
        facts.word_counts_by_class,
        "age, sex, disease, centre",
    ),
    ReportingItem(
        "20c",
        "Participants",
        "Characteristics in training against testing",
        facts.word_counts_by_class,
        "other characteristics of both",
    ),
    ReportingItem(
        "21",
        "Model development",
        "Numbers in every analysis",
        facts.word_counts_by_class,
        "number of patients",
    ),
    ReportingItem(
        "22",
        "Model specification",
        "The whole model, so that others can use it",
        _write_availability,
        "where weights can be had, and on what terms",
    ),
    ReportingItem(
        "23a",
        "Model performance",
        "Performance with intervals, also by group",
        _write_all_results,
        "performance by age, sex and other groups",
    ),
    ReportingItem(
        "23b",
        "Model performance",
        "How it varies between clusters",
        other_facts.word_clusters,
        "performance by centre, scanner or stain",
    ),
    ReportingItem(
        "24",
        "Model updating",
        "Results of changes to the model",
        _write_updated,
        "results of later changes, or none",
    ),
    ReportingItem(
        "25", "Discussion", "What the results mean, fairness included", None, "interpretation"
    ),
    ReportingItem(
        "26",
        "Discussion",
        "Limitations",
        limit_facts.word_limits,
        "limitations that no record shows",
    ),
    ReportingItem(
        "27a",
        "Usability",
        "What happens with poor or missing input",
        _write_poor_input,
        "how poor images are noticed at the place of use",
    ),
    ReportingItem(
        "27b", "Usability", "What users must do and know", None, "handling and skill needed"
    ),
    ReportingItem("27c", "Usability", "Next steps", None, "further research before any use"),
)
"""TRIPOD+AI, for studies that make a model and test it."""

CHECKLISTS: dict[str, tuple[str, tuple[ReportingItem, ...]]] = {
    "CLAIM": (
        "CLAIM, 2024 update (Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300)",
        CLAIM,
    ),
    "TRIPOD_AI": ("TRIPOD+AI (Collins et al., BMJ 2024;385:e078378)", TRIPOD_AI),
}
"""By the name of the file that holds each: its title and its items."""


def answer_items(items: Sequence[ReportingItem], records: CardRecords) -> tuple[Answer, ...]:
    """Return what the records say to each item, in order."""
    return tuple(
        answer_question(Question(item.id, item.text, item.fill, item.ask), records)
        for item in items
    )


def render_items(title: str, items: Sequence[ReportingItem], answers: Sequence[Answer]) -> str:
    """Return a checklist as a Markdown page with one table."""
    counts = count_blanks(answers)
    rows = [
        [item.id, item.section, item.text, answer.shown]
        for item, answer in zip(items, answers, strict=True)
    ]
    table = render_table(["Item", "Section", "Asks for", "From the records"], rows, words=range(4))
    intro = (
        "What the records of this network say to each item. Numbers are those of the checklist, the"
        " wording is ours: read the paper beside it. A checklist that is filled in does not make a"
        " study good."
    )
    n_blanks = counts["part"] + counts["blank"]
    end = (
        f"{n_blanks} of {len(answers)} items need a person ({counts['blank']} wholly,"
        f" {counts['part']} in part): search this page for “to be filled in”."
    )
    return "\n\n".join([f"# {title}", f"> **{NOTICE}**", intro, table, end]) + "\n"
