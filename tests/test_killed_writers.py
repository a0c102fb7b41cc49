"""What a writer that was killed leaves is removed by the next one; what others are writing stays."""

import signal
import subprocess
import sys

import pytest

from cyrnn.saving import atomic

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process at once")
WRITER = """
import sys
from cyrnn.saving.atomic import written_at_once
with written_at_once(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print(flush=True)
    sys.stdin.read()
"""


def writer(path):
    """A process in the middle of writing `path`."""
    command = [sys.executable, "-P", "-c", WRITER, str(path)]  # what is installed, not the folder
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"\n"
    return process


def end(process):
    process.communicate()


def kill(process):
    process.kill()
    process.communicate()


def write(path, content):
    with atomic.written_at_once(path) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def unfinished(folder):
    return [name for name in names(folder) if name.startswith(atomic.UNFINISHED)]


@pytest.mark.parametrize("name", ["model.keras", "n" * 255])
def test_the_next_writer_removes_what_killed_ones_left(tmp_path, name):
    for _ in range(2):
        kill(writer(tmp_path / name))  # the second one removes the file of the first
        assert len(unfinished(tmp_path)) == 1
    assert names(tmp_path) == unfinished(tmp_path)
    write(tmp_path / name, b"whole")
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"whole"


def test_what_others_write_stays(tmp_path):
    at_work = writer(tmp_path / "model.keras")
    kill(writer(tmp_path / "other.keras"))
    write(tmp_path / "model.keras", b"whole")
    assert len(unfinished(tmp_path)) == 2  # that of the writer at work, and that of another target
    end(at_work)
    assert (tmp_path / "model.keras").read_bytes() == b"half"  # it was the last to end
    assert len(unfinished(tmp_path)) == 1


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path):
    """The new file takes its place at once: a process that dies then leaves one of the two whole."""
    write(tmp_path / "model.keras", b"old")
    with (tmp_path / "model.keras").open("rb") as file:
        write(tmp_path / "model.keras", b"new")
        assert file.read() == b"old"


@pytest.mark.thread_unsafe(reason="takes locks from the process")
@pytest.mark.parametrize("lost", ["flock", "module"])
def test_files_are_written_where_they_have_no_locks(tmp_path, monkeypatch, lost):
    kill(writer(tmp_path / "model.keras"))
    if lost == "module":  # Windows, where files that are open cannot be removed
        monkeypatch.setattr(atomic, "fcntl", None)
    else:

        def flock(handle, operation):
            raise OSError("this file system has no locks")

        monkeypatch.setattr(atomic.fcntl, "flock", flock)
    write(tmp_path / "model.keras", b"whole")
    assert (tmp_path / "model.keras").read_bytes() == b"whole"
    assert len(unfinished(tmp_path)) == (lost == "flock")  # it may be that of a writer at work


@pytest.mark.thread_unsafe(reason="changes what the system says of itself")
def test_names_of_folders_are_not_synced_where_they_cannot_be(tmp_path, monkeypatch):
    monkeypatch.delattr(atomic.os, "O_DIRECTORY")
    write(tmp_path / "model.keras", b"whole")
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.thread_unsafe(reason="changes what the system says of itself")
@pytest.mark.parametrize(("refused", "words"), [("model.keras", "it is read-only"), ("", "its folder is read-only")])
def test_what_is_read_only_is_refused(tmp_path, monkeypatch, refused, words):
    write(tmp_path / "model.keras", b"precious")
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: path != tmp_path / refused)
    with pytest.raises(PermissionError, match=f"cannot write to .*model.keras: {words}"):
        write(tmp_path / "model.keras", b"new")
    assert (tmp_path / "model.keras").read_bytes() == b"precious" and names(tmp_path) == ["model.keras"]


def test_links_and_folders_with_such_names_stay(tmp_path):
    beginning = atomic._beginning(tmp_path / "model.keras")
    (tmp_path / "precious").write_bytes(b"content")
    (tmp_path / f"{beginning}link").symlink_to(tmp_path / "precious")
    (tmp_path / f"{beginning}folder").mkdir()
    write(tmp_path / "model.keras", b"whole")
    assert names(tmp_path) == sorted([f"{beginning}folder", f"{beginning}link", "model.keras", "precious"])


def test_a_writer_whose_file_was_taken_for_a_left_one_begins_again(tmp_path, monkeypatch):
    """Between the making of a file and its lock, another writer may remove it."""
    lock, removed = atomic._locked, []

    def late(handle):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        return lock(handle)

    monkeypatch.setattr(atomic, "_locked", late)
    write(tmp_path / "model.keras", b"whole")
    assert removed
    assert names(tmp_path) == ["model.keras"]
