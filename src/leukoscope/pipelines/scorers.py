"""Open what scores images: a trained run or a bundle.

What this file does not do: it scores nothing (`leukoscope.scoring`).
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.deploy.bundle import BUNDLE_JSON
from leukoscope.errors import RunError
from leukoscope.pipelines.extras import require_extra
from leukoscope.runfolder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leukoscope.deploy.bundle import VariantName
    from leukoscope.deploy.predictor import Engine, Predictor
    from leukoscope.scoring import Scorer
    from leukoscope.training.trained import TrainedNetwork


def open_scorer(path: str | Path) -> "Scorer":
    """Open a bundle or a run folder, calibration included.

    Raises `RunError` for anything else, `BundleError` for a bundle that cannot be used,
    `WeightsError` for damaged weights, `MissingExtraError` for a run without the extra `train`.
    """
    place = Path(path)
    if (place / BUNDLE_JSON).is_file():
        from leukoscope.deploy.predictor import Predictor

        return Predictor(place)
    return open_run(place)


def open_predictor(
    bundle: str | Path,
    *,
    variant: "VariantName | None" = None,
    engine: "Engine" = "onnxruntime",
) -> "tuple[Predictor, Mapping[str, int]]":
    """Open a bundle that reads files as its network takes them, located where it was trained so;
    and the counts of what squares were laid around, which grow while it reads.

    Raises as `Predictor` and `pipelines.locate.Locator` do.
    """
    from leukoscope.deploy.predictor import Predictor
    from leukoscope.pipelines.locate import build_reader

    predictor = Predictor(bundle, variant=variant, engine=engine)
    predictor.read_file, counts = build_reader(predictor.input)
    return predictor, counts


def open_run(path: str | Path) -> "TrainedNetwork":
    """Open the trained network of a run folder, calibration included; errors as
    in `open_scorer`."""
    folder = RunFolder(Path(path))
    if not folder.model.is_file() and not folder.checkpoint.is_file():
        raise RunError(
            f"{path} must be a run folder with a trained network, or a bundle",
            "neither model.json nor bundle.json" if folder.path.is_dir() else "no such folder",
            "check the path, or run `leukoscope train` first",
        )
    require_extra("train")
    from leukoscope.training.trained import load_trained
    from leukoscope.trust.record import load_trust

    return replace(load_trained(folder), trust=load_trust(folder))
