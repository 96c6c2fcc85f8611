"""What is explained: a run or a bundle, by which methods, at which stage, for which class.

What this file does not do: it makes no map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.errors import ConfigError, RunError
from leukoscope.explain.methods import AT_A_STAGE, METHODS, RUN_METHODS, Method
from leukoscope.labels import resolve_label
from leukoscope.pipelines.extras import require_extra
from leukoscope.runfolder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukoscope.config import InputConfig
    from leukoscope.explain.occlusion import Score
    from leukoscope.models.coatnet import CoAtNet

    Pixels = NDArray[np.uint8]


@dataclass
class ExplainedModel:
    """A run or a bundle: what scores images and names them; the network where there is one. Of an
    ensemble of `members` all name an image, and the first is scored and explained."""

    path: Path
    classes: tuple[str, ...]
    input: "InputConfig"
    score: "Score"
    name: "Callable[[Pixels], list[tuple[str, float, str]]]"
    sha256: str
    """Of the file of weights."""
    network: "CoAtNet | None" = None
    members: int = 1


def open_model(path: Path) -> ExplainedModel:
    """Open a run folder or a bundle. Raises `RunError` for anything else, `MissingExtraError`
    without the extra `explain` (a run)."""
    if (path / "bundle.json").is_file():
        return _open_bundle(path)
    if RunFolder(path).model.is_file():
        require_extra("explain")
        return _open_run(path)
    raise RunError(
        f"{path} must be a run folder with a trained network, or a bundle",
        "neither model.json nor bundle.json" if path.is_dir() else "no such folder",
        "check the path, or run `leukoscope train` first",
    )


def _open_bundle(path: Path) -> ExplainedModel:
    from leukoscope.deploy.predictor import Predictor

    predictor = Predictor(path)

    def name(images_NSSC: "Pixels") -> list[tuple[str, float, str]]:
        return [
            (one.label, float(one.confidence or 0.0), one.decision)
            for one in predictor.predict_pixels(images_NSSC)
        ]

    def score(images_NSSC: "Pixels") -> "NDArray[np.float32]":
        return predictor.predict_logits(images_NSSC)[0]

    info = predictor.bundle.info
    sha256 = str(info.provenance.get("weights_sha256", ""))
    return ExplainedModel(path, info.classes, info.preprocessing, score, name, sha256)


def _open_run(path: Path) -> ExplainedModel:
    import numpy as np

    from leukoscope.explain.attribution import build_score
    from leukoscope.models.ensemble import Ensemble
    from leukoscope.scores import compute_probabilities
    from leukoscope.training.scoring import score_rows
    from leukoscope.training.trained import load_trained
    from leukoscope.trust.decision import decide
    from leukoscope.trust.quality import measure_quality
    from leukoscope.trust.record import load_trust

    trained = load_trained(RunFolder(path))
    trust = load_trust(RunFolder(path))

    def name(images_NSSC: "Pixels") -> list[tuple[str, float, str]]:
        scores = score_rows(trained.network, images_NSSC, np.arange(len(images_NSSC)))
        if trust is None:
            p_NK = compute_probabilities(scores.logits_NK)
            return [(trained.classes[int(p.argmax())], float(p.max()), "") for p in p_NK]
        found = decide(
            trust.info.policy,
            trust.novelty,
            scores.logits_NK,
            scores.embeddings_ND,
            measure_quality(images_NSSC),
            scores.disagreement_N if len(scores.disagreement_N) else None,
        )
        return [
            (trained.classes[k], float(p), status)
            for k, p, status in zip(found.labels_N, found.confidence_N, found.status, strict=True)
        ]

    network = trained.first
    members = len(trained.network.members) if isinstance(trained.network, Ensemble) else 1
    return ExplainedModel(
        path,
        trained.classes,
        trained.input,
        build_score(network),
        name,
        trained.sha256,
        network,
        members,
    )


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
    if model.network is None or not set(AT_A_STAGE) & set(methods):
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
