"""How long does a model take for one image?"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch

from xfer.models.net import Net

WARM_UP = 5
"""Passes that are not counted: memory is taken and kernels are chosen in the first ones."""
MOST, LEAST = 50, 7
"""Passes that are counted: at most, and at least, however slow they are."""
LIMIT_S = 2.0
"""After so long no more than the least."""


def measure_latency(net: Net, *, size: int, channels: int, device: torch.device | str) -> float:
    """Median time of one image's forward pass, in milliseconds.

    It is that of this device, of as many threads as torch has in the calling thread, and of what
    else the machine is doing: the median passes over single disturbances, not over a busy
    neighbour.

    Args:
        net: on the device. It is left in inference mode.
        size: side of the image, in pixels.
        channels: of the image.
        device: of the net.
    """
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    shape = (1, channels, size, size)
    image = torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device)
    net.eval()
    seconds: list[float] = []
    began = perf_counter()
    with torch.inference_mode():
        for _ in range(WARM_UP):
            _pass_s(net, image)
        while len(seconds) < LEAST or (len(seconds) < MOST and perf_counter() - began < LIMIT_S):
            seconds.append(_pass_s(net, image))
    return 1000 * median(seconds)


def _pass_s(net: Net, image: torch.Tensor) -> float:
    began = perf_counter()
    net(image)
    if image.is_cuda:  # else the clock is read while the device still works
        torch.cuda.synchronize(image.device)
    return perf_counter() - began
