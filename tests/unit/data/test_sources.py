import hashlib
import itertools
from pathlib import Path

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.data.sources import group_sources, sources_known


def make_catalog(*rows):
    """Rows of (content, source)."""
    return Catalog(
        tuple(
            ImageRecord(
                id=f"{i:03d}",
                path=Path(f"/cells/{i}.png"),
                label="blast",
                width=32,
                height=32,
                bytes=9,
                sha256=hash_of(content),
                source=source,
            )
            for i, (content, source) in enumerate(rows)
        )
    )


def hash_of(content):
    return hashlib.sha256(content.encode()).hexdigest()


def test_unknown_sources_are_named_by_their_bytes():
    names = group_sources(make_catalog(("a", ""), ("b", ""), ("a", "")))
    assert names == tuple(f"sha256:{hash_of(c)[:16]}" for c in "aba")


def test_the_source_column_groups_different_bytes():
    assert group_sources(make_catalog(("a", "p2"), ("b", "p1"), ("c", "p2"))) == ("p2", "p1", "p2")


def test_groups_join_through_bytes_and_sources_in_turn():
    chain = [("a", "p3"), ("a", "p2"), ("b", "p2"), ("b", ""), ("c", "p9"), ("d", "p3")]
    for rows in itertools.permutations(chain):
        names = dict(zip(rows, group_sources(make_catalog(*rows)), strict=True))
        assert names == dict.fromkeys(chain, "p2") | {("c", "p9"): "p9"}


def test_a_known_name_goes_before_a_hash():
    # "z" sorts behind "sha256:".
    assert group_sources(make_catalog(("a", ""), ("a", "z"))) == ("z", "z")


def test_a_long_chain_does_not_recurse():
    rows = [(str(i), f"p{i + j:05d}") for i in range(3000) for j in (0, 1)]
    assert set(group_sources(make_catalog(*rows))) == {"p00000"}


def test_no_records_no_sources():
    assert group_sources(Catalog(())) == ()
    assert sources_known(Catalog(()))


def test_sources_are_known_only_if_every_one_is():
    assert sources_known(make_catalog(("a", "p1"), ("b", "p2")))
    assert not sources_known(make_catalog(("a", "p1"), ("b", "")))
    # Byte-identical copies prove nothing about the others.
    assert not sources_known(make_catalog(("a", ""), ("a", "")))
