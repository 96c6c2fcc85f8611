"""From folders of crops or fields to differentials and their reports."""

import csv
import hashlib
import math
import os
import sys

import numpy as np
import pytest
from PIL import Image
from tests.builders import bundles as means
from tests.builders.fields import paint, save, save_slide
from tests.builders.trust import CHOICE

from leukoscope import pipelines
from leukoscope.config import TrustConfig
from leukoscope.data.spreadsheet import neutralise
from leukoscope.deploy.bundle import save_bundle
from leukoscope.errors import CatalogError, ConfigError, DataError
from leukoscope.pipelines import differential
from leukoscope.pipelines.differential import (
    IMAGES_KINDS,
    DifferentialFile,
    SampleInfo,
    load_samples,
    parse_white_count,
)
from leukoscope.records import load_record
from leukoscope.smear.counting import CountSettings
from leukoscope.smear.reference import load_reference
from leukoscope.trust.calibration import Calibration
from leukoscope.trust.conformal import fit_sets
from leukoscope.trust.decision import Policy
from leukoscope.trust.novelty import fit_novelty
from leukoscope.trust.quality import fit_quality, measure_quality
from leukoscope.trust.record import CalibrationCounts, TrustInfo, pack_arrays

COLOURS = {"red": (220, 60, 60), "green": (60, 220, 60), "blue": (60, 60, 220)}


def paint_disc(colour, seed, side=means.SIDE):
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    image = g.integers(225, 245, (side, side, 3))
    image[x * x + y * y < (side / 3) ** 2] = np.array(colour) + g.integers(-20, 20, 3)
    return image.astype(np.uint8)


def save_sample(folder, **counts):
    folder.mkdir(parents=True)
    for name, n in counts.items():
        for i in range(n):
            image = paint_disc(COLOURS[name], len(name) * 1000 + i)
            Image.fromarray(image).save(folder / f"{name}{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return means.save_mean_bundle(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """The same network, with a policy and the counts of its calibration."""
    images = np.stack([paint_disc(c, 9000 + i) for i in range(40) for c in COLOURS.values()])
    labels = np.tile(np.arange(3), 40)
    embeddings = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    logits = embeddings / 25.5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    novelty, quality = fit_novelty(embeddings, labels), measure_quality(images)
    policy = Policy(
        classes=means.CLASSES,
        calibration=Calibration(method="temperature", temperature=0.1),
        sets=fit_sets(p, labels, means.CLASSES),
        quality=fit_quality(quality, quality, 0.02),
        max_distance=float(novelty.compute_distance(embeddings).max() * 2),
        min_confidence=0.5,
    )
    arrays = pack_arrays(novelty, embeddings, quality)
    called = ((90, 10, 0, 0), (0, 100, 0, 0), (0, 0, 100, 0))
    info = TrustInfo(
        config=TrustConfig(target_accuracy=0.6), policy=policy, n_train=120, n_calib=120,
        n_calib_sources=120, choice=CHOICE, notes=(), weights_sha256="0" * 64,
        arrays_sha256=hashlib.sha256(arrays).hexdigest(),
        calibration_counts=CalibrationCounts(called=called, effective=(100.0,) * 3),
    )  # fmt: skip
    graph = means.build_mean_graph()
    path = tmp_path_factory.mktemp("calibrated") / "bundle"
    save_bundle(means.describe(graph, trust=info), {"fp32": graph}, path, arrays)
    return path


def read(path):
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def hash_folder(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_folder_of_crops_becomes_a_report(bare, tmp_path, monkeypatch):
    for heavy in ("torch", "cv2"):
        monkeypatch.setitem(sys.modules, heavy, None)  # importing one would fail
    sample = save_sample(tmp_path / "S 1", red=6, green=3, blue=1)
    (sample / "broken.png").write_bytes(b"no image")
    (sample / "notes.txt").write_text("none")
    done = pipelines.count_differentials(
        [sample], bare, tmp_path / "out", known={"S 1": SampleInfo(8.0, "day 2")}
    )
    (record,) = done.records
    assert [(one.label, one.count) for one in record.classes] == [
        ("red", 6), ("green", 3), ("blue", 1),
    ]  # fmt: skip
    assert (record.totals.files, record.totals.unreadable, record.totals.counted) == (11, 1, 10)
    assert record.classes[0].raw.value == 0.6
    assert record.classes[0].absolute.value == pytest.approx(4.8)
    assert math.isnan(record.classes[0].corrected.value)
    assert "no_correction" in [note.code for note in record.notes]
    assert (record.remark, done.index, len(done.passed_over)) == ("day 2", None, 1)
    assert done.pages[0].name == "S_1.html" and done.pages[0].stat().st_size > 5000
    saved = load_record(DifferentialFile, done.out / "differential.json", "leukoscope differential")
    assert repr(saved.samples[0]) == repr(record)
    cells = read(done.out / "cells.csv")
    assert [row["image"] for row in cells] == list(record.images)
    assert [row["image"] for row in cells if row["error"]] == ["broken.png"]
    assert sum(row["counted"] == "1" for row in cells) == 10
    classes = read(done.out / "differential.csv")
    assert [classes[0][key] for key in ("label", "count", "raw")] == ["red", "6", "0.6"]


def test_the_correction_is_beside_the_raw_share(calibrated, tmp_path):
    sample = save_sample(tmp_path / "S", red=36, green=24, blue=40)
    done = pipelines.count_differentials([sample], calibrated, tmp_path / "out")
    red, green, _ = done.records[0].classes
    assert red.corrected.value > red.raw.value  # a tenth of the red are called green
    assert green.corrected.value < green.raw.value
    assert read(done.out / "differential.csv")[0]["corrected_low"]
    assert {cell["decision"] for cell in read(done.out / "cells.csv")} <= {"accepted", "review",
                                                                           "unknown"}  # fmt: skip


def test_several_samples_and_the_same_bytes_again(bare, tmp_path):
    samples = [
        save_sample(tmp_path / "a/x", red=3),
        save_sample(tmp_path / "a/index", green=2, blue=1),
    ]
    one, two = (
        pipelines.count_differentials(
            samples, bare, tmp_path / name, reference=load_reference(),
            settings=CountSettings(precision=0.1),
        )
        for name in ("one", "two")
    )  # fmt: skip
    assert hash_folder(one.out) == hash_folder(two.out)
    assert [page.name for page in one.pages] == ["x.html", "index_2.html"]
    assert one.index is not None and "index_2.html" in one.index.read_text("utf-8")
    single = Image.new("RGB", (32, 32), "red")
    single.putpixel((3, 3), (0, 255, 0))
    single.putpixel((9, 3), (0, 0, 255))
    single.save(tmp_path / "cell.png")
    with pytest.raises(DataError):  # nothing is readable: nothing is written
        (tmp_path / "z").mkdir()
        (tmp_path / "z/a.png").write_bytes(b"no image")
        pipelines.count_differentials([tmp_path / "z"], bare, tmp_path / "three")
    assert not (tmp_path / "three").exists()


def test_fields_are_searched_and_overlapping_ones_counted_once(bare, tmp_path):
    folder = tmp_path / "fields"
    paths = save(folder, paint(2))
    (folder / "field_9.jpg").write_bytes(paths[0].read_bytes())  # shows the same cells
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    done = pipelines.count_differentials([folder], bare, tmp_path / "out")
    t = done.records[0].totals
    cells = read(done.out / "cells.csv")
    once = [row for row in cells if row["image"] in ("field_0.jpg", "field_1.jpg")]
    whole = [row for row in once if row["edge"] == "0"]
    assert t.counted == len(whole) > 0
    assert t.duplicates == sum(row["image"] == "field_0.jpg" for row in once)
    assert t.edge == sum(row["edge"] == "1" for row in cells)
    assert t.unreadable == 1
    assert all(row["label"] for row in whole)
    duplicate = next(row for row in cells if row["duplicate_of"])
    assert "#" in duplicate["duplicate_of"] and duplicate["counted"] == "0"
    assert "field_0.jpg" in done.pages[0].read_text("utf-8")
    tight = pipelines.count_differentials(
        [folder], bare, tmp_path / "out2", images="fields", crop_um=14.0, scale_px_per_um=9.0
    )
    assert tight.records[0].totals.files == 4


def test_many_cells_of_a_field_are_cut_in_parts_and_say_the_same(bare, tmp_path, monkeypatch):
    save(tmp_path / "fields", paint(3))
    out = [tmp_path / name for name in "ab"]
    pipelines.count_differentials([tmp_path / "fields"], bare, out[0])
    monkeypatch.setattr(differential, "_MOST_HELD", 0)
    monkeypatch.setattr(differential, "_BATCH", 1)
    stacked = []
    monkeypatch.setattr(
        differential._Reader, "_stack",
        lambda self, crops, stack=differential._Reader._stack: stacked.append(len(crops))
        or stack(self, crops),
    )  # fmt: skip
    pipelines.count_differentials([tmp_path / "fields"], bare, out[1])
    assert hash_folder(out[0]) == hash_folder(out[1])
    assert max(stacked) == 1 < sum(stacked)


@pytest.mark.parametrize("images", IMAGES_KINDS)
def test_what_is_no_plain_file_is_a_row_and_waited_for_by_nobody(bare, tmp_path, images):
    sample = save_sample(tmp_path / "S", red=3)
    os.mkfifo(sample / "pipe.png")
    (sample / "device.png").symlink_to("/dev/zero")
    with (sample / "sparse.png").open("wb") as file:
        file.truncate(100_000_000_000)
    done = pipelines.count_differentials([sample], bare, tmp_path / "out", images=images)
    rows = {row["image"]: row["error"].split(":")[0] for row in read(done.out / "cells.csv")}
    assert rows["pipe.png"] == rows["device.png"] == "not_regular"
    assert rows["sparse.png"] == "too_large"
    assert done.records[0].totals.unreadable == 3


def test_lists_and_patterns_name_what_they_find(bare, tmp_path, monkeypatch):
    sample = save_sample(tmp_path / "S", red=2)
    done = pipelines.count_differentials([f"{tmp_path}/?/red*.png"], bare, tmp_path / "out")
    whole = tuple((sample / f"red{k:02d}.png").as_posix() for k in range(2))
    assert done.records[0].images == whole
    for name in ("x" * 5000, "a\0b"):  # no system takes such names
        with pytest.raises(DataError):
            pipelines.count_differentials([name], bare, tmp_path / "none")


NAMES = ("=1+1", "a\rb", "a\nb", "\x1b[31m", 'q"', "é", "a|b^c&d", "\udcff", "<b>", " x")


def test_names_of_files_and_samples_change_no_table_page_or_message(bare, tmp_path):
    pytest.importorskip("hl7apy")
    samples = []
    for name in NAMES:
        samples.append(save_sample(tmp_path / name, red=1))
        (samples[-1] / "red00.png").rename(samples[-1] / f"{name}.png")
    done = pipelines.count_differentials(
        samples, bare, tmp_path / "out", messages=("oru", "fhir"),
        known={"<b>": SampleInfo(7.0, "=1|^~\\&\r<b>")},
    )  # fmt: skip
    for table, per_sample in (("cells.csv", 1), ("differential.csv", 3)):
        with (done.out / table).open(
            encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == per_sample * len(NAMES)
        assert {row["sample"] for row in rows} == {neutralise(name) for name in NAMES}
    for page in (*done.pages, done.index):
        assert "<b>" not in page.read_text("utf-8") and "\x1b" not in page.read_text("utf-8")
    for path in done.out.glob("*.hl7"):
        starts = {line[:4] for line in path.read_bytes().decode().split("\r")}
        assert starts == {"MSH|", "OBR|", "OBX|", "NTE|", "SPM|", ""}
    assert len(list(done.out.glob("*.hl7"))) == len(NAMES) == len(set(done.pages))


def test_a_slide_is_a_field(bare, tmp_path):
    (tmp_path / "S").mkdir()
    save_slide(tmp_path / "S/slide.svs", paint()[0].pixels_HWC)
    done = pipelines.count_differentials([tmp_path / "S"], bare, tmp_path / "out")
    (record,) = done.records
    assert (record.images, record.totals.unreadable) == (("slide.svs",), 0)
    assert record.totals.counted > 0
    assert done.pages[0].exists()


def test_what_images_are_must_be_clear(bare, tmp_path):
    sample = save_sample(tmp_path / "S", red=2)
    Image.fromarray(np.resize(paint_disc((200, 0, 0), 1), (500, 600, 3))).save(sample / "big.png")
    with pytest.raises(DataError) as caught:
        pipelines.count_differentials([sample], bare, tmp_path / "out")
    assert "big.png, 600 x 500" in str(caught.value) and "--images" in str(caught.value)
    between = tmp_path / "T"
    between.mkdir()
    Image.fromarray(np.resize(paint_disc((200, 0, 0), 1), (430, 430, 3))).save(between / "b.png")
    with pytest.raises(DataError):
        pipelines.count_differentials([between], bare, tmp_path / "out")
    done = pipelines.count_differentials([sample], bare, tmp_path / "out", images="crops")
    assert done.records[0].totals.found == 3
    assert IMAGES_KINDS == ("auto", "crops", "fields")


@pytest.mark.parametrize(
    "settings",
    [CountSettings(precision=0.0), CountSettings(red_threshold=-1), CountSettings(bands_limit=2)],
)
def test_settings_are_checked_before_the_work(settings, bare, tmp_path):
    with pytest.raises(ConfigError):
        pipelines.count_differentials([tmp_path], bare, tmp_path / "out", settings=settings)


def test_names_of_samples_are_their_own(bare, tmp_path):
    one, two = (save_sample(tmp_path / k / "S", red=1) for k in ("a", "b"))
    with pytest.raises(ConfigError, match="given twice"):
        pipelines.count_differentials([one, two], bare, tmp_path / "out")
    with pytest.raises(ConfigError, match="no sample is called T"):
        pipelines.count_differentials([one], bare, tmp_path / "out", known={"T": SampleInfo(1.0)})


def test_white_counts_come_from_options_and_tables(tmp_path):
    table = tmp_path / "samples.csv"
    table.write_text('id,white_count,notes\nS-17,"7,2",day 3\nS-18,NA,\n')
    found = load_samples(table)
    assert found["S-17"] == SampleInfo(7.2, "day 3")
    assert math.isnan(found["S-18"].white_count)
    joined = pipelines.collect_sample_infos(["x/S-17", "S-18"], ["S-18=4"], table)
    assert joined["S-17"] == SampleInfo(7.2, "day 3") and joined["S-18"].white_count == 4
    assert pipelines.collect_sample_infos(["x/S.1.png"], ["3"], None)["S.1"].white_count == 3
    with pytest.raises(ConfigError):
        pipelines.collect_sample_infos(["a", "b"], ["3"], None)
    for text in ("id,white_count\na,many\n", "id\na\na\n", "name\na\n", "id\n,\n"):
        table.write_text(text)
        if text == "id\n,\n":
            assert load_samples(table) == {}
        else:
            with pytest.raises(DataError):
                load_samples(table)
    with pytest.raises(CatalogError):
        load_samples(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "row", ["7.2", "", "=1,", "S,nan", "S,inf", "S,-1", "S," + "9" * 5000, "S,7\nS,7", ",7"]
)
def test_a_hostile_table_of_samples_is_an_error_or_says_nothing(tmp_path, row):
    (tmp_path / "s.csv").write_text(f"notes,id,white_count\nx,A,7\n{row}\nx,B,8\n")
    (tmp_path / "t.csv").write_text(f"id,white_count\nA,7\n{row}\nB,8\n")
    for name in ("s.csv", "t.csv"):
        try:
            assert {"A", "B"} <= set(load_samples(tmp_path / name))
        except DataError as error:
            assert len(str(error)) < 500


@pytest.mark.parametrize("text", ["0", "-1", "7.2.1", "1e9", "nan", "1,000,000", ""])
def test_a_white_count_is_a_number_of_cells_per_litre(text):
    with pytest.raises(DataError):
        parse_white_count(text, "--white-count")


def test_reports_replace_only_reports(tmp_path):
    sample, out = tmp_path / "S", tmp_path / "out"
    for folder in (sample, out):
        folder.mkdir()
    assert pipelines.find_replaced_differentials(out, [sample, tmp_path / "T"]) == ()
    (out / "index.html").write_text("my own page")
    with pytest.raises(ConfigError):
        pipelines.find_replaced_differentials(out, [sample, tmp_path / "T"])
    assert pipelines.find_replaced_differentials(out, [sample]) == ()
    with pytest.raises(ConfigError):
        pipelines.find_replaced_differentials(sample, [sample])
