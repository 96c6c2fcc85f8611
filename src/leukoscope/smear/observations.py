"""What a message says of a differential: one value after another, with code, unit, limits and flag.

The value that is sent is the share that the mistakes of the network leave likely, where it could be
corrected: it is what is compared with the limits, so that value and flag agree. The counted share
goes with it. What this file does not do: it writes no message (`hl7`, `fhir`).
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from leukoscope.errors import ConfigError
from leukoscope.interval import UNDEFINED, Interval
from leukoscope.labels import LOINC, display_label
from leukoscope.records import dump_record
from leukoscope.smear.differential import (
    ClassShare,
    DifferentialRecord,
    ReferenceLimits,
)

MessageKind = Literal["oru", "oul", "fhir"]
"""HL7 v2.5.1 ORU^R01 and OUL^R22, FHIR R4."""

MESSAGE_KINDS: tuple[MessageKind, ...] = get_args(MessageKind)

Unit = Literal["%", "10*9/L", "/100{WBCs}", "{cells}"]
"""Units in UCUM."""

Flag = Literal["L", "H", "N", ""]
"""Below the limits, above, within; "" where there are none."""

REPORT_CODE, REPORT_NAME = "differential", "White cell differential"
"""What is reported, in the package's own coding system."""

MAX_NAME_LENGTH = 20
"""Of a message's id and of who sends and receives it, in HL7 v2.5.1."""

ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
"""Signs that separate in HL7 v2, and how they are written in text."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of a message.

    `code` is that of the package, `loinc` the public one, "" where there is none. `figure` and its
    bounds, at the confidence of the record, and `limits` are in `unit`; bounds may be NaN. `count`
    cells of `of` were counted, None for what is no share; `raw` is their share in per cent where
    the value is another one; `n_review` of them wait for a person.
    """

    code: str
    loinc: str
    name: str
    figure: Interval
    decimals: int
    unit: Unit
    limits: tuple[float, float] | None = None
    source: str = ""
    flag: Flag = ""
    count: int | None = None
    of: int | None = None
    raw: float | None = None
    n_review: int = 0

    @property
    def value(self) -> float:
        """The figure without its bounds."""
        return self.figure.value

    def format(self, number: float) -> str:
        """Return a number with the decimals of the value."""
        return f"{number:.{self.decimals}f}"


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What a message needs besides the values: when it was made, which must know its time zone;
    who sends it to whom; whether a person has signed the result. `message_id` is derived from all
    the rest where it is not given."""

    sent: datetime
    sender: str = "leukoscope"
    sender_facility: str = ""
    receiver: str = ""
    receiver_facility: str = ""
    signed: bool = False
    message_id: str = ""

    def check(self) -> None:
        """Raise `ConfigError` for a time without zone, and for names that are too long."""
        if self.sent.tzinfo is None:
            raise ConfigError(
                "the time of a message must have a time zone",
                self.sent.isoformat(),
                "write for example 2026-11-28T12:00:00+00:00",
            )
        names = (self.message_id, self.sender, self.sender_facility, self.receiver)
        for name in (*names, self.receiver_facility):
            if len(escape(name)) > MAX_NAME_LENGTH:
                raise ConfigError(
                    "the id of a message and the names of sender and receiver must have at most "
                    f"{MAX_NAME_LENGTH} characters, separators counted three times",
                    name,
                    "shorten it",
                )


def escape(text: str) -> str:
    r"""Return text that holds no separator of HL7 v2 and no line end.

    >>> print(escape("A|B^C\nD"))
    A\F\B\S\C D
    """
    return "".join(ESCAPES.get(sign, sign) for sign in _CONTROL.sub(" ", text))


def list_observations(record: DifferentialRecord) -> tuple[Observation, ...]:
    """Return what is sent of a differential, in order: the number of counted white cells, the share
    of each class and sum, its absolute count where there is one, nucleated red and smudge cells per
    100 white ones.

    A class is left out where a sum bears its name. What could not be had is left out.
    """
    n = record.totals.counted
    counted, white_count = (
        Interval(number, math.nan, math.nan) for number in (n, record.corrected_white_count)
    )
    found = [
        Observation("white_cells_counted", "", "White cells counted", counted, 0, "{cells}"),
        Observation(
            "white_count",
            "",
            "White count",
            white_count,
            2,
            "10*9/L",
            limits=_scale_limits(record.white_count_limits, "10^9/L", 1),
            source=record.white_count_limits.source if record.white_count_limits else "",
            flag=_flag(white_count.value, _scale_limits(record.white_count_limits, "10^9/L", 1)),
        ),
    ]
    names = {one.label for one in record.sums}
    shares = [*record.sums, *(one for one in record.classes if one.label not in names)]
    for share in shares:
        found += _list_share(share, n)
    found += _list_others(record)
    return tuple(one for one in found if not math.isnan(one.value))


def format_comment(one: Observation, level: float) -> str:
    """Return what goes with a value: the counted share, the limits of confidence, their number in
    review, the source of the reference limits."""
    parts = []
    if one.raw is not None and one.count is not None:
        parts.append(f"corrected; counted {one.format(one.raw)} %")
    if one.count is not None:
        parts.append(f"{one.count} of {one.of}")
    if not math.isnan(one.figure.low):
        bounds = f"{one.format(one.figure.low)} to {one.format(one.figure.high)}"
        parts.append(f"{level:.0%} interval {bounds}")
    if one.n_review:
        parts.append(f"in review {one.n_review}")
    if one.source:
        parts.append(f"limits: {one.source}")
    return "; ".join(parts)


def _list_share(share: ClassShare, n: int) -> Iterator[Observation]:
    name, best = display_label(share.label), share.best
    limits = _scale_limits(share.limits, "share", 100)
    is_corrected = not math.isnan(share.corrected.value)
    yield Observation(
        code=share.label,
        loinc=LOINC.get(share.label, ""),
        name=name,
        figure=Interval(100 * best.value, 100 * best.low, 100 * best.high),
        decimals=1,
        unit="%",
        limits=limits,
        source=share.limits.source if share.limits is not None and limits is not None else "",
        flag=_flag(100 * best.value, limits),
        count=share.count,
        of=n,
        raw=100 * share.raw.value if is_corrected else None,
        n_review=share.n_review,
    )
    limits = _scale_limits(share.limits, "10^9/L", 1)
    yield Observation(
        code=f"{share.label}_absolute",
        loinc="",
        name=f"{name}, absolute",
        figure=share.absolute,
        decimals=2,
        unit="10*9/L",
        limits=limits,
        source=share.limits.source if share.limits is not None and limits is not None else "",
        flag=_flag(share.absolute.value, limits),
    )


def _list_others(record: DifferentialRecord) -> Iterator[Observation]:
    """Nucleated red cells of all classes together, and smudge cells, per 100 white cells."""
    red = [other for other in record.others if other.group == "nucleated_red"]
    smudge = [other for other in record.others if other.group == "smudge"]
    figure = smudge[0].per_100_white if smudge else UNDEFINED
    for code, name, label, cells, per_100 in (
        ("nucleated_red_cells", "Nucleated red cells", "erythroblast", red,
         record.nucleated_red_per_100),
        ("smudge_cell", display_label("smudge_cell"), "smudge_cell", smudge, figure),
    ):  # fmt: skip
        yield Observation(
            code=code,
            loinc=LOINC[label],
            name=f"{name}, per 100 white cells",
            figure=per_100,
            decimals=1,
            unit="/100{WBCs}",
            count=sum(other.count for other in cells),
            of=record.totals.counted,
            n_review=sum(other.n_review for other in cells),
        )


def _scale_limits(
    limits: ReferenceLimits | None, unit: str, factor: float
) -> tuple[float, float] | None:
    if limits is None or limits.unit != unit:
        return None
    return factor * limits.lower, factor * limits.upper


def _flag(value: float, limits: tuple[float, float] | None) -> Flag:
    if limits is None or math.isnan(value):
        return ""
    if value < limits[0]:
        return "L"
    return "H" if value > limits[1] else "N"


def compute_digest(record: DifferentialRecord, header: MessageHeader, kind: str) -> str:
    """Return 64 hexadecimal digits of all that a message is made of: the same for the same."""
    content = {"kind": kind, "record": dump_record(record), "header": dump_record(header)}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
