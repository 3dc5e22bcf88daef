"""Change one line of the code at a time and see whether the tests notice.

    python scripts/mutations.py [n=100] [seed=0] [only=engine/optim.py]

The seed draws n changes of one operator or constant in engine/, data/splits.py, the losses and metrics/. Each is
tried in a copy of the repository, against the tests of its module (TESTS), which must pass without it first. Printed
is: killed (a test failed), timeout, or SURVIVED. Survivors that mean the same program stand in
tests/equivalent_mutants.txt.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.txt"
LEAST_S, TIMES = 30.0, 4.0  # a mutant's time: this many times what its tests take without it, and no less than that
LOOP = ("tests/engine/test_engine.py",)
TESTS: dict[str, tuple[str, ...]] = {  # module → the tests that matter for it, the quickest first
    "engine/checkpoint.py": ("tests/engine/test_bad_runs.py",),
    "engine/features.py": ("tests/pipelines/test_features.py",),
    "engine/loader.py": ("tests/engine/test_loader.py", *LOOP),
    "engine/loop.py": (*LOOP, "tests/engine/test_bad_runs.py"),
    "engine/optim.py": (
        "tests/engine/test_precision_and_overlap.py",
        "tests/engine/test_groups.py",
        "tests/test_portable.py::test_groups_keep_their_own_rates",
        *LOOP,
    ),
    "engine/profile.py": ("tests/engine/test_memory.py",),
    "engine/recompute.py": ("tests/engine/test_memory.py",),
    "engine/rundir.py": ("tests/engine/test_bad_runs.py", *LOOP),
    "engine/runtime.py": ("tests/engine/test_precision_and_overlap.py", "tests/engine/test_ranks.py", *LOOP),
    "engine/settings.py": ("tests/engine/test_batch_limit.py",),
    "engine/steps.py": (*LOOP, "tests/engine/test_memory.py"),
    "engine/task.py": LOOP,
    "data/splits.py": ("tests/data/test_folds.py", "tests/data/test_train_at_most.py"),
    "pipelines/retrieve/losses.py": ("tests/pipelines/test_mining.py",),
    "metrics/classification.py": ("tests/metrics/test_classification.py",),
    "metrics/declared.py": ("tests/metrics/test_declared.py",),
    "metrics/generation.py": ("tests/metrics/test_generation.py", "tests/metrics/test_against_torchmetrics.py"),
    "metrics/joint_bayesian.py": ("tests/metrics/test_joint_bayesian.py",),
    "metrics/retrieval.py": ("tests/metrics/test_retrieval.py", "tests/pipelines/test_rankings.py"),
}
SWAPS: dict[type, str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
    ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*", ast.And: "or", ast.Or: "and",
}  # fmt: skip


class Mutant(NamedTuple):
    module: str  # below sketchlab/
    line: int  # from 1
    start: int  # bytes of the line that are replaced
    end: int
    text: str

    def of(self, source: str) -> str:
        lines = source.encode().splitlines(keepends=True)
        old = lines[self.line - 1]
        lines[self.line - 1] = old[: self.start] + self.text.encode() + old[self.end :]
        return b"".join(lines).decode()

    def change(self, source: str) -> str:
        before, after = (text.splitlines()[self.line - 1].strip() for text in (source, self.of(source)))
        return f"{before}  →  {after}"


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Every change inside the functions of a module; none in texts, annotations, asserts and what is raised."""
    lines = source.encode().splitlines()

    def between(left: ast.expr, right: ast.expr, new: str) -> Iterator[Mutant]:
        if left.end_lineno != right.lineno or left.end_col_offset is None:
            return
        gap = lines[right.lineno - 1][left.end_col_offset : right.col_offset]
        if word := gap.strip(b" ()"):
            start = left.end_col_offset + gap.index(word)
            yield Mutant(module, right.lineno, start, start + len(word), new)

    def walk(node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.AnnAssign | ast.ImportFrom | ast.Import):
            return
        if isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield from between(left, right, SWAPS[type(operator)])
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            yield from between(node.left, node.right, SWAPS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            yield from between(node.values[0], node.values[1], SWAPS[type(node.op)])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield Mutant(module, node.lineno, node.col_offset, node.col_offset + len("not "), "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            new = str(not node.value) if isinstance(node.value, bool) else str(node.value + 1)
            yield Mutant(module, node.lineno, node.col_offset, node.end_col_offset or 0, new)
        is_function = isinstance(node, ast.FunctionDef)
        for child in [*node.args.defaults, *node.body] if is_function else ast.iter_child_nodes(node):
            yield from walk(child)

    body = ast.parse(source).body
    for node in [*body, *(part for owner in body if isinstance(owner, ast.ClassDef) for part in owner.body)]:
        if isinstance(node, ast.FunctionDef):
            yield from walk(node)


def drawn(n: int, seed: int, only: str) -> list[Mutant]:
    """n mutants of all modules whose path begins with `only`, the same for the same seed and code."""
    modules = [module for module in TESTS if module.startswith(only)]
    every = [m for module in modules for m in sorted(set(mutants(module, read(ROOT, module))))]
    sample = random.Random(seed).sample(every, min(n, len(every)))
    return sorted(sample, key=lambda mutant: mutant.module.startswith("engine"))  # whose tests take longest, last


def read(root: Path, module: str) -> str:
    return (root / "sketchlab" / module).read_text("utf-8")


def copied(folder: Path) -> Path:
    """What git knows of the working tree, in a folder of its own."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def tested(copy: Path, tests: tuple[str, ...], log: Path) -> None:
    """In a process of its own, whose exit code is pytest's."""
    os.setsid()  # so that what a test starts ends with it
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True  # two mutants of a file may have its time and size
    os.environ |= {"PYTHONPATH": str(copy), "SKETCHLAB_CACHE": str(copy / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import pytest

    os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])))


def attempt(copy: Path, tests: tuple[str, ...], log: Path, limit_s: float) -> tuple[int | None, float]:
    """(pytest's exit code, None after limit_s; seconds)."""
    start = time.monotonic()
    process = multiprocessing.get_context("fork").Process(target=tested, args=(copy, tests, log))
    process.start()
    process.join(limit_s)
    if process.is_alive() and process.pid:
        os.killpg(process.pid, signal.SIGKILL)  # its own group, by setsid
        process.join()
        return None, time.monotonic() - start
    return process.exitcode, time.monotonic() - start


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := words.keys() - {"n", "seed", "only"}:
        sys.exit(f"error: {', '.join(unknown)}: expected n=100, seed=0 or only=engine/optim.py")
    import numba  # noqa: F401  # here, so that no mutant's process has to
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    chosen = drawn(int(words.get("n", 100)), int(words.get("seed", 0)), words.get("only", ""))
    known = EQUIVALENT.read_text("utf-8") if EQUIVALENT.exists() else ""
    counts: dict[str, int] = dict.fromkeys(("killed", "timeout", "equivalent", "SURVIVED", "untried"), 0)
    unmutated_s: dict[tuple[str, ...], float | None] = {}  # None: the tests fail by themselves
    with tempfile.TemporaryDirectory(prefix="sketchlab-mutations-") as temporary:
        copy, log = copied(Path(temporary) / "copy"), Path(temporary) / "log"
        for number, mutant in enumerate(chosen, 1):
            source, tests, spent_s = read(copy, mutant.module), TESTS[mutant.module], 0.0
            change = mutant.change(source)
            if tests not in unmutated_s:
                code, spent_s = attempt(copy, tests, log, 600)
                unmutated_s[tests] = spent_s if code == 0 else None
                if code != 0:
                    print(f"{' '.join(tests)} fail without a mutant:\n{log.read_text('utf-8')[-2000:]}", flush=True)
            if (usual_s := unmutated_s[tests]) is None:
                outcome = "untried"
            else:
                file = copy / "sketchlab" / mutant.module
                file.write_text(mutant.of(source), encoding="utf-8")
                code, spent_s = attempt(copy, tests, log, max(LEAST_S, TIMES * usual_s))
                file.write_text(source, encoding="utf-8")
                outcome = {None: "timeout", 0: "SURVIVED", 1: "killed", 2: "killed"}.get(code, "untried")
            if outcome == "SURVIVED" and f"{mutant.module}: {change}" in known:
                outcome = "equivalent"
            counts[outcome] += 1
            print(
                f"{number}/{len(chosen)} {outcome} {spent_s:.0f} s  {mutant.module}:{mutant.line}: {change}", flush=True
            )
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    sys.exit(1 if counts["SURVIVED"] or counts["untried"] else 0)


if __name__ == "__main__":
    main()
