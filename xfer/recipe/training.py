"""What is one training run made of?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.model import ConvNet, Head, Pretrained
from xfer.recipe.problems import Problems

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over training."""

    name: ScheduleName = "constant"
    """`cosine` falls from lr to zero over the recipe's epochs."""

    def __post_init__(self) -> None:
        problems = Problems("Schedule")
        problems.one_of("name", self.name, get_args(ScheduleName))
        problems.tell()


@dataclass(frozen=True)
class Augment:
    """Random changes to training images."""

    mode: Literal["none", "views", "fresh"] = "none"
    """`none` is all that is built yet."""

    def __post_init__(self) -> None:
        problems = Problems("Augment")
        problems.one_of("mode", self.mode, ("none",))
        problems.tell()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything one training run is made of, but for images, objective and seed."""

    model: ConvNet | Pretrained
    """What makes features of an image."""
    head: Head = field(default_factory=Head)
    """What makes outputs of features."""
    lr: float
    """Learning rate at the start, in (0, 10]."""
    optimizer: OptimizerName = "adam"
    """Name of the update rule."""
    momentum: float = 0.9
    """Of `sgd`, in [0, 0.9999]."""
    nesterov: bool = False
    """Of `sgd`."""
    schedule: Schedule = field(default_factory=Schedule)
    """How lr changes."""
    batch_size: int = 32
    """Images per step, in [1, 4096]."""
    epochs: int | None = None
    """Passes over the training part; None: the budget's."""
    early_stopping: int | None = None
    """Epochs without a better search score after which training ends; None: never."""
    l1: float = 0.0
    """Adds l1 * sum |w| over trained weights (no biases, no norms) to the loss."""
    l2: float = 0.0
    """Adds l2 * sum w^2 over the same weights; with `adamw` it is the decoupled decay instead:
    w shrinks by lr * l2 per step."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to training images."""
    balance: str = "none"
    """`none` is all that is built yet."""

    def __post_init__(self) -> None:
        problems = Problems("Recipe")
        for name, kinds in _PARTS.items():
            value = getattr(self, name)
            allowed = " or ".join(kind.__name__ for kind in kinds)
            problems.unless(isinstance(value, kinds), f"{name} must be a {allowed}, got {value!r}")
        problems.number("lr", self.lr, 1e-9, 10.0)
        problems.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        problems.number("momentum", self.momentum, 0.0, 0.9999)
        problems.unless(
            not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0),
            "nesterov needs optimizer='sgd' with momentum above 0",
        )
        problems.number("batch_size", self.batch_size, 1, 4096, whole=True)
        if self.epochs is not None:
            problems.number("epochs", self.epochs, 1, 10_000, whole=True)
        if self.early_stopping is not None:
            problems.number("early_stopping", self.early_stopping, 1, 10_000, whole=True)
        problems.number("l1", self.l1, 0.0, 10.0)
        problems.number("l2", self.l2, 0.0, 10.0)
        problems.one_of("balance", self.balance, ("none",))
        problems.tell()


_PARTS: dict[str, tuple[type, ...]] = {
    "model": (ConvNet, Pretrained),
    "head": (Head,),
    "schedule": (Schedule,),
    "augment": (Augment,),
}
