"""A validation page of a bundle that was never calibrated, with criteria that stay undecided."""

from tests.builders.validation import build_cells, validate

from leukoscope.evaluation.acceptance import AcceptanceCriteria
from leukoscope.report.validation_page import describe_validation
from leukoscope.trust.notes import Note


def build_page():
    criteria = AcceptanceCriteria(
        min_accuracy=0.7,
        min_sensitivity={"blast": 0.7},
        min_coverage=0.9,
        max_accuracy_drop=0.1,
        min_kappa=0.1,
    )
    remark = Note("other_parts_left_out", {"n": 3, "role": "test"})
    record = validate(build_cells(), criteria, warnings=(remark,))
    return describe_validation(record, {})
