"""A run folder has one owner, whatever is killed, cut or late."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sketchlab.errors import UserError
from sketchlab.storage import files, lock
from sketchlab.storage.lock import Lock

ELSEWHERE = {"host": "elsewhere", "pid": 1, "machine": "elsewhere 1", "token": "x", "count": 1}


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("HEARTBEAT_S", 0.05), ("STALE_S", 0.5), ("SETTLE_S", 0.1), ("LOOK_S", 0.02)):
        monkeypatch.setattr(lock, name, value)


def held(folder: Path) -> bool:
    """Whether another owner is refused."""
    try:
        other = Lock(folder)
        other.acquire()
    except UserError as error:
        assert "running elsewhere" in str(error)
        return True
    other.release()
    return False


def owner_process(folder: Path) -> subprocess.Popen:
    code = "import sys,time; from pathlib import Path; from sketchlab.storage.lock import Lock; "
    code += "Lock(Path(sys.argv[1])).acquire() or print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_live_process_is_the_owner_and_a_dead_one_is_not(tmp_path):
    process = owner_process(tmp_path)
    with pytest.raises(UserError, match=f"running elsewhere \\(process {process.pid} on {socket.gethostname()}\\)"):
        Lock(tmp_path).acquire()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not held(tmp_path)


def test_released_and_taken_again(tmp_path):
    one = Lock(tmp_path)
    for _ in range(3):
        one.acquire()
        assert held(tmp_path)
        one.release()
        assert not held(tmp_path) and one.path.read_text() == ""
    one.release()


def visit(folder: Path, times: int, counts: multiprocessing.Queue) -> None:
    """Acquire so many times; inside, nobody else may be."""
    taken = overlaps = 0
    inside = folder / "inside"
    while taken < times:
        mine = Lock(folder)
        try:
            mine.acquire()
        except UserError:
            continue
        try:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            os.unlink(inside)
        except FileExistsError:
            overlaps += 1
        taken += 1
        mine.release()
    counts.put((taken, overlaps))


@pytest.mark.parametrize("times", [100, pytest.param(2500, marks=pytest.mark.long)])
def test_four_processes_never_own_it_together(times, tmp_path):
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    processes = [context.Process(target=visit, args=(tmp_path, times, counts)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [counts.get(timeout=500) for _ in processes]
    for process in processes:
        process.join()
    assert sum(taken for taken, _ in found) == 4 * times and sum(overlaps for _, overlaps in found) == 0


def test_an_owner_elsewhere_counts_while_it_counts(tmp_path, quick, capsys):
    """By the waiter's own clock: the file's times and the owner's clock do not matter."""
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    os.utime(path, (0, 0))
    alive = threading.Event()

    def count() -> None:
        n = 1
        while not alive.wait(0.1):
            n += 1
            path.write_text(json.dumps({**ELSEWHERE, "count": n}))
            os.utime(path, (0, 0))

    thread = threading.Thread(target=count)
    thread.start()
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        Lock(tmp_path).acquire()
    alive.set()
    thread.join()
    os.utime(path, (time.time() + 10_000,) * 2)
    started = time.monotonic()
    mine = Lock(tmp_path)
    mine.acquire()
    assert time.monotonic() - started >= lock.STALE_S
    assert "process 1 on elsewhere owned it; watched for" in capsys.readouterr().out
    mine.release()


def test_an_owner_elsewhere_that_releases_is_followed_at_once(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(lock, "STALE_S", 60.0)
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    threading.Timer(0.2, lambda: path.write_text("")).start()
    mine = Lock(tmp_path)
    mine.acquire()
    mine.release()


def test_of_two_that_take_over_from_a_dead_owner_elsewhere_one_stays(tmp_path, quick):
    """As where the kernel's lock holds for each machine alone."""
    path = tmp_path / "lock"
    path.write_text(json.dumps(ELSEWHERE))
    threading.Timer(0.55, lambda: path.write_text(json.dumps({**ELSEWHERE, "token": "y"}))).start()
    with pytest.raises(UserError, match="running elsewhere"):
        Lock(tmp_path).acquire()


def test_who_was_taken_over_writes_nothing_more(tmp_path):
    mine = Lock(tmp_path)
    mine.acquire()
    mine.check()
    (tmp_path / "lock").write_text(json.dumps(ELSEWHERE))
    for one in (mine, Lock(tmp_path)):  # the owner, and a rank that it started
        with pytest.raises(UserError, match="process 1 on elsewhere.*writes nothing more"):
            one.check()
    mine.release()
    assert json.loads((tmp_path / "lock").read_text()) == ELSEWHERE, "what is another's is left alone"


def test_the_heart_beats_and_survives_an_error(tmp_path, quick, monkeypatch):
    mine, write, failed = Lock(tmp_path), Lock._write, []

    def fail_once(self):
        if self._count == 3 and not failed:
            failed.append(1)
            raise OSError("the server is away")
        write(self)

    monkeypatch.setattr(Lock, "_write", fail_once)
    mine.acquire()
    deadline = time.monotonic() + 5
    while json.loads(mine.path.read_text())["count"] < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert failed and json.loads(mine.path.read_text())["count"] >= 6
    mine.release()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\0", b"[]", b"3", b'{"host": 3}', b'{"pid": 1}'])
def test_a_lock_that_says_nothing_is_nobodys(content, tmp_path, quick):
    (tmp_path / "lock").write_bytes(content)
    assert not held(tmp_path)


def test_a_lock_of_before_on_this_machine(tmp_path):
    (tmp_path / "lock").write_text(json.dumps({"host": socket.gethostname(), "pid": 1}))
    assert not held(tmp_path)


def test_a_folder_in_its_place_cannot_be_opened(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OSError, match="lock"):
        Lock(tmp_path).acquire()


def test_without_the_kernels_lock_the_counter_decides(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    mine = Lock(tmp_path)
    mine.acquire()
    assert held(tmp_path)
    mine.release()
    assert not held(tmp_path)
