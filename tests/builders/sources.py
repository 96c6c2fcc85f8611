"""Findings of a search, made by hand, of real files."""

import hashlib
import itertools
from dataclasses import replace

from PIL import Image
from tests.builders.images import paint

from leukoscope.data.catalog import Catalog, ImageRecord
from leukoscope.sources.evidence import Link, invert_map
from leukoscope.sources.search import SourceFindings

TURN = (0.0, -1.0, 47.0, 1.0, 0.0, 0.0)
"""A quarter turn, clockwise, of an image of 48 x 48 pixels."""


class Album:
    """Records and links made by hand. Without a folder the files are not written."""

    def __init__(self, folder=None):
        self.folder, self.records, self.links = folder, [], []

    def add(self, name, source, label="eosinophil", pixels=None, **changes):
        if pixels is None:
            pixels = paint(len(self.records))
        height, width = pixels.shape[:2]
        path, content = f"{len(self.records)}.png", f"{len(self.records)}".encode()
        if self.folder is not None:
            path = self.folder / path
            Image.fromarray(pixels).save(path)
            content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        record = ImageRecord(name, path, label, width, height, len(content), sha256, source=source)
        self.records.append(replace(record, **changes))
        return self.records[-1]

    def add_chain(self, source, n, label="eosinophil", agreement=0.9):
        """Members of one source, each linked to the next."""
        made = [self.add(f"{source}/{k}", source, label) for k in range(n)]
        for one, other in itertools.pairwise(made):
            self.link(one, other, agreement=agreement)
        return made

    def link(self, one, other, matrix=TURN, agreement=0.9, inliers=50, **changes):
        """`matrix` maps `one` to `other`, in whatever order their hashes are."""
        if one.sha256 > other.sha256:
            one, other, matrix = other, one, invert_map(matrix)
        link = Link(one.sha256, other.sha256, "geometric", inliers, 0.8, agreement, 0.0, matrix)
        self.links.append(replace(link, **changes))
        return self.links[-1]

    def build(self, featureless=(), settings=None):
        """The findings."""
        records = tuple(sorted(self.records, key=lambda r: r.id))
        return SourceFindings(
            Catalog(records), tuple(self.links), featureless, settings or {"min_inliers": 8}
        )


def fill_album(album):
    """Something in every chapter."""
    a, *_, last = album.add_chain("px-a", 4, "Blast (L1)")
    b, c = album.add_chain("px-b", 2, agreement=0.7)
    album.add_chain("px-c", 2, "Blast; L1")
    album.records[-1] = replace(album.records[-1], label="a/b")
    album.link(a, b, accepted=False)
    album.link(last, b, accepted=False, agreement=0.65)
    album.link(a, last, accepted=False, agreement=0.8)
    album.link(a, c, kind="overlap", contradiction_frac=0.031)
    album.link(album.add("one", "patient 1"), album.add("other", "patient 2"))
    for k, label in enumerate(("<script>", "blast", "x, y", "z", "neutrophil")):
        album.add(f"p/{k}", "patient 7", label)
    field = album.add("f.jpg#0", "px-f", "red_cell", box=(0, 0, 20, 20))
    album.records.append(replace(field, id="f.jpg#1", box=(9, 9, 30, 30)))
    return album
