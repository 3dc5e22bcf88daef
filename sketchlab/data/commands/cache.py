"""python -m sketchlab.data cache list | verify | prune: what is kept below $SKETCHLAB_CACHE."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from sketchlab.errors import UserError
from sketchlab.storage import cache
from sketchlab.storage.cache import Entry

DAY_S = 86_400.0


def add(sub: Any) -> None:
    """The command `cache` and its three words."""
    one = sub.add_parser("cache", help="what is kept: decoded images, drawings, features; list, verify, prune")
    words = one.add_subparsers(required=True, metavar="list|verify|prune")
    words.add_parser("list", help="each entry: size, when it was used last, of what").set_defaults(do=list_)
    words.add_parser("verify", help="read every byte; remove what is not what was written").set_defaults(do=verify)
    prune = words.add_parser("prune", help="remove what was used longest ago; without --yes only say what that is")
    prune.add_argument("--gb", type=float, help=f"keep at most so much; default ${cache.LIMIT}, else no limit")
    prune.add_argument("--days", type=float, default=0.0, help="also what was not used for so many days")
    prune.add_argument("--yes", action="store_true", help="do it")
    prune.set_defaults(do=prune_)


def line(one: Entry) -> str:
    used = datetime.datetime.fromtimestamp(one.used).isoformat(" ", "minutes")
    what = one.what or "of an earlier sketchlab, or damaged"
    return f"{one.n_bytes / 1e6:10,.1f} MB  {used}  {one.kind:9} {one.folder.name}  {what}"


def list_(_: argparse.Namespace) -> int:
    kept = cache.entries()
    for one in kept:
        print(line(one))
    print(f"{len(kept)} entries, {sum(one.n_bytes for one in kept) / 1e9:.2f} GB in {cache.home()}")
    return 0


def verify(_: argparse.Namespace) -> int:
    """Exit status 1 where something was damaged."""
    n = len(cache.entries())
    bad = cache.verify()
    for one, why in bad:
        print(f"removed {one.folder}: {why}")
    print(f"{n} entries read in full, {len(bad)} damaged" + "; they are made again when they are needed" * bool(bad))
    return int(bool(bad))


def prune_(chosen: argparse.Namespace) -> int:
    limit = cache.limit_bytes() if chosen.gb is None else chosen.gb * 1e9
    if limit < 0 or chosen.days < 0:
        raise UserError(f"--gb {chosen.gb} --days {chosen.days:g}: expected numbers of 0 or more")
    if limit == float("inf") and not chosen.days:
        raise UserError(f"nothing to prune by; give --gb or --days, or set {cache.LIMIT}")
    gone = cache.prune(limit, chosen.days * DAY_S, dry=not chosen.yes)
    for one in gone:
        print(line(one))
    size = sum(one.n_bytes for one in gone) / 1e9
    print(
        f"{len(gone)} entries, {size:.2f} GB " + ("removed" if chosen.yes else "would be removed; --yes removes them")
    )
    return 0
