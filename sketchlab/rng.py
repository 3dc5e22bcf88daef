"""Keyed randomness: every draw is a function of integers, never a state that a checkpoint would have to carry.

`fold` turns (seed, epoch, index, …) into a 63-bit key; `uniform` turns keys into numbers; `permutation` gives the
i-th place of a keyed shuffle without listing it. The mixer is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
The array functions take numpy or torch int64 alike and give the same bits on every device.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import Any

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
_C1, _C2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_M64 = (1 << 64) - 1
_FEISTEL_ROUNDS = 6


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


_S1, _S2, _SG = _signed(_C1), _signed(_C2), _signed(GOLDEN)


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * _C1) & _M64
    x = ((x ^ (x >> 27)) * _C2) & _M64
    return x ^ (x >> 31)


def fold(*parts: int | str) -> int:
    """A 63-bit key from integers and strings; order matters, and fold(a, b, c) == fold(fold(a, b), c) does not hold."""
    return _folded(len(parts), parts) >> 1


def word(part: int | str) -> int:
    """The 64 bits that a part enters fold with, signed: what to store so as to fold many strings at once later."""
    return _signed((part if isinstance(part, int) else _digest(part)) & _M64)


@lru_cache(maxsize=256)  # a step folds the same few names each time
def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _folded(n: int, parts: tuple[int | str, ...]) -> int:
    key = n
    for part in parts:
        key = _mix(((key ^ (word(part) & _M64)) + GOLDEN) & _M64)
    return key


def fold_words(words: Any, *parts: int | str) -> Any:
    """(n,) int64 words → (n,) int64: fold(*parts, x) of every x whose word(x) is given."""
    return (mix((words ^ _signed(_folded(len(parts) + 1, parts))) + _SG) >> 1) & (_M64 >> 1)


def mix(x: Any) -> Any:
    """The mixer on int64 arrays (numpy or torch); wraps around, shifts are logical."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _S1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _S2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def fold_each(key: int, ids: Any) -> Any:
    """(n,) int64 ids → (n,) int64 keys, one per id, under one key."""
    return mix((ids ^ _signed(_mix(key & _M64))) + _SG)


def uniform(keys: Any, n: int) -> Any:
    """(B,) int64 keys → (B, n) float32 in [0, 1), multiples of 2**-24; torch in, torch out; numpy in, numpy out."""
    if isinstance(keys, np.ndarray):
        words = mix(keys[:, None] + np.arange(1, n + 1) * np.int64(_SG))
        return (((words >> 40) & 0xFFFFFF) * 2.0**-24).astype(np.float32)
    import torch

    counter = torch.arange(1, n + 1, device=keys.device) * _SG
    words = mix(keys[:, None] + counter)
    return ((words >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def permutation(places: np.ndarray, n: int, key: int) -> np.ndarray:
    """Which of n items stands at each of `places` in the shuffle named by `key`.

    A six-round Feistel network on a² ≥ n values (a = ⌈√n⌉), walked until it lands below n: a bijection of range(n),
    computed for the asked places alone, so 50 million items cost as little as fifty.
    """
    a = math.isqrt(n - 1) + 1 if n > 1 else 1
    keys = [np.int64(_signed(_mix((key + r * GOLDEN) & _M64))) for r in range(_FEISTEL_ROUNDS)]

    def once(x: np.ndarray) -> np.ndarray:
        left, right = x // a, x % a
        for k in keys:
            left, right = right, (left + (mix(right + k) & 0x7FFFFFFF)) % a
        return left * a + right

    with np.errstate(over="ignore"):
        x = once(np.asarray(places, dtype=np.int64))
        while (outside := x >= n).any():
            x[outside] = once(x[outside])
    return x


def generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator keyed by `parts`, for code that draws many numbers for one item."""
    return np.random.Generator(np.random.Philox(key=fold(*parts)))
