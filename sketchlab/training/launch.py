"""From one process to its ranks: inline, spawned from inside the job, or taken from torchrun's environment."""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing.connection
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from sketchlab.engine.runtime import Config, Runtime, end_with_parent, joined_world
from sketchlab.errors import UserError, own_mistake

# Ranks may read data for hours before they meet. One that dies ends the others all the same: by torchrun, or _wait.
TIMEOUT = datetime.timedelta(hours=12)
LONGEST = 100_000  # characters of a traceback that a rank passes on


def prepare_environment(config: Config) -> None:
    """What must be set before torch touches a GPU or another rank."""
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # torch bundles two OpenMP users; passive waiting keeps ranks that share cores from spinning against each other
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def under_torchrun() -> bool:
    return joined_world() is not None


def env_rank() -> int:
    return (joined_world() or (0, 1))[0]


def world(config: Config) -> int:
    """How many ranks there will be."""
    joined = joined_world()
    return joined[1] if joined else config.ranks


def _join(config: Config, rank: int, ranks: int, init_method: str | None = None) -> Runtime:
    """This process as one of several ranks. Its device is set first: NCCL takes the one that is current."""
    runtime = Runtime(config, rank, ranks)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if runtime.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=ranks, timeout=TIMEOUT)
    return runtime


def decide(config: Config, decision: Callable[[], str]) -> str:
    """What rank 0 decides, on every rank of torchrun's world. Where it raises, all end, and it alone says why."""
    joined = joined_world()
    if joined is None:
        return decision()
    runtime = _join(config, *joined)
    outcome: list[str | None] = [None]
    try:
        if runtime.rank == 0:
            outcome = [decision()]
    finally:
        dist.broadcast_object_list(outcome, 0)
        if outcome[0] is None:  # a rank that ends without a word takes the others down with it
            dist.destroy_process_group()
    if outcome[0] is None:
        raise SystemExit(1)
    return outcome[0]


def launch(config: Config, work: Callable[..., Any], *args: Any) -> Any:
    """Run work(runtime, *args) on every rank; the return value is rank 0's (None when ranks were spawned).

    Raises UserError when a rank raised one; RuntimeError with the rank's traceback for anything else.
    """
    if joined := joined_world():
        return work(_join(config, *joined), *args)
    if config.ranks == 1:
        return work(Runtime(config), *args)
    return _spawn(config, work, args)


def _rank(
    rank: int, config: Config, rendezvous: str, pipe: Any, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    import traceback

    end_with_parent(getattr(signal, "SIGKILL", signal.SIGTERM))  # no rank outlives a killed parent and writes on
    code = 1
    try:
        work(_join(config, rank, config.ranks, f"file://{rendezvous}"), *args)
        dist.destroy_process_group()
        code = 0
    except UserError as error:
        pipe.send(("user", str(error)))
    except KeyboardInterrupt as stop:
        pipe.send(("interrupted", *stop.args))
    except BaseException as error:
        mistake = own_mistake(error)
        pipe.send(("user", str(mistake)) if mistake else ("bug", traceback.format_exc()[-LONGEST:]))
    finally:
        pipe.close()
        if code:
            os._exit(code)  # a failed rank must not wait for the others in a destructor


def _spawn(config: Config, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="sketchlab-ranks-") as folder:
        ranks = []
        for rank in range(config.ranks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_rank, args=(rank, config, os.path.join(folder, "rendezvous"), theirs, work, args)
            )
            process.start()
            theirs.close()
            ranks.append((process, ours))

        def forward(signum: int, _: Any) -> None:
            for process, _pipe in ranks:
                if process.is_alive() and process.pid:
                    os.kill(process.pid, signal.SIGTERM)

        old = {s: signal.signal(s, forward) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            _wait(ranks)
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)


def _wait(ranks: list[tuple[Any, Any]]) -> None:
    """Until every rank has ended well; the first that has not ends the others."""
    running = {process.sentinel: (process, pipe) for process, pipe in ranks}
    messages: dict[Any, tuple[Any, ...]] = {}
    open_pipes = [pipe for _, pipe in ranks]
    failed: list[tuple[Any, ...]] = []
    while running:
        ready = multiprocessing.connection.wait([*running, *open_pipes])
        for pipe in [pipe for pipe in open_pipes if pipe in ready]:  # read first: a full pipe keeps its rank alive
            with contextlib.suppress(EOFError):
                messages[pipe] = pipe.recv()
            open_pipes.remove(pipe)
        for sentinel in [sentinel for sentinel in running if sentinel in ready]:
            process, pipe = running.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            if process.exitcode != 0:
                if pipe in open_pipes and pipe.poll():
                    with contextlib.suppress(EOFError):
                        messages[pipe] = pipe.recv()
                failed.append(messages.get(pipe, ("bug", f"a rank ended with exit code {process.exitcode}")))
                time.sleep(1.0)  # the others may have more to say than "connection closed by peer"
                for other, _ in running.values():
                    other.kill()
    # ranks killed above say nothing; a UserError explains more than the crash it caused elsewhere
    failed.sort(key=lambda message: ("user", "interrupted", "bug").index(message[0]))
    if failed:
        kind, *words = failed[0]
        raise {"user": UserError, "interrupted": KeyboardInterrupt, "bug": RuntimeError}[kind](*words)
