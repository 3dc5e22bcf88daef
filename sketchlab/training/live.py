"""The page of a run while it trains: drawn by a process of its own, of low priority, so that training does not wait.

It costs a share of the time that does not matter: a page that takes 3 s to draw is drawn once a minute.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

FIRST_S = 60.0  # from when on a run has a page while it trains
EVERY_S, SHARE = 60.0, 20.0  # between two pages: so long, and so many times as long as one takes
SLACK_S = 20.0  # by which a page may be late


@contextlib.contextmanager
def page(folder: Any) -> Iterator[None]:
    """report.html of a RunDir, again and again while the block lasts; of a run that fails or is cut once more."""
    done, drawn = threading.Event(), threading.Event()
    thread = threading.Thread(target=_draw, args=(folder, done, drawn), name="page", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        _end(thread, done)
        if drawn.is_set():
            import sketchlab.report

            sketchlab.report.write(folder.path)  # else it would say that the run trains
        raise
    _end(thread, done)


def _end(thread: threading.Thread, done: threading.Event) -> None:
    done.set()
    thread.join()


def _draw(folder: Any, done: threading.Event, drawn: threading.Event) -> None:
    took_s, wait_s = 3.0, FIRST_S
    while not done.wait(wait_s):
        start, wait_s = time.perf_counter(), max(EVERY_S, SHARE * took_s)
        next_s = wait_s + 2 * took_s + SLACK_S
        words = [sys.executable, "-m", "sketchlab.report", str(folder.path), "--next-by", f"{next_s:.0f}"]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(words, text=True, start_new_session=True, **quiet) as process:
            while process.poll() is None and not done.wait(0.2):
                pass
            if process.poll() is None:  # the run ended meanwhile: its last page is drawn by the run itself
                process.terminate()
                return
            errors = process.stderr.read() if process.stderr else ""
        if process.returncode:
            folder.say(f"warning: no page while it trains: {(errors.strip().splitlines() or ['no reason given'])[-1]}")
            return
        drawn.set()
        took_s = time.perf_counter() - start
