import contextlib
import json
import re
import tomllib
from importlib import resources
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from leukoscope.config import (
    RECIPE_NAMES,
    InputConfig,
    Recipe,
    list_keys,
    load_recipe,
    parse_recipe,
)
from leukoscope.errors import ConfigError
from leukoscope.models.presets import PRESETS

SECTIONS = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
CHOICES = [
    (f"{section}.{name}", choice)
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
    if get_origin(field.annotation) is Literal
    for choice in get_args(field.annotation)
]


def read_shipped(name):
    return resources.files("leukoscope.recipes").joinpath(f"{name}.toml").read_text("utf-8")


def get_value(recipe, key):
    value = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


# -- the shipped recipes ----------------------------------------------------------------------


def test_recipe_names_are_the_shipped_files():
    files = resources.files("leukoscope.recipes").iterdir()
    assert sorted(f.name for f in files if f.name.endswith(".toml")) == [
        f"{name}.toml" for name in sorted(RECIPE_NAMES)
    ]


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_shipped_recipe_says_what_it_is_and_holds(name):
    text = read_shipped(name)
    head = re.match(r"(#.*\n)+", text).group()
    assert re.findall(r"^# (\w+): ", head, re.MULTILINE) == ["Purpose", "Command", "Expected"]
    assert f"leukoscope train split.csv --recipe {name} " in head
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.purpose
    assert recipe.model.preset in PRESETS
    # What the file says is what the recipe holds, key by key.
    content = tomllib.loads(text)
    for section, values in content.items():
        if section == "purpose":
            continue
        for key, value in values.items():
            assert f"{section}.{key}" in list_keys()
            assert get_value(recipe, f"{section}.{key}") == value


def test_the_reference_recipe_is_the_published_configuration():
    """REFERENCE: 224 px stretched by nearest neighbour, AdamW 1e-4 with decay 1e-5 on everything,
    plateau 0.2 after 5 down to 1e-6, 25 epochs of 32, no augmentation, no smoothing."""
    recipe = load_recipe("reference")
    assert recipe.input == InputConfig(image_size=224, resize="stretch", interpolation="nearest")
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.decay_all) == (
        1e-4,
        1e-5,
        True,
    )
    assert (recipe.optim.schedule, recipe.optim.plateau_factor) == ("plateau", 0.2)
    assert (recipe.optim.plateau_patience, recipe.optim.min_lr) == (5, 1e-6)
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.ema_decay) == (25, 32, 0)
    assert recipe.augment == Recipe().augment
    assert not any(recipe.augment.model_dump().values())
    assert recipe.optim.label_smoothing == 0
    assert recipe.optim.class_weights == "none"


# -- values -----------------------------------------------------------------------------------


def test_there_are_choices_to_check():
    assert {key for key, _ in CHOICES} == {
        "input.resize",
        "input.interpolation",
        "input.stain",
        "input.cells",
        "optim.schedule",
        "optim.class_weights",
        "train.precision",
        "train.select",
    }


@pytest.mark.parametrize(("key", "choice"), CHOICES)
def test_every_choice_is_taken_bare_and_quoted(key, choice):
    assert get_value(load_recipe("quick", [f"{key}={choice}"]), key) == choice
    assert get_value(load_recipe("quick", [f'{key} = "{choice}"']), key) == choice


@pytest.mark.parametrize("key", sorted({key for key, _ in CHOICES}))
def test_other_choices_are_rejected_by_naming_the_right_ones(key):
    with pytest.raises(ConfigError) as caught:
        load_recipe("quick", [f"{key}=nonsense"])
    for other, choice in CHOICES:
        if other == key:
            assert repr(choice) in caught.value.found
    assert key in caught.value.found and "'nonsense'" in caught.value.found


BAD_VALUES = [
    ("input.image_size", ["0", "16", "100", "1056", "64.5", "big"]),
    ("model.stochastic_depth", ["-0.1", "1"]),
    ("augment.flip", ["maybe", "2"]),
    ("augment.rotate_deg", ["-1", "181", "nan"]),
    ("augment.shift_frac", ["-0.1", "0.6"]),
    ("augment.scale_frac", ["-0.1", "1"]),
    ("augment.shear_deg", ["-1", "46"]),
    ("augment.stain", ["-0.1", "1.1"]),
    ("augment.brightness", ["-0.1", "1.1"]),
    ("augment.blur_px", ["-0.1", "11"]),
    ("augment.mixup", ["-0.1", "101", "inf"]),
    ("augment.cutmix", ["-0.1", "101", "inf"]),
    ("optim.lr", ["0", "-1", "2", "nan"]),
    ("optim.weight_decay", ["-1", "inf"]),
    ("optim.decay_all", ["3"]),
    ("optim.betas", ["[0.9]", "[0.9, 1]", "[-0.1, 0.9]", "[0.9, 0.9, 0.9]", "0.9"]),
    ("optim.eps", ["0"]),
    ("optim.warmup_frac", ["-0.1", "1"]),
    ("optim.min_lr", ["-1"]),
    ("optim.plateau_factor", ["0", "1"]),
    ("optim.plateau_patience", ["0"]),
    ("optim.grad_clip", ["-1"]),
    ("optim.label_smoothing", ["-0.1", "1"]),
    ("train.epochs", ["0", "1.5"]),
    ("train.batch_size", ["1"]),
    ("train.accumulate", ["0"]),
    ("train.seed", ["-1", "2147483648"]),
    ("train.compile", ["3"]),
    ("train.recompute", ["3"]),
    ("train.ema_decay", ["-0.1", "1"]),
    ("train.early_stop_epochs", ["-1"]),
    ("train.checkpoint_minutes", ["-1"]),
    ("input.stain_target", ["[1.0]", "[nan]"]),
    ("input.crop_um", ["4", "201", "nan"]),
    ("input.finder", ["", "circles", "0123"]),
    ("distill.temperature", ["0", "101", "nan"]),
    ("distill.label_weight", ["-0.1", "1.1"]),
    ("distill.teacher", ["abc", "runs/a"]),
    ("trust.alpha", ["0", "1", "nan"]),
    ("trust.target_confidence", ["0", "1", "nan"]),
    ("trust.class_conditional", ["3"]),
    ("trust.target_accuracy", ["0.5", "1"]),
    ("trust.reject_frac", ["0", "0.5"]),
    ("trust.always_review", ["3"]),
    ("trust.min_sensitivity", ["{blast = 1.0}", "0.9"]),
    ("trust.cost", ["{blast = {neutrophil = -1}}", "{blast = 3}"]),
]


@pytest.mark.parametrize(("key", "texts"), BAD_VALUES)
def test_values_out_of_range_are_rejected(key, texts):
    for text in texts:
        with pytest.raises(ConfigError) as caught:
            load_recipe("quick", [f"{key}={text}"])
        assert key in caught.value.found, text


def test_every_key_with_a_range_has_a_bad_value():
    free = {"name", "purpose", "model.preset"}
    assert {key for key, _ in BAD_VALUES} | {key for key, _ in CHOICES} | free == set(list_keys())


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_recipe({"train": {"epochs": 0, "sede": 1}, "optim": {"lr": -1}, "modle": {}})
    for word in ("train.epochs", "'train.sede'", "optim.lr", "'modle'", "(given: 0)"):
        assert word in caught.value.found
    assert caught.value.found.count("; ") == 3


@pytest.mark.parametrize(
    ("accumulate", "batch_size", "fits"), [(16, 32, True), (17, 32, False), (2, 4, True)]
)
def test_pieces_of_a_batch_hold_two_images(accumulate, batch_size, fits):
    settings = [f"train.accumulate={accumulate}", f"train.batch_size={batch_size}"]
    if fits:
        assert load_recipe("quick", settings).train.accumulate == accumulate
    else:
        with pytest.raises(ConfigError) as caught:
            load_recipe("quick", settings)
        assert caught.value.found == (
            "train.accumulate leaves fewer than 2 images in a piece, too few for batch norm"
        )


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("quick").train.epochs = 3


# -- unknown keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("train.epoch=3", "train.epochs"),
        ("epochs=3", "train.epochs"),
        ("optim.label_smothing=0.1", "optim.label_smoothing"),
        ("aug.rotation=5", "augment"),
        ("optim.decay=1", "optim.decay_all"),
        ("early_stop=3", "train.early_stop_epochs"),
        ("optim.image_size=64", "input.image_size"),
        ("augmentation.flip=true", "augment"),
        ("trian.epochs=3", "train"),
    ],
)
def test_an_unknown_key_names_the_nearest(setting, nearest):
    key = setting.split("=")[0]
    with pytest.raises(ConfigError) as caught:
        load_recipe("quick", [setting])
    section = key.split(".")[0]
    shown = key if section in SECTIONS or "." not in key else section
    assert caught.value.found == f"unknown key {shown!r} (did you mean {nearest!r}?)"


def test_an_unknown_key_like_nothing_names_nothing():
    with pytest.raises(ConfigError) as caught:
        load_recipe("quick", ["qqq=1", "zzz.x=1"])
    assert caught.value.found == "unknown key 'qqq'; unknown key 'zzz'"


# -- files and overrides ----------------------------------------------------------------------


def test_a_file_is_loaded_and_named_by_its_stem(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nepochs = 3\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.train.epochs) == ("mine", 3)
    assert recipe == parse_recipe({"name": "mine", "train": {"epochs": 3}})
    path.write_text('name = "given"\n')
    assert load_recipe(str(path)).name == "given"


def test_a_file_that_cannot_be_read_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="check the path"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="check the path"):
        load_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'purpose = "\xe9"')
    with pytest.raises(ConfigError, match="readable TOML file"):
        load_recipe(tmp_path / "latin.toml")
    (tmp_path / "broken.toml").write_text("[train\nepochs = 3")
    with pytest.raises(ConfigError, match="must be TOML"):
        load_recipe(tmp_path / "broken.toml")


def test_a_misspelt_name_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_recipe("robst")
    assert caught.value.remedy == "write 'robust'"


HOSTILE = {
    "dots": "a." * 30_000 + "a = 1",
    "a table of dots": "[" + "a." * 30_000 + "a]",
    "brackets": "x = " + "[" * 30_000,
    "braces": "x = " + "{a = " * 10_000,
    "digits": "x = " + "9" * 5_000,
    "digits of a key": "train.epochs = " + "9" * 60_000,
    "no number": "train.epochs = nan",
    "a deep table": "a." * 90 + "a = 1",
    "tables": "\n".join(f"[t{i}]" for i in range(6_000)),
    "a control sign": "x = \x00",
}


@pytest.mark.timeout(20)  # one line of dots took 47 s
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_toml_is_rejected_in_words_and_at_once(tmp_path, name):
    path = tmp_path / "x.toml"
    path.write_text(HOSTILE[name])
    with pytest.raises(ConfigError):
        load_recipe(path)
    path.write_text("# " + "." * 300 + "\n" + 'purpose = "a. b. c."')
    assert load_recipe(path).purpose == "a. b. c."


@pytest.mark.parametrize(
    "override", ["train.epochs=" + "9" * 5_000, "x=" + "[" * 5_000, "a." * 2_000 + "a=1"]
)
def test_hostile_overrides_are_rejected_in_words(override):
    with pytest.raises(ConfigError):
        load_recipe("quick", [override])


def test_overrides_are_toml_or_a_bare_word():
    recipe = load_recipe(
        "quick",
        [
            "train.epochs=3",
            " optim . betas = [0.8, 0.99]",
            "model.preset=coatnet-nano",
            "augment.flip=false",
            "model.stochastic_depth=0.25",
            "purpose=two words = one",
            "name=mine",
            "train.epochs=4",
        ],
    )
    assert recipe.train.epochs == 4  # the last one counts
    assert recipe.optim.betas == (0.8, 0.99)
    assert recipe.model.preset == "coatnet-nano"
    assert recipe.augment.flip is False
    assert recipe.model.stochastic_depth == 0.25
    assert recipe.purpose == "two words = one"
    assert recipe.name == "mine"


@pytest.mark.parametrize("setting", ["train.epochs", "=3", "", "train.=3", ".epochs=3", "a..b=1"])
def test_overrides_of_the_wrong_shape_are_rejected(setting):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_recipe("quick", [setting])


@pytest.mark.parametrize("setting", ["train.epochs.x=3", "purpose.x=1"])
def test_an_override_below_a_value_is_rejected(setting):
    with pytest.raises(ConfigError, match="is a value") as caught:
        load_recipe("quick", [setting])
    assert "train.epochs" in caught.value.remedy


def test_a_section_that_is_a_value_is_rejected():
    with pytest.raises(ConfigError, match=r"train: .* \(given: 5\)"):
        load_recipe("quick", ["train=5"])


# -- identity ---------------------------------------------------------------------------------


def test_a_recipe_comes_back_from_its_json():
    for name in RECIPE_NAMES:
        recipe = load_recipe(name)
        assert parse_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


def test_the_hash_names_what_decides_the_run_and_nothing_else():
    def compute_hash(*settings):
        return load_recipe("quick", settings).compute_hash()

    base = compute_hash()
    assert re.fullmatch("[0-9a-f]{16}", base)
    assert compute_hash("name=x", "purpose=y") == base
    assert compute_hash("train.epochs=8") == base  # what it was already
    hashes = {compute_hash(f"{key}={text}") for key, text in GOOD_VALUES.items()}
    assert len(hashes | {base}) == len(GOOD_VALUES) + 1
    assert compute_hash("trust.alpha=0.2") == base
    # What a student learns by counts only where there is a teacher.
    assert compute_hash("distill.temperature=5") == base
    student = f"distill.teacher={'0' * 64}"
    taught = {
        compute_hash(student, *more)
        for more in ([], ["distill.temperature=5"], ["distill.label_weight=0.5"])
    }
    assert len(taught | {base}) == 4
    # A target without a stain is rejected.
    changed = compute_hash("input.stain=reinhard", "input.stain_target=[1,2,3,4,5,6]")
    assert changed not in hashes
    # How cells are located counts only where they are.
    assert compute_hash("input.crop_um=20", "input.finder=network") == base
    located = {
        compute_hash("input.cells=located", *more)
        for more in ([], ["input.crop_um=20"], ["input.finder=network"])
    }
    assert len(located | {base}) == 4
    rest = {"name", "purpose", "input.stain_target", "input.crop_um", "input.finder"}
    rest |= {k for k in list_keys() if k.startswith(("trust.", "distill."))}
    assert GOOD_VALUES.keys() == set(list_keys()) - rest


GOOD_VALUES = {
    "input.image_size": "160",
    "input.resize": "pad",
    "input.interpolation": "lanczos",
    "input.stain": "reinhard",
    "input.cells": "located",
    "model.preset": "coatnet-0",
    "model.stochastic_depth": "0.3",
    "augment.flip": "false",
    "augment.rotate_deg": "7",
    "augment.shift_frac": "0.25",
    "augment.scale_frac": "0.3",
    "augment.shear_deg": "3",
    "augment.stain": "0.3",
    "augment.brightness": "0.3",
    "augment.blur_px": "0.3",
    "augment.mixup": "0.3",
    "augment.cutmix": "0.3",
    "optim.lr": "0.3",
    "optim.weight_decay": "0.3",
    "optim.decay_all": "true",
    "optim.betas": "[0.5, 0.6]",
    "optim.eps": "0.3",
    "optim.schedule": "constant",
    "optim.warmup_frac": "0.3",
    "optim.min_lr": "0.3",
    "optim.plateau_factor": "0.3",
    "optim.plateau_patience": "3",
    "optim.grad_clip": "0.3",
    "optim.label_smoothing": "0.3",
    "optim.class_weights": "balanced",
    "train.epochs": "3",
    "train.batch_size": "8",
    "train.accumulate": "2",
    "train.seed": "3",
    "train.precision": "bf16",
    "train.compile": "true",
    "train.recompute": "true",
    "train.ema_decay": "0.3",
    "train.select": "loss",
    "train.early_stop_epochs": "3",
    "train.checkpoint_minutes": "3",
}


def test_keys_are_listed_in_order_and_once():
    keys = list_keys()
    assert len(set(keys)) == len(keys)
    assert keys[:2] == ("name", "purpose")
    order = list(dict.fromkeys(key.split(".")[0] for key in keys[2:]))
    assert order == list(SECTIONS)


def test_a_right_name_costs_nothing():
    with pytest.raises(ConfigError, match=r"trust\.cost\.blast\.blast must be 0"):
        load_recipe("quick", ["trust.cost.blast.blast=7"])
    assert load_recipe("quick", ["trust.cost.blast.blast=0"]).trust.cost == {"blast": {"blast": 0}}


def test_of_many_problems_the_first_are_told_and_the_others_counted(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("[train]\n" + "".join(f"k{n} = 1\n" for n in range(1000)))
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert "train.k19" in caught.value.found and "train.k20'" not in caught.value.found
    assert caught.value.found.endswith("980 more")


@pytest.mark.parametrize("value", ["[]", "{}", "[1, 2]", "1", "9" * 400, "nan", "true", "''"])
def test_a_value_of_any_kind_for_any_key_is_an_error_or_fits(value):
    for key in list_keys():
        with contextlib.suppress(ConfigError):
            load_recipe("quick", [f"{key}={value}"])
