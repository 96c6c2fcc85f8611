import csv
import importlib.util
import shutil
from dataclasses import replace

import pytest
from tests.builders.images import save_discs

from leukoscope import pipelines
from leukoscope.data.catalog import Catalog, save_catalog
from leukoscope.data.splits import save_split
from leukoscope.errors import CatalogError, MissingExtraError, SplitError, StorageError
from leukoscope.pipelines.data import name_data
from leukoscope.pipelines.evaluation import select_images
from leukoscope.progress import silent
from leukoscope.sources.search import SourceFindings


def test_scan_writes_catalog_and_rejected(tmp_path):
    folder = save_discs(tmp_path / "cells", 2)
    (folder / "MONOCYTE" / "broken.png").write_bytes(b"")
    catalog = pipelines.scan_images(folder, tmp_path / "catalog.csv")
    assert len(catalog) == 8
    rejected = (tmp_path / "rejected.csv").read_text()
    assert "broken.png,empty" in rejected
    with pytest.raises(CatalogError, match=r"1 rejected, first: .*broken\.png"):
        pipelines.check_nothing_rejected(catalog)
    pipelines.check_nothing_rejected(Catalog(catalog.records))


def test_where_the_class_is_open_every_command_asks_and_takes_the_answer(tmp_path):
    for k, name in enumerate(("one", "two", "three")):
        save_discs(tmp_path / "set" / name, 6, ("EOSINOPHIL", "LYMPHOCYTE"))
        (tmp_path / "set" / name / "EOSINOPHIL").rename(tmp_path / "set" / name / "foo")
        (tmp_path / "set" / name / "LYMPHOCYTE").rename(tmp_path / "set" / name / "bar")
        for path in sorted((tmp_path / "set" / name).rglob("*.png")):
            path.write_bytes(path.read_bytes() + bytes([k]))  # other content, same picture
    root = tmp_path / "set"

    def select(**options):
        return Catalog(select_images(root, "test", silent, **options)[0])

    def audit(**options):
        return pipelines.audit_data(root, cache=tmp_path / "c.sqlite", **options)

    for read in (
        lambda **o: pipelines.scan_images(root, **o),
        lambda **o: pipelines.load_split_or_images(root, **o).catalog,
        select,
        audit,
    ):
        with pytest.raises(CatalogError, match="--class-level 1 or --class-level 2"):
            read()
        found = read(class_level=2).classes
        labels = {one if isinstance(one, str) else one.label for one in found}
        assert labels == {"foo", "bar"}
    scanned = pipelines.scan_images(root, tmp_path / "c.csv", class_level=2, source_level=1)
    assert {r.source for r in scanned.records} == {"one", "two", "three"}


def test_rejected_is_written_also_when_nothing_is_left(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n" + "gone.png,EOS\n" * 48)
    with pytest.raises(CatalogError, match="48 files, all rejected"):
        pipelines.scan_images(tmp_path / "t.csv", tmp_path / "out" / "catalog.csv")
    assert len((tmp_path / "out" / "rejected.csv").read_text().splitlines()) == 49
    assert not (tmp_path / "out" / "catalog.csv").exists()


def test_auto_takes_given_only_where_the_data_names_a_test_part(tmp_path, disc_folder):
    assert pipelines.split_catalog(pipelines.scan_images(disc_folder)).protocol == "grouped"
    save_discs(tmp_path / "set" / "TRAIN", 6)
    save_discs(tmp_path / "set" / "TEST_SIMPLE", 2)
    split = pipelines.split_catalog(pipelines.scan_images(tmp_path / "set"))
    assert split.protocol == "given"
    with pytest.raises(SplitError, match="split_kfold"):
        pipelines.split_catalog(split.catalog, "kfold")


def test_kfold_writes_one_file_per_fold(tmp_path, split):
    folds = pipelines.split_kfold(split.catalog, tmp_path / "k.csv", folds=3)
    files = [tmp_path / f"k.fold{i}.csv" for i in range(3)]
    loaded = [pipelines.load_split_or_images(path) for path in files]
    assert [s.roles for s in loaded] == [s.roles for s in folds]
    # Test images of each were compared with training, as those of any other split.
    assert [s.check for s in loaded] == [s.check for s in folds]
    assert all(s.check is not None and s.check.n_test == s.roles.count("test") for s in folds)


def test_any_kind_of_data_becomes_a_split(tmp_path, disc_folder, split):
    save_split(split, tmp_path / "split.csv")
    save_catalog(split.catalog, tmp_path / "catalog.csv")
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([r.path, r.label] for r in split.catalog.records)
    for path in (tmp_path / "split.csv", tmp_path / "catalog.csv", table, disc_folder):
        found = pipelines.load_split_or_images(path)
        counts = {role: found.roles.count(role) for role in set(found.roles)}
        assert counts == {role: split.roles.count(role) for role in set(split.roles)}


def test_data_are_named_by_a_folder_that_names_something(tmp_path):
    for folder, name in (("lab/images", "lab"), ("pbc", "pbc"), ("images", tmp_path.name)):
        split = pipelines.split_catalog(pipelines.scan_images(save_discs(tmp_path / folder, 4)))
        assert name_data(split) == name


# -- audit ----------------------------------------------------------------------------------------


@pytest.fixture
def searched(monkeypatch):
    """Takes the place of `find_sources`: only identical bytes make a source. Keeps its calls."""
    calls = []

    def find(catalog, *, cache, on_progress):
        calls.append((catalog, cache))
        on_progress("Comparing pairs", 1, 1)
        records = tuple(
            replace(r, source=r.source or f"px-{r.sha256[:12]}") for r in catalog.records
        )
        found = Catalog(records, catalog.rejected)
        return SourceFindings(catalog=found, links=(), featureless=(), settings={})

    monkeypatch.setattr("leukoscope.pipelines.data.find_sources", find)
    return calls


@pytest.fixture
def doubled(tmp_path):
    """A scanned folder in which every disc has a byte-identical copy."""
    folder = save_discs(tmp_path / "cells", 4)
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    return tmp_path / "catalog.csv", pipelines.scan_images(folder, tmp_path / "catalog.csv")


def test_an_audit_finds_sources_first_and_carries_the_roles_over(doubled, searched, tmp_path):
    table, catalog = doubled
    pipelines.split_catalog(catalog, "random", tmp_path / "random.csv")
    told = []
    options = {"cache": tmp_path / "c.sqlite", "progress": lambda *what: told.append(what)}
    found = pipelines.audit_data(tmp_path / "random.csv", **options)
    assert found.result == "leaking" and found.failed and found.sources_from == "pixels"
    assert found.leak.exact == found.split.test_with_copy_in_training > 0
    assert found.name == str(tmp_path / "random.csv")
    assert [cache for _, cache in searched] == [tmp_path / "c.sqlite"]
    assert ("Comparing pairs", 1, 1) in told
    joined = pipelines.audit_data(table, split=tmp_path / "random.csv")
    assert joined.leak == found.leak and joined.name == str(table)
    without = pipelines.audit_data(table)
    assert without.split is None and without.repetition.exact_groups == 16
    assert pipelines.audit_data(tmp_path / "cells").classes == without.classes


def test_known_sources_are_not_searched_for(doubled, searched, tmp_path):
    table, catalog = doubled
    known = Catalog(tuple(replace(r, source=f"s{i % 5}") for i, r in enumerate(catalog.records)))
    save_catalog(known, table)
    assert pipelines.audit_data(table).sources_from == "table" and searched == []
    # Between two data sets only pixels and bytes tell.
    other = save_discs(tmp_path / "other", 2, ("MONOCYTE",), size=40)
    pipelines.scan_images(other, tmp_path / "o" / "other.csv")
    found = pipelines.audit_data(table, against=tmp_path / "o" / "other.csv")
    ((union, _),) = searched
    assert {r.source[:3] for r in union.records} == {"a/s", ""}
    assert found.shared.theirs.n_images == 2 and found.shared.theirs.n_related == 0
    assert (found.shared.name, found.shared.other) == (
        str(table), str(tmp_path / "o" / "other.csv"),
    )  # fmt: skip


def test_an_audit_against_a_split_or_folder_tells_what_is_shared(doubled, searched, tmp_path):
    table, catalog = doubled
    pipelines.split_catalog(catalog, "random", tmp_path / "random.csv")
    for other in (tmp_path / "random.csv", tmp_path / "cells"):
        found = pipelines.audit_data(table, against=other)
        assert found.result == "shared" and found.shared.theirs.exact == 32


def test_an_audit_writes_a_page(doubled, searched, tmp_path):
    pipelines.audit_data(doubled[0], html=tmp_path / "audit.html")
    assert "<title>Audit of" in (tmp_path / "audit.html").read_text()


def test_roles_of_other_images_are_rejected_before_the_search(doubled, searched, tmp_path, split):
    save_split(split, tmp_path / "other.csv")
    with pytest.raises(SplitError, match="ids only in the catalog"):
        pipelines.audit_data(doubled[0], split=tmp_path / "other.csv")
    assert searched == []


def test_an_audit_reads_what_the_scan_rejected(doubled, searched, tmp_path):
    folder = tmp_path / "cells"
    shutil.copy(folder / "MONOCYTE" / "000.png", folder / "EOSINOPHIL" / "wrong.png")
    pipelines.scan_images(folder, tmp_path / "catalog.csv")
    for data in (tmp_path / "catalog.csv", folder):
        found = pipelines.audit_data(data)
        assert found.result == "conflicts" and found.n_conflicts == 1
        (example,) = found.findings[0].examples
        assert {example.first.label, example.second.label} == {"eosinophil", "monocyte"}
    # The same file beside a table of other images does not count.
    other = save_discs(tmp_path / "other", 2)
    save_catalog(pipelines.scan_images(other), tmp_path / "other.csv")
    assert pipelines.audit_data(tmp_path / "other.csv").n_conflicts == 0
    # Nor does what the table at hand has taken in.
    (folder / "EOSINOPHIL" / "wrong.png").unlink()
    save_catalog(pipelines.scan_images(folder), tmp_path / "mended.csv")
    rows = (tmp_path / "rejected.csv").read_text().splitlines()
    (tmp_path / "rejected.csv").write_text("\n".join(r for r in rows if "wrong.png," not in r))
    assert pipelines.audit_data(tmp_path / "mended.csv").n_conflicts == 0


@pytest.mark.parametrize("text", ["path,reason\n/cells/a,empty\n", 'path,reason,detail\n"a'])
def test_a_damaged_list_of_rejected_files_is_an_error(doubled, tmp_path, text):
    (tmp_path / "rejected.csv").write_text(text)
    with pytest.raises(CatalogError, match=r"rejected\.csv must be a table"):
        pipelines.audit_data(doubled[0])


def test_a_page_without_its_extra_is_rejected_before_the_work(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"jinja2 not installed.*leukoscope\[report\]"):
        pipelines.audit_data(tmp_path / "nowhere.csv", html=tmp_path / "x.html")


def test_a_default_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    lost = tmp_path / "file" / "cache.sqlite"
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(lost))
    catalog = pipelines.scan_images(save_discs(tmp_path / "cells", 2))
    found = pipelines.trace_sources(catalog)
    assert found.uncached == lost and len(found.catalog) == len(catalog)
    assert pipelines.trace_sources(catalog, cache=tmp_path / "own.sqlite").uncached is None
    with pytest.raises(StorageError):
        pipelines.trace_sources(catalog, cache=lost)
