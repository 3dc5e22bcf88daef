"""The one exception a user sees: a sentence, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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


def no_bars_into_pipes() -> None:
    """tqdm draws on terminals alone. Before it is imported: it asks then."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


def exit_on_error(work: Callable[[], Answer]) -> Answer:
    """A command's work; a mistake ends the process with one line and exit code 1, Ctrl-C with 130."""
    no_bars_into_pipes()
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
