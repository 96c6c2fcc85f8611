"""A differential as HL7 v2.5.1 messages: ORU^R01 (observations) and OUL^R22 (by specimen).

A result has status P (preliminary) until a person has signed it, then F (final). Messages hold no
patient: the sample's name is the order number of the filler and the id of the specimen. They are
built and checked by hl7apy, which gets text that is escaped already: it splits what is not.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from leukoscope.errors import ConfigError, MissingExtraError
from leukoscope.smear.differential import DifferentialRecord
from leukoscope.smear.observations import (
    MAX_NAME_LENGTH,
    REPORT_CODE,
    REPORT_NAME,
    MessageHeader,
    Observation,
    compute_digest,
    escape,
    format_comment,
    list_observations,
)

LOCAL_SYSTEM = "99LEUKO"
"""The coding system of values without a LOINC code."""


def build_oru(record: DifferentialRecord, header: MessageHeader) -> str:
    """Return an ORU^R01 message: segments end with a carriage return, the text is to be written in
    UTF-8. The same arguments give the same message.

    Raises `ConfigError` for a header that `MessageHeader.check` rejects and for a sample's name
    that is too long, `MissingExtraError` without the extra `messages`.
    """

    def fill(message: Any) -> None:
        result = message.add_group("ORU_R01_PATIENT_RESULT")
        order = result.add_group("ORU_R01_ORDER_OBSERVATION")
        _fill_order(order, "ORU_R01_OBSERVATION", record, header)
        _fill_specimen(order.add_group("ORU_R01_SPECIMEN").add_segment("SPM"), record)

    return _build(record, header, ("ORU", "R01"), fill)


def build_oul(record: DifferentialRecord, header: MessageHeader) -> str:
    """Return an OUL^R22 message; the rest as `build_oru`."""

    def fill(message: Any) -> None:
        specimen = message.add_group("OUL_R22_SPECIMEN")
        _fill_specimen(specimen.add_segment("SPM"), record)
        order = specimen.add_group("OUL_R22_ORDER")
        _fill_order(order, "OUL_R22_OBXTCDSIDNTE_SUPPGRP", record, header)

    return _build(record, header, ("OUL", "R22"), fill)


def _build(
    record: DifferentialRecord,
    header: MessageHeader,
    kind: tuple[str, str],
    fill: Callable[[Any], None],
) -> str:
    header.check()
    try:
        from hl7apy.consts import VALIDATION_LEVEL
        from hl7apy.core import Message
        from hl7apy.exceptions import HL7apyException
    except ImportError as error:
        raise MissingExtraError(
            "HL7 messages need the extra `messages`",
            "hl7apy not installed",
            "pip install 'leukoscope[messages]'",
        ) from error
    structure = "_".join(kind)
    try:
        message = Message(structure, version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
        digest = compute_digest(record, header, structure)
        _fill_header(message.msh, header, (*kind, structure), digest)
        fill(message)
        message.validate()
        return f"{message.to_er7()}\r"
    except HL7apyException as error:
        raise ConfigError(
            f"the message of {record.sample!r} must be valid HL7 v2.5.1",
            str(error),
            "give the sample a shorter name",
        ) from error


def _fill_header(
    segment: Any, header: MessageHeader, kind: tuple[str, str, str], digest: str
) -> None:
    segment.msh_3 = escape(header.sender)
    for name, text in (
        ("msh_4", header.sender_facility),
        ("msh_5", header.receiver),
        ("msh_6", header.receiver_facility),
    ):
        if text:
            setattr(segment, name, escape(text))
    segment.msh_7 = _format_time(header.sent)
    segment.msh_9 = "^".join(kind)
    segment.msh_10 = escape(header.message_id) or digest[:MAX_NAME_LENGTH]
    segment.msh_11 = "P"
    segment.msh_18 = "UNICODE UTF-8"


def _format_time(time: datetime) -> str:
    return f"{time:%Y%m%d%H%M%S%z}"


def _fill_order(order: Any, group: str, record: DifferentialRecord, header: MessageHeader) -> None:
    segment = order.add_segment("OBR")
    segment.obr_1 = "1"
    segment.obr_3 = escape(record.sample)
    segment.obr_4 = f"{REPORT_CODE}^{REPORT_NAME}^{LOCAL_SYSTEM}"
    segment.obr_22 = _format_time(header.sent)
    segment.obr_25 = _get_status(header)
    for number, one in enumerate(list_observations(record), start=1):
        comment = format_comment(one, record.provenance.level)
        _fill_observation(order.add_group(group), number, one, comment, header)


def _get_status(header: MessageHeader) -> str:
    return "F" if header.signed else "P"


def _fill_observation(
    group: Any, number: int, one: Observation, comment: str, header: MessageHeader
) -> None:
    segment = group.add_segment("OBX")
    segment.obx_1 = str(number)
    segment.obx_2 = "NM"
    local = f"{escape(one.code)}^{escape(one.name)}^{LOCAL_SYSTEM}"
    segment.obx_3 = f"{one.loinc}^{escape(one.name)}^LN^{local}" if one.loinc else local
    segment.obx_5 = one.format(one.value)
    segment.obx_6 = f"{one.unit}^{one.unit}^UCUM"
    if one.limits is not None:
        segment.obx_7 = "-".join(f"{limit:g}" for limit in one.limits)
    if one.flag:
        segment.obx_8 = one.flag
    segment.obx_11 = _get_status(header)
    if comment:
        note = group.add_segment("NTE")
        note.nte_1 = "1"
        note.nte_3 = escape(comment)


def _fill_specimen(segment: Any, record: DifferentialRecord) -> None:
    segment.spm_1 = "1"
    segment.spm_2 = f"^{escape(record.sample)}"
    segment.spm_4 = "^".join(("BLD", "Whole blood", "HL70487"))
