"""What the experiments have in common: arms × seeds become run folders, and the command line around that.

An experiment is one value: its arms (a row of the table each), its seeds, what is claimed or asked of pairs of arms,
and what others published of them. `main` trains what is not there yet; arms_report.py writes table and figure,
from run folders alone. In root/runs.json stands which folder is of which arm and seed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import arms_report
import arms_train
import torch
from arms_train import execute, existing, note
from arms_types import Arm, Experiment

from sketchlab.errors import UserError

GPU = "a GPU"


def main(experiment: Experiment, words: list[str] | None = None) -> None:
    args = _parser(experiment).parse_intermixed_args(words)
    args.seeds = args.seeds or (2 if args.smoke else experiment.seeds)
    root = (args.root or Path("outputs", experiment.name + "_smoke" * args.smoke)).resolve()
    out = args.out or (root if args.smoke else Path(__file__).parent / "results")
    try:
        chosen, left = _choose(experiment.arms, args.arms, anything=args.smoke or args.report or args.page or args.list)
        if args.list:
            for arm in chosen:
                print("python -m sketchlab.run", *arm.words, *experiment.common, *args.overrides)
            return
        if args.page:
            print(arms_report.pages(experiment, out))
            return
        failed = [] if args.report else train(experiment, chosen, args, root)
        if args.find:
            find(experiment, chosen, args, root)
        if not (root / "runs.json").is_file():
            raise UserError(f"{root}: no runs.json; run without --report first" if args.report else failed[0])
        if args.smoke:
            keys = [key.replace("@inception", "@random") for key in experiment.keys]  # whose weights need a download
            title = f"{experiment.title} (smoke: small twins on shapes)"
            experiment = replace(experiment, title=title, keys=keys)
        print(arms_report.write(experiment, root, out))
        for arm in left:
            print(f"left out, needs {arm.needs}: {arm.name} (--arms '{arm.name}' runs it all the same)")
        if failed:
            raise UserError(f"{len(failed)} runs failed: {'; '.join(failed)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=experiment.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("overrides", nargs="*", metavar="key=value", help="added to every run")
    out.add_argument("--arms", nargs="+", metavar="PATTERN", help="rows by name, as '*frozen*' (default: what can run)")
    out.add_argument("--seeds", type=int, help=f"how many (default {experiment.seeds}; 2 with --smoke)")
    arms_train.options(out)
    out.add_argument("--smoke", action="store_true", help="about a minute: small twins on shapes drawn by code")
    out.add_argument("--report", action="store_true", help="train nothing, write from the runs that are there")
    out.add_argument("--page", action="store_true", help="train nothing, page and figure from the kept tables")
    out.add_argument("--find", action="store_true", help="take in runs that other commands left below --root")
    out.add_argument("--list", action="store_true", help="show the commands, run nothing")
    out.add_argument("--root", type=Path, help=f"run folders (default outputs/{experiment.name})")
    out.add_argument("--out", type=Path, help="tables and figure (default experiments/results; --smoke: the root)")
    return out


def _choose(arms: list[Arm], patterns: list[str] | None, anything: bool) -> tuple[list[Arm], list[Arm]]:
    """(arms to run, arms left out for what they need)"""
    if patterns:
        chosen = [arm for arm in arms if any(fnmatch(arm.name, pattern) for pattern in patterns)]
        if not chosen:
            raise UserError(f"--arms {' '.join(patterns)}: no such row; there is {', '.join(a.name for a in arms)}")
        return chosen, []
    has = {"", GPU} if torch.cuda.is_available() else {""}
    chosen = [arm for arm in arms if anything or arm.needs in has]
    left = [arm for arm in arms if arm not in chosen]
    if not chosen:
        needs = " or ".join(sorted({arm.needs for arm in left}))
        raise UserError(f"every row needs {needs}: run it there, or name rows by --arms, or try --smoke")
    return chosen, left


def train(experiment: Experiment, chosen: list[Arm], args: argparse.Namespace, root: Path) -> list[str]:
    """Every chosen arm of a seed, then the next seed; what is there already is found. Returns what failed, in words."""
    common = [*experiment.common, f"run.root={root}", *args.overrides]
    todo = []
    for seed in range(args.seeds):
        for arm in chosen:
            words = [*arm.words, *experiment.of_seed(seed)]
            if args.smoke:  # last: classes that of_seed names are not those of the small twin
                twin = experiment.smoke(arm, lambda words: execute([*words, *common], False))
                words = [*experiment.of_seed(seed), *twin]
            todo.append((arm.name, seed, [*words, *common]))
    return arms_train.train(todo, root, args.jobs, args.pages)


def find(experiment: Experiment, chosen: list[Arm], args: argparse.Namespace, root: Path) -> None:
    """runs.json with every finished run of these arms that stands below root, whoever trained it."""
    for arm in chosen:
        for seed in range(args.seeds):
            words = [*arm.words, *experiment.of_seed(seed), *experiment.common, f"run.root={root}", *args.overrides]
            if folder := existing(words):
                note(root, arm.name, seed, folder)
