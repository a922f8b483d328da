from __future__ import annotations

import numpy as np
import pytest
import torch

from xfer.numerics import (
    is_out_of_memory,
    pick_device,
    repeatable,
    seed_of,
    set_threads,
)

CPU = torch.device("cpu")

TOO_LITTLE_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory:"
        " you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(12, "Cannot allocate memory"),
]
SOMETHING_ELSE = [
    RuntimeError("Expected all tensors to be on the same device"),
    ValueError("out of memory"),  # a word in somebody's message, not an allocator's error
    OSError(28, "No space left on device"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", TOO_LITTLE_MEMORY, ids=str)
def test_running_out_of_memory_is_told_from_its_message(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", SOMETHING_ELSE, ids=str)
def test_other_errors_are_not_taken_for_memory(error):
    assert not is_out_of_memory(error)


def test_what_the_allocators_here_really_raise_is_recognised():
    with pytest.raises(RuntimeError) as from_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as from_numpy:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(from_torch.value)
    assert is_out_of_memory(from_numpy.value)


def test_random_numbers_within_depend_on_the_seed_alone_and_leave_the_callers_alone():
    torch.manual_seed(1)
    expected_outside = torch.rand(4)
    torch.manual_seed(1)
    outside, inside = [], []
    for _ in range(2):
        with repeatable(CPU, 5):
            inside.append(torch.rand(3))
        outside.append(torch.rand(2))
    torch.testing.assert_close(inside[0], inside[1], rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(outside), expected_outside, rtol=0, atol=0)


def test_each_purpose_has_its_own_seed():
    seeds = {
        seed_of(seed, epoch, purpose)
        for seed in range(3)
        for epoch in range(20)
        for purpose in (1, 2)
    }
    assert len(seeds) == 120


def test_threads_are_set_and_none_is_refused():
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
        with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
            set_threads(0)
    finally:
        torch.set_num_threads(before)


def test_the_device_is_the_gpu_where_there_is_one():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
