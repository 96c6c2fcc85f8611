"""The model card and the checklists: figures come from records, blanks from their absence."""

import copy
import re
from dataclasses import fields, replace

import pytest
from markdown_it import MarkdownIt

from leukoscope.explain.methods import METHODS
from leukoscope.report import (
    card_facts,
    card_limit_facts,
    card_other_facts,
    card_trust_facts,
)
from leukoscope.report.card_records import (
    BLANK,
    CardRecords,
    Question,
    Reader,
    answer_question,
    escape_text,
    format_command,
)
from leukoscope.report.evaluation_page import LEAKAGE_TITLES
from leukoscope.report.model_card import NOTICE, SECTIONS, build_model_card
from leukoscope.report.reporting_items import (
    CHECKLISTS,
    CLAIM,
    TRIPOD_AI,
    answer_items,
    render_items,
)

CLASSES = ["basophil", "immature_granulocyte", "neutrophil"]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def figure(value, **more):
    return {"value": value, "low": value - 0.02, "high": min(1.0, value + 0.01), **more}


def build_records():
    """A made-up run, every figure of which can be told apart."""
    recalls = dict(zip(CLASSES, (0.971, 0.851, 0.961), strict=True))
    metrics = {
        name: figure(0.9 + i / 1000)
        for i, name in enumerate(("balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc"))
    } | {
        "accuracy": figure(0.9432),
        "per_class": {
            name: {
                "recall": figure(recall),
                "precision": figure(recall - 0.1),
                "specificity": figure(recall + 0.005),
                "n_images": 210 + k,
                "n_sources": 31 + k,
            }
            for k, (name, recall) in enumerate(recalls.items())
        },
        "classes": CLASSES,
        "confusion": [[200, 7, 3], [17, 190, 4], [1, 2, 209]],
        "data": "smears",
        "role": "test",
        "n_images": 633,
        "n_sources": 96,
        "source_known": True,
        "leakage_status": "disjoint",
        "leakage_sentences": [],
        "warnings": [],
        "baselines": {
            "majority": {"accuracy": figure(0.334), "description": "Answers one name."},
            "colour_histogram": {"accuracy": figure(0.612), "description": "Sees colours."},
        },
    }
    counts = {name: 1000 + k for k, name in enumerate(CLASSES)}
    few = {"basophil": 12, "immature_granulocyte": 41, "neutrophil": 57}
    return CardRecords(
        recipe={
            "name": "quick",
            "augment": {"flip": True, "rotate_deg": 20.0, "mixup": 0.0},
            "optim": {
                "lr": 0.002,
                "weight_decay": 0.02,
                "schedule": "cosine",
                "class_weights": "none",
            },
            "train": {"epochs": 4, "batch_size": 32, "precision": "fp32", "select": "accuracy"},
        },
        provenance={
            "leukoscope": "0.1.0",
            "python": "3.11.7",
            "cores": 2,
            "packages": {"torch": "2.13.0"},
            "command": ["leukoscope", "train", "/home/ann/split.csv", "--out=/srv/runs/first"],
            "recipe_hash": "eb56bca3e0ead197",
            "split_sha256": "5" * 64,
            "seed": 43,
        },
        model={
            "classes": CLASSES,
            "input": {"image_size": 128, "resize": "stretch", "interpolation": "bilinear"},
            "spec": {
                "name": "coatnet-pico",
                "image_size": 128,
                "stages": [{"kind": "mbconv", "depth": 2}],
            },
            "best_epoch": 3,
            "sha256": "a" * 64,
        },
        data={
            "name": "smears",
            "protocol": "grouped",
            "seed": 44,
            "classes": CLASSES,
            "counts": {
                "train": counts,
                "val": {},
                "calib": {},
                "test": dict.fromkeys(CLASSES, 211),
            },
            "sources": {"train": few, "test": dict.fromkeys(CLASSES, 32)},
            "n_sources": {"train": 110, "val": 0, "calib": 0, "test": 96},
            "sources_known": True,
            "n_left_aside": 5,
            "n_boxed": 0,
            "width_px": [192, 192],
            "height_px": [180, 200],
            "columns": ["scanner"],
            "warnings": ["5 images are left aside by protocol grouped."],
        },
        metrics=metrics,
        evaluations={"other_lab": {**copy.deepcopy(metrics), "data": "elsewhere"}},
        history=[{"Epoch": k, "Seconds": 90.0} for k in (1, 2, 3, 4)],
        trust={
            "asked": {"alpha": 0.05, "target_accuracy": 0.995},
            "policy": {
                "calibration": {"method": "temperature"},
                "sets": {"method": "lac", "class_conditional": True},
                "quality": {"limit": 8.5},
                "max_distance": 418.9,
                "min_confidence": 0.9547,
                "always_review": ["basophil"],
            },
            "n_calib": 777,
            "weights_sha256": "a" * 64,
            "notes": ["A note of calibration."],
            "reference": {
                "data": "smears",
                "leakage_status": "disjoint",
                "n_images": 633,
                "n_sources": 96,
                "source_known": True,
                "accuracy": figure(0.9512),
                "ece": 0.004,
                "ece_raw": 0.031,
                "coverage": 0.9531,
                "mean_set_size": 1.07,
                "accepted": figure(0.7712),
                "accepted_accuracy": figure(0.9932),
                "review_frac": 0.2162,
                "unknown_frac": 0.0126,
            },
        },
        bundle={
            "network": "coatnet-pico",
            "default": "fp32",
            "variants": {
                "fp32": {
                    "bytes": 7544843,
                    "sha256": "f" * 64,
                    "parity": {
                        "images": 2000,
                        "max_logit_difference": 9.5e-6,
                        "decisions_changed": 3,
                        "outcomes_changed": 4,
                    },
                }
            },
            "reference_set": "2,000 images",
        },
        robustness={
            "data": "smears",
            "n_images": 417,
            "levels": [
                {
                    "corruption": name,
                    "severity": k,
                    "accuracy": figure(right),
                    "accepted_wrong": wrong,
                }
                for name, k, right, wrong in (
                    ("blur", 0, 0.941, 0.004),
                    ("blur", 5, 0.613, 0.011),
                    ("noise", 0, 0.941, 0.004),
                    ("noise", 5, 0.887, 0.071),
                )
            ],
            "mean_loss": {"blur": 0.152, "noise": 0.023},
        },
        validation={
            "data": "third_lab",
            "headline": "Not passed: the limit is broken here.",
            "n_images": 192,
            "n_sources": 58,
            "source_known": True,
            "figures": {"accuracy": figure(0.881)},
            "against_home": {"accuracy": {"value": -0.062, "low": -0.091, "high": -0.033}},
            "subgroups": [
                {
                    "column": "instrument",
                    "note": "3 sources lie in several groups; the differences ignore it.",
                    "groups": [
                        {
                            "value": "old",
                            "n_images": 97,
                            "accuracy": figure(0.921),
                            "stands_out": False,
                            "accepted": figure(0.989),
                            "accepted_stands_out": True,
                        },
                        {
                            "value": "new",
                            "n_images": 95,
                            "accuracy": figure(0.842),
                            "stands_out": True,
                        },
                    ],
                }
            ],
        },
        explained={
            "methods": ["gradcam", "occlusion"],
            "results": [
                {
                    "method": "gradcam",
                    "deletion": {"n": 83},
                    "warnings": ["It marks the same with random weights."],
                    "notes": [],
                },
                {"method": "occlusion", "deletion": {"n": 84}, "warnings": [], "notes": ["Slow."]},
            ],
            "notes": ["Two images stay out."],
        },
    )


def recalibrate(records):
    """The card of a bundle that was fitted to cells of a laboratory: no run is left."""
    trust = copy.deepcopy(dict(records.trust)) | {
        "n_calib": 96,
        "n_calib_sources": 47,
        "arrays_sha256": "c" * 64,
    }
    trust["reference"] |= {
        "data": "lab",
        "leakage_status": "local",
        "n_images": 94,
        "n_sources": 48,
    }
    again = [{"data": "older", "n_fit": 5}, {"data": "lab", "n_fit": 96}]
    bundle = {**records.bundle, "trust": trust, "provenance": {"recalibrated": again}}
    model = {key: value for key, value in records.model.items() if key != "spec"}
    return CardRecords(
        recipe=records.recipe, provenance=records.provenance, model=model, trust=trust,
        bundle=bundle,
    )  # fmt: skip


def leak(records, *, rest=True):
    """The same run on a leaking split."""
    metrics = copy.deepcopy(records.metrics)
    metrics["leakage_status"] = "leaking"
    metrics["accuracy"] |= {
        "leaked": True,
        "n_with_copy_in_training": 500,
        "source_disjoint": {
            "accuracy": figure(0.7123),
            "n_images": 133,
            "n_sources": 20,
            "baselines": {"majority": figure(0.31)},
        }
        if rest
        else None,
        "source_disjoint_reason": None if rest else "every image has a copy in training",
    }
    trust = copy.deepcopy(records.trust)
    trust["reference"]["leakage_status"] = "leaking"
    return replace(records, metrics=metrics, trust=trust, evaluations={"other_lab": metrics})


def render_all(records):
    """Every text that is made of some records."""
    pages = [build_model_card(records).markdown]
    for title, items in CHECKLISTS.values():
        pages.append(render_items(title, items, answer_items(items, records)))
    return pages


def list_answers(records):
    found = list(build_model_card(records).answers)
    for _, items in CHECKLISTS.values():
        found += answer_items(items, records)
    return found


def list_leaves(node, path=()):
    """(path, value) of everything in nested records."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from list_leaves(value, (*path, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from list_leaves(value, (*path, i))
    else:
        yield path, node


def take_apart(records):
    return {field.name: copy.deepcopy(getattr(records, field.name)) for field in fields(records)}


def change(records, path, value):
    """Records with another value at a path; None removes it."""
    content = take_apart(records)
    node = content
    for key in path[:-1]:
        node = node[key]
    if value is None and isinstance(node, dict):
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return CardRecords(**content)


def test_items_are_those_of_the_papers():
    questions = [q.id for _, section in SECTIONS for q in section]
    for ids in (questions, [i.id for i in CLAIM], [i.id for i in TRIPOD_AI]):
        assert len(set(ids)) == len(ids)
    assert [i.id for i in CLAIM] == [str(n) for n in range(1, 45)]
    assert len(TRIPOD_AI) == 52
    assert {int(re.match(r"\d+", i.id)[0]) for i in TRIPOD_AI} == set(range(1, 28))
    assert all(i.fill or i.ask for i in (*CLAIM, *TRIPOD_AI))


def test_the_card_tells_in_order():
    card = build_model_card(build_records())
    text = card.markdown
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "What it is, and what it is not",
        "How good is it?",
        "On whose blood?",
        "What it is for, and where it ends",
        "How it was trained",
        "Evaluation",
        "How sure, and when it rejects",
        "On other data",
        "The bundle",
        "Ethics and subgroups",
        "How to reproduce it",
        "Terms, citation, contact",
        "Words",
    ]
    assert text.index(NOTICE) < text.index("## What it is")
    assert (
        "Named right: 94.3 % (95 % interval 92.3 % to 95.3 %) of 633 test images from 96 sources"
        f" (smears). **{LEAKAGE_TITLES['disjoint']}.**"
    ) in text
    for told in (
        "fewer than 30 sources in training for Basophil 12",
        "Fewer than 90 in 100 found: Immature granulocyte 85.1 %",
        "Critical cells, whose oversight can harm a patient",
        "no class for these critical cells, and can only call them something else or reject them:"
        " Blast and Erythroblast",
        "One split and one training (seed 43)",
        "Immature granulocyte called Basophil: 17 of 211",
        "4 epochs in 6 minutes",
        "| fp32 (default) | 7.5 MB | 9.5e-06 | 3 of 2,000 | 4 | ffffffffffffffff |",
        "On 633 test images: 77.1 % (95 % interval 75.1 % to 78.1 %) accepted, of these 99.3 %",
        "leukoscope train split.csv --out=first",
        "elsewhere",
    ):
        assert told in text, told
    assert "/home" not in text and "/srv" not in text


@pytest.mark.parametrize("records", [CardRecords(), build_records(), leak(build_records())])
def test_blanks_are_counted_and_tables_have_equal_columns(records):
    card = build_model_card(records)
    assert f"{card.n_blanks} of {len(card.answers)} items need a person" in card.markdown
    assert card.markdown.count(BLANK) == card.n_blanks > 5
    for page, (_, items) in zip(render_all(records)[1:], CHECKLISTS.values(), strict=True):
        blanks = sum(a.status != "filled" for a in answer_items(items, records))
        assert page.count(BLANK) == blanks
        assert f"{blanks} of {len(items)} items need a person" in page
    for page in render_all(records):
        check_tables(page)


def check_tables(page):
    tokens = MARKDOWN.parse(page)
    n_tables, width, cells = 0, 0, 0
    for token in tokens:
        if token.type == "table_open":
            n_tables, width = n_tables + 1, 0
        elif token.type in ("th_open", "td_open"):
            cells += 1
        elif token.type == "tr_open":
            cells = 0
        elif token.type == "tr_close":
            width = width or cells
            assert cells == width
    # markdown-it pads short rows and cuts long ones: count the bars too.
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    blocks = re.findall(r"(?:^\| .*\n?)+", page, flags=re.M)
    assert len(blocks) == n_tables and bool(rows) == bool(n_tables)
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
    return n_tables


def test_nothing_on_record_gives_no_figure():
    answers = list_answers(CardRecords())
    for answer in answers:
        assert not re.search(r"\d+(\.\d+)? %", answer.text)
        assert not answer.records
    by_id = {a.id: a for a in build_model_card(CardRecords()).answers}
    assert by_id["figure"].status == "blank"
    assert "leukoscope evaluate writes" in by_id["figure"].shown
    assert "No calibration is on record" in by_id["calibration"].text


def test_every_answer_traces_to_its_records():
    """What an answer says it read is what it depends on: removing it never leaves the text that
    was there with its figures, and never raises."""
    records = build_records()
    before = {(a.id, a.title): a for a in list_answers(records)}
    constant = {"not", "out_of_scope"}
    for answer in before.values():
        assert not answer.text or answer.records or answer.id in constant
    # Whole records first, then every leaf.
    for field in fields(records):
        gone = replace(records, **{field.name: CardRecords().__getattribute__(field.name)})
        for answer in list_answers(gone):
            assert not any(path.split("/")[0] == field.name for path in answer.records)


def number_leaves():
    content = take_apart(build_records())
    found = [
        path
        for path, value in list_leaves(content)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return [path for path in found if path[0] != "evaluations"]


def test_a_changed_record_changes_the_text_and_a_missing_one_leaves_no_figure():
    records = build_records()
    before = render_all(records)

    def differs(other):
        # Nearly everything shows in the card; the checklists are looked at for the rest.
        return build_model_card(other).markdown != before[0] or render_all(other) != before

    # Read to decide or to add up, but not shown by itself.
    silent = {
        ("trust", "policy", "quality", "limit"),
        ("recipe", "augment", "mixup"),
        ("recipe", "train", "seed"),
        ("data", "n_boxed"),
        ("trust", "reference", "n_sources"),
    }
    leaves = dict(list_leaves(take_apart(records)))
    for i, path in enumerate(number_leaves()):
        if path in silent or (path[0] == "history" and path[-1] == "Epoch"):
            continue
        if path[:2] in (("data", "n_sources"), ("data", "sources")):
            continue  # empty roles are left out
        if path[:2] == ("robustness", "levels"):
            continue  # only the worst is told
        old = leaves[path]
        new = old + 1 + old // 2 if isinstance(old, int) else old * 0.5 + 0.0137
        assert differs(change(records, path, new)), path
        if i % 5 == 0:
            assert differs(change(records, path, None)), path


def test_a_removed_figure_is_gone():
    records = build_records()
    for path, shown in (
        (("metrics", "accuracy"), "94.3 %"),
        (("metrics", "leakage_status"), "94.3 %"),
        (("trust", "reference", "accepted"), "77.1 %"),
        (("trust", "reference", "leakage_status"), "99.3 %"),
        (("model", "best_epoch"), "epoch 3 of 4"),
    ):
        stripped = replace(records, evaluations={})
        assert any(shown in page for page in render_all(stripped)), path
        gone = change(stripped, path, None)
        if path[0] == "metrics":
            gone = replace(gone, trust={})
        assert not any(shown in page for page in render_all(gone)), path


def test_records_of_another_kind_are_blanks_not_errors():
    records = build_records()
    paths = list(dict.fromkeys(path[:3] for path, _ in list_leaves(take_apart(records))))
    strange = ["text", [], {}, True, float("nan"), -3, None, [[[]]], "\0"]
    for i, path in enumerate(paths):
        # Every record meets one of the strange values, every value some records.
        for value in (strange + strange)[i % 9 : i % 9 + 1]:
            broken = change(records, path, value)
            assert NOTICE in build_model_card(broken).markdown
            if i % 5 == 0:
                answer_items(TRIPOD_AI, broken)


@pytest.mark.parametrize("rest", [True, False])
def test_a_leaked_figure_never_stands_alone(rest):
    records = leak(build_records(), rest=rest)
    marks = ("LEAKED", "Leaked", "inflated")
    for page in render_all(records):
        for line in page.splitlines():
            # The line itself says so, or the table it belongs to does.
            if re.search(r"94\.3 %|0\.943|99\.3 %|95\.1 %", line) and not line.startswith(
                "| This network"
            ):
                assert any(mark in line for mark in marks), line
        assert LEAKAGE_TITLES["leaking"] in page
    assert (
        "417 images (smears; LEAKED: these" in {a.id: a for a in list_answers(records)}["30"].text
    )
    answers = {a.id: a for a in build_model_card(records).answers}
    assert "Leaked: 94.3 %" in answers["figure"].text and "Without copies" in answers["figure"].text
    text = render_all(records)[0]
    header = text[: text.index("| This network")].splitlines()[-2]
    assert "LEAKED" in header
    expected = "71.2 %" if rest else "no figure, since every image has a copy in training"
    assert expected in text
    for mark in re.finditer(r"\| Kind of cell \| Images", text):
        assert "LEAKED" in text[: mark.start()].rstrip().splitlines()[-1]
    # A bundle's own record of a leaking home.
    only = replace(records, metrics={}, evaluations={})
    figure_ = {a.id: a for a in build_model_card(only).answers}["figure"]
    assert "Leaked: 95.1 %" in figure_.text and "no figure is on record" in figure_.text


@pytest.mark.parametrize("leakage_status", ["unproven", "suspect"])
def test_an_unproven_figure_says_so(leakage_status):
    records = change(build_records(), ("metrics", "leakage_status"), leakage_status)
    answers = {a.id: a for a in build_model_card(records).answers}
    assert LEAKAGE_TITLES[leakage_status] in answers["figure"].text
    assert LEAKAGE_TITLES[leakage_status] in answers["limits"].text
    # A leakage_status that nobody knows, or one that contradicts the figure: no figure.
    for broken in (
        change(records, ("metrics", "leakage_status"), "splendid"),
        change(records, ("metrics", "accuracy", "leaked"), True),
    ):
        assert {a.id: a for a in build_model_card(broken).answers}["figure"].status == "blank"


@pytest.mark.parametrize("leakage_status", ["local", "unproven"])  # the latter in older bundles
def test_a_recalibrated_bundle_is_not_told_as_if_it_were_at_home(leakage_status):
    records = change(
        recalibrate(build_records()), ("trust", "reference", "leakage_status"), leakage_status
    )
    card = build_model_card(records)
    answers = {a.id: a.text for a in card.answers}
    assert card.markdown.splitlines()[0] == "# Model card: coatnet-pico"  # on what, nobody tells
    for text in [*answers.values(), *(a.text for a in list_answers(records))]:
        assert "role calib" not in text and "test image" not in text
        assert not any(title.lower() in text.lower() for title in LEAKAGE_TITLES.values())
    assert (
        "Named right: 95.1 % (95 % interval 93.1 % to 96.1 %) of 94 local cells from 48 sources"
        " (lab). **Measured on local cells that its levels were not fitted to.**"
    ) in answers["figure"]
    assert answers["calibration"].startswith("Fitted again on 96 local cells of lab (47 sources):")
    assert "On the other local cells stated confidence" in answers["calibration"]
    assert "Found on the other local cells: 95.3" in answers["sets"]
    assert "On 94 local cells from 48 sources (lab)" in answers["rejection_short"]
    assert "how it does on another stain" not in answers["limits"]
    claim = {a.id: a for a in answer_items(CLAIM, records)}
    assert claim["32"].status == "blank" and "95.1 %" in claim["33"].text


def test_a_run_keeps_its_own_words_beside_a_recalibrated_bundle():
    """The levels on record are the run's; only the parity is of the bundle."""
    records = build_records()
    bundle = recalibrate(records).bundle
    told = {a.id: a.text for a in build_model_card(replace(records, bundle=bundle)).answers}
    assert "777 images of the role calib" in told["calibration"]
    assert "local" not in told["figure"] + told["rejection_short"]


def test_every_map_has_a_name_on_the_card():
    for name in METHODS:
        records = CardRecords(explained={"methods": [name]})
        shown = {a.id: a.text for a in answer_items(CLAIM, records)}["31"]
        assert shown == f"Maps of what the network looked at: {METHODS[name]}."


def test_corruptions_validation_and_maps_fill_their_items():
    records = build_records()
    claim = {a.id: a for a in answer_items(CLAIM, records)}
    tripod = {a.id: a for a in answer_items(TRIPOD_AI, records)}
    assert claim["30"].status == claim["31"].status == "filled"
    assert claim["30"].text == (
        "417 images (smears) under 2 controlled corruptions. Named right as they are: 94.1 % (95 %"
        " interval 92.1 % to 95.1 %). Points lost on average over severities: Blur 15.2, Sensor"
        " noise 2.3. Worst: Blur at severity 5, 61.3 % (95 % interval 59.3 % to 62.3 %) named"
        " right. Accepted under a wrong name: at most 7.1 % of all cells (Sensor noise at"
        " severity 5)."
    )
    assert claim["31"].text == (
        "Maps of what the network looked at: Grad-CAM and Occlusion. Grad-CAM, 83 images: It marks"
        " the same with random weights. Occlusion, 84 images: No test that was made speaks against"
        " it. Slow. Two images stay out."
    )
    assert (
        "Named right: 88.1 % (95 % interval 86.1 % to 89.1 %) of 192 labelled cells from 58 sources"
        " (third_lab); −6.2 points against home (95 % interval −9.1 to −3.3). Not passed: the"
        " limit is broken here."
    ) in claim["33"].text
    assert (
        "By instrument: old 92.1 % (90.1–93.1) of 97 cells, accepted 98.9 % (96.9–99.9) (stands"
        " out); new 84.2 % (82.2–85.2) of 95 cells (stands out). 3 sources lie in several groups"
    ) in tripod["23b"].text
    assert "third_lab" in build_model_card(records).markdown
    for name, items, item, command in (
        ("robustness", CLAIM, "30", "robustness"),
        ("explained", CLAIM, "31", "explain"),
        ("validation", TRIPOD_AI, "23b", "validate"),
    ):
        answers = {a.id: a for a in answer_items(items, replace(records, **{name: {}}))}
        assert answers[item].status == "blank"
        assert f"which leukoscope {command} " in answers[item].shown
    only = replace(records, evaluations={})
    assert "third_lab" in {a.id: a for a in answer_items(CLAIM, only)}["33"].text
    for one, unknown in ((only, False), (replace(only, validation={}), True)):
        limits = {a.id: a for a in build_model_card(one).answers}["limits"].text
        assert ("how it does on another stain" in limits) is unknown


HOSTILE = [
    "a|b|c",
    "<script>alert(1)</script>",
    "two\nlines\n\n# Heading\n\n| x | y |\n| --- | --- |",
    "`code` ```fence```",
    "[link](http://example.org) ![image](x)",
    "**bold** __bold__ _it_ ~~gone~~ $x$",
    "&lt;b&gt; &#124; \\| \\",
    "www.example.org ann@example.org https://example.org",
    "[to be filled in: nothing]",
    "\u202eright to left\u0000\x1b[31m",
    "- list",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_elsewhere_are_shown_and_do_nothing(name):
    records = build_records()
    content = take_apart(records)

    def rename(node):
        if isinstance(node, dict):
            return {name if k == "basophil" else k: rename(v) for k, v in node.items()}
        if isinstance(node, list):
            return [rename(v) for v in node]
        return name if node in ("basophil", "smears", "scanner", "elsewhere") else node

    hostile = CardRecords(**{key: rename(value) for key, value in content.items()})
    tame = [MARKDOWN.render(page) for page in render_all(records)]
    for page, other in zip(render_all(hostile), tame, strict=True):
        check_tables(page)
        html = MARKDOWN.render(page)
        # The same tags in the same order: the name added none.
        assert list_tags(html) == list_tags(other)
        assert "\u202e" not in page and "\x1b" not in page
    card = build_model_card(hostile)
    assert card.markdown.count(BLANK) == card.n_blanks


def list_tags(html):
    return re.findall(r"</?[a-z0-9]+", html)


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.isprintable()])
def test_escaped_text_reads_as_it_was(name):
    from html import unescape

    html = MARKDOWN.renderInline(escape_text(name))
    # What some renderers make a link of, without being asked.
    assert not re.search(r"://|www\.|@", escape_text(name))
    assert not re.search(r"<[a-z]", html)
    assert unescape(html) == " ".join(name.split())
    row = f"| a | b |\n| --- | --- |\n| {escape_text(name)} | 1 |\n"
    cells = re.findall(r"<td[^>]*>(.*?)</td>", MARKDOWN.render(row), flags=re.S)
    assert [unescape(cell) for cell in cells] == [" ".join(name.split()), "1"]


def test_commands_keep_no_folders_and_no_way_out_of_their_block():
    parts = [
        "leukoscope",
        "train",
        "/home/ann lee/x.csv",
        "C:\\Users\\ann\\split.csv",
        "../../home/ann/y.csv",
        "~/z",
        "--out=/srv/a",
        "runs/pbc",
        "```\n# out",
        "file:///home/ann/q.csv",
    ]
    block = format_command(parts)
    assert "ann" not in block and "/srv" not in block and "runs/pbc" in block
    tokens = MARKDOWN.parse(block)
    assert [t.type for t in tokens] == ["fence"]


def test_an_ensemble_is_not_called_one_network():
    records = build_records()
    members = [{"run": "a"}, {"run": "b"}]
    for joint in (
        replace(records, ensemble={"members": members, "tta": "flips"}),
        replace(records, provenance={**records.provenance, "members": members}),
    ):
        answers = {a.id: a for a in build_model_card(joint).answers}
        assert "2 networks" in answers["ensemble"].text and "2 networks" in answers["limits"].text
    taught = replace(records, distillation={"teacher": {"network": "coatnet-0"}})
    assert "taught by another one (coatnet-0)" in build_model_card(taught).markdown


def test_limits_of_undefined_intervals_are_dashes():
    records = change(build_records(), ("metrics", "per_class", "neutrophil", "recall", "low"), None)
    assert "| 96.1 % (–) |" in build_model_card(records).markdown
    one = replace(build_records(), metrics={**build_records().metrics, "kappa": {"value": 0.5}})
    assert "Cohen's kappa 0.500 (–)" in build_model_card(one).markdown
    # A dash before a minus would look like another minus.
    kappa = {"value": 0.0, "low": -0.196, "high": 0.196}
    chance = replace(one, metrics={**one.metrics, "kappa": kappa})
    assert "Cohen's kappa 0.000 (−0.196 to 0.196)" in build_model_card(chance).markdown


def test_a_writer_that_gives_up_leaves_no_records():
    def write(reader: Reader) -> str:
        reader.read_text("recipe", "name")
        return str(reader.read_number("recipe", "age"))

    found = answer_question(Question("x", "Age", write), build_records())
    assert found.status == "blank" and found.records == ()
    assert found.shown == f"{BLANK} age; no record recipe/age]"


def test_every_public_sentence_gives_up_on_nothing_rather_than_failing():
    rooms = (card_facts, card_limit_facts, card_other_facts, card_trust_facts)
    for name, write in [item for room in rooms for item in vars(room).items()]:
        if name.startswith(("word_", "tabulate_", "list_")) and write.__module__.endswith("facts"):
            answer = answer_question(Question(name, name, write), CardRecords())
            assert not re.search(r"\d %", answer.text)
