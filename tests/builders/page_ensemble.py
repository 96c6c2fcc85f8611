"""An ensemble with everything to be known about it: folds, and a member without scores."""

from leukoscope.evaluation.comparison import EnsembleComparison, NetworkFigures
from leukoscope.interval import Interval
from leukoscope.report.run_pages import describe_ensemble


def build_figures(name, role, disagreement=None):
    return NetworkFigures(
        name=name,
        role=role,
        n_images=417,
        accuracy=Interval(0.943, 0.921, 0.959),
        balanced_accuracy=Interval(0.91, 0.88, 0.94),
        log_loss=Interval(0.171, 0.14, 0.21),
        brier=Interval(0.08, 0.06, 0.11),
        ece=Interval(0.012, -0.003, 0.03),
        disagreement=disagreement,
    )


def build_page():
    record = EnsembleComparison(
        name="3 x coatnet-pico, 4 views",
        tta="flips",
        roles={"train": 1_200, "val": 300},
        n_images=1_500,
        n_new=40,
        unscored=("2 a/b",),
        figures=(
            build_figures("0 <script>", "own test"),
            build_figures("1 Blast; L1", "own test"),
            build_figures("3 x coatnet-pico, 4 views", "calib", 0.0213),
        ),
        warnings=("no_new_test_images", "few_new_images", "members_without_scores"),
    )
    return describe_ensemble(record, ("Ensemble: runs/joint",))
