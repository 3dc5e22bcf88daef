"""Where a run happens: device, precision, ranks. The only file that asks the machine what it is."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from sketchlab.engine.profile import Profile
from sketchlab.engine.protocols import Prepare, Raw
from sketchlab.engine.recompute import recomputed
from sketchlab.errors import UserError
from sketchlab.schema import Machine
from sketchlab.storage.files import cores


@dataclass(frozen=True)
class Config:
    device: str  # auto (a CUDA GPU if there is one), cpu, cuda, mps (Apple; untested)
    precision: str  # auto (GPU: bf16 where it is native, else fp16; CPU: fp32), fp32 (TF32 on a GPU), bf16, fp16
    ranks: int  # processes that share each batch; on GPUs one each
    overlap: bool  # ranks average gradients while others are computed (DistributedDataParallel): other bits
    workers: Machine[int]  # threads that fetch batches ahead; 0 = fetched when needed. Never changes a result
    deterministic: bool  # true: same bits every time, on a GPU too; false: the fastest kernels
    channels_last: bool  # memory layout of images
    compile: bool  # torch.compile the networks
    recompute: Machine[bool]  # activations computed again in the backward pass, to save memory
    graph: Machine[
        str
    ]  # auto: on a GPU steps are recorded once and replayed (engine/steps.py): same bits; false: never
    profile: Machine[bool]  # where the time goes: profile.csv, and trace.json of a few steps for chrome://tracing

    def __post_init__(self) -> None:
        for key, allowed in (
            ("device", ("auto", "cpu", "cuda", "mps")),
            ("precision", ("auto", "fp32", "bf16", "fp16")),
        ):
            if getattr(self, key) not in allowed:
                raise UserError(f"runtime.{key}={getattr(self, key)}: expected one of {', '.join(allowed)}")
        if self.graph not in ("auto", "false"):
            raise UserError(f"runtime.graph={self.graph}: expected auto or false")
        if self.ranks < 1 or self.workers < 0:
            raise UserError(
                f"runtime.ranks={self.ranks}, runtime.workers={self.workers}: expected ranks ≥ 1, workers ≥ 0"
            )
        if self.overlap and self.recompute:
            raise UserError("runtime.overlap=true and runtime.recompute=true: a layer computed again is reduced again")
        if self.compile and self.recompute:
            raise UserError("runtime.compile=true and runtime.recompute=true: the compiler decides itself what to keep")

    def decided(self) -> tuple[str, str]:
        """(device type, precision) with `auto` settled on this machine."""
        has_cuda = torch.cuda.is_available()
        if self.device == "cuda" and not has_cuda:
            raise UserError("runtime.device=cuda: torch sees no CUDA GPU here; use runtime.device=cpu or auto")
        if self.device == "mps":
            if not torch.backends.mps.is_available():
                raise UserError("runtime.device=mps: torch sees no Apple GPU here; use runtime.device=cpu or auto")
            if self.ranks > 1 or self.precision == "fp16":
                raise UserError("runtime.device=mps takes runtime.ranks=1, and runtime.precision=fp32 or bf16")
            return "mps", "fp32" if self.precision == "auto" else self.precision
        device = "cpu" if self.device == "cpu" or not has_cuda else "cuda"
        if device == "cuda" and self.ranks > torch.cuda.device_count() and joined_world() is None:
            raise UserError(
                f"runtime.ranks={self.ranks}: this machine has {torch.cuda.device_count()} GPU(s), one rank each"
            )
        if self.precision == "fp16" and device == "cpu":
            raise UserError("runtime.precision=fp16 needs a CUDA GPU; on a CPU use fp32 or bf16")
        if self.precision != "auto":
            return device, self.precision
        return device, native_precision() if device == "cuda" else "fp32"


def joined_world() -> tuple[int, int] | None:
    """(rank, ranks) of a process that torchrun (or Slurm by its variables) started with others; None for one alone.

    Raises UserError for variables that are half there, as one shell leaves them to the next.
    """
    found = {name: os.environ.get(name, "").strip() for name in ("RANK", "WORLD_SIZE")}
    if not any(found.values()) or found["WORLD_SIZE"] == "1":
        return None
    variables = " ".join(f"{name}={value}" for name, value in found.items())
    what = "torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; unset them to train without it"
    if not all(value.isdecimal() for value in found.values()) or not int(found["RANK"]) < int(found["WORLD_SIZE"]):
        raise UserError(f"{variables}: expected a rank below the number of ranks; {what}")
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise UserError(f"{variables} without {missing[0]}: {what}")
    return int(found["RANK"]), int(found["WORLD_SIZE"])


def native_precision() -> str:
    """The fastest precision that the GPU computes in hardware: bf16 from Ampere on, fp16 on Volta and Turing (V100, T4,
    RTX 20), where bf16 would be emulated; fp32 before."""
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability() >= (7, 0) else "fp32"


def end_with_parent(signum: int) -> None:
    """This process gets the signal when its parent ends. Linux alone; elsewhere it notices by its closed pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signum)  # PR_SET_PDEATHSIG


def keep_freed_memory() -> None:
    """Large tensors from the heap, which keeps what is freed, instead of a fresh mapping each.

    glibc maps every block above 32 MB anew and gives it back at once, so that each step faults all its pages in again:
    half the time of a step on a CPU. Other allocators are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        libc, m_mmap_max, m_trim_threshold = ctypes.CDLL(None), -4, -1  # malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**30)


Item = TypeVar("Item")
Batch = TypeVar("Batch")  # a Tensor, or drawings as strokes or lines: what has device, pin_memory() and to()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A copy that the host does not wait for: pageable memory would make it wait for all that was launched before."""
    raw: Any = batch
    if device.type == "cuda" and raw.device.type == "cpu":
        raw = raw.pin_memory()
    return raw.to(device, non_blocking=True)


class Runtime:
    """One rank: its device, its precision, and how it speaks with the others."""

    def __init__(self, config: Config, rank: int = 0, ranks: int = 1) -> None:
        self.config, self.rank, self.ranks = config, rank, ranks
        kind, self.precision = config.decided()
        local = int(os.environ.get("LOCAL_RANK") or rank) if joined_world() else rank
        self.device = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
        if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores():
            torch.set_num_threads(cores())  # torch counts the machine's, whatever a container may use of them
        if kind == "cuda":
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = not config.deterministic
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
            if config.graph == "auto" and ranks == 1:
                torch.cuda.set_stream(torch.cuda.Stream())  # the default one cannot be recorded
        else:
            keep_freed_memory()
            if ranks > 1:
                torch.set_num_threads(max(1, cores() // ranks))
        torch.use_deterministic_algorithms(config.deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # none is read

        # mps has no doubles: sums on the device are of the widest type there, scores are computed where doubles are
        self.widest = torch.float32 if kind == "mps" else torch.float64
        self.exact = torch.device("cpu") if kind == "mps" else self.device
        self.overlapped: set[nn.Parameter] = set()  # whose gradients DistributedDataParallel averages
        self.profile = Profile(self.device) if config.profile else None

    def bar(self, batches: Iterable[Item], what: str) -> Iterable[Item]:
        """The same, with a bar on a terminal when they take longer than a second; rank 0's alone."""
        hidden: dict[str, Any] = {"disable": True} if self.rank else {}  # {}: TQDM_DISABLE decides
        return tqdm(batches, what, unit="batch", leave=False, delay=1, dynamic_ncols=True, **hidden)

    def span(self, part: str) -> AbstractContextManager[object]:
        """A context whose time is counted as `part` (engine/profile.py) when the run is profiled."""
        return self.profile.span(part) if self.profile else contextlib.nullcontext()

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision != "fp32":
            return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)
        return contextlib.nullcontext()

    def place(self, module: nn.Module) -> nn.Module:
        """Onto this rank's device, in the configured layout."""
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return module.to(self.device).to(memory_format=layout)

    def forward(self, module: nn.Module, learns: bool = True) -> Any:
        """What to call for a forward pass: the module, or its compiled twin (state stays in the module). learns: it is
        what the training step calls, once a step."""
        run: Any = torch.compile(module) if self.config.compile else module
        overlapped = self.config.overlap and self.ranks > 1 and learns
        if overlapped and any(p.requires_grad for p in module.parameters()):
            devices = [self.device] if self.device.type == "cuda" else None
            run = DistributedDataParallel(run, devices, broadcast_buffers=False)
            self.overlapped |= set(module.parameters())
        run = recomputed(module) if self.config.recompute else run
        return self.profile.spanned("forward", run) if self.profile else run

    def check_one_call(self, pipeline: str) -> None:
        """Raises UserError for a pipeline that calls a network several times a step."""
        if self.config.overlap and self.ranks > 1:
            raise UserError(
                f"runtime.overlap=true: pipeline={pipeline} calls a network several times a step, which "
                "DistributedDataParallel does not take; use runtime.overlap=false"
            )

    def to_device(self, batch: Batch) -> Batch:
        return to_device(batch, self.device)

    def prepared(self, prepare: Prepare, raw: Raw, keys: Tensor | None = None) -> Tensor:
        """Raw samples (and their keys, to augment them) → what a network takes, on the device; see data.dataset."""
        keys = keys if prepare.active else None
        laid = prepare.ahead(raw, keys)
        with self.span("augment"):
            if self.device.type == "mps":  # knows no doubles, by which augmentation is exact
                return self.layout(self.to_device(prepare(laid, keys)))
            return self.layout(prepare(self.to_device(laid), keys if keys is None else self.to_device(keys)))

    def layout(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in the configured memory layout; sequences (B, L, C) as they are."""
        if self.config.channels_last and images.ndim == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def mean_grads(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over ranks: one flat all-reduce in the order of `parameters`. One that is missing on some
        ranks counts as zero there; one that is missing on all stays missing.

        Not DistributedDataParallel: it lays its buckets out anew after the first step, which changes bits from three
        ranks on, and GANs call one network several times a step. runtime.overlap=true uses it all the same.
        """
        parameters = [p for p in parameters if p not in self.overlapped]  # a loss of one's own has some, too
        if self.ranks == 1 or not parameters:
            return
        missing = [p.grad is None for p in parameters]  # here; on another rank the network may have used it
        present = torch.ones(len(parameters), dtype=torch.int32, device=self.device)
        if any(missing):
            present[torch.tensor(missing, device=self.device)] = 0
        dist.all_reduce(present, dist.ReduceOp.MAX)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        flat /= self.ranks
        anywhere = present.tolist() if any(missing) else [1] * len(parameters)  # a rank that lacks none need not wait
        for p, piece, used in zip(parameters, flat.split([p.numel() for p in parameters]), anywhere, strict=True):
            if p.grad is not None:
                p.grad.copy_(piece.view_as(p))
            elif used:
                p.grad = piece.view_as(p).clone()

    def same_buffers(self, module: nn.Module) -> None:
        """Rank 0's buffers everywhere: batch-norm statistics before an evaluation, those of a loss before a step."""
        if self.ranks > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def shard(self, n: int) -> Tensor:
        """This rank's places of range(n), unpadded: every place on exactly one rank."""
        return torch.arange(self.rank, n, self.ranks)

    def gather(self, tensors: dict[str, Tensor], n: int) -> dict[str, Tensor]:
        """Per-sample results of shard(n) on every rank → (n, …) CPU tensors in order, on every rank."""
        cpu = {key: value.detach().cpu() for key, value in tensors.items()}
        if self.ranks == 1:
            return cpu
        parts = self.each(cpu)
        out = {}
        for key, value in cpu.items():
            whole = torch.empty((n, *value.shape[1:]), dtype=value.dtype)
            for rank, part in enumerate(parts):
                whole[rank :: self.ranks] = part[key]
            out[key] = whole
        return out

    def agree(self, *flags: bool) -> list[bool]:
        """Each flag is True on every rank when it is on one: signals and clocks reach ranks at different steps."""
        if self.ranks == 1:
            return list(flags)
        words = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(words, dist.ReduceOp.MAX)
        return [bool(word) for word in words.tolist()]

    def each(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        if self.ranks == 1:
            return [value]
        values: list[Any] = [None] * self.ranks
        dist.all_gather_object(values, value)
        return values

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Average of numbers over ranks."""
        if self.ranks == 1:
            return values
        word = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(word)
        return dict(zip(values, (word / self.ranks).tolist(), strict=True))

    def seed(self, key: int) -> None:
        """Key torch's own draws (dropout, noise) for what comes next."""
        torch.default_generator.manual_seed(key)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key)
        elif self.device.type == "mps":
            torch.mps.manual_seed(key)

    def free_bytes(self) -> int:
        return torch.cuda.mem_get_info(self.device)[0]

    def memory_mb(self) -> float:
        """Peak so far: of the GPU's allocator, or of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        if importlib.util.find_spec("resource") is None:  # Windows
            return math.nan
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
