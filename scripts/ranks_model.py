"""How a training step scales over ranks, as a model of communication against computation; nothing is measured here.

    python scripts/ranks_model.py      (its table for GPUs, as in benchmarks/README.md)

The gradient is reduced whole after the backward pass, so nothing overlaps: t(N) = t_compute + t_reduce(N). A ring
(Patarasuk, Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations) sends 2 (N − 1) messages
of 1/N of the gradient, one after the other; NCCL's bus bandwidth (nccl-tests, doc/PERFORMANCE.md) counts the same.
The model leaves out: laying the gradient flat and copying it back, ranks that wait for a slower one or share caches
and memory, and other algorithms than the ring, which NCCL may choose. `bench.py ranks` holds it against two CPU ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Link:
    """From each rank to the next."""

    bandwidth: float  # bytes per second and direction
    latency_s: float  # of a message


# nominal, so that less is reached (of PCIe's 63 GB/s, 50 here). Latencies: NCCL, src/graph/tuning.cc, ring, Simple
LINKS = {
    "NVLink 4, 450 GB/s": Link(450e9, 3.4e-6),
    "PCIe 5 ×16, 50 GB/s": Link(50e9, 5.7e-6),
    "Ethernet, 100 Gb/s": Link(12.5e9, 14e-6),
}
PARAMETERS = {  # at 18 classes, all of them trained
    "VGG16, fine-tuned": 14_723_922,
    "VGG16, three linear layers": 134_334_290,
    "cnn_lstm": 2_388_522,
    "siamese": 40_254_465,
}
BYTES = 4  # of a parameter's gradient: fp32, under bf16 autocast too
RANKS = (2, 4, 8)
SHARE = 0.9  # the efficiency that a step must be long enough for
STEPS_S = (0.01, 0.1)


def reduce_s(n_bytes: float, ranks: int, link: Link) -> float:
    """Seconds of a ring's all-reduce of n_bytes."""
    messages = 2 * (ranks - 1)
    return messages / ranks * n_bytes / link.bandwidth + messages * link.latency_s


def efficiency(compute_s: float, reduced_s: float) -> float:
    """Of ranks with a batch of their own each: the share of a step in which they compute."""
    return compute_s / (compute_s + reduced_s)


def enough_s(reduced_s: float) -> float:
    """The shortest computation whose efficiency is SHARE."""
    return reduced_s * SHARE / (1 - SHARE)


def fitted(sizes: list[int], took_s: list[float], ranks: int) -> Link:
    """The link whose reduce_s is nearest to what all-reduces of these sizes took, by squared relative error."""
    messages = 2 * (ranks - 1)
    terms = np.array([[messages / ranks * n / t, messages / t] for n, t in zip(sizes, took_s, strict=True)])
    s_per_byte, latency_s = np.linalg.lstsq(terms, np.ones(len(sizes)), rcond=None)[0]
    return Link(1 / float(s_per_byte), float(latency_s))


def table() -> Iterator[str]:
    """The model for GPUs, in Markdown: one rank a GPU, each with a batch of its own."""
    ranks, steps = (" / ".join(str(v) for v in values) for values in (RANKS, [f"{s * 1e3:g}" for s in STEPS_S]))
    yield (
        f"| network | gradient | link | all-reduce over {ranks} GPUs, ms | ≥ {SHARE:.0%} from a computation of, ms "
        f"| efficiency of {RANKS[-1]} at {steps} ms |"
    )
    yield "|---|---|---|---|---|---|"
    for name, parameters in PARAMETERS.items():
        n_bytes = BYTES * parameters
        for at, link in LINKS.items():
            took = [reduce_s(n_bytes, n, link) for n in RANKS]
            shares = " / ".join(f"{efficiency(step, took[-1]):.0%}" for step in STEPS_S)
            enough = listed([enough_s(t) for t in took])
            yield f"| {name} | {n_bytes / 1e6:.3g} MB | {at} | {listed(took)} | {enough} | {shares} |"


def listed(values_s: list[float]) -> str:
    """Milliseconds to two digits."""
    return " / ".join(f"{float(f'{s * 1e3:.2g}'):g}" for s in values_s)


if __name__ == "__main__":
    print("\n".join(table()))
