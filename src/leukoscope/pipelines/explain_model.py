"""What is explained: a run or a bundle, by which methods, at which stage, for which class.

What this file does not do: it makes no map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.deploy.bundle import BUNDLE_JSON
from leukoscope.errors import ConfigError
from leukoscope.explain.methods import METHODS, RUN_METHODS, STAGE_METHODS, Method
from leukoscope.labels import resolve_label
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.scorers import open_run, open_scorer

if TYPE_CHECKING:
    from leukoscope.config import InputConfig
    from leukoscope.data.images import Pixels
    from leukoscope.explain.occlusion import Score
    from leukoscope.models.coatnet import CoAtNet
    from leukoscope.scoring import Scorer
    from leukoscope.trust.decision import Status


@dataclass(frozen=True)
class ExplainedModel:
    """What predicts, and what is explained of it: `score` gives the logits of a bundle, or of
    the network of a run. Of an ensemble of `members` all predict, and the first is scored and
    explained. `network` is None for a bundle."""

    path: Path
    scorer: "Scorer"
    score: "Score"
    network: "CoAtNet | None" = None
    members: int = 1

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the logits."""
        return self.scorer.classes

    @property
    def input(self) -> "InputConfig":
        """How a file becomes pixels."""
        return self.scorer.input

    def predict(self, images_NSSC: "Pixels") -> "list[tuple[str, float, Status | str]]":
        """Return label, confidence and decision for each image; the decision is "" where the run
        was not calibrated."""
        from leukoscope.scores import compute_probabilities
        from leukoscope.trust.decision import decide
        from leukoscope.trust.quality import measure_quality

        outputs, trust = self.scorer.score(images_NSSC), self.scorer.trust
        if trust is None:
            p_NK = compute_probabilities(outputs.logits_NK)
            return [(self.classes[int(p.argmax())], float(p.max()), "") for p in p_NK]
        found = decide(
            trust.info.policy,
            trust.novelty,
            outputs.logits_NK,
            outputs.embeddings_ND,
            measure_quality(images_NSSC),
            outputs.disagreement_N,
        )
        return [
            (self.classes[k], float(p), status)
            for k, p, status in zip(found.labels_N, found.confidence_N, found.status, strict=True)
        ]


def open_model(path: Path) -> ExplainedModel:
    """Open a run folder or a bundle; errors as in `open_scorer`, and `MissingExtraError` for a run
    without the extra `explain`."""
    if (path / BUNDLE_JSON).is_file():
        scorer = open_scorer(path)
        return ExplainedModel(path, scorer, lambda images: scorer.score(images).logits_NK)
    trained = open_run(path)
    require_extra("explain")
    from leukoscope.explain.attribution import build_score
    from leukoscope.models.ensemble import Ensemble

    network = trained.first
    members = len(trained.network.members) if isinstance(trained.network, Ensemble) else 1
    return ExplainedModel(path, trained, build_score(network), network, members)


def find_sources(model: ExplainedModel) -> "dict[Path, str]":
    """Return the source of each image of a run's split, by path; nothing for a bundle, which
    carries no split: its images count as a source each."""
    from leukoscope.pipelines.runs import load_run_split
    from leukoscope.runfolder import RunFolder

    folder = RunFolder(model.path)
    if model.network is None or not folder.split.is_file():
        return {}
    split = load_run_split(folder)
    return {
        record.path.resolve(): source
        for record, source in zip(split.catalog.records, split.sources, strict=True)
    }


def choose_methods(model: ExplainedModel, asked: Sequence[str]) -> tuple[Method, ...]:
    """Return the methods asked for, in the order of `METHODS`; none asked: what suits the model.

    Raises `ConfigError` for a method that is unknown, or not to be had of this model.
    """
    known = [name for name in METHODS if name in {one.strip() for one in asked}]
    unknown = [name for name in asked if name.strip() not in METHODS]
    if unknown:
        raise ConfigError(
            f"a method must be one of {', '.join(METHODS)}", ", ".join(unknown), "choose from these"
        )
    chosen = tuple(known) or (RUN_METHODS if model.network is not None else ("occlusion",))
    if model.network is None and chosen != ("occlusion",):
        raise ConfigError(
            "a bundle can be explained by occlusion only: it has no gradients and no attention"
            " weights",
            ", ".join(name for name in chosen if name != "occlusion"),
            "leave --methods out, or name the run folder that the bundle was exported from",
        )
    if "attention" in chosen and model.network is not None:
        kinds = {stage.kind for stage in model.network.spec.stages}
        if "transformer" not in kinds:
            raise ConfigError(
                "attention needs a network with transformers",
                model.network.spec.name,
                "choose another method",
            )
    return chosen


def choose_stage(model: ExplainedModel, stage: str | None, methods: Sequence[Method]) -> str:
    """Return where class activation maps are taken; "" where no method needs it.

    Raises `ConfigError` for a stage that the network does not have, or that nobody needs.
    """
    if model.network is None or not set(STAGE_METHODS) & set(methods):
        if stage is not None:
            raise ConfigError(
                "a stage is chosen for gradcam and hirescam only",
                f"{stage} for {', '.join(methods)}",
                "leave --stage out",
            )
        return ""
    from leukoscope.explain import attribution

    if stage is None:
        return attribution.choose_stage(model.network)
    attribution.check_stage(model.network, stage)
    return stage


def find_class(model: ExplainedModel, target: str | None) -> int | None:
    """Return the index of a class by any of its names; None for None. Raises `ConfigError`."""
    if target is None:
        return None
    name = target if target in model.classes else resolve_label(target)
    if name not in model.classes:
        raise ConfigError(
            f"the class must be one of {', '.join(model.classes)}", target, "choose one of these"
        )
    return model.classes.index(name)
