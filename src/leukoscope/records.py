"""Records and their JSON files: what every JSON file of the package is written and read by."""

import json
from pathlib import Path
from typing import Any

from leukoscope.errors import RunError
from leukoscope.storage import write_text


def write_json(path: Path, content: Any) -> None:
    """Write JSON (not-a-number is refused), at once or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `RunError` for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} must be a readable JSON file", str(error), "restore it, or run the step again"
        ) from error
    if not isinstance(content, dict):
        raise RunError(
            f"{path} must hold a JSON object", type(content).__name__, "run the step again"
        )
    return content
