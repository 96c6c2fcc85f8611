from tests.unit.pipelines.conftest import SETTINGS

from leukoscope import pipelines


def test_demo_on_a_folder(disc_folder, tmp_path):
    found = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert found.report == tmp_path / "demo" / "run" / "report.html" and found.report.is_file()
    again = pipelines.run_demo(disc_folder, tmp_path / "demo", overrides=SETTINGS)
    assert again.intervals == found.intervals
