"""Records and their JSON files: a dataclass or pydantic model in, the same out, by one pair.

Not-a-number becomes `null` and comes back where the record says `interval.Number`. The last key of
every file, `seal`, is the SHA-256 of all that stands before it: a file in which one bit has changed
since is rejected. It is no signature; whoever changes a file on purpose can seal it again. What
this file does not do: it knows no record.
"""

import hashlib
import json
import re
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
    write_text(path, _seal(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)))


def _seal(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f'{text.removesuffix("}").rstrip()},\n  "seal": "{digest}"\n}}\n'


_SEALED = re.compile(r'(.*),\n  "seal": "[0-9a-f]{64}"\n}\n', re.DOTALL)


def _is_sealed(text: str) -> bool:
    found = _SEALED.fullmatch(text)
    return found is not None and _seal(f"{found[1]}\n}}") == text


MAX_RECORD_BYTES = 1 << 26
"""No record takes so much; parsed, JSON takes many times its bytes of memory."""


def load_record(
    kind: type[Record],
    path: Path,
    writer: str,
    error_type: type[LeukoscopeError] = RunError,
) -> Record:
    """Read a record that the command `writer` saved in `path`.

    Raises `error_type` where the file cannot be read, is not JSON, or does not fit, naming the
    first field that does not; and where it was changed after it was written.
    """
    try:
        raw = read_file(path, MAX_RECORD_BYTES)
    except FileError as problem:
        raise error_type(
            f"{path} must be a readable JSON file", problem.found, _again(writer)
        ) from problem
    return parse_sealed(kind, raw, str(path), writer, error_type)


def parse_sealed(
    kind: type[Record],
    raw: bytes,
    place: str,
    writer: str,
    error_type: type[LeukoscopeError] = RunError,
) -> Record:
    """Return the record in the bytes of a file that `save_record` wrote; errors as in
    `load_record`."""
    text = raw.decode("utf-8", "surrogateescape")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error_type(
            f"{place} must be a readable JSON file", str(problem), _again(writer)
        ) from problem
    if isinstance(content, dict):
        content.pop("seal", None)
    record = parse_record(kind, content, place, writer, error_type)
    if not _is_sealed(text.replace("\r\n", "\n")):  # as Git and mail may write lines
        raise error_type(
            f"{place} must be as `{writer}` wrote it",
            "it was changed afterwards: its seal does not fit its content",
            _again(writer),
        )
    return record


def _again(writer: str) -> str:
    return f"restore it, or run `{writer}` again"


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
            _again(writer),
        ) from problem
    except (OverflowError, RecursionError) as problem:  # numbers and depths beyond any limit
        raise error_type(
            f"{place} must be as `{writer}` writes it", str(problem), _again(writer)
        ) from problem


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapt(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type; building one takes milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
