import json

import pytest
from benchmarks.rivals import feeding
from benchmarks.rivals import run as run_module
from benchmarks.rivals.__main__ import main
from benchmarks.rivals.run import run_benchmarks
from benchmarks.rivals.setting import Setting, read_setting
from PIL import Image

from leukoscope.errors import ConfigError, DataError


def test_a_setting_travels_as_a_line():
    setting = Setting("a b", "c", batch=7, precision="bf16")
    assert read_setting(setting.to_json()) == setting
    assert "\n" not in setting.to_json()


class Answers:
    """What child processes would answer, by candidate; an exception is a process that failed."""

    def __init__(self, **found):
        self.found, self.asked = found, []

    def __call__(self, command, **_options):
        part, candidate, setting = command[3:]
        self.asked.append((part, candidate, read_setting(setting)))
        found = self.found.get(candidate.split(",")[0].split()[0], 1.0)
        failed = isinstance(found, str)
        stderr = f"Traceback\n{found}\n" if failed else ""
        text = f"noise of a library\n{json.dumps(None if failed else found)}\n"
        return type("Done", (), {"returncode": int(failed), "stdout": text, "stderr": stderr})()


def test_turns_are_taken_and_who_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "N_FILES", 4)
    missing = "ModuleNotFoundError: No module named 'tensorflow'"
    answers = Answers(reference=missing, plain=3.0, timm=6.0, ours=2.0, flops=4e9)
    monkeypatch.setattr(run_module.subprocess, "run", answers)
    results = run_benchmarks(
        tmp_path / "R.md", only=("training",), rounds=2, batch=5, precision="bf16"
    )
    first, second = results.comparisons
    assert first.seconds == {
        "plain PyTorch": [3.0, 3.0],
        "plain PyTorch, channels last": [3.0, 3.0],
        "ours": [2.0, 2.0],
    }
    (why,) = first.left_out.values()
    assert why.startswith(missing) and "pip install" in why
    assert "2 GFLOP/s" in first.note
    assert second.ratios("timm coatnet_0_224") == [3.0, 3.0]
    targets = {target.work: (target.value, target.met) for target in results.targets}
    assert targets == {
        "training step of `coatnet-hematology`, against plain PyTorch, channels last": (1.5, True),
        "training step of `coatnet-0`, against timm coatnet_0_224": (3.0, True),
    }
    asked = [name for part, name, _ in answers.asked if part == "hematology"]
    turns = ["plain PyTorch", "plain PyTorch, channels last", "ours"]
    keras = "reference network in Keras (TensorFlow)"
    assert asked == ["flops", keras, *turns, *turns]
    setting = answers.asked[0][2]
    assert (setting.batch, setting.precision, setting.size_px) == (5, "bf16", 224)
    page = (tmp_path / "R.md").read_text()
    assert "ModuleNotFoundError" in page and str(tmp_path) not in page


def test_without_ours_there_is_nothing_to_compare(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "N_FILES", 4)
    monkeypatch.setattr(run_module.subprocess, "run", Answers(ours="MemoryError", flops=1.0))
    results = run_benchmarks(tmp_path / "R.md", only=("training",), rounds=1, precision="fp32")
    assert [part.seconds for part in results.comparisons] == [{}, {}]
    assert results.targets == () and "MemoryError" in (tmp_path / "R.md").read_text()


def test_an_interruption_keeps_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "N_FILES", 4)
    answers = Answers(flops=1.0)

    def interrupted(command, **options):
        if command[3] == "paper":
            raise KeyboardInterrupt
        return answers(command, **options)

    monkeypatch.setattr(run_module.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(tmp_path / "R.md", only=("training",), rounds=1, precision="fp32")
    assert "coatnet-hematology" in (tmp_path / "R.md").read_text()

    monkeypatch.setattr(run_module.subprocess, "run", lambda *_, **__: 1 / 0)
    (tmp_path / "R.md").write_text("of another day")
    with pytest.raises(ZeroDivisionError):
        run_benchmarks(tmp_path / "R.md", only=("training",), rounds=1, precision="fp32")
    assert (tmp_path / "R.md").read_text() == "of another day"


def test_a_part_that_fails_does_not_take_the_others_along(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "N_FILES", 4)
    answers = Answers(flops="OSError: /home/somebody/secret/model.onnx is gone")
    monkeypatch.setattr(run_module.subprocess, "run", answers)
    results = run_benchmarks(
        tmp_path / "R.md", only=("training", "prediction"), rounds=1, precision="fp32"
    )
    assert results.failed == {"training": "OSError: model.onnx is gone"}
    assert len(results.comparisons) == 2
    assert (
        "Not measured: training (OSError: model.onnx is gone)." in (tmp_path / "R.md").read_text()
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file '/a/b/c.onnx' here", "no file 'c.onnx' here"),
        (r"C:\Users\me\x.py failed", "x.py failed"),
        ("1/2 of 3", "1/2 of 3"),
        ("No module named 'timm'; pip install 'leukoscope[bench]'",) * 2,
    ],
)
def test_folders_are_not_published(text, shown):
    assert run_module.hide_folders(text) == shown


def test_another_part_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="feeding, training"):
        run_benchmarks(tmp_path / "R.md", only=("cooking",))


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="image"):
        run_benchmarks(tmp_path / "R.md", images=tmp_path, only=("feeding",))
    assert not (tmp_path / "R.md").exists()


def test_a_quick_run_for_real(tmp_path, capsys, monkeypatch):
    """Ours is measured; a rival is where it is installed, and named where not."""
    rivals = (feeding.KERAS, feeding.OURS)  # all four take a quarter of a minute more
    monkeypatch.setattr(feeding, "CANDIDATES", {name: feeding.CANDIDATES[name] for name in rivals})
    for label in "ab":
        (tmp_path / "cells" / label).mkdir(parents=True)
        for i in range(4):
            image = Image.effect_noise((70, 60), 40 + i).convert("RGB")
            image.save(tmp_path / "cells" / label / f"{i}.jpeg")
    command = ["--quick", "--only", "feeding", "--rounds", "1", "--precision", "fp32"]
    options = ["--images", str(tmp_path / "cells"), "--out", str(tmp_path / "R.md")]
    assert main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert "ours, from a pack" in printed and "share of a training step" in printed
    content = json.loads((tmp_path / "R.json").read_text())
    (comparison,) = content["comparisons"]
    assert comparison["seconds"]["ours, from a pack"][0] > 0
    assert content["command"].endswith("--only feeding --images FOLDER --precision fp32 --quick")
    assert str(tmp_path) not in (tmp_path / "R.md").read_text()


def test_an_error_of_the_package_is_an_exit_code(tmp_path, capsys):
    assert main(["--images", str(tmp_path), "--out", str(tmp_path / "R.md")]) == DataError.exit_code
    assert "image" in capsys.readouterr().err
