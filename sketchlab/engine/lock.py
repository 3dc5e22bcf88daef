"""One owner per run folder: a lock the kernel drops with its process, and a heartbeat for owners on other machines."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import IO

from sketchlab.errors import UserError

HEARTBEAT_S = 10.0
STALE_S = 60.0  # an owner elsewhere that has not been heard of for so long is dead


class Lock:
    """Held from acquire() to release(). A dead owner's is taken over: at once here, after STALE_S elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._file: IO[str] | None = None
        self._stop = threading.Event()

    def acquire(self) -> None:
        """Raises UserError naming the owner when the folder is in use."""
        file = open(self.path, "a+")  # noqa: SIM115  held until release
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read()
            file.close()
            raise UserError(self._busy(owner)) from None
        file.seek(0)
        owner = file.read()
        if owner and self._alive_elsewhere(owner):
            file.close()
            raise UserError(self._busy(owner))
        file.seek(0)
        file.truncate()
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        self._file = file
        self._stop.clear()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def release(self) -> None:
        if self._file is None:
            return
        self._stop.set()
        self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if self.path.exists():
                os.utime(self.path)

    def _alive_elsewhere(self, owner: str) -> bool:
        try:
            host = json.loads(owner)["host"]
        except (ValueError, KeyError):  # cut by a kill while it was written: no one's
            return False
        return host != socket.gethostname() and time.time() - self.path.stat().st_mtime < STALE_S

    def _busy(self, owner: str) -> str:
        try:
            said = json.loads(owner)
            who = f"process {said['pid']} on {said['host']}"
        except (ValueError, KeyError):
            who = "another process"
        return f"{self.path.parent}: this run is running elsewhere ({who}); wait for it, or end it and start again"
