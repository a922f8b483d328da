"""How are numbers computed here: on what device, by how many threads, and do they repeat?"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

_MEMORY_SIGNS = (
    "out of memory",  # CUDA's own, also where it comes as a plain RuntimeError
    "can't allocate memory",  # DefaultCPUAllocator on Linux and macOS
    "not enough memory",  # DefaultCPUAllocator since torch 1.12: "you tried to allocate N bytes"
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Unable to allocate",  # NumPy
    "Cannot allocate memory",  # mmap, ENOMEM
)


def pick_device() -> torch.device:
    """The first CUDA device where there is one, the CPU otherwise."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def set_threads(threads: int) -> None:
    """Lets torch use so many threads inside an operation.

    To be called in the thread that trains: OpenMP keeps the number per calling thread. The same
    number is part of what makes a run on the CPU repeat, because sums are split by it.

    Raises:
        ValueError: fewer than one thread.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    torch.set_num_threads(threads)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or on the machine.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of range"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    return any(sign.lower() in str(error).lower() for sign in _MEMORY_SIGNS)


def seed_of(seed: int, *purpose: int) -> int:
    """A seed of its own for each purpose, in [0, 2**64).

    `numpy.random.SeedSequence` mixes them, so that neighbours are unrelated.

    >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0])


@contextmanager
def repeatable(device: torch.device, seed: int) -> Iterator[None]:
    """Within it torch's random numbers start at `seed` and operations repeat bit by bit.

    Random states and settings are put back on leaving, so that neither the caller's numbers nor
    those in here depend on the other's. On the CPU torch repeats at the same number of threads
    without a setting. On CUDA cuDNN is told to choose repeating algorithms, and torch to prefer
    its own; where an operation has none (the gradient of adaptive average pooling over uneven
    windows is one) it runs as it is instead of failing, and two runs can differ in the last bits.
    """
    cuda = device.type == "cuda"
    index = device.index if device.index is not None else 0
    with torch.random.fork_rng(devices=[index] if cuda else [], device_type="cuda"):
        torch.manual_seed(seed)
        with _repeating_algorithms() if cuda else nullcontext():
            yield


@contextmanager
def _repeating_algorithms() -> Iterator[None]:
    """On CUDA: operations repeat where torch has an algorithm that does."""
    # cuBLAS reads this when its first handle is made; later it has no effect and does no harm.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), cudnn.deterministic, cudnn.benchmark
    filled = filling.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        filling.fill_uninitialized_memory = False  # True writes every new tensor once more
        cudnn.deterministic, cudnn.benchmark = True, False
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic.*")
            yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        _, cudnn.deterministic, cudnn.benchmark = before
        filling.fill_uninitialized_memory = filled
