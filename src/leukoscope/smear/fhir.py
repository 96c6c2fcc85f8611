"""A differential as FHIR R4: a Bundle of one DiagnosticReport, its Observations and the Specimen.

The models are those of R4B (4.3.0) in fhir.resources, which has no R4 (4.0.1) of its own; these
four resources are the same in both. There is no patient: the laboratory's system adds the subject.
Status is `preliminary` until a person has signed the result, then `final`.
"""

import math
import uuid
from decimal import Decimal
from typing import Any

from leukoscope.errors import MissingExtraError
from leukoscope.smear.differential import DifferentialRecord
from leukoscope.smear.observations import (
    REPORT_CODE,
    REPORT_NAME,
    MessageHeader,
    Observation,
    Unit,
    compute_digest,
    format_comment,
    list_observations,
)

LOINC_SYSTEM = "http://loinc.org"
UCUM_SYSTEM = "http://unitsofmeasure.org"
LOCAL_SYSTEM = "urn:leukoscope:observation"
"""The coding system of values without a LOINC code."""

_V2 = "http://terminology.hl7.org/CodeSystem/v2-"
_V3 = "http://terminology.hl7.org/CodeSystem/v3-"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_NAMESPACE = uuid.UUID("5b1c7f0e-6a0e-5d0f-9f0c-2f6f2d1f4a51")


def build_fhir(record: DifferentialRecord, header: MessageHeader) -> str:
    """Return the Bundle as JSON, checked by the models; the same arguments give the same text.

    Raises `ConfigError` for a header that `MessageHeader.check` rejects, `MissingExtraError`
    without the extra `messages`.
    """
    header.check()
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError as error:
        raise MissingExtraError(
            "FHIR resources need the extra `messages`",
            "fhir.resources not installed",
            "pip install 'leukoscope[messages]'",
        ) from error
    digest = compute_digest(record, header, "fhir")
    status = "final" if header.signed else "preliminary"
    specimen = _name(digest, "specimen")
    entries = []
    for one in list_observations(record):
        content = _build_observation(one, record.provenance.level)
        content |= {"status": status, "specimen": {"reference": specimen}}
        entries.append((_name(digest, one.code), content))
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"value": header.message_id or digest[:20]}],
        "status": status,
        "category": [{"coding": [{"system": f"{_V2}0074", "code": "HM"}]}],
        "code": _code(REPORT_CODE, REPORT_NAME),
        "issued": header.sent.isoformat(timespec="seconds"),
        "specimen": [{"reference": specimen}],
        "result": [{"reference": name} for name, _ in entries],
    }
    entries = [(_name(digest, "report"), report), *entries]
    entries.append((specimen, _build_specimen(record)))
    bundle = Bundle.model_validate(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "timestamp": header.sent.isoformat(timespec="seconds"),
            "entry": [{"fullUrl": name, "resource": content} for name, content in entries],
        }
    )
    return f"{bundle.model_dump_json(indent=2)}\n"


def _name(digest: str, part: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{digest} {part}')}"


def _code(code: str, name: str, loinc: str = "") -> dict[str, Any]:
    coding = [{"system": LOCAL_SYSTEM, "code": code, "display": name}]
    if loinc:
        coding.insert(0, {"system": LOINC_SYSTEM, "code": loinc})
    return {"coding": coding, "text": name}


def _build_specimen(record: DifferentialRecord) -> dict[str, Any]:
    # FHIR strings hold no control characters; a name of blanks is none.
    name = "".join(sign if sign.isprintable() else " " for sign in record.sample).strip()
    return {
        "resourceType": "Specimen",
        "identifier": [{"value": name or "-"}],
        "type": {"coding": [{"system": f"{_V2}0487", "code": "BLD", "display": "Whole blood"}]},
    }


def _build_observation(one: Observation, level: float) -> dict[str, Any]:
    content: dict[str, Any] = {
        "resourceType": "Observation",
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory"}]}],
        "code": _code(one.code, one.name, one.loinc),
        "valueQuantity": _quantify(one.format(one.value), one.unit),
    }
    if one.flag:
        code = {"system": f"{_V3}ObservationInterpretation", "code": one.flag}
        content["interpretation"] = [{"coding": [code]}]
    if one.limits is not None:
        low, high = (_quantify(f"{limit:g}", one.unit) for limit in one.limits)
        content["referenceRange"] = [{"low": low, "high": high, "text": one.source}]
    comment = format_comment(one, level)
    if comment:
        content["note"] = [{"text": comment}]
    parts = []
    if not math.isnan(one.figure.low):
        ends = (("interval_low", one.figure.low), ("interval_high", one.figure.high))
        for end, number in ends:
            parts.append(_build_part(end, one.format(number), one.unit))
    if one.raw is not None:
        parts.append(_build_part("counted_share", one.format(one.raw), one.unit))
    if one.count is not None:
        parts.append(_build_part("count", str(one.count), "{cells}"))
    if parts:
        content["component"] = parts
    return content


def _build_part(code: str, number: str, unit: Unit) -> dict[str, Any]:
    name = code.replace("_", " ").capitalize()
    return {"code": _code(code, name), "valueQuantity": _quantify(number, unit)}


def _quantify(number: str, unit: Unit) -> dict[str, Any]:
    return {"value": Decimal(number), "unit": unit, "system": UCUM_SYSTEM, "code": unit}
