"""The one exception a user sees: a sentence, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")
STRICT = "SKETCHLAB_STRICT"  # set by the tests: what fails in explaining a result is raised


class UserError(Exception):
    """A mistake that the person at the keyboard can fix.

    The message is one line (a list of broken files may follow on lines of its own): which key or file, what came,
    what was expected, what exists, what to do.
    """


class ReaderGone(Exception):
    """Nobody reads standard output any more, as after `| head`."""


def documentation(name: str) -> Path:
    """A page such as docs/tasks.md, data/README.md or sketchlab/README.md: of the checkout, else as a wheel has it."""
    here = Path(__file__).resolve().parent
    beside = here.parent / name
    return beside if beside.is_file() else here / name.removeprefix("sketchlab/")


def listed(names: Sequence[str], most: int = 12) -> str:
    """a, b, c and 9 more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def own_mistake(error: BaseException) -> UserError | None:
    """An error that a file below SKETCHLAB_EXTRA raised, as one line with file and line; None of any other error.

    With SKETCHLAB_TRACEBACK set there is none: Python's traceback is shown.
    """
    extra = os.environ.get("SKETCHLAB_EXTRA")
    if not extra or isinstance(error, UserError) or os.environ.get("SKETCHLAB_TRACEBACK"):
        return None
    root = Path(extra).resolve()
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve().is_relative_to(root):
        return UserError(f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve().is_relative_to(root)]
    if not frames:
        return None
    place = f"{frames[-1].filename}:{frames[-1].lineno}"
    return UserError(f"{place}: {type(error).__name__}: {text} (SKETCHLAB_TRACEBACK=1 shows the whole traceback)")


def no_bars_into_pipes() -> None:
    """tqdm draws on terminals alone. Before it is imported: it asks then."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


def exit_on_error(work: Callable[[], Answer]) -> Answer:
    """A command's work; a mistake ends the process with one line and exit code 1, Ctrl-C with 130."""
    no_bars_into_pipes()
    for stream in (sys.stdout, sys.stderr):  # of a terminal in another encoding than UTF-8: ? for what it has not
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (ReaderGone, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        mistake = own_mistake(error)
        if mistake is None:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(1)
