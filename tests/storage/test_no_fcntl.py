"""Locks where there is no fcntl: those of Windows, or none, which one line says."""

from __future__ import annotations

import errno
import os

import pytest

from sketchlab.errors import UserError
from sketchlab.storage import files
from sketchlab.storage.lock import Lock


class Windows:
    """msvcrt of one machine: a byte of a file has one owner, until its file is closed."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.owners: dict[tuple[int, int], int] = {}  # (inode, byte) -> open file

    def locking(self, file: int, mode: int, n: int) -> None:
        assert mode == self.LK_NBLCK and n == 1
        place = os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR)
        owner = self.owners.get(place, file)
        if owner != file and os.path.exists(f"/proc/self/fd/{owner}"):
            raise PermissionError(errno.EACCES, "Permission denied")
        self.owners[place] = file


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux which files are open")
def test_the_lock_of_windows_is_on_no_byte_that_others_read(tmp_path, monkeypatch):
    windows = Windows()
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", windows)
    owner = Lock(tmp_path)
    owner.acquire()
    try:
        size = (tmp_path / "lock").stat().st_size
        assert 0 < size < 1000 and all(byte > 2**20 for _, byte in windows.owners)
        with pytest.raises(UserError, match=f"running elsewhere .process {os.getpid()}"):
            Lock(tmp_path).acquire()
    finally:
        owner.release()
    other = Lock(tmp_path)
    other.acquire()
    other.release()


def test_without_locks_one_line_names_what_is_not_protected(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", None)
    files._unprotected.cache_clear()
    for _ in range(2):
        with files.exclusive(tmp_path):
            pass
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "neither fcntl nor msvcrt" in printed
    assert "run folder, cache or sweep" in printed
