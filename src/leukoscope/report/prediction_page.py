"""What became of the images of one prediction, for the terminal.

What this file does not do: it words no single cell (`decision_words`), and predicts nothing.
"""

from leukoscope.deploy.tables import PredictedFiles
from leukoscope.report.data_words import describe_located, describe_passed_over
from leukoscope.report.page import Banner, Block, Page, Text
from leukoscope.text import format_count, format_percent
from leukoscope.trust.decision import STATUSES


def describe_predictions(done: PredictedFiles) -> Page:
    """Return how many images were predicted, how fast, and how many have each decision."""
    rate = done.images / max(done.seconds, 1e-9)
    lead: list[Block] = [
        Text(
            f"{format_count(done.images, 'image')} in {done.seconds:.1f} s"
            f" ({rate:,.0f} per second)."
        )
    ]
    readable = done.images - done.errors
    if done.decisions:
        counts = ", ".join(f"{done.decisions.get(name, 0):,} {name}" for name in STATUSES)
        lead.append(Text(f"{counts}: see the columns `decision` and `reason`."))
        found = done.acceptance
        if found is not None and found.is_unusual:
            lead.append(
                _warn(
                    f"Only {format_percent(found.share)} are accepted;"
                    f" {format_percent(found.expected)} are expected of these classes by the"
                    " internal test set: stain, scanner or cells differ. Labels that are"
                    " accepted may be wrong more often, too; `leukoscope validate` measures it on"
                    " labelled cells."
                )
            )
    elif readable:
        lead.append(
            _warn(
                "Every cell got a label: this bundle was exported before `leukoscope calibrate` and"
                " never rejects."
            )
        )
    if done.located:
        squares = describe_located(done.located)
        lead.append(Text(f"Of each image a square was predicted: {squares}."))
    if done.errors:
        lead.append(Text(f"{done.errors:,} could not be read: see the column `error`."))
    trailer = [f"Table: {done.out}"] if done.out else []
    if done.passed_over:
        lead.append(Text(describe_passed_over(done.passed_over)))
        trailer += [f"Passed over: {done.rejected}"] if done.rejected else []
    return Page("Predictions", tuple(lead), trailer=tuple(trailer))


def _warn(text: str) -> Banner:
    return Banner("caution", "", (Text(text),))
