"""Records and their JSON files: a dataclass or pydantic model in, the same out, by one pair.

Not-a-number becomes `null` and comes back where the record says `interval.Number`. What this file
does not do: it knows no record.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from leukoscope.errors import FileError, LeukoscopeError, RunError
from leukoscope.storage import read_file, write_text

Record = TypeVar("Record")


def dump_record(record: object, kind: Any = None) -> Any:
    """Return a record as JSON holds it: dictionaries, lists, strings, numbers and None only.

    `kind` is its type where the instance does not tell (a union, a mapping of records).
    """
    return _adapt(kind or type(record)).dump_python(record, mode="json")


def save_record(record: object, path: Path, kind: Any = None) -> None:
    """Write a record as JSON, at once or not at all. Raises `StorageError`, and `ValueError` for
    not-a-number where the record does not say `interval.Number`."""
    content = dump_record(record, kind)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_record(
    kind: type[Record],
    path: Path,
    writer: str,
    error_type: type[LeukoscopeError] = RunError,
) -> Record:
    """Read a record that the command `writer` saved in `path`.

    Raises `error_type` where the file cannot be read, is not JSON, or does not fit, naming the
    first field that does not.
    """
    try:
        content = json.loads(read_file(path).decode("utf-8", errors="surrogateescape"))
    except (FileError, ValueError, RecursionError) as problem:
        raise error_type(
            f"{path} must be a readable JSON file",
            problem.found if isinstance(problem, FileError) else str(problem),
            f"restore it, or run `{writer}` again",
        ) from problem
    return parse_record(kind, content, str(path), writer, error_type)


def parse_record(
    kind: type[Record],
    content: object,
    place: str,
    writer: str,
    error_type: type[LeukoscopeError] = RunError,
) -> Record:
    """Return the record that JSON content holds; errors as in `load_record`."""
    try:
        return _adapt(kind).validate_python(content)  # type: ignore[no-any-return]
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise error_type(
            f"{place} must be as `{writer}` writes it",
            f"{where}: {first['msg']}",
            f"restore it, or run `{writer}` again",
        ) from problem


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapt(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type; building one takes milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
