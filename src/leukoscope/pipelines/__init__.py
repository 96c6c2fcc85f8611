"""The use cases, one function each: configuration in, record out. The Python API.

    catalog = scan_images("cells/")                    # folder or table -> catalog
    split = split_catalog(catalog)                     # catalog -> roles, with an audit
    run = train_run(split, load_recipe("quick"), "runs/a")
    calibrate_run("runs/a")                            # when to reject
    evaluation = evaluate_run("runs/a")
    evaluation.report                                  # the HTML file
    evaluation.record.figures["accuracy"]              # value, low, high

What these files do not do: they print nothing (that is `cli.render`) and compute nothing
themselves.
"""

from leukoscope.pipelines.card import WrittenCard, write_card
from leukoscope.pipelines.cells import FoundCells, check_found, find_cells
from leukoscope.pipelines.data import (
    audit_data,
    check_nothing_rejected,
    load_split_or_images,
    scan_images,
    split_catalog,
    split_kfold,
    trace_sources,
)
from leukoscope.pipelines.demo import run_demo
from leukoscope.pipelines.deploy import (
    check_predicted,
    export_run,
    predict_images,
)
from leukoscope.pipelines.differential import (
    CountedSamples,
    collect_sample_infos,
    count_differentials,
    find_replaced_differentials,
    load_samples,
)
from leukoscope.pipelines.distill import DistilledRun, distill_run
from leukoscope.pipelines.ensemble import EnsembleRun, build_ensemble
from leukoscope.pipelines.evaluation import Evaluation, evaluate_run
from leukoscope.pipelines.explain import ExplainedFolder, explain_images
from leukoscope.pipelines.leak import LeakRun, report_leak
from leukoscope.pipelines.locate import count_located, locate_catalog, locate_images
from leukoscope.pipelines.messages import parse_message_kinds, parse_message_time
from leukoscope.pipelines.outputs import find_replaced
from leukoscope.pipelines.painted import paint_set
from leukoscope.pipelines.robustness import RobustnessRun, measure_robustness
from leukoscope.pipelines.runs import (
    Packed,
    TrainedRun,
    pack_images,
    train_run,
)
from leukoscope.pipelines.trust import CalibratedRun, calibrate_run
from leukoscope.pipelines.validate import ValidatedBundle, validate_bundle

__all__ = [
    "CalibratedRun",
    "CountedSamples",
    "DistilledRun",
    "EnsembleRun",
    "Evaluation",
    "ExplainedFolder",
    "FoundCells",
    "LeakRun",
    "Packed",
    "RobustnessRun",
    "TrainedRun",
    "ValidatedBundle",
    "WrittenCard",
    "audit_data",
    "build_ensemble",
    "calibrate_run",
    "check_found",
    "check_nothing_rejected",
    "check_predicted",
    "collect_sample_infos",
    "count_differentials",
    "count_located",
    "distill_run",
    "evaluate_run",
    "explain_images",
    "export_run",
    "find_cells",
    "find_replaced",
    "find_replaced_differentials",
    "load_samples",
    "load_split_or_images",
    "locate_catalog",
    "locate_images",
    "measure_robustness",
    "pack_images",
    "paint_set",
    "parse_message_kinds",
    "parse_message_time",
    "predict_images",
    "report_leak",
    "run_demo",
    "scan_images",
    "split_catalog",
    "split_kfold",
    "trace_sources",
    "train_run",
    "validate_bundle",
    "write_card",
]
