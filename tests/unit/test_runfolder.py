import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

import leukoscope
from leukoscope import runfolder, storage
from leukoscope.config import SavedRecipe, load_recipe
from leukoscope.errors import MissingStepError, RunError, RunLockedError, StorageError
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder, RunProvenance, collect_provenance
from leukoscope.storage import (
    create_folder,
    hash_file,
    remove_leftovers,
    replacing,
    replacing_together,
    storage_errors,
    write_text,
)


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- names ------------------------------------------------------------------------------------


def test_the_folder_holds_what_the_docstring_draws(tmp_path):
    run = RunFolder(tmp_path)
    paths = {
        name: getattr(run, name)
        for name, member in vars(RunFolder).items()
        if isinstance(member, runfolder._File)
    }
    assert len(paths) == 15
    assert len(set(paths.values())) == len(paths)
    for path in paths.values():
        assert path.parent == tmp_path
        assert path.name in runfolder.__doc__
    assert run.evaluation("other") == tmp_path / "evaluations" / "other"


def test_a_missing_step_is_named(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(MissingStepError, match="no such folder") as caught:
        run.require(run.scores, "leukoscope train")
    assert "`leukoscope train`" in caught.value.remedy
    run.path.mkdir()
    with pytest.raises(MissingStepError, match=r"must hold scores\.parquet.*no such file"):
        run.require(run.scores, "leukoscope train")
    run.scores.mkdir()  # a folder is not the file
    with pytest.raises(MissingStepError):
        run.require(run.scores, "leukoscope train")
    run.scores.rmdir()
    run.scores.touch()
    assert run.require(run.scores, "leukoscope train") == run.scores


# -- the lock ---------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from leukoscope.runfolder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_two_processes_never_share_a_folder(tmp_path, holder):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(RunLockedError, match="another leukoscope process"), run.lock():
        pytest.fail("two processes in one folder")
    holder.communicate("end\n")
    assert holder.returncode == 0
    with run.lock():
        pass


def test_a_killed_holder_frees_the_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / ".lock").is_file()  # stale, and harmless
    with RunFolder(tmp_path / "run").lock():
        pass


def test_one_process_does_not_hold_a_folder_twice(tmp_path):
    run = RunFolder(tmp_path)
    with run.lock(), pytest.raises(RunLockedError), run.lock():
        pytest.fail("held twice")


def test_an_error_inside_passes_and_frees_the_lock(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(TimeoutError, match="mine"), run.lock():
        raise TimeoutError("mine")
    with run.lock():
        pass


def test_a_lock_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(StorageError), RunFolder(tmp_path).lock():
        pytest.fail("locked a folder")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="must be writable"), RunFolder(tmp_path / "file").lock():
        pytest.fail("locked a file")


# -- writing at once or not at all ------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the disk is full"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_system_errors_are_translated(tmp_path, number, found):
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert caught.value.found == found
    assert str(tmp_path / "x") in caught.value.expected
    assert isinstance(caught.value.__cause__, OSError)
    assert ("free some space" in caught.value.remedy) == (found == "the disk is full")


def test_system_errors_without_a_number_keep_their_text(tmp_path):
    with pytest.raises(StorageError, match="odd"), storage_errors(tmp_path):
        raise OSError("odd")


def test_a_folder_is_made_with_its_parents(tmp_path):
    assert create_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert create_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError):
            create_folder(path)


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "new" / "x.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".tmp"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list_names(path.parent) == ["x.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_get_the_usual_rights(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "x.txt", "")
        assert os.umask(mask) == mask  # left as it was
    finally:
        os.umask(before)
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_a_failure_of_the_writer_leaves_the_old_file(tmp_path, error):
    write_text(tmp_path / "x.txt", "old")
    with pytest.raises(type(error)), replacing(tmp_path / "x.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "x.txt").read_text() == "old"
    assert list_names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("step", ["mkstemp", "write_text", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_at_every_step(tmp_path, monkeypatch, step):
    write_text(tmp_path / "x.txt", "old")

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = {"mkstemp": storage.tempfile, "fsync": os}.get(step, Path)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fail)
        with pytest.raises(StorageError, match="the disk is full"):
            write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "old"
    assert list_names(tmp_path) == ["x.txt"]


def test_a_real_limit_leaves_the_old_file(tmp_path):
    """The process may not write files beyond 100 kB."""
    write_text(tmp_path / "x.txt", "old")
    script = f"""
import resource, sys
from pathlib import Path
from leukoscope.errors import StorageError
from leukoscope.storage import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_text(Path({str(tmp_path / "x.txt")!r}), "new" * 100_000)
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "the disk is full" in done.stdout
    assert (tmp_path / "x.txt").read_text() == "old"
    assert list_names(tmp_path) == ["x.txt"]


def test_a_writer_killed_halfway_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "x.txt", "old")
    script = f"""
import os, signal
from pathlib import Path
from leukoscope.storage import replacing
with replacing(Path({str(tmp_path / "x.txt")!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x.txt").read_text() == "old"
    write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "new"


KILLED = """
import os, signal, sys
from pathlib import Path
from leukoscope.storage import replacing_together
left, rename = int(sys.argv[2]), Path.replace
def replace(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(self, target)
Path.replace = replace
with replacing_together(Path(sys.argv[1]), last="a.json") as staged:
    for name in ("a.json", "b.txt", "c/d.txt"):
        (staged / name).parent.mkdir(exist_ok=True)
        (staged / name).write_text("new")
"""


@pytest.mark.parametrize("renames", range(4))
def test_a_writer_of_several_files_killed_at_any_rename(tmp_path, renames):
    """The last file is new only where all are; what is left over is removed by the next run."""
    (tmp_path / "c").mkdir()
    names = ("a.json", "b.txt", "c/d.txt", "mine.txt")
    for name in names:
        (tmp_path / name).write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(renames)])
    assert done.returncode == (0 if renames == 3 else -signal.SIGKILL)
    found = {name: (tmp_path / name).read_text() for name in names}
    assert list(found.values()).count("new") == renames and found["mine.txt"] == "old"
    assert (found["a.json"] == "new") == (renames == 3)
    remove_leftovers(tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_a_failure_among_several_files_leaves_all_old_ones(tmp_path, error):
    folder = tmp_path / "out"
    with pytest.raises(type(error)), replacing_together(folder, last="a") as staged:
        (staged / "a").write_text("half")
        raise error
    assert not folder.exists()
    folder.mkdir()
    write_text(folder / "a", "old")
    with pytest.raises(type(error)), replacing_together(folder, last="a") as staged:
        (staged / "a").write_text("half")
        raise error
    assert list_names(folder) == ["a"] and (folder / "a").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_told_by_its_name(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="file/out must be writable"),
        replacing_together(tmp_path / "file" / "out", last="a"),
    ):
        pytest.fail("wrote below a file")
    (tmp_path / "out" / "a").mkdir(parents=True)
    with (
        pytest.raises(StorageError, match="out must be writable"),
        replacing_together(tmp_path / "out", last="a") as staged,
    ):
        (staged / "a").write_text("x")
    assert list_names(tmp_path / "out") == ["a"]


def test_readers_never_see_half_of_a_file(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "a" * 10_000)

    def write_often(letter):
        for _ in range(100):
            write_text(path, letter * 10_000)

    writers = [threading.Thread(target=write_often, args=(letter,)) for letter in "bc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert len(text) == 10_000
        assert len(set(text)) == 1
        seen |= set(text)
    for writer in writers:
        writer.join()
    assert seen & {"b", "c"}
    assert list_names(tmp_path) == ["x.txt"]


# -- text ----------------------------------------------------------------------------


def test_text_is_written_as_it_is(tmp_path):
    text = "a\r\nb\nµ " + os.fsdecode(b"caf\xe9")
    write_text(tmp_path / "x.txt", text)
    assert (tmp_path / "x.txt").read_bytes() == b"a\r\nb\n\xc2\xb5 caf\xe9"


# -- hashes and provenance --------------------------------------------------------------------


def test_a_file_is_hashed_by_its_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(content)
    assert hash_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_provenance_says_what_is_needed_to_repeat_a_run(monkeypatch):
    import torch

    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/leukoscope", "train", "split.csv"])
    found = collect_provenance()
    assert found.leukoscope == leukoscope.__version__
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.cores == os.cpu_count()
    assert found.packages["torch"] == torch.__version__
    assert found.packages.keys() >= {"accelerate", "numpy", "pillow", "safetensors"}
    # No path of the machine: the command's name, not where it lies.
    assert found.command == ("leukoscope", "train", "split.csv")
    age = datetime.now(UTC) - datetime.fromisoformat(found.started)
    assert 0 <= age.total_seconds() + 1 < 60


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    real = runfolder.metadata.version

    def version(name):
        if name == "torch":
            raise runfolder.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(runfolder.metadata, "version", version)
    packages = collect_provenance().packages
    assert "torch" not in packages and "numpy" in packages


def test_recipe_and_provenance_come_back_typed(tmp_path):
    run = RunFolder(tmp_path)
    for load in (run.load_recipe, run.load_provenance):
        with pytest.raises(MissingStepError, match="leukoscope train"):
            load()
    saved = SavedRecipe.of(load_recipe("quick"))
    made = collect_provenance()
    origin = RunProvenance(
        **vars(made), recipe_hash=saved.hash, split_sha256="0", seeds=(3,), packs=None
    )
    save_record(saved, run.recipe)
    save_record(origin, run.provenance)
    assert run.load_recipe() == saved and saved.hash == load_recipe("quick").compute_hash()
    assert run.load_provenance() == origin
    run.recipe.write_text(run.recipe.read_text().replace("epochs", "epoks"))
    with pytest.raises(RunError, match=r"train\.epoks"):
        run.load_recipe()
