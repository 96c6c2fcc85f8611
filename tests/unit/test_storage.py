import errno
import os
import socket
import subprocess
import sys
import time
import tracemalloc

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
    remove_leftovers,
    replacing_together,
    write_text,
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


def test_reading_takes_as_much_memory_as_there_are_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    tracemalloc.start()
    try:
        assert read_file(path, (1 << 31) - 1) == bytes(100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_file_that_is_longer_than_it_says_is_read_to_its_end(tmp_path, monkeypatch, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(200_000))
    found = list(path.stat())
    found[6] = size
    monkeypatch.setattr(storage.os, "fstat", lambda _: os.stat_result(found))
    assert len(read_file(path)) == len(read_file(path, 200_000)) == 200_000
    assert reason_of(read_file, path, 199_999) == "too_large"


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


HOLDING = """
import sys, time
from pathlib import Path
from leukoscope.storage import replacing, replacing_together
folder = Path(sys.argv[1])
with replacing_together(folder, last="a") as staged, replacing(folder / "b") as temporary:
    (staged / "a").write_text("mine")
    temporary.write_text("mine")
    print("ready", flush=True)
    sys.stdin.readline()
"""


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_killed_processes_left_goes_and_what_running_ones_hold_stays(tmp_path):
    arguments = [sys.executable, "-c", HOLDING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, running = (subprocess.Popen(arguments, **pipes) for _ in range(2))
    for process in (killed, running):
        assert process.stdout.readline() == "ready\n"
    assert len(list_names(tmp_path)) == 4 and is_empty_folder(tmp_path)
    killed.kill()
    killed.communicate()
    (tmp_path / ".mine.tmp").touch()  # somebody else's
    with replacing_together(tmp_path, last="c") as staged:
        (staged / "c").write_text("new")
        assert len(list_names(tmp_path)) == 4  # the two of the running one, ours, somebody's
    assert running.communicate("go on\n") == ("", None) and running.returncode == 0
    assert list_names(tmp_path) == [".mine.tmp", "a", "b", "c"]
    assert not is_empty_folder(tmp_path)


def test_a_leftover_that_cannot_be_held_goes_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    for name, days in (("old", 2), ("new", 0)):
        path = tmp_path / f".leukoscope-{name}.tmp"
        path.mkdir()
        os.utime(path, (time.time() - days * 86_400,) * 2)
    write_text(tmp_path / "a", "x")
    remove_leftovers(tmp_path)
    assert list_names(tmp_path) == [".leukoscope-new.tmp", "a"]


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    import fcntl

    def reject(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", reject)
    write_text(tmp_path / "a", "x")
    (tmp_path / ".leukoscope-x.tmp").touch()
    remove_leftovers(tmp_path)
    assert list_names(tmp_path) == [".leukoscope-x.tmp", "a"]


def test_a_temporary_that_is_taken_for_a_leftover_at_once_is_made_again(tmp_path, monkeypatch):
    make, made = storage.tempfile.mkdtemp, []

    def make_and_lose(*arguments):
        made.append(make(*arguments))
        if len(made) == 1:
            storage.shutil.rmtree(made[0])
        return made[-1]

    monkeypatch.setattr(storage.tempfile, "mkdtemp", make_and_lose)
    with replacing_together(tmp_path, last="a") as staged:
        (staged / "a").write_text("x")
    assert len(made) == 2 and list_names(tmp_path) == ["a"]
