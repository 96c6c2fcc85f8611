"""JSON files of records as their writers leave them, with the seal, to be changed by tests."""

import contextlib
import json
import random
import resource

from leukoscope.records import save_record


def load_json(path):
    """The content of a record's file, without its seal."""
    content = json.loads(path.read_text())
    del content["seal"]
    return content


def save_json(content, path):
    """Write content as a record's file: sealed, whatever it says."""
    save_record(content, path)


def list_flips(content, n=200, seed=0):
    """`n` copies of some bytes, each with one bit changed, anywhere."""
    bits = random.Random(seed).sample(range(8 * len(content)), n)
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@contextlib.contextmanager
def full_disk(limit):
    """A disk that takes no file beyond `limit` bytes: a real limit, of this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
