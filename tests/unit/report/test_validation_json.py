"""What `validation.json` holds."""

import json

from tests.builders import validation as cells_of

from leukoscope.report.validation_json import validation_to_json


def test_the_json_is_strict():
    found = cells_of.build_validation()
    content = json.loads(
        json.dumps(validation_to_json(found), allow_nan=False).encode("utf-8", "replace")
    )
    assert content["acceptance"] == "fail"
    assert [one["outcome"] for one in content["limits"]] == ["fail", "not_measured", "pass"]
    assert content["classes_absent"] == ["monocyte"]
    assert content["readers"][0]["reader"]["value"] == 1
    against = content["against_home"]
    assert against["recognition"]["value"] == found.recognition.value < 0
    assert against["mixture"]["low"] <= against["mixture"]["value"] == found.mixture.value
    assert content["recalibration"]["after"]["coverage"]["value"] == 0.9
