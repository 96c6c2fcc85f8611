from tests.builders.runs import SETTINGS

from leukoscope import pipelines
from leukoscope.pipelines import demo


def test_demo_on_a_folder(disc_folder, tmp_path):
    found = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert found.report == tmp_path / "demo" / "run" / "report.html" and found.report.is_file()
    again = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert again.record.figures == found.record.figures


def test_demo_calibrates_or_says_why_not(disc_folder, tmp_path, monkeypatch):
    """Few cells are asked for a promise that they cannot keep, and for one that they can."""
    place = tmp_path / "demo"
    found = pipelines.run_demo(disc_folder, place, overrides=SETTINGS)
    assert not (place / "run" / "trust.json").exists()
    assert "calibration" in found.uncalibrated and found.record.trust is None

    def calibrate(run, **told):
        return calibrate_run(run, overrides=["trust.alpha=0.5"], **told)

    calibrate_run = demo.calibrate_run
    monkeypatch.setattr(demo, "calibrate_run", calibrate)
    again = pipelines.run_demo(disc_folder, place, overrides=SETTINGS)
    assert (place / "run" / "trust.json").is_file()
    assert not again.uncalibrated and again.record.trust is not None
