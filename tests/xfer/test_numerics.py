from __future__ import annotations

import numpy as np
import pytest
import torch

from xfer.numerics import (
    computing,
    has_native_bfloat16,
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


def test_products_are_computed_in_the_precision_that_is_asked_for():
    layer, values = torch.nn.Linear(3, 2), torch.ones(1, 3)
    with computing(CPU, "float32"):
        assert layer(values).dtype == torch.float32
    with computing(CPU, "bfloat16"):
        assert layer(values).dtype == torch.bfloat16
    assert layer(values).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("bfloat16", "tiles", "native"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_bfloat16_is_native_where_torch_finds_instructions_for_it(
    bfloat16: bool, tiles: bool, native: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert has_native_bfloat16(CPU) is native


@pytest.mark.parametrize(
    ("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_of_gpus_those_since_ampere_have_it(
    capability: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_native_bfloat16(torch.device("cuda", 0)) is native
