"""What was learned of images and pairs, by content hash, in one SQLite file.

It makes the search for duplicates resumable: an interrupted run loses its last batch at most, and
any later run over the same images, under whatever name, takes up where it stands. What this file
does not do: it decides nothing; an entry of another version or a damaged one counts as absent.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from leukoscope.errors import StorageError
from leukoscope.records import dump_record, parse_record
from leukoscope.storage import create_folder

if TYPE_CHECKING:
    from leukoscope.sources.fingerprints import Fingerprint
    from leukoscope.sources.matching import Match

Pair = tuple[str, str]


def find_default_cache() -> Path:
    """Return the file used where none is named: `LEUKOSCOPE_CACHE`, or the user's cache folder
    (`XDG_CACHE_HOME`, else `~/.cache`)."""
    own = os.environ.get("LEUKOSCOPE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "leukoscope" / "fingerprints.sqlite"


def is_writable(path: Path) -> bool:
    """Tell whether a cache can be kept in this file."""
    try:
        with FingerprintCache(path, "", "") as store:
            store.store.execute("BEGIN IMMEDIATE")
            store.store.rollback()
    except (StorageError, sqlite3.Error):
        return False
    return True


class FingerprintCache:
    """A store of fingerprints and matches; in memory only where no file is given.

    Use it as a context. `version` names the rules that entries follow.

    Raises `StorageError` if the file cannot be opened or written, or is not such a store.
    """

    def __init__(self, path: Path | None, fingerprint_version: str, pair_version: str) -> None:
        self.path = path
        self.versions = (fingerprint_version, pair_version)
        if path is not None:
            create_folder(path.parent)
        with self._translated():
            self.store = sqlite3.connect(path or ":memory:", timeout=60)
        try:
            self._prepare()
        except StorageError:
            self.store.close()
            raise

    def _prepare(self) -> None:
        with self._translated():
            # Without the rollback file of every batch; a killed process loses its last batch.
            self.store.execute("PRAGMA journal_mode=WAL")
            self.store.execute("PRAGMA synchronous=NORMAL")
            self.store.execute(
                "CREATE TABLE IF NOT EXISTS fingerprints"
                " (version TEXT, sha256 TEXT, data BLOB, PRIMARY KEY (sha256, version))"
            )
            self.store.execute(
                "CREATE TABLE IF NOT EXISTS matches (version TEXT, first TEXT, second TEXT,"
                " found TEXT, PRIMARY KEY (first, second, version)) WITHOUT ROWID"
            )

    def __enter__(self) -> "FingerprintCache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path} must be a cache that can be read and written",
                str(error),
                "free some space, delete the file, or name another by --cache",
            ) from error

    def load_fingerprint(self, sha256: str) -> "Fingerprint | None":
        """Return what is stored of an image, None where nothing valid is."""
        from leukoscope.sources.fingerprints import Fingerprint

        with self._translated():
            row = self.store.execute(
                "SELECT data FROM fingerprints WHERE sha256 = ? AND version = ?",
                (sha256, self.versions[0]),
            ).fetchone()
        if row is None:
            return None
        try:
            return Fingerprint.from_bytes(row[0])
        except (ValueError, TypeError):
            return None

    def save_fingerprints(self, found: "Mapping[str, Fingerprint]") -> None:
        """Store fingerprints by content hash, all or none."""
        version = self.versions[0]
        rows = [(version, sha256, one.to_bytes()) for sha256, one in found.items()]
        with self._translated(), self.store:
            self.store.executemany("INSERT OR REPLACE INTO fingerprints VALUES (?, ?, ?)", rows)

    def load_matches(self, pairs: Sequence[Pair]) -> "dict[Pair, Match | None]":
        """Return the stored matches of those pairs that were compared before."""
        from leukoscope.sources.matching import Match

        known: dict[Pair, Match | None] = {}
        with self._translated():
            for first, second in pairs:
                row = self.store.execute(
                    "SELECT found FROM matches WHERE first = ? AND second = ? AND version = ?",
                    (first, second, self.versions[1]),
                ).fetchone()
                if row is None:
                    continue
                # A damaged entry counts as absent.
                with suppress(ValueError, StorageError):
                    known[first, second] = parse_record(
                        Match | None,  # type: ignore[arg-type]
                        json.loads(row[0]),
                        str(self.path),
                        "leukoscope data sources",
                        StorageError,
                    )
        return known

    def save_matches(self, found: "Mapping[Pair, Match | None]") -> None:
        """Store matches, None for pairs that share nothing; all or none."""
        version = self.versions[1]
        rows = [(version, *pair, json.dumps(dump_record(one))) for pair, one in found.items()]
        with self._translated(), self.store:
            self.store.executemany("INSERT OR REPLACE INTO matches VALUES (?, ?, ?, ?)", rows)
