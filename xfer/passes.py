"""What does each block of a net take for a batch? A look at the clock between one and the next."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xfer.models.net import Net
from xfer.optim import build_optimizer, parameter_groups
from xfer.recipe import OptimizerName

Clock = Callable[[], float]
"""Seconds."""


def clock_of(device: torch.device) -> Clock:
    """Seconds, once the device has done all that it was given."""

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return perf_counter()

    return synchronised if device.type == "cuda" else perf_counter


class Passes:
    """Sends batches through a net, block by block, with a look at the clock in between."""

    def __init__(self, net: Net, *, optimizer: OptimizerName, clock: Clock) -> None:
        """Nothing is computed yet.

        Args:
            net: all of it trained, on the device.
            optimizer: whose step is timed.
            clock: of the device.
        """
        self._net, self._clock = net, clock
        self._device = net.normalise.mean.device
        stages = [block.part for block in net.blocks]
        self.starts = [n for n, it in enumerate(stages) if n == 0 or it != stages[n - 1]]
        """Blocks that begin a stage: where what is trained begins, of most recipes."""
        parts = net.parts()
        self._body, self._head = (
            build_optimizer(
                parameter_groups(p for p in parts if (p.name == "head") == of_head),
                name=optimizer,
                lr=1e-6,
                l2=0.0,
            )
            for of_head in (False, True)
        )

    def run(self, images: Tensor) -> list[float]:
        """Seconds: of the pixels, of each block's forward pass, of each block's training, of a step
        of the head, of the training of blocks that begin a stage where nothing comes before."""
        net, clock = self._net, self._clock
        net.eval()
        seconds = []
        with torch.inference_mode():
            began = clock()
            values = net.normalise(images)
            seconds.append(clock() - began)
            for block in net.blocks:
                began = clock()
                values = block.module(values)
                seconds.append(clock() - began)
        net.train()
        self._body.zero_grad(set_to_none=True)
        values = net.normalise(images)
        calls: list[tuple[Tensor, Tensor, float]] = []
        for number, block in enumerate(net.blocks):
            values = values.detach().requires_grad_(number > 0)
            made, taken = self._forward(block.module, values)
            calls.append((values, made, taken))
            values = made
        trained = []
        pushed = [torch.ones_like(values)]  # gradients, from the last block's output on
        for taken_in, made, taken in reversed(calls):
            began = clock()
            made.backward(pushed[-1])
            trained.append(taken + clock() - began)
            pushed.append(torch.zeros(()) if taken_in.grad is None else taken_in.grad)
        seconds += reversed(trained)
        seconds.append(self._step_of_head(values.detach()))
        gradients = pushed[-2::-1]  # of each block's output
        for number in self.starts:
            taken_in = calls[number][0].detach()
            made, taken = self._forward(net.blocks[number].module, taken_in)
            began = clock()
            made.backward(gradients[number])
            seconds.append(taken + clock() - began)
        return seconds

    def update(self) -> float:
        """Seconds of the optimiser's step for each parameter of the backbone, after a pass."""
        self._body.step()  # takes the memory for its moments
        began = self._clock()
        self._body.step()
        count = sum(p.numel() for group in self._body.param_groups for p in group["params"])
        return (self._clock() - began) / count

    def _forward(self, module: nn.Module, values: Tensor) -> tuple[Tensor, float]:
        began = self._clock()
        made = module(values)
        return made, self._clock() - began

    def _step_of_head(self, values: Tensor) -> float:
        with torch.no_grad():
            pooled = self._net.pool(values)
        labels = torch.zeros(len(values), dtype=torch.int64, device=self._device)
        began = self._clock()
        self._head.zero_grad(set_to_none=True)
        logits = self._net.head(pooled)
        loss = cross_entropy(logits, labels)
        loss.backward()
        self._head.step()
        cross_entropy(logits.detach(), labels).item()
        return self._clock() - began
