"""One owner per run folder: a lock the kernel drops with its process, and a counter for owners on other machines.

The file `lock` stays: to remove it while another process waits for it would give the folder two owners. While it is
held it names its owner, who counts up in it. Where the kernel's lock does not reach (another machine on a network file
system), whoever wants the folder watches that counter by its own clock, so that clocks need not agree.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError
from sketchlab.storage import files

HEARTBEAT_S = 10.0
STALE_S = 60.0  # an owner elsewhere whose counter stood still for so long is dead
SETTLE_S = 2.0  # after taking over from another machine: whether somebody else did too
LOOK_S = 0.5


class Lock:
    """Held from acquire() to release(). A dead owner's is taken over: at once here, after STALE_S elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._file: int | None = None
        self._count = 0
        self._stop = threading.Event()
        self._token = secrets.token_hex(8)

    def acquire(self) -> None:
        """Raises UserError naming the owner when the folder is in use; OSError when it cannot be written."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            if not files.locked(file):
                raise UserError(self._busy(self._owner()))
            owner = self._owner()
            elsewhere = _elsewhere(owner) or (not files.has_locks() and bool(owner))
            if elsewhere:
                self._watch(owner)
            self._file = file
            self._write()
            if elsewhere:
                time.sleep(SETTLE_S)
                if (owner := self._owner()).get("token") != self._token:
                    raise UserError(self._busy(owner))
        except BaseException:
            self._file = None
            os.close(file)
            raise
        self._stop.clear()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def release(self) -> None:
        if self._file is None:
            return
        self._stop.set()
        if self._owner().get("token") == self._token:
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = None

    def check(self) -> None:
        """Raises UserError where a process on another machine took the folder over, which did not hear of this one for
        too long. In any process of the owner's machine, holding the lock or not."""
        if _elsewhere(owner := self._owner()):
            raise UserError(f"{self._busy(owner)}; it took the folder over from this one, which writes nothing more")

    def _watch(self, owner: dict[str, Any]) -> None:
        """Until an owner elsewhere has shown no sign of life for STALE_S. UserError when it does."""
        print(
            f"{self.path.parent}: {_named(owner)} owned it; watched for {STALE_S:.0f} s for a sign of life", flush=True
        )
        start = time.monotonic()
        while time.monotonic() - start < STALE_S:
            time.sleep(min(LOOK_S, STALE_S))
            now = self._owner()
            if not now:
                return
            if now != owner:
                raise UserError(self._busy(now))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                if self._file is not None and self._owner().get("token") == self._token:
                    self._write()
            except OSError:  # a network file system that is away for a while: the next beat may reach it
                continue

    def _write(self) -> None:
        assert self._file is not None
        self._count += 1
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "machine": machine(), "token": self._token}
        text = json.dumps({**owner, "count": self._count}).encode()
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, text)  # at once, and never shorter than before: a reader finds the old or the new
        os.ftruncate(self._file, len(text))

    def _owner(self) -> dict[str, Any]:
        """What the file says of its owner; {} where it says nothing, or was cut by a kill."""
        try:
            found = json.loads(self.path.read_bytes())
        except (ValueError, FileNotFoundError):
            return {}
        return found if isinstance(found, dict) else {}

    def _busy(self, owner: dict[str, Any]) -> str:
        return (
            f"{self.path.parent}: this run is running elsewhere ({_named(owner)}); wait for it, or end it and start "
            "again"
        )


def machine() -> str:
    """Which machine this is, since when it runs: process ids mean something there alone."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text('utf-8').strip() if boot.exists() else ''}".strip()


def _elsewhere(owner: dict[str, Any]) -> bool:
    """Whether an owner is, or was, a process of another machine, or of this one before it was started anew."""
    if "machine" in owner:
        return owner["machine"] != machine()
    return owner.get("host", socket.gethostname()) != socket.gethostname()  # as sketchlab wrote it before


def _named(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}" if {"pid", "host"} <= owner.keys() else "another process"
