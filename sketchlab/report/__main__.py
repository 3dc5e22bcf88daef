"""python -m sketchlab.report FOLDER…: one run's page drawn again, or many runs compared on one page."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sketchlab import report
from sketchlab.errors import UserError, exit_on_error
from sketchlab.report.comparison import compare, groups
from sketchlab.report.paper import appendix, protocols
from sketchlab.storage import packed

SLACK_S = 30  # in which a page that is watched is drawn, at most
EPILOG = """
examples:
  python -m sketchlab.report outputs
  python -m sketchlab.report outputs/small_cnn-* --by model,loop.lr --metric val/accuracy --out lr
  python -m sketchlab.report outputs --pivot model,data --margin 2     (tables and a page for a paper: appendix.html)
  python -m sketchlab.report outputs --watch          (while a sweep runs; Ctrl-C ends it)
  python -m sketchlab.report outputs/small_cnn-shapes/1d9393060484     (one run: its own report.html)
"""


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: the page is written, its path is the last line; 1: a mistake, in one line."""
    chosen = _parser().parse_args(words)
    try:
        if chosen.watch is None:
            print(_once(chosen, 0))
        else:
            _watch(chosen)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sketchlab.report", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=Path, help="a run folder, or any folder above run folders")
    parser.add_argument("--by", default="", help="what names the groups: choices or dotted keys; default: what differs")
    parser.add_argument("--names", default="", help="what the groups are called, in their order: one,two,three")
    parser.add_argument("--metric", default="", help="such as val/accuracy; default: the result of each kind of run")
    where = "where the page, figures/ and tables/ go; default FOLDER/comparison, of several folders\n"
    parser.add_argument("--out", type=Path, help=f"{where}or of a run comparison/ in the root above the (first) run")
    parser.add_argument(
        "--protocols", action="store_true", help="of one retrieval run: its scores as published codes define them"
    )
    parser.add_argument("--published", type=Path, help="YAML of published values, drawn where the protocol is the same")
    parser.add_argument("--appendix", action="store_true", help="appendix.html too: what a paper needs, to print on A4")
    parser.add_argument("--pivot", default="", help="two settings against each other, as model,data, in the appendix")
    parser.add_argument("--margin", type=float, help="points (or the score's unit) within which two groups are equal")
    parser.add_argument(
        "--next-by", type=float, default=0.0, metavar="SECONDS", help=argparse.SUPPRESS
    )  # while it trains
    parser.add_argument(
        "--watch", nargs="?", type=int, const=10, metavar="SECONDS", help="write again whenever a run has moved on"
    )
    return parser


def _once(chosen: argparse.Namespace, refresh_s: int) -> Path:
    chosen.folder = [packed.unpacked(path) if packed.is_packed(path) else path for path in chosen.folder]
    only = chosen.folder[0]
    if chosen.protocols:
        if len(chosen.folder) > 1:
            raise UserError(f"--protocols: {len(chosen.folder)} folders; expected one run")
        protocols.write(only)
        return report.write(only)
    if _alone(chosen):
        return report.write(only, chosen.next_by or (refresh_s and refresh_s + SLACK_S))
    out = chosen.out or groups.root(chosen.folder) / "comparison"
    paper = appendix.Asked([key for key in chosen.pivot.split(",") if key], chosen.margin) if _paper(chosen) else None
    page = compare.compare(
        chosen.folder,
        by=[key for key in chosen.by.split(",") if key],
        names=[name.strip() for name in chosen.names.split(",")] if chosen.names else [],
        metric=chosen.metric,
        out=out,
        values=chosen.published,
        refresh_s=refresh_s,
        paper=paper,
    )
    if paper is not None:
        print(f"appendix: {out / appendix.PAGE}")
    return page


def _alone(chosen: argparse.Namespace) -> bool:
    """Whether one run's own page is asked for."""
    run = {"config.yaml", "status.json"} <= {p.name for p in chosen.folder[0].glob("*.*")}
    return (
        len(chosen.folder) == 1
        and run
        and not (chosen.by or chosen.names or chosen.metric or chosen.out or chosen.published or _paper(chosen))
    )


def _paper(chosen: argparse.Namespace) -> bool:
    """Whether the appendix is asked for."""
    return bool(chosen.appendix or chosen.pivot or chosen.margin is not None)


def _watch(chosen: argparse.Namespace) -> None:
    """Until Ctrl-C, which leaves a page that no longer reloads itself."""
    if chosen.watch < 1:
        raise UserError(f"--watch {chosen.watch}: expected at least 1 second")
    seen, alone = None, _alone(chosen)
    try:
        while True:
            if (now := (_moved(chosen.folder), alone and time.time())) != seen:  # one run's page says when it is next
                seen = now
                try:
                    print(f"{time.strftime('%H:%M:%S')}  {_once(chosen, chosen.watch)}", flush=True)
                except UserError as error:  # no run yet, or one being written this moment: the next look may find more
                    print(f"{time.strftime('%H:%M:%S')}  waiting: {error}", flush=True)
            time.sleep(chosen.watch)
    except KeyboardInterrupt:
        print(_once(chosen, 0))


def _moved(folders: Sequence[Path]) -> object:
    """What changes when any run below has written a score or changed its state."""
    try:
        paths, _ = groups.find(folders)
    except UserError as error:
        return str(error)
    files = [path / name for path in paths for name in ("status.json", "metrics.jsonl")]
    return [(str(file), file.stat().st_mtime_ns) for file in files if file.is_file()]


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
