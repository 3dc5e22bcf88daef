"""From one process to its ranks: inline, spawned from inside the job, or taken from torchrun's environment."""

from __future__ import annotations

import ctypes
import multiprocessing.connection
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from sketchlab.engine.runtime import Config, Runtime
from sketchlab.errors import UserError

_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG: no rank outlives a killed parent and writes on


def prepare_environment(config: Config) -> None:
    """What must be set before torch touches a GPU or another rank."""
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # torch bundles two OpenMP users; passive waiting keeps ranks that share cores from spinning against each other
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def under_torchrun() -> bool:
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def env_rank() -> int:
    return int(os.environ.get("RANK", 0)) if under_torchrun() else 0


def world(config: Config) -> int:
    """How many ranks there will be."""
    return int(os.environ["WORLD_SIZE"]) if under_torchrun() else config.ranks


def join_env(config: Config) -> Runtime:
    """This process as a rank of torchrun's (or Slurm's) world."""
    world, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    dist.init_process_group("nccl" if config.decided()[0] == "cuda" else "gloo")
    return Runtime(config, rank, world)


def launch(config: Config, work: Callable[..., Any], *args: Any) -> Any:
    """Run work(runtime, *args) on every rank; the return value is rank 0's (None when ranks were spawned).

    Raises UserError when a rank raised one; RuntimeError with the rank's traceback for anything else.
    """
    if under_torchrun():
        return work(join_env(config) if not dist.is_initialized() else _joined(config), *args)
    if config.ranks == 1:
        return work(Runtime(config), *args)
    return _spawn(config, work, args)


def decide(config: Config, decision: Callable[[], str]) -> str:
    """What rank 0 decides, on every rank; its UserError too."""
    return decision()


def _joined(config: Config) -> Runtime:
    return Runtime(config, dist.get_rank(), dist.get_world_size())


def _rank(
    rank: int, config: Config, rendezvous: str, pipe: Any, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    import traceback

    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    code = 1
    try:
        dist.init_process_group(
            "nccl" if config.decided()[0] == "cuda" else "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=config.ranks,
        )
        work(Runtime(config, rank, config.ranks), *args)
        dist.destroy_process_group()
        code = 0
    except UserError as error:
        pipe.send(("user", str(error)))
    except KeyboardInterrupt as stop:
        pipe.send(("interrupted", *stop.args))
    except BaseException:
        pipe.send(("bug", traceback.format_exc()))
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
    waiting = {process.sentinel: (process, pipe) for process, pipe in ranks}
    failed: list[tuple[Any, ...]] = []
    while waiting:
        for sentinel in multiprocessing.connection.wait(list(waiting)):
            process, pipe = waiting.pop(sentinel)  # type: ignore[index]
            process.join()
            if process.exitcode != 0:
                said = pipe.recv() if pipe.poll() else ("bug", f"a rank ended with exit code {process.exitcode}")
                failed.append(said)
                time.sleep(1.0)  # the others may have more to say than "connection closed by peer"
                for other, _ in waiting.values():
                    other.kill()
    # ranks killed above say nothing; a UserError explains more than the crash it caused elsewhere
    failed.sort(key=lambda said: ("user", "interrupted", "bug").index(said[0]))
    if failed:
        kind, *words = failed[0]
        raise {"user": UserError, "interrupted": KeyboardInterrupt, "bug": RuntimeError}[kind](*words)
