"""Messages of differentials to the system of a laboratory, as text by the ending of their files."""

from collections.abc import Sequence
from datetime import UTC, datetime

from leukoscope.errors import ConfigError
from leukoscope.smear.differential import DifferentialRecord
from leukoscope.smear.observations import MESSAGE_KINDS, MessageHeader, MessageKind

ENDINGS: dict[MessageKind, str] = {"oru": ".oru.hl7", "oul": ".oul.hl7", "fhir": ".fhir.json"}


def parse_message_kinds(texts: Sequence[str]) -> tuple[MessageKind, ...]:
    """Return the kinds that are named, with commas or one by one. Raises `ConfigError` for others.

    >>> parse_message_kinds(["fhir,oru", "fhir"])
    ('fhir', 'oru')
    """
    named = dict.fromkeys(name.strip().casefold() for text in texts for name in text.split(","))
    found = tuple(kind for name in named for kind in MESSAGE_KINDS if kind == name)
    if len(found) < len(named):
        wrong = ", ".join(name or "nothing" for name in named if name not in MESSAGE_KINDS)
        raise ConfigError(
            f"a message must be one of {', '.join(MESSAGE_KINDS)}",
            wrong,
            "name those that you need",
        )
    return found


def parse_message_time(text: str | None) -> datetime:
    """Return the time of a message from ISO 8601; without one, now. Raises `ConfigError` for what
    is no time, or has no time zone."""
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "the time of a message must be a time",
            text,
            "write for example 2026-11-28T12:00:00+00:00",
        ) from error
    MessageHeader(time).check()
    return time


def render_messages(
    record: DifferentialRecord, kinds: Sequence[MessageKind], header: MessageHeader
) -> dict[str, str]:
    """Return the messages of one differential, to be written in UTF-8, by the ending of the file.

    Raises what `smear.hl7.build_oru` and `smear.fhir.build_fhir` raise.
    """
    from leukoscope.smear.fhir import build_fhir
    from leukoscope.smear.hl7 import build_oru, build_oul

    builders = {"oru": build_oru, "oul": build_oul, "fhir": build_fhir}
    return {ENDINGS[kind]: builders[kind](record, header) for kind in kinds}
