"""What must be installed for a use case; asked before the work begins."""

import importlib.util

from leukoscope.errors import MissingExtraError


def require_report_extra() -> None:
    """Raise `MissingExtraError` before the work instead of an ImportError after it."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtraError(
            "an HTML page needs the extra `report`",
            "jinja2 not installed",
            "pip install 'leukoscope[report]', or leave --html out",
        )


def require_train_extra() -> None:
    """Raise `MissingExtraError` in one sentence instead of an ImportError in the middle."""
    missing = [
        name
        for name in ("torch", "accelerate", "safetensors", "sklearn", "matplotlib", "pyarrow")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise MissingExtraError(
            "training and evaluation need the extra `train`",
            f"{', '.join(missing)} not installed",
            "pip install 'leukoscope[train]'",
        )
