"""A student beside its teacher."""

from tests.builders.page_ensemble import build_figures

from leukoscope.config import DistillConfig
from leukoscope.evaluation.comparison import Agreement, ComparedNetwork, DistillationComparison
from leukoscope.interval import Interval
from leukoscope.report.run_pages import describe_distillation


def build_page():
    record = DistillationComparison(
        teacher=ComparedNetwork("a/b", "2 x coatnet-pico", "0" * 64, 3_612_000, 21.4),
        student=ComparedNetwork("student", "coatnet-pico", "1" * 64, 1_806_000, 10.7),
        distill=DistillConfig(teacher="0" * 64),
        figures=(
            build_figures("a/b (2 x coatnet-pico)", "test", 0.03),
            build_figures("student (coatnet-pico)", "test"),
        ),
        parity=(Agreement("test", 417, Interval(0.981, 0.962, 0.99), 8, 2, 5, 0.0121),),
    )
    return describe_distillation(record, ("Student: runs/student.",))
