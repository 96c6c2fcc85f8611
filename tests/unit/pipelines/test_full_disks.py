"""Commands that write several files: on a full disk all of them stand as they stood before.

The limit is a real one, of this process, on the size of a file: a write beyond it fails as on a
full disk, at whichever file is the first to be larger.
"""

import pytest
from tests.builders.bundles import build_mean_graph, describe, save_mean_bundle
from tests.builders.evaluation import build_evaluation, build_leak_report
from tests.builders.fields import paint, save
from tests.builders.files import full_disk
from tests.builders.images import save_discs

from leukoscope import pipelines
from leukoscope.data.catalog import Catalog
from leukoscope.deploy.bundle import load_bundle, save_bundle
from leukoscope.errors import StorageError
from leukoscope.pipelines.data import save_findings
from leukoscope.pipelines.evaluation import write_evaluation
from leukoscope.pipelines.leak import write_leak_report
from leukoscope.progress import silent

LIMITS = (0, 300, 2_000, 6_000, 15_000, 40_000)
"""Bytes; each command writes files below and above some of them."""


def read_all(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def make_bundle(out, number):
    graph = build_mean_graph()
    save_bundle(describe(graph, network=f"means {number}"), {"fp32": graph}, out)


def make_commands(run, out):
    """By name: what a command writes into, and the same command twice, with other content."""
    return {
        "evaluate": (
            out,
            [lambda n=n: write_evaluation(build_evaluation(data=f"d{n}"), {}, out) for n in (1, 2)],
        ),
        "leak-report": (
            out,
            [lambda: write_leak_report(build_leak_report(), out)] * 2,
        ),
        "export": (out, [lambda n=n: make_bundle(out, n) for n in (1, 2)]),
        "calibrate": (
            run,
            [
                lambda n=n: pipelines.calibrate_run(run, overrides=[f"trust.alpha={n}"])
                for n in (0.5, 0.4)
            ],
        ),
        "card": (out, [lambda: pipelines.write_card(run, out)] * 2),
    }


def make_data_commands(folder, out):
    """The same of what is made of images: first of all of them, then of those that are left."""
    bundle = save_mean_bundle(folder)
    cells = save_discs(folder / "cells", 6, ("EOSINOPHIL", "LYMPHOCYTE"))
    (cells / "LYMPHOCYTE/broken.png").write_bytes(b"")
    whole = pipelines.scan_images(cells)
    part = Catalog(whole.records[1:], whole.rejected)
    found = [pipelines.trace_sources(one) for one in (whole, part)]

    def scan_again():
        (cells / "LYMPHOCYTE/000.png").unlink(missing_ok=True)
        pipelines.scan_images(cells, out / "c.csv")

    return {
        "scan": [lambda: pipelines.scan_images(cells, out / "c.csv"), scan_again],
        "sources": [lambda f=f: save_findings(f, out / "s.csv", silent) for f in found],
        "split": [
            lambda c=c: pipelines.split_catalog(c, "random", out / "s.csv") for c in (whole, part)
        ],
        "kfold": [
            lambda c=c: pipelines.split_kfold(c, out / "s.csv", folds=3) for c in (whole, part)
        ],
        "differential": [
            lambda one=one: pipelines.count_differentials([cells / one], bundle, out)
            for one in ("EOSINOPHIL", "LYMPHOCYTE")
        ],
        "predict": [
            lambda c=c: pipelines.predict_images(bundle, [cells, *c], out / "p.csv")
            for c in ((), (cells / "LYMPHOCYTE/001.png",))
        ],
    }


@pytest.mark.parametrize("name", ["scan", "sources", "split", "kfold", "predict", "differential"])
def test_what_is_made_of_images_stays_to_the_last_byte(tmp_path, name):
    out = tmp_path / "out"
    check_full_disks(out, *make_data_commands(tmp_path, out)[name], is_new=True)


@pytest.mark.parametrize("name", ["evaluate", "leak-report", "export", "card", "calibrate"])
def test_what_was_complete_stays_to_the_last_byte(run, tmp_path, name):
    out = tmp_path / "out"
    place, (first, second) = make_commands(run, out)[name]
    check_full_disks(place, first, second, is_new=place == out)
    if name == "export":
        assert load_bundle(place).info.network == "means 2"


def test_found_cells_are_whole_or_not_there(tmp_path):
    fields, out = save(tmp_path / "fields", paint(1)), tmp_path / "out"
    for limit in LIMITS[:4]:
        with pytest.raises(StorageError) as caught, full_disk(limit):
            pipelines.find_cells(fields, out, threads=1)
        assert caught.value.found == "the disk is full" and not out.exists()
    assert pipelines.find_cells(fields, out, threads=1).n_cells > 0
    assert not list(out.glob(".*.tmp"))


def check_full_disks(place, first, second, is_new):
    empty = read_all(place)
    for limit in LIMITS:  # what was not there is not there
        try:
            with full_disk(limit):
                first()
            break
        except StorageError as error:
            assert error.found == "the disk is full" and read_all(place) == empty
            assert place.exists() != is_new
    else:
        first()
    before, failed = read_all(place), 0
    for limit in LIMITS:
        try:
            with full_disk(limit):
                second()
        except StorageError:
            failed += 1
            assert read_all(place) == before
    assert failed >= 2
    second()
    assert not list(place.glob(".*.tmp"))
