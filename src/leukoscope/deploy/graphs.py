"""Is an ONNX file one that an export writes? A bundle may come from somebody whom nobody knows.

A graph can name other files as its weights, with any path; run for ever (Loop), hold graphs in
graphs or functions that grow into billions of nodes, and call operators of other libraries. None
of these occurs in an export, so none of them is let through to a runtime. What this file does not
do: it runs nothing, and needs no package that reads ONNX.
"""

from collections.abc import Iterator

from leukoscope.errors import BundleError

OPERATORS = frozenset(
    {
        "Add", "Cast", "Concat", "Conv", "DequantizeLinear", "Div", "Erf", "Exp", "Gemm",
        "LayerNormalization", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mul",
        "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Sigmoid", "Slice",
        "Softmax", "Squeeze", "Sub", "Transpose",
    }
)  # fmt: skip
"""What the exports of all presets, of ensembles and of all variants consist of (a test makes
them); operators of the standard domain only."""

MAX_FIELDS = 1_000_000
"""An ensemble of ten large networks has a tenth of it; reading so many takes a second or two."""

# What each kind of message may hold, by the numbers of onnx.proto: other messages to look into,
# and what is taken as it is. Functions, training graphs, sub-graphs, sparse tensors, and
# whatever is added to the format later stand in neither.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
}
_PLAIN: dict[str, frozenset[int]] = {
    "model": frozenset({1, 2, 3, 4, 5, 6, 8, 14}),
    "graph": frozenset({2, 10, 11, 12, 13, 14, 16}),
    "node": frozenset({1, 2, 3, 4, 6, 7, 9}),
    "attribute": frozenset({1, 2, 3, 4, 7, 8, 9, 13, 20}),
    "tensor": frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16}),
}
_OPERATOR, _DOMAIN = 4, 7
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_AGAIN = "export the run again; never open such a file from somebody you do not know"


def check_graph(content: bytes, name: str = "the graph") -> None:
    """Raise `BundleError` unless an ONNX file is whole in itself and consists of what an export
    consists of: one graph of nodes of `OPERATORS`, weights inside."""
    try:
        _Check().look_into(memoryview(content), "model")
    except _ExternalDataError:
        raise BundleError(
            f"{name} must hold its own weights", "it names other files for them", _AGAIN
        ) from None
    except (IndexError, ValueError) as error:
        raise BundleError(
            f"{name} must be an ONNX graph as `leukoscope export` makes it", str(error), _AGAIN
        ) from error


class _ExternalDataError(Exception):
    pass


class _Check:
    """One pass over a file; a message of a kind holds others of lower kinds only, so the depth is
    bounded."""

    def __init__(self) -> None:
        self.fields = 0

    def look_into(self, content: memoryview, kind: str) -> None:
        inner, plain = _MESSAGES[kind], _PLAIN[kind]
        for field, value in _read_fields(content):
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise ValueError(f"more than {MAX_FIELDS:,} fields")
            if kind == "tensor" and (
                field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
            ):
                raise _ExternalDataError
            if field in inner:
                if not isinstance(value, memoryview):
                    raise ValueError(f"field {field} of the {kind} is no message")
                self.look_into(value, inner[field])
            elif field not in plain:
                raise ValueError(f"field {field} of the {kind}")
            elif kind == "node" and field in (_OPERATOR, _DOMAIN):
                # Each time it occurs: which one counts is the runtime's affair.
                text = "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")
                if text not in (OPERATORS if field == _OPERATOR else ("", "ai.onnx")):
                    what = "operator" if field == _OPERATOR else "domain"
                    raise ValueError(f"the {what} {text[:40]!r}")


def _read_fields(content: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Yield (field, value) of one protocol-buffer message."""
    place = 0
    while place < len(content):
        # A runtime cuts a longer key to 32 bits, and would see another field than this does.
        key, place = _read_varint(content, place, 32)
        field, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == 0:
            value, place = _read_varint(content, place, 64)
        elif wire in (1, 2, 5):
            length = 8 if wire == 1 else 4
            if wire == 2:
                length, place = _read_varint(content, place, 32)
            if place + length > len(content):
                raise ValueError("ends in the middle of a field")
            value = content[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {wire}")
        yield field, value


def _read_varint(content: memoryview, place: int, bits: int) -> tuple[int, int]:
    """Return a number of at most so many bits and the place behind it; a key or a length (32 bits)
    must be written as short as it can be."""
    value = shift = 0
    while True:
        if place >= len(content):
            raise ValueError("ends in the middle of a number")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if value >> bits or shift > 70 or (bits == 32 and not byte and shift > 7):
            raise ValueError("a number longer than it may be")
        if not byte & 0x80:
            return value, place
