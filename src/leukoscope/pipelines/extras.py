"""What must be installed for a use case; asked before the work begins."""

import importlib.util
from typing import Literal

from leukoscope.errors import MissingExtraError


def require_report_extra() -> None:
    """Raise `MissingExtraError` before the work instead of an ImportError after it."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtraError(
            "an HTML page needs the extra `report`",
            "jinja2 not installed",
            "pip install 'leukoscope[report]', or leave --html out",
        )


_TRAIN = ("torch", "accelerate", "safetensors", "sklearn", "matplotlib", "pyarrow", "cv2")
_NEEDS = {
    "report": (
        "reports, cards and validation need",
        ("jinja2", "matplotlib", "pyarrow", "scipy", "sklearn", "seaborn"),
    ),
    "sources": (
        "finding copies and simulating corruptions need",
        ("cv2", "faiss", "threadpoolctl"),
    ),
    "messages": ("HL7 and FHIR messages need", ("hl7apy", "fhir")),
    "smear": ("finding cells in smear fields needs", ("cv2",)),
    "train": ("training and evaluation need", _TRAIN),
    "export": ("exporting needs", (*_TRAIN, "onnx", "onnxscript")),
    "explain": ("explaining a trained network needs", (*_TRAIN, "captum")),
}


def require_extra(
    extra: Literal["report", "sources", "smear", "messages", "train", "export", "explain"],
) -> None:
    """Raise `MissingExtraError` in one sentence instead of an ImportError in the middle."""
    who, packages = _NEEDS[extra]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{who} the extra `{extra}`",
            f"{', '.join(missing)} not installed",
            f"pip install 'leukoscope[{extra}]'",
        )
