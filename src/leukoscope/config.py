"""Recipes: everything that decides a training run, as frozen pydantic models read from TOML.

A recipe is resolved once, written into the run folder as JSON and hashed; nothing else steers a
run. Unknown keys are rejected by the name of the nearest right one. What this file does not do:
it never asks the hardware (that is `training.precision`) and reads no images.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leukoscope.errors import ConfigError, FileError
from leukoscope.storage import MAX_TEXT_BYTES, read_file

MAX_DOTS = 100
"""In one line of a TOML file: each may open a table in a table."""

Resize = Literal["stretch", "pad"]
"""`stretch` fills the square and ignores the aspect (the reference); `pad` keeps the aspect."""

Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
"""All but `nearest` (the reference) are antialiased when shrinking."""

Stain = Literal["none", "background", "reinhard", "macenko"]
"""How `data.stain` standardises colours."""

STAIN_TARGETS: dict[str, tuple[float, ...]] = {
    "none": (),
    # 90 % quantile of red, green, blue
    "background": (255.0, 228.0, 203.0),
    # mean, then standard deviation, of L*, a*, b*
    "reinhard": (79.89, 10.61, 7.58, 15.0, 8.07, 12.97),
    # optical density (R, G, B) of the bluer and the redder stain, 99 % quantile of their amounts
    "macenko": (0.523, 0.841, 0.139, 0.449, 0.704, 0.551, 2.033, 0.507),
}
"""The reference of each method, over 2,000 cells of the Barcelona PBC set (May-Grünwald Giemsa,
CellaVision DM96) as `benchmarks/stain_targets.py` measures them: medians, for "reinhard" means. A
recipe may give its own."""

Cells = Literal["whole", "located"]
"""What of an image a network is given: all of it, or the square around its white cell."""

RECIPE_NAMES = ("quick", "reference", "robust")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputConfig(_Section):
    """How an image file becomes the network's input."""

    image_size: int = Field(224, ge=32, le=1024, multiple_of=32)
    """Side of the square input in pixels; a multiple of 32."""
    resize: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    stain: Stain = "none"
    """Move the colours of each image to a reference."""
    stain_target: tuple[float, ...] = ()
    """The reference in numbers, as `STAIN_TARGETS` orders them; empty takes the one given there."""
    cells: Cells = "whole"
    """`located` finds the white cell of each image and cuts it out at the image's own scale: for
    small fields that show one. What follows decides nothing where cells are whole."""
    crop_um: float = Field(24.0, ge=5, le=200)
    """Side of the square around a located cell in micrometres."""
    finder: str = Field("nuclei", pattern="^(nuclei|network|[0-9a-f]{64})$")
    """What finds cells: their nuclei alone (experiment 046 was measured so), or `network`, the one
    that comes with the package, which training writes down by its SHA-256."""

    @model_validator(mode="before")
    @classmethod
    def _fill_target(cls, content: Any) -> Any:
        """Write the reference down, so that a recipe or bundle says all by itself."""
        if isinstance(content, dict) and not content.get("stain_target"):
            stain = content.get("stain", "none")
            known = STAIN_TARGETS.get(stain, ()) if isinstance(stain, str) else ()
            return {**content, "stain_target": known}
        return content

    @model_validator(mode="after")
    def _check_target(self) -> "InputConfig":
        wanted = len(STAIN_TARGETS[self.stain])
        if len(self.stain_target) != wanted:
            raise ValueError(
                f"input.stain_target must have {wanted} numbers for {self.stain},"
                f" not {len(self.stain_target)}"
            )
        return self

    def to_key(self) -> dict[str, Any]:
        """Return what names this preprocessing in hashes; without a stain or located cells, what
        it always was."""
        unused = {"stain", "stain_target"} if self.stain == "none" else set()
        unused |= {"cells", "crop_um", "finder"} if self.cells == "whole" else set()
        return self.model_dump(mode="json", exclude=unused)


class ModelConfig(_Section):
    """Which network."""

    preset: str = "coatnet-pico"
    """A name from the table of presets."""
    stochastic_depth: float | None = Field(None, ge=0, lt=1)
    """Rate at the last block, rising linearly from 0; None keeps the preset's own."""


class AugmentConfig(_Section):
    """Batched augmentation on the device; every amount is the largest that is drawn."""

    flip: bool = False
    """Horizontal and vertical, each for half of the images."""
    rotate_deg: float = Field(0, ge=0, le=180)
    shift_frac: float = Field(0, ge=0, le=0.5)
    """Of the image's side."""
    scale_frac: float = Field(0, ge=0, le=0.9)
    """0.1 scales by 1/1.1 to 1.1."""
    shear_deg: float = Field(0, ge=0, le=45)
    stain: float = Field(0, ge=0, le=1)
    """Gain of each colour channel in optical density: 0.1 draws gains from 0.9 to 1.1."""
    brightness: float = Field(0, ge=0, le=1)
    """Added to all channels, in units of half the value range."""
    blur_px: float = Field(0, ge=0, le=10)
    """Standard deviation of a Gaussian; half of the batches are blurred."""
    mixup: float = Field(0, ge=0, le=100)
    """Beta parameter of mixup (Zhang et al. 2018); 0 switches it off."""
    cutmix: float = Field(0, ge=0, le=100)
    """Beta parameter of cutmix (Yun et al. 2019); 0 switches it off."""


_Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(_Section):
    """AdamW, its schedule and the loss."""

    lr: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    decay_all: bool = False
    """Decay norms, biases and bias tables too, as Keras' AdamW does (the reference)."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_frac: float = Field(0.0, ge=0, lt=1)
    """Share of all steps in which the rate rises linearly from 0; cosine only."""
    min_lr: float = Field(1e-6, ge=0)
    plateau_factor: float = Field(0.2, gt=0, lt=1)
    plateau_patience: int = Field(5, ge=1)
    """Epochs without a better validation loss (by 1e-4) until the rate falls."""
    grad_clip: float = Field(0, ge=0)
    """Largest gradient norm; 0 switches clipping off."""
    label_smoothing: float = Field(0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs a class by the inverse of its share in training."""


class TrainConfig(_Section):
    """The loop."""

    epochs: int = Field(25, ge=1)
    batch_size: int = Field(32, ge=2)
    """Images per optimiser step, over all processes together."""
    accumulate: int = Field(1, ge=1)
    """Pieces that a batch is cut into, to save memory; gradients are added up."""
    seed: int = Field(42, ge=0, lt=2**31)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` takes the faster one, measured on the device at hand."""
    recompute: bool = False
    """Compute the insides of convolution blocks again in the backward pass: less memory, same
    numbers, more time."""
    compile: bool = False
    """Use `torch.compile`."""
    ema_decay: float = Field(0, ge=0, lt=1)
    """Decay of the weights' moving average, which is then what is validated and kept; 0: none."""
    select: Literal["accuracy", "loss"] = "accuracy"
    """Which validation figure chooses the best epoch; ties go to the other one."""
    early_stop_epochs: int = Field(0, ge=0)
    """Stop after so many epochs without a better one; 0 never stops."""
    checkpoint_minutes: float = Field(5, ge=0)
    """Also checkpoint inside an epoch, this often; 0 after every step."""


class DistillConfig(_Section):
    """How a student learns from a teacher. Decides nothing where `teacher` is empty."""

    temperature: float = Field(2.0, gt=0, le=100)
    """Divides the logits of both; 1 leaves them, more shows what the teacher confuses."""
    label_weight: float = Field(0.1, ge=0, le=1)
    """Share of the true labels in the loss; the rest is the teacher's. 1: labels alone."""
    teacher: str = Field("", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of the teacher's weights; written by `leukoscope distill`."""


_Share = Annotated[float, Field(gt=0, lt=1)]


class TrustConfig(_Section):
    """What calibration, prediction sets and decisions aim at. Decides nothing of the training."""

    alpha: _Share | Literal["auto"] = "auto"
    """Prediction sets miss the true class for at most this share of the cells of each class; auto:
    the largest level at which half of the misclassified calibration cells get two labels."""
    class_conditional: bool = True
    """One threshold per class (Mondrian); false: one for all."""
    target_accuracy: float = Field(0.995, gt=0.5, lt=1)
    """Wanted among accepted cells."""
    target_confidence: _Share | None = None
    """With this confidence (0.95) accepted cells of new sources reach the target accuracy, not only
    on average over calibration sets: fewer cells are accepted."""
    reject_frac: float = Field(0.02, gt=0, lt=0.5)
    """Share of cells of the known kind that may be rejected as unknown, to keep others out."""
    always_review: tuple[str, ...] = ()
    """Classes whose cells a person always looks at."""
    min_sensitivity: dict[str, _Share] = {}
    """Least share of the cells of a class that must not be accepted under another name."""
    cost: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """`cost[true][called]`: what the mistake costs, 1 where it is not given; `cost[true].review` is
    what it costs to send such a cell to a person."""

    @model_validator(mode="after")
    def _right_names_cost_nothing(self) -> "TrustConfig":
        priced = [name for name, row in self.cost.items() if row.get(name)]
        if priced:
            raise ValueError(f"trust.cost.{priced[0]}.{priced[0]} must be 0: the right name")
        return self


class Recipe(_Section):
    """A whole recipe. `name` and `purpose` are for the reader."""

    name: str = "custom"
    purpose: str = ""
    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    trust: TrustConfig = TrustConfig()

    @model_validator(mode="after")
    def _pieces_hold_two_images(self) -> "Recipe":
        if self.train.accumulate * 2 > self.train.batch_size:
            raise ValueError(
                "train.accumulate leaves fewer than 2 images in a piece, too few for batch norm"
            )
        return self

    def compute_hash(self) -> str:
        """Return 16 hexadecimal digits that name what training depends on: names, prose and `trust`
        are left out, and `distill` where there is no teacher."""
        unused = {"name", "purpose", "trust"} | (set() if self.distill.teacher else {"distill"})
        content = self.model_dump(mode="json", exclude=unused) | {"input": self.input.to_key()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class SavedRecipe(Recipe):
    """A recipe as a run folder keeps it: resolved, with its hash; of an ensemble the first
    member's, with a name and a hash for all."""

    hash: str

    @classmethod
    def of(cls, recipe: Recipe) -> "SavedRecipe":
        """Return a recipe with its hash."""
        content = {name: getattr(recipe, name) for name in Recipe.model_fields}
        return cls(**content, hash=recipe.compute_hash())


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by its name (`quick`, `reference`, `robust`) or from a TOML file.

    `overrides` are `section.key=value`, the value in TOML or a bare word:
    `["train.epochs=5", "model.preset=coatnet-nano"]`.

    Raises `ConfigError` for an unknown recipe, a file that is not TOML, an unknown key (naming the
    nearest right one) or a value out of range; all problems are collected and raised once.

    >>> load_recipe("quick", ["train.epochs=5"]).train.epochs
    5
    """
    name = str(recipe)
    if name in RECIPE_NAMES:
        text = resources.files("leukoscope.recipes").joinpath(f"{name}.toml").read_text("utf-8")
        content = tomllib.loads(text)
    else:
        content = load_toml(Path(recipe), "a recipe", RECIPE_NAMES)
    content.setdefault("name", Path(name).stem)
    for override in overrides:
        _apply_override(content, override)
    return parse_recipe(content)


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Build a recipe from nested dictionaries; errors as in `load_recipe`."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise ConfigError(
            "every key and value of a recipe must be known and in range",
            join_problems(error, _describe),
            "correct the recipe or the --set option; `leukoscope recipe quick` prints all keys",
        ) from error


def override_section(recipe: Recipe, section: str, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with some keys of one section changed: `["trust.alpha=0.1"]`.

    Raises `ConfigError` for a key of another section, and as `load_recipe` does.
    """
    content = recipe.model_dump(mode="json", include=set(Recipe.model_fields))
    for override in overrides:
        if not override.strip().startswith(f"{section}."):
            raise ConfigError(
                f"only keys of the section {section} can be changed here",
                repr(override),
                f"use one of {', '.join(k for k in list_keys() if k.startswith(f'{section}.'))}",
            )
        _apply_override(content, override)
    return parse_recipe(content)


def load_toml(path: Path, what: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a TOML file of at most `storage.MAX_TEXT_BYTES`.

    Raises `ConfigError`, in which `what` the file should have held is said, and which `names` could
    have stood instead of a path.
    """
    try:
        text = read_file(path, MAX_TEXT_BYTES).decode("utf-8")
        for line in text.split("\n"):
            # The parser takes the square of the depth: 47 s for one line of 32,000.
            if line.count(".") > MAX_DOTS and not line.lstrip().startswith("#"):
                raise ValueError(f"{line.count('.'):,} dots in one line")
        return tomllib.loads(text)
    except (FileError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(str(path), names, n=1)
        raise ConfigError(
            f"{what} must be {', '.join([*names, 'a readable TOML file'])}",
            f"{str(path)!r} ({error.found if isinstance(error, FileError) else error})",
            f"write {near[0]!r}" if near else "check the path",
        ) from error
    except (ValueError, RecursionError) as error:  # also numbers and brackets without end
        raise ConfigError(f"{path} must be TOML", str(error), "correct the file") from error


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(
            "an override has the form section.key=value",
            repr(override),
            "write for example train.epochs=5",
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()  # a bare word, so that nobody has to quote twice in a shell
    node = content
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(
                "an override must name a key inside a section",
                f"{key!r}, where {part!r} is a value",
                f"use one of {', '.join(list_keys())}",
            )
    node[parts[-1]] = value


def list_keys() -> tuple[str, ...]:
    """Return every key of a recipe in dotted form, in order.

    >>> list_keys()[:3]
    ('name', 'purpose', 'input.image_size')
    """
    return tuple(_walk(Recipe, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


MAX_PROBLEMS = 20


def join_problems(error: ValidationError, describe: Callable[[dict[str, Any]], str]) -> str:
    """Return the first problems of a file in words, and how many more there are."""
    problems = error.errors()
    found = [describe(dict(problem)) for problem in problems[:MAX_PROBLEMS]]
    more = len(problems) - len(found)
    return "; ".join([*found, *([f"{more:,} more"] if more else [])])


def _describe(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if not key:  # a rule about several keys: its message names them
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg']} (given: {problem.get('input')!r})"
    keys = list_keys()
    sections = sorted({k.split(".")[0] for k in keys})
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [k for k in keys if k.rsplit(".", 1)[-1] == leaf]
    if isinstance(problem["input"], dict):
        near = difflib.get_close_matches(key, sections, n=1, cutoff=0.5)
    else:
        near = (
            difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
            or same_leaf
            or difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        )
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown key {key!r}{hint}"
