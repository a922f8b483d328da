"""How do images go through a model: in training steps, and without training?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xfer.augment import augmented
from xfer.balance import check_classes, class_weights, draw_epoch, focal_factors
from xfer.errors import NotFinite, RecipeError
from xfer.models.net import Net
from xfer.numerics import seed_of
from xfer.optim import (
    add_l1_gradient,
    build_optimizer,
    clip_gradient,
    l1_weights,
    parameter_groups,
    set_lr,
)
from xfer.recipe import Recipe
from xfer.schedules import schedule_factor

Rows = npt.NDArray[np.int64]


class Data(Protocol):
    """What training needs of an `xfer.data.dataset.Dataset`."""

    @property
    def pixels(self) -> Any:
        """`pixels[rows]` is a copy, uint8 (batch, height, width, channels)."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(images,), indices of classes."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of labels."""
        ...

    @property
    def splits(self) -> Mapping[str, Rows]:
        """Rows of `train` and `val`."""
        ...

    @property
    def digest(self) -> str:
        """Of pixels, labels, classes and splits."""
        ...


class Training:
    """A model and its optimiser, on the images it is trained on.

    With `Recipe.head_first` there are two phases under one optimiser: a parameter that is frozen at
    first has no gradient, so its momentum and its like begin when it is thawed.
    """

    def __init__(
        self, recipe: Recipe, net: Net, data: Data, *, epochs: int, device: torch.device
    ) -> None:
        net.head_only(False)
        if recipe.batch_size == 1 and _trains_norms(net):
            raise RecipeError(
                "Recipe.batch_size must be at least 2 where batch norms are trained, got 1: they "
                "need the variance over a batch."
            )
        self.recipe = recipe
        self.net = net
        self.pixels = data.pixels
        self.rows = data.splits["train"]
        self.labels = data.labels
        labels = self.labels[self.rows]
        check_classes(recipe.balance, labels, data.classes)
        self.weights: Tensor | None = None
        if recipe.balance == "class_weights":
            weights = class_weights(labels, len(data.classes))
            self.weights = torch.from_numpy(weights).float().to(device)
        self.device = device
        self.epochs = epochs
        self.lr = 0.0
        """The head's learning rate in the last step; before the first one 0."""
        self.groups = parameter_groups(net.parts())
        self.l1_weights = l1_weights(self.groups, on=recipe.l1_on)
        self.optimizer = build_optimizer(
            self.groups,
            name=recipe.optimizer,
            lr=recipe.lr,
            l2=recipe.l2,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )

    def epoch(
        self, epoch: int, generator: np.random.Generator, *, losses: Sequence[float]
    ) -> dict[str, float]:
        """One pass over what the recipe's balance makes of the training part, in random order.

        Args:
            epoch: from 1; places its steps in the phases and the schedule.
            generator: advanced; images, their order and their changes are drawn from it.
            losses: on validation, after each epoch before this one.

        Returns:
            `loss`, the cross-entropy without penalties, label smoothing, class weights and focal
            factors, and `accuracy`, both over the images of the epoch's steps.

        Raises:
            NotFinite: in the step whose loss is no longer a number.
        """
        recipe, net, optimizer = self.recipe, self.net, self.optimizer
        head_first = recipe.head_first if epoch <= head_epochs(recipe) else None
        net.head_only(head_first is not None)
        net.train()
        drawn = draw_epoch(self.rows, self.labels[self.rows], recipe.balance, generator)
        parts = batches(generator.permutation(len(drawn.rows)), recipe.batch_size)
        # After the order, which is then the same with and without augmentation.
        seed = int(generator.integers(2**63))
        total = 0.0
        answers: list[Tensor] = []
        for number, part in enumerate(parts):
            rows = drawn.rows[part]
            if head_first is not None:
                self.lr = head_first.lr
            else:
                self.lr = self._scheduled(epoch, number, steps=len(parts), losses=losses)
            set_lr(optimizer, self.lr)
            labels = torch.from_numpy(self.labels[rows]).to(self.device, non_blocking=True)
            images = to_images(self.pixels[rows], self.device)
            if recipe.augment.mode == "fresh":
                images = self._augmented(images, rows, drawn.repeats[part], seed)
            logits = net.suffix(net.prefix(images))
            minimised = self._minimised(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            minimised.backward()
            if recipe.l1:
                add_l1_gradient(self.l1_weights, recipe.l1)
            if recipe.clip_norm is not None:
                clip_gradient(self.groups, recipe.clip_norm)
            optimizer.step()
            logits = logits.detach()
            answers.append(logits.argmax(dim=1) == labels)
            loss = cross_entropy(logits, labels)
            value = loss.item()  # the step's one wait for the device, after all of it is queued
            if not isfinite(value):
                name, lr = ("head_first.lr", head_first.lr) if head_first else ("lr", recipe.lr)
                raise NotFinite(
                    f"the loss became {value} in epoch {epoch}, step {number + 1} of {len(parts)} "
                    f"({recipe.optimizer}, {name} {lr:g}); a lower {name} may help."
                )
            total += value * len(rows)
        right, images_seen = int(torch.cat(answers).sum()), len(drawn.rows)
        return {"loss": total / images_seen, "accuracy": right / images_seen}

    def _augmented(self, images: Tensor, rows: Rows, repeats: Rows, seed: int) -> Tensor:
        """The images as they are trained on: changed, or those that are shown again changed.

        Seeds come from the epoch's, the image and how often it was there: what it becomes depends
        neither on the batch nor on the order.
        """
        augment = self.recipe.augment
        places = np.arange(len(rows))
        if self.recipe.balance == "oversample_augmented":
            places = np.flatnonzero(repeats)
        seeds = [seed_of(seed, int(rows[place]), int(repeats[place])) for place in places]
        if len(places) == len(rows):
            return augmented(images, augment, seeds)
        where = torch.from_numpy(places).to(self.device)
        values = images.float().div_(255)
        return values.index_copy_(0, where, augmented(images[where], augment, seeds))

    def _minimised(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over a batch, without `l1`.

        Class weights and focal factors multiply each image's loss, and the sum is divided by the
        number of images, not by the sum of weights: a batch of one class would otherwise lose them.
        """
        smoothing = self.recipe.label_smoothing
        if self.recipe.balance == "focal":
            factors = focal_factors(logits, labels, self.recipe.focal_gamma)
        elif self.weights is not None:
            factors = self.weights[labels]
        else:
            return cross_entropy(logits, labels, label_smoothing=smoothing)
        each = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        return (factors * each).mean()

    def _scheduled(self, epoch: int, number: int, *, steps: int, losses: Sequence[float]) -> float:
        """The head's learning rate in a step of an epoch that has so many; not of `head_first`."""
        first = head_epochs(self.recipe)
        return self.recipe.lr * schedule_factor(
            self.recipe.schedule,
            (epoch - first - 1) * steps + number,
            steps_per_epoch=steps,
            steps=(self.epochs - first) * steps,
            losses=losses[first:],
        )


def head_epochs(recipe: Recipe) -> int:
    """Epochs of the phase in which the head is trained alone; 0 where there is none."""
    return 0 if recipe.head_first is None else recipe.head_first.epochs


def batches(rows: Rows, size: int) -> list[Rows]:
    """Rows in batches, in order; the last one smaller where they do not divide.

    A last batch of one image joins the one before: batch norm has no variance over one.

    >>> [len(batch) for batch in batches(np.arange(9), 4)]
    [4, 5]
    """
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _trains_norms(net: Net) -> bool:
    """Whether any batch norm uses the statistics of its batch in training."""
    norms = [module for module in net.train().modules() if isinstance(module, nn.BatchNorm2d)]
    return any(norm.training for norm in norms)


def to_images(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pixels (batch, height, width, channels) as a tensor (batch, channels, height, width).

    Still uint8, a quarter of the bytes to send, and laid out as it was: channels last.
    """
    return torch.from_numpy(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2)


def predict_logits(net: Net, pixels: Any, rows: Rows, *, device: torch.device) -> Tensor:
    """Logits (images, classes) of rows of the pixels, on the CPU, in double precision.

    Double, so that the softmax of very sure answers does not round to a tie at 1. The net is put
    in inference mode and stays there.
    """
    net.eval()
    side = pixels[rows[:1]].shape[1]
    # 256 small images at a time; of large ones fewer, or a recipe whose batches fit into memory
    # could run out of it here: 4 million pixels are 83 images of 224 x 224.
    size = int(np.clip(2**22 // side**2, 32, 256))
    with torch.inference_mode():
        logits = [net(to_images(pixels[part], device)) for part in batches(rows, size)]
        return torch.cat(logits).cpu().double()
