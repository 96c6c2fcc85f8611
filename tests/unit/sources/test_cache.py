import sqlite3
from pathlib import Path

import numpy as np
import pytest

from leukoscope.errors import StorageError
from leukoscope.sources.cache import FingerprintCache, find_default_cache, is_writable
from leukoscope.sources.fingerprints import build_fingerprint
from leukoscope.sources.matching import Match

MATCH = Match("geometric", 12, 0.9, 0.95, 0.0, (1.0, 0.0, 0.5, 0.0, 1.0, -2.25))


@pytest.fixture(scope="module")
def fingerprint(draw_field):
    return build_fingerprint(draw_field(1))


def test_what_was_saved_is_there_the_next_time(tmp_path, fingerprint):
    path = tmp_path / "new" / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as store:
        assert store.load_fingerprint("aa") is None
        store.save_fingerprints({"aa": fingerprint})
        store.save_matches({("aa", "bb"): MATCH, ("aa", "cc"): None})
    with FingerprintCache(path, "1", "1.1") as store:
        again = store.load_fingerprint("aa")
        assert (again.descriptors_KD == fingerprint.descriptors_KD).all()
        found = store.load_matches([("aa", "bb"), ("aa", "cc"), ("aa", "dd")])
    assert found == {("aa", "bb"): MATCH, ("aa", "cc"): None}


def test_entries_of_another_version_count_as_absent(tmp_path, fingerprint):
    path = tmp_path / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as store:
        store.save_fingerprints({"aa": fingerprint})
        store.save_matches({("aa", "bb"): None})
    with FingerprintCache(path, "2", "2.1") as store:
        assert store.load_fingerprint("aa") is None
        assert store.load_matches([("aa", "bb")]) == {}


def test_a_damaged_entry_counts_as_absent(tmp_path):
    path = tmp_path / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as store:
        store.store.execute("INSERT INTO fingerprints VALUES ('1', 'aa', x'0102')")
        assert store.load_fingerprint("aa") is None


def test_without_a_file_it_lives_in_memory(fingerprint):
    with FingerprintCache(None, "1", "1.1") as store:
        store.save_fingerprints({"aa": fingerprint})
        assert np.array_equal(store.load_fingerprint("aa").points_K4, fingerprint.points_K4)


def test_another_kind_of_file_is_rejected_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database " * 40)
    with pytest.raises(StorageError, match="cache"):
        FingerprintCache(path, "1", "1.1")
    assert path.read_text().startswith("these are my notes")


def test_a_folder_that_cannot_be_written_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        FingerprintCache(tmp_path / "file" / "cache.sqlite", "1", "1.1")


def test_a_full_disk_is_told_and_loses_nothing_before_it(tmp_path, fingerprint):
    path = tmp_path / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as store:
        store.save_fingerprints({"aa": fingerprint})
        store.store.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StorageError, match="full"):
            store.save_fingerprints({f"b{k}": fingerprint for k in range(20)})
    with FingerprintCache(path, "1", "1.1") as store:
        assert store.load_fingerprint("aa") is not None
        assert store.load_fingerprint("b0") is None


def test_two_processes_may_use_one_file(tmp_path, fingerprint):
    path = tmp_path / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as first, FingerprintCache(path, "1", "1.1") as second:
        first.save_fingerprints({"aa": fingerprint})
        second.save_fingerprints({"aa": fingerprint, "bb": fingerprint})
        assert first.load_fingerprint("bb") is not None
    sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()


def test_the_default_place_can_be_moved(monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_CACHE", "/scratch/own.sqlite")
    assert find_default_cache() == Path("/scratch/own.sqlite")
    monkeypatch.delenv("LEUKOSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert find_default_cache() == Path("/scratch/leukoscope/fingerprints.sqlite")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert find_default_cache() == Path.home() / ".cache/leukoscope/fingerprints.sqlite"


@pytest.mark.parametrize("damage", ["garbage", "{}", "[1]"])
def test_a_damaged_judgement_counts_as_absent(damage):
    with FingerprintCache(None, "1", "1.1") as store:
        store.store.execute("INSERT INTO matches VALUES ('1.1', 'aa', 'bb', ?)", (damage,))
        assert store.load_matches([("aa", "bb")]) == {}


@pytest.mark.parametrize("damage", [None, "text", 7])
def test_an_entry_that_is_no_bytes_counts_as_absent(damage):
    with FingerprintCache(None, "1", "1.1") as store:
        store.store.execute("INSERT INTO fingerprints VALUES ('1', 'aa', ?)", (damage,))
        assert store.load_fingerprint("aa") is None


def test_a_later_judgement_replaces_an_earlier_one():
    with FingerprintCache(None, "1", "1.1") as store:
        store.save_matches({("aa", "bb"): None})
        store.save_matches({("aa", "bb"): MATCH})
        assert store.load_matches([("aa", "bb")]) == {("aa", "bb"): MATCH}


def test_the_versions_of_images_and_pairs_are_apart(tmp_path, fingerprint):
    path = tmp_path / "cache.sqlite"
    with FingerprintCache(path, "1", "1.1") as store:
        store.save_fingerprints({"aa": fingerprint})
        store.save_matches({("aa", "bb"): None})
    # New rules for pairs alone: images need not be described again.
    with FingerprintCache(path, "1", "1.2") as store:
        assert store.load_fingerprint("aa") is not None
        assert store.load_matches([("aa", "bb")]) == {}


def test_a_folder_in_place_of_the_file_is_rejected(tmp_path):
    with pytest.raises(StorageError, match="cache"):
        FingerprintCache(tmp_path, "1", "1.1")


def test_a_cache_that_cannot_be_kept_is_known_before(tmp_path):
    assert is_writable(tmp_path / "new/cache.sqlite")
    (tmp_path / "file").write_bytes(b"no database, but long enough to look at it")
    assert not is_writable(tmp_path / "file")
    assert not is_writable(tmp_path / "file/cache.sqlite")
    assert not is_writable(tmp_path)
