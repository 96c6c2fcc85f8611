import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope import storage
from leukoscope.errors import ConfigError, FileError
from leukoscope.storage import (
    build_name,
    check_name,
    hash_file,
    is_empty_folder,
    open_file,
    read_file,
    replacing_together,
)

pytestmark = [
    pytest.mark.timeout(20),
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system"),
]


def reason_of(call, *args):
    with pytest.raises(FileError) as caught:
        call(*args)
    return caught.value.reason


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"cell\r\n")
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "a") == read_file(tmp_path / "link") == b"cell\r\n"
    assert hash_file(tmp_path / "link") == hash_file(tmp_path / "a")


@pytest.mark.parametrize("read", [read_file, hash_file, open_file])
def test_what_is_not_a_plain_file_is_rejected_at_once(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    os.mkfifo("pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "to_device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "to_pipe", "to_device", "folder", "socket"):
            assert reason_of(read, tmp_path / name) == "not_regular"


def test_what_is_not_there_or_cannot_be_a_name_is_missing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("gone", "file/below", "nu\0ll"):
        assert reason_of(read_file, tmp_path / name) == "missing_file"
    for name in ("loop", "x" * 300):
        assert reason_of(read_file, tmp_path / name) == "unreadable"


def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    """Between the look at the name and the opening of it."""
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    found = plain.stat()
    monkeypatch.setattr(storage.Path, "stat", lambda *_args, **_options: found)
    assert reason_of(read_file, tmp_path / "pipe") == "not_regular"


def test_size_is_looked_at_before_a_byte_is_read(tmp_path):
    giant = tmp_path / "giant"
    giant.write_bytes(b"")
    os.truncate(giant, 100 << 30)
    assert reason_of(read_file, giant) == "too_large"
    giant.write_bytes(b"12345")
    assert read_file(giant, 5) == b"12345"
    assert reason_of(read_file, giant, 4) == "too_large"
    # A file that grows meanwhile, or tells no size.
    assert reason_of(read_file, storage.Path("/proc/cpuinfo"), 4) == "too_large"


# -- names that become paths ------------------------------------------------------------------

NO_NAMES = (
    "", " ", ".", "..", "../..", "../../..", "/etc", "/", "a/b", "a\\b", "..\\..", "C:", "C:\\x",
    "a\0b", "a\nb", "\x1b[2J", "a\x7f", ".hidden", "a.", "a ", " a", "nul", "CON", "com1",
    "LPT9.txt", "aux.csv", "a|b", "a?b", "a*", "<a>", 'say "x"', "x" * 121, "é" * 61, "x" * 10_000,
    "\ud800" * 130,
)  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_becomes_no_path(name):
    with pytest.raises(ConfigError, match="must be a file name") as caught:
        check_name(name)
    assert len(str(caught.value)) < 500
    check_name(build_name(name))


@pytest.mark.parametrize(
    "name", ["a", "far lab", "Zelle_ä", "中性粒细胞", "x" * 120, "a..b", "console"]
)
def test_a_name_is_taken_as_it_is(name):
    check_name(name)
    assert build_name(name) == name.replace(" ", "_")


@given(st.text())
def test_any_text_makes_a_name(text):
    check_name(build_name(text))
    check_name(build_name(os.fsdecode(text.encode("utf-16", "surrogatepass"))))


def test_what_killed_processes_left_goes_from_an_empty_folder(tmp_path):
    (tmp_path / ".abc.tmp").mkdir()
    (tmp_path / ".table.csv.abc.tmp").touch()
    assert is_empty_folder(tmp_path)
    with replacing_together(tmp_path, last="a") as staged:
        (staged / "a").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    # Where there is anything else, another process may be at work.
    (tmp_path / ".abc.tmp").mkdir()
    with replacing_together(tmp_path, last="a") as staged:
        (staged / "a").write_text("newer")
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".abc.tmp"}
    assert not is_empty_folder(tmp_path)
