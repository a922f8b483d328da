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

from xfer.balance import check_classes, class_weights, focal_factors
from xfer.errors import NotFinite, RecipeError
from xfer.features import Features
from xfer.inputs import Inputs
from xfer.learning_curve import share_of
from xfer.models.net import Net
from xfer.optim import (
    add_l1_gradient,
    build_optimizer,
    clip_gradient,
    l1_weights,
    parameter_groups,
    set_lr,
)
from xfer.recipe import Objective, Recipe
from xfer.schedules import schedule_factor
from xfer.seen import draw_orders

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
    def patients(self) -> Sequence[str]:
        """(images,), whose image it is."""
        ...

    @property
    def subgroups(self) -> Sequence[str | None]:
        """(images,), strata; asked for by an objective of the worst of them alone."""
        ...

    @property
    def digest(self) -> str:
        """Of pixels, labels, classes and splits."""
        ...


class Training:
    """A model and its optimiser, on the images it is trained on.

    The members of an ensemble go side by side, each on batches of its own images: no two have a
    parameter in common, so this is training each of them alone. Who has a batch less than others
    sits out an epoch's last step.

    With `Recipe.head_first` there are two phases under one optimiser: a parameter that is frozen at
    first has no gradient, so its momentum and its like begin when it is thawed.
    """

    def __init__(
        self,
        recipe: Recipe,
        net: Net,
        data: Data,
        *,
        epochs: int,
        device: torch.device,
        seed: int = 0,
        features: Features | None = None,
    ) -> None:
        """Nothing is moved yet.

        Args:
            recipe: what to train, and how.
            net: assembled by it, on the device.
            data: its training part is used.
            epochs: of the whole training.
            device: of the steps.
            seed: of the run, and what the net was assembled from.
            features: what frozen blocks make of the data's images; None: it is computed each time.
        """
        net.head_only(False)
        if recipe.batch_size == 1 and _trains_norms(net):
            raise RecipeError(
                "Recipe.batch_size must be at least 2 where batch norms are trained, got 1: they "
                "need the variance over a batch."
            )
        self.recipe = recipe
        self.net = net
        self.rows = share_of(data.splits["train"], data.labels, data.patients, recipe.train_share)
        self.inputs = Inputs(
            net,
            recipe,
            data.pixels,
            train=self.rows,
            val=data.splits["val"],
            device=device,
            seed=seed,
            features=features,
            exact=features is not None and features.settings.exact,
        )
        """What the net's suffix is given."""
        self.labels = data.labels
        labels = self.labels[self.rows]
        check_classes(recipe.balance, labels, data.classes)
        self.weights: Tensor | None = None
        if recipe.balance == "class_weights":
            weights = class_weights(labels, len(data.classes))
            self.weights = torch.from_numpy(weights).float().to(device)
        self.device = device
        self.epochs = epochs
        self.seed = seed
        self.lr = 0.0
        """The head's learning rate in the last step; before the first one 0."""
        parts = net.parts()
        self.members = [
            parameter_groups(part for part in parts if part.member == member)
            for member in range(recipe.members)
        ]
        """Groups of the optimiser, by member; there is one where there is no ensemble."""
        self.optimizer = build_optimizer(
            [group for groups in self.members for group in groups],
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
            generator: advanced; images, their order and their fresh changes are drawn from it.
            losses: on validation, after each epoch before this one.

        Returns:
            `loss`, the cross-entropy without penalties, label smoothing, class weights and focal
            factors, and `accuracy`, both over the images of the epoch's steps; of an ensemble over
            those of each member, as that one alone answers.

        Raises:
            NotFinite: in the step whose loss is no longer a number.
        """
        recipe, net, optimizer = self.recipe, self.net, self.optimizer
        head_first = recipe.head_first if epoch <= head_epochs(recipe) else None
        net.head_only(head_first is not None)
        net.train()
        labels = self.labels[self.rows]
        orders = draw_orders(recipe, self.rows, labels, generator, seed=self.seed)
        parts = [batches(np.arange(len(order.rows)), recipe.batch_size) for order, _ in orders]
        steps = max(map(len, parts))
        given = [
            self.inputs.batches(order, own, seed=seed)
            for (order, seed), own in zip(orders, parts, strict=True)
        ]
        total, images_seen = 0.0, 0
        answers: list[Tensor] = []
        for number in range(steps):
            if head_first is not None:
                self.lr = head_first.lr
            else:
                self.lr = self._scheduled(epoch, number, steps=steps, losses=losses)
            set_lr(optimizer, self.lr)
            optimizer.zero_grad(set_to_none=True)
            told: list[tuple[Tensor, int]] = []
            for member, (order, _) in enumerate(orders):
                if number == len(parts[member]):
                    continue
                rows = order.rows[parts[member][number]]
                labels = torch.from_numpy(self.labels[rows]).to(self.device, non_blocking=True)
                logits = self._gradient(member, next(given[member]), labels)
                answers.append(logits.argmax(dim=1) == labels)
                told.append((cross_entropy(logits, labels), len(rows)))
            optimizer.step()
            for loss, count in told:
                value = loss.item()  # a step's first wait for the device: all of it is queued
                if not isfinite(value):
                    of_head = head_first is not None
                    name, lr = ("head_first.lr", head_first.lr) if of_head else ("lr", recipe.lr)
                    raise NotFinite(
                        f"the loss became {value} in epoch {epoch}, step {number + 1} of {steps} "
                        f"({recipe.optimizer}, {name} {lr:g}); a lower {name} may help."
                    )
                total += value * count
                images_seen += count
        right = int(torch.cat(answers).sum())
        return {"loss": total / images_seen, "accuracy": right / images_seen}

    def _gradient(self, member: int, features: Tensor, labels: Tensor) -> Tensor:
        """Leaves the gradient of a member's batch in its parameters, and returns its logits."""
        recipe, groups = self.recipe, self.members[member]
        logits = self.net.suffix_of(member, features)
        self._minimised(logits, labels).backward()
        if recipe.l1:
            add_l1_gradient(l1_weights(groups, on=recipe.l1_on), recipe.l1)
        if recipe.clip_norm is not None:
            clip_gradient(groups, recipe.clip_norm)
        return logits.detach()

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


def strata(objective: Objective, data: Data, rows: Rows) -> list[str | None] | None:
    """Subgroups of these images, where the objective asks for the worst of them; else None."""
    if objective.over != "worst_subgroup":
        return None
    return [data.subgroups[row] for row in rows]


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
